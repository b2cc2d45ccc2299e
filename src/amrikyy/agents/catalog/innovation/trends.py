"""Trends: what a model drafts, and the ranked analysis that is made from it."""

from typing import Literal, Self

from pydantic import Field

from amrikyy.agents.agent import Result
from amrikyy.agents.catalog.innovation.draft import Draft, Line, Name, Prose, Score, weighted
from amrikyy.agents.catalog.innovation.requests import Timeframe, TrendsRequest

MAX_TRENDS = 10

TREND_WEIGHTS = {"impact": 0.50, "momentum": 0.30, "confidence": 0.20}
"""A trend that changes little is not worth following however fast it moves."""

HORIZONS: dict[Timeframe, tuple[int, int]] = {"current": (0, 12), "emerging": (12, 36), "future": (36, 120)}
"""The range of months from now in which a trend of each timeframe is felt."""


class TrendScores(Draft):
    """How strong a trend is, from three sides."""

    impact: Score = Field(description="How much it changes for companies in the industry, 0 to 100.")
    momentum: Score = Field(description="How fast it spreads, 0 to 100.")
    confidence: Score = Field(description="How sure one can be that it goes on, 0 to 100.")


class TrendDraft(Draft):
    """One trend as the model drafts it."""

    name: Name = Field(description="The trend in a few words.")
    description: Prose = Field(description="What changes, and for whom, in two or three sentences.")
    stage: Literal["weak-signal", "growing", "mature", "declining"] = Field(description="How far it has come.")
    drivers: list[Line] = Field(min_length=1, max_length=10, description="What drives it, 1 to 4.")
    signals: list[Line] = Field(
        min_length=1,
        max_length=10,
        description="What one would observe if it goes on, 1 to 3: checkable, no statistics.",
    )
    opportunity: Line = Field(description="What a company could do with it.")
    threat: Line = Field(description="Whom it hurts if they do nothing.")
    scores: TrendScores = Field(description="How strong it is.")


class TrendsDraft(Draft):
    """Trends as the model drafts them."""

    summary: Prose = Field(description="The whole in three or four sentences.")
    trends: list[TrendDraft] = Field(min_length=2, description="The trends, all different.")
    recommendations: list[Line] = Field(min_length=1, max_length=10, description="What to do now, 3 to 5 actions.")


class RankedTrend(TrendDraft):
    """One trend with its rank."""

    rank: int = Field(description="Its place by overall score, from 1.")
    overall_score: int = Field(description="50 % impact, 30 % momentum, 20 % confidence: 0 to 100.")


class TrendAnalysis(Result):
    """The trends of an industry, the strongest first."""

    industry: str = Field(description="The industry.")
    timeframe: Timeframe = Field(description="How far ahead.")
    region: str | None = Field(default=None, description="Where; null for the whole world.")
    horizon_start_months: int = Field(description="Months from now at which the timeframe begins.")
    horizon_end_months: int = Field(description="Months from now at which it ends.")
    summary: str = Field(description="The whole in a few sentences.")
    trends: list[RankedTrend] = Field(description="The trends by rank, at most 10.")
    recommendations: list[Line] = Field(description="What to do now.")
    source: Literal["estimate"] = Field(
        default="estimate", description="Trends and scores are a model's judgement from memory, not measured data."
    )

    @classmethod
    def from_draft(cls, draft: TrendsDraft, request: TrendsRequest) -> Self:
        """Rank by overall score and say what the timeframe means in months."""
        scored = [(weighted(trend.scores.model_dump(), TREND_WEIGHTS), trend) for trend in draft.trends]
        scored.sort(key=lambda pair: -pair[0])
        start, end = HORIZONS[request.timeframe]
        return cls(
            **request.model_dump(),
            horizon_start_months=start,
            horizon_end_months=end,
            summary=draft.summary,
            trends=[
                RankedTrend(**trend.model_dump(), rank=rank, overall_score=score)
                for rank, (score, trend) in enumerate(scored[:MAX_TRENDS], start=1)
            ],
            recommendations=draft.recommendations,
        )
