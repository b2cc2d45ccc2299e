"""How people say the fields of a request in plain words, for the planner."""

import re
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

from pydantic.fields import FieldInfo

Assumption = Literal["start", "end", "days", "origin", "count", "platforms"]
"""All that the planner may assume: the first day, the last day, a length in days, the home airport, a count, and where
to publish."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoken:
    """How people say a value. Put it into the `Annotated` type of a field, or of a kind of value that fields share.

    Attributes:
        read: turns a text into the value ("Paris" → "CDG"), or None if it is not such a value. Without it, a text is
            taken as it is, and dates and numbers are read as such.
        after: words that the value follows, the most telling first ("from", "about").
        before: words that follow the value ("to" in "Berlin to Madrid", "industry" in "the toy industry").
        units: words that follow a number, in the singular, and what it is multiplied by ({"day": 1, "week": 7}). A
            choice that has units is only meant if one of them follows ("first class").
        alone: words that a number follows which counts nothing else ("for" in "flights for 2", not in "for 2 weeks").
        subject: whether the field is what the whole request is about, so that it may be any text.
        assume: what the planner may assume if nothing is said.
    """

    read: Callable[[str], Any] | None = None
    after: tuple[str, ...] = ()
    before: tuple[str, ...] = ()
    units: Mapping[str, float] = field(default_factory=dict, hash=False)  # types must be hashable
    alone: tuple[str, ...] = ()
    subject: bool = False
    assume: Assumption | None = None


@dataclass(frozen=True, slots=True)
class Slot:
    """A field of a request as the planner sees it.

    Attributes:
        name: its name in JSON.
        type: the bare type: `str`, `int`, `float`, `bool`, `date`, `list`, or whatever it is.
        options: the values of a `Literal`, or of a list of them.
    """

    name: str
    field: FieldInfo
    type: Any
    options: tuple[Any, ...]
    spoken: Spoken

    @property
    def required(self) -> bool:
        """Whether the request is invalid without it."""
        return self.field.is_required()


def slots_of(request_type: type[Any]) -> tuple[Slot, ...]:
    """The fields of a request, in order.

    A field without `Spoken` follows its name ("dish: pasta") or, if it is a number, precedes it ("3 portions"); if only
    one text is required, it is what the request is about.
    """
    slots = [_slot(info.alias or name, info) for name, info in request_type.model_fields.items()]
    texts = [slot for slot in slots if slot.required and slot.type is str]
    return tuple(replace(slot, spoken=_by_name(slot, texts)) if slot.spoken == Spoken() else slot for slot in slots)


def _by_name(slot: Slot, texts: list[Slot]) -> Spoken:
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", slot.name).replace("_", " ").lower()
    if slot.type in (int, float):
        return Spoken(units={name.removesuffix("s"): 1}, after=(name,))
    if slot.options or slot.type not in (str, list):
        return slot.spoken
    return Spoken(after=(name,), subject=texts == [slot])


def _slot(name: str, info: FieldInfo) -> Slot:
    said: dict[str, Any] = {}
    kind: Any = None
    options: tuple[Any, ...] = ()
    for part in (*_parts(info.annotation), *info.metadata):
        if isinstance(part, Spoken):  # the outermost comes last, and wins
            said |= {each.name: value for each in fields(part) if (value := getattr(part, each.name))}
        elif typing.get_origin(part) is Literal:
            kind, options = kind or Literal, typing.get_args(part)
        elif kind is None:
            kind = typing.get_origin(part) or part
    return Slot(name, info, kind, options, Spoken(**said))


def _parts(annotation: Any) -> Iterator[Any]:
    """A type's parts from the outside to the inside, without `None`, `Union` and `Annotated`."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        yield from _parts(arguments[0])
        yield from arguments[1:]
    elif origin in (typing.Union, types.UnionType):
        for argument in arguments:
            if argument is not type(None):
                yield from _parts(argument)
    else:
        if isinstance(annotation, type) or origin is not None:
            yield annotation
        if origin in (list, tuple, set):
            for argument in arguments:
                yield from _parts(argument)
