"""The world's airports, cities and countries, indexed by what people call them; read when first asked for."""

import csv
import re
import unicodedata
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.resources import files
from typing import Any

from pydantic import Field

from amrikyy.agents.agent import Result
from amrikyy.agents.catalog.travel import place_names as names

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
    """Reduce a name to what two spellings of it share: no case, accents, punctuation, or "Saint" for "St"."""
    spelled = unicodedata.normalize("NFKD", text.casefold().translate(_LETTERS))
    bare = "".join(character for character in spelled if not unicodedata.combining(character))
    return " ".join("st" if word == "saint" else word for word in re.findall(r"[^\W_]+", bare))


def _read(table: str) -> Iterator[dict[str, Any]]:
    """The rows of a file of `airportsdata`, one at a time: its own `load` holds all 28,000, and 20 MB, at once."""
    with files("airportsdata").joinpath(table).open(encoding="utf-8") as file:
        yield from csv.DictReader(file, quoting=csv.QUOTE_NONNUMERIC)


@cache
def _rows() -> dict[str, dict[str, Any]]:
    return {row["iata"]: row for row in _read("airports.csv") if row["iata"]}


@cache
def _areas() -> dict[str, tuple[str, list[str]]]:
    """Name and airports of each metropolitan code."""
    areas: dict[str, tuple[str, list[str]]] = {}
    for row in _read("iata_macs.csv"):
        areas.setdefault(row["City Code"], (row["City Name"], []))[1].append(row["Airport Code"])
    return areas


@cache
def airports() -> dict[str, Airport]:
    """Every airport with an IATA code. Reading them takes 0.1 s, so it waits until the first is asked for."""
    usual = dict(names.entries(names.CITY_OF_AIRPORT))
    known = countries()
    fields = set(Airport.model_fields)  # one for all: 9,000 of their own would take 6 MB
    return {
        code: Airport.model_construct(
            fields,
            code=code,
            name=row["name"],
            city=usual.get(code) or row["city"] or row["name"],
            country=row["country"],
            country_name=known.get(row["country"], row["country"]),
            latitude=round(row["lat"], 4),
            longitude=round(row["lon"], 4),
            timezone=row["tz"] or "UTC",  # Antarctica has none
        )
        for code, row in _rows().items()
    }


@cache
def metropolitan_areas() -> dict[str, tuple[str, ...]]:
    """The airports of each metropolitan code, busiest first; codes that are an airport's too are left out."""
    return {code: ranked(codes) for code, (_, codes) in _areas().items() if code not in airports()}


@cache
def countries() -> dict[str, str]:
    """Names of countries by ISO 3166 code, from the time zone database and our own corrections."""
    table = files("tzdata.zoneinfo").joinpath("iso3166.tab").read_text(encoding="utf-8")
    rows = (line.split("\t") for line in table.splitlines() if line and not line.startswith("#"))
    return {row[0]: row[1].replace("&", "and") for row in rows} | dict(names.entries(names.COUNTRY_NAMES))


@cache
def country_codes() -> dict[str, str]:
    """ISO 3166 codes by everything that a country and its people are called, folded."""
    codes = {fold(name): code for code, name in countries().items()}
    codes |= {fold(name): code for code, name in names.entries(names.COUNTRY_SYNONYMS)}
    return codes | {code.casefold(): code for code in countries()}


@cache
def cities() -> dict[str, dict[str, str]]:
    """Folded name of a city → code of an airport → the name to show."""
    found: dict[str, dict[str, str]] = {}
    for code, row in _rows().items():
        shown = airports()[code].city
        # "Toulouse/Blagnac" and "Yogyakarta, Java Island" are also known by each half.
        for name in {shown, row["city"], *re.split(r"[/,(]", row["city"])}:
            found.setdefault(fold(name), {})[code] = shown
    for name, codes in _areas().values():
        for code in codes:
            found.setdefault(fold(name), {}).setdefault(code, name)
    for code, name in names.entries(names.SERVED_FROM):
        found.setdefault(fold(name), {})[code] = name
    for code, name in names.entries(names.SYNONYMS):
        found.setdefault(fold(name), {})[code] = airports()[code].city
    found.pop("", None)
    return found


@cache
def regions() -> dict[str, frozenset[str]]:
    """Code of an airport → the folded names of its state and country, short and long."""
    states = {name: code for code, name in names.entries(names.US_STATES)}
    called: dict[str, set[str]] = {}
    for name, code in country_codes().items():
        called.setdefault(code, set()).add(name)

    @cache  # airports of one state share a set
    def names_of(country: str, state: str) -> frozenset[str]:
        short = states.get(state, "").casefold() if country == "US" else ""
        return frozenset({fold(state), short, *called.get(country, ())} - {""})

    return {code: names_of(row["country"], row["subd"]) for code, row in _rows().items()}


@cache
def precedence() -> dict[str, int]:
    """Code of an airport with much traffic → its place among them, 0 the busiest."""
    return {code: place for place, code in enumerate(names.BUSIEST.split())}


def ranked(codes: Iterable[str]) -> tuple[str, ...]:
    """Airports with the one that is most likely meant first."""
    order, table = precedence(), airports()

    def rank(code: str) -> tuple[int, bool, str]:
        return order.get(code, len(order)), "International" not in table[code].name, code

    return tuple(sorted(codes, key=rank))


def load_tables() -> None:
    """Build every table now instead of at the first request that needs one: about 0.2 s."""
    for table in (airports, metropolitan_areas, countries, country_codes, cities, regions, precedence):
        table()
    _rows.cache_clear()  # 10 MB that nothing needs any more
    _areas.cache_clear()
