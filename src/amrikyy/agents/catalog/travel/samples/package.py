"""The offline model's text about a package; its parts have their own samples."""

from amrikyy.agents.catalog.travel.flying import season
from amrikyy.agents.catalog.travel.package import PackageDraft
from amrikyy.agents.catalog.travel.places import Location
from amrikyy.agents.catalog.travel.requests import PackageRequest
from amrikyy.agents.catalog.travel.samples.guide import describe
from amrikyy.agents.seeding import seeded


def package(request: PackageRequest) -> PackageDraft:
    """A summary, highlights and tips."""
    rng = seeded(request, "package")
    start, end = Location.of(request.origin), Location.of(request.destination)
    city = describe(end)
    sights = rng.sample([sight for sight, _ in city.sights], 3)
    days = "one day" if request.duration == 1 else f"{request.duration} days"
    people = "one traveller" if request.travelers == 1 else f"{request.travelers} travellers"
    liked = f" with time for {' and '.join(request.interests[:2])}" if request.interests else ""
    tips = [
        f"Book {sights[0]} ahead and go early: the first hour is the quietest.",
        f"Try {city.food[0]} around {rng.choice(city.neighbourhoods)}, where the locals eat.",
        "Compare the estimates with live prices before you book; fares move daily.",
    ]
    if end.airport is not None:
        tips.append(f"Pack for the season at {end.name}: {season(request.date, end.airport)}.")
    return PackageDraft(
        summary=f"A trip of {days} for {people} from {start.name} to {end.name}, from {request.date:%d %B %Y}{liked}. "
        f"You fly there and back, stay at one hotel, and see {sights[0]}, {sights[1]} and {sights[2]} at an easy pace. "
        "The costs below are estimates that keep flights, hotel and days apart.",
        highlights=[
            f"A morning at {sights[0]}",
            f"An afternoon between {sights[1]} and {city.neighbourhoods[0]}",
            f"An evening with {city.food[1]}",
        ],
        tips=tips,
    )
