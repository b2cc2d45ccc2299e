"""The offline model's research: claims that hold for most subjects, made about this one, with how to verify them."""

from typing import NamedTuple

from amrikyy.agents.catalog.content.requests import ResearchRequest
from amrikyy.agents.catalog.content.research import ClaimDraft, GlossaryTerm, ResearchDraft, ViewpointDraft
from amrikyy.agents.catalog.content.samples.wording import subject
from amrikyy.agents.seeding import seeded


class Stock(NamedTuple):
    """A claim about `{it}`, without the subject, and the words to search for."""

    claim: str
    explanation: str
    verify: str
    searches: tuple[str, ...]
    confidence: int


CLAIMS = (
    Stock(
        "Beginners overestimate the role of equipment in {it} and underestimate practice.",
        "Equipment can be bought at once and compared in tables, so it gets the attention. What practice adds shows up "
        "later and is rarely written down.",
        "Look for surveys or teachers' reports that compare results at equal equipment.",
        ("beginner mistakes survey", "equipment versus practice"),
        72,
    ),
    Stock(
        "The yearly cost of {it} is dominated by time rather than by purchases.",
        "Purchases are visible and happen once, while hours recur. Counted at any realistic rate, the hours win.",
        "Find published budgets that list hours, and recompute them at a local wage from the statistical office.",
        ("total cost breakdown hours", "annual budget example"),
        64,
    ),
    Stock(
        "Interest in {it} varies through the year.",
        "Holidays, school terms, weather and budgets give most activities a season, also those that look independent "
        "of it.",
        "Compare five years of search interest by month and check whether the pattern repeats.",
        ("search interest by month", "seasonality"),
        78,
    ),
    Stock(
        "Rules that concern {it} differ between countries, and sometimes between cities.",
        "Safety, consumer protection, data protection and taxes are all regulated locally. Advice from elsewhere may "
        "not apply.",
        "Ask the competent authority or its website, and note the date of the version that you read.",
        ("regulations by country", "official guidance", "permit requirements"),
        84,
    ),
    Stock(
        "People hear of {it} from somebody they know more often than from advertising.",
        "For decisions with some risk, a recommendation carries the experience of a person who has nothing to gain.",
        "Look for a survey that asks how people first heard of it, and check who paid for the survey.",
        ("how people discover survey", "word of mouth share"),
        61,
    ),
    Stock(
        "Most guides to {it} repeat the same handful of sources.",
        "Writers research by reading each other, so one early number or opinion travels a long way unchecked.",
        "Trace three common statements back to where they first appeared.",
        ("original study", "primary source", "myths"),
        69,
    ),
    Stock(
        "A short trial reveals more about {it} than a long comparison on paper.",
        "A trial shows what one did not think of asking. Comparisons answer only the questions that were put.",
        "Look for case reports that describe a trial and what changed because of it.",
        ("pilot results", "trial period lessons learned"),
        75,
    ),
    Stock(
        "Costs and habits around {it} have changed markedly within the last ten years.",
        "New suppliers, online communities and different working hours have shifted what is usual and what is "
        "expensive.",
        "Compare a price list or a manual from ten years ago with today's.",
        ("history last decade", "price development", "trend report"),
        58,
    ),
    Stock(
        "There is no agreed standard by which the quality of {it} is measured.",
        "Different groups use different criteria, so two honest reviews can contradict each other.",
        "Search the catalogues of the standards bodies, and ask an association which criteria it uses.",
        ("quality criteria", "standard specification", "association guidelines"),
        47,
    ),
    Stock(
        "Those who stop with {it} mostly do so in the first months.",
        "The beginning asks for much and gives little back. Who gets past it has usually found a routine and company.",
        "Look for retention or membership figures by month, and for the reasons that leavers gave.",
        ("drop-out reasons", "retention first months"),
        55,
    ),
    Stock(
        "The environmental effect of {it} depends more on how often something is used than on what it is made of.",
        "Making and transporting things costs once; use spreads that over many occasions, or over few.",
        "Find a life-cycle assessment of the main item and read its assumption about the years of use.",
        ("life cycle assessment", "environmental footprint"),
        52,
    ),
    Stock(
        "Language matters in {it}: experts and newcomers use different words for the same thing.",
        "Newcomers search by the problem and experts by its name, so good answers are often not found.",
        "Compare the terms in forum questions by beginners with those in a textbook's index.",
        ("glossary", "common terms explained", "beginner questions forum"),
        81,
    ),
    Stock(
        "Basic safety advice on {it} is stable, and most of it is free.",
        "Authorities and associations publish the essentials. What changes from year to year is mostly the products.",
        "Read the current leaflet of a public authority or a professional association.",
        ("safety leaflet", "official recommendations"),
        86,
    ),
)

