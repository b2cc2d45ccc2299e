"""Budgets in the database: what may be spent, what was, and what is reserved for calls in progress.

The sums are those of all processes. Whoever reserves holds the rows of the budgets concerned while it adds up, so two
processes never give away the same dollar.
"""

import secrets
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from sqlalchemy import ColumnElement, case, delete, func, literal, select, update

from amrikyy.db.asynchronous import AsyncConnection
from amrikyy.db.engine import Database
from amrikyy.db.inserts import insert_into
from amrikyy.db.tables import budget_days, budgets, reservations
from amrikyy.spend.sums import summed_through, used

Period = Literal["day", "month"]

Noting = Callable[[AsyncConnection], Awaitable[None]]
"""Writes down who did it, in the transaction that does it."""

ROUNDING_USD = 1e-9
"""Sums of floating-point dollars are exact to far less than this; ten times a tenth must fit into one."""

KEPT = timedelta(days=62)
"""Days older than the longest period are of no use; they are in the ledger."""

LEASE_S = 45.0
"""How long the reservations of a process that died still count."""

_LOCK = 0x62756467  # "budg": one change of a budget at a time, so that revisions become visible in order


@dataclass(frozen=True, slots=True)
class Budget:
    """What a subject may spend in a period; None when the budget was removed."""

    subject: str
    period: Period
    limit_usd: float | None
    revision: int


@dataclass(frozen=True, slots=True)
class Standing:
    """How a budget stands.

    Attributes:
        spent_usd: in this period.
        reserved_usd: the most that calls in progress may still cost.
        resets_at: when the next period begins, UTC.
    """

    subject: str
    period: Period
    limit_usd: float
    spent_usd: float
    reserved_usd: float
    resets_at: datetime

    @property
    def left_usd(self) -> float:
        """What can still be reserved."""
        return max(0.0, self.limit_usd - self.spent_usd - self.reserved_usd)


@dataclass(frozen=True, slots=True)
class Ask:
    """A request to reserve an amount for a call, on all of its subjects' budgets or on none."""

    reservation: str
    subjects: tuple[str, ...]
    amount_usd: float


@dataclass(frozen=True, slots=True)
class Settled:
    """What a call has cost in the end.

    Attributes:
        reservation, subjects: of the `Ask`.
        cost_usd: in dollars.
        is_reserved: something was reserved, so that settling it deletes that.
        is_repeated: it was written before, but whether that was committed is not known: the answer was lost.
    """

    reservation: str
    subjects: tuple[str, ...]
    cost_usd: float
    is_reserved: bool
    is_repeated: bool = False


