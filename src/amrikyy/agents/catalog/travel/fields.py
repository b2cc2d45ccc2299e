"""The types of value that travel requests consist of: airports, places, dates, amounts of money."""

import re
from datetime import UTC, date, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, WithJsonSchema

from amrikyy.agents.catalog.travel.airport_table import airports
from amrikyy.agents.catalog.travel.places import MAX_PLACE_LENGTH, resolve_country, resolve_place, suggest_airports
from amrikyy.agents.spoken import Spoken

LAST_DAY = date(9998, 12, 31)
"""A year short of the calendar's end, so that adding a duration to a date cannot overflow."""


def today() -> date:
    """The current day in UTC; for a caller west of Greenwich, its own today may already count as past."""
    return datetime.now(UTC).date()


def _check_airport(code: str) -> str:
    if len(code) > MAX_PLACE_LENGTH:
        raise ValueError("Use an airport's three-letter IATA code, for example JFK")
    if code.upper() in airports():
        return code.upper()
    raise ValueError(suggest_airports(code) or "No airport has this IATA code; use three letters, for example JFK")


def _read_date(value: Any) -> Any:
    # Without this, pydantic would accept 1767225600 and "2026-01-01T00:00" as dates, too.
    if type(value) is date:
        return value
    if isinstance(value, str) and re.fullmatch(r"\d{4}-\d{2}-\d{2}", value):
        try:
            return date.fromisoformat(value)
        except ValueError:
            raise ValueError(f"There is no day {value}; use a date like 2030-12-31 (YYYY-MM-DD)") from None
    raise ValueError("Use a date like 2030-12-31 (YYYY-MM-DD)")


def _check_future(day: date) -> date:
    if day < today():
        raise ValueError(f"{day} is in the past; use today ({today()}, UTC) or later")
    if day > LAST_DAY:
        raise ValueError(f"Use a date up to {LAST_DAY}")
    return day


def _airport_of(text: str) -> str | None:
    """The main airport of a place, however it is named."""
    place = resolve_place(text)
    return place.airport.code if place else None


def _known_place(text: str) -> str | None:
    return text if resolve_place(text) or resolve_country(text) else None


def known_country(text: str) -> str | None:
    """The text, perhaps without its plural s, if it names a country or its people."""
    return next((name for name in (text, text.removesuffix("s")) if resolve_country(name)), None)


_SEASON = re.compile(
    r"""(?:(?:a|the)\s+)?((?:(?:early|late|mid|high|low|peak|off|dry|wet|rainy|ski|school|public|new|spring|summer|autumn
    |winter)[\s-]+)?(?:spring|summer|autumn|fall|winter|season|holidays?|vacation|break|year|christmas|easter|ramadan
    |diwali|carnival|thanksgiving|january|february|march|april|may|june|july|august|september|october|november
    |december))""",
    re.IGNORECASE | re.VERBOSE,
)


def known_season(text: str) -> str | None:
    """The season, month or occasion that a text names."""
    match = _SEASON.fullmatch(text)
    return match[1] if match else None


AirportCode = Annotated[
    str,
    AfterValidator(_check_airport),
    Spoken(read=_airport_of),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": "^[A-Za-z]{3}$",
            "description": "An airport's IATA code; not a metropolitan code such as NYC, PAR or TYO.",
            "examples": ["JFK"],
        }
    ),
]
"""An airport's IATA code in upper case. A place that is not an airport is refused with the codes to use instead."""

FutureDate = Annotated[date, BeforeValidator(_read_date), AfterValidator(_check_future)]
"""Today (UTC) or later, written YYYY-MM-DD."""

Place = Annotated[str, StringConstraints(min_length=2, max_length=MAX_PLACE_LENGTH), Spoken(read=_known_place)]
"""A city, or an airport's or metropolitan area's code, as a person would say it."""

Interest = Annotated[str, StringConstraints(min_length=1, max_length=60)]
"""Something that a traveller likes, in a few words."""

Budget = Annotated[
    float,
    Field(ge=0, allow_inf_nan=False),
    Spoken(
        after=("under $", "below $", "up to $", "less than $", "$", "budget of", "budget is", "budget"),
        units={"dollar": 1, "usd": 1},
    ),
]
"""An amount of US dollars."""

ORIGIN = Spoken(after=("from", "leaving"), before=("to",), assume="origin")
DESTINATION = Spoken(after=("to", "in", "into", "at", "for", "visit", "around"))
TRAVELLERS = Spoken(
    units=dict.fromkeys(("person", "people", "adult", "traveler", "traveller", "passenger", "guest", "ticket"), 1),
    alone=("for",),
)
DAYS = Spoken(units={"day": 1, "night": 1, "week": 7}, assume="days")
SEASON = Spoken(
    read=known_season,
    after=("during the", "during", "in the", "in", "for the", "for", "over the", "over", "this", "next"),
)
INTERESTS = Spoken(after=("interested in", "who like", "who love", "we like", "we love", "I like", "I love"))
