"""`/api/agents`: lists the agents, and runs operations that answer in JSON."""

import asyncio
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field, create_model
from starlette.requests import ClientDisconnect

from amrikyy.agents.agent import Operation
from amrikyy.agents.registry import Registry
from amrikyy.auth.roles import Permission
from amrikyy.errors import (
    AmrikyyError,
    BudgetSpent,
    Conflict,
    ContextTooLong,
    DeadlineExceeded,
    ModelCircuitOpen,
    ModelError,
    ModelTimeout,
    RunCancelled,
    Unavailable,
)
from amrikyy.runs.run import Run
from amrikyy.web.connection import Leaving
from amrikyy.web.endpoint import Answer, Call, Endpoint, JsonBytes
from amrikyy.web.errors import encode
from amrikyy.web.launch import HEADERS, launch, look_ahead, room_for, wishes_of
from amrikyy.web.recording import Accepted, accepted, record_end
from amrikyy.web.replies import Success, TokenUsage, Wire, reply

RUN_ERRORS: tuple[type[AmrikyyError], ...] = (
    ContextTooLong, BudgetSpent, RunCancelled, ModelError, ModelCircuitOpen, Unavailable, ModelTimeout,
    DeadlineExceeded,
)  # fmt: skip
"""The errors that a run of any operation can end with."""


class OperationReply(Success):
    """What running an operation answers."""

    agent: str
    operation: str
    run_id: str
    result: Any
    model: str | None = Field(description='The model that answered; "offline" is the built-in one, which is not an AI.')
    usage: TokenUsage
    cost_usd: float | None = Field(description="US dollars; null when the model's price is not known.")
    cached: bool
    duration: str = Field(examples=["2.5s"])


class OperationInfo(Wire):
    """One operation in the list of agents."""

    name: str
    description: str
    limit: str | None = Field(description="How often one caller may run it.", examples=["20/minute"])
    cache_seconds: int = Field(description="How long a result stays good; 0 means it is never cached.")
    streaming: Literal["tokens", "partials"] = Field(description="What its stream consists of.")


class AgentInfo(Wire):
    """One agent in the list of agents."""

    name: str
    description: str
    registered_at: datetime
    capabilities: list[str]
    metadata: dict[str, str]
    operations: list[OperationInfo]


class AgentList(Success):
    """All agents that this server serves."""

    count: int
    agents: list[AgentInfo]


def agent_endpoints(registry: Registry) -> list[Endpoint]:
    """The routes of this module; each operation has its own."""
    listing = _listing(registry)

    async def list_agents(_: Call) -> Answer:
        return JsonBytes(listing)

    async def no_such_operation(call: Call) -> Answer:
        _ = registry[call.params["agent"]][call.params["operation"]]
        raise AssertionError("an operation that exists has a route of its own")

    return [
        Endpoint(
            method="GET", path="/api/agents/list", handler=list_agents, needs=Permission.AGENT_READ, tag="Agents",
            summary="List all registered agents", answer=AgentList,
        ),
        *(_operation_endpoint(operation) for operation in registry.operations()),
        Endpoint(
            method="POST", path="/api/agents/{agent}/{operation}", handler=no_such_operation,
            needs=Permission.AGENT_EXECUTE, tag="Agents", summary="Explain that there is no such operation",
            hidden=True,
        ),
    ]  # fmt: skip


def reply_type(operation: Operation[Any, Any]) -> type[BaseModel]:
    """The type of an operation's JSON answer, with the operation's own result type."""
    name = f"{operation.agent.title()}{operation.name[0].upper()}{operation.name[1:]}Reply".replace("-", "")
    return create_model(name, __base__=OperationReply, result=(operation.result_type, ...))


def _operation_endpoint(operation: Operation[Any, Any]) -> Endpoint:
    async def run_operation(call: Call) -> Answer:
        wishes = wishes_of(call)
        run = await launch(call, operation, wishes, streams=False)
        if wishes.detached:
            return await accepted(call, run)
        error = await end_of(run, call, goes_on=wishes.key is not None)
        await record_end(call, run, wishes)
        if error is not None:
            raise error
        return JsonBytes(encode(reply(run)))

    return Endpoint(
        method="POST", path=f"/api/agents/{operation.agent}/{operation.name}", handler=run_operation,
        needs=Permission.AGENT_EXECUTE, tag=operation.agent.title(), summary=operation.description,
        operation=operation.key, looks_ahead=look_ahead(operation, streams=False), check_room=room_for(operation),
        body=operation.request_type, answer=reply_type(operation), headers=HEADERS,
        also={202: ("The run has begun; `Location` is where to look it up.", Accepted)},
        errors=(Conflict, *RUN_ERRORS, *operation.raises),
    )  # fmt: skip


async def end_of(run: Run, call: Call, *, goes_on: bool, stage: str = "model") -> AmrikyyError | None:
    """Wait for the end of the run; if the caller disconnects, the run is cancelled, unless it `goes_on`.

    One in another process always goes on, and is only not followed any more.
    `stage` is what `Server-Timing` calls it.
    """

    def cancel() -> None:
        if not goes_on or run.elsewhere:
            run.cancel("The caller disconnected.")

    leaving = Leaving(call.scope, call.receive, cancel)
    try:
        outcome = await run.wait()
    except asyncio.CancelledError:
        run.cancel("The server is stopping.")
        raise
    finally:
        leaving.stop()
    call.exchange.timings.append((stage, run.elapsed_s * 1000))
    if run.execution.cached == "stale":
        call.exchange.cache = "stale"
    if leaving.has_left and isinstance(outcome.error, RunCancelled):
        raise ClientDisconnect
    return outcome.error


def _listing(registry: Registry) -> bytes:
    """The encoded list of agents, which does not change while the process lives."""
    agents = [
        AgentInfo(
            name=agent.name,
            description=agent.description,
            registered_at=registry.registered_at[agent.name],
            capabilities=list(agent.capabilities),
            metadata=agent.metadata,
            operations=[
                OperationInfo(
                    name=operation.name,
                    description=operation.description,
                    limit=str(operation.limit or agent.limit) if operation.limit or agent.limit else None,
                    cache_seconds=int(operation.cache_for.total_seconds()),
                    streaming="tokens" if operation.writes_text else "partials",
                )
                for operation in agent.operations.values()
            ],
        )
        for agent in registry
    ]
    return AgentList(count=len(agents), agents=agents).model_dump_json(by_alias=True).encode()
