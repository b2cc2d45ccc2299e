"""`/api/stream`: runs an operation as a stream of events, resumes streams, and cancels runs."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from starlette.responses import Response

from amrikyy.agents.agent import Operation, values_of
from amrikyy.agents.registry import Registry
from amrikyy.auth import Act
from amrikyy.auth.roles import Permission
from amrikyy.errors import Conflict, Gone, HandedOver, NotFound, RunLost, Unavailable, ValidationFailed, error_of
from amrikyy.runs.events import Event
from amrikyy.runs.lost import ERROR as LOST
from amrikyy.runs.record import RunRecord
from amrikyy.runs.restore import restore
from amrikyy.runs.run import Run, began_at
from amrikyy.web.endpoint import Answer, Call, Endpoint
from amrikyy.web.events import events_of
from amrikyy.web.last_event import RUN_EVENT_ID, last_event_id
from amrikyy.web.launch import HEADERS, launch, look_ahead, room_for, wishes_of
from amrikyy.web.recording import end_recorder
from amrikyy.web.replies import Success
from amrikyy.web.sse import EventStream, EventWriter

GUIDE_NAMES = {
    "/api/stream/blog": "content.generateBlogPost",
    "/api/stream/itinerary": "travel.generateItinerary",
    "/api/stream/recommendations": "travel.getDestinationRecommendations",
}
"""The guide's short names for three of the streams."""

_EVENTS = """The events, in this order; each has the id `<runId>:<seq>`, counted from 1 without a gap:

* `connected` `{message, runId, agent, operation}`
* `queued` `{position}` while the server is full
* %s
* `progress` `{progress, message}`: percent, which never falls
* at the end exactly one of `complete` `{totalTokens, duration, usage, costUsd, model, cached, result}` or
  `error` (the body that an HTTP error would have; `code` says what failed)

A server that stops while another one works on the run says `reconnect` `{runId, retryMs}`, which has no id, instead.
A comment line is sent after 15 s of silence. Whoever was cut off sends the same request, or `GET /api/stream/{runId}`,
with `Last-Event-ID` and gets exactly what it has not seen."""

_RESUME = """The events after `Last-Event-ID` (without it, all), then live. A stream whose server process died ends with
`error`, run_lost. A run can be taken up until some minutes after its end (STREAM_RESUME_S)."""

RECORDED_WITHIN = timedelta(seconds=5)
"""By then a run that another process has started is in the database, normally within some 100 ms."""

CAUGHT_UP_WITHIN_S = 5.0
"""By then a process that has died has no heartbeat (`runs.shared.presence.ALIVE_S`); a live one has written."""

ATTEMPTS = 4
ATTEMPT_AFTER_S = 0.15

_CANCELLED = "The run was cancelled by its caller."

NOTHING_LEFT = {204: ("The last event has been received already.", None)}


class RunGone(Gone):
    """The run is unknown, or its events are no longer kept."""

    code = "run_gone"


class Cancelled(Success):
    """The run was cancelled."""

    run_id: str
    message: str


def stream_endpoints(registry: Registry) -> list[Endpoint]:
    """The routes of this module; each operation has its own."""
    operations = {operation.key: operation for operation in registry.operations()}

    async def no_such_operation(call: Call) -> Answer:
        _ = registry[call.params["agent"]][call.params["operation"]]
        raise AssertionError("an operation that exists has a route of its own")

    async def no_such_name(_: Call) -> Answer:
        short = ", ".join(path.rpartition("/")[2] for path in GUIDE_NAMES)
        raise NotFound(f"The streams are {short}, and /api/stream/{{agent}}/{{operation}}.", code="no_such_path")

    return [
        *(_stream_endpoint(path, operations[key]) for path, key in GUIDE_NAMES.items() if key in operations),
        *(_stream_endpoint(f"/api/stream/{each.agent}/{each.name}", each) for each in operations.values()),
        Endpoint(
            method="POST", path="/api/stream/{agent}/{operation}", handler=no_such_operation,
            needs=Permission.AGENT_STREAMING, tag="Streaming", summary="Explain that there is no such operation",
            hidden=True,
        ),
        Endpoint(
            method="POST", path="/api/stream/{runId}", handler=no_such_name, needs=Permission.AGENT_STREAMING,
            tag="Streaming", summary="Explain that there is no such stream", hidden=True,
        ),
        Endpoint(
            method="GET", path="/api/stream/{runId}", handler=resume, needs=Permission.AGENT_STREAMING,
            tag="Streaming", summary="Take up the stream of a run", description=_RESUME,
            media_type="text/event-stream", events=events_of(), headers=(RUN_EVENT_ID,), also=NOTHING_LEFT,
            errors=(ValidationFailed, Conflict, RunGone, Unavailable),
        ),
        Endpoint(
            method="DELETE", path="/api/stream/{runId}", handler=cancel, needs=Permission.AGENT_READ, tag="Streaming",
            summary="Cancel a run", answer=Cancelled, errors=(NotFound, Conflict, Unavailable),
            description="The connection to the model is closed at once; readers get an `error` event, run_cancelled.",
        ),
    ]  # fmt: skip


