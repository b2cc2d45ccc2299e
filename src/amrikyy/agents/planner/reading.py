"""Reads a sentence without a model: which operation it asks for, and the words for each field of the request."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import lru_cache
from itertools import islice
from typing import Any, Literal

from amrikyy.agents.agent import Operation
from amrikyy.agents.planner.phrases import days_in, number_alone, number_of, numbers_in, without_days
from amrikyy.agents.spoken import Slot, slots_of

MAX_READ = 2000
"""The most characters of a text that are read; nobody says more in one request."""

MAX_WORDS = 5
"""The most words of a name that is looked for: "San Carlos de Bariloche" has four."""

MAX_NAME = 80
"""Characters of it."""

MAX_STARTS = 40
"""The most words at which a name is looked for: each costs some microseconds while the event loop waits."""

_END_OF_NAME = re.compile(r"[,;:!?\n]|\s+(?:to|from|for|on|in|with|and|by|via|at|under|as|of|without)\b", re.IGNORECASE)

_IDLE = frozenset(re.findall(
    r"\w+",
    "a about all an and are as at book by can create do find for from generate get give i in is it make me my need of "
    "on or our please plan show some that the there these this to us want we what where which with write would you",
))  # fmt: skip
"""Words that say nothing about what is wanted."""


Said = dict[str, tuple[Any, str]]
"""The value of each field, and the words that say it."""


@dataclass(slots=True)
class Reading:
    """An operation, what is said of its request, and how much of its name and description is in the text."""

    operation: Operation[Any, Any]
    said: Said = field(default_factory=dict)
    likeness: int = 0


def read(
    text: str, operations: Sequence[Operation[Any, Any]], today: date, named: frozenset[str] = frozenset()
) -> list[Reading]:
    """Each operation as the text may ask for it: first the one whose words it uses most; of equals, one whose request
    is nearly whole.

    Args:
        text: what was said.
        operations: what there is to choose from.
        today: the day that "tomorrow" follows.
        named: fields that have been given by their names beside the text.
    """
    text = re.sub(r"\s(?:-+>?|–|—|→|=>)\s", " to ", text[:MAX_READ])

    def rank(reading: Reading) -> tuple[int, int, int]:
        slots = slots_of(reading.operation.request_type)
        known = named | reading.said.keys()
        missing = sum(slot.required and slot.name not in known and slot.spoken.assume is None for slot in slots)
        return reading.likeness, -missing, sum(slot.name in known for slot in slots)

    # Equals stay in the order in which they were declared.
    return sorted((_fields(text, operation, today) for operation in operations), key=rank, reverse=True)


def _likeness(text: str, operation: Operation[Any, Any]) -> int:
    """How much of the operation's name, and then of its description, is in the text."""
    said = _words(text)
    name = set(_name_words(operation)) - _IDLE
    stems = {_stem(word) for word in said}
    exact = len(name & said)
    by_stem = len({_stem(word) for word in name} & stems)
    described = {_stem(word) for word in _words(operation.description) - _IDLE}
    other = len({_stem(word) for word in operation.words} & stems)
    return 2 * exact + 6 * (by_stem + other) + len(described & stems)


def _fields(text: str, operation: Operation[Any, Any], today: date) -> Reading:
    slots = slots_of(operation.request_type)
    reading = Reading(operation, likeness=_likeness(text, operation))
    said = reading.said
    dates = [slot for slot in slots if slot.type is date]
    for slot, found in zip(dates, days_in(text, today), strict=False):
        said[slot.name] = (found.value, found.words)
    rest = without_days(text) if dates else text
    for slot in slots:
        if slot.type is Literal and (option := _option(slot, rest)):
            said[slot.name] = (option, option)
        elif slot.type is list and slot.options:
            named = [option for option in slot.options if _has(rest, str(option))]
            if named:
                said[slot.name] = (named, named[0])
        elif slot.type in (int, float) and (number := _number(slot, rest)):
            said[slot.name] = number
    own = _own_words(operation)
    for slot in slots:
        if slot.type is str and slot.spoken.read is not None and (known := _known(slot, rest, own, said)):
            said[slot.name] = known
    for slot in slots:
        if slot.name in said or slot.options or slot.spoken.read is not None:
            continue
        if slot.type is str and (words := _text(slot, rest, own)):
            said[slot.name] = (words, words)
        elif slot.type is list and (listed := _list(slot, _without(rest, said), own)):
            said[slot.name] = listed
    return reading


