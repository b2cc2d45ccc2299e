"""From what flows through a workflow to the request of a step."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from amrikyy.agents.agent import Operation

Fields = Mapping[str, Any]

MAX_PLAIN = 100
"""Characters of a text; one that is longer is a sentence."""


def field_names(operation: Operation[Any, Any]) -> set[str]:
    """The fields of its request, as they are written in JSON."""
    return {field.alias or name for name, field in operation.request_type.model_fields.items()}


def plain(produced: Fields) -> dict[str, Any]:
    """The outputs that the planner is shown: numbers, short texts, and the names of what was found, which say most of
    what it is about, first. In whole articles it would find anything."""
    names = {name: text for name, value in produced.items() if (text := _name_of(value)) is not None}
    return names | {name: value for name, value in produced.items() if isinstance(value, int | float) or _short(value)}


def _name_of(found: Any) -> str | None:
    """The name or title of an object, or of the first in a list: the best of what an operation proposes."""
    if isinstance(found, list):
        found = found[0] if found else None
    if not isinstance(found, Mapping):
        return None
    return next((found[each] for each in ("name", "title") if _short(found.get(each))), None)


def _short(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= MAX_PLAIN


def fitting(operation: Operation[Any, Any], given: Fields, produced: Fields) -> dict[str, Any]:
    """What was given, with those outputs instead whose name and value fit the operation's request.

    An output of the same name is often something else: the `destination` of a flight search is asked for as a code
    and answered as an airport.
    """
    fields = {name: value for name, value in given.items() if name in field_names(operation)}
    for name in field_names(operation) & produced.keys():
        candidate = fields | {name: produced[name]}
        try:
            operation.request_type.model_validate(candidate)
        except ValidationError as error:
            if any(wrong["loc"][:1] == (name,) for wrong in error.errors(include_input=False, include_url=False)):
                continue
        fields = candidate
    return {**given, **fields}
