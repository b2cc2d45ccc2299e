"""What covers one call of a model: reserved before it, extended when it writes more than it was allowed, settled."""

import asyncio
import math

from amrikyy.errors import AmrikyyError
from amrikyy.llm.models import Models
from amrikyy.llm.prices import CHARACTERS_PER_TOKEN
from amrikyy.llm.request import Request, Usage
from amrikyy.runs.execution import Execution
from amrikyy.spend import Reservation

STEP = 1000
"""Tokens that are reserved at a time for an answer that is longer than was reserved for."""


class Cover:
    """A reservation, and how long an answer it covers.

    Attributes:
        length: characters.
    """

    __slots__ = ("_execution", "_extending", "_models", "_reservation", "length")

    def __init__(self, execution: Execution, models: Models, reservation: Reservation, request: Request) -> None:
        self._execution = execution
        self._models = models
        self._reservation = reservation
        self._extending: asyncio.Task[None] | None = None
        # An answer that comes as a whole has been written, and paid for, before anybody could break it off.
        self.length = request.max_output_tokens * CHARACTERS_PER_TOKEN if request.streaming else math.inf

    @classmethod
    async def of(cls, execution: Execution, models: Models, request: Request) -> "Cover | None":
        """Reserve the most that a call may cost; None where nothing limits it.

        Raises:
            BudgetSpent: it is not covered, and must not be made.
            ValidationFailed: a price is not known (`price_unknown`).
        """
        allowance = execution.allowance
        if allowance is None:
            return None
        client = models.for_tier(request.tier)
        reservation = await allowance.reserve(models.most_usd(request), client.name)
        execution.wake()  # whoever waits to learn whether it is covered
        return cls(execution, models, reservation, request)

    def extend(self, usage: Usage, length: int) -> None:
        """Reserve for an answer that is this long already and goes on; where that is refused, the run ends."""
        self.length = length + STEP * CHARACTERS_PER_TOKEN
        cost_usd = self._models.estimate(usage, self.length).cost_usd
        if cost_usd is not None and (self._extending is None or self._extending.done()):
            self._extending = asyncio.get_running_loop().create_task(self._grow(cost_usd))

    async def _grow(self, cost_usd: float) -> None:
        try:
            await self._reservation.grow(cost_usd)
        except AmrikyyError as refused:
            self._execution.cancel(refused)

    def settle(self, cost_usd: float | None) -> None:
        """Book what the call has cost; None if that is not known."""
        extending = self._extending
        if extending is None or extending.done():
            self._reservation.settle(cost_usd)
        else:  # what it may still reserve is to be given back, too
            extending.cancel()
            extending.add_done_callback(lambda _: self._reservation.settle(cost_usd))
