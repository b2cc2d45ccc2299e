"""Business ideas: what a model drafts, and the ranked list that is made from it."""

from typing import Literal, Self

from pydantic import Field

from amrikyy.agents.agent import Result
from amrikyy.agents.catalog.innovation.draft import Draft, Line, Name, Prose, Score, weighted
from amrikyy.agents.catalog.innovation.requests import IdeasRequest

IDEA_WEIGHTS = {"impact": 0.40, "feasibility": 0.35, "novelty": 0.25}
"""What the idea changes for a customer counts most; novelty alone has never paid a bill."""


class IdeaScores(Draft):
    """How good an idea is, from three sides."""

    impact: Score = Field(description="How much it changes for those who have the problem, 0 to 100.")
    feasibility: Score = Field(description="How likely a small team can build and sell it, 0 to 100.")
    novelty: Score = Field(description="How different it is from what one can buy, 0 to 100.")


class IdeaDraft(Draft):
    """One idea as the model drafts it."""

    title: Name = Field(description="The idea in a few words.")
    description: Prose = Field(description="What it is and how it works, in two or three sentences.")
    target_customer: Line = Field(description="Who would pay, as narrowly as possible.")
    value_proposition: Line = Field(description="Why they would, in one sentence.")
    revenue_model: Line = Field(description="How it earns money.")
    risks: list[Line] = Field(min_length=1, max_length=8, description="What is most likely to make it fail, 1 to 3.")
    first_step: Line = Field(description="What one could do within a week to learn whether it works.")
    scores: IdeaScores = Field(description="How good it is, judged severely.")


class IdeasDraft(Draft):
    """Ideas as the model drafts them."""

    ideas: list[IdeaDraft] = Field(min_length=1, description="The ideas, all different.")


class RankedIdea(IdeaDraft):
    """One idea with its rank."""

    rank: int = Field(description="Its place by overall score, from 1.")
    overall_score: int = Field(description="40 % impact, 35 % feasibility, 25 % novelty: 0 to 100.")


class BusinessIdeas(Result):
    """Ideas, the best first."""

    niche: str = Field(description="The field in which they are.")
    problem: str | None = Field(default=None, description="The problem that they should solve.")
    constraints: list[str] = Field(description="What every idea was to keep to.")
    requested: int = Field(description="How many ideas were asked for.")
    count: int = Field(description="How many there are: never more than requested, fewer if the model had no more.")
    ideas: list[RankedIdea] = Field(description="The ideas by rank.")
    source: Literal["estimate"] = Field(default="estimate", description="Ideas and scores are a model's judgement.")

    @classmethod
    def from_draft(cls, draft: IdeasDraft, request: IdeasRequest) -> Self:
        """Drop repeats, rank by overall score and keep the best `count`."""
        different: dict[str, IdeaDraft] = {}
        for idea in draft.ideas:
            different.setdefault(idea.title.casefold(), idea)
        scored = [(weighted(idea.scores.model_dump(), IDEA_WEIGHTS), idea) for idea in different.values()]
        scored.sort(key=lambda pair: -pair[0])
        ideas = [
            RankedIdea(**idea.model_dump(), rank=rank, overall_score=score)
            for rank, (score, idea) in enumerate(scored[: request.count], start=1)
        ]
        return cls(
            niche=request.niche,
            problem=request.problem,
            constraints=request.constraints,
            requested=request.count,
            count=len(ideas),
            ideas=ideas,
        )
