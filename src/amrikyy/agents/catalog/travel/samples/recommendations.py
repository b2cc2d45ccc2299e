"""The offline model's recommendations: the cities of its guide, scored by interests, season and budget."""

import random

from amrikyy.agents.catalog.travel.airport_table import fold
from amrikyy.agents.catalog.travel.recommendations import DestinationDraft, RecommendationsDraft
from amrikyy.agents.catalog.travel.requests import RecommendationRequest
from amrikyy.agents.catalog.travel.samples.guide import City, guide
from amrikyy.agents.seeding import seeded

_SEASONS = {
    "winter": "December January February",
    "spring": "March April May",
    "summer": "June July August",
    "autumn": "September October November",
    "fall": "September October November",
    "christmas": "December",
    "easter": "March April",
}


def recommendations(request: RecommendationRequest) -> RecommendationsDraft:
    """The five best matches, best first."""
    rng = seeded(request, "recommendations")
    scored = sorted(((_score(city, request, rng), city.name, city) for city in guide().values()), reverse=True)
    return RecommendationsDraft(destinations=[_draft(score, city, request) for score, _, city in scored[:5]])


def _score(city: City, request: RecommendationRequest, rng: random.Random) -> int:
    score = 52 + rng.randint(0, 8)
    if request.interests:
        score += round(28 * len(_served(city, request)) / len(request.interests))
    else:
        score += 14
    wanted = _wanted_months(request.season)
    score += 6 if not wanted else 10 if wanted & set(city.months) else -10
    if request.budget is not None:
        affordable = request.budget >= city.daily_cost * request.duration * request.travelers
        score += 2 if affordable else -25
    return max(5, min(98, score))


def _served(city: City, request: RecommendationRequest) -> list[str]:
    """The interests that the city serves: "historic places" where there is history, "beach" where there are beaches."""

    def serves(interest: str) -> bool:
        words = [word for word in fold(interest).split() if len(word) > 2]
        return any(tag.startswith(word[:5]) or word.startswith(tag) for word in words for tag in city.tags)

    return [interest for interest in request.interests if serves(interest)]


def _wanted_months(season: str | None) -> set[str]:
    words = fold(season or "").split()
    wanted = {month for word in words for month in _SEASONS.get(word, "").split()}
    every = {month for city in guide().values() for month in city.months}
    return wanted | {month for month in every for word in words if len(word) > 2 and month.casefold().startswith(word)}


def _draft(score: int, city: City, request: RecommendationRequest) -> DestinationDraft:
    served = _served(city, request)
    liked = " and ".join(served[:3]) if served else ", ".join(sorted(city.tags)[:3])
    sights = [sight for sight, _ in city.sights]
    return DestinationDraft(
        name=city.name,
        country=city.country,
        match_score=score,
        why=f"{city.name} is a fine place for {liked}: stay around {city.neighbourhoods[0]}, see {sights[0]}, and try "
        f"{city.food[0]}. {request.duration} days leave time for {sights[2]} and a walk through "
        f"{city.neighbourhoods[2]}.",
        best_months=list(city.months),
        highlights=[*sights[:3], f"{city.food[1]} in {city.neighbourhoods[1]}"],
        daily_cost=city.daily_cost,
    )
