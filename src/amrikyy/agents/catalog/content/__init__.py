"""The content agent, complete: its operations, requests, results, prompts and offline samples."""

from amrikyy.agents.catalog.content.agent import content

__all__ = ["content"]
