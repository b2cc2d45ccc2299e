"""Days, numbers and lengths of time in plain English."""

import re
from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from typing import NamedTuple

_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_MONTHS = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november",
    "december",
)  # fmt: skip
_WORDS = {
    "a": 1, "an": 1, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9,
    "ten": 10, "eleven": 11, "twelve": 12, "fifteen": 15, "twenty": 20, "thirty": 30,
}  # fmt: skip

NUMBER = rf"(?:\d{{1,9}}(?:,\d{{3}}){{0,3}}(?:\.\d{{1,9}})?|{'|'.join(sorted(_WORDS, key=len, reverse=True))})"
"""A pattern; `number_of` reads what it matches."""

_MONTH = "|".join(rf"{name[:3]}(?:{name[3:]})?" if name[3:] else name for name in _MONTHS)
MAX_LENGTH = 1000
"""The longest stay that is understood, in days."""

_SPANS = {"day": 1, "night": 1, "week": 7}
_DATE = re.compile(
    rf"""\b(?:(?:on|from|until|till|to|starting|leaving)\s+)?(?P<said>
        (?P<iso>\d{{4}}-\d{{2}}-\d{{2}})
      | (?P<near>today|tonight|tomorrow|the\ day\ after\ tomorrow)
      | (?:(?:this|next|coming)\s+)?(?P<weekday>{"|".join(_WEEKDAYS)})
      | (?:this|next)\s+(?P<weekend>weekend)
      | next\s+(?P<next>week|month)
      | in\s+(?P<count>{NUMBER})\s+(?P<unit>day|week|month)s?(?:'\s*time)?
      | (?P<month>{_MONTH})\.?\s+(?P<day>\d{{1,2}})(?:st|nd|rd|th)?(?:,?\s+(?P<year>\d{{4}}))?
      | (?P<day2>\d{{1,2}})(?:st|nd|rd|th)?(?:\s+of)?\s+(?P<month2>{_MONTH})\.?(?:,?\s+(?P<year2>\d{{4}}))?
    )(?![\w-])""",
    re.IGNORECASE | re.VERBOSE,
)


class Found(NamedTuple):
    """A piece of a text that names a day, as YYYY-MM-DD. What looks like a day but is none is left as it is."""

    words: str
    value: str


def days_in(text: str, today: date) -> list[Found]:
    """The days that a text names, in the order of the text."""
    return [Found(match["said"], _day(match, today)) for match in _DATE.finditer(text)]


def without_days(text: str) -> str:
    """The text with each day that it names replaced by a comma."""
    return _DATE.sub(",", text)


def number_of(text: str) -> float | None:
    """A number that is written in digits or as a word."""
    text = text.strip().casefold()
    if text in _WORDS:
        return _WORDS[text]
    try:
        return float(text.replace(",", ""))
    except ValueError:
        return None


def numbers_in(text: str, units: Mapping[str, float]) -> Iterator[tuple[str, float]]:
    """The numbers before one of the units ("3 new ideas" for "idea"), with the words that say so."""
    names = "|".join(re.escape(unit) for unit in units)
    for match in re.finditer(
        rf"(?<![\w.,])({NUMBER})[\s-]{{1,3}}(?:(?!{NUMBER}\b)\w{{1,30}}\s{{1,3}})??({names})s?\b", text, re.IGNORECASE
    ):
        number = number_of(match[1])
        if number is not None:
            yield match[0], number * units[match[2].casefold()]


def number_alone(text: str, cue: str) -> tuple[str, float] | None:
    """The number behind a word, if nothing follows that it could count ("for two", "for 2 in May"), with both words."""
    match = re.search(
        rf"(?<!\w){re.escape(cue)}\s+({NUMBER})"
        r"(?=\s*$|\s*[,.;:!?](?:\s|$)|\s+(?:to(?!\s+\d)|from|for|in|on|at|under|with|during|leaving|this|next)\b)",
        text,
        re.IGNORECASE,
    )
    number = number_of(match[1]) if match else None
    return None if match is None or number is None else (match[0], number)


def length_in(text: str) -> int | None:
    """How many days something takes ("for two weeks", "5 nights"), if the text says so."""
    return next(
        (int(number) for _, number in numbers_in(without_days(text), _SPANS) if 1 <= number <= MAX_LENGTH), None
    )


def _day(match: re.Match[str], today: date) -> str:
    if match["iso"]:
        return match["iso"]
    if near := match["near"]:
        return _later(today, {"tomorrow": 1, "the day after tomorrow": 2}.get(near.casefold(), 0))
    if weekday := match["weekday"]:
        return _later(today, _until(_WEEKDAYS.index(weekday.casefold()), today))
    if match["weekend"]:
        return _later(today, _until(5, today))
    if unit := match["next"] or match["unit"]:
        count = int(number_of(match["count"]) or 0) if match["count"] else 1
        return (
            _months_later(today, count) if unit.casefold() == "month" else _later(today, count * _SPANS[unit.lower()])
        )
    month = (match["month"] or match["month2"])[:3].casefold()
    number = [name[:3] for name in _MONTHS].index(month) + 1
    day, year = int(match["day"] or match["day2"]), match["year"] or match["year2"]
    try:
        if year:
            return date(int(year), number, day).isoformat()
        this_year = date(today.year, number, day)
        return (this_year if this_year >= today else date(today.year + 1, number, day)).isoformat()
    except ValueError:
        return match["said"]


def _until(weekday: int, today: date) -> int:
    return (weekday - today.weekday() - 1) % 7 + 1


def _later(today: date, days: int) -> str:
    try:
        return (today + timedelta(days=days)).isoformat()
    except OverflowError:
        return f"in {days} days"


def _months_later(today: date, months: int) -> str:
    year, month = divmod(today.month - 1 + months, 12)
    if today.year + year > date.max.year:
        return f"in {months} months"
    first = date(today.year + year, month + 1, 1)
    last = (first.replace(day=28) + timedelta(days=4)).replace(day=1) - timedelta(days=1)
    return min(first + timedelta(days=today.day - 1), last).isoformat()
