"""The offline model's trends: movements that reach most industries, worded for this one."""

import random
from typing import Literal, NamedTuple

from amrikyy.agents.catalog.innovation.requests import Timeframe, TrendsRequest
from amrikyy.agents.catalog.innovation.samples.wording import around, capital
from amrikyy.agents.catalog.innovation.trends import TrendDraft, TrendScores, TrendsDraft
from amrikyy.agents.seeding import seeded

Stage = Literal["weak-signal", "growing", "mature", "declining"]

WORDS: dict[Timeframe, str] = {
    "current": "within the next twelve months",
    "emerging": "in one to three years",
    "future": "in three to ten years",
}

# What is far away moves more slowly today, and one can be less sure of it.
DISCOUNT: dict[Timeframe, tuple[int, int]] = {"current": (0, 0), "emerging": (-8, -14), "future": (-18, -30)}

COUNT = 6


class Movement(NamedTuple):
    """A trend about `{industry}`; the numbers are impact, momentum and confidence."""

    name: str
    description: str
    stage: Stage
    drivers: tuple[str, ...]
    signals: tuple[str, ...]
    opportunity: str
    threat: str
    scores: tuple[int, int, int]


MOVEMENTS = (
    Movement(
        "Answers instead of search results",
        "Customers of {industry} ask an assistant and act on its one answer. Who is not in that answer is not "
        "compared.",
        "growing",
        ("Assistants in telephones and offices", "Fatigue with long lists of results"),
        ("Share of new customers who say that an assistant named you", "Visits to comparison pages"),
        "Publish facts that a machine can read and a person can check.",
        "Companies whose customers come from search advertising.",
        (78, 84, 74),
    ),
    Movement(
        "Fewer hands, better paid",
        "Skilled people in {industry} are scarce and choose their employers. Work is arranged around them.",
        "mature",
        ("Retirements", "Training that takes years", "Pay elsewhere"),
        ("Weeks until a vacancy is filled", "Applications for each vacancy"),
        "Design the service so that it needs a third fewer skilled hours.",
        "Companies that compete by price with unskilled work.",
        (74, 55, 83),
    ),
    Movement(
        "Proof before promise",
        "Buyers in {industry} want evidence of origin, energy and working conditions before they sign, not a logo.",
        "growing",
        ("Reporting duties of large customers", "Lost trust in labels"),
        ("Questions about proof in calls for tender", "Contracts lost over missing documents"),
        "Offer the evidence with the product, uncertainty included.",
        "Companies that cannot trace their suppliers.",
        (66, 61, 71),
    ),
    Movement(
        "Use instead of ownership",
        "In {industry} more is rented, shared and subscribed. The provider keeps the risk and the relationship.",
        "mature",
        ("Capital costs", "Small homes and small offices", "Good booking software"),
        ("Share of revenue that recurs", "Return rate after the first month"),
        "Turn the one-time sale into a service with upkeep.",
        "Dealers without a service of their own.",
        (63, 47, 76),
    ),
    Movement(
        "Small software made by its users",
        "People in {industry} who never programmed build their own little tools with an assistant, past every "
        "department.",
        "growing",
        ("Assistants that write code", "Standard software that fits nobody"),
        ("Tools in daily use that nobody approved", "Requests for access to data"),
        "Provide safe data and let people build.",
        "Makers of simple standard software.",
        (69, 79, 62),
    ),
    Movement(
        "The end of the annual plan",
        "Prices, costs and rules around {industry} move so often that plans for a year are replaced by decisions for a "
        "quarter.",
        "growing",
        ("Volatile input prices", "Shorter contracts"),
        ("Contracts of less than twelve months", "Price changes in a year"),
        "Sell flexibility, and charge for it.",
        "Companies with long fixed commitments on one side only.",
        (58, 64, 67),
    ),
    Movement(
        "Local again",
        "Distance has become a risk in {industry}; suppliers nearby are worth a premium to some customers.",
        "growing",
        ("Delays and tariffs", "Pride in the region"),
        ("Share of suppliers within a day's drive", "Stock kept for safety"),
        "Offer a regional version with a guaranteed date.",
        "Importers without a second source.",
        (55, 52, 60),
    ),
    Movement(
        "Older customers with time and demands",
        "The customers of {industry} grow older, have money, and will not put up with small print of any kind.",
        "mature",
        ("Demography", "Better health in old age"),
        ("Median age of customers", "Calls to the hotline for each order"),
        "Rework the offer for eyes, ears and patience, and everybody profits.",
        "Companies that think in the age of their own staff.",
        (65, 44, 88),
    ),
    Movement(
        "Tired of loyalty points",
        "Bonus programmes in {industry} lose their effect: customers collect everywhere and are loyal to none.",
        "declining",
        ("Too many programmes", "Data protection"),
        ("Points that expire unused", "Share of sales with a discount"),
        "Replace points by one benefit that is felt each time.",
        "Companies whose margin depends on expired points.",
        (44, 38, 69),
    ),
    Movement(
        "Rules for automated decisions",
        "Authorities want to know how decisions about customers of {industry} are made, and who answers for them.",
        "weak-signal",
        ("New laws on automated decisions", "Complaints that made the news"),
        ("Letters from the authority", "Clauses about automation in contracts"),
        "Explain each decision in two sentences, before it is demanded.",
        "Companies that cannot explain their own system.",
        (61, 49, 64),
    ),
)


def trends(request: TrendsRequest) -> TrendsDraft:
    """Six trends, more distant and less certain the further ahead the timeframe looks."""
    rng = seeded(request, "trends")
    chosen = rng.sample(MOVEMENTS, COUNT)
    where = f" in {request.region}" if request.region else ""
    when = WORDS[request.timeframe]
    names = " and ".join(f"'{movement.name.lower()}'" for movement in chosen[:2])
    return TrendsDraft(
        summary=f"{capital(request.industry)}{where} will be shaped {when} by {names} more than by any single product. "
        "None of these movements is particular to the industry; what differs is who notices first. This is the offline "
        "model's outline, made without looking at any data.",
        trends=[_trend(movement, request, rng) for movement in chosen],
        recommendations=[
            f"Choose one signal of '{chosen[0].name.lower()}' and write down its value every month.",
            chosen[1].opportunity,
            f"Ask five customers{where} what they would miss if you closed.",
            f"Decide what you would stop doing if '{chosen[2].name.lower()}' came a year early.",
        ],
    )


def _trend(movement: Movement, request: TrendsRequest, rng: random.Random) -> TrendDraft:
    slower, less_sure = DISCOUNT[request.timeframe]
    impact, momentum, confidence = movement.scores
    return TrendDraft(
        name=movement.name,
        description=movement.description.format(industry=request.industry),
        stage="weak-signal" if request.timeframe == "future" and movement.stage == "growing" else movement.stage,
        drivers=list(movement.drivers),
        signals=list(movement.signals),
        opportunity=movement.opportunity,
        threat=movement.threat,
        scores=TrendScores(
            impact=around(impact, rng),
            momentum=around(momentum + slower, rng),
            confidence=around(confidence + less_sure, rng),
        ),
    )
