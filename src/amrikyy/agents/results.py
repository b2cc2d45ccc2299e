"""An operation's result, checked against its declaration and put into JSON."""

import inspect
from typing import Any

import structlog

from amrikyy.agents.agent import Operation, Request, TextResult
from amrikyy.errors import InternalError

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
    encoded: bytes = made.__pydantic_serializer__.to_json(made, by_alias=True)
    if len(encoded) > MAX_OUTPUT:
        raise output_too_large(operation)
    return encoded


def output_too_large(operation: Operation[Any, Any]) -> InternalError:
    """The error for more output than is kept in memory and in the database."""
    said = f"The operation {operation.key} made more than {MAX_OUTPUT / 1e6:g} MB, which is the most that a run may."
    log.error("output_too_large", operation=operation.key, most_bytes=MAX_OUTPUT)
    return InternalError(f"{said} Ask for less.", code="output_too_large")


def _wrong_result(operation: Operation[Any, Any], made: object) -> InternalError:
    wanted = "str" if operation.writes_text else operation.result_type.__name__
    got = "nothing (None)" if made is None else f"an object of the type {type(made).__name__}"
    hint = "Is a `return` missing?" if made is None else "Its author has to correct it."
    if inspect.iscoroutine(made):
        made.close()
        got, hint = f"a coroutine ({made.__qualname__})", "Is an `await` missing?"
    message = f"The operation {operation.key} declares that it returns {wanted}, and returned {got}. {hint}"
    log.error("wrong_result", operation=operation.key, reason=message)
    return InternalError(message, code="wrong_result")
