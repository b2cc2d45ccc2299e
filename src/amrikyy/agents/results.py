"""What an operation makes, checked before anybody sees it: its result, its texts and its errors."""

import inspect
import json
from collections.abc import Iterator
from functools import cache
from typing import Any, Literal

import msgspec
import structlog
from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticSerializationError

from amrikyy.agents.agent import Operation, Request, Result, TextResult
from amrikyy.errors import AmrikyyError, InternalError

log = structlog.get_logger(__name__)

MAX_OUTPUT = 8_000_000
"""The most bytes of a result, and characters that a run shows before it: ten times the longest answers of models."""


def encode_result(operation: Operation[Any, Any], made: object, request: Request, *, truncated: bool) -> bytes:
    """The result as JSON.

    Raises:
        InternalError: it is not what the operation declares (`wrong_result`), or too large (`output_too_large`).
    """
    if operation.writes_text and isinstance(made, str):
        if len(made) > MAX_OUTPUT:
            raise output_too_large(operation)
        text_result: type[TextResult] = operation.result_type
        made = text_result.from_text(made, request, truncated=truncated)
    elif operation.writes_text or not isinstance(made, operation.result_type):
        raise _wrong_result(operation, made)
    try:
        encoded: bytes = made.__pydantic_serializer__.to_json(made, by_alias=True)
    except PydanticSerializationError as error:
        if "surrogates not allowed" in str(error):
            raise lone_surrogate(operation) from error
        raise
    if len(encoded) > MAX_OUTPUT:
        raise output_too_large(operation)
    kind: type[Result] = type(made)
    floats = _floats_in(kind)
    if floats:
        try:
            _skip(encoded)
            if floats == "hidden" and b"null" in encoded:
                _strict_json(made.__pydantic_serializer__.to_python(made, mode="json"))
        except ValueError as error:
            raise _wrong(
                operation,
                f"The operation {operation.key} returned a number that is NaN or infinite, which JSON does not have. "
                "Its author has to leave it out (a field `float | None` may be None) or to compute another.",
            ) from error
    return encoded


_skip = msgspec.json.Decoder(msgspec.Raw).decode
"""Reads JSON and keeps nothing of it; NaN is an error. It takes 0.75 ns a byte, half of a search for `NaN`."""


@cache
def _floats_in(model: type[BaseModel]) -> Literal["", "shown", "hidden"]:
    """Whether there may be floats in a model, and whether its JSON shows that one is NaN.

    A `Result` does (`ser_json_inf_nan`). A part that has a configuration of its own writes null for it, as for None.
    """
    kinds = set(_kinds_in(model.__pydantic_core_schema__))
    return "hidden" if kinds & {"any", "dataclass", "foreign"} else "shown" if "float" in kinds else ""


def _kinds_in(schema: object) -> Iterator[str]:
    if isinstance(schema, dict):
        if schema.get("type") == "model" and not issubclass(schema.get("cls", Result), Result):
            yield "foreign"
        else:
            yield str(schema.get("type"))
        schema = list(schema.values())
    if isinstance(schema, list | tuple):
        for each in schema:
            yield from _kinds_in(each)


def sample_text(operation: Operation[Any, Any], made: object, schema: type[BaseModel] | None) -> str:
    """A sample as a model would write it: a text, or an object as JSON, which fits `schema`.

    Raises:
        InternalError: it is neither (`wrong_result`).
    """
    if isinstance(made, str):
        check_text(operation, made)
        return made
    if isinstance(made, BaseModel):
        answer = made.model_dump_json(by_alias=True)
        if schema is None or isinstance(made, schema) or _fits(answer, schema):
            return answer
    wanted = "str" if schema is None else f"{schema.__name__} or str"
    got, hint = _described(made)
    raise _wrong(
        operation,
        f"The sample of {operation.key} has to return what the model would answer, here {wanted}, and returned {got}. "
        f"{hint}",
    )


def _fits(answer: str, schema: type[BaseModel]) -> bool:
    try:
        schema.model_validate_json(answer)
    except ValidationError:
        return False
    return True


def check_text(operation: Operation[Any, Any], text: str) -> None:
    """See that a text can be sent: once it is an event, it breaks the stream of every reader.

    Raises:
        InternalError: it has a lone surrogate (`wrong_result`).
        TypeError: it is no text.
    """
    try:
        str.encode(text)
    except UnicodeEncodeError as error:
        raise lone_surrogate(operation) from error


def check_error(operation: Operation[Any, Any], error: AmrikyyError) -> AmrikyyError:
    """The error that the operation raised or, if that cannot be sent, one that says why."""
    try:
        if not isinstance(error.retry_after_s, float | int | None):
            raise TypeError("retry_after_s is not a number of seconds")
        _strict_json(error.record).encode()
    except UnicodeEncodeError:
        return lone_surrogate(operation)
    except (AttributeError, TypeError, ValueError) as reason:
        return _wrong(
            operation,
            f"The operation {operation.key} raised {type(error).__name__} with something that cannot be put into JSON "
            f"({reason}). Its author has to correct it.",
        )
    return error


_strict_json = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode


def lone_surrogate(operation: Operation[Any, Any]) -> InternalError:
    """The error for a text that has no encoding."""
    return _wrong(
        operation,
        f"The operation {operation.key} made a text with a lone surrogate, such as half of an emoji, which cannot be "
        'sent. Its author has to join the pieces first, or to replace it: text.encode(errors="replace").decode().',
    )


def output_too_large(operation: Operation[Any, Any]) -> InternalError:
    """The error for more output than is kept in memory and in the database."""
    said = f"The operation {operation.key} made more than {MAX_OUTPUT / 1e6:g} MB, which is the most that a run may."
    log.error("output_too_large", operation=operation.key, most_bytes=MAX_OUTPUT)
    return InternalError(f"{said} Ask for less.", code="output_too_large")


def _wrong_result(operation: Operation[Any, Any], made: object) -> InternalError:
    wanted = "str" if operation.writes_text else operation.result_type.__name__
    got, hint = _described(made)
    message = f"The operation {operation.key} declares that it returns {wanted}, and returned {got}. {hint}"
    return _wrong(operation, message)


def _described(made: object) -> tuple[str, str]:
    """What was returned, and what to do about it."""
    if made is None:
        return "nothing (None)", "Is a `return` missing?"
    if inspect.iscoroutine(made):
        made.close()
        return f"a coroutine ({made.__qualname__})", "Is an `await` missing?"
    return f"an object of the type {type(made).__name__}", "Its author has to correct it."


def _wrong(operation: Operation[Any, Any], message: str) -> InternalError:
    log.error("wrong_result", operation=operation.key, reason=message)
    return InternalError(message, code="wrong_result")
