"""What happens during a run, as an append-only list; an event's place in it, counted from 1, is its number."""

from typing import Any, Literal

import msgspec

Kind = Literal["started", "queued", "progress", "token", "partial", "completed", "failed", "cancelled"]

ENDS: frozenset[str] = frozenset({"completed", "failed", "cancelled"})
"""Exactly one of these is the last event of every execution."""


class Event(msgspec.Struct, frozen=True, array_like=True):
    """One thing that happened.

    There are millions in a busy server, which keeps the logs of finished runs for a while. One that holds a text or a
    `Delta` is nothing that the garbage collector walks, as a tuple would be: that was an eighth of all its work.

    `data` by kind: queued: the position in line; token: the text; partial: a `Delta`; progress: (percent,
    message); failed and cancelled: the error; started and completed: None (the execution's outcome has the rest).
    """

    kind: Kind
    data: Any = None


class Delta(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """How the JSON of a result grew since the partial event before it.

    The log keeps the growth and not the whole object at each step, which would be quadratic; a reader
    folds the deltas into the object so far.
    """

    text: str
    restarts: bool = False
    """The text before was thrown away (the answer was not valid, and the model is writing another)."""
