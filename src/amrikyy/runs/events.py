"""The events of a run, an append-only list; an event's number is its position in it, counted from 1."""

from typing import Any, Literal

import msgspec

Kind = Literal["started", "queued", "progress", "token", "partial", "completed", "failed", "cancelled"]

ENDS: frozenset[str] = frozenset({"completed", "failed", "cancelled"})
"""Exactly one of these is the last event of every execution."""


class Event(msgspec.Struct, frozen=True, array_like=True):
    """One thing that happened.

    A busy server holds millions, because it keeps the logs of finished runs for a while. The garbage collector does not
    track one that holds a text or a `Delta`, as it would a tuple: that was an eighth of all its work.

    `data` by kind: queued: the position in line; token: the text; partial: a `Delta`; progress: (percent,
    message); failed and cancelled: the error; started and completed: None (the execution's outcome has the rest).
    """

    kind: Kind
    data: Any = None


class Delta(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What was added to the JSON of a result since the previous partial event.

    The log stores what was added, not the whole object at each step, which would take quadratic space; a reader
    folds the deltas into the object so far.
    """

    text: str
    restarts: bool = False
    """The text so far is discarded (the answer was invalid, and the model is writing another)."""
