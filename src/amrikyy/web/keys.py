"""`/api/auth/keys`: the API keys, for administrators."""

from datetime import UTC, datetime
from typing import Literal

from pydantic import Field

from amrikyy.agents.agent import Request
from amrikyy.auth import ApiKey
from amrikyy.auth.roles import Permission, Role
from amrikyy.errors import Forbidden, NotFound
from amrikyy.web.endpoint import Answer, Call, Endpoint
from amrikyy.web.fields import DisplayName, Exactly, Instant
from amrikyy.web.paging import NextCursor, page_cursor, page_limit, page_of
from amrikyy.web.replies import Success, Wire


class KeyRecord(Wire):
    """An API key, without the key."""

    id: str
    name: str
    prefix: str = Field(description="The beginning of the key, to recognise it by.")
    role: Role
    state: Literal["active", "expired", "revoked"]
    created_by: str | None
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None = Field(description="To the minute.")


class NewKeyReply(Success):
    """A new key. It is shown this once; only its hash is stored."""

    key: str
    info: KeyRecord


class KeyPage(Success):
    """A page of keys, oldest first."""

    count: int
    keys: list[KeyRecord]
    next_cursor: NextCursor


class KeyQuery(Request):
    """Which page to list."""

    cursor: str | None = page_cursor(r"^[0-9a-f]{32}$")
    limit: int = page_limit()
    created_by: Exactly | None = Field(default=None, examples=["user:01a2…"])


class NewKeyRequest(Request):
    """What the key is for."""

    name: DisplayName = Field(examples=["mobile app"])
    role: Role = Field(default=Role.USER, description="No higher than your own.")
    expires_at: Instant | None = None


class KeyRevoked(Success):
    """The key has been revoked; it stops working within seconds."""

    id: str
    message: str


async def list_keys(call: Call) -> Answer:
    """All keys."""
    query: KeyQuery = call.query
    found = await call.runtime.accounts.keys(
        after=query.cursor or "", limit=query.limit + 1, created_by=query.created_by
    )
    page, next_cursor = page_of(found, query.limit)
    return KeyPage(count=len(page), keys=[_record(key) for key in page], next_cursor=next_cursor)


async def create_key(call: Call) -> Answer:
    """Create a key."""
    body: NewKeyRequest = call.body
    made = await call.runtime.accounts.create_key(body.name, body.role, expires_at=body.expires_at, by=call.actor)
    return NewKeyReply(key=made.key, info=_record(made.info))


async def revoke_key(call: Call) -> Answer:
    """Revoke a key."""
    key_id = call.params["keyId"]
    await call.runtime.accounts.revoke_key(key_id, by=call.actor)
    return KeyRevoked(id=key_id, message="The key is revoked; it stops working within seconds.")


def _record(key: ApiKey) -> KeyRecord:
    expired = key.expires_at is not None and key.expires_at <= datetime.now(UTC)
    return KeyRecord(
        id=key.id,
        name=key.name,
        prefix=key.prefix,
        role=key.role,
        state="revoked" if key.revoked_at else "expired" if expired else "active",
        created_by=key.created_by,
        created_at=key.created_at,
        expires_at=key.expires_at,
        last_used_at=key.last_used_at,
    )


KEYS = [
    Endpoint(method="GET", path="/api/auth/keys", handler=list_keys, needs=Permission.AGENT_MANAGE, tag="Keys",
             summary="List API keys", query=KeyQuery, answer=KeyPage),
    Endpoint(method="POST", path="/api/auth/keys", handler=create_key, needs=Permission.AGENT_MANAGE, tag="Keys",
             summary="Make an API key", body=NewKeyRequest, answer=NewKeyReply, status=201, errors=(Forbidden,)),
    Endpoint(method="DELETE", path="/api/auth/keys/{keyId}", handler=revoke_key, needs=Permission.AGENT_MANAGE,
             tag="Keys", summary="Revoke an API key", answer=KeyRevoked, errors=(NotFound, Forbidden)),
]  # fmt: skip
