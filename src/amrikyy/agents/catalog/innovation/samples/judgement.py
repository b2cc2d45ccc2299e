"""The offline model's judgements: five criteria, risks, and experiments within the budget."""

from amrikyy.agents.catalog.innovation.requests import IdeaValidationRequest
from amrikyy.agents.catalog.innovation.samples.wording import around, gist
from amrikyy.agents.catalog.innovation.validation import (
    CriteriaDraft,
    CriterionDraft,
    ExperimentDraft,
    IdeaRiskDraft,
    ValidationDraft,
)
from amrikyy.agents.seeding import seeded

EVEN = 55
"""The score from which a criterion is good news."""

# For each criterion: what is said about a high score, and about a low one.
REASONS = {
    "problem": (
        "{Who} seem to solve this today with patience and spreadsheets, which is a good sign: they notice the "
        "problem. Whether it hurts enough to pay is not shown.",
        "The problem is real for {who}, but it comes up rarely, and rare problems are forgotten before a purchase.",
    ),
    "market": (
        "{Who} can be reached through a few places where they already meet. The group is large enough for a small "
        "company.",
        "The market is wide and loosely defined. A narrower first group among {who} would be cheaper to reach.",
    ),
    "differentiation": (
        "It combines two things that are usually sold apart, which is easy to explain and tedious to copy.",
        "The idea differs in how it is sold rather than in what it does. That can be copied within months.",
    ),
    "feasibility": (
        "A first version can be done largely by hand, so little has to be built before the first customer pays.",
        "It needs several partners to move at the same time, which makes the beginning slow.",
    ),
    "economics": (
        "A customer who stays for a year should pay back what it took to win them; beyond that everything depends on "
        "how many stay.",
        "Margins look thin while each customer needs personal help. The price, or the help, has to change.",
    ),
}

EXPERIMENTS = (
    (
        "{Who} have the problem often enough to look for help.",
        "Interview fifteen of them about the last time it happened; do not mention the idea.",
        "At least 9 of 15 tell of a case within the last month.",
        0.05,
        7,
    ),
    (
        "They would pay, and not only agree.",
        "A page with a price and a button for a deposit, shown to 300 people from this group.",
        "At least 9 of 300 leave a deposit.",
        0.35,
        10,
    ),
    (
        "The core can be delivered by hand at a bearable cost.",
        "Serve five customers by hand for two weeks and write down every minute.",
        "Less than 3 hours for each customer and week.",
        0.25,
        14,
    ),
)

DEFAULT_BUDGET = 2000.0


def validation(request: IdeaValidationRequest) -> ValidationDraft:
    """A judgement whose experiments cost two thirds of the budget, or of 2000 US dollars without one."""
    rng = seeded(request, "validation")
    who = request.target_market or "busy people"
    words = {"who": who, "Who": who[:1].upper() + who[1:]}
    idea = gist(request.idea)
    base = rng.randint(42, 72)
    criteria = {
        name: CriterionDraft(score=(score := around(base, rng, 18)), reasoning=reasons[score < EVEN].format(**words))
        for name, reasons in REASONS.items()
    }
    budget = DEFAULT_BUDGET if request.budget is None else min(request.budget, 1e7)
    within = f" in the given time ({request.timeline})" if request.timeline else ""
    return ValidationDraft(
        summary=f"'{idea}' is easy to explain and cheap to test, which speaks for trying it{within}. What is missing "
        f"is any sign that {who} would pay for it rather than like it. This is the offline model's judgement: it "
        "weighs nothing but the words of the request.",
        criteria=CriteriaDraft(**criteria),
        strengths=[
            "It can be explained in one sentence.",
            f"{words['Who']} can be asked directly, without a large campaign.",
            "A first version needs people rather than technology.",
        ],
        weaknesses=[
            "Nothing in it keeps a larger company from offering the same.",
            "It is not said what customers do today instead, and what that costs them.",
        ],
        risks=[
            IdeaRiskDraft(
                risk="Interest is polite, and nobody pays.",
                likelihood="high",
                impact="high",
                mitigation="Ask for a deposit before anything is built.",
            ),
            IdeaRiskDraft(
                risk="Winning a customer costs more than the first year brings.",
                likelihood="medium",
                impact="high",
                mitigation="Begin with one channel, and stop it at a cost agreed beforehand.",
            ),
            IdeaRiskDraft(
                risk="A supplier or a platform changes its terms.",
                likelihood="low",
                impact="medium",
                mitigation="Keep a second source, and the customers' addresses, in your own hands.",
            ),
        ],
        experiments=[
            ExperimentDraft(
                assumption=assumption.format(**words),
                method=method,
                success_criterion=success,
                cost_usd=round(share * budget),
                days=days,
            )
            for assumption, method, success, share, days in EXPERIMENTS
        ],
    )
