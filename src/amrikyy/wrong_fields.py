"""What pydantic says of wrong fields, in words for whoever sent them."""

import re
from typing import Any

from pydantic import BaseModel, SecretStr, ValidationError
from pydantic.fields import FieldInfo

_TIME = "This must be a time, for example 2027-05-01T12:00:00Z"
_DATE = "This must be a date, for example 2027-05-01"
_IN_WORDS = {
    "timezone_aware": "Add the time zone, for example 2027-05-01T12:00:00Z",
    "datetime_parsing": _TIME,
    "datetime_from_date_parsing": _TIME,
    "date_parsing": _DATE,
    "date_from_datetime_parsing": _DATE,
}

_ALTERNATIVE = re.compile(r"[A-Z]\w*|constrained-\w+|str|int|float|bool|\w[\w-]*[\[(].*", re.DOTALL)
"""How pydantic calls one of several types that a value may have, in the middle of where it is."""


def wrong_fields(error: ValidationError, model: type[BaseModel], at_most: int) -> list[dict[str, Any]]:
    """`field`, `message` and `type` of each. The values are left out: they may be secrets or prompts.

    Args:
        error: what was raised.
        model: what it was to be.
        at_most: how many of them.
    """
    fields = {field.alias or name: field for name, field in model.model_fields.items()}
    known = ", ".join(fields)
    found = []
    for wrong in error.errors(include_url=False, include_context=False, include_input=False)[:at_most]:
        path = _path_of(wrong["loc"], is_unknown=wrong["type"] == "extra_forbidden")
        message = _IN_WORDS.get(wrong["type"]) or wrong["msg"].removeprefix("Value error, ")
        message = message.replace(" after validation", "")
        if wrong["type"] == "extra_forbidden":
            message = f"Unknown field. Known fields: {known}" if len(wrong["loc"]) == 1 else "Unknown field"
        elif wrong["type"] == "string_pattern_mismatch" and path in fields:
            message = _form_of(fields[path])
        elif wrong["type"] in ("too_short", "too_long") and path in fields and fields[path].annotation is SecretStr:
            message = message.replace("item", "character")
        found.append({"field": path, "message": message, "type": wrong["type"]})
    return found


def _path_of(location: tuple[int | str, ...], *, is_unknown: bool) -> str:
    """Where a wrong field is, as its sender sees it. `is_unknown`: its name is the sender's, whatever it is like."""
    own = len(location) - 1 if is_unknown else len(location)
    parts = [
        str(part)
        for place, part in enumerate(location)
        if place == 0 or place >= own or isinstance(part, int) or not _ALTERNATIVE.fullmatch(part)
    ]
    return ".".join(parts)[:200] or "(body)"


def _form_of(field: FieldInfo) -> str:
    """What a text must look like, in words: its pattern is for programs, and is in the OpenAPI document."""
    said = (field.description or "").rstrip(".")
    if said[1:2] == " " or said[1:2].islower():
        said = said[0].lower() + said[1:]
    form = f": {said}" if said else ""
    examples = f", for example {' or '.join(map(str, field.examples))}" if field.examples else ""
    return f"Not of the required form{form}{examples}"
