"""Hotels: what a model drafts, and the offers that are made from it."""

import datetime as dt
from functools import cache
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, StringConstraints, create_model

from amrikyy.agents.agent import Result
from amrikyy.agents.catalog.travel.places import Location
from amrikyy.agents.catalog.travel.requests import HotelSearch

Amenity = Annotated[str, StringConstraints(min_length=2, max_length=60)]


class HotelDraft(Result):
    """One hotel as the model drafts it."""

    name: str = Field(min_length=2, max_length=100, description="Name of the hotel.")
    stars: int = Field(ge=1, le=5, description="Stars, 1 to 5.")
    neighbourhood: str = Field(min_length=2, max_length=80, description="Part of the city that it is in.")
    nightly_price: float = Field(gt=0, le=20_000, description="One room for one night, US dollars, taxes included.")
    amenities: list[Amenity] = Field(min_length=2, max_length=10, description="What it offers, 2 to 10 things.")
    why: str = Field(min_length=10, max_length=400, description="For whom it is right and why, in a sentence or two.")


class HotelsDraft(Result):
    """Hotels as the model drafts them."""

    hotels: list[HotelDraft] = Field(min_length=4, max_length=6, description="4 to 6 different hotels.")


class HotelOffer(HotelDraft):
    """One hotel to stay at."""

    total_price: float = Field(description="All rooms for all nights, US dollars.")
    source: Literal["estimate"] = Field(default="estimate", description="Invented by a model: not a bookable rate.")


class HotelOptions(Result):
    """Hotels to choose from, cheapest first."""

    destination: Location = Field(description="Where the stay is.")
    check_in: dt.date = Field(description="First night.")
    check_out: dt.date = Field(description="Day of departure.")
    nights: int = Field(description="Number of nights.")
    guests: int = Field(description="How many stay.")
    rooms: int = Field(description="How many rooms the totals are for.")
    stars: int | None = Field(default=None, description="The stars that were asked for.")
    hotels: list[HotelOffer] = Field(description="The hotels.")
    cheapest_total: float = Field(description="The lowest total price, US dollars.")
    currency: Literal["USD"] = Field(default="USD", description="Of every price.")
    source: Literal["estimate"] = Field(default="estimate", description="The offers are invented by a model.")

    @classmethod
    def from_draft(cls, draft: HotelsDraft, search: HotelSearch) -> Self:
        """Add what follows from the stay: nights and totals."""
        offers = [
            HotelOffer(**hotel.model_dump(), total_price=round(hotel.nightly_price * search.rooms * search.nights, 2))
            for hotel in draft.hotels
        ]
        offers.sort(key=lambda offer: offer.total_price)
        return cls(
            **search.model_dump(exclude={"destination"}),
            destination=Location.of(search.destination),
            nights=search.nights,
            hotels=offers,
            cheapest_total=offers[0].total_price,
        )


@cache
def hotels_draft(stars: int | None) -> type[HotelsDraft]:
    """The draft type in which every hotel has so many stars; cached, because creating a type is not free."""
    if stars is None:
        return HotelsDraft

    def check(hotels: list[HotelDraft]) -> list[HotelDraft]:
        wrong = [hotel.name for hotel in hotels if hotel.stars != stars]
        if wrong:
            raise ValueError(f"every hotel must have {stars} stars; these have not: {', '.join(wrong)}")
        return hotels

    field = HotelsDraft.model_fields["hotels"]
    checked = Annotated[list[HotelDraft], Field(min_length=4, max_length=6), AfterValidator(check)]
    return create_model(
        f"HotelsDraft{stars}Stars", __base__=HotelsDraft, hotels=(checked, Field(description=field.description))
    )
