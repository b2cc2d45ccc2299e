"""Competitors: what a model drafts about each, and the comparison that is made from it."""

from functools import cache
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, create_model

from amrikyy.agents.agent import Result
from amrikyy.agents.catalog.innovation.draft import Draft, Line, Prose, Score, weighted
from amrikyy.agents.catalog.innovation.requests import CompetitorsRequest, Focus

COMPETITOR_WEIGHTS: dict[Focus, dict[str, float]] = {
    "all": {"pricing": 0.30, "features": 0.40, "marketing": 0.30},
    "pricing": {"pricing": 0.70, "features": 0.15, "marketing": 0.15},
    "features": {"pricing": 0.15, "features": 0.70, "marketing": 0.15},
    "marketing": {"pricing": 0.15, "features": 0.15, "marketing": 0.70},
}
"""The side in focus decides; the others still matter a little, because nobody buys for one reason alone."""

MAX_PRICE = 10_000_000


class PricingDraft(Draft):
    """What a competitor takes, as far as a model remembers."""

    model: Line = Field(description="How it charges: subscription, commission, licence, free with advertising, ...")
    monthly_low_usd: float | None = Field(
        default=None, ge=0, le=MAX_PRICE, description="Cheapest paid offer US dollars a month; null if unknown."
    )
    monthly_high_usd: float | None = Field(
        default=None, ge=0, le=MAX_PRICE, description="Dearest published offer in US dollars a month; null if unknown."
    )
    assessment: Line = Field(description="What is strong or weak about its prices.")


class Pricing(PricingDraft):
    """What a competitor takes, marked as an estimate."""

    source: Literal["estimate"] = Field(default="estimate", description="From a model's memory; check the price list.")


class CompetitorScores(Draft):
    """How strong a competitor is, from three sides."""

    pricing: Score = Field(description="How hard its prices are to beat, 0 to 100.")
    features: Score = Field(description="How hard its product is to beat, 0 to 100.")
    marketing: Score = Field(description="How hard its reach and its brand are to beat, 0 to 100.")


class CompetitorDraft(Draft):
    """One competitor as the model drafts it."""

    number: int = Field(ge=1, le=10, description="Its number in <competitors>.")
    name: str = Field(min_length=1, max_length=100, description="Its name as in <competitors>.")
    known: bool = Field(description="Whether you know this company; false if the entry is inferred from its name.")
    positioning: Prose = Field(description="Whom it serves with what, in two sentences.")
    pricing: PricingDraft | None = Field(default=None, description="Its prices; null if out of focus.")
    features: list[Line] = Field(default=[], max_length=12, description="Its main features; empty if out of focus.")
    marketing: list[Line] = Field(
        default=[], max_length=12, description="Channels and messages it wins customers with; empty if out of focus."
    )
    strengths: list[Line] = Field(min_length=1, max_length=10, description="What it does well, 2 to 4.")
    weaknesses: list[Line] = Field(min_length=1, max_length=10, description="Where it leaves customers alone, 2 to 4.")
    scores: CompetitorScores = Field(description="How strong it is, judged from a newcomer's side.")


class CompetitorsDraft(Draft):
    """Competitors as the model drafts them."""

    summary: Prose = Field(description="The market in three or four sentences.")
    competitors: list[CompetitorDraft] = Field(min_length=1, description="One entry for each competitor.")
    gaps: list[Line] = Field(min_length=1, max_length=10, description="What none of them offers, 2 to 5.")
    recommendations: list[Line] = Field(
        min_length=1, max_length=10, description="How a newcomer should enter, 3 to 5 actions."
    )


class Competitor(CompetitorDraft):
    """One competitor with its rank."""

    name: str = Field(description="Its name as requested.")
    pricing: Pricing | None = Field(default=None, description="Its prices; null if out of focus or unknown.")
    overall_score: int = Field(
        description="Its strength, 0 to 100. Focus all: 30 % pricing, 40 % features, 30 % marketing; otherwise 70 % "
        "the side in focus and 15 % each of the others."
    )
    rank: int = Field(description="Its place by overall score, from 1: the strongest.")


class CompetitorAnalysis(Result):
    """Competitors compared."""

    niche: str = Field(description="What they compete in.")
    focus: Focus = Field(description="What was compared.")
    summary: str = Field(description="The market in a few sentences.")
    competitors: list[Competitor] = Field(description="One for each name, in the order of the request.")
    strongest: str = Field(description="Name of the competitor with rank 1.")
    gaps: list[Line] = Field(description="What none of them offers.")
    recommendations: list[Line] = Field(description="How a newcomer should enter.")
    source: Literal["estimate"] = Field(
        default="estimate", description="Everything is from a model's memory; verify it before you rely on it."
    )

    @classmethod
    def from_draft(cls, draft: CompetitorsDraft, request: CompetitorsRequest) -> Self:
        """Put them in the request's order and under its names, drop what is out of focus, and rank them."""
        drafted = {entry.number: entry for entry in reversed(draft.competitors)}
        pairs = [(drafted[number], name) for number, name in enumerate(request.competitors, 1) if number in drafted]
        weights = COMPETITOR_WEIGHTS[request.focus]
        scores = [weighted(entry.scores.model_dump(), weights) for entry, _ in pairs]
        competitors = [
            Competitor(
                **_in_focus(entry, request.focus),
                name=name,
                overall_score=score,
                # Equals share a rank, and the next rank counts all before it.
                rank=1 + sum(other > score for other in scores),
            )
            for (entry, name), score in zip(pairs, scores, strict=True)
        ]
        return cls(
            niche=request.niche,
            focus=request.focus,
            summary=draft.summary,
            competitors=competitors,
            strongest=min(competitors, key=lambda entry: entry.rank).name,
            gaps=draft.gaps,
            recommendations=draft.recommendations,
        )


def _in_focus(draft: CompetitorDraft, focus: Focus) -> dict[str, Any]:
    entry = draft.model_dump(exclude={"name"})
    if focus not in ("pricing", "all"):
        entry["pricing"] = None
    elif draft.pricing is not None:
        entry["pricing"] |= _ordered(draft.pricing)
    for side in ("features", "marketing"):
        if focus not in (side, "all"):
            entry[side] = []
    return entry


def _ordered(pricing: PricingDraft) -> dict[str, float]:
    low, high = pricing.monthly_low_usd, pricing.monthly_high_usd
    return (
        {} if low is None or high is None else {"monthly_low_usd": min(low, high), "monthly_high_usd": max(low, high)}
    )


@cache
def competitors_draft(count: int) -> type[CompetitorsDraft]:
    """The draft type with an entry for each number up to `count`; ten types at most.

    Competitors are identified by number, because a model spells names its own way.
    """

    def check(entries: list[CompetitorDraft]) -> list[CompetitorDraft]:
        if missing := set(range(1, count + 1)) - {entry.number for entry in entries}:
            raise ValueError(f"there must be an entry for each competitor; missing numbers: {sorted(missing)}")
        return entries

    return create_model(
        f"CompetitorsDraft{count}",
        __base__=CompetitorsDraft,
        __doc__=CompetitorsDraft.__doc__,
        competitors=(
            Annotated[list[CompetitorDraft], AfterValidator(check)],
            Field(description=f"Exactly {count} entries, numbered as in <competitors>."),
        ),
    )
