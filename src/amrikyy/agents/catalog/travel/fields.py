"""The kinds of value that travel requests are made of: airports, places, dates, amounts of money."""

import re
from datetime import UTC, date, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, WithJsonSchema

from amrikyy.agents.catalog.travel.airport_table import airports
from amrikyy.agents.catalog.travel.places import MAX_PLACE_LENGTH, suggest_airports

LAST_DAY = date(9998, 12, 31)
"""A year short of the calendar's end, so that no sum of a date and a duration can run over it."""


def today() -> date:
    """The day it is in UTC; a caller west of it may find that its own today is already over."""
    return datetime.now(UTC).date()


def _check_airport(code: str) -> str:
    if len(code) > MAX_PLACE_LENGTH:
        raise ValueError("Use an airport's three-letter IATA code, for example JFK")
    if code.upper() in airports():
        return code.upper()
    raise ValueError(suggest_airports(code) or "No airport has this IATA code; use three letters, for example JFK")


def _read_date(value: Any) -> Any:
    # Without this pydantic would take 1767225600 and "2026-01-01T00:00" for dates too.
    if type(value) is date or (isinstance(value, str) and re.fullmatch(r"\d{4}-\d{2}-\d{2}", value)):
        return value
    raise ValueError("Use a date like 2030-12-31 (YYYY-MM-DD)")


def _check_future(day: date) -> date:
    if day < today():
        raise ValueError(f"{day} is in the past; use today ({today()}, UTC) or later")
    if day > LAST_DAY:
        raise ValueError(f"Use a date up to {LAST_DAY}")
    return day


AirportCode = Annotated[
    str,
    AfterValidator(_check_airport),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": "^[A-Za-z]{3}$",
            "description": "An airport's IATA code; not a metropolitan code such as NYC, PAR or TYO.",
            "examples": ["JFK"],
        }
    ),
]
"""An airport's IATA code in upper case. What is a place but no airport is refused with the codes to use instead."""

FutureDate = Annotated[date, BeforeValidator(_read_date), AfterValidator(_check_future)]
"""Today (UTC) or later, written YYYY-MM-DD."""

Place = Annotated[str, StringConstraints(min_length=2, max_length=MAX_PLACE_LENGTH)]
"""A city, or an airport's or metropolitan area's code, as a person would say it."""

Interest = Annotated[str, StringConstraints(min_length=1, max_length=60)]
"""Something that a traveller likes, in a few words."""

Budget = Annotated[float, Field(ge=0, allow_inf_nan=False)]
"""An amount of US dollars."""
