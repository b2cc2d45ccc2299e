"""Recommendations: what a model drafts, and the destinations that are made from it."""

import math
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, StringConstraints, WithJsonSchema

from amrikyy.agents.agent import Result
from amrikyy.agents.catalog.travel.places import Airport, Location
from amrikyy.agents.catalog.travel.requests import RecommendationRequest

Month = Literal[
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]


def _whole(value: Any) -> Any:
    # Models that are told 0 to 100 still answer 92.5 or 105 from time to time.
    return max(0, min(100, round(value))) if isinstance(value, int | float) and math.isfinite(value) else value


MatchScore = Annotated[int, BeforeValidator(_whole), WithJsonSchema({"type": "integer", "minimum": 0, "maximum": 100})]
"""0 to 100. A value out of range or with a fraction is adjusted: it is not a mistake worth a second call."""

Highlight = Annotated[str, StringConstraints(min_length=2, max_length=200)]


class DestinationDraft(Result):
    """One destination as the model drafts it."""

    name: str = Field(min_length=2, max_length=80, description="City or island, without its country.")
    country: str = Field(min_length=2, max_length=60, description="Usual English name of its country.")
    match_score: MatchScore = Field(description="How well it fits the request, 0 to 100.")
    why: str = Field(min_length=20, max_length=600, description="Why it fits these interests, in two sentences.")
    best_months: list[Month] = Field(min_length=1, max_length=12, description="The best months to go.")
    highlights: list[Highlight] = Field(min_length=2, max_length=6, description="What not to miss, 2 to 6 things.")
    daily_cost: float = Field(
        gt=0, le=10_000, description="Bed, meals, activities and getting around for one person a day, US dollars."
    )


class RecommendationsDraft(Result):
    """Destinations as the model drafts them."""

    destinations: list[DestinationDraft] = Field(
        min_length=3, max_length=6, description="3 to 6 different destinations, the best match first."
    )


class RecommendedDestination(DestinationDraft):
    """One destination, with what the stay would cost."""

    estimated_total: float = Field(
        description="The whole stay of all travellers, US dollars, travel there not counted."
    )
    within_budget: bool | None = Field(default=None, description="Whether the budget covers it; null without a budget.")
    airport: Airport | None = Field(default=None, description="Where one would fly to, if we know the place.")
    source: Literal["estimate"] = Field(default="estimate", description="Invented by a model.")


class DestinationRecommendations(Result):
    """Destinations to choose from, the best match first."""

    interests: list[str] = Field(description="What the travellers like.")
    duration: int = Field(description="Length of the stay in days.")
    travelers: int = Field(description="How many travel.")
    season: str | None = Field(default=None, description="When, as the request said.")
    budget: float | None = Field(default=None, description="US dollars for the stay, as the request said.")
    destinations: list[RecommendedDestination] = Field(description="The destinations.")
    currency: Literal["USD"] = Field(default="USD", description="Of every cost.")
    source: Literal["estimate"] = Field(default="estimate", description="Costs and scores are invented by a model.")

    @classmethod
    def from_draft(cls, draft: RecommendationsDraft, request: RecommendationRequest) -> Self:
        """Add the cost of the whole stay, and the airport."""
        destinations = [_complete(destination, request) for destination in draft.destinations]
        destinations.sort(key=lambda destination: -destination.match_score)
        return cls(**request.model_dump(), destinations=destinations)


def _complete(draft: DestinationDraft, request: RecommendationRequest) -> RecommendedDestination:
    total = round(draft.daily_cost * request.duration * request.travelers, 2)
    there = Location.of(f"{draft.name}, {draft.country}")
    return RecommendedDestination(
        **draft.model_dump(),
        estimated_total=total,
        within_budget=None if request.budget is None else total <= request.budget,
        airport=there.airport,
    )
