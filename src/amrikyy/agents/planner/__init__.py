"""From plain words or loose fields to an operation and its valid request."""

from amrikyy.agents.planner.planner import Choice, Planner

__all__ = ["Choice", "Planner"]
