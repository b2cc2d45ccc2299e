"""A pydantic model as the JSON schema that model providers want."""

import math
from functools import cache
from typing import Any

import msgspec
from pydantic import BaseModel

_KEPT = frozenset({
    "type", "description", "enum", "minimum", "maximum", "minItems", "maxItems",
})  # fmt: skip
"""Keywords that both Gemini's responseJsonSchema and OpenAI's structured outputs support. We validate the rest."""

_FORMATS = frozenset({"date", "time", "date-time"})

_UNIONS = ("anyOf", "oneOf")


@cache
def wire_schema(model: type[BaseModel]) -> dict[str, Any]:
    """The schema with references resolved, every object closed, and all properties required. Cached: do not modify.

    Models follow a closed and complete schema best; OpenAI's strict mode accepts no other. A field that may be
    absent is nullable already, and null then means absent. Only a recursive model keeps `$defs`.
    """
    schema = model.model_json_schema(by_alias=True, mode="validation")
    writer = _Writer(schema.pop("$defs", {}))
    cleaned = writer.clean(schema, ())
    definitions: dict[str, Any] = {}
    while missing := writer.referred - definitions.keys():
        for name in sorted(missing):
            definitions[name] = writer.clean(writer.definitions[name], (name,))
    if definitions:
        cleaned["$defs"] = definitions
    return cleaned


@cache
def encoded_schema(model: type[BaseModel]) -> bytes:
    """`wire_schema` as JSON."""
    return msgspec.json.encode(wire_schema(model))


class _Writer:
    """Rewrites schemas, and remembers which definitions could not be inlined because they contain themselves."""

    def __init__(self, definitions: dict[str, Any]) -> None:
        self.definitions = definitions
        self.referred: set[str] = set()

    def clean(self, schema: dict[str, Any], inside: tuple[str, ...]) -> dict[str, Any]:
        """The schema as providers want it. `inside` are the definitions that are being inlined around it."""
        if reference := schema.get("$ref"):
            return self._resolve(reference, schema, inside)
        cleaned = {key: value for key, value in schema.items() if key in _KEPT}
        if schema.get("format") in _FORMATS:
            cleaned["format"] = schema["format"]
        if "const" in schema:
            cleaned["enum"] = [schema["const"]]
        _include_bounds(schema, cleaned)
        for union in _UNIONS:
            if union in schema:
                cleaned["anyOf"] = [self.clean(option, inside) for option in schema[union]]
        for part in schema.get("allOf", ()):
            cleaned |= self.clean(part, inside)
        if schema.get("type") == "array":
            self._clean_array(schema, cleaned, inside)
        elif schema.get("type") == "object":
            self._clean_object(schema, cleaned, inside)
        return cleaned

    def _resolve(self, reference: str, schema: dict[str, Any], inside: tuple[str, ...]) -> dict[str, Any]:
        name = reference.rpartition("/")[2]
        if name in inside:
            self.referred.add(name)
            return {"$ref": reference}
        target = self.clean(self.definitions[name], (*inside, name))
        # Keywords beside the reference describe the field; those in the definition describe its type.
        return target | ({"description": schema["description"]} if "description" in schema else {})

    def _clean_array(self, schema: dict[str, Any], cleaned: dict[str, Any], inside: tuple[str, ...]) -> None:
        if prefix := schema.get("prefixItems"):  # a tuple: OpenAI knows only one type of items
            cleaned["items"] = {"anyOf": [self.clean(item, inside) for item in prefix]}
        elif isinstance(schema.get("items"), dict):
            cleaned["items"] = self.clean(schema["items"], inside)

    def _clean_object(self, schema: dict[str, Any], cleaned: dict[str, Any], inside: tuple[str, ...]) -> None:
        if "properties" in schema or "additionalProperties" not in schema:
            properties = schema.get("properties", {})
            cleaned["properties"] = {name: self.clean(field, inside) for name, field in properties.items()}
            cleaned["required"] = list(properties)
            cleaned["additionalProperties"] = False
        else:  # a dictionary
            values = schema["additionalProperties"]
            cleaned["additionalProperties"] = self.clean(values, inside) if isinstance(values, dict) else values


def _include_bounds(schema: dict[str, Any], cleaned: dict[str, Any]) -> None:
    """Turn exclusive bounds into inclusive ones: exactly for integers, and closely enough for other numbers."""
    whole = schema.get("type") == "integer"
    if "exclusiveMinimum" in schema:
        bound = schema["exclusiveMinimum"]
        cleaned["minimum"] = math.floor(bound) + 1 if whole else bound
    if "exclusiveMaximum" in schema:
        bound = schema["exclusiveMaximum"]
        cleaned["maximum"] = math.ceil(bound) - 1 if whole else bound
