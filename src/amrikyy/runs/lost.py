"""Runs that died with their process: how they are told from those that live, and that this is recorded."""

import os
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from socket import gethostname
from typing import Any

import msgspec
from sqlalchemy import Row, Select, and_, bindparam, func, literal_column, or_, select, update

from amrikyy.db.engine import Database
from amrikyy.db.sealed import seal_row
from amrikyy.db.tables import RARE, runs
from amrikyy.errors import RunLost, Unavailable
from amrikyy.runs.execution import CLEAN_UP_S
from amrikyy.runs.process import MACHINE, is_gone
from amrikyy.sealing import Sealer

IN_PROGRESS = ("queued", "running")

RECORDED_WITHIN = timedelta(seconds=CLEAN_UP_S + 2)
"""After its deadline a run is stopped, may clean up, and is recorded; the clocks of two machines differ by a little."""

ERROR = RunLost("The process that ran this died before the run had ended. Start it again.").record

_ENCODED = msgspec.json.encode(ERROR).decode()

AT_ONCE = 1000
"""Ends in one transaction, which must be over within the deadline of a statement."""

_IN_PROGRESS = or_(*(runs.c.status == status for status in IN_PROGRESS))  # executemany supports no IN

_OF_OTHERS = and_(_IN_PROGRESS, literal_column(f"runs.{RARE}"), runs.c.instance != bindparam("own"))

_PROCESSES: Select[Any] = (
    select(
        runs.c.instance,
        func.min(runs.c.started_at).label("started_at"),
        func.min(runs.c.deadline_at).label("deadline_at"),
    )
    .where(_OF_OTHERS)
    .group_by(runs.c.instance)
)

_RUNS: Select[Any] = select(runs.c.id, runs.c.instance, runs.c.started_at, runs.c.deadline_at).where(
    _OF_OTHERS, runs.c.instance.in_(bindparam("instances", expanding=True))
)

_END = (
    update(runs)
    .where(runs.c.id == bindparam("lost_id"), _IN_PROGRESS)
    .values(status="failed", error=bindparam("lost_error"))
)


class LostRuns:
    """Tells which of the runs that other processes have recorded are lost.

    Args:
        database: has the runs.
        sealer: seals their errors.
        since: when this process began to record runs.
    """

    def __init__(self, database: Database, sealer: Sealer, since: datetime) -> None:
        self._database = database
        self._sealer = sealer
        self._since = since

    def includes(self, row: Row[Any], instance: str) -> bool:
        """Whether the run of a row is lost, as the process called `instance` sees it."""
        return row.status in IN_PROGRESS and row.instance != instance and self._is_lost(row)

    async def settle(self, instance: str) -> None:
        """Record the ends of all lost runs, so that they are found by the status that is shown of them.

        The end of a run whose process lives after all replaces this one, and only that is counted in its hour: whoever
        records it cannot know what the run has used until then. A database that can only be read, which it logs, still
        lists what it has.

        Raises:
            Unavailable: the database cannot be reached.
        """
        async with self._database.connect() as connection:
            # Processes first: a full server has thousands of runs in progress, all of processes that live.
            processes = await connection.execute(_PROCESSES, {"own": instance})
            suspects = [row.instance for row in processes if self._is_lost(row)]
            found = await connection.execute(_RUNS, {"own": instance, "instances": suspects}) if suspects else ()
        lost = sorted(row.id for row in found if self._is_lost(row))  # in the order in which all writers lock them
        with suppress(Unavailable):
            for start in range(0, len(lost), AT_ONCE):
                ends = [self._end(run_id) for run_id in lost[start : start + AT_ONCE]]
                async with self._database.begin() as connection:
                    await connection.execute(_END, ends)

    def _is_lost(self, row: Row[Any]) -> bool:
        """Whether another process' run in progress is lost; for the earliest times of its runs, whether any may be.

        That its process is dead is known at once if it was on this machine, else assumed when its deadline has passed.
        """
        host, _, process = row.instance.rpartition("/")
        machine, pid, _ = process.rsplit(":", 2)
        has_our_name = int(pid) == os.getpid() and (machine == MACHINE or host == gethostname())
        if has_our_name and row.started_at < self._since:
            # An earlier process with our pid, as in a restarted container; not one in a container beside us.
            return True
        return is_gone(process) or datetime.now(UTC) > row.deadline_at + RECORDED_WITHIN

    def _end(self, run_id: str) -> dict[str, str]:
        return {"lost_id": run_id, "lost_error": seal_row(self._sealer, runs, {"error": _ENCODED}, run_id)["error"]}
