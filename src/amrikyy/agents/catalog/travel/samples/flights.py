"""The offline model's flights: plausible airlines for the route, with fares by distance, cabin and number of stops."""

import random
from functools import cache
from itertools import cycle, islice
from typing import NamedTuple

from amrikyy.agents.catalog.travel.flights import FlightDraft, OneWayDraft, RoundTripDraft, StopoverDraft
from amrikyy.agents.catalog.travel.flying import great_circle_km
from amrikyy.agents.catalog.travel.place_names import entries
from amrikyy.agents.catalog.travel.places import Airport, find_airport
from amrikyy.agents.catalog.travel.requests import FlightSearch
from amrikyy.agents.seeding import seeded

_AIRLINES = """
AA DFW American Airlines | AA MIA American Airlines | DL ATL Delta Air Lines | DL JFK Delta Air Lines | UA ORD United
UA SFO United | UA EWR United | B6 JFK JetBlue | AS SEA Alaska Airlines | WN DAL Southwest | AC YYZ Air Canada
AC YVR Air Canada | AM MEX Aeroméxico | CM PTY Copa Airlines | AV BOG Avianca | LA SCL LATAM | LA GRU LATAM
G3 GIG GOL | AR EZE Aerolíneas Argentinas | BA LHR British Airways | VS LHR Virgin Atlantic | U2 LGW easyJet
AF CDG Air France | KL AMS KLM | LH FRA Lufthansa | LH MUC Lufthansa | LX ZRH SWISS | OS VIE Austrian | IB MAD Iberia
VY BCN Vueling | TP LIS TAP Air Portugal | AZ FCO ITA Airways | SK CPH SAS | AY HEL Finnair | DY OSL Norwegian
FI KEF Icelandair | EI DUB Aer Lingus | FR STN Ryanair | LO WAW LOT | A3 ATH Aegean | TK IST Turkish Airlines
MS CAI Egyptair | AT CMN Royal Air Maroc | ET ADD Ethiopian Airlines | KQ NBO Kenya Airways
SA JNB South African Airways | EK DXB Emirates | EY AUH Etihad | QR DOH Qatar Airways | SV JED Saudia | SV RUH Saudia
RJ AMM Royal Jordanian | AI DEL Air India | 6E BOM IndiGo | SQ SIN Singapore Airlines | TG BKK Thai Airways
MH KUL Malaysia Airlines | GA CGK Garuda Indonesia | VN SGN Vietnam Airlines | PR MNL Philippine Airlines
CX HKG Cathay Pacific | CI TPE China Airlines | CA PEK Air China | MU PVG China Eastern | CZ CAN China Southern
KE ICN Korean Air | JL HND Japan Airlines | NH NRT ANA | QF SYD Qantas | NZ AKL Air New Zealand
"""

_CABIN_FACTOR = {"economy": 1.0, "premium": 1.7, "business": 3.6, "first": 5.8}
_LONGEST_NONSTOP_KM = 15_500
_SHORT_HAUL = frozenset({"WN", "B6", "AS", "U2", "VY", "DY", "FR", "G3", "6E"})
_SHORT_HAUL_KM = 6_000
_MAX_DETOUR = 1.5
_OFFERS = 4
_SLOTS = ((6, 8), (9, 12), (13, 16), (17, 19), (20, 22))


class _Airline(NamedTuple):
    name: str
    code: str
    hub: Airport


class _Service(NamedTuple):
    airline: _Airline
    via: Airport | None


def flights(search: FlightSearch) -> OneWayDraft:
    """Four flights in each direction, the first of them early in the day."""
    start, end = find_airport(search.origin), find_airport(search.destination)
    assert start is not None
    assert end is not None
    rng = seeded(search, "flights")
    outbound = _direction(rng, start, end, search)
    if search.return_date is None:
        return OneWayDraft(outbound=outbound)
    return RoundTripDraft(outbound=outbound, inbound=_direction(rng, end, start, search))


def _direction(rng: random.Random, start: Airport, end: Airport, search: FlightSearch) -> list[FlightDraft]:
    distance = great_circle_km(start, end)
    # Fares grow more slowly than distances: a landing costs the same after one hour as after ten.
    base = (38 + 1.9 * distance**0.62) * _CABIN_FACTOR[search.cabin_class]
    services = islice(cycle(_services(start, end, distance)), _OFFERS)
    slots = sorted(rng.sample(_SLOTS, _OFFERS))
    drafts = []
    for service, (earliest, latest) in zip(services, slots, strict=True):
        factor = rng.uniform(0.88, 1.2) * (1.1 if service.via is None else 0.86)
        drafts.append(
            FlightDraft(
                airline=service.airline.name,
                flight_number=f"{service.airline.code} {rng.randint(20, 1899)}",
                departure_time=f"{rng.randint(earliest, latest):02d}:{rng.randrange(0, 60, 5):02d}",
                price_per_passenger=round(base * factor),
                stopovers=[]
                if service.via is None
                else [StopoverDraft(airport=service.via.code, layover_minutes=rng.randrange(70, 245, 5))],
            )
        )
    return drafts


def _services(start: Airport, end: Airport, distance: float) -> list[_Service]:
    """Airlines that could fly the route: nonstop from a hub at either end, then those whose hub is the least detour."""
    nonstop, connecting = [], []
    for airline in _airlines():
        if airline.code in _SHORT_HAUL and distance > _SHORT_HAUL_KM:
            continue
        to_hub, from_hub = great_circle_km(start, airline.hub), great_circle_km(airline.hub, end)
        at_home = min(to_hub, from_hub) < 60
        domestic = start.country == end.country == airline.hub.country
        if distance < _LONGEST_NONSTOP_KM and (at_home or (domestic and distance < 2500)):
            nonstop.append((min(to_hub, from_hub), _Service(airline, None)))
        elif not at_home and (to_hub + from_hub) / distance < _MAX_DETOUR:
            connecting.append((to_hub + from_hub, _Service(airline, airline.hub)))
    flown = [service for _, service in sorted(nonstop, key=_first)[:3]]
    flown += [service for _, service in sorted(connecting, key=_first)[:_OFFERS]]
    return _distinct(flown) or [_Service(min(_airlines(), key=lambda each: great_circle_km(each.hub, start)), None)]


def _first(pair: tuple[float, _Service]) -> float:
    return pair[0]


def _distinct(services: list[_Service]) -> list[_Service]:
    """The first service of each airline."""
    return list({service.airline.name: service for service in reversed(services)}.values())[::-1]


@cache
def _airlines() -> list[_Airline]:
    airlines = []
    for code, hub_and_name in entries(_AIRLINES):
        hub, _, name = hub_and_name.partition(" ")
        airport = find_airport(hub)
        if airport is not None:
            airlines.append(_Airline(name, code, airport))
    return airlines
