"""`/api/stream`: running an operation as a stream of events, and cancelling a run."""

from typing import Any

from amrikyy.agents.agent import Operation
from amrikyy.agents.registry import Registry
from amrikyy.auth.roles import Permission
from amrikyy.errors import Conflict, NotFound
from amrikyy.runs.run import Run
from amrikyy.web.endpoint import Answer, Call, Endpoint
from amrikyy.web.replies import Success
from amrikyy.web.sse import EventStream

GUIDE_NAMES = {
    "/api/stream/blog": "content.generateBlogPost",
    "/api/stream/itinerary": "travel.generateItinerary",
    "/api/stream/recommendations": "travel.getDestinationRecommendations",
}
"""The guide's short names for three of the streams."""

_EVENTS = """The events, in this order; each has the id `<runId>:<seq>`, counted from 1 without a gap:

* `connected` `{message, runId, agent, operation}`
* %s
* `progress` `{progress, message}`: percent, which never falls
* at the end exactly one of `complete` `{totalTokens, duration, usage, costUsd, model, cached, result}` or
  `error` (the body that an HTTP error would have; `code` says what failed)

A comment line is sent after 15 s of silence."""


class Cancelled(Success):
    """The run was cancelled."""

    run_id: str
    message: str


def stream_endpoints(registry: Registry) -> list[Endpoint]:
    """The routes of this file; each operation has one of its own."""
    operations = {operation.key: operation for operation in registry.operations()}

    async def no_such_operation(call: Call) -> Answer:
        _ = registry[call.params["agent"]][call.params["operation"]]
        raise AssertionError("an operation that exists has a route of its own")

    return [
        *(_stream_endpoint(path, operations[key]) for path, key in GUIDE_NAMES.items() if key in operations),
        *(_stream_endpoint(f"/api/stream/{each.agent}/{each.name}", each) for each in operations.values()),
        Endpoint(
            method="POST", path="/api/stream/{agent}/{operation}", handler=no_such_operation,
            needs=Permission.AGENT_STREAMING, tag="Streaming", summary="Explain that there is no such operation",
            hidden=True,
        ),
        Endpoint(
            method="DELETE", path="/api/stream/{runId}", handler=cancel, needs=Permission.AGENT_READ, tag="Streaming",
            summary="Cancel a run", answer=Cancelled, errors=(NotFound, Conflict),
            description="The connection to the model is closed at once; readers get an `error` event, run_cancelled.",
        ),
    ]  # fmt: skip


async def cancel(call: Call) -> Answer:
    """Cancel a run of the caller's."""
    run_id = call.params["runId"]
    run = owned_run(call, run_id)
    if run is None or not run.cancel("The run was cancelled by its caller."):
        record = await call.runtime.records.get(run_id, owner=visible_to(call))
        raise Conflict(f"The run has already ended: it is {record.status}.", code="run_ended")
    call.exchange.run_id = run_id
    return Cancelled(run_id=run_id, message="The run is being cancelled.")


def visible_to(call: Call) -> str | None:
    """Whose runs the caller may see: None for everybody's."""
    return None if Permission.AGENT_MANAGE in call.principal.permissions else call.principal.id


def owned_run(call: Call, run_id: str) -> Run | None:
    """The run, if this process has it and the caller may see it."""
    run = call.runtime.live.get(run_id)
    return run if run is not None and visible_to(call) in (None, run.owner) else None


def _stream_endpoint(path: str, operation: Operation[Any, Any]) -> Endpoint:
    async def stream_operation(call: Call) -> Answer:
        runtime = call.runtime
        run = runtime.runner.start(operation, call.body, owner=call.principal.id, streams=True)
        return EventStream(run, grace_s=runtime.settings.stream_grace_s)

    growth = (
        "`token` `{chunk}`: the next piece of the text"
        if operation.writes_text
        else "`partial` `{data}`: the result so far, at most ten a second"
    )
    return Endpoint(
        method="POST", path=path, handler=stream_operation, needs=Permission.AGENT_STREAMING, tag="Streaming",
        summary=f"{operation.description.rstrip('.')}, as a stream", description=_EVENTS % growth,
        body=operation.request_type, media_type="text/event-stream",
    )  # fmt: skip
