"""Hard shapes: schemas and answers of models that users may well write."""

import datetime as dt
import enum
import json
import time
from typing import Annotated, Any, Literal, Optional, Self

import pytest
from pydantic import (
    AfterValidator,
    AnyUrl,
    AwareDatetime,
    BaseModel,
    Field,
    NaiveDatetime,
    PastDate,
    model_validator,
)

from amrikyy.errors import (
    ModelMalformed,
)
from amrikyy.llm.offline import OfflineClient
from amrikyy.llm.schema import wire_schema
from tests.llm.asking import Answer, ask, attempt


def said(answer: Answer) -> str:
    assert answer.error is not None
    return answer.error.message


class Trip(BaseModel):
    city: str
    days: int = Field(gt=0)


# --- schema ---


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int


class Dog(BaseModel):
    kind: Literal["dog"]
    bark: str


class Zoo(BaseModel):
    pet: Annotated[Cat | Dog, Field(discriminator="kind")]
    pair: tuple[int, str]
    scores: dict[str, int]


class Node(BaseModel):
    value: int
    children: list["Node"] = []


class NodeExtra(BaseModel):
    name: str


class Both(BaseModel):
    tree: Node
    extra: NodeExtra


def test_discriminated_unions_and_tuples_survive() -> None:
    properties = wire_schema(Zoo)["properties"]
    assert len(properties["pet"]["anyOf"]) == 2
    assert "items" in properties["pair"]
    assert properties["scores"]["additionalProperties"] == {"type": "integer"}


def test_recursive_models_keep_definitions() -> None:
    schema = wire_schema(Both)
    assert set(schema["$defs"]) == {"Node"}
    assert wire_schema(Node)["$defs"]["Node"]["properties"]["children"]["items"] == {"$ref": "#/$defs/Node"}


def test_exclusive_bounds_of_integers_are_exact() -> None:
    class M(BaseModel):
        n: int = Field(gt=0, lt=10)

    assert wire_schema(M)["properties"]["n"] == {"type": "integer", "minimum": 1, "maximum": 9}


# --- filler ---


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


def future(day: dt.date) -> dt.date:
    if day < dt.datetime.now(dt.UTC).date():
        raise ValueError("past")
    return day


def airport(code: str) -> str:
    if code not in ("JFK", "CDG"):
        raise ValueError("unknown airport")
    return code


class Patterned(BaseModel):
    flight: str = Field(pattern=r"^[A-Z0-9]{2} ?[0-9]{1,4}$")
    time: str = Field(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")
    slug: str = Field(pattern=r"^[a-z]+(-[a-z]+)*$", max_length=20)
    hashtag: str = Field(pattern=r"^#\w+$")
    hexa: str = Field(pattern=r"^[^\s]{4,}$")


class Formats(BaseModel):
    day: dt.date
    when: AwareDatetime
    local: NaiveDatetime
    clock: dt.time
    born: PastDate
    site: AnyUrl
    color: Color
    soon: Annotated[dt.date, AfterValidator(future)]
    origin: Annotated[str, AfterValidator(airport)]


class Stay(BaseModel):
    check_in: dt.date
    check_out: dt.date
    low: int = Field(ge=0, le=100)
    high: int = Field(ge=0, le=100)

    @model_validator(mode="after")
    def _order(self) -> Self:
        if self.check_out <= self.check_in:
            raise ValueError("check_out after check_in")
        if self.high < self.low:
            raise ValueError("high below low")
        return self


class Weights(BaseModel):
    weights: dict[Color, float]
    names: dict[str, Cat | Dog]
    anything: Any
    fixed: tuple[int, str, bool]
    nested: list[list[Stay]] = Field(min_length=1)


class Rec(BaseModel):
    name: str
    left: Optional["Rec"] = None
    kids: list["Rec"] = []


@pytest.mark.parametrize("model", [Trip, Zoo, Node, Both, Patterned, Formats, Stay, Weights, Rec])
async def test_the_offline_model_fills_any_model(model: type[BaseModel]) -> None:
    inputs = {"topic": "Kyoto in spring", "days": 4}
    first = await ask(OfflineClient(0), schema=model, inputs=inputs)
    second = await ask(OfflineClient(0), schema=model, inputs=inputs)
    model.model_validate_json(first.text)
    assert first.text == second.text


async def test_the_offline_model_fills_hard_bounds() -> None:
    class B(BaseModel):
        a: int = Field(ge=5, le=5)
        b: float = Field(gt=0, lt=0.001)
        c: int = Field(multiple_of=7, ge=50, le=60)
        d: float = Field(le=-3.5)
        e: list[int] = Field(min_length=7, max_length=8)
        f: set[int] = Field(min_length=3)
        g: str = Field(min_length=200)
        h: str = Field(max_length=3)
        i: dt.timedelta
        j: Color | None = None

    B.model_validate_json((await ask(OfflineClient(0), schema=B, inputs={})).text)


async def test_an_impossible_model_is_an_error_with_a_sentence() -> None:
    class Never(BaseModel):
        x: int

        @model_validator(mode="after")
        def _no(self) -> Self:
            raise ValueError("never")

    answer = await attempt(OfflineClient(0), schema=Never)
    assert isinstance(answer.error, ModelMalformed)
    assert "sample" in said(answer)


async def test_an_input_that_fits_is_taken() -> None:
    class M(BaseModel):
        destination: str
        days: int = Field(le=30)
        start: dt.date

    text = (
        await ask(OfflineClient(0), schema=M, inputs={"destination": "Oslo", "days": 9, "start": "2027-05-04"})
    ).text
    assert json.loads(text) == {"destination": "Oslo", "days": 9, "start": "2027-05-04"}


@pytest.mark.parametrize("rate", [50, 400, 5000])
async def test_the_offline_rate_is_kept(rate: int) -> None:
    began = time.monotonic()
    answer = await ask(OfflineClient(rate), sample=lambda: "word " * min(rate // 4, 400))
    took = time.monotonic() - began
    expected = len(answer.pieces) / rate
    assert expected * 0.9 - 0.03 < took < expected * 1.15 + 0.05
