"""Which agents are served: the catalog's, and those of the modules named in AGENTS."""

import importlib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from types import ModuleType
from typing import Any

from amrikyy.agents.agent import Agent, Operation
from amrikyy.errors import NotFound

CATALOG = ("travel", "content", "innovation")


class Registry:
    """The agents by name, in the order in which they were registered."""

    def __init__(self, agents: Sequence[Agent] = ()) -> None:
        self._agents: dict[str, Agent] = {}
        self.registered_at: dict[str, datetime] = {}
        for agent in agents:
            self.add(agent)

    def add(self, agent: Agent) -> None:
        """Serve one more agent.

        Raises:
            ValueError: another agent has that name, or the agent can do nothing.
        """
        if not agent.operations:
            raise ValueError(f"the agent {agent.name!r} has no operations; declare one with @{agent.name}.operation()")
        if self._agents.setdefault(agent.name, agent) is not agent:
            raise ValueError(f"there are two agents named {agent.name!r}; rename one")
        self.registered_at.setdefault(agent.name, datetime.now(UTC))

    def __getitem__(self, name: str) -> Agent:
        """The agent of that name.

        Raises:
            NotFound: naming the agents that there are.
        """
        try:
            return self._agents[name]
        except KeyError:
            known = ", ".join(self._agents)
            raise NotFound(f"There is no agent {name[:64]!r}; there are {known}.", code="agent_not_found") from None

    def __iter__(self) -> Iterator[Agent]:
        return iter(self._agents.values())

    def __len__(self) -> int:
        return len(self._agents)

    def operations(self) -> Iterator[Operation[Any, Any]]:
        """Every operation of every agent."""
        for agent in self:
            yield from agent.operations.values()


def load_registry(modules: Sequence[str] = ()) -> Registry:
    """Import the catalog and `modules`, and register every `Agent` that they define at their top level.

    Raises:
        ValueError: a module cannot be imported or has no agent; the message says which and what to do.
    """
    registry = Registry()
    for name in CATALOG:
        for agent in _agents_of(importlib.import_module(f"amrikyy.agents.catalog.{name}")):
            registry.add(agent)
    for name in modules:
        try:
            module = importlib.import_module(name)
        except ImportError as error:
            raise ValueError(
                f"AGENTS names {name!r}, which cannot be imported ({error}). Is it installed, or on PYTHONPATH?"
            ) from error
        found = _agents_of(module)
        if not found:
            raise ValueError(f"AGENTS names {name!r}, which defines no Agent at its top level.")
        for agent in found:
            registry.add(agent)
    return registry


def _agents_of(module: ModuleType) -> list[Agent]:
    found = [value for value in vars(module).values() if isinstance(value, Agent)]
    return list(dict.fromkeys(found))