VIEWPOINTS = (
    ("Enthusiasts", "{It} should be learnt by doing, and early mistakes are a fair price for understanding."),
    (
        "Cautious practitioners",
        "Most of the harm comes from haste, so a slow start under guidance is cheaper in the end.",
    ),
    ("People who pay for it", "What counts is a result by a certain date; the method is a matter of taste."),
    ("Critics", "The attention is larger than the benefit, and the same effort would do more elsewhere."),
)

GLOSSARY = (
    ("Baseline", "The state before anything was changed, against which a result is compared."),
    ("Pilot", "A small, limited first attempt whose purpose is to learn and not yet to succeed."),
    ("Leading indicator", "A sign that moves before the result does, so that one can still react."),
    ("Opportunity cost", "What one gives up by spending time or money on this and not on the next best thing."),
    ("Survivorship bias", "The error of looking only at those who made it, because the others are not heard of."),
)

OPEN_QUESTIONS = (
    "How many people have tried {it} and stopped, and what would have kept them?",
    "Which of the usual advice on {it} was ever tested against doing nothing?",
    "How do the answers differ between regions, and is that a matter of price, law or habit?",
    "What will be cheaper or easier about {it} in three years, and is it worth waiting for?",
    "Who has the data that would settle the argument, and under what terms can it be used?",
)

ANGLES = (
    "For beginners: the first week with {it}, hour by hour, with everything that went wrong.",
    "For sceptics: five common statements about {it}, each traced back to where it came from.",
    "For decision makers: what {it} costs in a year when the hours are counted.",
    "For practitioners: an interview with somebody who gave up on {it} and somebody who stayed.",
    "For everybody: a glossary of {it} in twenty everyday sentences.",
)


def research(request: ResearchRequest) -> ResearchDraft:
    """A brief of the requested depth."""
    rng = seeded(request, "research")
    it = subject(request.topic)
    thorough = request.depth == "comprehensive"
    chosen = rng.sample(CLAIMS, 10 if thorough else 5)
    extras = 4 if thorough else 2
    return ResearchDraft(
        summary=f"This is the offline model's outline for {it}: no sources were read for it. It collects claims that "
        "hold for most subjects of this kind, says how sure one can be of each, and how to verify them. "
        f"Costs, rules and seasons are the points on which {it} most needs local facts.",
        claims=[_claim(stock, it, rng.randint(-6, 6)) for stock in chosen],
        viewpoints=[
            ViewpointDraft(holder=holder, view=view.format(It=it[:1].upper() + it[1:]))
            for holder, view in rng.sample(VIEWPOINTS, extras)
        ],
        glossary=[GlossaryTerm(term=term, meaning=meaning) for term, meaning in rng.sample(GLOSSARY, extras)],
        open_questions=[question.format(it=it) for question in rng.sample(OPEN_QUESTIONS, extras)],
        content_angles=[angle.format(it=it) for angle in rng.sample(ANGLES, extras)],
    )


def _claim(stock: Stock, it: str, shift: int) -> ClaimDraft:
    return ClaimDraft(
        claim=stock.claim.format(it=it),
        explanation=stock.explanation,
        verify=stock.verify,
        search_terms=[f"{it} {words}" for words in stock.searches],
        confidence=stock.confidence + shift,
    )
