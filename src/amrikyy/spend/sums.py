"""The ledger summed up by day, so that what was used long ago is read as quickly as what was used today."""

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    FromClause,
    Integer,
    Select,
    Subquery,
    bindparam,
    case,
    delete,
    exists,
    func,
    literal,
    select,
    text,
    update,
)
from sqlalchemy.exc import DBAPIError

from amrikyy.db.asynchronous import AsyncConnection
from amrikyy.db.engine import Database
from amrikyy.db.inserts import insert_into
from amrikyy.db.tables import spend, spend_days, spend_summed

EVERYBODY = "*"
"""Stands for all callers together. No principal has this id."""

BATCH = 5_000
"""Entries that are added in one transaction: some 50 ms, for which other writers of SQLite wait."""

LOCK_TIMEOUT_MS = 250
"""How long writers may wait for us. Beyond deadlock_timeout, a second, PostgreSQL would end a vacuum in our favour."""

NEAR = 1e-9
"""Sums of floating-point dollars depend on their order, by far less than this."""

KEYS = ("owner", "day", "agent", "operation", "model")
COUNTS = ("entries", "runs", "input_tokens", "output_tokens", "cost_usd", "unpriced", "estimated")

Narrowed = Callable[[FromClause], Iterator[ColumnElement[bool]]]
"""Which rows are wanted, of the ledger or of its sums: both have the columns in KEYS."""


