"""What one run, or one workflow, may still spend: reserved before each call of a model, settled after it."""

import math
import secrets
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from amrikyy.errors import BudgetSpent, ValidationFailed
from amrikyy.spend.budget_store import ROUNDING_USD, Ask, Settled, Standing

if TYPE_CHECKING:
    from amrikyy.spend.budgets import Budgets

RELEASED_WITHIN_S = 5.0
"""When to try again where only calls in progress stand in the way."""


class Allowance:
    """Made by `Budgets.allowance`. The parts of a run share their parent's, so that together they keep its ceiling.

    Attributes:
        spent_usd: what its calls have cost so far.
        granted: whether anything has been reserved yet, so that the first call can no longer be refused.
    """

    __slots__ = ("_budgets", "_ceiling_usd", "_held_usd", "_subjects", "granted", "spent_usd")

    def __init__(
        self, budgets: "Budgets", subjects: tuple[str, ...], ceiling_usd: float | None, spent_usd: float
    ) -> None:
        self._budgets = budgets
        self._subjects = subjects
        self._ceiling_usd = ceiling_usd
        self._held_usd = 0.0
        self.spent_usd = spent_usd
        self.granted = False

    async def check(self) -> None:
        """See whether anything is left at all, before work begins that would only find out later.

        Raises:
            BudgetSpent: nothing is.
            Unavailable: the database cannot be reached.
        """
        if self._ceiling_usd is not None and self.spent_usd >= self._ceiling_usd:
            raise self._over_ceiling(0.0)
        if self._subjects:
            for standing in await self._budgets.standings(self._subjects):
                if standing.spent_usd >= standing.limit_usd:
                    raise self._budgets.refusal(standing, 0.0)

    async def reserve(self, amount_usd: float | None, model: str = "") -> "Reservation":
        """Reserve the most that a call may cost. What is returned must be settled, however the call ends.

        Args:
            amount_usd: None if the model's price is not known.
            model: for people.

        Raises:
            BudgetSpent: it is not covered; nothing is reserved.
            ValidationFailed: the price is not known, so no limit could be kept.
            Unavailable: the database cannot be reached.
        """
        if amount_usd is None:
            raise _price_unknown(model)
        reservation = Reservation(self)
        try:
            await reservation.grow(amount_usd)
        except BaseException:
            reservation.settle(0.0)
            raise
        self.granted = True
        return reservation

    def book(self, cost_usd: float | None, model: str) -> None:
        """Book what a call has cost for which nothing was reserved.

        Raises:
            ValidationFailed: the price is not known, so there is no keeping to any limit.
        """
        if cost_usd is None:
            raise _price_unknown(model)
        Reservation(self).settle(cost_usd)

    def _over_ceiling(self, amount_usd: float) -> BudgetSpent:
        assert self._ceiling_usd is not None
        left_usd = max(0.0, self._ceiling_usd - self.spent_usd - self._held_usd)
        return BudgetSpent(
            f"This may cost at most ${_usd(self._ceiling_usd)}, and {_left(left_usd, amount_usd)}.",
            code="cost_ceiling",
            details=[{"limitUsd": self._ceiling_usd, "spentUsd": round(self.spent_usd, 10),
                      "leftUsd": round(left_usd, 10)}],
        )  # fmt: skip


class Reservation:
    """Dollars that one call of a model may use."""

    __slots__ = ("_allowance", "_id", "_is_open", "amount_usd")

    def __init__(self, allowance: Allowance) -> None:
        self._allowance = allowance
        self._id = secrets.token_hex(16)
        self._is_open = False
        self.amount_usd = 0.0

    async def grow(self, amount_usd: float) -> None:
        """Have at least so much reserved.

        Raises:
            BudgetSpent: the rest is not covered; what was reserved before still is.
            Unavailable: the database cannot be reached.
        """
        more_usd = amount_usd - self.amount_usd
        if more_usd <= 0:
            return
        whole, budgets = self._allowance, self._allowance._budgets
        held_usd = whole.spent_usd + whole._held_usd
        if whole._ceiling_usd is not None and held_usd + more_usd > whole._ceiling_usd + ROUNDING_USD:
            raise whole._over_ceiling(more_usd)
        whole._held_usd += more_usd  # before anything waits: parallel calls share the ceiling
        self.amount_usd += more_usd
        if whole._subjects:
            if not self._is_open:
                self._is_open = True
                budgets.opened()
            try:
                await budgets.reserve(Ask(self._id, whole._subjects, more_usd))
            except BaseException:
                whole._held_usd -= more_usd
                self.amount_usd -= more_usd
                raise

    def settle(self, cost_usd: float | None) -> None:
        """Book what the call has cost, and give back the rest. Unknown counts as all that was reserved."""
        cost_usd = self.amount_usd if cost_usd is None else cost_usd
        whole = self._allowance
        whole._held_usd -= self.amount_usd
        whole.spent_usd += cost_usd
        if self._is_open or (cost_usd and whole._subjects):
            if not self._is_open:
                whole._budgets.opened()
            is_reserved = self.amount_usd > 0
            whole._budgets.settle(Settled(self._id, whole._subjects, cost_usd, is_reserved))
        self._is_open, self.amount_usd = False, 0.0


def budget_spent(standing: Standing, amount_usd: float) -> BudgetSpent:
    """The refusal: whose budget, what is left of it, and when it begins anew."""
    retry_after_s: float | None
    if amount_usd > standing.limit_usd + ROUNDING_USD:
        advice, retry_after_s = "The whole budget would not: ask for less, use a cheaper model, or raise it.", None
    else:
        advice = f"It resets at {standing.resets_at:%Y-%m-%dT%H:%M:%SZ}."
        if standing.limit_usd + ROUNDING_USD >= standing.spent_usd + amount_usd > 0:
            retry_after_s = RELEASED_WITHIN_S
        else:
            retry_after_s = max(1.0, (standing.resets_at - datetime.now(UTC)).total_seconds())
    held = f" Calls in progress hold ${_usd(standing.reserved_usd)} of it." if standing.reserved_usd else ""
    return BudgetSpent(
        f"The budget of ${_usd(standing.limit_usd)} a {standing.period} for {standing.subject} does not cover this: "
        f"{_left(standing.left_usd, amount_usd)}.{held} {advice}",
        details=[{
            "subject": standing.subject,
            "period": standing.period,
            "limitUsd": standing.limit_usd,
            "spentUsd": round(standing.spent_usd, 10),
            "reservedUsd": round(standing.reserved_usd, 10),
            "leftUsd": round(standing.left_usd, 10),
            "resetsAt": f"{standing.resets_at:%Y-%m-%dT%H:%M:%SZ}",
        }],
        retry_after_s=retry_after_s,
    )  # fmt: skip


def _price_unknown(model: str) -> ValidationFailed:
    return ValidationFailed(
        f"Spending is limited, and the price of {model or 'the model'} is not known. "
        "Set MODEL_PRICES, or use a model whose price is known.",
        code="price_unknown",
    )


def _left(left_usd: float, amount_usd: float) -> str:
    if not amount_usd:
        return "nothing is left"
    return f"${_usd(left_usd)} is left, and the call may cost ${_usd(amount_usd)}"


def _usd(amount_usd: float) -> str:
    """Cents, and below them as many digits as it takes to see something."""
    digits = 2 if amount_usd >= 1 or amount_usd <= 0 else min(10, 2 - math.floor(math.log10(amount_usd)))
    return f"{amount_usd:.{digits}f}"
