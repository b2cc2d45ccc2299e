"""Stores runs: every run is recorded in the database, in batches off the request's path, and can be looked up."""

import asyncio
import json
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import cache
from socket import gethostname
from typing import Any

import msgspec
import structlog
from sqlalchemy import Row, Select, select

from amrikyy.db.behind import Behind
from amrikyy.db.bulk import Bulk
from amrikyy.db.engine import Database
from amrikyy.db.failures import reason
from amrikyy.db.inserts import insert_into
from amrikyy.db.purge import purge
from amrikyy.db.sealed import seal_row, unseal_row
from amrikyy.db.tables import runs
from amrikyy.errors import AmrikyyError, NotFound, Unavailable
from amrikyy.runs.accounts import hour_rows, hours_insert, ledger_insert, ledger_rows
from amrikyy.runs.lost import ERROR, IN_PROGRESS, LostRuns
from amrikyy.runs.pages import newest
from amrikyy.runs.process import new_process_id
from amrikyy.runs.record import RunRecord
from amrikyy.runs.run import Run, first_id
from amrikyy.sealing import PLAIN, Sealer

log = structlog.get_logger(__name__)

BATCH_AFTER_S = 0.05
"""How long a record waits to be batched. Sharing a transaction keeps recording off the critical path."""

AT_ONCE = 50
"""Runs whose rows are built before the event loop has a turn: hundreds at a time take milliseconds."""

TURNS = 2
"""The most turns of the event loop in which a batch is built, however large. Under load a turn is long and runs end in
each, so that a fixed number of rows a turn would fall ever further behind."""

BATCH = {"sqlite": 5_000, "postgresql": 2_000}
"""Runs in one transaction. Each turn of a full server's event loop takes tenths of a second, and a transaction several;
PostgreSQL's must be over within the deadline of a statement, also after it was away, over a slow network."""

ENDS_WITHIN_S = 2.0
"""How long another process may take to record the end of a run, which is visible in Redis before that."""

MAX_PENDING = 10_000
"""Records that may wait, those being written included, while the database is away or slow. Beyond that, new runs are
refused, so that none is lost."""

_CHANGING = (
    "status", "result", "error", "model", "input_tokens", "output_tokens", "usage_estimated", "cost_usd", "cached",
    "events", "finished_at", "duration_ms",
)  # fmt: skip

_WITHOUT_CONTENT = [column for column in runs.c if column.name not in ("request", "result", "error")]

MAX_BOOKED = 20_000
"""Ended runs that are remembered as counted in their hour. A run is noted again within seconds, if at all."""

CLOSE_TIMEOUT_S = 5.0