def _option(slot: Slot, text: str) -> str | None:
    """The choice that is named: before one of the field's units if it has any, or alone between commas."""
    alone = {part.strip().casefold() for part in re.split(r"[,;.]", text)}
    units = "|".join(re.escape(unit) for unit in slot.spoken.units)
    for option in slot.options:
        if option in alone or (
            _has(text, rf"{option}[\s,-]{{1,2}}(?:\w{{1,30}}[\s,-]{{1,2}}){{0,2}}(?:{units})s?", pattern=True)
            if units
            else _has(text, option)
        ):
            return str(option)
    return None


def _number(slot: Slot, text: str) -> tuple[Any, str] | None:
    found = next(numbers_in(text, slot.spoken.units), None) if slot.spoken.units else None
    for cue in () if found else slot.spoken.after:
        if match := re.search(rf"(?<!\w){re.escape(cue)}\s*\$?(\d[\d,]*(?:\.\d+)?)", text, re.IGNORECASE):
            found = (match[0], number_of(match[1]) or 0)
            break
    found = found or next(filter(None, (number_alone(text, cue) for cue in slot.spoken.alone)), None)
    if found is None:
        return None
    words, number = found
    return (int(number) if number == int(number) else number), words


def _known(slot: Slot, text: str, own: frozenset[str], said: Said) -> tuple[Any, str] | None:
    """The first name that the field knows: behind one of its cues, else, if it is required, anywhere."""
    assert slot.spoken.read is not None
    text = _without(text, said)
    if leading := _known_before(slot, text):
        return leading
    cued = [m.end() for cue in slot.spoken.after for m in re.finditer(rf"\b{re.escape(cue)}\s+", text, re.IGNORECASE)]
    starts = cued
    if slot.required and slot.spoken.assume is None:
        skipped = own | _IDLE
        candidates = re.finditer(r"[^\W_][\w'’.-]*", text)
        free = [
            word for word in candidates if word[0].casefold() not in skipped or (len(word[0]) > 1 and word[0].isupper())
        ]
        starts = cued + [word.start() for word in free if word[0][0].isupper() or len(word[0]) > 3]
    starts.sort(key=lambda start: not text[start : start + 1].isupper())  # names first: "I want to see Paris"
    for start in starts[:MAX_STARTS]:
        parts = _END_OF_NAME.split(text[start : start + MAX_NAME], maxsplit=1)[0].split()[:MAX_WORDS]
        for count in range(len(parts), 0, -1):
            name = " ".join(parts[:count]).strip(".")
            if name and (value := _read_name(slot.spoken.read, name)) is not None:
                return value, name
    if not slot.required:
        return None
    # A name that nobody knows is still what was said; whether it will do is for the request to decide.
    unknown = next((text[start : start + MAX_NAME] for start in cued if text[start : start + 1].isupper()), None)
    name = _END_OF_NAME.split(unknown, maxsplit=1)[0].strip(" .") if unknown else ""
    return (name, name) if name else None


def _known_before(slot: Slot, text: str) -> tuple[Any, str] | None:
    """The name that one of the field's later cues follows: "Berlin" in "flights Berlin to Madrid"."""
    assert slot.spoken.read is not None
    for cue in slot.spoken.before:
        for match in islice(re.finditer(rf"\s+{re.escape(cue)}\b", text, re.IGNORECASE), MAX_STARTS):
            parts = re.split(r"[,;:!?\n]", text[max(0, match.start() - MAX_NAME) : match.start()])[-1].split()
            for count in range(min(MAX_WORDS, len(parts)), 0, -1):
                name = " ".join(parts[-count:])
                if (name[0].isupper() or count == len(parts)) and (value := _read_name(slot.spoken.read, name)):
                    return value, name
    return None


