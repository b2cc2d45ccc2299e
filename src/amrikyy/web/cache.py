"""`/api/agents/{agent}/cache`: forgetting results, and having them made before somebody asks."""

import asyncio
from typing import Any

from pydantic import Field, ValidationError

from amrikyy.agents.agent import Agent, Operation, Request
from amrikyy.agents.registry import Registry
from amrikyy.auth import Act
from amrikyy.auth.roles import Permission
from amrikyy.errors import AmrikyyError, NotFound, ValidationFailed
from amrikyy.runs.run import Run
from amrikyy.web.endpoint import Answer, Call, Endpoint
from amrikyy.web.replies import Success, Wire

MAX_QUERIES = 50
"""Requests in one body."""

AT_A_TIME = 4
"""How many of them run at the same time: warming must not take the places of those who wait for an answer."""


class ClearCache(Request):
    """Which results to forget."""

    pattern: str | None = Field(
        default=None, min_length=1, max_length=200, examples=["travel:*"],
        description="A glob on the keys, `agent:operation:…`; without it, all of the agent's.",
    )  # fmt: skip


class CacheCleared(Success):
    """Results were forgotten."""

    agent: str
    cleared: int
    message: str


class WarmQuery(Request):
    """A request to run before somebody makes it."""

    operation: str = Field(min_length=1, max_length=64, examples=["searchHotels"])
    request: dict[str, Any]


class WarmCache(Request):
    """What to have ready."""

    queries: list[WarmQuery | str] = Field(min_length=1, max_length=MAX_QUERIES)


class NotWarmed(Wire):
    """A query that failed."""

    query: int = Field(description="Its place in the list, from 0.")
    code: str
    message: str


class CacheWarmed(Success):
    """What is ready now."""

    agent: str
    warmed: int
    failed: list[NotWarmed]
    message: str


def cache_endpoints(registry: Registry) -> list[Endpoint]:
    """The routes of this file."""

    async def clear(call: Call) -> Answer:
        agent = registry[call.params["agent"]]
        body: ClearCache = call.body
        await call.runtime.audit.record(Act(call.actor, "cache.clear", agent.name, {"pattern": body.pattern}))
        cleared = await call.runtime.cache.clear(agent.name, body.pattern)
        return CacheCleared(agent=agent.name, cleared=cleared, message=f"{cleared} results were forgotten.")

    async def warm(call: Call) -> Answer:
        agent = registry[call.params["agent"]]
        queries = _parse(agent, call.body.queries)
        await call.runtime.audit.record(Act(call.actor, "cache.warm", agent.name, {"queries": len(queries)}))
        return await _warm(call, agent, queries)

    return [
        Endpoint(method="POST", path="/api/agents/{agent}/cache/clear", handler=clear, needs=Permission.CACHE_MANAGE,
                 tag="Agents", summary="Forget cached results", body=ClearCache, answer=CacheCleared,
                 errors=(NotFound,)),
        Endpoint(method="POST", path="/api/agents/{agent}/cache/warm", handler=warm, needs=Permission.CACHE_MANAGE,
                 tag="Agents", summary="Run requests so that their results are ready", body=WarmCache,
                 answer=CacheWarmed, errors=(NotFound,),
                 description="Results of operations that are not shared are ready for the caller alone."),
    ]  # fmt: skip


def _parse(agent: Agent, queries: list[WarmQuery | str]) -> list[tuple[Operation[Any, Any], Request]]:
    """All of them, before any is run.

    Raises:
        ValidationFailed: naming every wrong field of every query.
    """
    parsed = []
    wrong: list[dict[str, Any]] = []
    for number, query in enumerate(queries):
        where = f"queries.{number}"
        if isinstance(query, str):
            message = "Not free text in this version: an object {operation, request}"
            wrong.append({"field": where, "message": message, "type": "object_expected"})
            continue
        try:
            operation = agent[query.operation]
            parsed.append((operation, operation.request_type.model_validate(query.request)))
        except NotFound as error:
            wrong.append({"field": f"{where}.operation", "message": error.message, "type": error.code})
        except ValidationError as error:
            found = ValidationFailed.from_pydantic(error, operation.request_type).details
            wrong += [detail | {"field": f"{where}.request.{detail['field']}"} for detail in found]
    if wrong:
        names = ", ".join(detail["field"] for detail in wrong)
        raise ValidationFailed(f"Correct these fields and send the request again: {names}.", details=wrong)
    return parsed


async def _warm(call: Call, agent: Agent, queries: list[tuple[Operation[Any, Any], Request]]) -> CacheWarmed:
    places = asyncio.Semaphore(AT_A_TIME)
    failed: list[NotWarmed] = []
    runs: list[Run] = []

    async def warm(number: int, operation: Operation[Any, Any], request: Request) -> None:
        async with places:
            try:
                run = await call.runtime.runner.start(operation, request, owner=call.principal.id, streams=True)
                runs.append(run)
                error = (await run.wait()).error
            except AmrikyyError as refused:
                error = refused
        if error is not None:
            failed.append(NotWarmed(query=number, code=error.code, message=error.message))

    try:
        await asyncio.gather(*(warm(number, *query) for number, query in enumerate(queries)))
    except asyncio.CancelledError:
        for run in runs:
            run.cancel("The server is stopping.")
        raise
    warmed = len(queries) - len(failed)
    failed.sort(key=lambda each: each.query)
    return CacheWarmed(agent=agent.name, warmed=warmed, failed=failed, message=f"{warmed} results are ready.")