class RunRecords:
    """Writes and reads the `runs` table.

    Args:
        database: has the table.
        sealer: seals requests, results and errors.
        recorded: called with each run whose end is in the database.
    """

    def __init__(
        self, database: Database, sealer: Sealer = PLAIN, *, recorded: Callable[[Run], None] | None = None
    ) -> None:
        self._database = database
        self._recorded = recorded
        self._sealer = sealer
        self.instance = f"{gethostname()}/{new_process_id()}"
        self._lost = LostRuns(database, sealer, datetime.now(UTC))
        self._pending: dict[str, Run] = {}
        self._in_writing = 0
        self._begun: set[str] = set()
        self._booked: OrderedDict[str, None] = OrderedDict()
        self._behind = Behind("run-records", self._write_due, after_s=BATCH_AFTER_S, changed=self._changed)

    @property
    def waiting(self) -> int:
        """How many runs have a state that is not in the database yet."""
        return len(self._pending) + self._in_writing

    @property
    def failing(self) -> bool:
        """Whether the last attempt to write failed."""
        return self._behind.failing

    def note(self, run: Run) -> None:
        """Record the run soon, in the state that it has when it is written. Raises as `check` does, for a new run."""
        if run.outcome is None:
            self.check()
        if not self._pending:
            self._behind.wake()
        self._pending[run.id] = run

    def check(self) -> None:
        """Make sure that a new run can be recorded.

        Raises:
            Unavailable: the database has been away, or slow, for so long that it could not be.
        """
        if len(self._pending) + self._in_writing < MAX_PENDING:  # `waiting`, in place: each run asks twice
            return
        if self._behind.failing:
            raise Unavailable(
                "The database has been unreachable for too long, and runs can no longer be recorded. Try again later.",
                code="database_unavailable",
                retry_after_s=5,
            )
        raise Unavailable(
            "Runs come faster than they can be recorded. Try again shortly; if this goes on, it needs a faster "
            "machine, or the server fewer runs at a time (MAX_CONCURRENT_STREAMS).",
            code="overloaded",
            retry_after_s=2,
        )

    async def flush(self) -> None:
        """Write all that is pending at the time of the call.

        Raises:
            Unavailable: the database cannot be reached; nothing is lost, the writer tries again.
        """
        wanted = list(self._pending)
        await self._behind.settled()
        while any(run_id in self._pending for run_id in wanted):
            # All that is pending: other callers of flush share the transaction.
            await self._behind.once(lambda: self._write_pending(list(self._pending)))

    async def get(self, run_id: str, *, owner: str | None) -> RunRecord:
        """The record of one run.

        Args:
            run_id: the run.
            owner: the owner that it must have; None for any.

        Raises:
            NotFound: it does not exist, or is somebody else's, which is not distinguished.
            Unavailable: the database cannot be reached.
        """
        await self.flush()
        query = select(runs).where(runs.c.id == run_id)
        if owner is not None:
            query = query.where(runs.c.owner == owner)
        rows = await self._read(query)
        if not rows:
            raise NotFound("There is no such run, or it is not yours.", code="run_not_found")
        return self._record(rows[0])

    async def has_end(self, run_id: str, is_orphaned: Callable[[str], Awaitable[bool]] | None) -> bool:
        """Wait until the end of another process' run is in the database, which takes a moment.

        Args:
            run_id: the run.
            is_orphaned: asked whether that process has died, if the end is not there in time. One that died within a
                moment of the run's beginning has left no record by which it could be told. None if nobody knows.

        Returns:
            False if that process died before it recorded the end.

        Raises:
            Unavailable: it is not there in time, or the database cannot be reached.
        """
        until = time.monotonic() + ENDS_WITHIN_S
        while True:
            with suppress(NotFound):
                record = await self.get(run_id, owner=None)
                if record.ended:
                    return not record.lost
            if time.monotonic() >= until:
                break
            await asyncio.sleep(BATCH_AFTER_S)
        if is_orphaned is not None and await is_orphaned(run_id):
            return False
        raise Unavailable(
            f"The end of the run {run_id} is not recorded yet. Ask for it later.",
            code="database_unavailable",
            retry_after_s=1,
        )

    async def page(
        self,
        *,
        owner: str | None,
        agent: str | None = None,
        operation: str | None = None,
        status: str | None = None,
        parent_id: str | None = None,
        before: str | None = None,
        limit: int = 20,
    ) -> list[RunRecord]:
        """Runs, newest first, without requests, results and errors.

        `before` is the id of the last run of the previous page; ids sort by time.

        Raises:
            Unavailable: the database cannot be reached.
        """
        await self.flush()
        if status in ("failed", *IN_PROGRESS):
            await self._lost.settle(self.instance)
        wanted = {"owner": owner, "agent": agent, "operation": operation, "status": status, "parent_id": parent_id}
        async with self._database.connect() as connection:
            rows = await newest(connection, _WITHOUT_CONTENT, wanted, before=before, limit=limit)
        return [self._record(row) for row in rows]

    async def purge(self, older_than: timedelta, batch: int = 1000) -> int:
        """Delete old runs. Returns how many."""
        return await purge(self._database, runs, runs.c.id < first_id(datetime.now(UTC) - older_than), batch)

    async def close(self) -> None:
        """Write what is pending, and stop."""
        if (reason := await self._behind.finish(self.flush, CLOSE_TIMEOUT_S)) is not None:
            log.error("runs_not_recorded", lost=self.waiting, reason=reason)

    def _changed(self, error: AmrikyyError | None) -> None:
        if error is not None:
            why = reason(error.__cause__) if error.__cause__ is not None else error.message
            log.error("runs_cannot_be_recorded", reason=why, waiting=self.waiting)
        else:
            log.info("runs_are_recorded_again")

    async def _write_due(self) -> None:
        await self._behind.once(lambda: self._write_pending(self._due()))
        if self._pending:
            self._behind.wake()

    def _due(self) -> list[str]:
        """Runs that have ended or were pending at the previous batch: most end in between, and so are written once."""
        due, begun = [], set()
        for run_id, run in self._pending.items():
            if run.outcome is not None or run_id in self._begun:
                due.append(run_id)
            else:
                begun.add(run_id)
        self._begun = begun
        return due

    async def _write_pending(self, run_ids: list[str]) -> None:
        run_ids.sort()  # in the order in which `db.reseal` locks them, or the two could deadlock
        size = BATCH[self._database.dialect]
        for start in range(0, len(run_ids), size):
            batch = {run_id: self._pending.pop(run_id) for run_id in run_ids[start : start + size]}
            self._in_writing = len(batch)
            try:
                await self._write_batch(batch)
            except BaseException:
                self._pending = batch | self._pending  # a newer note of the same run wins
                self._behind.wake()
                raise
            finally:
                self._in_writing = 0

    async def _write_batch(self, batch: dict[str, Run]) -> None:
        try:
            await self._write(list(batch.values()))
        except AmrikyyError:
            raise
        except Exception:  # noqa: BLE001 - whatever it was, each run is tried alone and logged
            # One row that the database refuses must not block all the others for ever.
            for run_id, run in list(batch.items()):
                try:
                    await self._write([run])
                except AmrikyyError:
                    raise
                except Exception:
                    log.exception("run_not_recorded", run_id=run_id)
                del batch[run_id]

    async def _write(self, batch: list[Run]) -> None:
        dialect = self._database.dialect
        rows: list[dict[str, Any]] = []
        entries: list[dict[str, Any]] = []
        ended: list[Run] = []
        at_once = max(AT_ONCE, -(-len(batch) // TURNS))
        for number, run in enumerate(batch, 1):
            rows.append(seal_row(self._sealer, runs, self._row(run)))
            if run.outcome is not None:
                ended.append(run)
                entries += ledger_rows(run)
            if number % at_once == 0:
                await asyncio.sleep(0)
        new = [run for run in ended if run.id not in self._booked]
        await self._database.write(
            (_upsert(dialect), rows), (ledger_insert(dialect), entries), (hours_insert(dialect), hour_rows(new))
        )
        if self._recorded is not None:
            for run in ended:
                self._recorded(run)
        for run in new:
            self._booked[run.id] = None
        while len(self._booked) > MAX_BOOKED:
            self._booked.popitem(last=False)

    async def _read(self, query: Select[Any]) -> list[Row[Any]]:
        async with self._database.connect() as connection:
            return list((await connection.execute(query)).all())

    def _row(self, run: Run) -> dict[str, Any]:
        spent, outcome, duration_s = run.spent, run.outcome, run.duration_s
        result, error = (outcome.result, outcome.error) if outcome is not None else (None, None)
        return {
            "id": run.id,
            "owner": run.owner,
            "agent": run.agent,
            "operation": run.operation,
            "status": run.status,
            "request": run.request.decode(),
            "result": result.decode() if result is not None else None,
            "error": _json(error.record) if error is not None else None,
            "model": spent.model,
            "input_tokens": spent.input_tokens,
            "output_tokens": spent.output_tokens,
            "usage_estimated": spent.estimated,
            "cost_usd": spent.cost_usd,
            "cached": run.cached,
            "events": run.event_count,
            "parent_id": run.parent_id,
            "instance": self.instance,
            "started_at": run.started_at,
            "deadline_at": run.started_at + run.deadline_s,
            "finished_at": run.started_at + duration_s if duration_s is not None else None,
            "duration_ms": round(duration_s * 1e6) / 1000 if duration_s is not None else None,
        }

    def _record(self, row: Row[Any]) -> RunRecord:
        content = unseal_row(self._sealer, runs, row)
        request, result, error = (
            json.loads(text) if (text := content.get(name)) else None for name in ("request", "result", "error")
        )
        status = row.status
        if self._lost.includes(row, self.instance):
            status, error = "failed", ERROR
        return RunRecord(
            id=row.id,
            owner=row.owner,
            agent=row.agent,
            operation=row.operation,
            status=status,
            request=request,
            result=result,
            error=error,
            model=row.model,
            input_tokens=row.input_tokens,
            output_tokens=row.output_tokens,
            usage_estimated=row.usage_estimated,
            cost_usd=row.cost_usd,
            cached=row.cached,
            events=row.events,
            parent_id=row.parent_id,
            started_at=row.started_at,
            duration_ms=row.duration_ms,
        )


@cache
def _upsert(dialect: str) -> Bulk:
    """Write runs; an existing row gets the columns that change. Cached, since building it takes a millisecond."""
    insert = insert_into(runs, dialect)
    return Bulk(
        insert.on_conflict_do_update(
            index_elements=[runs.c.id], set_={name: insert.excluded[name] for name in _CHANGING}
        )
    )


def _json(value: Any) -> str:
    return _encode(value).decode()


_encode = msgspec.json.Encoder().encode
