"""The budget for one call to a model: reserved before it, extended if the answer grows longer, settled after it."""

import asyncio
import math

from amrikyy.errors import AmrikyyError
from amrikyy.llm.models import Models
from amrikyy.llm.prices import CHARACTERS_PER_TOKEN
from amrikyy.llm.request import Request, Usage
from amrikyy.runs.execution import Execution
from amrikyy.spend import Allowance, Reservation

STEP = 1000 * CHARACTERS_PER_TOKEN
"""How many characters are reserved at a time for an answer that outgrows its reservation."""

AHEAD = STEP // 2
"""How many characters before its end a cover is extended: as many as a model writes while the database replies."""


class Cover:
    """A reservation, and the length of answer that it covers.

    Attributes:
        look_at: the length of the answer, in characters, beyond which `extend` must be called.
    """

    __slots__ = ("_covered", "_execution", "_extending", "_models", "_refused", "_reservation", "look_at")

    def __init__(self, execution: Execution, models: Models, reservation: Reservation, request: Request) -> None:
        self._execution = execution
        self._models = models
        self._reservation = reservation
        self._extending: asyncio.Task[None] | None = None
        # An answer that comes as a whole has been written, and must be paid for, before anybody could stop it.
        self._covered = request.max_output_tokens * CHARACTERS_PER_TOKEN if request.streaming else math.inf
        self._refused: AmrikyyError | None = None
        self.look_at = self._covered - AHEAD

    @classmethod
    async def of(cls, execution: Execution, allowance: Allowance, models: Models, request: Request) -> "Cover":
        """Reserve the most that a call may cost.

        Raises:
            BudgetSpent: the budget does not cover the call, which must not be made.
            ValidationFailed: a price is not known (`price_unknown`).
        """
        client = models.for_tier(request.tier)
        reservation = await allowance.reserve(models.most_usd(request), client.name)
        execution.wake()  # for whoever waits to learn whether the call is covered
        return cls(execution, models, reservation, request)

    def extend(self, usage: Usage, length: int) -> None:
        """Reserve ahead for an answer that is this long and goes on; end one that outgrows what could be reserved."""
        if self._refused is not None:
            if length > self._covered:
                self._execution.cancel(self._refused)
            self.look_at = self._covered
            return
        covered = max(self._covered, length) + STEP
        cost_usd = self._models.estimate(usage, int(covered)).cost_usd
        self.look_at = math.inf
        if cost_usd is not None:
            self._extending = asyncio.get_running_loop().create_task(self._grow(cost_usd, covered))

    async def _grow(self, cost_usd: float, covered: float) -> None:
        try:
            await self._reservation.grow(cost_usd)
        except AmrikyyError as refused:
            self._refused = refused
            self.look_at = self._covered
        else:
            self._covered = covered
            self.look_at = covered - AHEAD

    def settle(self, cost_usd: float | None) -> None:
        """Book what the call has cost; None if the cost is not known."""
        extending = self._extending
        if extending is None or extending.done():
            self._reservation.settle(cost_usd)
        else:  # what it may still reserve must be given back, too
            extending.cancel()
            extending.add_done_callback(lambda _: self._reservation.settle(cost_usd))
