"""How what a model says becomes what a run shows: tokens of a text, partial states of an object, progress."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec
from pydantic import BaseModel

from amrikyy.agents.cover import Cover
from amrikyy.llm.request import Pieces, Usage
from amrikyy.runs.events import Delta, Event
from amrikyy.runs.partial import Fold, encode

if TYPE_CHECKING:
    from amrikyy.agents.context import RunContext

PARTIAL_INTERVAL_S = 0.115
"""Seconds between partial objects: at most ten a second, including the last one, which does not wait. The eye cannot
follow more, and each costs a whole object on the wire."""

PROGRESS_STEP = 10
"""Percentage points between two progress events of one call, so that they do not swamp a long answer."""


Feed = Callable[[Pieces, int], None]
"""Receives the pieces of an answer as they arrive, and how many characters they have."""


class Answer(msgspec.Struct, eq=False):
    """Receives what a model says: passes the text on, and keeps it along with the usage."""

    _feed: Feed
    _cover: Cover | None
    length: int = 0
    pieces: Pieces = msgspec.field(default_factory=list)
    usage: Usage | None = None

    def take(self, item: Pieces | Usage) -> None:
        """Receive pieces or usage."""
        if isinstance(item, list):
            length = sum(map(len, item))
            self.length += length
            self.pieces += item
            self._feed(item, length)
            if self._cover is not None and self.length > self._cover.look_at and self.usage is not None:
                self._cover.extend(self.usage, self.length)
        else:
            self.usage = item


class Prose:
    """Turns the pieces of a text into token events, and into progress."""

    __slots__ = ("_context", "_expected", "_length", "_mark", "_message", "_run", "_step")

    def __init__(self, context: "RunContext", expected: float, message: str) -> None:
        self._context = context
        self._run = context._run
        self._expected = expected
        self._message = message
        self._length = 0
        self._mark = self._step = expected * PROGRESS_STEP / 100 or float("inf")

    def feed(self, pieces: Pieces, length: int) -> None:
        """Show the pieces, and the progress of the text."""
        execution = self._run.execution
        self._context._count(length)
        execution.extend([Event("token", piece) for piece in pieces])
        if not execution.streams:
            return
        if execution.first_output_s is None:
            execution.shows(self._run.elapsed_s)
        self._length += length
        if self._length >= self._mark:
            self._context.progress(self._length / self._expected, self._message)
            self._mark = self._length + self._step


class Growth:
    """Turns the pieces of a JSON answer into partial events, ten a second at most, and into progress."""

    def __init__(
        self, context: "RunContext", schema: type[BaseModel], done: Callable[[dict[str, Any]], float], message: str
    ) -> None:
        self._context = context
        self._run = run = context._run
        self._done = done
        self._message = message
        self._fold = Fold(schema)
        self._unfolded: list[str] = []
        self._unsent: list[str] = []
        self._restarts = False
        self._shown = b"{}"
        self._schema = schema
        if run.execution.streams and run.execution.partial_type is None:
            run.execution.partial_type = schema
            context.growing = self

    def feed(self, pieces: Pieces, _length: int) -> None:
        """Take the pieces, and show the object so far if it is time to."""
        if not self._run.execution.streams:
            return
        self._unfolded += pieces
        if time.monotonic() - self._context.shown_at >= PARTIAL_INTERVAL_S:
            self.flush()

    def restart(self) -> None:
        """Start over: the answer was not valid, and another one follows."""
        self._unfolded.clear()
        self._unsent.clear()
        self._restarts = True

    def flush(self) -> None:
        """Append a partial event, if it shows more than the one before."""
        if not self._unfolded:
            return
        grown = "".join(self._unfolded)
        self._fold.feed(Delta(grown, self._restarts and not self._unsent))
        self._unsent.append(grown)
        self._unfolded.clear()
        self._context.shown_at = time.monotonic()
        value = self._fold.value()
        encoded = encode(value)
        if encoded == self._shown:
            return
        self._shown = encoded
        execution = self._run.execution
        execution.shows(self._run.elapsed_s)
        number, grown, restarts = len(execution.events) + 1, "".join(self._unsent), self._restarts
        if self._context.growing is not self:  # another object was shown last
            grown, restarts = self._fold.text, True
            self._context.growing = self
            execution.partial_types[number] = self._schema
        execution.latest_partial = (number, encoded)
        execution.append(Event("partial", Delta(grown, restarts)))
        self._unsent.clear()
        self._restarts = False
        self._report(value)

    def _report(self, value: BaseModel) -> None:
        try:
            share = self._done(value.model_dump(by_alias=True, exclude_none=True))
        except (ArithmeticError, LookupError, TypeError, ValueError):
            return  # the agent's own estimate failed on an object that is not complete yet
        self._context.progress(share, self._message)


def share_of_fields(schema: type[BaseModel]) -> Callable[[dict[str, Any]], float]:
    """An estimate of how much of the work is done, from the object so far."""
    count = len(schema.model_fields)
    # The newest field is still being written, so it does not count as done.
    return lambda partial: max(0, len(partial) - 1) / count
