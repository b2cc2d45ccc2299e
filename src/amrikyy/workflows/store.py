"""Workflows as they are recorded: what each is to do, its numbered events, and its end."""

import json
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from sqlalchemy import Row, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from amrikyy.db.engine import Database
from amrikyy.db.inserts import insert_into
from amrikyy.db.sealed import seal_row, unseal_row
from amrikyy.db.tables import workflow_counts as counts
from amrikyy.db.tables import workflow_events as events
from amrikyy.db.tables import workflows
from amrikyy.errors import AmrikyyError, NotFound, RunCancelled
from amrikyy.runs.run import new_run_id
from amrikyy.sealing import PLAIN, Sealer
from amrikyy.telemetry.spans import Context
from amrikyy.workflows.plan import MAX_STEPS, Group, Options

Status = Literal["queued", "running", "completed", "failed", "cancelled"]
Kind = Literal["queued", "started", "step_started", "step_completed", "step_failed", "completed", "failed", "cancelled"]

MAX_READ = 16
"""Events that are read at a time: each may hold an output of a megabyte."""

ACTIVE = ("queued", "running")
_STEP_ENDS = ("step_completed", "step_failed")


class Superseded(Exception):
    """Another process has gone on with the workflow, or it has ended: this one may do nothing more for it."""


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose a workflow is.

    Attributes:
        id: the principal's.
        role: its role, whose budget the workflow is subject to.
        limited: what the planner chooses counts against the principal's limits.
    """

    id: str
    role: str
    limited: bool = True


@dataclass(frozen=True, slots=True)
class WorkflowEvent:
    """One thing that happened. `data` is a JSON value; of a step's end, its whole outcome."""

    number: int
    kind: Kind
    path: str
    data: Any
    at: datetime


