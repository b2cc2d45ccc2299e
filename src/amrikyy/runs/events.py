"""What happens during a run, as an append-only list; an event's place in it, counted from 1, is its number."""

from typing import Any, Literal, NamedTuple

Kind = Literal["started", "queued", "progress", "token", "partial", "completed", "failed", "cancelled"]

ENDS: frozenset[str] = frozenset({"completed", "failed", "cancelled"})
"""Exactly one of these is the last event of every execution."""


class Event(NamedTuple):
    """One thing that happened.

    `data` by kind: queued: the position in line; token: the text; partial: a `Delta`; progress: (percent,
    message); failed and cancelled: the error; started and completed: None (the execution's outcome has the rest).
    """

    kind: Kind
    data: Any = None


class Delta(NamedTuple):
    """How the JSON of a result grew since the partial event before it.

    The log keeps the growth and not the whole object at each step, which would be quadratic; a reader
    folds the deltas into the object so far.
    """

    text: str
    restarts: bool = False
    """The text before was thrown away (the answer was not valid, and the model is writing another)."""
