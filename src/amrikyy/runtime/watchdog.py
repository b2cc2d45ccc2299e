"""Names the line that blocks the event loop: nobody else is answered meanwhile, and no metric says where it is."""

import asyncio
import sys
import threading
import time
from collections.abc import Callable
from itertools import takewhile
from pathlib import Path
from traceback import walk_stack
from types import FrameType
from typing import Any

import structlog

log = structlog.get_logger(__name__)

BEAT_S = 0.5

BLOCKED_S = 1.5
"""A loop that has not turned for so long is blocked."""

SILENT_S = 30.0
"""Between two reports: an operation that blocks does so for each of its callers."""

MAX_FRAMES = 8


class Watchdog:
    """A thread that looks whether the event loop still turns, and at what it does if not.

    Args:
        beat_s: how often the loop says that it turns, and the thread looks.
        blocked_s: from when on it counts as blocked.
        report: is told, in the thread.
    """

    def __init__(
        self,
        *,
        beat_s: float = BEAT_S,
        blocked_s: float = BLOCKED_S,
        report: Callable[..., Any] | None = None,
    ) -> None:
        self._beat_s = beat_s
        self._blocked_s = blocked_s
        self._report = report or log.warning
        self._loop = asyncio.get_running_loop()
        self._thread_id = threading.get_ident()
        self._stopping = threading.Event()
        self._turned = time.monotonic()
        self._timer: asyncio.TimerHandle | None = None
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def start(self) -> None:
        """Begin to watch the loop that runs."""
        self._turn()
        self._thread.start()

    def stop(self) -> None:
        """Watch no more."""
        if self._timer is not None:
            self._timer.cancel()
        self._stopping.set()
        self._thread.join(1)

    def _turn(self) -> None:
        self._turned = time.monotonic()
        self._timer = self._loop.call_later(self._beat_s, self._turn)

    def _watch(self) -> None:
        reported_of = silent_until = 0.0
        while True:
            slept_at = time.monotonic()
            if self._stopping.wait(self._beat_s):
                return
            now, turned = time.monotonic(), self._turned
            # A thread that is late itself says that the machine was busy, or the process stopped.
            if now - slept_at > 2 * self._beat_s or now - turned < self._blocked_s:
                continue
            if turned == reported_of or now < silent_until:
                continue
            frame = sys._current_frames().get(self._thread_id)
            if frame is None or self._turned != turned:
                continue
            reported_of, silent_until = turned, now + SILENT_S
            self._report("event_loop_blocked", blocked_s=round(now - turned, 1), **_where(frame, self._loop))


def _where(frame: FrameType, loop: asyncio.AbstractEventLoop) -> dict[str, Any]:
    """The innermost frames of what runs, and whose run it is."""
    inside = takewhile(lambda at: Path(at[0].f_code.co_filename).parent.name != "asyncio", walk_stack(frame))
    frames = [f"{each.f_code.co_filename}:{line} {each.f_code.co_name}" for each, line in inside]
    task = asyncio.current_task(loop)
    run = {"run_id": task.get_name()} if task is not None and task.get_name().startswith("run_") else {}
    return {"at": frames[:MAX_FRAMES], "hint": "what blocks goes into a thread: await asyncio.to_thread(...)", **run}