@lru_cache(maxsize=1024)
def _read_name(read: Callable[[str], Any], name: str) -> Any:
    """What a word means in a field; cached, because the same words are looked up for each operation."""
    return read(name)


def _text(slot: Slot, text: str, own: frozenset[str]) -> str | None:
    for cue in slot.spoken.before if slot.spoken.read is None else ():
        pattern = (
            rf"\b(?:in|for|of|about|within|on)\s+(?:the\s+|an?\s+)?((?:[\w&-]{{1,30}}\s+){{1,3}}?){re.escape(cue)}\b"
        )
        if match := re.search(pattern, text, re.IGNORECASE):
            return match[1].strip()
    if words := _after(text, slot.spoken.after):
        return re.sub(r"^(?:the|an?)\s+", "", words, flags=re.IGNORECASE)
    if not slot.spoken.subject or not slot.required:
        return None
    # No "about": what is left of the sentence without the words for the operation itself.
    parts = re.split(r"[,;]", text)[0].split()
    idle = own | _IDLE
    while parts and parts[0].strip(".!?:").casefold() in idle:
        parts.pop(0)
    while parts and parts[-1].strip(".!?:").casefold() in idle:
        parts.pop()
    return " ".join(parts).strip(".!?") or None


def _list(slot: Slot, text: str, own: frozenset[str]) -> tuple[list[str], str] | None:
    """What is listed behind the first cue that something telling follows."""
    idle = own | _IDLE
    for cue in slot.spoken.after:
        words = _after(text, (cue,), _LIST) or ""
        parts = []
        for part in re.split(r"\s*,\s*(?:and\s+|or\s+)?|\s+(?:and|or|vs\.?|versus|with|to)\s+", words):
            said = part.split()
            while said and said[0] in idle:  # as it is written: "Make" is a name
                said.pop(0)
            parts.append("" if re.fullmatch(r"\$?[\d.,]+", " ".join(said)) else " ".join(said))
        if parts[0]:  # not "for me and my wife"
            return [part for part in parts if part], parts[0]
    return None


def _without(text: str, said: Said) -> str:
    """The text with a comma in place of what it says of other fields; a word that is said twice stays once."""
    for _, words in said.values():
        text = re.sub(rf"(?<!\w){re.escape(words)}(?!\w)", ",", text, count=1)
    return text


_CLAUSE = r"([^,;\n]+)"
_LIST = (
    r"(?:,\s*of\s+)?([^\s,.;\n][^.;\n]*?)(?=\s+(?:in|for|on|by|during|within)\s|,\s+(?:\d|with|budget|under)|[.;\n]|$)"
)


def _after(text: str, cues: Iterable[str], end: str = _CLAUSE) -> str | None:
    """What follows the first cue that is there, to the end of the clause, or of the list."""
    for cue in cues:
        if match := re.search(rf"(?<!\w){re.escape(cue)}:?\s+{end}", text, re.IGNORECASE):
            return match[1].strip(" .!?") or None
    return None


def _own_words(operation: Operation[Any, Any]) -> frozenset[str]:
    options = [str(option).casefold() for slot in slots_of(operation.request_type) for option in slot.options]
    names = [*_name_words(operation), *operation.words, *options]
    return frozenset({*names, *(f"{word}s" for word in names), *(_stem(word) for word in names)})


def _name_words(operation: Operation[Any, Any]) -> list[str]:
    return [word.casefold() for word in re.findall(r"[A-Z]?[a-z0-9]+|[A-Z]+", operation.name)]


def _words(text: str) -> set[str]:
    return {word.casefold() for word in re.findall(r"[^\W_]+", text)}


def _stem(word: str) -> str:
    """A rough stem, so that "flights" matches "flight" and "ideas" matches "idea"."""
    for ending, instead in (("ies", "y"), ("sses", "ss"), ("s", "")):
        if word.endswith(ending) and len(word) > 3 and not word.endswith("ss"):
            return word.removesuffix(ending) + instead
    return word


def _has(text: str, phrase: str, *, pattern: bool = False) -> bool:
    return re.search(rf"(?<!\w){phrase if pattern else re.escape(phrase)}(?!\w)", text, re.IGNORECASE) is not None
