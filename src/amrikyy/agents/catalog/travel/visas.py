"""Visas: what a model drafts, and the requirements that are made from it."""

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints

from amrikyy.agents.agent import Result
from amrikyy.agents.catalog.travel.places import country_of
from amrikyy.agents.catalog.travel.requests import VisaRequest

Line = Annotated[str, StringConstraints(min_length=3, max_length=300)]

DISCLAIMER = (
    "This is general information written by a model, not legal advice, and entry rules change without notice. "
    "Before you book, check with the embassy or consulate of the country you travel to."
)


class VisaDraft(Result):
    """Entry requirements as the model drafts them."""

    required: Literal["yes", "no", "e-visa", "on-arrival"] = Field(
        description="Visa needed before travel from an embassy (yes), none (no), one granted online, travel "
        "authorisations included (e-visa), or one given at the border (on-arrival)."
    )
    visa_type: str = Field(min_length=2, max_length=100, description="What the visa or exemption is called.")
    summary: str = Field(min_length=20, max_length=600, description="What applies to this traveller, in short.")
    documents: list[Line] = Field(min_length=1, max_length=12, description="What to bring or hand in.")
    processing_time: str = Field(
        min_length=2, max_length=100, description="How long it usually takes.", examples=["10-15 working days"]
    )
    max_stay_days: int | None = Field(
        default=None, ge=1, le=3650, description="Longest stay in days; null if there is no limit."
    )
    fee: float = Field(ge=0, le=10_000, description="Government fee for one person, US dollars; 0 if there is none.")
    steps: list[Line] = Field(min_length=1, max_length=12, description="What to do, in order.")


class VisaRequirements(Result):
    """Entry requirements, with where to verify them."""

    destination: str = Field(description="The country to enter, or what the request said if we do not know it.")
    nationality: str = Field(description="The country whose passport is held, or what the request said.")
    purpose: str = Field(description="Why one travels.")
    duration: int = Field(description="Length of the stay in days.")
    required: Literal["yes", "no", "e-visa", "on-arrival"] = Field(
        description="Visa needed before travel from an embassy (yes), none (no), one granted online, travel "
        "authorisations included (e-visa), or one given at the border (on-arrival)."
    )
    visa_type: str = Field(description="What the visa or exemption is called.")
    summary: str = Field(description="What applies to this traveller, in short.")
    documents: list[Line] = Field(description="What to bring or hand in.")
    processing_time: str = Field(description="How long it usually takes.")
    max_stay_days: int | None = Field(default=None, description="Longest stay in days; null if there is no limit.")
    fee: float = Field(description="Government fee for one person, US dollars; 0 if there is none.")
    steps: list[Line] = Field(description="What to do, in order.")
    stay_is_covered: bool = Field(description="The stay is no longer than the longest one allowed.")
    official_source: str = Field(description="Who can say for certain.")
    disclaimer: str = Field(default=DISCLAIMER, description="What this information is not.")
    currency: Literal["USD"] = Field(default="USD", description="Of the fee.")
    source: Literal["estimate"] = Field(default="estimate", description="Written by a model from general knowledge.")

    @classmethod
    def from_draft(cls, draft: VisaDraft, request: VisaRequest) -> Self:
        """Name the countries, compare the stay with the limit, and say where to verify the requirements."""
        there, holder = country_of(request.destination), country_of(request.nationality)
        embassy_of = there.spoken if there else request.destination
        passport_of = holder.spoken if holder else request.nationality
        return cls(
            **draft.model_dump(),
            destination=there.name if there else request.destination,
            nationality=holder.name if holder else request.nationality,
            purpose=request.purpose,
            duration=request.duration,
            stay_is_covered=draft.max_stay_days is None or request.duration <= draft.max_stay_days,
            official_source=f"The embassy or consulate of {embassy_of} responsible for residents of your country, "
            f"and the IATA Travel Centre, with which airlines check a passport of {passport_of}.",
        )
