"""Turns an admitted request into a run: a new one, or the one that an earlier copy of the request started."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import msgspec

from amrikyy.agents.agent import Operation, Request
from amrikyy.auth.roles import Permission
from amrikyy.errors import BudgetSpent, ValidationFailed
from amrikyy.runs.restore import follow, restore
from amrikyy.runs.run import Run, new_run_id
from amrikyy.spend import Allowance
from amrikyy.web.endpoint import Call, Header
from amrikyy.web.idempotency import KEY, is_kept, once
from amrikyy.web.limits import charge, counted_caller

HEADERS = (
    Header(
        "Idempotency-Key",
        "A request that is sent again with the same key and body within 24 hours gets the run that the first one "
        "started; with another body it is a 409. An outcome of 5xx, and a cancelled run, are not kept.",
        r"^[\x21-\x7e]{1,255}$",
    ),
    Header("Prefer", "`respond-async`: the run goes on without its caller."),
    Header("Cache-Control", "`no-cache`: no result of an earlier request is used; `no-store`: and none is kept."),
)
"""The request headers that starting a run reads."""

COVERED_WITHIN_S = 2.0

_SHOWS = frozenset({"queued", "token", "partial"})


class Wishes(msgspec.Struct, frozen=True):
    """What the request's headers ask for.

    Attributes:
        key: Idempotency-Key.
        detached: `Prefer: respond-async` (RFC 7240): the run goes on without a reader.
        reuse: the run may use the result of an identical request; not with `Cache-Control: no-cache`.
        keep: identical requests may use the result of this one; not with `Cache-Control: no-store`.
    """

    key: str | None = None
    detached: bool = False
    reuse: bool = True
    keep: bool = True


NO_WISHES = Wishes()
_WISHED = (b"idempotency-key", b"prefer", b"cache-control")


def wishes_of(call: Call) -> Wishes:
    """Read the headers.

    Raises:
        ValidationFailed: the Idempotency-Key is malformed.
    """
    if call.exchange.headers.keys().isdisjoint(_WISHED):
        return NO_WISHES
    key = call.header(b"idempotency-key")
    detached, reuse, keep = False, True, True
    for name, value in call.scope["headers"]:
        if name == b"prefer":
            detached |= b"respond-async" in _tokens(value)
        elif name == b"cache-control":
            asked = _tokens(value)
            keep &= b"no-store" not in asked
            reuse &= keep and b"no-cache" not in asked
    if key is not None and not KEY.fullmatch(key):
        message = "1 to 255 visible ASCII characters, for example a UUID"
        detail = {"field": "Idempotency-Key", "message": message, "type": "header"}
        raise ValidationFailed("Correct this header and send the request again: Idempotency-Key.", details=[detail])
    return Wishes(key, detached, reuse, keep)


def room_for(operation: Operation[Any, Any]) -> Callable[[Call], None]:
    """An endpoint's `check_room` for an operation: a run that may be cached or joined may need no room.

    That is only looked up while the core is not saturated. It costs half as much as a run does, and a server that is
    asked for half as much again as it can do would be busy with refusing.
    """

    def check_room(call: Call) -> None:
        runtime = call.runtime
        slots = runtime.runner.slots
        if slots.is_full and (runtime.is_saturated or not (operation.cache_for and wishes_of(call).reuse)):
            slots.check()

    return check_room


async def launch(
    call: Call,
    operation: Operation[Any, Any],
    wishes: Wishes,
    *,
    streams: bool,
    request: Callable[[], Request] | None = None,
) -> Run:
    """Start a run, or find the one that an earlier request with the same Idempotency-Key started.

    Args:
        call: the request.
        operation: what to run.
        wishes: what its headers ask for.
        streams: somebody reads the events as they come.
        request: makes the operation's request, if it is not the body, for a run that is started.

    Raises:
        Conflict: the key was used with another body before.
        BudgetSpent: the stream's first call of a model is not covered.
        Unavailable: the run cannot be recorded, there is no room, or the server is stopping.
    """

    if wishes.key is None:
        run = await _start(call, operation, wishes, streams=streams, request=request)
    else:

        async def start(run_id: str) -> Run:
            if call.claim is not None:  # it looked like a repetition, but is a new run
                await charge(call, call.runtime.limits.table.operation(counted_caller(call), operation.key))
            return await _start(call, operation, wishes, streams=streams, request=request, run_id=run_id)

        run = await once(call, wishes.key, call.claim, new_id=new_run_id, find=partial(_find, call), start=start)
    headers = call.exchange.extra_headers
    headers.append((b"x-run-id", run.id.encode()))
    if operation.cache_for:
        call.exchange.cache = run.execution.cached or ("join" if run.joined else "miss" if wishes.reuse else "bypass")
    if wishes.detached:
        headers.append((b"preference-applied", b"respond-async"))
    call.exchange.run_id = run.id
    return run


def look_ahead(operation: Operation[Any, Any], *, streams: bool) -> Callable[[Call, Request], None]:
    """An endpoint's `looks_ahead`: looks up the cache for a request without a key while its limits are decided."""

    def look(call: Call, request: Request) -> None:
        wishes = wishes_of(call)
        if wishes.reuse:
            call.ahead = call.runtime.runner.look_ahead(
                operation, request, owner=call.principal.id, streams=streams or wishes.detached
            )

    return look


