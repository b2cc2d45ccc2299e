"""Which processes are alive, and whose workflows somebody else has to go on with."""

from collections.abc import Iterable
from functools import cache

from sqlalchemy import Select, delete, insert, select, update

from amrikyy.db.engine import Database
from amrikyy.db.tables import workflow_processes as processes
from amrikyy.db.tables import workflows
from amrikyy.runs.process import is_gone, new_process_id
from amrikyy.workflows.records import ACTIVE

BEAT_EVERY_S = 1.0

DEAD_AFTER = 5
"""How many looks, one a beat, find a heartbeat unchanged before its process counts as dead. Looks and not seconds: the
clocks of two machines differ, and a machine that sleeps does not look."""

MAX_TAKEN = 200
"""Workflows taken over in one look; the next look finds the others."""

_LOCK = 0x776F726B  # "work": one process at a time decides who is dead


class Processes:
    """This process among those on the same database.

    Attributes:
        id: what no other process is called, now or later.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._seen: dict[str, tuple[int, int]] = {}
        self.id = new_process_id()
        self._alive = update(processes).where(processes.c.id == self.id).values(beats=processes.c.beats + 1)

    async def beat(self) -> None:
        """Show that this process is alive.

        Raises:
            Unavailable: the database cannot be reached.
        """
        async with self._database.begin() as connection:
            if not (await connection.execute(self._alive)).rowcount:
                await connection.execute(insert(processes).values(id=self.id, beats=1))

    async def leave(self) -> None:
        """Say that this process is about to end, so that nobody waits for it.

        Raises:
            Unavailable: the database cannot be reached.
        """
        async with self._database.begin() as connection:
            await connection.execute(delete(processes).where(processes.c.id == self.id))

    async def take_over(self) -> list[str]:
        """Look who is dead, and make its workflows this process'.

        Returns:
            the workflows that this process has to go on with.

        Raises:
            Unavailable: the database cannot be reached.
        """
        async with self._database.connect() as connection:
            beats = {row.id: row.beats for row in await connection.execute(_BEATS)}
            still = {
                each: self._seen[each][1] + 1 if each in self._seen and self._seen[each][0] == count else 0
                for each, count in beats.items()
            }
            self._seen = {each: (beats[each], looks) for each, looks in still.items()}
            dead = [each for each, looks in still.items() if each != self.id and (looks >= DEAD_AFTER or is_gone(each))]
            if not dead and (await connection.execute(_orphans(1))).first() is None:
                return []
        async with self._database.begin(lock=_LOCK) as connection:
            for each in dead:
                unmoved = (processes.c.id == each) & (processes.c.beats == beats[each])
                await connection.execute(delete(processes).where(unmoved))
            taken = list((await connection.execute(_orphans(MAX_TAKEN))).scalars())
            await connection.execute(update(workflows).where(workflows.c.id.in_(taken)).values(process=self.id))
        return taken

    async def owned(self, workflow_ids: Iterable[str]) -> set[str]:
        """Those of the workflows that are this process' and have not ended.

        Raises:
            Unavailable: the database cannot be reached.
        """
        mine = workflows.c.id.in_(list(workflow_ids)), workflows.c.process == self.id, workflows.c.status.in_(ACTIVE)
        async with self._database.connect() as connection:
            return set((await connection.execute(select(workflows.c.id).where(*mine))).scalars())


_BEATS = select(processes.c.id, processes.c.beats)


@cache
def _orphans(limit: int) -> Select[str]:
    """Workflows that have not ended, of processes that do not beat. Put together once: it is asked every second."""
    alive = select(processes.c.id)
    active = workflows.c.status.in_(ACTIVE)
    return select(workflows.c.id).where(active, workflows.c.process.not_in(alive)).order_by(workflows.c.id).limit(limit)
