"""One piece of work in progress: its events, its end, and whoever waits for them."""

import asyncio
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Literal

import msgspec
from pydantic import BaseModel

from amrikyy.errors import AmrikyyError, RunCancelled
from amrikyy.runs.events import ENDS, Event
from amrikyy.spend import Allowance

if TYPE_CHECKING:
    from amrikyy.runs.run import Run


CLEAN_UP_S = 4.0
"""How long work that was cancelled may take to end; then the run ends without it. A server that stops waits a second
longer for its readers to hear of that."""


class Spent(msgspec.Struct):
    """What a run used, its children included.

    `cost_usd` is None as soon as one price is unknown: a sum with an unknown part is unknown.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float | None = 0.0
    estimated: bool = False
    models: tuple[str, ...] = ()

    def add(
        self, models: Iterable[str], input_tokens: int, output_tokens: int, cost_usd: float | None, *, estimated: bool
    ) -> None:
        """Add what one call, or one child run, used."""
        self.input_tokens += input_tokens
        self.output_tokens += output_tokens
        self.cost_usd = None if cost_usd is None or self.cost_usd is None else self.cost_usd + cost_usd
        self.estimated |= estimated
        for model in models:
            if model not in self.models:
                self.models += (model,)

    @property
    def total_tokens(self) -> int:
        """Input and output together."""
        return self.input_tokens + self.output_tokens

    @property
    def model(self) -> str | None:
        """The model that answered; several are separated by commas."""
        return ",".join(self.models) or None


class Outcome(msgspec.Struct, frozen=True):
    """How an execution ended: with a result (as JSON), or with an error."""

    result: bytes | None = None
    error: AmrikyyError | None = None


class Execution:
    """The log of one piece of work, written by the runner and followed by one run, or by all that asked for the same.

    Attributes:
        streams: its events tell how the result grows; otherwise only the end matters.
        events: all events so far; `events[n - 1]` is number n.
        runs: who follows it. The first one started it, and pays.
        spent: tokens and dollars so far, those of child runs included.
        own: the same by model, without child runs: what the ledger has an entry for.
        allowance: what whoever started it may spend; None if nothing limits it.
        outcome: None while it goes on.
        partial_type: what the partial events grow into, once that is known.
        partial_types: the same from an event of that number on, where an operation goes on with another object.
        latest_partial: (event number, encoded object) of the newest partial event, so that readers at
            the head of the log need not fold it again.
        first_output_s: seconds from the start to the first token or partial object, once there is one.
        cause: why it was cancelled.
        cached: "hit" when the result was kept from an earlier execution, "similar" when that was of a request which
            says the same in other words, "stale" when it was out of date and no new one could be had; else empty.
    """

    __slots__ = (
        "_give_up",
        "_loop",
        "_task",
        "_waiting",
        "allowance",
        "cached",
        "cause",
        "events",
        "first_output_s",
        "latest_partial",
        "outcome",
        "own",
        "partial_type",
        "partial_types",
        "runs",
        "spent",
        "streams",
    )  # fmt: skip

    def __init__(self, *, streams: bool = False, allowance: Allowance | None = None) -> None:
        self.streams = streams
        self.allowance = allowance
        self.events: list[Event] = []
        self.runs: list[Run] = []
        self.spent = Spent()
        self.own: dict[str, Spent] = {}
        self.outcome: Outcome | None = None
        self.partial_type: type[BaseModel] | None = None
        self.partial_types: dict[int, type[BaseModel]] = {}
        self.latest_partial: tuple[int, bytes] | None = None
        self.first_output_s: float | None = None
        self.cause: AmrikyyError | None = None
        self.cached: Literal["", "hit", "stale", "similar"] = ""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._give_up: Callable[[], None] | None = None
        self._waiting: list[asyncio.Future[None]] = []

    def follow(self, run: "Run") -> None:
        """Let a run have the same events and the same end."""
        self.runs.append(run)
        run.outcome = self.outcome

    def append(self, event: Event) -> None:
        """Add an event and wake whoever waits for it."""
        self.events.append(event)
        if self._waiting:
            self.wake()

    def extend(self, events: list[Event]) -> None:
        """Add events that came together."""
        self.events += events
        if self._waiting:
            self.wake()

    def charge(
        self, model: str, input_tokens: int, output_tokens: int, cost_usd: float | None, *, estimated: bool
    ) -> None:
        """Add what one model call of this execution has used."""
        if model not in self.own:
            self.own[model] = Spent()
        for spent in (self.spent, self.own[model]):
            spent.add((model,), input_tokens, output_tokens, cost_usd, estimated=estimated)

    def shows(self, elapsed_s: float) -> None:
        """Note when there was something to see for the first time."""
        if self.first_output_s is None:
            self.first_output_s = elapsed_s

    def end(self, event: Event, outcome: Outcome) -> None:
        """Add the last event. Nothing may follow it."""
        assert event.kind in ENDS
        self.outcome = outcome
        for run in self.runs:
            if run.outcome is None:
                run.outcome = outcome
        # Finished runs are kept for minutes, and a task holds all that it worked with.
        self._task = self._give_up = None
        self.append(event)

    def reopen(self, length: int) -> None:
        """Forget what came after so many events, the end included: it was none of its run's, which had left before."""
        del self.events[length:]
        self.outcome = None
        for run in self.runs:
            run.outcome = None

    def fail(self, error: AmrikyyError) -> None:
        """End with an error."""
        self.end(Event("cancelled" if isinstance(error, RunCancelled) else "failed", error), Outcome(error=error))

    def watch(self) -> None:
        """Somebody wants to see its events as they come, here or elsewhere."""

    @property
    def readable(self) -> int:
        """How many events may be shown: where they are stored for other processes, those that are."""
        return len(self.events)

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop that it belongs to. asyncio asks the system for its process id each time that it tells."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        return self._loop

    @property
    def ended(self) -> bool:
        """Whether the last event is in the log."""
        return self.outcome is not None

    def done_by(self, task: asyncio.Task[None], give_up: Callable[[], None] | None = None) -> None:
        """Say which task does the work, and what ends the run when the task goes on although it was cancelled."""
        self._task = task
        self._give_up = give_up
        self._loop = task.get_loop()

    def cancel(self, cause: AmrikyyError) -> bool:
        """Stop the work now; its upstream connection is closed. Returns False when it had ended already."""
        if self.ended or self._task is None:
            return False
        if self.cause is None:  # a second cancellation would break off the cleaning up after the first
            self.cause = cause
            self._task.cancel()
            self.loop.call_later(CLEAN_UP_S, self._insist)
        return True

    def _insist(self) -> None:
        if self._give_up is not None:
            self._give_up()

    def changed(self) -> asyncio.Future[None]:
        """A future that is done as soon as there is something new."""
        future = self.loop.create_future()
        self._waiting.append(future)
        return future

    def wake(self) -> None:
        """Make whoever waits look again."""
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)
