"""A run: one execution of an operation for one caller, with an id, an owner, a status and a cost."""

import asyncio
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from amrikyy.runs.execution import Execution, Reader

Status = Literal["running", "completed", "failed", "cancelled"]


def new_run_id() -> str:
    """An id that sorts by time (48 bits of milliseconds) and cannot be guessed (80 random bits)."""
    return f"run_{time.time_ns() // 1_000_000:012x}{secrets.token_hex(10)}"


@dataclass(slots=True, eq=False)
class Run:
    """What the server does for a caller.

    Attributes:
        owner: the principal whose run it is.
        request: the validated request as JSON values.
        streams: somebody may read the events as they come; otherwise only the end matters.
        detached: it goes on when nobody reads it.
        deadline_s: how long it may take.
    """

    owner: str
    agent: str
    operation: str
    request: dict[str, Any]
    deadline_s: float
    streams: bool = False
    detached: bool = False
    cached: bool = False
    parent_id: str | None = None
    id: str = field(default_factory=new_run_id)
    execution: Execution = field(default_factory=Execution)
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    started_clock: float = field(default_factory=time.perf_counter)
    duration_s: float | None = None
    _task: asyncio.Task[None] | None = None
    _on_cancel: str = "The run was cancelled."
    _leaving: asyncio.TimerHandle | None = None

    @property
    def status(self) -> Status:
        """Derived from the log: how it ended, or that it goes on."""
        if self.execution.outcome is None:
            return "running"
        last = self.execution.events[-1].kind
        return "completed" if last == "completed" else "cancelled" if last == "cancelled" else "failed"

    @property
    def elapsed_s(self) -> float:
        """Seconds from the start to the end, or to now."""
        return self.duration_s if self.duration_s is not None else time.perf_counter() - self.started_clock

    def started_by(self, task: asyncio.Task[None]) -> None:
        """The runner says which task does the work."""
        self._task = task

    def cancel(self, reason: str) -> bool:
        """End the work now; its upstream connection is closed.

        Returns:
            False when it had ended already.
        """
        if self.execution.ended or self._task is None:
            return False
        self._on_cancel = reason
        self._task.cancel()
        return True

    @property
    def cancel_reason(self) -> str:
        """Why it was cancelled, for the caller."""
        return self._on_cancel

    def read(self, after: int = 0) -> Reader:
        """Open a reader behind event number `after`."""
        if self._leaving is not None:
            self._leaving.cancel()
            self._leaving = None
        return Reader(self.execution, after)

    def leave(self, reader: Reader, grace_s: float) -> None:
        """Close a reader; when it was the last one, the work is cancelled unless somebody comes back in time."""
        reader.close()
        if self.execution.readers or self.execution.ended or self.detached:
            return
        later: Callable[[], Any] = lambda: (  # noqa: E731
            None if self.execution.readers else self.cancel("The reader left and did not come back in time.")
        )
        if grace_s <= 0:
            later()
        else:
            self._leaving = asyncio.get_running_loop().call_later(grace_s, later)
