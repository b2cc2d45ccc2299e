"""What the offline model answers: drafts made from the request alone, the same for the same request."""

from amrikyy.agents.catalog.travel.samples.flights import flights
from amrikyy.agents.catalog.travel.samples.hotels import hotels
from amrikyy.agents.catalog.travel.samples.itinerary import itinerary
from amrikyy.agents.catalog.travel.samples.package import package
from amrikyy.agents.catalog.travel.samples.recommendations import recommendations
from amrikyy.agents.catalog.travel.samples.visas import visa

__all__ = ["flights", "hotels", "itinerary", "package", "recommendations", "visa"]
