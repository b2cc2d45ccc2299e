"""Which agents are served: the catalog's, and those of the modules named in AGENTS."""

import importlib
import os
import sysconfig
import traceback
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from types import ModuleType
from typing import Any, Literal

import pydantic
from pydantic import BaseModel, PydanticUserError

import amrikyy
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
            NotFound: there is none; the message names those that exist.
        """
        try:
            return self._agents[name]
        except KeyError:
            known = ", ".join(self._agents)
            raise NotFound(
                f"There is no agent {name[:64]!r}; the agents are {known}.", code="agent_not_found"
            ) from None

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
        ValueError: a module cannot be imported, has no agent, or one that cannot be served; the message says which
            and what to do.
    """
    registry = Registry()
    for name in CATALOG:
        for agent in _agents_of(importlib.import_module(f"amrikyy.agents.catalog.{name}")):
            registry.add(agent)
    for name in modules:
        found = _agents_of(_import(name))
        if not found:
            raise ValueError(f"AGENTS names {name!r}, which defines no Agent at its top level.")
        for agent in found:
            try:
                registry.add(agent)
                _check_schemas(agent)
            except ValueError as error:
                raise ValueError(f"AGENTS names {name!r}: {error}") from error
    return registry


def _import(name: str) -> ModuleType:
    if "/" in name or name.startswith("."):
        raise ValueError(f"AGENTS names {name!r}, which is not a module. Write it as for `import`: my_agents.chef.")
    try:
        return importlib.import_module(name)
    except ImportError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise ValueError(
                f"AGENTS names {name!r}, which cannot be found ({error}). Is it installed, or on PYTHONPATH?"
            ) from error
        raise ValueError(f"AGENTS names {name!r}, which cannot be imported: {_told(error)}") from error
    except (Exception, SystemExit) as error:
        raise ValueError(f"AGENTS names {name!r}, which cannot be imported: {_told(error)}") from error


def _told(error: BaseException) -> str:
    """What was wrong, and the line of the author's own code in which it was."""
    said = "".join(traceback.format_exception_only(error)).strip()
    own = [each for each in traceback.extract_tb(error.__traceback__) if _is_authors(each.filename)]
    return said if not own or isinstance(error, SyntaxError) else f"{said} ({own[-1].filename}, line {own[-1].lineno})"


def _is_authors(filename: str) -> bool:
    is_pythons = filename.startswith(_PYTHONS) and not filename.startswith(_INSTALLED)
    return not (is_pythons or filename.startswith(_LIBRARIES))


_PYTHONS = sysconfig.get_path("stdlib") + os.sep

_INSTALLED = (sysconfig.get_path("purelib"), sysconfig.get_path("platlib"))
"""Where packages are, an author's own too: often a folder within Python's."""

_LIBRARIES = ("<", *(f"{folder}{os.sep}" for folder in (*amrikyy.__path__, *pydantic.__path__)))
"""What an author's declarations call, and code that is in no file."""


def _check_schemas(agent: Agent) -> None:
    """See that each operation can be documented: one that cannot would take the whole OpenAPI document along.

    Raises:
        ValueError: naming the type that JSON has no schema for.
    """
    for operation in agent.operations.values():
        modes: list[tuple[type[BaseModel], Literal["validation", "serialization"]]] = [
            (operation.request_type, "validation"), (operation.result_type, "serialization"),
        ]  # fmt: skip
        for model, mode in modes:
            try:
                model.model_json_schema(mode=mode)
            except PydanticUserError as error:
                said = str(error).partition("\n")[0]
                raise ValueError(f"{operation.key}: {model.__name__} cannot be put into JSON: {said}") from error


def _agents_of(module: ModuleType) -> list[Agent]:
    found = [value for value in vars(module).values() if isinstance(value, Agent)]
    return list(dict.fromkeys(found))
