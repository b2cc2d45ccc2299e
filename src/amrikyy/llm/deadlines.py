"""How long a provider may take, stage by stage."""

from dataclasses import dataclass
from time import monotonic
from typing import Literal

from amrikyy.errors import ModelTimeout
from amrikyy.http_client import Patience

AFTER_FINISH_S = 2.0
"""Seconds for what may follow a finished answer (its usage, the end of the body); then the answer is taken as it is."""


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Seconds for connecting, until the first token, between two tokens, and for the whole call."""

    connect_s: float = 5
    first_token_s: float = 60
    token_gap_s: float = 30
    total_s: float = 300


class Clock(Patience):
    """The deadlines of one call in progress.

    A comment that only keeps the connection alive is not a token and extends no deadline. A plain call has no first
    token to wait for: its answer comes all at once, so only the total applies.
    """

    __slots__ = ("_deadlines", "_end", "_model", "_stage")

    def __init__(self, deadlines: Deadlines, model: str, *, streaming: bool) -> None:
        now = monotonic()
        self._deadlines = deadlines
        self._model = model
        self._end = now + deadlines.total_s
        self._stage: Literal["first", "gap", "after", "whole"] = "first" if streaming else "whole"
        self.until = min(self._end, now + deadlines.first_token_s) if streaming else self._end

    def token(self) -> None:
        """A token has come; the next may take as long again."""
        if self._stage == "first":
            self._stage = "gap"
        if self._stage == "gap":
            self.until = min(self._end, monotonic() + self._deadlines.token_gap_s)

    def finish(self) -> None:
        """The answer is complete; whatever still comes is optional."""
        if self._stage != "after":
            self._stage = "after"
            self.until = min(self._end, monotonic() + AFTER_FINISH_S)

    def passed(self) -> ModelTimeout:
        """The error for the deadline that has passed."""
        limits = self._deadlines
        if self._stage == "whole" or monotonic() >= self._end:
            what, limit_s, variable = "did not finish its answer", limits.total_s, "MODEL_TIMEOUT_S"
        elif self._stage == "first":
            what, limit_s, variable = "did not begin to answer", limits.first_token_s, "MODEL_FIRST_TOKEN_TIMEOUT_S"
        else:
            what, limit_s, variable = "fell silent in its answer", limits.token_gap_s, "MODEL_TOKEN_TIMEOUT_S"
        return ModelTimeout(f"The model {self._model} {what} within {limit_s:g} s ({variable}).", model=self._model)

    def not_connected(self) -> ModelTimeout:
        """The error for a connection that was not made in time."""
        limit_s = self._deadlines.connect_s
        return ModelTimeout(
            f"No connection to the model {self._model} within {limit_s:g} s (MODEL_CONNECT_TIMEOUT_S).",
            model=self._model,
        )
