"""What a chat completions server has turned out not to support, and how to ask it instead."""

from typing import Any

import msgspec
from pydantic import BaseModel

from amrikyy.llm.request import Request
from amrikyy.llm.schema import encoded_schema

ADAPTABLE = (400, 404, 422, 501)
"""Statuses with which servers reject a parameter that they do not know."""

_FORM_WORDS = ("response_format", "response format", "json_schema", "json_object", "json schema", "structured output")
_USAGE_WORDS = ("stream_options", "include_usage")
_UNKNOWN_WORDS = (
    "unsupported", "not support", "unknown", "unrecogni", "unexpected", "not permitted", "not allowed",
    "not available", "extra", "instead", "deprecated", "only the default",
)  # fmt: skip
"""A complaint with none of these is about a parameter's value: leaving it out would hide the mistake, not fix it."""

_LENGTH_NAMES = ("max_tokens", "max_completion_tokens")

Form = int
JSON_SCHEMA, JSON_OBJECT, PROMPT = range(3)
"""How JSON is asked for, from the strictest way to the one that every model understands."""


class Dialect:
    """How one server is asked. It adapts in one direction only, so two calls that learn the same do not add up."""

    def __init__(self, *, length_name: str) -> None:
        self._form: Form = JSON_SCHEMA
        self._form_of: dict[type[BaseModel], Form] = {}
        self._length_names = [length_name, *(name for name in _LENGTH_NAMES if name != length_name)]
        self._temperature = True
        self._usage = True

    def body(self, model: str, request: Request) -> dict[str, Any]:
        """The body of a call, without anything that the server is known to reject."""
        body: dict[str, Any] = {
            "model": model,
            "stream": request.streaming,
            self._length_names[0]: request.max_output_tokens,
        }
        if self._temperature:
            body["temperature"] = request.temperature
        if request.streaming and self._usage:
            body["stream_options"] = {"include_usage": True}
        prompt = request.prompt
        if request.schema is not None:
            form = self._form_for(request.schema)
            if form == JSON_SCHEMA:
                schema = msgspec.Raw(encoded_schema(request.schema))
                wanted = {"name": _name(request.schema), "schema": schema, "strict": True}
                body["response_format"] = {"type": "json_schema", "json_schema": wanted}
            else:
                schema_text = encoded_schema(request.schema).decode()
                prompt += f"\n\nAnswer with one JSON object of this JSON schema and nothing else:\n{schema_text}"
            if form == JSON_OBJECT:
                body["response_format"] = {"type": "json_object"}
        system = [{"role": "system", "content": request.system}] if request.system else []
        body["messages"] = [*system, {"role": "user", "content": prompt}]
        return body

    def learn(self, complaint: str, body: dict[str, Any], schema: type[BaseModel] | None) -> str:
        """Adapt to the server's complaint about `body`.

        Returns:
            the parameter that will be sent differently or left out; empty if asking again makes no sense.
        """
        said = complaint.lower()
        if schema is not None and "response_format" in body and any(word in said for word in _FORM_WORDS):
            self._lower_form(body, schema, only_this="invalid schema" in said)
            return "response_format"
        if "stream_options" in body and any(word in said for word in _USAGE_WORDS):
            self._usage = False
            return "stream_options"
        if not any(word in said for word in _UNKNOWN_WORDS):
            return ""
        if "temperature" in body and "temperature" in said:
            self._temperature = False
            return "temperature"
        used = next(name for name in _LENGTH_NAMES if name in body)
        if used in said:
            if self._length_names[0] == used and len(self._length_names) > 1:
                self._length_names.pop(0)
            return used if self._length_names[0] != used else ""
        return ""

    def _form_for(self, schema: type[BaseModel]) -> Form:
        return max(self._form, self._form_of.get(schema, JSON_SCHEMA))

    def _lower_form(self, body: dict[str, Any], schema: type[BaseModel], *, only_this: bool) -> None:
        used = JSON_SCHEMA if body["response_format"]["type"] == "json_schema" else JSON_OBJECT
        if only_this:  # the server supports schemas, but not this one, for example because it is recursive
            self._form_of[schema] = max(self._form_of.get(schema, JSON_SCHEMA), used + 1)
        else:
            self._form = max(self._form, used + 1)


class Unfence:
    """Strips the code fence from an answer that should be JSON, piece by piece."""

    __slots__ = ("_fenced", "_held", "_started")

    def __init__(self) -> None:
        self._held = ""
        self._started = False
        self._fenced = False

    def feed(self, piece: str) -> str:
        """Take a piece, and return the text that is certainly not part of a fence."""
        if self._started and not self._fenced:
            return piece
        self._held += piece
        if not self._started:
            begun = self._held.lstrip()
            if "```".startswith(begun[:3]) and len(begun) < 3:
                return ""
            if begun.startswith("```"):
                first_line, newline, rest = begun.partition("\n")
                if not newline and len(first_line) < 40:
                    return ""
                self._held, self._fenced = rest, bool(newline)
            self._started = True
        if not self._fenced:
            text, self._held = self._held, ""
            return text
        kept = len(self._held.rstrip("` \t\r\n"))
        text, self._held = self._held[:kept], self._held[kept:]
        return text

    def end(self) -> str:
        """Return the text that was held back but is not part of a fence."""
        held = self._held
        return "" if self._fenced or "```".startswith(held.strip()) else held


def _name(schema: type[BaseModel]) -> str:
    """A name that OpenAI allows: letters, digits, _ and -, at most 64."""
    return "".join(letter if letter.isalnum() and letter.isascii() else "_" for letter in schema.__name__)[:64]