async def _start(
    call: Call,
    operation: Operation[Any, Any],
    wishes: Wishes,
    *,
    streams: bool,
    request: Callable[[], Request] | None,
    run_id: str | None = None,
) -> Run:
    asked = call.body if request is None else request()
    principal = call.principal
    allowance = allowance_of(call)
    call.exchange.traced = call.exchange.span is not None
    ahead, call.ahead = call.ahead, None
    began = time.perf_counter()
    run = await call.runtime.runner.start(
        operation,
        asked,
        owner=principal.id,
        streams=streams or wishes.detached,
        detached=wishes.detached,
        priority=Permission.AGENT_PRIORITY in principal.role.permissions,
        reuse=wishes.reuse,
        keep=wishes.keep,
        run_id=run_id,
        allowance=allowance,
        within=call.exchange.span,
        ahead=ahead,
    )
    if operation.cache_for:
        call.exchange.timings.append(("cache", (time.perf_counter() - began) * 1000))
    call.exchange.run = run
    if allowance is not None and streams and not run.joined:
        await _until_covered(run, allowance)
    return run


def allowance_of(call: Call) -> Allowance | None:
    """What the caller may spend; None if nothing limits it."""
    principal = call.principal
    return call.runtime.budgets.allowance(principal.id, principal.role)


async def _until_covered(run: Run, allowance: Allowance) -> None:
    """Wait until the run's first call is known to be covered or not, so that a refusal can still be an HTTP status.

    A run that calls no model, or has something to show before, is not delayed.
    """
    with suppress(TimeoutError):
        async with asyncio.timeout(COVERED_WITHIN_S):
            while not (allowance.granted or run.ended or run.execution.events[-1].kind in _SHOWS):
                await run.execution.changed()
    error = run.outcome.error if run.outcome is not None else None
    if isinstance(error, BudgetSpent) or (error is not None and error.code == "price_unknown"):
        raise error


async def _find(call: Call, run_id: str) -> Run | None:
    """The run that a key was claimed for; None if its outcome is not kept.

    Raises:
        NotFound: it is not recorded yet.
    """
    run = await _run_of(call, run_id)
    is_over = run is not None and run.outcome is not None and not is_kept(run.outcome.error)
    return None if is_over else run


async def _run_of(call: Call, run_id: str) -> Run | None:
    runtime = call.runtime
    if run := runtime.live.get(run_id):
        return run
    if runtime.shared_runs is not None and (run := await runtime.shared_runs.find(run_id)):
        # The outcome for a key must be in the database; this one is in Redis, and its process may have died since.
        recorded = not run.ended_elsewhere or await runtime.records.has_end(run.id, runtime.shared_runs.is_orphaned)
        return run if recorded else None
    record = await runtime.records.get(run_id, owner=None)
    return restore(record) if record.ended else follow(runtime.records, record)


def _tokens(value: bytes) -> set[bytes]:
    return {part.strip().lower() for part in value.split(b",")}