class BudgetStore:
    """Reads and writes budgets. Every method raises `Unavailable` when the database cannot be reached.

    Args:
        database: where the budgets of all processes are.
        lease_s: how long what is reserved here counts for other processes, unless it is renewed.
    """

    def __init__(self, database: Database, *, lease_s: float = LEASE_S) -> None:
        self._database = database
        self._lease_s = lease_s
        self._holder = secrets.token_hex(16)

    async def changed_since(self, revision: int) -> list[Budget]:
        """Budgets that were set or removed after that revision."""
        query = select(budgets.c.subject, budgets.c.period, budgets.c.limit_usd, budgets.c.revision)
        async with self._database.connect() as connection:
            rows = await connection.execute(query.where(budgets.c.revision > revision))
            return [Budget(*row) for row in rows]

    async def put(self, subject: str, period: Period, limit_usd: float, by: str, noting: Noting) -> None:
        """Set a budget. What its subject has spent in the period before counts, as far as the ledger has it."""
        async with self._database.begin(lock=_LOCK) as connection:
            await self._count_ledger(connection, subject)
            await self._change(connection, subject, period, limit_usd, by)
            await noting(connection)

    async def remove(self, subject: str, period: Period, by: str, noting: Noting) -> bool:
        """Remove a budget. Returns whether there was one."""
        is_it = (budgets.c.subject == subject) & (budgets.c.period == period) & budgets.c.limit_usd.is_not(None)
        async with self._database.begin(lock=_LOCK) as connection:
            if (await connection.execute(select(budgets.c.subject).where(is_it))).first() is None:
                return False
            await self._change(connection, subject, period, None, by)
            await noting(connection)
            return True

    async def standings(self, subjects: Collection[str]) -> list[Standing]:
        """How the budgets of these subjects stand."""
        async with self._database.connect() as connection:
            return await self._standings(connection, budgets.c.subject.in_(subjects))

    async def page(self, after: str, limit: int) -> list[Standing]:
        """Budgets by subject, from the first one after `after`, those of a subject never apart."""
        there = select(budgets.c.subject).where(budgets.c.limit_usd.is_not(None), budgets.c.subject > after)
        subjects = there.distinct().order_by(budgets.c.subject).limit(limit)
        async with self._database.connect() as connection:
            return await self._standings(connection, budgets.c.subject.in_(subjects))

    async def book(self, settled: Sequence[Settled], asks: Sequence[Ask]) -> list[Standing | None]:
        """Settle what has ended, then reserve, in one transaction.

        Returns:
            for each of `asks` None if it was granted, else the budget that does not cover it.
        """
        async with self._database.begin() as connection:
            if settled:
                await self._settle(connection, settled)
            subjects = {subject for ask in asks for subject in ask.subjects}
            if not subjects:
                return [None] * len(asks)
            concerned = budgets.c.subject.in_(subjects)
            # The sums are a statement of their own: one that waits for a lock still sees what was there before it.
            await connection.execute(
                select(budgets.c.subject).where(concerned).order_by(budgets.c.subject, budgets.c.period)
                .with_for_update()
            )  # fmt: skip
            verdicts, granted = _decide(asks, await self._standings(connection, concerned))
            rows = [
                {"id": ask.reservation, "subject": subject, "amount_usd": ask.amount_usd, "holder": self._holder}
                for ask in granted for subject in ask.subjects
            ]  # fmt: skip
            if rows:  # an ask that no budget concerns any more is granted, and reserves nothing
                reserve = self._adding(reservations, "amount_usd").values(expires_at=self._now(self._lease_s))
                await connection.execute(reserve, rows)
            return verdicts

    async def renew(self) -> None:
        """Keep what is reserved here for another lease."""
        mine = update(reservations).where(reservations.c.holder == self._holder)
        async with self._database.begin() as connection:
            await connection.execute(mine.values(expires_at=self._now(self._lease_s)))

    async def release(self) -> None:
        """Give back whatever is reserved here."""
        async with self._database.begin() as connection:
            await connection.execute(delete(reservations).where(reservations.c.holder == self._holder))

    async def purge(self) -> int:
        """Delete days that no period includes any more, and reservations of processes that died. Returns how many."""
        async with self._database.begin() as connection:
            old = delete(budget_days).where(budget_days.c.day < (datetime.now(UTC) - KEPT).date().isoformat())
            dead = delete(reservations).where(~self._counts)
            return (await connection.execute(old)).rowcount + (await connection.execute(dead)).rowcount

    async def _change(
        self, connection: AsyncConnection, subject: str, period: Period, limit_usd: float | None, by: str
    ) -> None:
        newest = await connection.scalar(select(func.max(budgets.c.revision))) or 0
        values = {
            "limit_usd": limit_usd,
            "revision": newest + 1,
            "changed_by": by,
            "changed_at": datetime.now(UTC),
        }
        upsert = self._insert(budgets).values(subject=subject, period=period, **values)
        await connection.execute(
            upsert.on_conflict_do_update(index_elements=[budgets.c.subject, budgets.c.period], set_=values)
        )

    async def _count_ledger(self, connection: AsyncConnection, subject: str) -> None:
        """Book what only the ledger has of this month. It knows no roles: theirs counts from when a budget is set."""
        first = datetime.now(UTC).date().replace(day=1).isoformat()
        through = await summed_through(connection, locked=True)
        entries = used(through, lambda table: iter([table.c.owner == subject, table.c.day >= first]), by_caller=True)
        ledger = select(entries.c.day, func.sum(entries.c.cost_usd).label("spent_usd")).group_by(entries.c.day)
        booked = select(budget_days.c.day, budget_days.c.spent_usd).where(
            budget_days.c.subject == subject, budget_days.c.day >= first
        )
        # In this order: a call is booked before its run is in the ledger.
        in_ledger, in_budget = [
            {row.day: row.spent_usd for row in await connection.execute(query)} for query in (ledger, booked)
        ]
        missing = _missing(in_ledger, in_budget)
        if missing:
            rows = [{"subject": subject, "day": day, "spent_usd": missing[day]} for day in sorted(missing)]
            await connection.execute(self._adding(budget_days, "spent_usd"), rows)

    async def _settle(self, connection: AsyncConnection, settled: Sequence[Settled]) -> None:
        over = delete(reservations).where(reservations.c.id.in_([each.reservation for each in settled]))
        deleted = await connection.execute(over.returning(reservations.c.id, reservations.c.subject))
        reserved = {(row.id, row.subject) for row in deleted}
        sums: dict[str, float] = defaultdict(float)
        for each in settled:
            for subject in each.subjects:
                was_committed = each.is_repeated and each.is_reserved and (each.reservation, subject) not in reserved
                if not was_committed:
                    sums[subject] += each.cost_usd
        # In order, so that two processes wait for each other and never for each other's.
        today = datetime.now(UTC).date().isoformat()
        rows = [{"subject": subject, "day": today, "spent_usd": cost} for subject, cost in sorted(sums.items()) if cost]
        if rows:
            await connection.execute(self._adding(budget_days, "spent_usd"), rows)

    async def _standings(self, connection: AsyncConnection, which: ColumnElement[bool]) -> list[Standing]:
        """The sums in one statement: a call that is settled meanwhile is either reserved or spent, never neither."""
        now = datetime.now(UTC)
        today = now.date()
        since = case(
            (budgets.c.period == "day", literal(today.isoformat())), else_=literal(today.replace(day=1).isoformat())
        )
        spent = select(func.coalesce(func.sum(budget_days.c.spent_usd), 0.0)).where(
            budget_days.c.subject == budgets.c.subject, budget_days.c.day >= since
        )
        reserved = select(func.coalesce(func.sum(reservations.c.amount_usd), 0.0)).where(
            reservations.c.subject == budgets.c.subject, self._counts
        )
        query = select(
            budgets.c.subject, budgets.c.period, budgets.c.limit_usd,
            spent.scalar_subquery().label("spent"), reserved.scalar_subquery().label("reserved"),
        ).where(which, budgets.c.limit_usd.is_not(None)).order_by(budgets.c.subject, budgets.c.period)  # fmt: skip
        return [
            Standing(row.subject, row.period, row.limit_usd, row.spent, row.reserved, _next(row.period, now))
            for row in await connection.execute(query)
        ]

    @property
    def _counts(self) -> ColumnElement[bool]:
        """Which reservations count. Those made here do until they are settled, even if the clock has jumped."""
        return (reservations.c.expires_at > self._now()) | (reservations.c.holder == self._holder)

    def _now(self, plus_s: float = 0.0) -> ColumnElement[Any]:
        """The database's time: a process whose clock is ahead would take others' reservations for expired."""
        if self._database.dialect == "sqlite":
            return func.strftime("%Y-%m-%d %H:%M:%f000", "now", f"{plus_s:+f} seconds")  # as `Moment` writes it
        return func.now() + timedelta(seconds=plus_s)

    def _adding(self, table: Any, column: str) -> Any:
        upsert = self._insert(table)
        total = table.c[column] + upsert.excluded[column]
        return upsert.on_conflict_do_update(index_elements=list(table.primary_key), set_={column: total})

    def _insert(self, table: Any) -> Any:
        return insert_into(table, self._database.dialect)


