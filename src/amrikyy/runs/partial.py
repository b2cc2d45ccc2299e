"""The object so far: what can be read from an unfinished JSON text, with invalid fields left out."""

import re
from functools import cache
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, Field, ValidationError, ValidatorFunctionWrapHandler, WrapValidator, create_model
from pydantic_core import PydanticUseDefault, from_json

from amrikyy.runs.events import Delta

_ESCAPED = re.compile(r"\\.")
# A number or a word at the very end may go on: 12 of 123, tru of true. Each word is read once, from its beginning: from
# each of its characters, a long one would take the square of its length.
_UNFINISHED = re.compile(r"(?<![-+.\w])[-+.\w]++\Z")


class Fold:
    """Folds deltas into the object so far."""

    def __init__(self, model: type[BaseModel]) -> None:
        self._model = partial_model(model)
        self._text = ""

    def feed(self, delta: Delta, model: type[BaseModel] | None = None) -> None:
        """Apply a delta; `model` is given if the object is of another model from now on."""
        if model is not None:
            self._model = partial_model(model)
        self._text = delta.text if delta.restarts else self._text + delta.text

    @property
    def text(self) -> str:
        """The text so far."""
        return self._text

    def value(self) -> BaseModel:
        """The object so far: every field in it is valid; fields that have not arrived yet are left out."""
        start = self._text.find("{")  # some models write a code fence first
        text = self._text[start:] if start >= 0 else "{}"
        if not _inside_string(text):
            text = _UNFINISHED.sub("", text)
        try:
            return self._model.model_validate(from_json(text, allow_partial="trailing-strings"))
        except (ValueError, ValidationError):
            return self._model()

    def encoded(self) -> bytes:
        """`value` as JSON."""
        return encode(self.value())


def encode(partial: BaseModel) -> bytes:
    """A partial object as JSON, without the fields that have not arrived yet."""
    return partial.__pydantic_serializer__.to_json(partial, by_alias=True, exclude_none=True)


def _inside_string(text: str) -> bool:
    return _ESCAPED.sub("", text).count('"') % 2 == 1


@cache
def partial_model(model: type[BaseModel]) -> type[BaseModel]:
    """The same model, recursively, with every field optional and an invalid value treated as not yet there."""
    if not model.model_fields:  # nothing to make optional; it may take any object
        return model
    fields: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        lenient = _lenient(field.annotation)
        keeps_constraints = lenient is field.annotation and get_origin(lenient) is None
        kind = Annotated[(lenient, *field.metadata)] if keeps_constraints and field.metadata else lenient
        fields[name] = (Annotated[kind | None, WrapValidator(_drop_invalid)], Field(default=None, alias=field.alias))
    return create_model(f"Partial{model.__name__}", **fields)


def _lenient(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return partial_model(annotation)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is list and arguments:
        element: Any = _lenient(arguments[0])
        return Annotated[list[element], WrapValidator(_drop_last)]
    if origin is Annotated:
        inner = _lenient(arguments[0])
        return annotation if inner is arguments[0] else inner
    if origin in (Union, UnionType):
        return Union[tuple(_lenient(argument) for argument in arguments)]  # noqa: UP007 - built at run time
    return annotation


def _drop_invalid(value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
    try:
        return validate(value)
    except ValidationError:
        raise PydanticUseDefault from None


def _drop_last(value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
    try:
        return validate(value)
    except ValidationError:
        if not isinstance(value, list) or not value:
            raise
        return validate(value[:-1])
