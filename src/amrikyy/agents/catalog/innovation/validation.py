"""Validation of an idea: what a model drafts, and the verdict that is computed from it."""

from typing import Annotated, Literal, Self

from pydantic import Field

from amrikyy.agents.agent import Result
from amrikyy.agents.catalog.innovation.draft import Draft, Line, Prose, Score, weighted
from amrikyy.agents.catalog.innovation.requests import IdeaValidationRequest

CRITERIA_WEIGHTS = {"problem": 0.25, "market": 0.20, "differentiation": 0.20, "feasibility": 0.15, "economics": 0.20}
"""A real problem counts most: products for problems that nobody has fail however well they are built."""

GO_SCORE, REFINE_SCORE = 70, 50

WEAK_CRITERION = 35
"""A criterion this low prevents a "go": a high mean must not hide what would sink the idea on its own."""

Verdict = Literal["go", "refine", "stop"]
Level = Literal["low", "medium", "high"]
_LEVELS: dict[Level, int] = {"low": 1, "medium": 2, "high": 3}


class CriterionDraft(Draft):
    """One criterion as the model judges it."""

    score: Score = Field(description="0 to 100, judged as a sceptical investor would; 50 is what most ideas deserve.")
    reasoning: Prose = Field(description="Why, in one to three sentences, and what would change it.")


class CriteriaDraft(Draft):
    """The five criteria."""

    problem: CriterionDraft = Field(description="Do enough people have the problem, and does it hurt?")
    market: CriterionDraft = Field(description="Is the market large enough, reachable, and growing?")
    differentiation: CriterionDraft = Field(description="Why this and not what there is, and is that hard to copy?")
    feasibility: CriterionDraft = Field(description="Can it be built and run with the means at hand?")
    economics: CriterionDraft = Field(description="Does a customer bring more than it costs to win and serve them?")


class IdeaRiskDraft(Draft):
    """One risk as the model drafts it."""

    risk: Line = Field(description="What may happen.")
    likelihood: Level = Field(description="How likely it is.")
    impact: Level = Field(description="How much harm it would do.")
    mitigation: Line = Field(description="What can be done about it.")


class ExperimentDraft(Draft):
    """One experiment as the model drafts it."""

    assumption: Line = Field(description="What must be true for the idea to work, and is not known to be.")
    method: Line = Field(description="How to test it, cheaply and within days.")
    success_criterion: Line = Field(description="The observation, with a number, that would confirm it.")
    cost_usd: float = Field(ge=0, le=10_000_000, description="What the test costs, US dollars; an estimate.")
    days: int = Field(ge=1, le=365, description="How many days it takes; an estimate.")


class ValidationDraft(Draft):
    """The judgement as the model drafts it."""

    summary: Prose = Field(description="The judgement in three or four sentences, reasons first.")
    criteria: CriteriaDraft = Field(description="The five criteria.")
    strengths: list[Line] = Field(min_length=1, max_length=8, description="What speaks for it, 2 to 4.")
    weaknesses: list[Line] = Field(min_length=1, max_length=8, description="What speaks against it, 2 to 4.")
    risks: list[IdeaRiskDraft] = Field(min_length=1, max_length=10, description="The main risks, 3 to 5.")
    experiments: Annotated[list[ExperimentDraft], Field(min_length=1, max_length=8)] = Field(
        description="What to test before building, 2 to 4, the most doubtful assumption first."
    )


class Criterion(CriterionDraft):
    """One criterion with its weight."""

    weight_percent: int = Field(description="Its share of the overall score, in percent.")


class Criteria(Result):
    """The five criteria with their weights."""

    problem: Criterion = Field(description="Do enough people have the problem, and does it hurt? 25 %.")
    market: Criterion = Field(description="Is the market large enough, reachable, and growing? 20 %.")
    differentiation: Criterion = Field(description="Why this and not what there is, and is that hard to copy? 20 %.")
    feasibility: Criterion = Field(description="Can it be built and run with the means at hand? 15 %.")
    economics: Criterion = Field(description="Does a customer bring more than it costs to win and serve them? 20 %.")