@dataclass(frozen=True, slots=True)
class WorkflowRecord:
    """A workflow as it was recorded.

    Attributes:
        role: the owner's when it was started.
        limited: as in `Owner`.
        trace: what started it, if that is traced.
        cost_usd: of its runs; None when the price of one is not known.
    """

    id: str
    owner: str
    role: str
    limited: bool
    trace: Context | None
    name: str | None
    strategy: str
    status: Status
    tree: Group
    input: dict[str, Any]
    options: Options
    result: Any
    error: Any
    total: int
    done: int
    events: int
    cost_usd: float | None
    cancel_requested: bool
    created_at: datetime
    started_at: datetime | None
    duration_ms: float | None

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen."""
        return self.status not in ACTIVE


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to work on a workflow, until another process claims it.

    Attributes:
        epoch: the how manieth claim it is.
        seen: kind and path of what has happened before.
    """

    record: WorkflowRecord
    epoch: int
    seen: frozenset[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Count:
    """How workflows of a strategy, or an agent's steps, went."""

    kind: str
    name: str
    completed: int
    failed: int
    cancelled: int
    duration_ms: float
    cost_usd: float


class WorkflowStore:
    """Writes and reads the workflows' tables. Every method may raise Unavailable."""

    def __init__(self, database: Database, process: str, sealer: Sealer = PLAIN) -> None:
        self._database = database
        self._process = process
        self._sealer = sealer

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
            await connection.execute(insert(events).values(self._event(workflow_id, 1, "queued", "", {})))

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
                    started_at=func.coalesce(
                        workflows.c.started_at, datetime.now(UTC), type_=workflows.c.created_at.type
                    ),
                )
                .returning(*workflows.c)
            )
            row = (await connection.execute(begun)).first()
            if row is None:
                return None
            known = select(events.c.kind, events.c.path).where(events.c.workflow_id == workflow_id)
            seen = frozenset((each.kind, each.path) for each in await connection.execute(known))
        return Claim(self._record(row), row.epoch, seen)

    async def append(self, claim: Claim, kind: Kind, path: str, data: Any) -> None:
        """Record what happens, unless it has been recorded before.

        Raises:
            Superseded: the claim is no longer good.
        """
        again = (kind, path) in claim.seen
        with suppress(IntegrityError):  # it was recorded, and only the answer got lost
            async with self._database.begin() as connection:
                number = await self._advance(connection, claim, {} if again else self._progress(kind, data))
                if again:
                    return
                await connection.execute(insert(events).values(self._event(claim.record.id, number, kind, path, data)))
                if kind in _STEP_ENDS:
                    ended = "completed" if kind == "step_completed" else "failed"
                    await self._count(connection, "agent", data["agent"], ended, data["durationMs"], data["costUsd"])

    async def finish(self, claim: Claim, status: Status, result: Any, error: AmrikyyError | None) -> float:
        """Record the end.

        Returns:
            how long it took, in milliseconds.

        Raises:
            Superseded: the claim is no longer good.
        """
        async with self._database.begin() as connection:
            number = await self._advance(connection, claim, {"events": workflows.c.events + 1})
            return await self._end(connection, claim.record, number, status, result, error)

    async def cancel_queued(self, record: WorkflowRecord, error: RunCancelled) -> bool:
        """End a workflow that has not begun. Returns False when it has."""
        async with self._database.begin() as connection:
            stopped = (
                update(workflows)
                .where(workflows.c.id == record.id, workflows.c.status == "queued")
                .values(epoch=workflows.c.epoch + 1, events=workflows.c.events + 1)
                .returning(workflows.c.events)
            )
            number = (await connection.execute(stopped)).scalar()
            if number is None:
                return False
            await self._end(connection, record, number, "cancelled", None, error)
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
        query = select(workflows.c.id).where(
            workflows.c.status.in_(ACTIVE), workflows.c.process == self._process, workflows.c.cancel_requested
        )
        async with self._database.connect() as connection:
            return list((await connection.execute(query)).scalars())

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
    ) -> list[WorkflowRecord]:
        """Workflows, newest first; `before` is the id of the last one of the page before."""
        query = select(workflows).order_by(workflows.c.id.desc()).limit(limit)
        for name, value in {"owner": owner, **wanted}.items():
            if value is not None:
                query = query.where(workflows.c[name] == value)
        if before is not None:
            query = query.where(workflows.c.id < before)
        async with self._database.connect() as connection:
            return [self._record(row) for row in await connection.execute(query)]

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

    async def ended_steps(self, workflow_id: str, *, until: int) -> int:
        """How many steps had ended when event number `until` happened."""
        query = select(func.count()).where(
            events.c.workflow_id == workflow_id, events.c.number <= until, events.c.kind.in_(_STEP_ENDS)
        )
        async with self._database.connect() as connection:
            return int((await connection.execute(query)).scalar_one())

    async def outcomes(self, workflow_id: str) -> list[dict[str, Any]]:
        """The steps that have ended, as they ended."""
        return [event.data for event in await self.events(workflow_id, kinds=_STEP_ENDS, limit=MAX_STEPS)]

    # --- Statistics and upkeep ---

    async def counts(self) -> list[Count]:
        """How everything went since the last reset."""
        async with self._database.connect() as connection:
            rows = (await connection.execute(select(counts).order_by(counts.c.kind, counts.c.name))).all()
        return [Count(**row._mapping) for row in rows]

    async def active(self) -> int:
        """How many have not ended."""
        query = select(func.count()).select_from(workflows).where(workflows.c.status.in_(ACTIVE))
        async with self._database.connect() as connection:
            return int((await connection.execute(query)).scalar_one())

    async def reset_counts(self) -> None:
        """Begin to count anew."""
        async with self._database.begin() as connection:
            await connection.execute(delete(counts))

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

    # --- Inside a transaction ---

    async def _advance(self, connection: AsyncConnection, claim: Claim, values: dict[str, Any]) -> int:
        """Take the next event's number. The row's lock makes numbers gapless; its epoch keeps others out."""
        step = (
            update(workflows)
            .where(workflows.c.id == claim.record.id, workflows.c.epoch == claim.epoch, workflows.c.status == "running")
            .values(values or {"epoch": claim.epoch})
            .returning(workflows.c.events)
        )
        number = (await connection.execute(step)).scalar()
        if number is None:
            raise Superseded
        return int(number)

    def _progress(self, kind: Kind, data: Any) -> dict[str, Any]:
        values: dict[str, Any] = {"events": workflows.c.events + 1}
        if kind in _STEP_ENDS:
            values["done"] = workflows.c.done + 1
            values["cost_usd"] = None if data["costUsd"] is None else workflows.c.cost_usd + data["costUsd"]
        return values

    async def _end(
        self,
        connection: AsyncConnection,
        record: WorkflowRecord,
        number: int,
        status: Status,
        result: Any,
        error: AmrikyyError | None,
    ) -> float:
        now = datetime.now(UTC)
        duration_ms = (now - (record.started_at or record.created_at)).total_seconds() * 1000
        body = error_body(error) if error is not None else None
        values = {
            "status": status,
            "result": json.dumps(result),
            "error": json.dumps(body) if body else None,
            "finished_at": now,
            "duration_ms": duration_ms,
        }
        ended = (
            update(workflows)
            .where(workflows.c.id == record.id)
            .values(seal_row(self._sealer, workflows, values, record.id))
            .returning(workflows.c.cost_usd)
        )
        cost_usd = (await connection.execute(ended)).scalar_one()
        data = {"finalResult": result, "error": body, "durationMs": duration_ms, "costUsd": cost_usd}
        await connection.execute(insert(events).values(self._event(record.id, number, status, "", data)))
        await self._count(connection, "strategy", record.strategy, status, duration_ms, cost_usd)
        return duration_ms

    async def _count(
        self,
        connection: AsyncConnection,
        kind: str,
        name: str,
        ended: str,
        duration_ms: float,
        cost_usd: float | None,
    ) -> None:
        row = {
            "completed": int(ended == "completed"),
            "failed": int(ended == "failed"),
            "cancelled": int(ended == "cancelled"),
            "duration_ms": duration_ms,
            "cost_usd": cost_usd or 0.0,
        }
        new = insert_into(counts, self._database.dialect)
        added = new.values(kind=kind, name=name, **row).on_conflict_do_update(
            index_elements=[counts.c.kind, counts.c.name],
            set_={column: counts.c[column] + new.excluded[column] for column in row},
        )
        await connection.execute(added)

    # --- Rows ---

    def _event(self, workflow_id: str, number: int, kind: str, path: str, data: Any) -> dict[str, Any]:
        row = {
            "workflow_id": workflow_id,
            "number": number,
            "kind": kind,
            "path": path,
            "data": json.dumps(data),
            "at": datetime.now(UTC),
        }
        return seal_row(self._sealer, events, row)

    def _record(self, row: Row[Any]) -> WorkflowRecord:
        content = unseal_row(self._sealer, workflows, row)
        return WorkflowRecord(
            id=row.id,
            owner=row.owner,
            role=row.role,
            limited=row.limited,
            trace=Context.parse(row.traceparent.encode()) if row.traceparent else None,
            name=row.name,
            strategy=row.strategy,
            status=row.status,
            tree=Group.model_validate_json(content["tree"]),
            input=json.loads(content["input"]),
            options=Options.model_validate_json(content["options"]),
            result=json.loads(content["result"]) if content["result"] else None,
            error=json.loads(content["error"]) if content["error"] else None,
            total=row.total,
            done=row.done,
            events=row.events,
            cost_usd=row.cost_usd,
            cancel_requested=row.cancel_requested,
            created_at=row.created_at,
            started_at=row.started_at,
            duration_ms=row.duration_ms,
        )


def new_workflow_id() -> str:
    """An id that sorts by time and cannot be guessed."""
    return new_run_id().replace("run_", "wf_", 1)


def error_body(error: AmrikyyError) -> dict[str, Any]:
    """An error as it is recorded."""
    return {
        "status": error.status,
        "error": error.title,
        "code": error.code,
        "message": error.message,
        "details": error.details,
    }
