"""Business model canvases: what a model drafts, and the nine blocks that are made from it."""

from collections.abc import Iterable, Sequence
from typing import Annotated, Literal, Self

from pydantic import Field

from amrikyy.agents.agent import Result
from amrikyy.agents.catalog.innovation.draft import Draft, Line, Name, Prose
from amrikyy.agents.catalog.innovation.requests import CanvasRequest


class CanvasItem(Draft):
    """One note in a block of the canvas."""

    title: Name = Field(description="The note in a few words.")
    detail: Line = Field(description="What it means for this idea, in one sentence.")


class MoneyItem(CanvasItem):
    """One note about money, with its weight."""

    share_percent: float = Field(ge=0, le=100, description="Its share of the block's total in the first year, percent.")


class RevenueDraft(MoneyItem):
    """One stream of revenue."""

    kind: Literal["one-time", "recurring", "usage", "commission", "advertising", "other"] = Field(
        description="How the money comes in."
    )


class CostDraft(MoneyItem):
    """One kind of cost."""

    kind: Literal["fixed", "variable"] = Field(description="Whether it grows with the number of customers.")


Block = Annotated[list[CanvasItem], Field(min_length=1, max_length=8)]


class CanvasDraft(Draft):
    """The canvas as the model drafts it, in the order in which one fills it in: customers first, costs last."""

    summary: Prose = Field(description="How the business works, in two or three sentences.")
    customer_segments: Block = Field(description="Who it creates value for, 2 to 4.")
    value_propositions: Block = Field(description="What they get, 2 to 4.")
    channels: Block = Field(description="How they hear of it, buy it and receive it, 2 to 4.")
    customer_relationships: Block = Field(description="How they are won, kept and served, 2 to 4.")
    revenue_streams: list[RevenueDraft] = Field(min_length=1, max_length=8, description="What they pay for, 1 to 4.")
    key_resources: Block = Field(description="What it needs to have, 2 to 4.")
    key_activities: Block = Field(description="What it needs to do well, 2 to 4.")
    key_partners: Block = Field(description="Who helps, and why they would, 2 to 4.")
    cost_structure: list[CostDraft] = Field(min_length=1, max_length=8, description="What costs most, 3 to 5.")
    riskiest_assumptions: list[Line] = Field(
        min_length=1, max_length=8, description="What must be true and is not known to be, 2 to 4, most doubtful first."
    )


class RevenueStream(RevenueDraft):
    """One stream of revenue, its share made to fit the others."""

    source: Literal["estimate"] = Field(default="estimate", description="The share is a model's guess.")


class CostItem(CostDraft):
    """One kind of cost, its share made to fit the others."""

    source: Literal["estimate"] = Field(default="estimate", description="The share is a model's guess.")


class BusinessModelCanvas(Result):
    """A business model on one page: Osterwalder and Pigneur's nine blocks."""

    idea: str = Field(description="The idea, as requested.")
    industry: str = Field(description="Its industry, as requested.")
    summary: str = Field(description="How the business works.")
    customer_segments: list[CanvasItem] = Field(description="Who it creates value for.")
    value_propositions: list[CanvasItem] = Field(description="What they get.")
    channels: list[CanvasItem] = Field(description="How they hear of it, buy it and receive it.")
    customer_relationships: list[CanvasItem] = Field(description="How they are won, kept and served.")
    revenue_streams: list[RevenueStream] = Field(description="What they pay for, the largest first; shares sum to 100.")
    key_resources: list[CanvasItem] = Field(description="What it needs to have.")
    key_activities: list[CanvasItem] = Field(description="What it needs to do well.")
    key_partners: list[CanvasItem] = Field(description="Who helps, and why they would.")
    cost_structure: list[CostItem] = Field(description="What costs most, the largest first; shares sum to 100.")
    riskiest_assumptions: list[Line] = Field(description="What must be true and is not known to be.")
    recurring_revenue_percent: float = Field(description="Share of revenue that recurs, in percent.")
    variable_cost_percent: float = Field(description="Share of costs that grows with the customers, in percent.")
    source: Literal["estimate"] = Field(default="estimate", description="The canvas is a model's proposal.")

    @classmethod
    def from_draft(cls, draft: CanvasDraft, request: CanvasRequest) -> Self:
        """Make the shares of revenue and of costs add up to 100, and summarise their kinds."""
        revenue = [
            RevenueStream(**item.model_dump(exclude={"share_percent"}), share_percent=share)
            for item, share in zip(draft.revenue_streams, shares(draft.revenue_streams), strict=True)
        ]
        costs = [
            CostItem(**item.model_dump(exclude={"share_percent"}), share_percent=share)
            for item, share in zip(draft.cost_structure, shares(draft.cost_structure), strict=True)
        ]
        return cls(
            **request.model_dump(),
            **draft.model_dump(exclude={"revenue_streams", "cost_structure"}),
            revenue_streams=sorted(revenue, key=lambda item: -item.share_percent),
            cost_structure=sorted(costs, key=lambda item: -item.share_percent),
            recurring_revenue_percent=_sum(item.share_percent for item in revenue if item.kind == "recurring"),
            variable_cost_percent=_sum(item.share_percent for item in costs if item.kind == "variable"),
        )


def shares(items: Sequence[MoneyItem]) -> list[float]:
    """The shares, scaled to sum to exactly 100.0 with one decimal; equal ones if all are zero.

    What rounding leaves over goes to the items that lost most by it (largest remainder method).
    """
    weights = [item.share_percent for item in items]
    if not sum(weights):
        weights = [1.0] * len(items)
    exact = [1000 * weight / sum(weights) for weight in weights]
    tenths = [int(value) for value in exact]
    by_remainder = sorted(range(len(items)), key=lambda place: tenths[place] - exact[place])
    for place in by_remainder[: 1000 - sum(tenths)]:
        tenths[place] += 1
    return [value / 10 for value in tenths]


def _sum(values: Iterable[float]) -> float:
    return round(sum(values), 1)
