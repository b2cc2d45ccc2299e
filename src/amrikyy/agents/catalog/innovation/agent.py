"""The innovation agent and its five operations."""

from collections.abc import Callable
from typing import Any

from amrikyy.agents.agent import Agent, hours
from amrikyy.agents.catalog.innovation import prompts, samples
from amrikyy.agents.catalog.innovation.canvas import BusinessModelCanvas, CanvasDraft
from amrikyy.agents.catalog.innovation.competitors import CompetitorAnalysis, competitors_draft
from amrikyy.agents.catalog.innovation.ideas import BusinessIdeas, IdeasDraft
from amrikyy.agents.catalog.innovation.requests import (
    CanvasRequest,
    CompetitorsRequest,
    IdeasRequest,
    IdeaValidationRequest,
    TrendsRequest,
)
from amrikyy.agents.catalog.innovation.trends import TrendAnalysis, TrendsDraft
from amrikyy.agents.catalog.innovation.validation import IdeaValidation, ValidationDraft
from amrikyy.agents.context import RunContext

THINKING_TOKENS = 8192
"""Room for the hidden reasoning of a model that thinks, which counts as output."""

TOKENS_PER_ENTRY = 800
"""Upper bound of what one idea or competitor takes; typical ones take 350."""

innovation = Agent(
    "innovation",
    "Finds and tests business ideas: ideas, trends, competitors, validation, business models.",
    limit="30/minute",
    capabilities=("ideas", "trends", "competitors", "validation", "business-models"),
    metadata={
        "category": "innovation",
        "currency": "USD",
        "data": "Ranks, verdicts and totals are computed from weighted scores; the scores are a model's estimates.",
    },
    example="5 business ideas for sustainable travel",
)


@innovation.operation(cache_for=hours(2), sample=samples.ideas, words=("startup", "brainstorm"))
async def generate_ideas(request: IdeasRequest, run: RunContext) -> BusinessIdeas:
    """Propose business ideas for a niche, ranked."""
    answer = await run.generate(
        IdeasDraft,
        prompt=prompts.for_ideas(request),
        system=prompts.IDEAS,
        max_output_tokens=THINKING_TOKENS + TOKENS_PER_ENTRY * request.count,
        temperature=1.0,
        done=_counted(request.count, "ideas"),
        message="Looking for ideas",
    )
    return BusinessIdeas.from_draft(answer, request)


@innovation.operation(cache_for=hours(24), sample=samples.trends, words=("trending", "future"))
async def analyze_trends(request: TrendsRequest, run: RunContext) -> TrendAnalysis:
    """Analyse what changes in an industry, and how strongly."""
    answer = await run.generate(
        TrendsDraft,
        prompt=prompts.for_trends(request),
        system=prompts.TRENDS,
        max_output_tokens=2 * THINKING_TOKENS,
        temperature=0.5,
        done=_counted(6, "trends"),
        message="Analysing trends",
    )
    return TrendAnalysis.from_draft(answer, request)


@innovation.operation(
    cache_for=hours(12), sample=samples.competitors, words=("compare", "competition", "rival", "versus", "vs")
)
async def analyze_competitors(request: CompetitorsRequest, run: RunContext) -> CompetitorAnalysis:
    """Compare competitors by price, features and marketing."""
    count = len(request.competitors)
    answer = await run.generate(
        competitors_draft(count),
        prompt=prompts.for_competitors(request),
        system=prompts.COMPETITORS,
        max_output_tokens=THINKING_TOKENS + TOKENS_PER_ENTRY * (count + 1),
        temperature=0.4,
        done=_counted(count, "competitors"),
        message="Comparing competitors",
    )
    return CompetitorAnalysis.from_draft(answer, request)


@innovation.operation(
    cache_for=hours(1), tier="pro", sample=samples.validation, words=("good", "feasible", "viable", "assess")
)
async def validate_idea(request: IdeaValidationRequest, run: RunContext) -> IdeaValidation:
    """Judge a business idea by five criteria, with a verdict and what to test first."""
    answer = await run.generate(
        ValidationDraft,
        prompt=prompts.for_validation(request),
        system=prompts.VALIDATION,
        max_output_tokens=2 * THINKING_TOKENS,
        temperature=0.4,
        message="Judging the idea",
    )
    return IdeaValidation.from_draft(answer, request)


@innovation.operation(cache_for=hours(2), tier="pro", sample=samples.canvas, words=("bmc",))
async def create_business_model_canvas(request: CanvasRequest, run: RunContext) -> BusinessModelCanvas:
    """Draw up a business model in the nine blocks of a canvas."""
    answer = await run.generate(
        CanvasDraft,
        prompt=prompts.for_canvas(request),
        system=prompts.CANVAS,
        max_output_tokens=2 * THINKING_TOKENS,
        temperature=0.6,
        message="Filling in the canvas",
    )
    return BusinessModelCanvas.from_draft(answer, request)


def _counted(expected: int, name: str) -> Callable[[dict[str, Any]], float]:
    """The share of the expected entries that are complete; the newest one is still being written."""
    return lambda partial: max(0, len(partial.get(name, ())) - 1) / expected
