"""Agents: how they are declared, registered and run. A new agent needs only the names exported here."""

from amrikyy.agents.agent import Agent, Operation, Request, Result, TextResult, days, hours, minutes
from amrikyy.agents.context import RunContext

__all__ = ["Agent", "Operation", "Request", "Result", "RunContext", "TextResult", "days", "hours", "minutes"]
