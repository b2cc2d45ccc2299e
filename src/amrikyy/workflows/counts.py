"""How workflows of each strategy, and the steps of each agent, went since the last reset, in all processes."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, select

from amrikyy.db.asynchronous import AsyncConnection
from amrikyy.db.engine import Database
from amrikyy.db.inserts import insert_into
from amrikyy.db.tables import workflow_counts as table
from amrikyy.workflows.records import Write


@dataclass(slots=True)
class Tally:
    """How some workflows or steps went."""

    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    duration_ms: float = 0.0
    cost_usd: float = 0.0

    @property
    def total(self) -> int:
        """How many there were."""
        return self.completed + self.failed + self.cancelled

    @property
    def mean_ms(self) -> float | None:
        """How long one took, to the microsecond; None if there was none."""
        return round(self.duration_ms / self.total, 3) if self.total else None

    def add(self, ended: str, duration_ms: float, cost_usd: float | None) -> None:
        """Count one more."""
        setattr(self, ended, getattr(self, ended) + 1)
        self.duration_ms += duration_ms
        self.cost_usd += cost_usd or 0.0


@dataclass(frozen=True, slots=True)
class Statistics:
    """How workflows went since the last reset."""

    active: int
    strategies: dict[str, Tally]
    agents: dict[str, Tally]

    @property
    def all(self) -> Tally:
        """All that have ended."""
        whole = Tally()
        for each in self.strategies.values():
            for name in Tally.__slots__:
                setattr(whole, name, getattr(whole, name) + getattr(each, name))
        return whole


async def count(connection: AsyncConnection, database: Database, ended: Iterable[tuple[Write, float | None]]) -> None:
    """Count workflows that end, and all their steps; each with its cost."""
    tallies: defaultdict[tuple[str, str], Tally] = defaultdict(Tally)
    for write, cost_usd in ended:
        ending = write.ending
        assert ending is not None
        tallies["strategy", write.claim.record.strategy].add(ending.status, ending.duration_ms, cost_usd)
        for outcome in ending.outcomes.values():
            how = "completed" if outcome["success"] else "failed"
            tallies["agent", outcome["agent"]].add(how, outcome["durationMs"], outcome["costUsd"])
    # Rows are locked in the same order by all processes, so that none waits for one that waits for it.
    rows: list[dict[str, Any]] = [
        {"kind": kind, "name": name, **{column: getattr(tally, column) for column in Tally.__slots__}}
        for (kind, name), tally in sorted(tallies.items())
    ]
    if rows:
        new = insert_into(table, database.dialect)
        added = new.on_conflict_do_update(
            index_elements=[table.c.kind, table.c.name],
            set_={column: table.c[column] + new.excluded[column] for column in Tally.__slots__},
        )
        await connection.execute(added, rows)


async def read(database: Database) -> tuple[dict[str, Tally], dict[str, Tally]]:
    """The tallies of strategies and those of agents, by name.

    Raises:
        Unavailable: the database cannot be reached.
    """
    found: dict[str, dict[str, Tally]] = {"strategy": {}, "agent": {}}
    async with database.connect() as connection:
        for row in await connection.execute(select(table).order_by(table.c.name)):
            found[row.kind][row.name] = Tally(**{column: getattr(row, column) for column in Tally.__slots__})
    return found["strategy"], found["agent"]


async def reset(database: Database) -> None:
    """Begin to count anew.

    Raises:
        Unavailable: the database cannot be reached.
    """
    async with database.begin() as connection:
        await connection.execute(delete(table))
