"""The requests of the innovation operations."""

import unicodedata
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints
from pydantic_core import PydanticKnownError

from amrikyy.agents.agent import EMPTY_LIST, Request
from amrikyy.agents.spoken import Spoken

Timeframe = Literal["current", "emerging", "future"]
Focus = Literal["pricing", "features", "marketing", "all"]


def _printable(value: Any) -> Any:
    """Remove control characters other than white space: PostgreSQL stores no NUL."""
    if not isinstance(value, str):
        return value
    return "".join(char for char in value if char.isspace() or unicodedata.category(char) != "Cc")


def _at_most(length: int) -> BeforeValidator:
    """Check the documented bound on what was sent: cleaning must not make a text fit that is too long."""

    def check(value: Any) -> Any:
        if isinstance(value, str) and len(value) > length:
            raise PydanticKnownError("string_too_long", {"max_length": length})
        return value

    return BeforeValidator(check)


def _one_line(value: Any) -> Any:
    return " ".join(_printable(value).split()) if isinstance(value, str) else value


def _without_repeats(items: list[str]) -> list[str]:
    """Each item once, in the order of first mention, ignoring case."""
    kept: dict[str, str] = {}
    for item in items:
        kept.setdefault(item.casefold(), item)
    return list(kept.values())


Domain = Annotated[str, StringConstraints(min_length=3, max_length=100), BeforeValidator(_one_line), _at_most(100)]
"""A niche or an industry, on one line."""

SUBJECT = Spoken(subject=True, after=("for", "in", "about", "on"), before=("industry", "sector", "market", "niche"))

Item = Annotated[str, StringConstraints(min_length=1, max_length=100), BeforeValidator(_one_line), _at_most(100)]
"""A constraint or the name of a competitor, on one line."""

Phrase = Annotated[str, StringConstraints(min_length=2, max_length=200), BeforeValidator(_one_line), _at_most(200)]

Idea = Annotated[
    str,
    StringConstraints(min_length=10, max_length=1000),
    BeforeValidator(_printable),
    _at_most(1000),
    Spoken(subject=True, after=("idea:", "idea of", "idea for", "for")),
]
"""An idea in its owner's words."""


class IdeasRequest(Request):
    """A field in which business ideas are wanted."""

    niche: Annotated[Domain, SUBJECT] = Field(
        description="The field in which to look, 3 to 100 characters.", examples=["sustainable travel"]
    )
    problem: (
        Annotated[str, StringConstraints(min_length=10, max_length=500), BeforeValidator(_printable), _at_most(500)]
        | None
    ) = Field(
        default=None,
        description="A problem that the ideas should solve, 10 to 500 characters.",
        examples=["Travellers cannot tell which hotels save water."],
    )
    constraints: Annotated[list[Item], Field(max_length=20), AfterValidator(_without_repeats)] = Field(
        default_factory=list,
        json_schema_extra=EMPTY_LIST,
        description="What every idea must keep to: at most 20 of 1 to 100 characters; repeats are dropped.",
        examples=[["no hardware", "less than $10,000 to start"]],
    )
    count: Annotated[int, Spoken(units={"idea": 1}, assume="count")] = Field(
        default=5, ge=1, le=20, description="How many ideas, 1 to 20."
    )


class TrendsRequest(Request):
    """An industry whose trends are to be analysed."""

    industry: Annotated[Domain, SUBJECT] = Field(
        description="The industry, 3 to 100 characters.", examples=["hospitality"]
    )
    timeframe: Timeframe = Field(
        default="current",
        description="How far ahead. current: the next 12 months; emerging: 1 to 3 years; future: 3 to 10 years.",
    )
    region: Phrase | None = Field(
        default=None, description="Where, 2 to 200 characters; the whole world if absent.", examples=["North Africa"]
    )


class CompetitorsRequest(Request):
    """Competitors that are to be compared."""

    niche: Annotated[Domain, SUBJECT] = Field(
        description="What they compete in, 3 to 100 characters.", examples=["travel planning apps"]
    )
    competitors: Annotated[
        list[Item],
        Field(min_length=1, max_length=10),
        AfterValidator(_without_repeats),
        Spoken(after=("competitors", "compare", "against")),
    ] = Field(
        description="Their names: 1 to 10 of 1 to 100 characters; repeats are dropped.",
        examples=[["TripIt", "Wanderlog"]],
    )
    focus: Focus = Field(
        default="all", description="What to compare. Other sides are left out of the result, and weigh less in it."
    )


class IdeaValidationRequest(Request):
    """A business idea that is to be judged."""

    idea: Idea = Field(
        description="The idea, 10 to 1000 characters.", examples=["A subscription that plans one weekend trip a month."]
    )
    target_market: Phrase | None = Field(
        default=None, description="Who would buy, 2 to 200 characters.", examples=["couples without children"]
    )
    budget: float | None = Field(
        default=None,
        ge=0,
        le=1e12,
        allow_inf_nan=False,
        description="US dollars that there are to find out whether the idea works.",
        examples=[5000],
    )
    timeline: Phrase | None = Field(
        default=None, description="When there should be a result, 2 to 200 characters.", examples=["six months"]
    )


class CanvasRequest(Request):
    """A business idea for which a business model is to be drawn up."""

    idea: Idea = Field(
        description="The idea, 10 to 1000 characters.", examples=["A subscription that plans one weekend trip a month."]
    )
    industry: Annotated[Domain, Spoken(before=("industry", "sector", "market"))] = Field(
        description="Its industry, 3 to 100 characters.", examples=["travel"]
    )
