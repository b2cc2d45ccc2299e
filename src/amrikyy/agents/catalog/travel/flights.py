"""Flights: what a model drafts, and the offers that are made from it."""

import datetime as dt
from typing import Literal, Self

from pydantic import AwareDatetime, Field

from amrikyy.agents.agent import Result
from amrikyy.agents.catalog.travel import flying
from amrikyy.agents.catalog.travel.fields import AirportCode
from amrikyy.agents.catalog.travel.places import Airport, find_airport
from amrikyy.agents.catalog.travel.requests import CabinClass, FlightSearch


class StopoverDraft(Result):
    """A change of planes."""

    airport: AirportCode = Field(description="IATA code of the airport where one changes, neither of the two ends.")
    layover_minutes: int = Field(ge=30, le=1440, description="Minutes between the two flights.")


class Stopover(StopoverDraft):
    """A change of planes, with the airport's name."""

    name: str = Field(description="Name of the airport.")
    city: str = Field(description="City of the airport.")


class FlightCore(Result):
    """What a drafted flight and an offered one have in common."""

    airline: str = Field(min_length=2, max_length=60, description="Airline that could fly this route.")
    flight_number: str = Field(
        pattern=r"^[A-Z0-9]{2} ?[0-9]{1,4}$",
        description="The airline's two-character code and up to four digits.",
        examples=["BA 178"],
    )
    departure_time: str = Field(
        pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$",
        description="Departure, HH:MM by the clock at the airport of departure.",
        examples=["18:30"],
    )
    price_per_passenger: float = Field(
        gt=0, le=50_000, description="Fare of one passenger in this direction and cabin, US dollars, taxes included."
    )


class FlightDraft(FlightCore):
    """One flight as the model drafts it."""

    stopovers: list[StopoverDraft] = Field(default=[], max_length=2, description="In order; empty if nonstop.")


class OneWayDraft(Result):
    """Flights there."""

    outbound: list[FlightDraft] = Field(min_length=3, max_length=6, description="3 to 6 different flights there.")


class RoundTripDraft(OneWayDraft):
    """Flights there and back."""

    inbound: list[FlightDraft] = Field(min_length=3, max_length=6, description="3 to 6 different flights back.")


class FlightOffer(FlightCore):
    """One flight that could be booked; its times follow from the airports' coordinates and time zones."""

    stopovers: list[Stopover] = Field(description="Where one changes planes, in order; empty if nonstop.")
    stops: int = Field(description="Number of changes.")
    cabin_class: CabinClass = Field(description="The cabin that the fare is for.")
    departs_at: AwareDatetime = Field(description="Local time of departure with its offset from UTC.")
    arrives_at: AwareDatetime = Field(description="Local time of arrival with its offset from UTC.")
    duration_minutes: int = Field(description="Gate to gate, layovers included, in minutes.")
    duration: str = Field(description="The same for people.", examples=["7 h 25 min"])
    total_price: float = Field(description="Fare of all passengers in this direction, US dollars.")
    source: Literal["estimate"] = Field(default="estimate", description="Invented by a model: not a bookable fare.")

    @classmethod
    def from_draft(cls, draft: FlightDraft, start: Airport, end: Airport, day: dt.date, search: FlightSearch) -> Self:
        """Add what follows from the route: duration, local times and the fare of all passengers."""
        stopovers = [_stopover(stop) for stop in draft.stopovers if stop.airport not in (start.code, end.code)]
        route = [start, *(_airport(stop.airport) for stop in stopovers), end]
        minutes = flying.journey_minutes(route) + sum([stop.layover_minutes for stop in stopovers])
        departs_at = flying.departure(day, dt.time.fromisoformat(draft.departure_time), start)
        return cls(
            airline=draft.airline,
            flight_number=draft.flight_number,
            departure_time=draft.departure_time,
            price_per_passenger=draft.price_per_passenger,
            stopovers=stopovers,
            stops=len(stopovers),
            cabin_class=search.cabin_class,
            departs_at=departs_at,
            arrives_at=flying.arrival(departs_at, minutes, end),
            duration_minutes=minutes,
            duration=flying.duration_text(minutes),
            total_price=round(draft.price_per_passenger * search.passengers, 2),
        )


class FlightOptions(Result):
    """Flights to choose from, cheapest first in each direction."""

    origin: Airport = Field(description="Where the outbound flights leave.")
    destination: Airport = Field(description="Where the outbound flights arrive.")
    date: dt.date = Field(description="Day of the outbound flights.")
    return_date: dt.date | None = Field(default=None, description="Day of the flights back; null if one way.")
    passengers: int = Field(description="How many travel.")
    cabin_class: CabinClass = Field(description="The cabin that was asked for.")
    distance_km: int = Field(description="Great-circle distance between the airports in kilometres.")
    nonstop_minutes: int = Field(description="Minutes that a nonstop flight takes, gate to gate, by the distance.")
    outbound: list[FlightOffer] = Field(description="Flights there.")
    inbound: list[FlightOffer] = Field(default=[], description="Flights back; empty if one way.")
    cheapest_total: float = Field(
        description="The cheapest flight there, and back if asked for, for all passengers, US dollars."
    )
    currency: Literal["USD"] = Field(default="USD", description="Of every price.")
    source: Literal["estimate"] = Field(default="estimate", description="The offers are invented by a model.")

    @classmethod
    def from_draft(cls, draft: OneWayDraft, search: FlightSearch) -> Self:
        """Turn drafted flights into offers."""
        start, end = _airport(search.origin), _airport(search.destination)
        outbound = [FlightOffer.from_draft(flight, start, end, search.date, search) for flight in draft.outbound]
        inbound = []
        if isinstance(draft, RoundTripDraft) and search.return_date is not None:
            inbound = [
                FlightOffer.from_draft(flight, end, start, search.return_date, search) for flight in draft.inbound
            ]
        directions = [sorted(offers, key=_by_price) for offers in (outbound, inbound)]
        distance = flying.great_circle_km(start, end)
        return cls(
            origin=start,
            destination=end,
            date=search.date,
            return_date=search.return_date,
            passengers=search.passengers,
            cabin_class=search.cabin_class,
            distance_km=round(distance),
            nonstop_minutes=flying.flight_minutes(distance),
            outbound=directions[0],
            inbound=directions[1],
            cheapest_total=round(sum(offers[0].total_price for offers in directions if offers), 2),
        )


def _by_price(offer: FlightOffer) -> tuple[float, int]:
    return offer.total_price, offer.duration_minutes


def _airport(code: str) -> Airport:
    airport = find_airport(code)
    assert airport is not None, f"{code} was validated as an airport"
    return airport


def _stopover(draft: StopoverDraft) -> Stopover:
    airport = _airport(draft.airport)
    return Stopover(**draft.model_dump(), name=airport.name, city=airport.city)
