"""The offline model, and the filler that answers for it, over models that are hard to fill."""

import asyncio
import datetime
import time
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from amrikyy.errors import ModelMalformed
from amrikyy.llm.filler import fill
from amrikyy.llm.offline import OfflineClient
from amrikyy.llm.request import Request
from tests.llm.asking import Answer, ask, until


class Kind(Enum):
    A = "a"
    B = "b"


class Leaf(BaseModel):
    kind: Literal["leaf"] = "leaf"
    value: int


class Sum(BaseModel):
    kind: Literal["sum"] = "sum"
    left: "Term"
    right: "Term"


Term = Annotated[Leaf | Sum, Field(discriminator="kind")]


class Tree(BaseModel):
    name: str
    parent: "Tree | None"
    children: list["Tree"]


class Strings(BaseModel):
    exact: str = Field(min_length=5, max_length=5)
    short: str = Field(max_length=1, min_length=1)
    long: str = Field(min_length=500)
    example: str = Field(pattern="^[A-Z]{3}$", examples=["CAI"])
    one: Literal["only"]
    choice: Literal["x", "y", 3, None]


class Numbers(BaseModel):
    tiny: float = Field(gt=0, lt=0.005)
    below: float = Field(lt=-5)
    at_most: int = Field(le=-500)
    exact: int = Field(ge=-3, le=-3)
    between: int = Field(gt=4, lt=6)
    sevens: int = Field(multiple_of=7, ge=50, le=60)
    half: float = Field(multiple_of=0.5, ge=-2, le=-1)
    score: float = Field(ge=0, le=1)
    money: Decimal = Field(ge=10, le=12)
    large: int = Field(ge=10**12)


class Times(BaseModel):
    day: datetime.date
    at: AwareDatetime
    clock: datetime.time
    id: UUID


class Lists(BaseModel):
    some: list[int] = Field(min_length=4, max_length=4)
    none: list[int] = Field(max_length=0)
    every: set[Kind] = Field(min_length=2)
    pair: tuple[int, str, Kind]
    table: list[list[float]] = Field(min_length=2)
    named: dict[str, int] = Field(min_length=2)
    free: dict[str, Any]


class Aliased(BaseModel):
    model_config = ConfigDict(extra="forbid")

    from_: str = Field(alias="from")
    flag: bool
    inner: Leaf | Tree | None
    anything: Any


class Recursive(BaseModel):
    term: Term
    tree: Tree
    terms: list[Term] = Field(min_length=3)


class Ordered(BaseModel):
    least: int = Field(ge=0, le=5)
    most: int = Field(ge=0, le=5)

    @model_validator(mode="after")
    def _in_order(self) -> "Ordered":
        if self.least > self.most:
            raise ValueError("least is over most")
        return self


MODELS: list[type[BaseModel]] = [Strings, Numbers, Times, Lists, Aliased, Recursive, Ordered, Tree, Sum]


@pytest.mark.parametrize("model", MODELS)
def test_whatever_the_model_it_is_filled(model: type[BaseModel]) -> None:
    for number in range(15):
        model.model_validate_json(fill(model, {"number": number, "topic": "Cairo"}))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**6), 10**6) | st.floats(allow_nan=False) | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=5,
)
NAMES = st.sampled_from([name for model in MODELS for name in model.model_fields] + ["from", "topic"])


@pytest.mark.parametrize("model", MODELS)
@given(inputs=st.dictionaries(NAMES, JSON, max_size=6))
def test_no_inputs_are_in_its_way(model: type[BaseModel], inputs: dict[str, Any]) -> None:
    model.model_validate_json(fill(model, inputs))


def test_inputs_appear_under_their_own_names_when_they_fit() -> None:
    times = Times.model_validate_json(fill(Times, {"day": "2031-02-03", "clock": "never"}))
    assert times.clock.minute == 0
    lists = {"some": [1], "topic": "Cairo"}
    assert len(Lists.model_validate_json(fill(Lists, lists)).some) == 4
    assert Times.model_validate_json(fill(Times, {"day": "2031-02-03"})).day == datetime.date(2031, 2, 3)
    strings = Strings.model_validate_json(fill(Strings, {"exact": "given", "choice": 3, "short": "too long"}))
    assert (strings.exact, strings.choice, len(strings.short)) == ("given", 3, 1)
    assert Numbers.model_validate_json(fill(Numbers, {"score": 0.25, "exact": 7})).score == 0.25
    assert "Cairo" in fill(Tree, {"topic": "Cairo"})


def test_the_same_inputs_have_the_same_answer_and_others_another() -> None:
    assert fill(Numbers, {"a": 1}) == fill(Numbers, {"a": 1})
    assert fill(Strings, {"topic": "Oslo"}) != fill(Strings, {"topic": "Kyoto"})


def never(value: str) -> str:
    raise ValueError("no plate")


def test_what_cannot_be_guessed_asks_for_a_sample() -> None:
    class Plate(BaseModel):
        number: Annotated[str, AfterValidator(never)]

    with pytest.raises(ModelMalformed, match=r"valid Plate .*give the operation a sample"):
        fill(Plate, {})


# --- The client --------------------------------------------------------------------------------------


async def test_prose_says_that_no_ai_wrote_it() -> None:
    answer = await ask(OfflineClient(0), inputs={"city": "Kairo\u0301"})
    assert "no AI" in answer.text
    assert 'city: "Kairo\u0301"' in answer.text
    assert len(answer.pieces) > 20
    assert (answer.usage.model, answer.usage.provider, answer.usage.cost_usd) == ("offline", "offline", 0)
    assert answer.usage.output_tokens > 20


async def test_an_operations_sample_is_its_answer() -> None:
    sample = "  two  words\n\nand averyveryverylongwordwithoutanyend \n"
    for streaming in (True, False):
        answer = await ask(OfflineClient(0), sample=lambda: sample, schema=Leaf, streaming=streaming)
        assert answer.text == sample
    assert len(answer.pieces) == 1


async def test_a_schema_is_filled() -> None:
    Recursive.model_validate_json((await ask(OfflineClient(0), schema=Recursive)).text)


async def test_the_rate_is_kept_also_when_many_are_asked() -> None:
    client = OfflineClient(400)
    sample = "word " * 80
    began = time.monotonic()
    answers = await asyncio.gather(*(ask(client, sample=lambda: sample) for _ in range(20)))
    assert 0.15 < time.monotonic() - began < 2  # one after the other they would take four seconds
    assert {answer.text for answer in answers} == {sample}


async def test_it_can_be_left_in_the_middle() -> None:
    said = Answer()
    reading = asyncio.create_task(OfflineClient(5).stream(Request(prompt="x"), said.take))
    await until(lambda: bool(said.pieces))
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading


async def test_ping_and_close_have_nothing_to_do() -> None:
    client = OfflineClient()
    await client.ping()
    await client.close()