class Sums:
    """Adds the ledger up, and compares the sums with it.

    Entries are numbered as they are written. `spend_summed` says up to which number they are in `spend_days`; it
    changes in the transaction that adds them, so each counts once, whatever dies when. A trigger corrects the sums
    when an entry that is in them changes. Every method raises `Unavailable` when the database cannot be reached.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add_up(self) -> None:
        """Add to the sums what the ledger has beyond them. Processes that do so at once wait for each other."""
        settled = await self._settled()
        while await self._add_batch(settled):
            pass

    async def renew(self) -> None:
        """Discard the sums and add up again. Meanwhile the ledger itself is read, so that every answer stays right."""
        async with self._database.begin() as connection:
            await connection.execute(update(spend_summed).values(through=0))
            await connection.execute(delete(spend_days))
        await self.add_up()

    async def wrong_days(self) -> list[str]:
        """The days whose sums are not those of the ledger, or not those of its callers."""
        async with self._database.snapshot() as connection:
            through = await summed_through(connection)
            ledger = await _by_day(connection, _entries(spend.c.number <= through))
            everybody = await _by_day(connection, _days(spend_days.c.owner == EVERYBODY))
            callers = await _by_day(connection, _days(spend_days.c.owner != EVERYBODY))
        days = sorted({*ledger, *everybody, *callers})
        return [
            day for day in days if not _agree(ledger.get(day), everybody.get(day))
            or not _agree(ledger.get(day), callers.get(day))
        ]  # fmt: skip

    async def _settled(self) -> int:
        """The number up to which no entry can appear any more; 0 if that is not known at the moment."""
        newest = select(func.coalesce(func.max(spend.c.number), 0))
        async with self._database.connect() as connection:
            seen: int = (await connection.execute(newest)).scalar_one()
            if seen == await summed_through(connection):
                return 0
        if self._database.dialect == "sqlite":
            return seen  # there is one writer at a time
        # A transaction that is not finished yet may have written an entry with a lower number than we have seen.
        try:
            async with self._database.begin() as connection:
                await connection.execute(text(f"SET LOCAL lock_timeout = {LOCK_TIMEOUT_MS}"))
                await connection.execute(text("LOCK TABLE spend IN SHARE MODE"))
                return int((await connection.execute(newest)).scalar_one())
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) != "55P03":  # a vacuum, or a writer that takes long: next time
                raise
            return 0

    async def _add_batch(self, settled: int) -> bool:
        """Returns whether there may be more."""
        async with self._database.begin() as connection:
            after = await summed_through(connection, locked=True)
            if settled <= after:
                return False
            next_ones = select(spend.c.number).where(spend.c.number > after, spend.c.number <= settled)
            last = next_ones.order_by(spend.c.number).offset(BATCH - 1).limit(1)
            through = (await connection.execute(last)).scalar() or settled
            await connection.execute(_adding(self._database.dialect), {"after": after, "through": through})
            await connection.execute(update(spend_summed).values(through=through))
        return True


async def summed_through(connection: AsyncConnection, *, locked: bool = False) -> int:
    """The number of the last entry that is in the sums.

    Args:
        connection: in a snapshot; else entries could be added to the sums before the caller reads them.
        locked: until the transaction ends nobody adds to the sums, nor corrects them.
    """
    query = select(spend_summed.c.through)
    through: int = (await connection.execute(query.with_for_update() if locked else query)).scalar_one()
    return through


def used(through: int, narrowed: Narrowed, *, by_caller: bool) -> Subquery:
    """Rows whose sum is what was used: sums of days, and each entry that is in none of them.

    Args:
        through: the number of the last entry that is in the sums, as `summed_through` says.
        narrowed: which rows are wanted.
        by_caller: they are told apart by their callers, by `narrowed` or later.
    """
    is_whose = spend_days.c.owner != EVERYBODY if by_caller else spend_days.c.owner == EVERYBODY
    days = _days(is_whose, *narrowed(spend_days))
    return days.union_all(_entries(spend.c.number > through, *narrowed(spend))).subquery("used")


@cache
def _adding(dialect: str) -> Any:
    """Add to the sums what is `after` one number, `through` another. To put it together takes milliseconds."""
    which = (spend.c.number > bindparam("after")) & (spend.c.number <= bindparam("through"))
    callers = _added(_entries(which), KEYS).cte("callers")
    everybody = _added(select(callers), KEYS[1:])
    insert = insert_into(spend_days, dialect).from_select([*KEYS, *COUNTS], select(callers).union_all(everybody))
    return insert.on_conflict_do_update(
        index_elements=[spend_days.c[name] for name in KEYS],
        set_={name: spend_days.c[name] + insert.excluded[name] for name in COUNTS},
    )


def _days(*which: ColumnElement[bool]) -> Select[Any]:
    return select(*(spend_days.c[name] for name in (*KEYS, *COUNTS))).where(*which)


def _entries(*which: ColumnElement[bool]) -> Select[Any]:
    """Entries as if each were a sum."""
    earlier = spend.alias("earlier")
    is_first = ~exists().where(earlier.c.run_id == spend.c.run_id, earlier.c.number < spend.c.number)
    return select(
        *(spend.c[name] for name in KEYS),
        literal(1, Integer).label("entries"),
        case((is_first, 1), else_=0).label("runs"),
        spend.c.input_tokens,
        spend.c.output_tokens,
        func.coalesce(spend.c.cost_usd, 0.0).label("cost_usd"),
        case((spend.c.cost_usd.is_(None), 1), else_=0).label("unpriced"),
        case((spend.c.usage_estimated, 1), else_=0).label("estimated"),
    ).where(*which)


def _added(query: Select[Any], keys: Sequence[str]) -> Select[Any]:
    """Sums by these keys; the caller is everybody where it is none of them."""
    rows = query.subquery()
    owner = rows.c.owner if "owner" in keys else literal(EVERYBODY)
    others = [rows.c[name] for name in KEYS if name != "owner"]
    sums = [func.sum(rows.c[name]).label(name) for name in COUNTS]
    return select(owner.label("owner"), *others, *sums).group_by(*(rows.c[name] for name in keys))


async def _by_day(connection: AsyncConnection, query: Select[Any]) -> dict[str, tuple[float, ...]]:
    rows = query.subquery()
    sums = select(rows.c.day, *(func.sum(rows.c[name]) for name in COUNTS)).group_by(rows.c.day)
    return {day: tuple(map(float, found)) for day, *found in await connection.execute(sums)}


def _agree(ours: tuple[float, ...] | None, theirs: tuple[float, ...] | None) -> bool:
    if ours is None or theirs is None:
        return ours is theirs
    return all(abs(one - other) <= NEAR * max(1.0, abs(one)) for one, other in zip(ours, theirs, strict=True))
