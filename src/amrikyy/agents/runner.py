"""The one way in which any operation is ever executed."""

import asyncio
import time
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Protocol

import structlog

from amrikyy.agents.agent import Operation, Request, Result, TextResult
from amrikyy.agents.context import RunContext
from amrikyy.errors import AmrikyyError, DeadlineExceeded, InternalError, RunCancelled
from amrikyy.llm.models import Models
from amrikyy.runs.events import Event
from amrikyy.runs.execution import Outcome
from amrikyy.runs.live import LiveRuns
from amrikyy.runs.run import Run

log = structlog.get_logger(__name__)

__all__ = ["RunContext", "Runner"]


class Records(Protocol):
    """Where runs are recorded for good."""

    def note(self, run: Run) -> None:
        """Record the run as it is now, soon.

        Raises:
            Unavailable: it cannot be recorded, so it must not begin.
        """
        ...


@dataclass(slots=True)
class Tally:
    """How an agent's runs ended in this process."""

    calls: int = 0
    failures: int = 0

    @property
    def error_rate(self) -> int:
        """Failures in percent of calls. What the caller got wrong or cancelled is no failure."""
        return round(100 * self.failures / self.calls) if self.calls else 0


class Runner:
    """Starts runs and owns the tasks that execute them."""

    def __init__(self, models: Models, live: LiveRuns, records: Records, *, timeout_s: float) -> None:
        self.models = models
        self.live = live
        self._records = records
        self._timeout_s = timeout_s
        self._tasks: set[asyncio.Task[None]] = set()
        self._tallies: dict[str, Tally] = {}
        self._closing = False

    def start(
        self,
        operation: Operation[Any, Any],
        request: Request,
        *,
        owner: str,
        streams: bool = False,
        detached: bool = False,
        parent_id: str | None = None,
        deadline_s: float | None = None,
    ) -> Run:
        """Begin a run and return at once; its events and its end are in `run.execution`.

        Args:
            operation: what to run.
            request: its validated request.
            owner: the principal whose run it is.
            streams: somebody reads the events as they come.
            detached: it goes on when nobody reads it.
            parent_id: the run that it is a part of.
            deadline_s: how long it may take; the server's own limit if not given.

        Raises:
            Unavailable: the run cannot be recorded.
        """
        run = Run(
            owner=owner,
            agent=operation.agent,
            operation=operation.name,
            request=request.model_dump(mode="json", by_alias=True),
            deadline_s=min(deadline_s or self._timeout_s, self._timeout_s),
            streams=streams,
            detached=detached,
            parent_id=parent_id,
        )
        self._records.note(run)
        self.live.add(run)
        run.execution.append(Event("started"))
        task = asyncio.get_running_loop().create_task(self._execute(run, operation, request), name=run.id)
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._task_ended(run, done))
        run.started_by(task)
        if self._closing:
            run.cancel("The server is stopping.")
        return run

    def tally(self, agent: str) -> Tally:
        """How the agent's runs ended since the process started."""
        return self._tallies.setdefault(agent, Tally())

    async def close(self) -> None:
        """Cancel what still runs and wait until each run has recorded its end."""
        self._closing = True
        for run in self.live.running():
            run.cancel("The server is stopping.")
        while self._tasks:
            await asyncio.wait(list(self._tasks))

    def _task_ended(self, run: Run, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not run.execution.ended:
            # A task that is cancelled before its first step never runs at all.
            self._finish(run, None, RunCancelled(run.cancel_reason))

    async def _execute(self, run: Run, operation: Operation[Any, Any], request: Request) -> None:
        context = RunContext(self, run, operation, request)
        result: bytes | None = None
        error: AmrikyyError | None = None
        try:
            async with asyncio.timeout(run.deadline_s):
                result = _encode(await self._work(run, operation, request, context))
        except asyncio.CancelledError:
            # The task is the run's own: being cancelled is how the run ends, and the cause is recorded.
            error = RunCancelled(run.cancel_reason)
        except TimeoutError:
            error = DeadlineExceeded(
                f"The run took longer than {run.deadline_s:g} s and was stopped. Ask for less, or raise RUN_TIMEOUT_S."
            )
        except AmrikyyError as raised:
            error = raised
        except Exception:
            log.exception("operation_crashed", operation=operation.key, run_id=run.id)
            error = InternalError(
                f"The operation {operation.key} failed unexpectedly. The log has the cause, under the run's id."
            )
        self._finish(run, result, error)

    async def _work(self, run: Run, operation: Operation[Any, Any], request: Request, context: RunContext) -> Result:
        if not operation.writes_text:
            result: Result = await operation.function(request, context)
            return result
        append = run.execution.append
        pieces: list[str] = []
        async with aclosing(operation.function(request, context)) as text:
            async for piece in text:
                pieces.append(piece)
                append(Event("token", piece))
        text_result: type[TextResult] = operation.result_type
        return text_result.from_text("".join(pieces), request, truncated=context.truncated)

    def _finish(self, run: Run, result: bytes | None, error: AmrikyyError | None) -> None:
        run.duration_s = time.perf_counter() - run.started_clock
        tally = self.tally(run.agent)
        tally.calls += 1
        if error is None:
            run.execution.append(Event("progress", (100, "Done")))
            run.execution.end(Event("completed"), Outcome(result=result))
        else:
            tally.failures += error.status >= 500
            kind = Event("cancelled", error) if isinstance(error, RunCancelled) else Event("failed", error)
            run.execution.end(kind, Outcome(error=error))
        self.live.finish(run)
        try:
            self._records.note(run)
        except AmrikyyError as refused:
            log.error("run_not_recorded", run_id=run.id, reason=refused.message)


def _encode(result: Result) -> bytes:
    return result.__pydantic_serializer__.to_json(result, by_alias=True)