async def resume(call: Call) -> Answer:
    """Resume the stream of one of the caller's runs."""
    run_id = call.params["runId"]
    seen_run, after = last_event_id(call, "run") or (run_id, 0)
    if seen_run != run_id:
        raise Conflict("Last-Event-ID belongs to another run than the path.", code="other_run")
    return await resumed(call, run_id, after)


async def cancel(call: Call) -> Answer:
    """Cancel one of the caller's runs."""
    run_id = call.params["runId"]
    run = owned_run(call, run_id)
    await _note_if_anothers(call, run_id, run)
    if not (run.cancel(_CANCELLED) if run is not None else await _cancel_elsewhere(call, run_id)):
        ended = run if run is not None else await call.runtime.records.get(run_id, owner=visible_to(call))
        raise Conflict(f"The run has already ended: it is {ended.status}.", code="run_ended")
    call.exchange.run_id = run_id
    return Cancelled(run_id=run_id, message="The run is being cancelled.")


async def _note_if_anothers(call: Call, run_id: str, run: Run | None) -> None:
    """Audit the cancellation of somebody else's run by an administrator."""
    if visible_to(call) is not None:
        return
    try:
        found: Run | RunRecord = run or await call.runtime.records.get(run_id, owner=None)
    except NotFound:
        return
    if found.owner != call.principal.id and not found.ended:
        await call.runtime.audit.record(Act(call.actor, "run.cancel", run_id, {"owner": found.owner}))


async def _cancel_elsewhere(call: Call, run_id: str) -> bool:
    """Have another process cancel a run. Returns False if it has ended.

    Raises:
        NotFound: it does not exist, or is not the caller's.
        Unavailable: the process that works on it cannot be reached.
    """
    shared = call.runtime.shared_runs
    for attempt in range(ATTEMPTS):
        if shared is not None and await shared.cancel(run_id, _CANCELLED, owner=visible_to(call)):
            return True
        try:
            if (await call.runtime.records.get(run_id, owner=visible_to(call))).ended:
                return False
        except NotFound:
            if attempt == ATTEMPTS - 1 or datetime.now(UTC) - began_at(run_id) > RECORDED_WITHIN:
                raise
        if shared is not None and attempt < ATTEMPTS - 1:  # it has just begun, and will be published in a moment
            await asyncio.sleep(ATTEMPT_AFTER_S)
    raise Unavailable(
        "Another process works on this run and cannot be told. Try again; with REDIS_URL every process can be.",
        code="run_elsewhere",
        retry_after_s=1,
    )


def visible_to(call: Call) -> str | None:
    """The owner whose runs the caller may see; None for everybody's."""
    return None if Permission.AGENT_MANAGE in call.principal.role.permissions else call.principal.id


def owned_run(call: Call, run_id: str) -> Run | None:
    """The run, if this process has it and the caller may see it."""
    run = call.runtime.live.get(run_id)
    return run if run is not None and visible_to(call) in (None, run.owner) else None


def _stream_endpoint(path: str, operation: Operation[Any, Any]) -> Endpoint:
    async def stream_operation(call: Call) -> Answer:
        wishes = wishes_of(call)
        if (seen := last_event_id(call, "run")) is not None:
            return await resumed(call, *seen, lambda run: _is_of(run, operation, call.body))
        run = await launch(call, operation, wishes, streams=True)
        grace_s, recorded = call.runtime.settings.stream_grace_s, end_recorder(call, run, wishes)
        return EventStream(run, call.runtime.metrics, grace_s=grace_s, before_end=recorded)

    growth = (
        "`token` `{chunk}`: the next piece of the text"
        if operation.writes_text
        else "`partial` `{data}`: the result so far, at most ten a second"
    )
    return Endpoint(
        method="POST", path=path, handler=stream_operation, needs=Permission.AGENT_STREAMING, tag="Streaming",
        summary=f"{operation.description.rstrip('.')}, as a stream", description=_EVENTS.replace("%s", growth),
        operation=operation.key, looks_ahead=look_ahead(operation, streams=True), check_room=room_for(operation),
        body=operation.request_type, media_type="text/event-stream", events=events_of(operation),
        headers=(RUN_EVENT_ID, *HEADERS), also=NOTHING_LEFT, errors=(NotFound, Conflict, RunGone, Unavailable),
    )  # fmt: skip


