"""The travel agent, complete: its operations, requests, results, places, prompts and offline samples."""

from amrikyy.agents.catalog.travel.agent import travel

__all__ = ["travel"]
