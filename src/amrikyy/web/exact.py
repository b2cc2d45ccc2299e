"""Checks JSON types as documented: pydantic would also accept "2" and true for 2, a number for a time, and NaN."""

import json
import types
import typing
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import date, datetime
from functools import cache
from typing import Any

import msgspec
from pydantic import AwareDatetime, BaseModel

from amrikyy.errors import ValidationFailed

Kind = tuple[bytes, str, str]

_TIME: Kind = (b'"', "datetime_type", "Input should be a valid datetime")

_KINDS: Mapping[Any, Kind] = {
    int: (b"-0123456789", "int_type", "Input should be a valid integer"),
    float: (b"-0123456789", "float_type", "Input should be a valid number"),
    bool: (b"tf", "bool_type", "Input should be a valid boolean"),
    date: (b'"', "date_type", "Input should be a valid date"),
    datetime: _TIME,
    AwareDatetime: _TIME,
}
"""By type: the possible first bytes of a value, and the error for other values."""

_skipped: Any = msgspec.json.Decoder(msgspec.Raw).decode
_fields: Any = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def check_numbers(body: bytes) -> None:
    """Refuse NaN and Infinity, which JSON does not have. Other errors in the body are left to validation.

    Raises:
        ValidationFailed: the body has one of them.
    """
    if body.find(b"NaN") < 0 and body.find(b"Infinity") < 0:  # `in` first makes an exception of what is no number
        return
    with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        _skipped(body)  # takes a tenth of the time of the parser below
        return  # the word is inside a string
    with suppress(ValueError, RecursionError):
        json.loads(body, parse_constant=_no_number, parse_int=str, parse_float=str)


def _no_number(word: str) -> None:
    message = f"JSON has no {word}: send a number, or null where the field allows it"
    raise ValidationFailed(
        f"The body cannot be read. {message}.",
        code="malformed_body",
        details=[{"field": "(body)", "message": message, "type": "json_invalid"}],
    )


def inexact(model: type[BaseModel], body: bytes, path: str = "") -> list[dict[str, Any]]:
    """The errors of fields, including those of nested objects, whose value is not of the documented JSON type.

    Lists are not checked. A body that is not an object is left to validation.
    """
    expected = _expected(model)
    if not expected:
        return []
    try:
        given: dict[str, msgspec.Raw] = _fields(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return []
    wrong = []
    for name, raw in given.items():
        kind = expected.get(name)
        if kind is None:
            continue
        value = bytes(raw)
        if isinstance(kind, type):
            wrong += inexact(kind, value, f"{path}{name}.")
        elif value[0] not in kind[0] and value != b"null":
            wrong.append({"field": f"{path}{name}", "message": kind[2], "type": kind[1]})
    return wrong


@cache
def _expected(model: type[BaseModel]) -> dict[str, Kind | type[BaseModel]]:
    """The kind or the model of each field, by its name and its alias."""
    found: dict[str, Kind | type[BaseModel]] = {}
    for name, info in model.model_fields.items():
        parts = list(_parts(info.annotation))
        if len(parts) != 1 or not isinstance(parts[0], type):
            continue
        kind = _KINDS.get(parts[0])
        if kind is not None or issubclass(parts[0], BaseModel):
            found[name] = found[info.alias or name] = kind or parts[0]
    return found


def _parts(annotation: Any) -> Iterator[Any]:
    """The types of a union, without `None` and annotations."""
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        yield from _parts(typing.get_args(annotation)[0])
    elif origin in (typing.Union, types.UnionType):
        for argument in typing.get_args(annotation):
            yield from _parts(argument)
    elif annotation is not types.NoneType:
        yield annotation if origin is None else origin
