"""A circuit breaker: a model that keeps failing is not called for a while."""

import time
from collections.abc import Callable
from typing import Literal

import msgspec
import structlog

log = structlog.get_logger(__name__)

FAILURES = 5
"""Consecutive failures that open it."""

OPEN_S = 60.0
"""Seconds that it stays open."""

State = Literal["closed", "open", "half-open"]

Outcome = Literal["succeeded", "failed", "left"]
"""How a call ended. "left" says nothing about the provider: the call was cancelled, or the request was at fault."""


class Breaker:
    """Opens after `failures` consecutive failures; after `open_s`, it lets one call through, whose outcome decides.

    Args:
        model: its name in the log, which records when the breaker opens and closes.
    """

    def __init__(
        self,
        model: str = "",
        *,
        failures: int = FAILURES,
        open_s: float = OPEN_S,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._model = model
        self._limit = failures
        self._open_s = open_s
        self._monotonic = monotonic
        self._failures = 0
        self._opened_at: float | None = None
        self._probe: Call | None = None

    @property
    def state(self) -> State:
        """Whether calls go through (closed), none does (open), or only a single probe does (half-open)."""
        if self._opened_at is None:
            return "closed"
        return "half-open" if self._monotonic() - self._opened_at >= self._open_s else "open"

    @property
    def retry_after_s(self) -> float:
        """Seconds until the next call may go through; 0 if one may now, or as soon as the probe has an outcome."""
        if self._opened_at is None:
            return 0.0
        return max(0.0, self._open_s - (self._monotonic() - self._opened_at))

    def enter(self) -> "Call | None":
        """Request permission for one call; None if refused. The holder must report once how the call ended."""
        if self._opened_at is None:
            return Call(self, probes=False)
        if self._probe is None and self.state == "half-open":
            self._probe = Call(self, probes=True)
            return self._probe
        return None

    def _end(self, call: "Call", outcome: Outcome, code: str | None = None) -> None:
        if call.probes:
            if self._probe is not call:
                return
            self._probe = None
        elif self._opened_at is not None:
            return  # it began before the breaker opened: such old news must neither close it nor keep it open
        if outcome == "succeeded":
            self._failures = 0
            if self._opened_at is not None:
                self._opened_at = None
                log.warning("model_circuit", model=self._model, state="closed")
        elif outcome == "failed":
            self._failures += 1
            if call.probes or self._failures >= self._limit:
                self._opened_at = self._monotonic()
                log.warning("model_circuit", model=self._model, state="open", code=code)


class Call(msgspec.Struct, eq=False):
    """Permission for one call. Only the first report counts, except that a call that answers may still fail."""

    _breaker: Breaker
    probes: bool
    _ended: bool = False

    def answers(self) -> None:
        """Report the first text. It is proof enough for a probe: other calls need not wait for its answer's end."""
        if self.probes and not self._ended:
            self._breaker._end(self, "succeeded")
            self.probes = False  # from here on it is a call like any other

    def end(self, outcome: Outcome, code: str | None = None) -> None:
        """Report how the call ended; `code` is its error's code, for the log."""
        if not self._ended:
            self._ended = True
            self._breaker._end(self, outcome, code)
