"""One piece of work in progress: its events, its outcome, and those who wait for them."""

import asyncio
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Literal

import msgspec
from msgspec import field
from pydantic import BaseModel

from amrikyy.errors import AmrikyyError, RunCancelled
from amrikyy.runs.events import ENDS, Event
from amrikyy.spend import Allowance

if TYPE_CHECKING:
    from amrikyy.runs.run import Run


CLEAN_UP_S = 4.0
"""How long cancelled work may take to clean up; then the run ends without it. A server that stops waits a second
longer, so that readers receive that end."""


class Spent(msgspec.Struct):
    """What a run used, including its child runs.

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


class Execution(msgspec.Struct, eq=False):
    """The event log of one piece of work, written by the runner and shared by all runs that requested the same.

    Attributes:
        streams: its events show how the result grows; otherwise only the end matters.
        events: all events so far; `events[n - 1]` is number n.
        runs: the runs that follow it. The first one started it, and pays.
        spent: tokens and dollars so far, including child runs.
        own: the same by model, without child runs, as the ledger records it.
        allowance: what the caller who started it may spend; None if nothing limits it.
        outcome: None while it is in progress.
        partial_type: the model that the partial events grow into, once it is known.
        partial_types: by event number, the model from that event on, where an operation goes on to another object.
        latest_partial: (event number, encoded object) of the newest partial event, so that readers at
            the head of the log need not fold the deltas again.
        first_output_s: seconds from the start to the first token or partial object, once there is one.
        cause: why it was cancelled.
        cached: "hit" if the result is that of an earlier execution, "similar" if that was for a request which says
            the same in other words, "stale" if it had expired and no new one could be produced; else empty.
    """

    streams: bool = False
    allowance: Allowance | None = None
    events: list[Event] = field(default_factory=list)
    runs: "list[Run]" = field(default_factory=list)
    spent: Spent = field(default_factory=Spent)
    own: dict[str, Spent] = field(default_factory=dict)
    outcome: Outcome | None = None
    partial_type: type[BaseModel] | None = None
    partial_types: dict[int, type[BaseModel]] = field(default_factory=dict)
    latest_partial: tuple[int, bytes] | None = None
    first_output_s: float | None = None
    cause: AmrikyyError | None = None
    cached: Literal["", "hit", "stale", "similar"] = ""
    _loop: asyncio.AbstractEventLoop | None = None
    _task: asyncio.Task[None] | None = None
    _give_up: Callable[[], None] | None = None
    _waiting: list[asyncio.Future[None]] = field(default_factory=list)

    __repr__ = object.__repr__  # the events are what the model writes for the caller

    def follow(self, run: "Run") -> None:
        """Give a run the events and the outcome of this execution."""
        self.runs.append(run)
        run.outcome = self.outcome

    def append(self, event: Event) -> None:
        """Add an event and wake whoever waits for it."""
        self.events.append(event)
        if self._waiting:
            self.wake()

    def extend(self, events: list[Event]) -> None:
        """Add several events at once."""
        self.events += events
        if self._waiting:
            self.wake()

    def charge(
        self, model: str, input_tokens: int, output_tokens: int, cost_usd: float | None, *, estimated: bool
    ) -> None:
        """Add what one model call of this execution has used."""
        self.spent.add((model,), input_tokens, output_tokens, cost_usd, estimated=estimated)
        if (own := self.own.get(model)) is not None:
            own.add((model,), input_tokens, output_tokens, cost_usd, estimated=estimated)
        else:
            self.own[model] = Spent(input_tokens, output_tokens, cost_usd, estimated, (model,))

    def shows(self, elapsed_s: float) -> None:
        """Record when the first output was shown."""
        if self.first_output_s is None:
            self.first_output_s = elapsed_s

    def end(self, event: Event, outcome: Outcome) -> None:
        """Add the last event. Nothing may follow it."""
        assert event.kind in ENDS
        self.outcome = outcome
        for run in self.runs:
            run.end(outcome)
        # Finished runs are kept for minutes, and a task keeps everything alive that it worked with.
        self._task = self._give_up = None
        self.append(event)

    def reopen(self, length: int) -> None:
        """Forget all events after the first `length`, including the end: its run had left before they happened."""
        del self.events[length:]
        self.outcome = None
        for run in self.runs:
            run.outcome = None

    def fail(self, error: AmrikyyError) -> None:
        """End with an error."""
        self.end(Event("cancelled" if isinstance(error, RunCancelled) else "failed", error), Outcome(error=error))

    def watch(self) -> None:
        """Note that somebody, here or in another process, wants its events as they come."""

    @property
    def readable(self) -> int:
        """How many events may be shown: where events are stored for other processes, those stored so far."""
        return len(self.events)

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop that it runs on, kept because asyncio makes a system call (getpid) for each lookup."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        return self._loop

    @property
    def ended(self) -> bool:
        """Whether the last event is in the log."""
        return self.outcome is not None

    def done_by(self, task: asyncio.Task[None], give_up: Callable[[], None] | None = None) -> None:
        """Set the task that does the work, and a callback that ends the run if the task ignores its cancellation."""
        self._task = task
        self._give_up = give_up
        self._loop = task.get_loop()

    def cancel(self, cause: AmrikyyError) -> bool:
        """Stop the work now; its upstream connection is closed. Returns False when it had ended already."""
        if self.ended or self._task is None:
            return False
        if self.cause is None:  # a second cancellation would interrupt the clean-up after the first
            self.cause = cause
            self._task.cancel()
            self.loop.call_later(CLEAN_UP_S, self._insist)
        return True

    def _insist(self) -> None:
        if self._give_up is not None:
            self._give_up()

    def changed(self) -> asyncio.Future[None]:
        """A future that is done at the next change."""
        future = self.loop.create_future()
        self._waiting.append(future)
        return future

    def wake(self) -> None:
        """Resolve the futures of all who wait, so that they look again."""
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)
