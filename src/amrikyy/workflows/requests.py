"""From what flows through a workflow to the request of a step."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from amrikyy.agents.agent import Operation

Fields = Mapping[str, Any]

MAX_PLAIN = 200
"""Characters."""


def field_names(operation: Operation[Any, Any]) -> set[str]:
    """The fields of its request, as they are written in JSON."""
    return {field.alias or name for name, field in operation.request_type.model_fields.items()}


def plain(produced: Fields) -> dict[str, Any]:
    """The outputs that the planner is shown: numbers and short texts. In whole articles it would find anything."""
    return {
        name: value
        for name, value in produced.items()
        if isinstance(value, int | float) or (isinstance(value, str) and len(value) <= MAX_PLAIN)
    }


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
