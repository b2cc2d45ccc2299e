"""Examples of requests for the documentation page, from the schemas in the OpenAPI document."""

from datetime import date, timedelta
from typing import Any

from amrikyy.llm.values import Values

DAYS_AHEAD = 30
"""Days from today to the first date in an example; each further one is a day later: an arrival, then a departure."""

FILLED_TO = 3
"""How deep a list that may be empty has an item, and what may be null is something: a schema may contain itself."""

MAX_DEPTH = 8
"""How deep anything is written."""


def resolved(schema: dict[str, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    """The schema that a reference stands for, with what is said beside the reference."""
    while "$ref" in schema:
        beside = {key: value for key, value in schema.items() if key != "$ref"}
        schema = schemas[schema["$ref"].rpartition("/")[2]] | beside
    return schema


def example_of(schema: dict[str, Any], schemas: dict[str, Any], today: date) -> Any:
    """A value that the schema allows: its own first example, else what is required, with dates after `today`."""
    values = Values({"": (today + timedelta(days=DAYS_AHEAD)).isoformat()})

    def example(name: str, schema: dict[str, Any], depth: int = 0) -> Any:
        schema = resolved(schema, schemas)
        if examples := schema.get("examples"):
            return _in_order(examples[0], schema.get("properties", {}))
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return schema["enum"][0]
        if options := schema.get("anyOf") or schema.get("oneOf"):
            real = [option for option in options if option.get("type") != "null"]
            is_end = not real or (depth >= FILLED_TO and len(real) < len(options))
            return None if is_end else example(name, real[0], depth)
        match schema.get("type"):
            case "object":
                return object_of(schema, depth)
            case "array":
                least = schema.get("minItems", 0)
                count = max(1, least) if depth < FILLED_TO else least if depth < MAX_DEPTH else 0
                return [example(name, schema.get("items", {}), depth + 1) for _ in range(count)]
            case _:
                return values.leaf(name, schema, position=0, turn=0)

    def object_of(schema: dict[str, Any], depth: int) -> dict[str, Any]:
        fields, required = schema.get("properties", {}), schema.get("required", ())
        # Of an object that may be empty, what its author has given an example of: `{}` would show nothing.
        shown = required or [name for name, field in fields.items() if resolved(field, schemas).get("examples")]
        return {name: example(name, fields[name], depth + 1) for name in fields if name in shown and depth < MAX_DEPTH}

    return example("", schema)


def _in_order(value: Any, fields: dict[str, Any]) -> Any:
    """An object with its fields in the order of their declaration: pydantic sorts those of an example by name."""
    return {name: value[name] for name in fields if name in value} if isinstance(value, dict) and fields else value
