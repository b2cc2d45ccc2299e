"""The offline model's business ideas: as many kinds of business as requested, in the request's niche."""

import random

from amrikyy.agents.catalog.innovation.ideas import IdeaDraft, IdeaScores, IdeasDraft
from amrikyy.agents.catalog.innovation.requests import IdeasRequest
from amrikyy.agents.catalog.innovation.samples.patterns import PATTERNS, Pattern
from amrikyy.agents.catalog.innovation.samples.wording import around, capital, gist
from amrikyy.agents.seeding import seeded


def ideas(request: IdeasRequest) -> IdeasDraft:
    """Exactly `count` ideas; each names the problem and one of the constraints, if there are any."""
    rng = seeded(request, "ideas")
    chosen = rng.sample(PATTERNS, request.count)
    return IdeasDraft(ideas=[_idea(pattern, number, request, rng) for number, pattern in enumerate(chosen)])


def _idea(pattern: Pattern, number: int, request: IdeasRequest, rng: random.Random) -> IdeaDraft:
    words = {"niche": request.niche, "Niche": capital(request.niche)}
    impact, feasibility, novelty = (around(score, rng) for score in pattern.scores)
    problem = f" It answers this problem: {gist(request.problem)}." if request.problem else ""
    risks = [f"{pattern.risk}."]
    if request.constraints:
        constraint = request.constraints[number % len(request.constraints)]
        risks.append(f"To keep to '{constraint}', the first version has to stay small.")
    return IdeaDraft(
        title=pattern.title.format(**words),
        description=pattern.description.format(**words) + problem,
        target_customer=pattern.customer,
        value_proposition=pattern.value,
        revenue_model=pattern.revenue,
        risks=risks,
        first_step=pattern.step,
        scores=IdeaScores(impact=impact, feasibility=feasibility, novelty=novelty),
    )
