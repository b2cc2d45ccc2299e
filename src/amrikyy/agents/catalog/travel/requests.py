"""The requests of the travel operations."""

import datetime as dt
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, ValidationInfo, field_validator

from amrikyy.agents.agent import EMPTY_LIST, Request
from amrikyy.agents.catalog.travel.fields import (
    DAYS,
    DESTINATION,
    INTERESTS,
    ORIGIN,
    SEASON,
    TRAVELLERS,
    AirportCode,
    Budget,
    FutureDate,
    Interest,
    Place,
    known_country,
)
from amrikyy.agents.catalog.travel.places import resolve_country, resolve_place
from amrikyy.agents.spoken import Spoken

CabinClass = Literal["economy", "premium", "business", "first"]

MAX_INTERESTS = 20

Interests = Annotated[list[Interest], Field(max_length=MAX_INTERESTS), INTERESTS]


class FlightSearch(Request):
    """Flights that are wanted between two airports."""

    origin: Annotated[AirportCode, ORIGIN] = Field(
        description="IATA code of the airport to leave from.", examples=["JFK"]
    )
    destination: Annotated[AirportCode, DESTINATION] = Field(
        description="IATA code of the airport to arrive at.", examples=["LHR"]
    )
    date: Annotated[FutureDate, Spoken(assume="start")] = Field(
        description="Day of the outbound flight, YYYY-MM-DD, today (UTC) or later."
    )
    return_date: Annotated[FutureDate, Spoken(assume="end")] | None = Field(
        default=None, description="Day of the flight back, YYYY-MM-DD, after `date`. Leave it out for one way."
    )
    passengers: Annotated[int, TRAVELLERS] = Field(
        default=1, ge=1, le=9, description="How many travel, 1 to 9: one booking holds no more."
    )
    cabin_class: Annotated[CabinClass, Spoken(units={"class": 1, "economy": 1})] = Field(
        default="economy", alias="class", description="Cabin: economy, premium (economy), business or first."
    )

    @field_validator("destination")
    @classmethod
    def _is_elsewhere(cls, destination: str, info: ValidationInfo) -> str:
        if destination == info.data.get("origin"):
            raise ValueError("The destination is the origin; choose another airport")
        return destination

    @field_validator("return_date")
    @classmethod
    def _returns_later(cls, returns: dt.date | None, info: ValidationInfo) -> dt.date | None:
        return returns and _after(returns, info, "date", "date")


class HotelSearch(Request):
    """A stay for which hotels are wanted."""

    destination: Annotated[Place, DESTINATION] = Field(
        description="City, or code of an airport or metropolitan area, 2 to 80 characters.", examples=["Paris"]
    )
    check_in: Annotated[FutureDate, Spoken(assume="start")] = Field(
        description="First night, YYYY-MM-DD, today (UTC) or later."
    )
    check_out: Annotated[FutureDate, Spoken(assume="end")] = Field(
        description="Day of departure, YYYY-MM-DD, after `checkIn`."
    )
    guests: Annotated[int, TRAVELLERS] = Field(default=2, ge=1, le=10, description="How many stay, 1 to 10.")
    rooms: Annotated[int, Spoken(units={"room": 1})] = Field(
        default=1, ge=1, le=5, description="How many rooms, 1 to 5."
    )
    stars: Annotated[int, Spoken(units={"star": 1})] | None = Field(
        default=None, ge=1, le=5, description="Only hotels of this many stars, 1 to 5."
    )

    @field_validator("check_out")
    @classmethod
    def _leaves_later(cls, check_out: dt.date, info: ValidationInfo) -> dt.date:
        return _after(check_out, info, "check_in", "checkIn")

    @property
    def nights(self) -> int:
        """The number of nights between the two days."""
        return (self.check_out - self.check_in).days


class ItineraryRequest(Request):
    """A stay that is to be planned day by day."""

    destination: Annotated[Place, DESTINATION] = Field(
        description="City, or code of an airport or metropolitan area, 2 to 80 characters.", examples=["Rome"]
    )
    duration: Annotated[int, DAYS] = Field(
        ge=1, le=30, description="Length of the stay in days, 1 to 30.", examples=[5]
    )
    budget: Budget = Field(
        description="US dollars that all travellers together can spend there, on meals, activities and getting "
        "around; flights and hotels are not counted. 0 asks for what is free.",
        examples=[1000],
    )
    travelers: Annotated[int, TRAVELLERS] = Field(default=1, ge=1, le=10, description="How many travel, 1 to 10.")
    interests: Interests = Field(
        default_factory=list,
        json_schema_extra=EMPTY_LIST,
        description="What the travellers like, up to 20.",
        examples=[["food", "history"]],
    )


