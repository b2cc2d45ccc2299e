"""Streams a workflow's events as `text/event-stream`, from the database, so that they outlive every process."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any, Literal

import structlog
from pydantic import BaseModel, Field
from starlette.types import Receive, Scope, Send

from amrikyy.errors import Unavailable, error_of
from amrikyy.web.connection import Leaving
from amrikyy.web.errors import encode, error_body
from amrikyy.web.exchange import exchange_of, shed
from amrikyy.web.replies import ErrorBody, Wire, dollars
from amrikyy.web.sse import HEADERS, HEARTBEAT, HEARTBEAT_S, RETRY_MS, StallWatch
from amrikyy.web.workflow_replies import StepProgress, step_of
from amrikyy.workflows.records import ENDS, WorkflowEvent, WorkflowRecord
from amrikyy.workflows.workflows import Workflows

log = structlog.get_logger(__name__)


class WorkflowConnected(Wire):
    """The workflow is recorded and waits for its turn."""

    message: str
    workflow_id: str
    strategy: str
    total: int = Field(description="How many steps it has.")


class WorkflowStarted(Wire):
    """It has begun."""

    workflow_id: str


class StepEvent(Wire):
    """A step has begun or ended. Its output comes with its end."""

    step: str = Field(description="Its place in the plan.", examples=["steps.0"])
    status: Literal["running", "completed", "failed"]
    agent: str
    method: str | None
    progress: StepProgress
    reason: str | None = Field(default=None, description="Why the planner chose the method, if the plan named none.")
    input: Any = None
    assumed: dict[str, Any] = Field(default={}, description="The fields that the planner filled in, with their values.")
    output: Any = None
    error: dict[str, Any] | None = None
    run_id: str | None = None
    attempts: int = 0
    duration_ms: float | None = None
    cost_usd: float | None = None


class WorkflowComplete(Wire):
    """It has ended well."""

    workflow_id: str
    final_result: Any
    duration_ms: float
    cost_usd: float | None


class WorkflowReconnect(Wire):
    """This server is stopping, and another one goes on. The event has no id: resume after the last id received."""

    workflow_id: str
    retry_ms: int = Field(description="Milliseconds after which to ask again, with `Last-Event-ID`.")


WORKFLOW_EVENTS: dict[str, type[BaseModel]] = {
    "connected": WorkflowConnected,
    "started": WorkflowStarted,
    "step": StepEvent,
    "complete": WorkflowComplete,
    "error": ErrorBody,
    "reconnect": WorkflowReconnect,
}


class WorkflowStream:
    """The response that follows a workflow from event number `after` to its end. A disconnect does not affect it.

    A server that stops, or loses its database, sends `reconnect`: any other one can continue the stream.
    """

    def __init__(self, workflows: Workflows, record: WorkflowRecord, *, after: int = 0) -> None:
        self._workflows = workflows
        self._record = record
        self._after = after
        self._done = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Write the stream."""
        request_id = exchange_of(scope).request_id
        self._done = await self._workflows.ended_steps(self._record.id, until=self._after)
        writing = asyncio.get_running_loop().create_task(self._write(scope, send, request_id))
        leaving = Leaving(scope, receive, writing.cancel)
        self._leaving, self._stalled = leaving, StallWatch(leaving.cut)
        try:
            await asyncio.wait((writing,))
            if not writing.cancelled():
                writing.result()
        finally:
            writing.cancel()
            leaving.stop()
            self._stalled.stop()

    async def _write(self, scope: Scope, send: Send, request_id: str) -> None:
        leaving, stalled = self._leaving, self._stalled
        await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
        await send({"type": "http.response.body", "body": b"", "more_body": True})  # the first event may take long
        shed(scope)
        async for body in self._bodies(request_id):
            if leaving.may_stall:
                stalled.begin()
            await send({"type": "http.response.body", "body": body, "more_body": True})
            stalled.since = None
        await send({"type": "http.response.body", "body": b""})

    async def _bodies(self, request_id: str) -> AsyncIterator[bytes]:
        workflows, after = self._workflows, self._after
        while True:
            try:
                events = await workflows.events(self._record.id, after=after, timeout_s=HEARTBEAT_S)
            except Unavailable as error:
                log.warning("workflow_stream_broken_off", reason=error.message)
                yield self._reconnect()
                return
            if events:
                yield self._format(events, request_id)
                after = events[-1].number
                if events[-1].kind in ENDS:
                    return
            elif workflows.stopping:
                yield self._reconnect()
                return
            else:
                yield HEARTBEAT

    def _reconnect(self) -> bytes:
        return b"event: reconnect\ndata: %b\n\n" % encode({"workflowId": self._record.id, "retryMs": RETRY_MS})

    def _format(self, events: Sequence[WorkflowEvent], request_id: str) -> bytes:
        parts = []
        for event in events:
            name, data = self._describe(event, request_id)
            parts.append(
                b"id: %b:%d\nevent: %b\ndata: %b\n\n" % (self._record.id.encode(), event.number, name, encode(data))
            )
        return b"".join(parts)

    def _describe(self, event: WorkflowEvent, request_id: str) -> tuple[bytes, dict[str, Any]]:
        record, data = self._record, event.data
        match event.kind:
            case "queued":
                return b"connected", {
                    "message": "Workflow accepted",
                    "workflowId": record.id,
                    "strategy": record.strategy,
                    "total": record.total,
                }
            case "started":
                return b"started", {"workflowId": record.id}
            case "step_started":
                return b"step", {**data, "status": "running", "progress": self._progress()}
            case "step_completed" | "step_failed":
                self._done += 1
                status = event.kind.removeprefix("step_")
                step = {name: value for name, value in step_of(data).items() if name != "success"}
                return b"step", {**step, "status": status, "progress": self._progress()}
            case "completed":
                return b"complete", {
                    "workflowId": record.id,
                    "finalResult": data["finalResult"],
                    "durationMs": data["durationMs"],
                    "costUsd": dollars(data["costUsd"]),
                }
            case _:
                return b"error", error_body(error_of(data["error"]), request_id)

    def _progress(self) -> dict[str, int]:
        return {"done": self._done, "total": self._record.total}