async def resumed(call: Call, run_id: str, after: int, is_same: Callable[[Run], bool] = lambda _: True) -> Answer:
    """The stream of a run after event `after`; `is_same` tells whether the request is the one that started the run."""
    run = call.runtime.live.get(run_id)
    lost = None
    if run is None and call.runtime.shared_runs is not None:
        run = await call.runtime.shared_runs.find(run_id)
    if run is None:
        lost, run = await _recorded(call, run_id)
    if visible_to(call) not in (None, run.owner):
        raise NotFound("There is no such run, or it is not yours.", code="run_not_found")
    if not is_same(run):
        raise Conflict(
            "Last-Event-ID belongs to a run that another request started. Send the same body, or leave the header out.",
            code="other_request",
        )
    call.exchange.run_id = run_id
    call.exchange.extra_headers.append((b"x-run-id", run_id.encode()))
    if run.elsewhere and after > run.event_count and not run.ended:
        lost = await _caught_up(call, run, after)
    if lost is not None:
        body = EventWriter(run, call.exchange.request_id).write(after + 1, [lost])
        return Response(body, media_type="text/event-stream")
    if run.ended and after >= run.event_count:
        return Response(status_code=204)
    if after > run.event_count:
        message = f"The run has {run.event_count} events so far, so number {after} cannot have been seen."
        raise Conflict(message, code="no_such_event")
    return EventStream(run, call.runtime.metrics, grace_s=call.runtime.settings.stream_grace_s, after=after)


async def _caught_up(call: Call, run: Run, after: int) -> Event | None:
    """Wait for events of another process' run that its caller has seen but Redis does not have.

    They were shown while Redis was away, and that process, if it is alive, writes them when Redis is back.

    Returns:
        the event that the stream ends with, if the process is dead.

    Raises:
        Unavailable: neither is known in time, and Redis was away until just now; or this process stops.
    """
    shared, is_orphaned = call.runtime.shared_runs, False
    try:
        with suppress(TimeoutError):
            async with asyncio.timeout(CAUGHT_UP_WITHIN_S):
                while not run.ended and run.event_count < after:
                    await run.execution.changed()
        if not run.ended and run.event_count < after and shared is not None and shared.is_settled:
            # Those who follow its run give a process as long again, in case that it has to reconnect.
            is_orphaned = await shared.is_orphaned(run.id)
    finally:
        if run.event_count < after:  # it will not be read
            run.cancel("It does not have the event after which its reader wants to go on.")
    if not run.ended and run.event_count < after and shared is not None:
        if not shared.is_settled:
            raise _out_of_reach()
        if is_orphaned:
            return Event("failed", error_of(LOST))
    error = run.outcome.error if run.outcome is not None else None
    if isinstance(error, HandedOver):
        raise error
    return Event("failed", error) if error is not None and error.code == RunLost.code else None


async def _recorded(call: Call, run_id: str) -> tuple[Event | None, Run]:
    """A run from its record: with the event that its stream ends with if its process died, else only with its end."""
    shared = call.runtime.shared_runs
    hidden = shared is not None and not shared.is_settled
    try:
        record = await call.runtime.records.get(run_id, owner=None)
    except NotFound:
        if hidden and datetime.now(UTC) - began_at(run_id) < RECORDED_WITHIN:
            raise _out_of_reach() from None
        raise RunGone("There is no such run any more. Start a new one without Last-Event-ID.") from None
    if visible_to(call) not in (None, record.owner):
        raise NotFound("There is no such run, or it is not yours.", code="run_not_found")
    if not record.ended:
        raise Unavailable(
            "Another process works on this run and has its events. Try again; with REDIS_URL every process has them.",
            code="run_elsewhere",
            retry_after_s=1,
        )
    if call.runtime.live.is_plain(run_id):
        return None, restore(record)
    if not record.lost:
        kept_for = timedelta(seconds=call.runtime.settings.stream_resume_s + (record.duration_ms or 0) / 1000)
        if hidden and datetime.now(UTC) - record.started_at < kept_for:
            raise _out_of_reach()
        raise RunGone(f"The events of this run are no longer kept. GET /api/runs/{run_id} has its result.")
    return Event("failed", error_of(record.error)), restore(record)


def _out_of_reach() -> Unavailable:
    """The error for a run that cannot be seen while Redis is away; one that says that it is gone would be final."""
    return Unavailable(
        "Redis is away, or has just come back, so the events of other processes' runs cannot be read yet. Try again.",
        code="run_elsewhere",
        retry_after_s=1,
    )


def _is_of(run: Run, operation: Operation[Any, Any], body: Any) -> bool:
    is_of = (run.agent, run.operation) == (operation.agent, operation.name)
    return is_of and bool(msgspec.json.decode(run.request) == values_of(body))
