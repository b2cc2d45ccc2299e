"""Runs in Redis, where every process can read, cancel and join them."""

from amrikyy.runs.shared.runs import SCRIPTS, SharedRuns

__all__ = ["SCRIPTS", "SharedRuns"]
