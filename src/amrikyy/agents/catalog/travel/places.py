"""Places: what a person means by a code, or by the name of a city or country."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from pydantic import Field

from amrikyy.agents.agent import Result
from amrikyy.agents.catalog.travel import airport_table as table
from amrikyy.agents.catalog.travel.airport_table import Airport, fold
from amrikyy.agents.catalog.travel.place_names import COUNTRY_OF_CITY

__all__ = ["Airport", "Country", "Location", "ResolvedPlace", "find_airport", "resolve_country", "resolve_place"]

MAX_PLACE_LENGTH = 80
"""Characters; the longest town name in use has 58."""

MAX_SUGGESTIONS = 6
"""The most airports that a message names; no city has more with scheduled traffic."""


class Country(NamedTuple):
    """A country by its ISO 3166 code and usual English name."""

    code: str
    name: str

    @property
    def spoken(self) -> str:
        """The name in a sentence: "the United States", "Japan"."""
        article = self.name.startswith("United ") or self.code in {"BS", "CD", "CF", "DO", "KM", "MV", "NL", "PH"}
        return f"the {self.name}" if article else self.name


@dataclass(frozen=True, slots=True)
class ResolvedPlace:
    """A city and the airport that one would fly to.

    Attributes:
        city: the usual English name.
        country: ISO 3166 code of the city's country, which may differ from the airport's (Basel).
        airport: the main one.
        airports: codes of all the airports that the place has, the main one first.
    """

    city: str
    country: str
    airport: Airport
    airports: tuple[str, ...]

    @property
    def country_name(self) -> str:
        """The usual English name of the country."""
        return table.countries().get(self.country, self.country)

    @property
    def coordinates(self) -> tuple[float, float]:
        """Degrees north and east, of the main airport."""
        return self.airport.latitude, self.airport.longitude

    @property
    def timezone(self) -> str:
        """IANA time zone."""
        return self.airport.timezone


class Location(Result):
    """A place as results show it."""

    name: str = Field(description="The city's name, also where the request gave a code; else what the request said.")
    country: str | None = Field(default=None, description="The country's usual English name, where the place is known.")
    airport: Airport | None = Field(default=None, description="The main airport, where the place is known.")

    @classmethod
    def of(cls, text: str) -> "Location":
        """Look the place up; a place that we do not know keeps the name it was given."""
        if place := resolve_place(text):
            return cls(name=place.city, country=place.country_name, airport=place.airport)
        if country := resolve_country(text):
            return cls(name=country.name, country=country.name)
        return cls(name=text)


def find_airport(code: str) -> Airport | None:
    """The airport with this IATA code, in upper case."""
    return table.airports().get(code)


def resolve_place(text: str) -> ResolvedPlace | None:
    """Find the city that a person means by an airport code, a metropolitan code or a name.

    Case and accents do not matter, and a country or state may follow ("paris, france", "Portland Maine"). Among
    namesakes the one with the busiest airport is meant. None if we know no such city.
    """
    text = text.strip()
    if not text or len(text) > MAX_PLACE_LENGTH:
        return None
    by_code = _by_code(text.upper()) if len(text) == 3 else None
    if by_code and text.isupper():
        return by_code
    # "Goa" is the Indian state although "GOA" is Genoa; "nyc" and "lax" are nobody's city.
    return next((place for reading in _readings(text) if (place := _by_name(*reading))), by_code)


def resolve_country(text: str) -> Country | None:
    """Find the country that a person means by its code, its name or the name of its people. None if there is none."""
    code = table.country_codes().get(fold(text)) if len(text) <= MAX_PLACE_LENGTH else None
    return Country(code, table.countries()[code]) if code else None


def country_of(text: str) -> Country | None:
    """The country that a text names, or that of the city it names. None if it names neither."""
    if country := resolve_country(text):
        return country
    place = resolve_place(text)
    return Country(place.country, place.country_name) if place else None


def suggest_airports(text: str) -> str | None:
    """A sentence that says why a place is not an airport code and which codes to use; None if it is not a place."""
    place = resolve_place(text)
    if place is None:
        return None
    kind = "a metropolitan area" if text.upper() in table.metropolitan_areas() else "a place"
    *others, last = place.airports[:MAX_SUGGESTIONS]
    return f"{text} is {kind}, not an airport; use {', '.join(others) + ' or ' if others else ''}{last}"


def _readings(text: str) -> Iterator[tuple[str, list[str]]]:
    """The ways to read a text as a city and the regions that it is in, the likeliest first."""
    head, *rest = [fold(part) for part in text.split(",")]
    yield head, [part for part in rest if part]
    if not rest:
        words = head.split()
        for cut in range(len(words) - 1, 0, -1):
            yield " ".join(words[:cut]), [" ".join(words[cut:])]


def _by_code(code: str) -> ResolvedPlace | None:
    codes = (code,) if find_airport(code) else table.metropolitan_areas().get(code)
    if not codes:
        return None
    main = table.airports()[codes[0]]
    return ResolvedPlace(main.city, COUNTRY_OF_CITY.get(main.city, main.country), main, codes)


def _by_name(name: str, regions: list[str]) -> ResolvedPlace | None:
    found = table.cities().get(name) or {}
    ranked = table.ranked(code for code in found if all(part in table.regions_of(code) for part in regions))
    if not ranked:
        return None
    main = table.airports()[ranked[0]]
    # The other airports must be the same city's, not its namesakes', and not airfields without traffic.
    same = tuple(code for code in ranked if code in table.precedence() and _is_close(table.airports()[code], main))
    city = found[ranked[0]]
    return ResolvedPlace(city, COUNTRY_OF_CITY.get(city, main.country), main, same or ranked[:1])


def _is_close(one: Airport, other: Airport) -> bool:
    """Whether two airports are within about a hundred kilometres, as those of one city are."""
    return abs(one.latitude - other.latitude) < 1 and abs(one.longitude - other.longitude) < 1.5
