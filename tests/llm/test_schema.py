"""The JSON schemas that providers are sent."""

import datetime
import json
from enum import Enum
from typing import Annotated, Any, Literal

import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]  # it has no types
from pydantic import BaseModel, ConfigDict, Field

from amrikyy.llm.schema import wire_schema
from tests.model_server import instance


class Size(Enum):
    SMALL = "s"
    LARGE = "l"


class Leaf(BaseModel):
    kind: Literal["leaf"] = "leaf"
    value: int


class Sum(BaseModel):
    kind: Literal["sum"] = "sum"
    left: "Leaf | Sum"
    right: "Leaf | Sum"


class Tree(BaseModel):
    name: str
    children: list["Tree"] = Field(default=[], max_length=3)


class Boat(BaseModel):
    model_config = ConfigDict(populate_by_name=True, extra="allow")

    title: str = Field("Dinghy", description="What it is called.", pattern="^[A-Z]", examples=["Heron"], max_length=40)
    draught_m: float = Field(gt=0, lt=10, alias="draughtM")
    crew: int | None = None
    size: Size
    built: datetime.date
    berth: tuple[int, str]
    notes: dict[str, int] = {}


class Everything(BaseModel):
    boat: Boat = Field(description="The boat in question.")
    boats: list[Boat] = Field(min_length=1, max_length=2)
    tree: Tree
    trees: list[Tree]
    sum: Annotated[Leaf | Sum, Field(discriminator="kind")]


MODELS = [Leaf, Sum, Tree, Boat, Everything]


def walk(value: Any) -> list[dict[str, Any]]:
    if isinstance(value, dict):
        return [value, *(found for each in value.values() for found in walk(each))]
    return [found for each in value for found in walk(each)] if isinstance(value, list) else []


@pytest.mark.parametrize("model", MODELS)
def test_every_object_is_closed_and_complete(model: type[BaseModel]) -> None:
    schema = wire_schema(model)
    Draft202012Validator.check_schema(schema)
    closed = [node for node in walk(schema) if isinstance(node.get("properties"), dict)]
    assert closed
    for node in closed:
        assert node["additionalProperties"] is False
        assert node["required"] == list(node["properties"])


@pytest.mark.parametrize("model", MODELS)
def test_every_reference_leads_somewhere(model: type[BaseModel]) -> None:
    schema = wire_schema(model)
    for node in walk(schema):
        if "$ref" in node:
            assert node["$ref"].removeprefix("#/$defs/") in schema["$defs"]


def test_only_recursion_leaves_references() -> None:
    assert "$ref" not in json.dumps(wire_schema(Boat))
    assert "$defs" not in wire_schema(Boat)
    assert list(wire_schema(Tree)["$defs"]) == ["Tree"]


def test_what_providers_do_not_understand_is_left_out_and_the_rest_kept() -> None:
    fields = wire_schema(Boat)["properties"]
    assert fields["title"] == {"type": "string", "description": "What it is called."}
    assert fields["draughtM"] == {"type": "number", "minimum": 0, "maximum": 10}
    assert fields["crew"] == {"anyOf": [{"type": "integer"}, {"type": "null"}]}
    assert fields["size"] == {"type": "string", "enum": ["s", "l"]}
    assert fields["built"] == {"type": "string", "format": "date"}
    assert fields["notes"] == {"type": "object", "additionalProperties": {"type": "integer"}}
    assert wire_schema(Leaf)["properties"]["kind"] == {"type": "string", "enum": ["leaf"]}


def test_a_tuple_says_what_its_items_are() -> None:
    berth = wire_schema(Boat)["properties"]["berth"]
    assert berth["items"] == {"anyOf": [{"type": "integer"}, {"type": "string"}]}
    assert (berth["minItems"], berth["maxItems"]) == (2, 2)


def test_a_union_with_a_discriminator_keeps_its_options() -> None:
    options = wire_schema(Everything)["properties"]["sum"]["anyOf"]
    assert [each["properties"]["kind"]["enum"] for each in options] == [["leaf"], ["sum"]]


def test_a_field_keeps_its_own_description_over_its_models() -> None:
    assert wire_schema(Everything)["properties"]["boat"]["description"] == "The boat in question."


def test_it_is_made_once() -> None:
    assert wire_schema(Boat) is wire_schema(Boat)


@pytest.mark.parametrize("model", [Leaf, Sum, Tree])
def test_what_keeps_to_the_schema_is_valid(model: type[BaseModel]) -> None:
    for seed in range(20):
        model.model_validate(instance(wire_schema(model), seed))
