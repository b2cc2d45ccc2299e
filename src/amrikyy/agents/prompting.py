"""Puts untrusted text into prompts as data, so that it cannot be taken for anything else."""

from collections.abc import Sequence
from typing import Any

import msgspec
from pydantic import BaseModel


def data_section(tag: str, value: BaseModel | dict[str, Any] | list[Any]) -> str:
    """A value as JSON between `<tag>` and `</tag>`; nothing in the value can close the section."""
    if isinstance(value, BaseModel):
        json = value.__pydantic_serializer__.to_json(value, by_alias=True, exclude_none=True)
    else:
        json = msgspec.json.encode(value)
    # JSON keeps every text within its quotes, and without angle brackets none can close the section.
    text = json.decode().replace("<", "\\u003c").replace(">", "\\u003e")
    return f"<{tag}>\n{text}\n</{tag}>"


def request_and_task(request: BaseModel, task: Sequence[str], *more: str) -> str:
    """A prompt: the request and more sections as data, then the task, a line each."""
    return "\n\n".join([data_section("request", request), *more, "- " + "\n- ".join(task)])
