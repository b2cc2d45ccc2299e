"""The offline model's competitors: plausible characters, each inferred from nothing but a name, and marked so."""

import random
from typing import NamedTuple

from amrikyy.agents.catalog.innovation.competitors import (
    CompetitorDraft,
    CompetitorScores,
    CompetitorsDraft,
    PricingDraft,
)
from amrikyy.agents.catalog.innovation.requests import CompetitorsRequest
from amrikyy.agents.catalog.innovation.samples.wording import around, capital
from amrikyy.agents.seeding import seeded


class Character(NamedTuple):
    """A kind of competitor; the numbers are the strength of its pricing, features and marketing."""

    positioning: str
    model: str
    monthly: tuple[int, int]
    assessment: str
    strengths: tuple[str, str]
    weaknesses: tuple[str, str]
    scores: tuple[int, int, int]


CHARACTERS = (
    Character(
        "serves everybody with a broad offer. It is the name that people think of first, and the one they complain "
        "about.",
        "Subscription in three steps",
        (9, 49),
        "The middle step is where everybody lands, and it lacks one thing that the dearest has.",
        ("Known to everybody", "Works with most other tools"),
        ("Help takes days", "Grows more complicated every year"),
        (52, 74, 83),
    ),
    Character(
        "wins by price. It keeps the offer small and lets customers help themselves.",
        "Free with advertising, one paid plan",
        (0, 8),
        "Hard to undercut; there is little money for anything beyond the basics.",
        ("Cheapest to begin with", "Quick to set up"),
        ("No person to talk to", "Few settings for unusual cases"),
        (85, 43, 51),
    ),
    Character(
        "serves professionals who use it all day. It is deep, dependable and slow to learn.",
        "Licence for each seat, paid yearly",
        (39, 190),
        "Beginners are frightened off; heavy users find it cheap.",
        ("Does what no other can", "Loyal experts who recommend it"),
        ("Weeks of training", "Looks its age"),
        (38, 88, 46),
    ),
    Character(
        "is new, pretty and talked about. It does one thing very well and promises the rest for soon.",
        "Free now, subscription announced",
        (0, 15),
        "What it will cost in a year is open, and careful buyers wait.",
        ("Best first ten minutes", "A community that does its marketing"),
        ("Key functions are missing", "It is unclear whether it will last"),
        (61, 49, 72),
    ),
    Character(
        "sells through partners and advisers in the region. Customers buy a person, and the product comes along.",
        "Set-up fee and monthly service",
        (60, 400),
        "Prices are negotiated, so two customers rarely pay the same.",
        ("Trust in person", "Adapts to each customer"),
        ("Does not scale", "Updates arrive late"),
        (41, 57, 64),
    ),
    Character(
        "adds this as a side of a larger offer. For its existing customers it costs next to nothing.",
        "Included in a larger subscription",
        (12, 30),
        "For those who have the rest it is free; nobody else would buy it.",
        ("Already installed", "One invoice, one login"),
        ("Nobody there lives for it", "Improves once a year"),
        (77, 39, 58),
    ),
)

FEATURES = (
    "Shared lists and roles", "Import from a spreadsheet", "Offline use on a telephone", "Reminders and deadlines",
    "Templates by the community", "Reports for a manager", "Comments and approvals", "Connections to other tools",
    "Search across everything", "Export of all data",
)  # fmt: skip

MARKETING = (
    "Search advertising on comparison terms", "Short videos by users", "A newsletter with templates",
    "Talks at regional fairs", "Free accounts for schools", "Referral credits", "Case stories from small customers",
    "Partners who install it",
)  # fmt: skip


def competitors(request: CompetitorsRequest) -> CompetitorsDraft:
    """One entry for each name; if there are more names than characters, a character returns with other numbers."""
    rng = seeded(request, "competitors")
    characters = rng.sample(CHARACTERS, len(CHARACTERS))
    count = len(request.competitors)
    return CompetitorsDraft(
        summary=f"This is the offline model's sketch of {request.niche}: it knows none of these companies and gives "
        "each a character that is common in such markets. Usually one is known to everybody, one is cheap, and one is "
        "loved by experts; room is left between them.",
        competitors=[
            _competitor(number, name, characters[(number - 1) % len(characters)], request, rng)
            for number, name in enumerate(request.competitors, start=1)
        ],
        gaps=[
            f"A version of {request.niche} for people who use it twice a year, without a subscription.",
            "A person who answers within the hour, at a price that small customers can pay.",
            "Moving in with all one's data in a single afternoon, and moving out as easily.",
        ],
        recommendations=[
            f"Ask ten customers of {request.competitors[0]} what they did before it, and what they still do beside it.",
            "Choose one group that all of them treat as an afterthought, and build the first ten minutes for it.",
            "Publish prices in full, also for the case that one leaves.",
            f"Compare again in three months; {count} {'name is' if count == 1 else 'names are'} no market.",
        ],
    )


def _competitor(
    number: int, name: str, character: Character, request: CompetitorsRequest, rng: random.Random
) -> CompetitorDraft:
    low, high = (round(price * rng.uniform(0.8, 1.2)) for price in character.monthly)
    pricing, features, marketing = (around(score, rng) for score in character.scores)
    prices = PricingDraft(
        model=character.model,
        monthly_low_usd=min(low, high),
        monthly_high_usd=max(low, high),
        assessment=character.assessment,
    )
    return CompetitorDraft(
        number=number,
        name=name,
        known=False,
        positioning=f"{capital(name)} {character.positioning}",
        pricing=prices if request.focus in ("pricing", "all") else None,
        features=rng.sample(FEATURES, 4) if request.focus in ("features", "all") else [],
        marketing=rng.sample(MARKETING, 3) if request.focus in ("marketing", "all") else [],
        strengths=list(character.strengths),
        weaknesses=list(character.weaknesses),
        scores=CompetitorScores(pricing=pricing, features=features, marketing=marketing),
    )
