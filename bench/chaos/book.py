"""What clients were told, and when, to be checked against what the server has kept."""

import time
from dataclasses import dataclass, field
from typing import Any

CLOSED = "connection"
"""The code of a request whose connection broke off."""

REFUSED = "refused"
"""The code of a request for which no connection could be made: nothing was listening."""

HUNG = "hung"
"""The code of a request that was not answered within its deadline."""


@dataclass(slots=True)
class Exchange:
    """One request. Times are on the system's clock.

    Attributes:
        errand: the kind of errand that it belongs to.
        status: the answer's status; None without an answer.
        code: the error's code, in the answer or at the end of its stream; None if there was no error.
        retry_after: whether the answer had a Retry-After.
        streamed: whether the error was an event of a stream.
        run_began_at: when the client first saw the run that it asks for.
    """

    errand: str
    began_at: float
    ended_at: float = 0.0
    status: int | None = None
    code: str | None = None
    retry_after: bool = False
    streamed: bool = False
    said: str = ""
    run_began_at: float = 0.0


@dataclass(slots=True)
class Told:
    """What a client knows about a run.

    Attributes:
        status: how it ended, or None if the client has not been told.
        told_at: when the client was told.
        tokens, cost_usd, cached, text: of the result.
        promised: whether the server must never lose it: it was accepted with a 202, or has an Idempotency-Key.
    """

    run_id: str
    errand: str
    seen_at: float
    status: str | None = None
    told_at: float | None = None
    tokens: int | None = None
    cost_usd: float | None = None
    own: bool = True
    text: str | None = None
    promised: bool = False


@dataclass(slots=True)
class Accepted:
    """A workflow that was answered with 202, and the marks of its steps."""

    workflow_id: str
    marks: list[str]
    told_at: float
    instead_of: str | None = None
    """The workflow that the same Idempotency-Key stood for before; only a 5xx outcome frees a key."""


@dataclass
class Book:
    """Everything that clients were told."""

    exchanges: list[Exchange] = field(default_factory=list)
    runs: dict[str, Told] = field(default_factory=dict)
    workflows: dict[str, Accepted] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    revoked: dict[str, tuple[str, float]] = field(default_factory=dict)
    admitted: list[tuple[float, float]] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    def run(self, run_id: str, errand: str, *, promised: bool = False) -> Told:
        """The entry of a run, added when its id is first seen."""
        told = self.runs.setdefault(run_id, Told(run_id, errand, time.time()))
        told.promised |= promised
        return told

    def replied(self, errand: str, reply: dict[str, Any], *, promised: bool = False) -> Told:
        """Note that a run completed and its client has the result: the body of a JSON answer or `complete` event."""
        told = self.run(reply["runId"], errand, promised=promised)
        if told.status is None:
            told.status, told.told_at = "completed", time.time()
        told.tokens, told.cost_usd = reply["usage"]["totalTokens"], reply["costUsd"]
        told.own = not reply["cached"]
        told.text = (reply["result"] or {}).get("text")
        return told

    def count(self, what: str) -> None:
        """Count one more of these."""
        self.counts[what] = self.counts.get(what, 0) + 1
