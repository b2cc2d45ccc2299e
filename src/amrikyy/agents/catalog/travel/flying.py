"""Distances, flight times, local times of arrival, and seasons."""

import math
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

from amrikyy.agents.catalog.travel.places import Airport

EARTH_RADIUS_KM = 6371.0088
"""Mean radius R1 = (2a + b) / 3 of the GRS 80 ellipsoid (Moritz, Geodetic Reference System 1980)."""

CRUISE_KMH = 805.0
"""500 mph: an airliner's average ground speed, as used by common estimators (travelmath.com)."""

GROUND_AND_CLIMB_MINUTES = 30
"""For taxiing, take-off and landing; the same estimators add it to each leg. Winds are not considered."""

_TROPIC = 23.44
_NORTHERN = ("winter", "spring", "summer", "autumn")


def great_circle_km(start: Airport, end: Airport) -> float:
    """Distance over ground in kilometres, by the haversine formula (Sinnott, "Virtues of the Haversine", 1984).

    The earth is taken as a sphere, which is wrong by 0.5 % at most.
    """
    lat1, lat2 = math.radians(start.latitude), math.radians(end.latitude)
    half_lat, half_lon = (lat2 - lat1) / 2, math.radians(end.longitude - start.longitude) / 2
    chord = math.sin(half_lat) ** 2 + math.cos(lat1) * math.cos(lat2) * math.sin(half_lon) ** 2
    return 2 * EARTH_RADIUS_KM * math.asin(math.sqrt(min(1.0, chord)))


def flight_minutes(distance_km: float) -> int:
    """Block time, gate to gate, of a nonstop flight: the distance at cruising speed plus half an hour, to 5 minutes."""
    return 5 * round((distance_km / CRUISE_KMH * 60 + GROUND_AND_CLIMB_MINUTES) / 5)


def journey_minutes(stops: Sequence[Airport]) -> int:
    """Gate-to-gate time over all legs, without layovers; `stops` is every airport from first to last."""
    return sum([flight_minutes(great_circle_km(start, end)) for start, end in pairwise(stops)])


def departure(day: date, clock: time, start: Airport) -> datetime:
    """The moment at which it is that local time at `start`, with that place's offset from UTC."""
    return datetime.combine(day, clock, tzinfo=ZoneInfo(start.timezone))


def arrival(leaves_at: datetime, minutes: int, end: Airport) -> datetime:
    """The local time at `end` after so many minutes. (Adding to a local time would be off when the clocks change.)"""
    return (leaves_at.astimezone(UTC) + timedelta(minutes=minutes)).astimezone(ZoneInfo(end.timezone))


def season(day: date, airport: Airport) -> str:
    """The meteorological season at the airport on that day; the tropics have none of the four."""
    if abs(airport.latitude) < _TROPIC:
        return "tropical, with wet and dry seasons instead of summer and winter"
    quarter = day.month % 12 // 3
    return _NORTHERN[quarter if airport.latitude > 0 else (quarter + 2) % 4]


def duration_text(minutes: int) -> str:
    """A duration as people write it: "7 h 25 min"."""
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min"