class IdeaRisk(IdeaRiskDraft):
    """One risk with its severity."""

    severity: int = Field(description="Likelihood times impact, each 1 (low) to 3 (high): 1 to 9.")


class ExperimentPlan(Result):
    """What all experiments take together."""

    total_cost_usd: float = Field(description="All experiments, US dollars.")
    total_days: int = Field(description="All experiments one after the other, in days.")
    within_budget: bool | None = Field(
        default=None, description="Whether the budget covers them; null without a budget."
    )
    affordable: int = Field(description="How many of them, from the first on, the budget covers.")


class IdeaValidation(Result):
    """An idea judged."""

    idea: str = Field(description="The idea, as requested.")
    target_market: str | None = Field(default=None, description="Who would buy, as requested.")
    budget: float | None = Field(default=None, description="US dollars to find out, as requested.")
    timeline: str | None = Field(default=None, description="When there should be a result, as requested.")
    verdict: Verdict = Field(
        description="go: overall 70 or more and no criterion below 35; refine: overall 50 or more; stop: below."
    )
    overall_score: int = Field(description="Weighted mean of the criteria, 0 to 100.")
    weakest_criterion: str = Field(description="Name of the criterion with the lowest score: work on that first.")
    summary: str = Field(description="The judgement in a few sentences.")
    criteria: Criteria = Field(description="The five criteria.")
    strengths: list[Line] = Field(description="What speaks for it.")
    weaknesses: list[Line] = Field(description="What speaks against it.")
    risks: list[IdeaRisk] = Field(description="The main risks, the most severe first.")
    experiments: list[ExperimentDraft] = Field(description="What to test before building, in order.")
    experiment_plan: ExperimentPlan = Field(description="What the experiments take together.")
    source: Literal["estimate"] = Field(
        default="estimate", description="Scores, costs and days are a model's judgement."
    )

    @classmethod
    def from_draft(cls, draft: ValidationDraft, request: IdeaValidationRequest) -> Self:
        """Compute the overall score, the verdict, the severity of each risk, and what the experiments take in total."""
        scores = {name: getattr(draft.criteria, name).score for name in CRITERIA_WEIGHTS}
        overall = weighted(scores, CRITERIA_WEIGHTS)
        risks = [
            IdeaRisk(**risk.model_dump(), severity=_LEVELS[risk.likelihood] * _LEVELS[risk.impact])
            for risk in draft.risks
        ]
        return cls(
            **request.model_dump(),
            verdict=_verdict(overall, min(scores.values())),
            overall_score=overall,
            weakest_criterion=min(scores, key=lambda name: scores[name]),
            summary=draft.summary,
            criteria=Criteria.model_validate(
                {
                    name: getattr(draft.criteria, name).model_dump() | {"weight_percent": round(100 * weight)}
                    for name, weight in CRITERIA_WEIGHTS.items()
                }
            ),
            strengths=draft.strengths,
            weaknesses=draft.weaknesses,
            risks=sorted(risks, key=lambda risk: -risk.severity),
            experiments=draft.experiments,
            experiment_plan=_plan(draft.experiments, request.budget),
        )


def _verdict(overall: int, lowest: int) -> Verdict:
    if overall >= GO_SCORE and lowest >= WEAK_CRITERION:
        return "go"
    return "refine" if overall >= REFINE_SCORE else "stop"


def _plan(experiments: list[ExperimentDraft], budget: float | None) -> ExperimentPlan:
    spent, affordable = 0.0, 0
    for experiment in experiments:
        spent = round(spent + experiment.cost_usd, 2)
        affordable += budget is None or spent <= budget
    return ExperimentPlan(
        total_cost_usd=spent,
        total_days=sum(experiment.days for experiment in experiments),
        within_budget=None if budget is None else spent <= budget,
        affordable=affordable,
    )
