"""`/api/agents/{agent}/cache`: clears cached results, and warms the cache."""

import asyncio
from collections.abc import Mapping
from typing import Any

from pydantic import Field, ValidationError

from amrikyy.agents.agent import Agent, Request, values_of
from amrikyy.agents.planner import Choice
from amrikyy.agents.registry import Registry
from amrikyy.auth import Act
from amrikyy.auth.roles import Permission
from amrikyy.errors import MAX_DETAILS, AmrikyyError, NotFound, ValidationFailed
from amrikyy.runs.run import Run
from amrikyy.web.ask import Query
from amrikyy.web.endpoint import Answer, Call, Endpoint
from amrikyy.web.launch import allowance_of
from amrikyy.web.replies import Success, Wire

MAX_QUERIES = 50
"""The most queries in one body."""

AT_A_TIME = 4
"""How many queries run at the same time: warming must not take the slots of callers who wait for an answer."""


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

    queries: list[WarmQuery | Query] = Field(
        min_length=1, max_length=MAX_QUERIES, examples=[["flights from NYC to LAX", "hotels in Paris"]],
        description="Requests, or words in which the planner finds them.",
    )  # fmt: skip


class NotWarmed(Wire):
    """A query that failed."""

    query: int = Field(description="Its place in the list, from 0.")
    code: str
    message: str


class PlannedQuery(Wire):
    """What was made of a query in words."""

    query: int = Field(description="Its place in the list, from 0.")
    operation: str
    request: dict[str, Any]
    assumed: dict[str, Any]


class CacheWarmed(Success):
    """What is ready now."""

    agent: str
    warmed: int
    planned: list[PlannedQuery]
    failed: list[NotWarmed]
    message: str


def cache_endpoints(registry: Registry) -> list[Endpoint]:
    """The routes of this module."""

    async def clear(call: Call) -> Answer:
        agent = registry[call.params["agent"]]
        body: ClearCache = call.body
        await call.runtime.audit.record(Act(call.actor, "cache.clear", agent.name, {"pattern": body.pattern}))
        cleared = await call.runtime.cache.clear(agent.name, body.pattern)
        return CacheCleared(agent=agent.name, cleared=cleared, message=f"{cleared} results were forgotten.")

    async def warm(call: Call) -> Answer:
        agent = registry[call.params["agent"]]
        queries = await _parse(call, agent, call.body.queries)
        await call.runtime.audit.record(Act(call.actor, "cache.warm", agent.name, {"queries": len(queries)}))
        warmed, failed = await _warm(call, queries)
        message = f"{warmed} results are ready."
        planned = _planned(call.body.queries, queries)
        return CacheWarmed(agent=agent.name, warmed=warmed, planned=planned, failed=failed, message=message)

    return [
        Endpoint(method="POST", path="/api/agents/{agent}/cache/clear", handler=clear, needs=Permission.CACHE_MANAGE,
                 tag="Agents", summary="Forget cached results", body=ClearCache, answer=CacheCleared,
                 errors=(NotFound,)),
        Endpoint(method="POST", path="/api/agents/{agent}/cache/warm", handler=warm, needs=Permission.CACHE_MANAGE,
                 tag="Agents", summary="Run requests so that their results are ready", body=WarmCache,
                 answer=CacheWarmed, errors=(NotFound,),
                 description="Results of operations that are not shared are ready for the caller alone."),
    ]  # fmt: skip


async def _parse(call: Call, agent: Agent, queries: list[WarmQuery | str]) -> list[Choice]:
    """Parse all queries before any is run; planning, which may cost something, begins only once the rest is valid.

    Raises:
        ValidationFailed: naming every wrong field of every query.
        AmrikyyError: planning failed.
    """
    named = {number: _named(agent, query) for number, query in enumerate(queries) if isinstance(query, WarmQuery)}
    _refuse(named)
    places = asyncio.Semaphore(AT_A_TIME)
    operations = list(agent.operations.values())

    async def plan(words: str) -> Choice | AmrikyyError:
        async with places:
            try:
                return await call.runtime.planner.choose(
                    operations, words, owner=call.principal.id, allowance=allowance_of(call)
                )
            except AmrikyyError as error:
                return error  # raised, it would leave the task group as an exception group

    async with asyncio.TaskGroup() as group:
        said = [(number, query) for number, query in enumerate(queries) if isinstance(query, str)]
        tasks = {number: group.create_task(plan(words)) for number, words in said}
    planned = {number: task.result() for number, task in tasks.items()}
    _refuse(planned)
    found = named | planned
    return [choice for number in range(len(queries)) if isinstance(choice := found[number], Choice)]


def _named(agent: Agent, query: WarmQuery) -> Choice | AmrikyyError:
    try:
        operation = agent[query.operation]
    except NotFound as error:
        detail = {"field": "operation", "message": error.message, "type": error.code}
        return ValidationFailed(error.message, details=[detail])
    try:
        return Choice(operation, operation.request_type.model_validate(query.request), {})
    except ValidationError as error:
        found = ValidationFailed.from_pydantic(error, operation.request_type)
        found.details = [detail | {"field": f"request.{detail['field']}"} for detail in found.details]
        return found


def _refuse(parsed: Mapping[int, Choice | AmrikyyError]) -> None:
    failed = {number: each for number, each in parsed.items() if isinstance(each, AmrikyyError)}
    if not failed:
        return
    wrong = []
    for number, error in failed.items():
        if not isinstance(error, ValidationFailed):
            raise error
        wrong += [detail | {"field": f"queries.{number}.{detail['field']}"} for detail in error.details]
    raise ValidationFailed.of(wrong[:MAX_DETAILS])


def _planned(queries: list[WarmQuery | str], choices: list[Choice]) -> list[PlannedQuery]:
    return [
        PlannedQuery(
            query=number,
            operation=choice.operation.name,
            request=values_of(choice.request),
            assumed=choice.assumed,
        )
        for number, (query, choice) in enumerate(zip(queries, choices, strict=True))
        if isinstance(query, str)
    ]


async def _warm(call: Call, queries: list[Choice]) -> tuple[int, list[NotWarmed]]:
    call.exchange.traced = call.exchange.span is not None
    places = asyncio.Semaphore(AT_A_TIME)
    failed: list[NotWarmed] = []
    runs: list[Run] = []

    async def warm(number: int, choice: Choice) -> None:
        async with places:
            try:
                run = await call.runtime.runner.start(
                    choice.operation,
                    choice.request,
                    owner=call.principal.id,
                    streams=True,
                    allowance=allowance_of(call),
                    within=call.exchange.span,
                )
                runs.append(run)
                error = (await run.wait()).error
            except AmrikyyError as refused:
                error = refused
        if error is not None:
            failed.append(NotWarmed(query=number, code=error.code, message=error.message))

    try:
        await asyncio.gather(*(warm(number, query) for number, query in enumerate(queries)))
    except asyncio.CancelledError:
        for run in runs:
            run.cancel("The server is stopping.")
        raise
    failed.sort(key=lambda each: each.query)
    return len(queries) - len(failed), failed
