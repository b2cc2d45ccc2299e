"""Research: what a model drafts from memory, and the claims to verify that are made from it."""

import math
import re
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, WithJsonSchema

from amrikyy.agents.agent import Result
from amrikyy.agents.catalog.content.draft import Draft
from amrikyy.agents.catalog.content.fields import Depth
from amrikyy.agents.catalog.content.requests import ResearchRequest

MAX_CLAIMS: dict[Depth, int] = {"brief": 5, "comprehensive": 12}

HIGH_CONFIDENCE, MEDIUM_CONFIDENCE = 80, 50

_DOMAINS = frozenset({"com", "org", "net", "edu", "gov", "io", "int", "eu", "info", "uk", "de", "fr", "us"})
# Possessive and anchored at the start of a run, so that no text makes it slow.
_ADDRESS = re.compile(
    r"https?://[^\s<>\"')\]]++|(?:doi:\s?)?\b10\.\d{4,9}/\S++"
    r"|(?<![\w.-])(?P<host>[\w-]++(?:\.[\w-]++)++)(?:/[^\s<>\"')\]]*+)?",
    re.IGNORECASE,
)
_DOT_INSIDE = re.compile(r"\.[\w-]")


def without_addresses(text: Any) -> Any:
    """The text without web addresses and DOIs: a model writes them from memory, and many lead nowhere."""
    if not isinstance(text, str):
        return text
    if "://" in text or _DOT_INSIDE.search(text):  # every address has one or the other, and few sentences have
        text = _ADDRESS.sub(_removed, text)
    return " ".join(text.split())


def _removed(match: re.Match[str]) -> str:
    host = match["host"]
    # Node.js and 18.2 are not addresses.
    if host and host.rpartition(".")[2].lower() not in _DOMAINS and not host.lower().startswith("www."):
        return match[0]
    return "(address removed)"


def _round(value: Any) -> Any:
    # Models that are told 0 to 100 still answer 72.5 from time to time.
    return round(value) if isinstance(value, float) and math.isfinite(value) else value


def _clamp(value: int) -> int:
    return max(0, min(100, value))


Confidence = Annotated[
    int,
    BeforeValidator(_round),
    AfterValidator(_clamp),
    WithJsonSchema({"type": "integer", "minimum": 0, "maximum": 100}),
]
"""0 to 100. A value out of range or with a fraction is adjusted: it is not a mistake worth a second call."""

Prose = Annotated[str, StringConstraints(min_length=3, max_length=2000), BeforeValidator(without_addresses)]
Term = Annotated[str, StringConstraints(min_length=2, max_length=200), BeforeValidator(without_addresses)]

_SOURCE_WORDS = "Everything is from a model's memory and unverified; there are no citations on purpose."


class ClaimDraft(Draft):
    """One claim as the model drafts it."""

    claim: Prose = Field(description="One statement that can be true or false, in one sentence.")
    explanation: Prose = Field(description="Why it is so and why it matters, in two or three sentences.")
    confidence: Confidence = Field(description="How sure one can be of it without looking it up, 0 to 100.")
    verify: Prose = Field(description="What to check before publishing it, and what kind of source would settle it.")
    search_terms: list[Term] = Field(
        min_length=1, max_length=10, description="1 to 5 queries that find such a source; no addresses."
    )


class ViewpointDraft(Draft):
    """How one group looks at the topic."""

    holder: Term = Field(description="Who sees it so, as a kind of person or organisation.")
    view: Prose = Field(description="What they hold, and their best argument.")


class GlossaryTerm(Draft):
    """A term that one has to know."""

    term: Term = Field(description="The term.")
    meaning: Prose = Field(description="What it means here, in one sentence.")


class ResearchDraft(Draft):
    """Research as the model drafts it."""

    summary: Prose = Field(description="The state of knowledge in three to six sentences.")
    claims: list[ClaimDraft] = Field(min_length=2, description="The claims, most important first.")
    viewpoints: list[ViewpointDraft] = Field(default=[], description="Where informed people disagree.")
    glossary: list[GlossaryTerm] = Field(default=[], description="Terms that one has to know.")
    open_questions: list[Prose] = Field(min_length=1, description="What is not known, or not to us.")
    content_angles: list[Prose] = Field(min_length=1, description="What one could write about it, and for whom.")


class Claim(ClaimDraft):
    """One claim, and how far to trust it."""

    number: int = Field(description="Its place by importance, from 1.")
    confidence_level: Literal["low", "medium", "high"] = Field(
        description="The confidence in words: high from 80, medium from 50, low below."
    )


class Research(Result):
    """What a model knows about a topic: claims to verify rather than facts with invented citations."""

    topic: str = Field(description="What was researched.")
    depth: Depth = Field(description="How thoroughly.")
    summary: Prose = Field(description="The state of knowledge in a few sentences.")
    claims: list[Claim] = Field(description="The claims, most important first: at most 5 if brief, else 12.")
    viewpoints: list[ViewpointDraft] = Field(description="Where informed people disagree.")
    glossary: list[GlossaryTerm] = Field(description="Terms that one has to know.")
    open_questions: list[Prose] = Field(description="What is not known, or not to us.")
    content_angles: list[Prose] = Field(description="What one could write about it, and for whom.")
    average_confidence: int = Field(description="Mean confidence of the claims, 0 to 100.")
    to_verify_first: list[int] = Field(description="Numbers of the claims below 80, the least certain first.")
    source: Literal["estimate"] = Field(default="estimate", description=_SOURCE_WORDS)

    @classmethod
    def from_draft(cls, draft: ResearchDraft, request: ResearchRequest) -> Self:
        """Number the claims, say how far to trust each, and cut them to the number that the depth allows."""
        most = MAX_CLAIMS[request.depth]
        claims = [
            Claim(**claim.model_dump(), number=number, confidence_level=_level(claim.confidence))
            for number, claim in enumerate(draft.claims[:most], start=1)
        ]
        doubtful = [claim for claim in claims if claim.confidence < HIGH_CONFIDENCE]
        return cls(
            topic=request.topic,
            depth=request.depth,
            summary=draft.summary,
            claims=claims,
            viewpoints=draft.viewpoints[:most],
            glossary=draft.glossary[:most],
            open_questions=draft.open_questions[:most],
            content_angles=draft.content_angles[:most],
            average_confidence=round(sum(claim.confidence for claim in claims) / len(claims)),
            to_verify_first=[claim.number for claim in sorted(doubtful, key=lambda claim: claim.confidence)],
        )


def _level(confidence: int) -> Literal["low", "medium", "high"]:
    if confidence >= HIGH_CONFIDENCE:
        return "high"
    return "medium" if confidence >= MEDIUM_CONFIDENCE else "low"
