"""Packages: a whole trip made from the other operations' results."""

import datetime as dt
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints

from amrikyy.agents.agent import Result
from amrikyy.agents.catalog.travel.flights import FlightOffer, FlightOptions
from amrikyy.agents.catalog.travel.hotels import HotelOffer, HotelOptions
from amrikyy.agents.catalog.travel.itinerary import BudgetCheck, Itinerary
from amrikyy.agents.catalog.travel.places import Location, ResolvedPlace, resolve_place
from amrikyy.agents.catalog.travel.requests import FlightSearch, HotelSearch, ItineraryRequest, PackageRequest

MAX_BOOKING = 9
"""The most passengers of one booking, and so of one flight search; all pay the same fare."""

GROUND_SHARE = 0.25
"""The share of the budget kept for meals and activities: the three children run at once, so none can await another."""

Line = Annotated[str, StringConstraints(min_length=3, max_length=300)]


class PackageDraft(Result):
    """What the model writes about the finished package."""

    summary: str = Field(min_length=20, max_length=1000, description="The trip in three or four sentences.")
    highlights: list[Line] = Field(min_length=2, max_length=6, description="The best moments, 2 to 6.")
    tips: list[Line] = Field(min_length=2, max_length=8, description="Advice for this trip, 2 to 8.")


class PackageSelection(Result):
    """The offers that the costs are made of."""

    outbound: FlightOffer = Field(description="The cheapest flight there.")
    inbound: FlightOffer | None = Field(default=None, description="The cheapest flight back.")
    hotel: HotelOffer = Field(
        description="The hotel with the most stars that the budget still covers, else the cheapest."
    )


class PackageCosts(Result):
    """What the trip costs all travellers together, and where the money goes."""

    flights: float = Field(description="Both chosen flights for all travellers, US dollars.")
    hotel: float = Field(description="All rooms for all nights, US dollars.")
    activities: float = Field(description="Activities, meals and getting around, US dollars.")
    total: float = Field(description="The sum, US dollars.")
    per_traveler: float = Field(description="The sum divided by the travellers, US dollars.")
    flights_percent: float = Field(description="Share of the flights in the total, percent.")
    hotel_percent: float = Field(description="Share of the hotel in the total, percent.")
    activities_percent: float = Field(description="Share of the days in the total, percent.")


class TripParts(Result):
    """What the child runs found, and what follows from it."""

    origin: Location = Field(description="Where the trip begins.")
    destination: Location = Field(description="Where it goes.")
    date: dt.date = Field(description="Day of departure.")
    return_date: dt.date = Field(description="Day of the flight back.")
    duration: int = Field(description="Length in days, and nights at the hotel.")
    travelers: int = Field(description="How many travel.")
    flights: FlightOptions = Field(description="Flights to choose from.")
    hotels: HotelOptions = Field(description="Hotels to choose from.")
    itinerary: Itinerary = Field(description="The days.")
    selection: PackageSelection = Field(description="The offers that the costs are made of.")
    costs: PackageCosts = Field(description="What the trip costs.")
    budget: BudgetCheck = Field(description="Whether the trip keeps to the budget.")
    assumptions: list[str] = Field(description="What was decided that the request left open.")

    @classmethod
    def assemble(cls, plan: "PackagePlan", flights: FlightOptions, hotels: HotelOptions, itinerary: Itinerary) -> Self:
        """Choose the offers and add up what they cost."""
        request = plan.request
        outbound = flights.outbound[0]
        inbound = flights.inbound[0] if flights.inbound else None
        fares = outbound.price_per_passenger + (inbound.price_per_passenger if inbound else 0)
        for_flights = round(fares * request.travelers, 2)
        hotel = _choose_hotel(hotels.hotels, request.budget - for_flights - itinerary.total_cost)
        costs = _add_up(for_flights, hotel.total_price, itinerary.total_cost, request.travelers)
        return cls(
            origin=Location.of(request.origin),
            destination=Location.of(request.destination),
            date=request.date,
            return_date=plan.return_date,
            duration=request.duration,
            travelers=request.travelers,
            flights=flights,
            hotels=hotels,
            itinerary=itinerary,
            selection=PackageSelection(outbound=outbound, inbound=inbound, hotel=hotel),
            costs=costs,
            budget=BudgetCheck.of(request.budget, costs.total),
            assumptions=plan.assumptions(),
        )


class TravelPackage(TripParts):
    """A whole trip: flights, hotel, days, what it costs, and what to know."""

    summary: str = Field(description="The trip in three or four sentences.")
    highlights: list[Line] = Field(description="The best moments.")
    tips: list[Line] = Field(description="Advice for this trip.")
    currency: Literal["USD"] = Field(default="USD", description="Of every price.")
    source: Literal["estimate"] = Field(default="estimate", description="Offers and plan are invented by a model.")


class PackagePlan:
    """The three requests that a package is divided into.

    They follow from a validated request and are not validated again: after midnight, "today" would be in the past.
    """

    def __init__(self, request: PackageRequest) -> None:
        self.request = request
        self.start, self.end = _resolved(request.origin), _resolved(request.destination)
        self.return_date = request.date + dt.timedelta(days=request.duration)
        self.flights = FlightSearch.model_construct(
            origin=self.start.airport.code,
            destination=self.end.airport.code,
            date=request.date,
            return_date=self.return_date,
            passengers=min(request.travelers, MAX_BOOKING),
        )
        self.hotels = HotelSearch.model_construct(
            destination=request.destination,
            check_in=request.date,
            check_out=self.return_date,
            guests=request.travelers,
            rooms=-(-request.travelers // 2),
        )
        self.itinerary = ItineraryRequest.model_construct(
            destination=request.destination,
            duration=request.duration,
            budget=round(request.budget * GROUND_SHARE, 2),
            travelers=request.travelers,
            interests=request.interests,
        )

    def assumptions(self) -> list[str]:
        """What was decided because the request left it open, in sentences."""
        made = [
            f"Flights from {self.start.airport.code} to {self.end.airport.code} and back, in economy.",
            f"{self.hotels.rooms} room{'s' if self.hotels.rooms > 1 else ''}: two travellers share one.",
            f"{GROUND_SHARE:.0%} of the budget is kept for meals, activities and getting around.",
        ]
        if self.request.travelers > MAX_BOOKING:
            made.append(f"One booking holds {MAX_BOOKING} passengers; the others pay the same fare on a second one.")
        return made


def _resolved(text: str) -> ResolvedPlace:
    place = resolve_place(text)
    assert place is not None, "the request was validated"
    return place


def _choose_hotel(offers: list[HotelOffer], left: float) -> HotelOffer:
    covered = [offer for offer in offers if offer.total_price <= left]
    if covered:
        return max(covered, key=lambda offer: (offer.stars, -offer.total_price))
    return min(offers, key=lambda offer: offer.total_price)


def _add_up(flights: float, hotel: float, activities: float, travelers: int) -> PackageCosts:
    total = round(flights + hotel + activities, 2)
    percent = [round(100 * part / total, 1) if total else 0.0 for part in (flights, hotel, activities)]
    return PackageCosts(
        flights=flights,
        hotel=hotel,
        activities=activities,
        total=total,
        per_traveler=round(total / travelers, 2),
        flights_percent=percent[0],
        hotel_percent=percent[1],
        activities_percent=percent[2],
    )
