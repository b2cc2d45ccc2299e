"""The travel agent and its six operations."""

import asyncio
from collections.abc import Callable
from typing import Any

from amrikyy.agents.agent import Agent, Operation, Q, R, days, hours, minutes
from amrikyy.agents.catalog.travel import prompts, samples
from amrikyy.agents.catalog.travel.airport_table import load_tables
from amrikyy.agents.catalog.travel.flights import FlightOptions, OneWayDraft, RoundTripDraft
from amrikyy.agents.catalog.travel.hotels import HotelOptions, hotels_draft
from amrikyy.agents.catalog.travel.itinerary import Itinerary, itinerary_draft
from amrikyy.agents.catalog.travel.package import PackageDraft, PackagePlan, TravelPackage, TripParts
from amrikyy.agents.catalog.travel.recommendations import DestinationRecommendations, RecommendationsDraft
from amrikyy.agents.catalog.travel.requests import (
    FlightSearch,
    HotelSearch,
    ItineraryRequest,
    PackageRequest,
    RecommendationRequest,
    VisaRequest,
)
from amrikyy.agents.catalog.travel.visas import VisaDraft, VisaRequirements
from amrikyy.agents.context import RunContext

TOKENS_PER_DAY = 700
"""Upper bound of what one day of an itinerary takes; typical answers take 350."""

THINKING_TOKENS = 8192
"""Room for the hidden reasoning of a pro model, which counts as output."""

CHILDREN_SHARE = 0.75
"""The share of a package's work that is done when flights, hotels and itinerary are there."""

travel = Agent(
    "travel",
    "Plans trips: flights, hotels, itineraries, visas.",
    limit="60/minute",
    capabilities=("flights", "hotels", "itineraries", "recommendations", "visas", "packages"),
    metadata={
        "category": "travel",
        "currency": "USD",
        "data": "Airports, distances and times are computed; offers and prices are estimates.",
    },
    example="flights from NYC to LAX",
    prepare=load_tables,
)


@travel.operation(
    limit="20/minute",
    cache_for=minutes(5),
    shared=True,
    sample=samples.flights,
    words=("fly", "airfare", "plane", "airline"),
)
async def search_flights(search: FlightSearch, run: RunContext) -> FlightOptions:
    """Find flights between two airports, one way or return, with times, stops and prices."""
    draft: type[OneWayDraft] = OneWayDraft if search.return_date is None else RoundTripDraft
    expected = 4 if search.return_date is None else 8
    answer = await run.generate(
        draft,
        prompt=prompts.for_flights(search),
        system=prompts.FLIGHTS,
        done=_counted(expected, "outbound", "inbound"),
        message="Looking for flights",
    )
    return FlightOptions.from_draft(answer, search)


@travel.operation(
    limit="20/minute",
    cache_for=hours(1),
    shared=True,
    sample=samples.hotels,
    words=("hostel", "stay", "accommodation", "lodging", "room", "resort"),
)
async def search_hotels(search: HotelSearch, run: RunContext) -> HotelOptions:
    """Find hotels for a stay, with prices per night and in total."""
    answer = await run.generate(
        hotels_draft(search.stars),
        prompt=prompts.for_hotels(search),
        system=prompts.HOTELS,
        done=_counted(5, "hotels"),
        message="Looking for hotels",
    )
    return HotelOptions.from_draft(answer, search)


@travel.operation(
    limit="10/minute", cache_for=minutes(30), tier="pro", sample=samples.itinerary, words=("trip", "visit", "see")
)
async def generate_itinerary(request: ItineraryRequest, run: RunContext) -> Itinerary:
    """Plan a stay day by day within a budget."""
    answer = await run.generate(
        itinerary_draft(request.duration),
        prompt=prompts.for_itinerary(request),
        system=prompts.ITINERARY,
        max_output_tokens=THINKING_TOKENS + TOKENS_PER_DAY * request.duration,
        done=_counted(request.duration, "days"),
        message="Planning the days",
    )
    return Itinerary.from_draft(answer, request)


@travel.operation(
    cache_for=days(1), shared=True, sample=samples.recommendations, words=("recommend", "where", "suggest", "somewhere")
)
async def get_destination_recommendations(
    request: RecommendationRequest, run: RunContext
) -> DestinationRecommendations:
    """Recommend destinations for interests, season and budget."""
    answer = await run.generate(
        RecommendationsDraft,
        prompt=prompts.for_recommendations(request),
        system=prompts.RECOMMENDATIONS,
        done=_counted(5, "destinations"),
        message="Choosing destinations",
    )
    return DestinationRecommendations.from_draft(answer, request)


@travel.operation(cache_for=days(7), shared=True, sample=samples.visa, words=("passport", "entry"))
async def get_visa_requirements(request: VisaRequest, run: RunContext) -> VisaRequirements:
    """Explain what a nationality needs to enter a country."""
    answer = await run.generate(
        VisaDraft,
        prompt=prompts.for_visa(request),
        system=prompts.VISA,
        temperature=0.2,
        message="Reading the entry rules",
    )
    return VisaRequirements.from_draft(answer, request)


@travel.operation(
    cache_for=minutes(30), tier="pro", sample=samples.package, words=("holiday", "vacation", "everything")
)
async def create_complete_package(request: PackageRequest, run: RunContext) -> TravelPackage:
    """Put a whole trip together: flights, hotel, itinerary and what it costs.

    The three are child runs at the same time. If one fails, the others are cancelled and its error is the package's.
    """
    plan = PackagePlan(request)
    finished = 0

    async def child(operation: Operation[Q, R], part: Q, what: str) -> R:
        nonlocal finished
        result = await run.call(operation, part)
        finished += 1
        run.progress(CHILDREN_SHARE * finished / 3, f"{what} ready")
        return result

    try:
        async with asyncio.TaskGroup() as group:
            flights = group.create_task(child(search_flights, plan.flights, "Flights"))
            hotels = group.create_task(child(search_hotels, plan.hotels, "Hotels"))
            itinerary = group.create_task(child(generate_itinerary, plan.itinerary, "Itinerary"))
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None  # the caller asked for one trip, and gets the one error that stopped it
    parts = TripParts.assemble(plan, flights.result(), hotels.result(), itinerary.result())
    words = await run.generate(
        PackageDraft,
        prompt=prompts.for_package(plan, parts),
        system=prompts.PACKAGE,
        done=lambda partial: CHILDREN_SHARE + (1 - CHILDREN_SHARE) * max(0, len(partial) - 1) / 3,
        message="Summing up the trip",
    )
    return TravelPackage(**dict(parts), **dict(words))


def _counted(expected: int, *lists: str) -> Callable[[dict[str, Any]], float]:
    """The share of the expected entries that are complete; the newest one is still being written."""
    return lambda partial: max(0, sum(len(partial.get(name, ())) for name in lists) - 1) / expected