class RecommendationRequest(Request):
    """What a trip should be like whose destination is not chosen yet."""

    # Elsewhere "for" and "with" name the place and the company; without a place they say what one goes there for.
    interests: Annotated[Interests, Spoken(after=(*INTERESTS.after, "for", "with"))] = Field(
        default_factory=list,
        json_schema_extra=EMPTY_LIST,
        description="What the travellers like, up to 20.",
        examples=[["beaches", "food"]],
    )
    duration: Annotated[int, DAYS] = Field(default=7, ge=1, le=30, description="Length of the stay in days, 1 to 30.")
    budget: Budget | None = Field(
        default=None, description="US dollars for all travellers' stay together, travel there not counted."
    )
    season: Annotated[str, StringConstraints(min_length=2, max_length=40), SEASON] | None = Field(
        default=None, description="Season, month or occasion, 2 to 40 characters.", examples=["summer", "December"]
    )
    travelers: Annotated[int, TRAVELLERS] = Field(default=1, ge=1, le=10, description="How many travel, 1 to 10.")


class VisaRequest(Request):
    """A journey for which the entry requirements are asked."""

    destination: Annotated[Place, DESTINATION] = Field(
        description="Country or city to enter, 2 to 80 characters.", examples=["Japan"]
    )
    nationality: Annotated[Place, Spoken(read=known_country, after=("from", "as", "with"))] = Field(
        description="Passport held: a country, its people's name or its ISO 3166 code, 2 to 80 characters.",
        examples=["Egyptian"],
    )
    purpose: Annotated[str, StringConstraints(min_length=2, max_length=60)] = Field(
        default="tourism", description="Why one travels: tourism, business, study, work, transit, ..."
    )
    duration: Annotated[int, DAYS] = Field(
        default=14, ge=1, le=365, description="Length of the stay in days, 1 to 365."
    )


class PackageRequest(Request):
    """A whole trip that is to be put together: flights, hotel and days."""

    origin: Annotated[Place, ORIGIN] = Field(
        description="City or airport to leave from, 2 to 80 characters.", examples=["New York"]
    )
    destination: Annotated[Place, DESTINATION] = Field(
        description="City or airport to travel to, 2 to 80 characters.", examples=["Paris"]
    )
    date: Annotated[FutureDate, Spoken(assume="start")] = Field(
        description="Day of departure, YYYY-MM-DD, today (UTC) or later."
    )
    duration: Annotated[int, DAYS] = Field(
        ge=1, le=30, description="Length of the trip in days, 1 to 30: also nights at the hotel.", examples=[7]
    )
    budget: Budget = Field(description="US dollars for everything and all travellers together.", examples=[4000])
    travelers: Annotated[int, TRAVELLERS] = Field(default=1, ge=1, le=10, description="How many travel, 1 to 10.")
    interests: Interests = Field(
        default_factory=list,
        json_schema_extra=EMPTY_LIST,
        description="What the travellers like, up to 20.",
        examples=[["art", "food"]],
    )

    @field_validator("origin", "destination")
    @classmethod
    def _can_be_flown_to(cls, text: str) -> str:
        if resolve_place(text) is None:
            country = resolve_country(text)
            what = f"{country.name} is a country" if country else "We know no airport of that place"
            raise ValueError(f"{what}; name a city or an airport's IATA code")
        return text

    @field_validator("destination")
    @classmethod
    def _is_elsewhere(cls, text: str, info: ValidationInfo) -> str:
        start, end = resolve_place(info.data.get("origin", "")), resolve_place(text)
        if start and end and start.airport.code == end.airport.code:
            raise ValueError(f"The destination has the same airport as the origin, {end.airport.code}")
        return text


def _after(day: dt.date, info: ValidationInfo, earlier: str, called: str) -> dt.date:
    start = info.data.get(earlier)
    if start is not None and day <= start:
        raise ValueError(f"Must be after {called} ({start})")
    return day
