"""The innovation agent, complete: its operations, requests, results, prompts and offline samples."""

from amrikyy.agents.catalog.innovation.agent import innovation

__all__ = ["innovation"]