def _missing(ledger: Mapping[str, float], booked: Mapping[str, float]) -> dict[str, float]:
    """What of the ledger is not booked, by day.

    A call is booked on the day on which it ends. The ledger has it on the day on which its run began, which may be the
    day before. So what is booked on a day makes up for what the ledger has of that day, and then for earlier days.
    """
    missing: dict[str, float] = {}
    left_usd = 0.0
    for day in sorted({*ledger, *booked}, reverse=True):
        left_usd += booked.get(day, 0.0) - ledger.get(day, 0.0)
        if left_usd < -ROUNDING_USD:
            missing[day] = -left_usd
            left_usd = 0.0
    return missing


def _decide(asks: Sequence[Ask], standings: Sequence[Standing]) -> tuple[list[Standing | None], list[Ask]]:
    """Which of the asks the budgets cover, first come first served."""
    of: dict[str, list[Standing]] = defaultdict(list)
    for standing in standings:
        of[standing.subject].append(standing)
    taken: dict[str, float] = defaultdict(float)
    verdicts: list[Standing | None] = []
    granted: list[Ask] = []
    for ask in asks:
        short = [
            standing
            for subject in ask.subjects
            for standing in of[subject]
            if standing.limit_usd + ROUNDING_USD
            < standing.spent_usd + standing.reserved_usd + taken[subject] + ask.amount_usd
        ]
        if not short:
            granted.append(ask)
            for subject in ask.subjects:
                taken[subject] += ask.amount_usd
        # Of several, the one that one has to wait for longest.
        worst = max(short, key=lambda standing: standing.resets_at) if short else None
        verdicts.append(worst and replace(worst, reserved_usd=worst.reserved_usd + taken[worst.subject]))
    return verdicts, granted


def _next(period: Period, now: datetime) -> datetime:
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    if period == "day":
        return midnight + timedelta(days=1)
    return (midnight.replace(day=1) + timedelta(days=32)).replace(day=1)
