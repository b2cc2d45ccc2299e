"""The world's airports, cities and countries, indexed by what people call them; loaded on first use."""

import csv
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any, NamedTuple

from pydantic import Field

from amrikyy.agents.agent import Result
from amrikyy.agents.catalog.travel import place_names as names
from amrikyy.agents.catalog.travel.packed import REMEMBERED, Packed, Rows

_LETTERS = str.maketrans({"ø": "o", "ł": "l", "đ": "d", "ı": "i", "ß": "ss", "æ": "ae", "œ": "oe", "'": "", "’": ""})


class Airport(Result):
    """An airport, as the `airportsdata` package knows it."""

    code: str = Field(description="IATA code.", examples=["JFK"])
    name: str = Field(description="Official name.")
    city: str = Field(description="The city it serves.")
    country: str = Field(description="ISO 3166 code of the country.", examples=["US"])
    country_name: str = Field(description="The country's usual English name.")
    latitude: float = Field(description="Degrees north.")
    longitude: float = Field(description="Degrees east.")
    timezone: str = Field(description="IANA time zone.", examples=["America/New_York"])


def fold(text: str) -> str:
    """Reduce a name to what its spellings have in common: no case, accents or punctuation, and "st" for "Saint"."""
    spelled = unicodedata.normalize("NFKD", text.casefold().translate(_LETTERS))
    bare = "".join(character for character in spelled if not unicodedata.combining(character))
    return " ".join("st" if word == "saint" else word for word in re.findall(r"[^\W_]+", bare))


def _read(table: str) -> Iterator[dict[str, Any]]:
    """The rows of a file of `airportsdata`, one at a time: its own `load` holds all 28,000 at once, in 20 MB."""
    with files("airportsdata").joinpath(table).open(encoding="utf-8") as file:
        yield from csv.DictReader(file, quoting=csv.QUOTE_NONNUMERIC)


def airports() -> Packed[Airport]:
    """Every airport with an IATA code."""
    return _tables().airports


@cache
def metropolitan_areas() -> dict[str, tuple[str, ...]]:
    """The airports of each metropolitan code, busiest first; codes that are also an airport's are left out."""
    return {code: ranked(codes) for code, (_, codes) in _areas().items() if code not in airports()}


@cache
def countries() -> dict[str, str]:
    """Names of countries by ISO 3166 code, from the time zone database and our own corrections."""
    table = files("tzdata.zoneinfo").joinpath("iso3166.tab").read_text(encoding="utf-8")
    rows = (line.split("\t") for line in table.splitlines() if line and not line.startswith("#"))
    return {row[0]: row[1].replace("&", "and") for row in rows} | dict(names.entries(names.COUNTRY_NAMES))


@cache
def country_codes() -> dict[str, str]:
    """ISO 3166 codes by every name of a country and its people, folded."""
    codes = {fold(name): code for code, name in countries().items()}
    codes |= {fold(name): code for code, name in names.entries(names.COUNTRY_SYNONYMS)}
    return codes | {code.casefold(): code for code in countries()}


def cities() -> Packed[dict[str, str]]:
    """Folded name of a city → code of an airport → the name to show."""
    return _tables().cities


def regions_of(code: str) -> frozenset[str]:
    """The folded names of the state and the country that an airport is in, short and long."""
    return _names_of(*_tables().regions[code])


@cache
def precedence() -> dict[str, int]:
    """Code of an airport with much traffic → its rank, 0 being the busiest."""
    return {code: place for place, code in enumerate(names.BUSIEST.split())}


def ranked(codes: Iterable[str]) -> tuple[str, ...]:
    """Airports, with the one that is most likely meant first."""
    order, table = precedence(), airports()

    def rank(code: str) -> tuple[int, bool, str]:
        return order.get(code, len(order)), "International" not in table[code].name, code

    return tuple(sorted(codes, key=rank))


def load_tables() -> None:
    """Build every table now rather than at the first request that needs one; takes about 0.2 s."""
    for table in (_tables, metropolitan_areas, countries, country_codes, precedence):
        table()


class _Tables(NamedTuple):
    airports: Packed[Airport]
    cities: Packed[dict[str, str]]
    regions: Packed[tuple[str, str]]
    """Code of an airport → the codes of its country and its state."""


@cache
def _tables() -> _Tables:
    """Read all airports. That takes 0.2 s, so it is done on first use."""
    usual = dict(names.entries(names.CITY_OF_AIRPORT))
    airports, cities = Rows(), Rows()
    for name, codes in reversed(_areas().values()):
        _note(cities, name, dict.fromkeys(codes, name))
    for row in _read("airports.csv"):
        if not (code := row["iata"]):
            continue
        shown = usual.get(code) or row["city"] or row["name"]
        where = round(row["lat"], 4), round(row["lon"], 4), row["tz"] or "UTC"  # Antarctica has no time zone
        airports.add(code, (row["name"], shown, row["country"], row["subd"], *where))
        # "Toulouse/Blagnac" and "Yogyakarta, Java Island" are also known by either half.
        for name in {shown, row["city"], *re.split(r"[/,(]", row["city"])}:
            _note(cities, name, {code: shown})
    packed = Packed(airports, _airport)
    del airports  # the table of cities takes its place
    for code, name in names.entries(names.SERVED_FROM):
        _note(cities, name, {code: name})
    cities_of: Packed[str] = packed.seen_as(lambda _, row: row[1])
    for code, name in names.entries(names.SYNONYMS):
        _note(cities, name, {code: cities_of[code]})
    regions = packed.seen_as(lambda _, row: (row[2], row[3]))
    return _Tables(packed, Packed(cities, lambda _, shown: shown, join=lambda known, more: known | more), regions)


def _note(cities: Rows, name: str, shown: dict[str, str]) -> None:
    """Add a city of that name; `shown` maps airport codes → the name to show."""
    if folded := fold(name):
        cities.add(folded, shown)


def _airport(code: str, packed: Sequence[Any]) -> Airport:
    name, city, country, _state, latitude, longitude, timezone = packed
    return Airport(
        code=code,
        name=name,
        city=city,
        country=country,
        country_name=countries().get(country, country),
        latitude=latitude,
        longitude=longitude,
        timezone=timezone,
    )


@cache
def _areas() -> dict[str, tuple[str, list[str]]]:
    """The name and the airports of each metropolitan code."""
    areas: dict[str, tuple[str, list[str]]] = {}
    for row in _read("iata_macs.csv"):
        areas.setdefault(row["City Code"], (row["City Name"], []))[1].append(row["Airport Code"])
    return areas


@lru_cache(REMEMBERED)
def _names_of(country: str, state: str) -> frozenset[str]:
    states = {name: code for code, name in names.entries(names.US_STATES)}
    short = states.get(state, "").casefold() if country == "US" else ""
    called = [name for name, code in country_codes().items() if code == country]
    return frozenset({fold(state), short, *called} - {""})
