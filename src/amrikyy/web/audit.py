"""`/api/audit`: the log of administrative acts."""

from dataclasses import asdict
from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from amrikyy.agents.agent import Request
from amrikyy.auth.audit import Outcome
from amrikyy.auth.roles import Permission
from amrikyy.web.endpoint import Answer, Call, Endpoint
from amrikyy.web.fields import Exactly, Instant
from amrikyy.web.paging import NextCursor, page_cursor, page_limit, page_of
from amrikyy.web.replies import Success, Wire


class AuditRecord(Wire):
    """One administrative act."""

    id: str
    at: datetime
    actor: str = Field(description='Who: "user:…", "key:…", "operator" at the command line, or "system".')
    actor_name: str | None
    actor_role: str | None
    action: str = Field(examples=["user.set_role"])
    target: str | None
    outcome: Outcome = Field(description="`denied` means that the act needed a higher role than the actor's.")
    details: dict[str, Any]
    request_id: str | None
    address: str | None


class AuditPage(Success):
    """A page of acts, newest first."""

    count: int
    entries: list[AuditRecord]
    next_cursor: NextCursor


class AuditQuery(Request):
    """Which acts to list."""

    actor: Exactly | None = None
    action: Exactly | None = None
    target: Exactly | None = None
    outcome: Literal[Outcome.DONE, Outcome.DENIED] | None = None
    since: Instant | None = None
    until: Instant | None = Field(default=None, description="Exclusive: only what was recorded before it.")
    cursor: str | None = page_cursor(r"^[0-9a-f]{32}$")
    limit: int = page_limit()


async def list_acts(call: Call) -> Answer:
    """List acts, newest first."""
    query: AuditQuery = call.query
    found = await call.runtime.audit.page(
        actor=query.actor,
        action=query.action,
        target=query.target,
        outcome=query.outcome,
        since=query.since,
        until=query.until,
        before=query.cursor,
        limit=query.limit + 1,
    )
    page, next_cursor = page_of(found, query.limit)
    entries = [AuditRecord(**asdict(entry)) for entry in page]
    return AuditPage(count=len(page), entries=entries, next_cursor=next_cursor)


AUDIT = [
    Endpoint(method="GET", path="/api/audit", handler=list_acts, needs=Permission.AGENT_MANAGE, tag="Audit",
             summary="List administrative acts, newest first", query=AuditQuery, answer=AuditPage,
             description="An act that is not in this log did not happen: its entry is in the same transaction."),
]  # fmt: skip
