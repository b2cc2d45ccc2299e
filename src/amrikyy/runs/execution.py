"""One piece of work in progress: its events, its end, and whoever waits for them."""

import asyncio
from dataclasses import dataclass, field

from pydantic import BaseModel

from amrikyy.errors import AmrikyyError
from amrikyy.runs.events import ENDS, Event


@dataclass(slots=True)
class Spent:
    """What a run used, its children included.

    `cost_usd` is None as soon as one price is unknown: a sum with an unknown part is unknown.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float | None = 0.0
    estimated: bool = False
    models: list[str] = field(default_factory=list)

    def add(
        self, models: list[str], input_tokens: int, output_tokens: int, cost_usd: float | None, *, estimated: bool
    ) -> None:
        """Add what one call, or one child run, used."""
        self.input_tokens += input_tokens
        self.output_tokens += output_tokens
        self.cost_usd = None if cost_usd is None or self.cost_usd is None else self.cost_usd + cost_usd
        self.estimated |= estimated
        self.models.extend(model for model in models if model not in self.models)

    @property
    def total_tokens(self) -> int:
        """Input and output together."""
        return self.input_tokens + self.output_tokens

    @property
    def model(self) -> str | None:
        """The model that answered; several are separated by commas."""
        return ",".join(self.models) or None


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an execution ended: with a result (as JSON), or with an error."""

    result: bytes | None = None
    error: AmrikyyError | None = None


class Execution:
    """The log of one piece of work, written by the runner and read by any number of readers.

    Attributes:
        events: all events so far; `events[n - 1]` is number n.
        spent: tokens and dollars so far.
        outcome: None while it goes on.
        partial_type: what the partial events grow into, once that is known.
        latest_partial: (event number, encoded object) of the newest partial event, so that readers at
            the head of the log need not fold it again.
    """

    __slots__ = ("_waiting", "events", "latest_partial", "outcome", "partial_type", "readers", "spent")

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.spent = Spent()
        self.outcome: Outcome | None = None
        self.partial_type: type[BaseModel] | None = None
        self.latest_partial: tuple[int, bytes] | None = None
        self.readers = 0
        self._waiting: list[asyncio.Future[None]] = []

    def append(self, event: Event) -> None:
        """Add an event and wake whoever waits for it."""
        self.events.append(event)
        if self._waiting:
            self._wake()

    def end(self, event: Event, outcome: Outcome) -> None:
        """Add the last event. Nothing may follow it."""
        assert event.kind in ENDS
        self.outcome = outcome
        self.append(event)

    @property
    def ended(self) -> bool:
        """Whether the last event is in the log."""
        return self.outcome is not None

    async def wait(self) -> Outcome:
        """Wait for the end."""
        while self.outcome is None:
            await self._changed()
        return self.outcome

    def _changed(self) -> asyncio.Future[None]:
        future = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        return future

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)


class Reader:
    """A place in an execution's log. Reading never changes the log; closing never corrupts it."""

    __slots__ = ("_change", "_execution", "closed", "position")

    def __init__(self, execution: Execution, after: int = 0) -> None:
        self._execution = execution
        self.position = after
        self.closed = False
        self._change: asyncio.Future[None] | None = None
        execution.readers += 1

    @property
    def at_end(self) -> bool:
        """Whether the last event has been read."""
        return self._execution.ended and self.position >= len(self._execution.events)

    async def read(self, timeout_s: float) -> list[Event]:
        """All events after the position, waiting for one if there are none.

        Returns:
            an empty list when `timeout_s` passes in silence, at the end, and when the reader was closed.
        """
        execution = self._execution
        if self.position >= len(execution.events) and not self.closed and not execution.ended:
            self._change = change = execution._changed()
            timer = change.get_loop().call_later(timeout_s, _resolve, change)
            try:
                await change
            finally:
                timer.cancel()
                self._change = None
        if self.closed:
            return []
        new = execution.events[self.position :]
        self.position += len(new)
        return new

    def close(self) -> None:
        """Leave; whoever is in `read` gets an empty list."""
        if not self.closed:
            self.closed = True
            self._execution.readers -= 1
            if self._change is not None:
                _resolve(self._change)


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
