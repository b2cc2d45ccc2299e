"""Budgets: who has one is known in memory; what it covers is decided in the database, for all processes at once."""

import asyncio
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import replace

import structlog

from amrikyy.db.engine import Database
from amrikyy.errors import AmrikyyError, BudgetSpent, NotFound, Unavailable
from amrikyy.spend.allowance import Allowance, budget_spent
from amrikyy.spend.budget_store import LEASE_S, Ask, BudgetStore, Noting, Period, Settled, Standing

log = structlog.get_logger(__name__)

REFRESH_S = 2.0
"""How long another process may take to learn of a new budget."""

RETRY_AFTER_S = 0.05
CLOSE_TIMEOUT_S = 5.0

Refused = Callable[[Standing], None]
"""Told of each call that a budget did not cover."""


class Budgets:
    """The budgets of this server, shared with all processes on its database.

    One task does all writing: calls that want to reserve at the same time share a transaction, and whatever ended
    before is settled in it first, so that a caller's next call finds what its last one has left.
    """

    def __init__(self, database: Database, *, on_refused: Refused | None = None, lease_s: float = LEASE_S) -> None:
        self._store = BudgetStore(database, lease_s=lease_s)
        self._on_refused = on_refused
        self._lease_s = lease_s
        self._limited: dict[str, set[Period]] = {}
        self._revision = 0
        self._refreshing = asyncio.Lock()
        self._asks: list[tuple[Ask, asyncio.Future[Standing | None]]] = []
        self._settled: list[Settled] = []
        self._open = 0
        self._wake = asyncio.Event()
        self._booking = False
        self._failing = False
        self._closing = False
        self._keeper: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Learn which budgets there are, and go on learning.

        Raises:
            Unavailable: the database cannot be reached.
        """
        await self._refresh()
        self._keeper = asyncio.get_running_loop().create_task(self._keep(), name="budgets")

    async def close(self) -> None:
        """Settle what has ended, and give back what has not."""
        self._closing = True
        self._wake.set()
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                if self._keeper is not None:
                    await self._keeper  # not cancelled: a transaction broken off might be written and still be repeated
                await self._book()
                if self._open:
                    await self._store.release()
        except (AmrikyyError, TimeoutError) as error:
            log.error("budgets_not_settled", calls=len(self._settled), reason=str(error) or type(error).__name__)

    # --- What calls need ---

    def allowance(
        self, owner: str, role: str, *, ceiling_usd: float | None = None, spent_usd: float = 0.0
    ) -> Allowance | None:
        """What a caller's run may spend; None when nothing limits it, which costs two look-ups in memory.

        Args:
            owner: the principal.
            role: its role.
            ceiling_usd: what this run, or workflow, may cost at most, whatever the budgets say.
            spent_usd: what it has cost already, if it is taken up again.
        """
        limited = self._limited
        if not limited and ceiling_usd is None:
            return None
        subjects = tuple(subject for subject in (owner, f"role:{role}") if subject in limited)
        if not subjects and ceiling_usd is None:
            return None
        return Allowance(self, subjects, ceiling_usd, spent_usd)

    async def reserve(self, ask: Ask) -> None:
        """Reserve for a call. Every reservation must be settled.

        Raises:
            BudgetSpent: a budget does not cover it.
            Unavailable: the database cannot be reached.
        """
        if self._closing:
            raise Unavailable("The server is stopping.", code="draining", retry_after_s=2)
        verdict: asyncio.Future[Standing | None] = asyncio.get_running_loop().create_future()
        self._asks.append((ask, verdict))
        self._wake.set()
        short = await verdict
        if short is not None:
            raise self.refusal(short, ask.amount_usd)

    def refusal(self, short: Standing, amount_usd: float) -> BudgetSpent:
        """The error for a call that a budget does not cover, which is counted."""
        if self._on_refused is not None:
            self._on_refused(short)
        return budget_spent(short, amount_usd)

    def settle(self, settled: Settled) -> None:
        """Book what a reserved call has cost, soon, and give back the rest. Only the last of a call."""
        self._open -= 1
        self._settled.append(settled)
        self._wake.set()

    def opened(self) -> None:
        """Count a reservation that begins, so that its lease is renewed."""
        self._open += 1

    async def standings(self, subjects: Collection[str]) -> list[Standing]:
        """How the budgets of these subjects stand, what this process has still to book included.

        Raises:
            Unavailable: the database cannot be reached.
        """
        if self._settled or self._booking:
            await self.reserve(Ask("", (), 0.0))  # behind which everything is booked
        return await self._store.standings(subjects)

    # --- What administrators need ---

    async def put(self, subject: str, period: Period, limit_usd: float, *, by: str, noting: Noting) -> Standing:
        """Set a budget, and return how it stands. It holds here at once, and in other processes within seconds.

        Args:
            subject: a principal, or "role:" and a role, which all its callers share.
            period: a calendar day or month, UTC.
            limit_usd: US dollars.
            by: the principal who sets it.
            noting: records the act, in the same transaction.

        Raises:
            NotFound: somebody has removed it again meanwhile.
            Unavailable: the database cannot be reached.
        """
        await self._store.put(subject, period, limit_usd, by, noting)
        await self._refresh()
        for standing in await self.standings([subject]):
            if standing.period == period:
                return standing
        raise NotFound("The budget was set, but somebody else has already removed it again.", code="budget_not_found")

    async def remove(self, subject: str, period: Period, *, by: str, noting: Noting) -> bool:
        """Remove a budget. Returns whether there was one."""
        removed = await self._store.remove(subject, period, by, noting)
        await self._refresh()
        return removed

    async def page(self, after: str = "", limit: int = 100) -> list[Standing]:
        """The budgets of `limit` subjects, the first ones after `after`."""
        return await self._store.page(after, limit)

    async def purge(self) -> int:
        """Delete what no longer counts. Returns how many rows."""
        return await self._store.purge()

    # --- The keeper ---

    async def _keep(self) -> None:
        renewed_at = refreshed_at = time.monotonic()
        while not self._closing:
            with suppress(TimeoutError):
                async with asyncio.timeout(min(REFRESH_S, self._lease_s / 3)):
                    await self._wake.wait()
            self._wake.clear()
            try:
                await self._book()
                if self._open and time.monotonic() - renewed_at >= self._lease_s / 3:
                    await self._store.renew()
                    renewed_at = time.monotonic()
                if time.monotonic() - refreshed_at >= REFRESH_S:
                    await self._refresh()
                    refreshed_at = time.monotonic()
            except AmrikyyError as error:
                if not self._failing:
                    log.error("budgets_cannot_be_kept", reason=error.message)
                self._failing = True
                await asyncio.sleep(min(1.0, REFRESH_S))
            except Exception:
                log.exception("budgets_failed")
                await asyncio.sleep(min(1.0, REFRESH_S))
            else:
                self._failing = False

    async def _book(self) -> None:
        """Settle and reserve what has come since the last time."""
        settled, self._settled = self._settled, []
        asked, self._asks = self._asks, []
        if not settled and not asked:
            return
        asks = [ask for ask, verdict in asked if not verdict.done()]
        self._booking = True
        try:
            try:
                verdicts = await self._store.book(settled, asks)
            except Unavailable:  # a deadlock, or a connection that was lost, is gone at once
                settled = [replace(each, is_repeated=True) for each in settled]
                await asyncio.sleep(RETRY_AFTER_S)
                verdicts = await self._store.book(settled, asks)
        except BaseException as error:
            self._settled = [replace(each, is_repeated=True) for each in settled] + self._settled
            for _, verdict in asked:
                if not verdict.done():
                    known = isinstance(error, AmrikyyError)
                    verdict.set_exception(error if known else Unavailable("Budgets cannot be checked at the moment."))
            raise
        finally:
            self._booking = False
        decided = dict(zip((id(ask) for ask in asks), verdicts, strict=True))
        for ask, verdict in asked:
            if not verdict.done():
                verdict.set_result(decided[id(ask)])

    async def _refresh(self) -> None:
        async with self._refreshing:  # else what was read first could be taken in last
            for budget in await self._store.changed_since(self._revision):
                self._revision = max(self._revision, budget.revision)
                periods = self._limited.setdefault(budget.subject, set())
                (periods.discard if budget.limit_usd is None else periods.add)(budget.period)
                if not periods:
                    del self._limited[budget.subject]
