"""The audit log: who did what to whom, written in the same transaction as the act itself."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import Row, insert, select

from amrikyy.auth import generate
from amrikyy.auth.principal import Principal
from amrikyy.auth.roles import Role
from amrikyy.db.asynchronous import AsyncConnection
from amrikyy.db.engine import Database
from amrikyy.db.purge import purge
from amrikyy.db.tables import audit_log
from amrikyy.errors import Forbidden


@dataclass(frozen=True, slots=True)
class Actor:
    """Who does an administrative act, and from where.

    Attributes:
        id: of the principal, or "operator" for whoever has the command line, or "system".
        name: for people.
        role: None for those two, who may do anything.
        request_id: of the request that it was done with.
        address: that the request came from.
    """

    id: str
    name: str | None = None
    role: Role | None = None
    request_id: str | None = None
    address: str | None = None

    @classmethod
    def of(cls, principal: Principal, request_id: str | None = None, address: str | None = None) -> "Actor":
        """The actor that a principal is."""
        return cls(principal.id, principal.email or principal.name, principal.role, request_id, address)

    def check_rank(self, role: Role) -> None:
        """Nobody grants a role above their own, or touches a user or a key that has one.

        Raises:
            Forbidden: the role is above the actor's.
        """
        if self.role is not None and not role.at_most(self.role):
            raise Forbidden(f"The role {role.value} is above yours, {self.role.value}.", code="role_too_high")


OPERATOR = Actor("operator")
SYSTEM = Actor("system")


class Outcome(StrEnum):
    """What became of an act."""

    DONE = "done"
    DENIED = "denied"


@dataclass(frozen=True, slots=True)
class Act:
    """Something administrative that is done, or was tried.

    Attributes:
        actor: who does it.
        action: noun and verb, like "user.create".
        target: the id of what it is done to.
        details: what else a reader of the log will want to know; never a secret.
    """

    actor: Actor
    action: str
    target: str | None = None
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """An act as it was recorded."""

    id: str
    at: datetime
    actor: str
    actor_name: str | None
    actor_role: str | None
    action: str
    target: str | None
    outcome: Outcome
    details: dict[str, Any]
    request_id: str | None
    address: str | None


async def note(connection: AsyncConnection, act: Act, outcome: Outcome = Outcome.DONE) -> None:
    """Record an act in the transaction that does it: either both happen or neither."""
    actor = act.actor
    row = {
        "id": generate.identifier(),
        "at": datetime.now(UTC),
        "actor": actor.id,
        "actor_name": actor.name,
        "actor_role": actor.role.value if actor.role else None,
        "action": act.action,
        "target": act.target,
        "outcome": outcome.value,
        "details": json.dumps(act.details),
        "request_id": actor.request_id,
        "address": actor.address,
    }
    await connection.execute(insert(audit_log).values(row))


class AuditLog:
    """Reads the log, and records acts that are not themselves a transaction.

    Every method raises `Unavailable` when the database cannot be reached.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def record(self, act: Act) -> None:
        """Record an act that is about to be done; if this fails it must not be done."""
        async with self._database.begin() as connection:
            await note(connection, act)

    @asynccontextmanager
    async def attempt(self, act: Act) -> AsyncIterator[None]:
        """Record the act as denied if what is done in this context raises Forbidden."""
        try:
            yield
        except Forbidden:
            async with self._database.begin() as connection:
                await note(connection, act, Outcome.DENIED)
            raise

    async def page(
        self,
        *,
        actor: str | None = None,
        action: str | None = None,
        target: str | None = None,
        outcome: Outcome | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        before: str | None = None,
        limit: int = 20,
    ) -> list[AuditEntry]:
        """Acts, newest first. `before` is the id of the last one of the page before; ids sort by time."""
        query = select(audit_log).order_by(audit_log.c.id.desc()).limit(limit)
        exactly = {"actor": actor, "action": action, "target": target, "outcome": outcome}
        query = query.filter_by(**{name: value for name, value in exactly.items() if value is not None})
        if since is not None:
            query = query.where(audit_log.c.at >= since)
        if until is not None:
            query = query.where(audit_log.c.at < until)
        if before is not None:
            query = query.where(audit_log.c.id < before)
        async with self._database.connect() as connection:
            rows = (await connection.execute(query)).all()
        return [_entry(row) for row in rows]

    async def purge(self, older_than: timedelta, batch: int = 1000) -> int:
        """Delete old entries. Returns how many."""
        return await purge(self._database, audit_log, audit_log.c.at < datetime.now(UTC) - older_than, batch)


def _entry(row: Row[Any]) -> AuditEntry:
    typed = {"outcome": Outcome(row.outcome), "details": json.loads(row.details)}
    return AuditEntry(**dict(row._mapping) | typed)
