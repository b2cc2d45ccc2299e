"""From the fields that somebody named to a valid request: values are read as people say them; little is assumed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

from pydantic import ValidationError

from amrikyy.agents.agent import Operation, Request
from amrikyy.agents.planner.phrases import days_in, number_of
from amrikyy.agents.spoken import Slot, slots_of
from amrikyy.errors import ValidationFailed

DAYS_AHEAD = 30
"""Days from today to the first day, where no day is given."""

DAYS_LONG = 7
"""Days from the first day to the last, where neither a last day nor a length is given."""


LAST_START = date(9000, 1, 1)
"""So far from the calendar's end that any length of stay still fits."""


@dataclass(slots=True)
class Completion:
    """What has become of some fields.

    Attributes:
        request: the valid request; None if there is none.
        assumed: the fields that nobody has named, with the values that they were given.
        error: what is missing or wrong; None if nothing is.
    """

    request: Request | None = None
    assumed: dict[str, Any] = field(default_factory=dict)
    error: ValidationFailed | None = None

    @property
    def defaults(self) -> set[str]:
        """The fields whose default says something that nobody has said."""
        if self.request is None:
            return set()
        fields = type(self.request).model_fields
        left = fields.keys() - self.request.model_fields_set
        return {fields[name].alias or name for name in left if getattr(self.request, name) not in (None, [])}

    @property
    def wrong(self) -> set[str]:
        """The fields that keep it from being a request."""
        return {detail["field"].partition(".")[0] for detail in self.error.details} if self.error else set()


def today() -> date:
    """The day it is in UTC."""
    return datetime.now(UTC).date()


def complete(
    operation: Operation[Any, Any],
    named: Mapping[str, Any],
    *,
    home_airport: str,
    about: str | None = None,
    days_long: int | None = None,
) -> Completion:
    """Make a request of named fields; those whose value does not validate are read as text.

    Args:
        operation: whose request it shall be.
        named: fields by their names in JSON.
        home_airport: the origin that may be assumed.
        about: what the request is about, where no field says it.
        days_long: how long a stay is, if that has been said.
    """
    slots = {slot.name: slot for slot in slots_of(operation.request_type)}
    values = dict(named)
    missing = {name for name, slot in slots.items() if slot.required and name not in values}
    for name in [each for each in missing if slots[each].spoken.subject and about]:
        values[name] = about
    for name in _wrong(operation, values):
        if name in slots and isinstance(values.get(name), str):
            values[name] = understood(slots[name], values[name])
    start = _day(slots, values, "start")
    assumed = _assumptions(slots, values, home_airport, start, days_long or DAYS_LONG)
    if days_long and start:  # then the end has been said, too
        values |= {name: assumed.pop(name) for name in tuple(assumed) if slots[name].spoken.assume == "end"}
    try:
        return Completion(operation.request_type.model_validate(values | assumed), assumed)
    except ValidationError as error:
        return Completion(assumed=assumed, error=ValidationFailed.from_pydantic(error, operation.request_type))


def understood(slot: Slot, text: str) -> Any:
    """The value that a text means in this field, or the text itself if it means none."""
    if slot.spoken.read is not None:
        return text if (value := slot.spoken.read(text)) is None else value
    if slot.type is date:
        return next((found.value for found in days_in(text, today())), text)
    if slot.type in (int, float):
        number = number_of(text)
        return text if number is None else int(number) if number == int(number) else number
    if slot.type is list:
        return [part.strip() for part in text.split(",") if part.strip()]
    return text


def _wrong(operation: Operation[Any, Any], values: Mapping[str, Any]) -> set[str]:
    try:
        operation.request_type.model_validate(values)
    except ValidationError as error:
        return {
            str(wrong["loc"][0]) for wrong in error.errors(include_url=False, include_context=False) if wrong["loc"]
        }
    return set()


def _assumptions(
    slots: Mapping[str, Slot], values: Mapping[str, Any], home_airport: str, start: date | None, days_long: int
) -> dict[str, Any]:
    """Values for the required fields that nobody named and that may be assumed."""
    if start is None:
        end = _day(slots, values, "end")
        start = max(today(), end - timedelta(days=days_long)) if end else today() + timedelta(days=DAYS_AHEAD)
    assumed: dict[str, Any] = {}
    for name, slot in slots.items():
        if not slot.required or name in values:
            continue
        match slot.spoken.assume:
            case "start":
                assumed[name] = start.isoformat()
            case "end":
                assumed[name] = (start + timedelta(days=days_long)).isoformat()
            case "days":
                assumed[name] = days_long
            case "origin" if home_airport not in values.values():
                assumed[name] = home_airport
            case "count":
                assumed[name] = 1
            case "platforms":
                assumed[name] = list(slot.options)
    return assumed


def _day(slots: Mapping[str, Slot], values: Mapping[str, Any], which: str) -> date | None:
    for name, slot in slots.items():
        if slot.spoken.assume == which and isinstance(values.get(name), str | date):
            try:
                day = date.fromisoformat(str(values[name]))
            except ValueError:
                continue
            if today() <= day <= LAST_START:  # any other is refused when the request is validated
                return day
    return None
