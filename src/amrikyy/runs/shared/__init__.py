"""Runs that every process can read, cancel and join, in Redis."""

from amrikyy.runs.shared.runs import SCRIPTS, SharedRuns

__all__ = ["SCRIPTS", "SharedRuns"]
