"""Makes sure that a run, or the end of a run, is in the database before its caller is told of it."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog
from pydantic import Field
from starlette.responses import Response

from amrikyy.errors import Unavailable
from amrikyy.runs.run import Run
from amrikyy.web.endpoint import Call
from amrikyy.web.launch import Wishes
from amrikyy.web.replies import Success

log = structlog.get_logger(__name__)

STREAM_RECORDED_WITHIN_S = 5.0


class Accepted(Success):
    """The run has begun and goes on without its caller. `GET /api/runs/{runId}` tells how it is."""

    run_id: str
    agent: str
    operation: str
    status: str = Field(examples=["running"])


async def accepted(call: Call, run: Run) -> Response:
    """The 202 response, with where to look the run up.

    Raises:
        Unavailable: it could not be recorded, and was cancelled.
    """
    await record_accepted(call, run)
    content = accepted_body(run).model_dump_json(by_alias=True)
    return Response(content, 202, {"location": f"/api/runs/{run.id}"}, "application/json")


async def record_accepted(call: Call, run: Run) -> None:
    """Wait until the run is in the database, so that its caller can look it up even if this process dies now.

    Raises:
        Unavailable: it cannot be recorded, and was cancelled.
    """
    try:
        await call.runtime.records.flush()
    except Unavailable:
        run.cancel("It could not be recorded, and so it was not accepted.")
        raise


async def record_end(call: Call, run: Run, wishes: Wishes) -> None:
    """Wait until the end of a run is in the database, if that is promised.

    Raises:
        Unavailable: it cannot be recorded now. The run has ended nevertheless, and its record will be written.
    """
    if not _end_is_promised(call, wishes):
        return
    try:
        await _recorded(call, run)
    except Unavailable as error:
        raise Unavailable(
            f"The run {run.id} has ended, but its end cannot be recorded at the moment. Ask for it later: "
            f"send the request again with the same Idempotency-Key, or GET /api/runs/{run.id}.",
            code=error.code,
            retry_after_s=error.retry_after_s,
        ) from error


def end_recorder(call: Call, run: Run, wishes: Wishes) -> Callable[[], Awaitable[None]] | None:
    """The equivalent of `record_end` for a stream; None if nothing is promised.

    The reader has the text already, so an end that cannot be recorded in time is shown nevertheless, and logged.
    """
    if not _end_is_promised(call, wishes):
        return None

    async def record() -> None:
        try:
            async with asyncio.timeout(STREAM_RECORDED_WITHIN_S):
                await _recorded(call, run)
        except (Unavailable, TimeoutError) as error:
            log.error("end_shown_before_recorded", run_id=run.id, reason=str(error) or type(error).__name__)

    return record


async def _recorded(call: Call, run: Run) -> None:
    records, shared = call.runtime.records, call.runtime.shared_runs
    if not run.ended_elsewhere:
        run.finish()  # which may not have happened yet
        await records.flush()
    elif not await records.has_end(run.id, shared.is_orphaned if shared is not None else None):
        raise Unavailable("The process that ran it died before.", code="run_elsewhere", retry_after_s=1)


def accepted_body(run: Run) -> Accepted:
    """The body that describes a run which goes on without its caller."""
    return Accepted(run_id=run.id, agent=run.agent, operation=run.operation, status=run.status)


def _end_is_promised(call: Call, wishes: Wishes) -> bool:
    """Whether the end must be recorded before it is shown: with an Idempotency-Key, and always with DURABLE_REPLIES."""
    return wishes.key is not None or call.runtime.settings.durable_replies
