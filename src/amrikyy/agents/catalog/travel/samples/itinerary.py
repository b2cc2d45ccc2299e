"""The offline model's itineraries: sights first, then interests, and never over the budget."""

import random
from collections.abc import Sequence
from typing import NamedTuple

from amrikyy.agents.catalog.travel.airport_table import fold
from amrikyy.agents.catalog.travel.itinerary import Activity, DayDraft, ItineraryDraft
from amrikyy.agents.catalog.travel.places import Location
from amrikyy.agents.catalog.travel.requests import ItineraryRequest
from amrikyy.agents.catalog.travel.samples.guide import City, describe
from amrikyy.agents.catalog.travel.samples.ideas import AFTERNOONS, EVENINGS, INTERESTS, MORNINGS, OTHER_INTEREST
from amrikyy.agents.seeding import seeded


class _Idea(NamedTuple):
    title: str
    description: str
    place: str
    cost: int


class _Purse:
    """What one traveller may still spend on activities; what is left over from a day can be spent on the next."""

    def __init__(self) -> None:
        self._dollars = 0.0

    def fill(self, dollars: float) -> None:
        self._dollars += dollars

    def pay_for_first_affordable(self, ideas: list[_Idea]) -> _Idea:
        """Take the first affordable idea; more expensive ones wait. Every pool has a free one for each day."""
        idea = next(idea for idea in ideas if idea.cost <= self._dollars)
        ideas.remove(idea)
        self._dollars -= idea.cost
        return idea


def itinerary(request: ItineraryRequest) -> ItineraryDraft:
    """A plan of exactly the requested number of days."""
    rng = seeded(request, "itinerary")
    place = Location.of(request.destination)
    city = describe(place)
    mornings = _sights(city, rng) + _ideas(MORNINGS, city, rng)
    afternoons = _interests(request.interests, city, rng) + _ideas(AFTERNOONS, city, rng)
    evenings = _ideas(EVENINGS, city, rng)
    daily = request.budget / (request.duration * request.travelers)
    meals = int(min(0.35 * city.daily_cost, 0.55 * daily))
    purse = _Purse()
    days = []
    for number in range(1, request.duration + 1):
        purse.fill(daily - meals)
        morning, afternoon, evening = map(purse.pay_for_first_affordable, (mornings, afternoons, evenings))
        days.append(
            DayDraft(
                day=number,
                title=_title(number, request.duration, morning, afternoon),
                morning=_activity(morning, request),
                afternoon=_activity(afternoon, request),
                evening=_activity(evening, request),
                meals_and_transport_cost=meals * request.travelers,
            )
        )
    return ItineraryDraft(summary=_summary(request, place, city), days=days, packing_tips=_packing(place, request))


def _sights(city: City, rng: random.Random) -> list[_Idea]:
    sights = rng.sample(city.sights, len(city.sights))
    return [
        _Idea(_capital(name), f"Be there when it opens, and take your time at {name}.", _capital(name), price)
        for name, price in sights
    ]


def _ideas(templates: Sequence[tuple[str, str, int]], city: City, rng: random.Random, **words: str) -> list[_Idea]:
    """Every template in every neighbourhood, ordered so that the same template returns as late as possible."""
    templates = rng.sample(templates, len(templates))
    hoods = rng.sample(city.neighbourhoods, len(city.neighbourhoods))
    ideas = []
    for turn in range(len(hoods)):
        for number, (title, description, cost) in enumerate(templates):
            hood = hoods[(number + turn) % len(hoods)]
            words |= {"where": hood, "city": city.name, "food": city.food[(number + turn) % len(city.food)]}
            ideas.append(_Idea(_capital(title.format(**words)), description.format(**words), _capital(hood), cost))
    return ideas


def _interests(interests: Sequence[str], city: City, rng: random.Random) -> list[_Idea]:
    """Ideas for each interest, one interest after the other, over and over."""
    pools = []
    for interest in dict.fromkeys(interests):
        words = fold(interest).split()
        known = next((ideas for tag, ideas in INTERESTS.items() if any(word.startswith(tag) for word in words)), None)
        pools.append(_ideas(known or OTHER_INTEREST, city, rng, interest=interest))
    turns = max(map(len, pools), default=0)
    return list(dict.fromkeys(pool[turn] for turn in range(turns) for pool in pools if turn < len(pool)))


def _activity(idea: _Idea, request: ItineraryRequest) -> Activity:
    return Activity(
        title=idea.title, description=idea.description, place=idea.place, cost=idea.cost * request.travelers
    )


def _title(number: int, duration: int, morning: _Idea, afternoon: _Idea) -> str:
    if number == 1:
        return f"Arriving, and {_small(morning.place)}"
    if number == duration:
        return f"A last look: {_small(morning.place)}"
    return f"{morning.place} and {_small(afternoon.place)}"


def _summary(request: ItineraryRequest, place: Location, city: City) -> str:
    days = "One day" if request.duration == 1 else f"{request.duration} days"
    people = "one traveller" if request.travelers == 1 else f"{request.travelers} travellers"
    likes = f" with an eye for {', '.join(request.interests[:4])}" if request.interests else ""
    money = "All of it keeps to the budget." if request.budget >= 1 else "Everything in it is free; bring a picnic."
    return f"{days} in {place.name} for {people}{likes}: sights early, slow afternoons, and {city.food[0]}. {money}"


def _packing(place: Location, request: ItineraryRequest) -> list[str]:
    north = abs(place.airport.latitude) if place.airport else 40.0
    weather = "a light rain jacket and sun cream" if north < 35 else "layers and a windproof jacket"
    tips = [
        "Shoes that have already walked ten kilometres with you.",
        f"For {place.name}: {weather}.",
        "A refillable bottle and a small bag for the day.",
    ]
    if request.duration > 7:
        tips.append("Clothes for one week and a bag for laundry instead of clothes for all days.")
    return tips


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _small(text: str) -> str:
    return text[:1].lower() + text[1:] if text.startswith("The ") else text
