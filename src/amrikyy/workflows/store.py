"""The workflows' tables: what is written at each turn of a workflow's life, and what can be looked up."""

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Row, case, delete, func, insert, select, update

from amrikyy.db.asynchronous import AsyncConnection
from amrikyy.db.engine import Database
from amrikyy.db.sealed import seal_row, unseal_row
from amrikyy.db.tables import workflow_events as events
from amrikyy.db.tables import workflows
from amrikyy.errors import NotFound, RunCancelled
from amrikyy.sealing import Sealer
from amrikyy.telemetry.spans import Context
from amrikyy.workflows import counts
from amrikyy.workflows.plan import MAX_STEPS, Group, Options
from amrikyy.workflows.records import (
    ACTIVE,
    STEP_ENDS,
    SUMMARY,
    Claim,
    Ending,
    Note,
    Outcome,
    Owner,
    WorkflowEvent,
    WorkflowRecord,
    WorkflowSummary,
    Write,
    note_of,
    record_of,
    summary_of,
)

MAX_READ = 16
"""Events that are read at a time: each may hold an output of a megabyte."""

MAX_ASKED = 1000
"""Workflows in one query."""


class WorkflowStore:
    """Writes and reads the workflows' tables. Every method may raise Unavailable."""

    def __init__(self, database: Database, process: str, sealer: Sealer) -> None:
        self._database = database
        self._process = process
        self._sealer = sealer
        self._cancelled = select(workflows.c.id).where(
            workflows.c.status.in_(ACTIVE), workflows.c.process == process, workflows.c.cancel_requested
        )

    # --- A workflow's life ---

    async def create(
        self,
        workflow_id: str,
        tree: Group,
        given: dict[str, Any],
        options: Options,
        who: Owner,
        trace: Context | None = None,
    ) -> None:
        """Record a workflow that has not begun. `trace`: what starts it."""
        now = datetime.now(UTC)
        row = {
            "id": workflow_id,
            "owner": who.id,
            "role": who.role,
            "limited": who.limited,
            "traceparent": str(trace) if trace is not None else None,
            "name": tree.name,
            "strategy": tree.strategy,
            "status": "queued",
            "tree": tree.model_dump_json(),
            "input": json.dumps(given),
            "options": options.model_dump_json(),
            "total": sum(1 for _ in tree.calls()),
            "done": 0,
            "events": 1,
            "cost_usd": 0.0,
            "epoch": 0,
            "process": self._process,
            "cancel_requested": False,
            "created_at": now,
        }
        async with self._database.begin() as connection:
            await connection.execute(insert(workflows).values(seal_row(self._sealer, workflows, row)))
            await connection.execute(insert(events).values(self._event_row(workflow_id, 1, note_of("queued", "", {}))))

    async def claim(self, workflow_id: str) -> Claim | None:
        """Begin to work on a workflow, or go on with it; who worked on it before can record nothing more.

        Returns:
            None when it has ended.
        """
        async with self._database.begin() as connection:
            begun = (
                update(workflows)
                .where(workflows.c.id == workflow_id, workflows.c.status.in_(ACTIVE))
                .values(
                    epoch=workflows.c.epoch + 1,
                    process=self._process,
                    status="running",
                    events=case((workflows.c.started_at.is_(None), workflows.c.events + 1), else_=workflows.c.events),
                    started_at=func.coalesce(
                        workflows.c.started_at, datetime.now(UTC), type_=workflows.c.created_at.type
                    ),
                )
                .returning(*workflows.c)
            )
            row = (await connection.execute(begun)).first()
            if row is None:
                return None
            if row.epoch == 1:
                started = self._event_row(workflow_id, row.events, note_of("started", "", {}))
                await connection.execute(insert(events).values(started))
                return Claim(self._record(row), row.epoch, frozenset(), {})
            known = select(events.c.kind, events.c.path).where(events.c.workflow_id == workflow_id)
            paths = [each.path for each in await connection.execute(known.where(events.c.kind == "step_started"))]
        return Claim(self._record(row), row.epoch, frozenset(paths), await self.outcomes(workflow_id))

    async def record(self, writes: Sequence[Write], *, again: bool = False) -> list[bool]:
        """Record what has happened in some workflows, all of it or nothing.

        Args:
            writes: one of each workflow.
            again: it has been tried before, and may have been recorded with only the answer lost.

        Returns:
            for each whether its claim was still good. If not, nothing of it is recorded.
        """
        good: dict[str, bool] = {}
        rows: list[dict[str, Any]] = []
        ended: list[tuple[Write, float | None]] = []
        async with self._database.begin() as connection:
            # Always in this order, so that no two processes wait for each other's rows.
            for write in sorted(writes, key=lambda write: write.claim.record.id):
                good[write.claim.record.id] = await self._write(connection, write, rows, ended, again=again)
            if rows:
                await connection.execute(insert(events), rows)
            await counts.count(connection, self._database, ended)
        return [good[write.claim.record.id] for write in writes]

    async def _write(
        self,
        connection: AsyncConnection,
        write: Write,
        rows: list[dict[str, Any]],
        ended: list[tuple[Write, float | None]],
        *,
        again: bool,
    ) -> bool:
        workflow_id, notes, ending = write.claim.record.id, write.notes, write.ending
        mine = (workflows.c.id == workflow_id) & (workflows.c.epoch == write.claim.epoch)
        if again:
            known = await connection.execute(
                select(events.c.kind, events.c.path).join(workflows, workflows.c.id == events.c.workflow_id).where(mine)
            )
            recorded = {(row.kind, row.path) for row in known}
            if ending is not None and (ending.status, "") in recorded:
                return True
            notes = tuple(note for note in notes if (note.kind, note.path) not in recorded)
        costs = [note.cost_usd for note in notes if note.kind in STEP_ENDS]
        values: dict[str, Any] = {"events": workflows.c.events + len(notes) + int(ending is not None)}
        if costs:
            values["done"] = workflows.c.done + len(costs)
            known_usd = [cost for cost in costs if cost is not None]
            values["cost_usd"] = workflows.c.cost_usd + sum(known_usd) if len(known_usd) == len(costs) else None
        if ending is not None:
            values |= self._ended(workflow_id, ending)
        # The row's lock makes numbers gapless; its epoch keeps others out.
        advance = update(workflows).where(mine, workflows.c.status == "running").values(values)
        row = (await connection.execute(advance.returning(workflows.c.events, workflows.c.cost_usd))).first()
        if row is None:
            return False
        if ending is not None:
            notes = (*notes, _last(ending, row.cost_usd))
            ended.append((write, row.cost_usd))
        first = row.events - len(notes) + 1
        rows += [self._event_row(workflow_id, number, note) for number, note in enumerate(notes, first)]
        return True

    async def cancel_queued(self, record: WorkflowRecord, error: RunCancelled) -> bool:
        """End a workflow that has not begun. Returns False when it has."""
        waited_ms = (datetime.now(UTC) - record.created_at).total_seconds() * 1000
        ending = Ending("cancelled", None, error, {}, waited_ms)
        async with self._database.begin() as connection:
            stopped = (
                update(workflows)
                .where(workflows.c.id == record.id, workflows.c.status == "queued")
                .values(epoch=workflows.c.epoch + 1, events=workflows.c.events + 1, **self._ended(record.id, ending))
                .returning(workflows.c.events, workflows.c.epoch)
            )
            row = (await connection.execute(stopped)).first()
            if row is None:
                return False
            await connection.execute(insert(events).values(self._event_row(record.id, row.events, _last(ending, 0.0))))
            claim = Claim(record, row.epoch, frozenset(), {})
            await counts.count(connection, self._database, [(Write(claim, (), ending), 0.0)])
            return True

    async def request_cancel(self, workflow_id: str) -> None:
        """Ask the process that works on it to stop."""
        async with self._database.begin() as connection:
            await connection.execute(
                update(workflows)
                .where(workflows.c.id == workflow_id, workflows.c.status.in_(ACTIVE))
                .values(cancel_requested=True)
            )

    async def cancel_requests(self) -> list[str]:
        """The workflows of this process that are to be stopped."""
        async with self._database.connect() as connection:
            return list((await connection.execute(self._cancelled)).scalars())

    # --- Looking ---

    async def get(self, workflow_id: str, *, owner: str | None) -> WorkflowRecord:
        """One workflow.

        Args:
            workflow_id: which one.
            owner: whose it must be; None for anybody's.

        Raises:
            NotFound: there is none, or it is somebody else's: the two are not told apart.
        """
        query = select(workflows).where(workflows.c.id == workflow_id)
        if owner is not None:
            query = query.where(workflows.c.owner == owner)
        async with self._database.connect() as connection:
            row = (await connection.execute(query)).first()
        if row is None:
            raise NotFound("There is no such workflow, or it is not yours.", code="workflow_not_found")
        return self._record(row)

    async def page(
        self, *, owner: str | None, before: str | None, limit: int, **wanted: str | None
    ) -> list[WorkflowSummary]:
        """Workflows, newest first; `before` is the id of the last one of the page before."""
        query = select(*(workflows.c[name] for name in SUMMARY)).order_by(workflows.c.id.desc()).limit(limit)
        for name, value in {"owner": owner, **wanted}.items():
            if value is not None:
                query = query.where(workflows.c[name] == value)
        if before is not None:
            query = query.where(workflows.c.id < before)
        async with self._database.connect() as connection:
            return [summary_of(row) for row in await connection.execute(query)]

    async def events(
        self, workflow_id: str, *, after: int = 0, limit: int = MAX_READ, kinds: Sequence[str] = ()
    ) -> list[WorkflowEvent]:
        """What has happened since event number `after`."""
        query = (
            select(events)
            .where(events.c.workflow_id == workflow_id, events.c.number > after)
            .order_by(events.c.number)
            .limit(limit)
        )
        if kinds:
            query = query.where(events.c.kind.in_(kinds))
        async with self._database.connect() as connection:
            rows = (await connection.execute(query)).all()
        data = [json.loads(unseal_row(self._sealer, events, row)["data"]) for row in rows]
        return [
            WorkflowEvent(row.number, row.kind, row.path, each, row.at) for row, each in zip(rows, data, strict=True)
        ]

    async def event_counts(self, workflow_ids: Sequence[str]) -> dict[str, int]:
        """How many events these workflows have, as far as they exist."""
        found: dict[str, int] = {}
        async with self._database.connect() as connection:
            for start in range(0, len(workflow_ids), MAX_ASKED):
                asked = workflows.c.id.in_(workflow_ids[start : start + MAX_ASKED])
                rows = await connection.execute(select(workflows.c.id, workflows.c.events).where(asked))
                found |= {row.id: row.events for row in rows}
        return found

    async def ended_steps(self, workflow_id: str, *, until: int) -> int:
        """How many steps had ended when event number `until` happened."""
        query = select(func.count()).where(
            events.c.workflow_id == workflow_id, events.c.number <= until, events.c.kind.in_(STEP_ENDS)
        )
        async with self._database.connect() as connection:
            return int((await connection.execute(query)).scalar_one())

    async def outcomes(self, workflow_id: str) -> dict[str, Outcome]:
        """The steps that have ended, as they ended, by their paths."""
        ended = await self.events(workflow_id, kinds=STEP_ENDS, limit=MAX_STEPS)
        return {event.path: event.data for event in ended}

    # --- Upkeep ---

    async def active(self) -> int:
        """How many have not ended."""
        query = select(func.count()).select_from(workflows).where(workflows.c.status.in_(ACTIVE))
        async with self._database.connect() as connection:
            return int((await connection.execute(query)).scalar_one())

    async def old(self, older_than: timedelta, limit: int) -> list[str]:
        """Workflows that ended so long ago."""
        query = (
            select(workflows.c.id)
            .where(workflows.c.created_at < datetime.now(UTC) - older_than, workflows.c.status.not_in(ACTIVE))
            .limit(limit)
        )
        async with self._database.connect() as connection:
            return list((await connection.execute(query)).scalars())

    async def delete(self, workflow_ids: Iterable[str]) -> None:
        """Forget workflows, with their events."""
        async with self._database.begin() as connection:
            await connection.execute(delete(workflows).where(workflows.c.id.in_(list(workflow_ids))))

    # --- Rows ---

    def _event_row(self, workflow_id: str, number: int, note: Note) -> dict[str, Any]:
        row = {
            "workflow_id": workflow_id,
            "number": number,
            "kind": note.kind,
            "path": note.path,
            "data": note.data,
            "at": datetime.now(UTC),
        }
        return seal_row(self._sealer, events, row)

    def _record(self, row: Row[Any]) -> WorkflowRecord:
        return record_of(unseal_row(self._sealer, workflows, row))

    def _ended(self, workflow_id: str, ending: Ending) -> dict[str, Any]:
        values = {
            "status": ending.status,
            "result": json.dumps(ending.result),
            "error": json.dumps(ending.error.record) if ending.error else None,
            "finished_at": datetime.now(UTC),
            "duration_ms": ending.duration_ms,
        }
        return seal_row(self._sealer, workflows, values, workflow_id)


def _last(ending: Ending, cost_usd: float | None) -> Note:
    error = ending.error.record if ending.error else None
    data = {"finalResult": ending.result, "error": error, "durationMs": ending.duration_ms, "costUsd": cost_usd}
    return note_of(ending.status, "", data)
