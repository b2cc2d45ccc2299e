"""The offline model's canvases: nine blocks of notes that fit each other, worded for the idea and its industry."""

from collections.abc import Mapping, Sequence

from amrikyy.agents.catalog.innovation.canvas import CanvasDraft, CanvasItem, CostDraft, RevenueDraft
from amrikyy.agents.catalog.innovation.requests import CanvasRequest
from amrikyy.agents.catalog.innovation.samples.wording import gist
from amrikyy.agents.seeding import seeded

Notes = Sequence[tuple[str, str]]

BLOCKS: Mapping[str, Notes] = {
    "customer_segments": (
        ("Impatient professionals", "People in {industry} who have the problem every week and a budget of their own."),
        ("Small firms", "Companies in {industry} with up to twenty people and nobody who specialises in this."),
        ("Newcomers", "People who have just begun in {industry} and would rather not learn it the hard way."),
        ("Advisers", "Those who are asked about it by their own clients in {industry}, and pass it on."),
    ),
    "value_propositions": (
        ("Done by Friday", "A result within a week, where {industry} usually takes a month."),
        ("No specialist needed", "Works without anybody who has to be hired or trained for it."),
        ("A price known beforehand", "One figure on the first page, the end of the contract included."),
        ("Proof that it works", "A plain comparison of before and after, for every customer."),
    ),
    "channels": (
        ("Recommendations", "Every fifth customer is asked to introduce one colleague."),
        ("Associations", "Evenings with the regional associations of {industry}."),
        ("A useful free tool", "A calculator that shows what the present way costs, and leads to an offer."),
        ("Partners' websites", "A small form where customers already are."),
    ),
    "customer_relationships": (
        ("A person for the first month", "The same human being from the first call to the first result."),
        ("Self-service afterwards", "Everything that comes back can be done without asking."),
        ("Quarterly review", "Thirty minutes on what it brought, with the option to stop."),
    ),
    "key_resources": (
        ("Two people who know {industry}", "Their judgement is what customers pay for in the first year."),
        ("Records of every case", "What was tried and what came of it, in one place."),
        ("A short list of suppliers", "Two for each thing that must not fail."),
    ),
    "key_activities": (
        ("Serving the first fifty by hand", "To learn what can be automated, and what had better not."),
        ("Asking why customers leave", "A call within two days, by a founder."),
        ("Keeping promises on dates", "The one thing that competitors in {industry} are known not to do."),
    ),
    "key_partners": (
        ("Associations of {industry}", "They get something useful for their members."),
        ("Suppliers with idle hours", "They fill quiet weeks at a fixed price."),
        ("An accountant", "Sends clients who ask about it, and is spared the question."),
    ),
}

REVENUE = (
    ("Monthly subscription", "For customers who need it every week.", "recurring", 55),
    ("Set-up fee", "Covers the person in the first month.", "one-time", 25),
    ("Commission from partners", "When a customer buys something through the service.", "commission", 12),
    ("Extra use", "Beyond what the subscription includes.", "usage", 8),
)

COSTS = (
    ("Salaries", "Two founders and one person for customers.", "fixed", 52),
    ("Winning customers", "Evenings, the free tool and introductions.", "variable", 18),
    ("Serving customers", "Suppliers and hours for each case.", "variable", 17),
    ("Software and hosting", "Ready-made wherever possible.", "fixed", 7),
    ("Insurance and advice", "Liability, contracts and bookkeeping.", "fixed", 6),
)


def canvas(request: CanvasRequest) -> CanvasDraft:
    """A canvas with two to four notes in each block."""
    rng = seeded(request, "canvas")

    def notes(block: str) -> list[CanvasItem]:
        stock = BLOCKS[block]
        # In the order in which they are written above, from the most to the least important.
        kept = sorted(rng.sample(range(len(stock)), min(3, len(stock))))
        return [
            CanvasItem(title=title.format(industry=request.industry), detail=detail.format(industry=request.industry))
            for title, detail in (stock[place] for place in kept)
        ]

    idea = gist(request.idea)
    return CanvasDraft(
        summary=f"'{idea}' earns a set-up fee and a subscription from small customers in {request.industry}, serves "
        "the first of them by hand, and automates what comes back. This is the offline model's proposal, made of the "
        "request alone.",
        customer_segments=notes("customer_segments"),
        value_propositions=notes("value_propositions"),
        channels=notes("channels"),
        customer_relationships=notes("customer_relationships"),
        revenue_streams=[
            RevenueDraft(title=title, detail=detail, kind=kind, share_percent=share + rng.randint(-4, 4))
            for title, detail, kind, share in REVENUE
        ],
        key_resources=notes("key_resources"),
        key_activities=notes("key_activities"),
        key_partners=notes("key_partners"),
        cost_structure=[
            CostDraft(title=title, detail=detail, kind=kind, share_percent=share + rng.randint(-4, 4))
            for title, detail, kind, share in COSTS
        ],
        riskiest_assumptions=[
            f"Customers in {request.industry} see the cost of what they do today.",
            "More than half of those who pay the set-up fee are still there after six months.",
            "One person can serve thirty customers.",
        ],
    )
