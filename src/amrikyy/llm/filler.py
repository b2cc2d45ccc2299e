"""Fills any pydantic model with values built from a request: the offline model's answer where there is no sample."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.errors import PydanticUserError

from amrikyy.errors import ModelMalformed
from amrikyy.llm.values import Values

MAX_DEPTH = 6
"""How deep optional parts are filled; a recursive model must end somewhere."""

ROUNDS = 60
"""How often an answer is corrected before giving up: more often than a value has alternatives."""

LIST_LENGTH = 3

Path = tuple[str | int, ...]


def fill(schema: type[BaseModel], inputs: Mapping[str, Any]) -> str:
    """JSON that validates as `schema`, the same for the same inputs on the same day.

    A field that the inputs have under the same name takes their value where it fits.

    Raises:
        ModelMalformed: no valid answer was found, because a validator demands what the schema does not say.
    """
    reason = "its schema cannot be written"
    try:
        filler = _Filler(_schema_of(schema), Values(inputs))
        for _ in range(ROUNDS):
            text = json.dumps(filler.fill(), ensure_ascii=False)
            try:
                schema.model_validate_json(text)
            except ValidationError as error:
                wrong = error.errors(include_url=False, include_context=False, include_input=False)
                reason = f"{'.'.join(map(str, wrong[0]['loc'])) or 'the whole'}: {wrong[0]['msg']}"
                filler.mend([each["loc"] for each in wrong])
            else:
                return text
    except PydanticUserError:
        pass
    raise ModelMalformed(
        f"The offline model cannot invent a valid {schema.__name__} ({reason}); give the operation a sample.",
        model="offline:offline",
    )


@cache
def _schema_of(model: type[BaseModel]) -> dict[str, Any]:
    return model.model_json_schema(by_alias=True)


@dataclass(slots=True)
class _Filler:
    """Fills a schema; what was rejected is filled differently the next time.

    Attributes:
        turns: by path, how many values have been rejected there.
        dropped: paths of optional fields that are left out.
    """

    schema: dict[str, Any]
    values: Values
    turns: dict[Path, int] = field(default_factory=dict)
    dropped: set[Path] = field(default_factory=set)
    optional: set[Path] = field(default_factory=set)
    filled: Any = None

    def fill(self) -> Any:
        self.optional.clear()
        self.values.restart()
        self.filled = self._value((), self.schema)
        return self.filled

    def mend(self, places: list[tuple[int | str, ...]]) -> None:
        """Note the places that a validator rejected."""
        for path in {self._real(place) for place in places}:
            # And all around it: the fault may be that it does not fit its neighbours, or the chosen option of a union.
            for length in range(len(path) + 1):
                part = path[:length]
                if part == path or self.turns.get(path, 0) % 4 == 3:
                    self.turns[part] = self.turns.get(part, 0) + 1
            if self.turns[path] > self.values.alternatives:
                droppable = next((path[:n] for n in range(len(path), 0, -1) if path[:n] in self.optional), None)
                if droppable is not None:
                    self.dropped.add(droppable)

    def _real(self, place: tuple[int | str, ...]) -> Path:
        """The path within the value; pydantic's path also has the names of union members and the like."""
        path: list[str | int] = []
        value = self.filled
        for part in place:
            inside = isinstance(value, dict) and part in value
            if inside or (isinstance(value, list) and isinstance(part, int) and part < len(value)):
                path.append(part)
                value = value[part]
            elif isinstance(value, dict) and part == place[-1] and isinstance(part, str):
                self.dropped.discard((*path, part))  # it is missing, so it was needed after all
        return tuple(path)

    def _value(self, path: Path, schema: dict[str, Any]) -> Any:
        schema = self._resolved(schema)
        turn = self.turns.get(path, 0) + self._turns_around(path)
        if "const" in schema:
            return schema["const"]
        name = next((part for part in reversed(path) if isinstance(part, str)), "")
        given = self.values.given(name)
        if "enum" in schema:
            allowed = schema["enum"]
            return given if given in allowed and not turn else allowed[(turn + self._position(path)) % len(allowed)]
        if options := schema.get("anyOf") or schema.get("oneOf"):
            return self._option(path, options, turn)
        match schema.get("type"):
            case "object":
                return self._object(path, schema)
            case "array":
                return self._array(path, schema, given if not turn else None)
            case "null":
                return None
            case _:
                return self.values.leaf(name, schema, position=self._position(path), turn=turn)

    def _resolved(self, schema: dict[str, Any]) -> dict[str, Any]:
        while True:
            if reference := schema.get("$ref"):
                around = {key: value for key, value in schema.items() if key != "$ref"}
                schema = {**self.schema["$defs"][reference.rpartition("/")[2]], **around}
            elif parts := schema.get("allOf"):
                schema = {key: value for key, value in schema.items() if key != "allOf"}
                for part in parts:
                    schema = {**self._resolved(part), **schema}
            else:
                return schema

    def _option(self, path: Path, options: list[dict[str, Any]], turn: int) -> Any:
        nullable = any(option.get("type") == "null" for option in options)
        real = [option for option in options if option.get("type") != "null"]
        if not real or (nullable and (len(path) >= MAX_DEPTH or turn > self.values.alternatives * len(real))):
            return None
        return self._value(path, real[turn % len(real)])

    def _object(self, path: Path, schema: dict[str, Any]) -> dict[str, Any]:
        required = set(schema.get("required", ()))
        filled: dict[str, Any] = {}
        for name, part in schema.get("properties", {}).items():
            place = (*path, name)
            if name not in required:
                self.optional.add(place)
                if place in self.dropped or len(path) >= MAX_DEPTH:
                    continue
            filled[name] = self._value(place, part)
        values = schema.get("additionalProperties")
        if not filled and isinstance(values, dict):  # a dictionary
            names = self._resolved(schema.get("propertyNames", {})).get("enum") or ["first", "second", "third"]
            count = max(schema.get("minProperties", 0), min(LIST_LENGTH, schema.get("maxProperties", LIST_LENGTH)))
            filled = {str(name): self._value((*path, str(name)), values) for name in names[:count]}
        return filled

    def _array(self, path: Path, schema: dict[str, Any], given: Any) -> list[Any]:
        if prefix := schema.get("prefixItems"):
            return [self._value((*path, index), item) for index, item in enumerate(prefix)]
        item = schema.get("items", {"type": "string"})
        least, most = schema.get("minItems", 0), schema.get("maxItems", max(LIST_LENGTH, schema.get("minItems", 0)))
        kind = self._resolved(item).get("type")
        if (
            isinstance(given, list)
            and given
            and kind == "string"
            and least <= len(given) <= schema.get("maxItems", 100)
        ):
            return [str(each) for each in given]
        count = least if len(path) >= MAX_DEPTH else max(least, min(LIST_LENGTH, most))
        made: list[Any] = []
        for index in range(count):
            value = self._value((*path, index), item)
            if schema.get("uniqueItems") and value in made:
                if len(made) >= least:
                    break
                self.turns[(*path, index)] = self.turns.get((*path, index), 0) + 1
                value = self._value((*path, index), item)
            made.append(value)
        return made

    def _turns_around(self, path: Path) -> int:
        return sum(self.turns.get(path[:length], 0) for length in range(len(path)))

    @staticmethod
    def _position(path: Path) -> int:
        return next((part for part in reversed(path) if isinstance(part, int)), 0)
