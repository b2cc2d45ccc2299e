"""Itineraries: what a model drafts, and the plan that is made from it."""

from functools import cache
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, StringConstraints, create_model

from amrikyy.agents.agent import Result
from amrikyy.agents.catalog.travel.places import Location
from amrikyy.agents.catalog.travel.requests import ItineraryRequest

Tip = Annotated[str, StringConstraints(min_length=3, max_length=300)]


class Activity(Result):
    """What to do in one part of a day."""

    title: str = Field(min_length=2, max_length=120, description="What to do, in a few words.")
    description: str = Field(min_length=5, max_length=600, description="How and why, in a sentence or two.")
    place: str = Field(min_length=2, max_length=120, description="Where: a sight or a part of the city.")
    cost: float = Field(
        ge=0, le=100_000, description="Entrance, tour or ride for all travellers together, US dollars; 0 if free."
    )


class DayDraft(Result):
    """One day as the model drafts it."""

    day: int = Field(ge=1, le=30, description="Number of the day; the first is 1.")
    title: str = Field(min_length=2, max_length=120, description="The day in a few words.")
    morning: Activity = Field(description="Before lunch.")
    afternoon: Activity = Field(description="Between lunch and dinner.")
    evening: Activity = Field(description="From dinner on.")
    meals_and_transport_cost: float = Field(
        ge=0, le=100_000, description="Meals and getting around that day for all travellers together, US dollars."
    )


class ItineraryDraft(Result):
    """An itinerary as the model drafts it."""

    summary: str = Field(min_length=20, max_length=800, description="The stay in two or three sentences.")
    days: list[DayDraft] = Field(min_length=1, max_length=30, description="One entry for each day, in order.")
    packing_tips: list[Tip] = Field(min_length=3, max_length=10, description="What to pack for this place, 3 to 10.")


class ItineraryDay(DayDraft):
    """One day, with what it costs."""

    daily_cost: float = Field(description="Activities, meals and getting around for all travellers, US dollars.")


class BudgetCheck(Result):
    """Whether a plan keeps to its budget."""

    budget: float = Field(description="What there is to spend, US dollars.")
    planned: float = Field(description="What the plan costs, US dollars.")
    remaining: float = Field(description="Budget less plan, US dollars; negative if the plan costs more.")
    within_budget: bool = Field(description="The plan costs no more than the budget.")

    @classmethod
    def of(cls, budget: float, planned: float) -> Self:
        """Compare the two."""
        planned = round(planned, 2)
        return cls(
            budget=budget, planned=planned, remaining=round(budget - planned, 2), within_budget=planned <= budget
        )


class Itinerary(Result):
    """A stay planned day by day."""

    destination: Location = Field(description="Where the stay is.")
    duration: int = Field(description="Length in days.")
    travelers: int = Field(description="How many travel; every cost is for all of them.")
    interests: list[str] = Field(description="What the travellers like.")
    summary: str = Field(description="The stay in two or three sentences.")
    days: list[ItineraryDay] = Field(description="The days, in order.")
    packing_tips: list[Tip] = Field(description="What to pack for this place.")
    total_cost: float = Field(description="All days together, US dollars; flights and hotels are not counted.")
    cost_per_traveler: float = Field(description="The same for one traveller, US dollars.")
    budget: BudgetCheck = Field(description="Whether the plan keeps to the budget.")
    currency: Literal["USD"] = Field(default="USD", description="Of every cost.")
    source: Literal["estimate"] = Field(default="estimate", description="Plan and costs are invented by a model.")

    @classmethod
    def from_draft(cls, draft: ItineraryDraft, request: ItineraryRequest) -> Self:
        """Number the days and add up what they cost."""
        days = [
            ItineraryDay(**day.model_dump(exclude={"day"}), day=number, daily_cost=_daily_cost(day))
            for number, day in enumerate(draft.days, start=1)
        ]
        total = round(sum(day.daily_cost for day in days), 2)
        return cls(
            destination=Location.of(request.destination),
            duration=request.duration,
            travelers=request.travelers,
            interests=request.interests,
            summary=draft.summary,
            days=days,
            packing_tips=draft.packing_tips,
            total_cost=total,
            cost_per_traveler=round(total / request.travelers, 2),
            budget=BudgetCheck.of(request.budget, total),
        )


def _daily_cost(day: DayDraft) -> float:
    parts = (day.morning.cost, day.afternoon.cost, day.evening.cost, day.meals_and_transport_cost)
    return round(sum(parts), 2)


@cache
def itinerary_draft(duration: int) -> type[ItineraryDraft]:
    """The draft type with exactly so many days; cached, thirty types at most, because creating a type is not free.

    It is a validator rather than a length in the schema: Gemini rejects schemas with long bounded arrays.
    """

    def check(days: list[DayDraft]) -> list[DayDraft]:
        if len(days) != duration:
            raise ValueError(f"there must be exactly {duration} days, one entry each; these are {len(days)}")
        return days

    description = f"Exactly {duration} entries: one for each day, in order."
    return create_model(
        f"ItineraryDraft{duration}",
        __base__=ItineraryDraft,
        days=(Annotated[list[DayDraft], AfterValidator(check)], Field(description=description)),
    )
