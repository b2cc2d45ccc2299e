"""The offline model's hotels: names that sound like the country, prices by stars and by how expensive the city is."""

from amrikyy.agents.catalog.travel.hotels import HotelDraft, HotelsDraft
from amrikyy.agents.catalog.travel.places import Location
from amrikyy.agents.catalog.travel.requests import HotelSearch
from amrikyy.agents.catalog.travel.samples.guide import describe
from amrikyy.agents.seeding import seeded

_NAMES = {
    "France": ("Hôtel des Arts {city}", "Le Petit {city}", "Grand Hôtel {city}", "Maison Lumière {city}"),
    "Italy": ("Palazzo {city}", "Albergo del Sole {city}", "Hotel Bella {city}", "Residenza {city}"),
    "Spain": ("Casa {city}", "Hotel Plaza {city}", "Palacio {city}", "Hostal del Mar {city}"),
    "Portugal": ("Casa {city}", "Pousada {city}", "Palácio {city}", "Hotel do Largo {city}"),
    "Mexico": ("Casa {city}", "Hotel Plaza {city}", "Hacienda {city}", "Posada {city}"),
    "Argentina": ("Casa {city}", "Hotel Plaza {city}", "Palacio {city}", "Estancia {city}"),
    "Brazil": ("Pousada {city}", "Hotel Atlântico {city}", "Casa {city}", "Palácio {city}"),
    "Japan": ("Ryokan {city}", "{city} Garden Hotel", "Hotel Sakura {city}", "The {city} Station"),
    "Morocco": ("Riad {city}", "Dar {city}", "Kasbah {city}", "Palais {city}"),
    "Egypt": ("Nile View {city}", "Pharaoh Palace {city}", "{city} Garden House", "Lotus {city}"),
    "Germany": ("Hotel am Markt {city}", "Gasthaus {city}", "{city} Hof", "Parkhotel {city}"),
    "Indonesia": ("Villa {city}", "{city} Garden Resort", "Puri {city}", "The {city} Terrace"),
}
_ANYWHERE = ("The {city} Grand", "{city} Central", "The {city} House", "Park View {city}", "Old Town Lodge {city}")

_STAR_PRICE = {1: 0.30, 2: 0.42, 3: 0.62, 4: 1.0, 5: 2.1}
"""Share of a city's daily cost: a mid-range room for two costs about what one person spends a day."""

_AMENITIES = {
    1: ("Free Wi-Fi", "Luggage room", "Shared kitchen", "Lockers"),
    2: ("Free Wi-Fi", "Breakfast for a charge", "24-hour reception", "Luggage room"),
    3: ("Free Wi-Fi", "Breakfast included", "Air conditioning", "Bicycle hire", "Bar"),
    4: ("Free Wi-Fi", "Breakfast included", "Gym", "Restaurant", "Rooftop terrace", "Room service"),
    5: ("Free Wi-Fi", "Spa", "Pool", "Fine dining", "Concierge", "Airport transfer", "Butler service"),
}

_GUESTS = (
    "families who want space and quiet after a long day",
    "a first visit, with the main sights in walking distance",
    "night owls: bars and late kitchens are around the corner",
    "travellers who like a neighbourhood where people live",
    "early departures, with the station a short walk away",
)


def hotels(search: HotelSearch) -> HotelsDraft:
    """Five hotels, one in each of the city's neighbourhoods."""
    rng = seeded(search, "hotels")
    place = Location.of(search.destination)
    city = describe(place)
    templates = [*_NAMES.get(place.country or "", ()), *_ANYWHERE]
    rng.shuffle(templates)
    guests = rng.sample(_GUESTS, len(_GUESTS))
    stars = [search.stars] * 5 if search.stars else [2, 3, 3, 4, 5]
    sights = [sight for sight, _ in city.sights]
    drafts = []
    for number, count in enumerate(stars):
        neighbourhood = city.neighbourhoods[number % len(city.neighbourhoods)]
        amenities = _AMENITIES[count]
        drafts.append(
            HotelDraft(
                name=templates[number].format(city=place.name),
                stars=count,
                neighbourhood=neighbourhood,
                nightly_price=round(city.daily_cost * _STAR_PRICE[count] * rng.uniform(0.85, 1.2)),
                amenities=rng.sample(amenities, min(len(amenities), rng.randint(3, 5))),
                why=f"Good for {guests[number]}. From {neighbourhood} it is not far to {rng.choice(sights)}.",
            )
        )
    return HotelsDraft(hotels=drafts)
