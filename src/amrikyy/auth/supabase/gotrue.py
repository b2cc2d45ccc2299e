"""Supabase Auth over HTTP: the part of GoTrue's REST interface that this server needs."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar
from urllib.parse import urlencode

import msgspec
import structlog

from amrikyy.errors import RateLimited, Unavailable
from amrikyy.http_client import HttpClient, HttpFailure, Proxy, TooLarge

log = structlog.get_logger(__name__)

T = TypeVar("T")

Moment = Annotated[datetime, msgspec.Meta(tz=True)]

TIMEOUT_S = 5.0
"""For a whole exchange. GoTrue answers in tens of milliseconds, a login in some hundred."""

CONNECT_S = 2.0
"""Of these, for a connection."""

MAX_BODY = 2_000_000
"""Bytes of an answer: a page of a hundred users with their identities has some 200 000."""

RETRY_AFTER_S = 5.0
"""What a caller is told while Supabase cannot be reached."""

API_VERSION = "2024-01-01"
"""From this version on every error has a stable code; older servers ignore the header."""

FOREVER = "876000h"
"""GoTrue bans for a time only: this is a hundred years."""


class Factor(msgspec.Struct, frozen=True):
    """A second factor of a user."""

    status: str = ""


class RemoteUser(msgspec.Struct, frozen=True, kw_only=True):
    """A user as GoTrue describes it. `app_metadata` is written by administrators, `user_metadata` by the user."""

    id: str
    created_at: Moment
    updated_at: Moment | None = None
    email: str | None = None
    banned_until: Moment | None = None
    is_anonymous: bool = False
    app_metadata: dict[str, Any] | None = None
    user_metadata: dict[str, Any] | None = None
    factors: list[Factor] | None = None

    @property
    def banned(self) -> bool:
        """Whether it is locked out now."""
        return self.banned_until is not None and self.banned_until > datetime.now(UTC)

    @property
    def has_second_factor(self) -> bool:
        """Whether it has finished setting up a second factor."""
        return any(factor.status == "verified" for factor in self.factors or ())


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """The tokens of a session."""

    access_token: str
    refresh_token: str
    expires_in: int
    user: RemoteUser


class _Link(msgspec.Struct, frozen=True):
    hashed_token: str


class _Page(msgspec.Struct, frozen=True):
    users: list[RemoteUser]


class _Complaint(msgspec.Struct, frozen=True):
    """An error in any of the forms that GoTrue has had; its gateway's have a `message` only."""

    code: str | int | None = None
    error_code: str | None = None
    error: str | None = None
    message: str | None = None
    msg: str | None = None
    error_description: str | None = None


class Refused(Exception):
    """GoTrue does not do what it was asked to, for a reason that is the caller's.

    Attributes:
        status: HTTP status code.
        code: GoTrue's word for it; "" from servers too old to have one.
        message: GoTrue's sentence, cut off.
    """

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(f"{status} {code}")
        self.status = status
        self.code = code
        self.message = message[:300]


class GoTrue:
    """A client. It keeps no cookies and follows no redirect, so that nothing of one user reaches another.

    Every method raises `Refused` when GoTrue says no; `RateLimited` when it asks to slow down; and `Unavailable`
    when it cannot be reached or does not answer in time (`supabase_unavailable`), rejects this server's key
    (`supabase_key_rejected`), or answers what its interface does not allow (`supabase_malformed`).

    Args:
        url: SUPABASE_URL.
        anon_key: SUPABASE_ANON_KEY; also a new-style publishable key.
        service_role_key: SUPABASE_SERVICE_ROLE_KEY; also a new-style secret key.
        proxy: the way to it.
    """

    def __init__(
        self, url: str, anon_key: str, service_role_key: str | None = None, *, proxy: Proxy | None = None
    ) -> None:
        self.issuer = f"{url.rstrip('/')}/auth/v1"
        self._anon_key = anon_key
        self._service_role_key = service_role_key
        self._http = HttpClient(proxy=proxy)

    @property
    def administers(self) -> bool:
        """Whether it has the key that administration needs."""
        return self._service_role_key is not None

    async def close(self) -> None:
        """Close all connections."""
        await self._http.close()

    async def ping(self) -> None:
        """Ask whether it is there."""
        try:
            _read(await self._ask("GET", "/health"), dict[str, Any])
        except Refused:
            raise _malformed() from None

    async def keys(self) -> list[dict[str, Any]]:
        """The public keys that tokens are signed with (RFC 7517)."""
        found = _read(await self._ask("GET", "/.well-known/jwks.json"), dict[str, list[dict[str, Any]]])
        return found.get("keys", [])

    # --- As a user ---

    async def login(self, email: str, password: str) -> Grant:
        """Begin a session."""
        body = {"email": email, "password": password}
        return _read(await self._ask("POST", "/token?grant_type=password", body), Grant)

    async def refresh(self, refresh_token: str) -> Grant:
        """New tokens for a refresh token."""
        body = {"refresh_token": refresh_token}
        return _read(await self._ask("POST", "/token?grant_type=refresh_token", body), Grant)

    async def logout(self, token: str, *, everywhere: bool = False) -> None:
        """End the session of an access token, or all of its user's."""
        await self._ask("POST", f"/logout?scope={'global' if everywhere else 'local'}", token=token)

    async def user(self, token: str) -> RemoteUser:
        """Whose session it is, if it goes on. A banned user is answered as well."""
        return _read(await self._ask("GET", "/user", token=token), RemoteUser)

    async def set_password(self, token: str, password: str) -> None:
        """Set one's own password; all other sessions end."""
        await self._ask("PUT", "/user", {"password": password}, token=token)

    async def redeem(self, hashed_token: str) -> Grant:
        """A session for a recovery token, which works once."""
        return _read(await self._ask("POST", "/verify", {"type": "recovery", "token_hash": hashed_token}), Grant)

    # --- As an administrator ---

    async def page(self, number: int, size: int, *, containing: str = "") -> list[RemoteUser]:
        """A page of users, newest first, counted from 1; `containing` is part of the e-mail address or the name."""
        params = {"page": str(number), "per_page": str(size)} | ({"filter": containing} if containing else {})
        return _read(await self._administer("GET", "/admin/users", params=params), _Page).users

    async def get(self, user_id: str) -> RemoteUser:
        """The user with that id."""
        return _read(await self._administer("GET", f"/admin/users/{user_id}"), RemoteUser)

    async def create(self, attributes: Mapping[str, Any]) -> RemoteUser:
        """Create a user."""
        return _read(await self._administer("POST", "/admin/users", attributes), RemoteUser)

    async def update(self, user_id: str, attributes: Mapping[str, Any]) -> RemoteUser:
        """Change a user. Metadata are merged with what is there."""
        return _read(await self._administer("PUT", f"/admin/users/{user_id}", attributes), RemoteUser)

    async def recovery_token(self, email: str) -> str:
        """A token for `redeem`; no mail is sent, and tokens made before are void."""
        body = {"type": "recovery", "email": email}
        return _read(await self._administer("POST", "/admin/generate_link", body), _Link).hashed_token

    async def _administer(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, *, params: Mapping[str, str] | None = None
    ) -> bytes:
        key = self._service_role_key
        assert key is not None, "whoever administers asks `administers` first"
        try:
            return await self._ask(method, path, body, params=params, key=key, token=key)
        except Refused as refusal:
            if refusal.status == 401 or refusal.code in ("not_admin", "bad_jwt", "no_authorization"):
                raise _key_rejected("SUPABASE_SERVICE_ROLE_KEY") from None
            raise

    async def _ask(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        params: Mapping[str, str] | None = None,
        key: str | None = None,
        token: str | None = None,
    ) -> bytes:
        headers = {"apikey": key or self._anon_key, "x-supabase-api-version": API_VERSION}
        if token is not None:
            headers["authorization"] = f"Bearer {token}"
        if body is not None:
            headers["content-type"] = "application/json"
        try:
            reply = await self._http.fetch(
                method,
                self.issuer + path + (f"?{urlencode(params)}" if params else ""),
                headers=headers,
                body=None if body is None else msgspec.json.encode(body),
                connect_s=CONNECT_S,
                timeout_s=TIMEOUT_S,
                max_body=MAX_BODY,
            )
        except TooLarge:
            raise _malformed() from None
        except (HttpFailure, TimeoutError) as error:
            log.warning("supabase_unreachable", path=path.partition("?")[0], reason=type(error).__name__)
            raise Unavailable(
                "Supabase Auth, which keeps the users, cannot be reached. Try again shortly.",
                code="supabase_unavailable",
                retry_after_s=RETRY_AFTER_S,
            ) from None
        if 200 <= reply.status < 300:
            return reply.body
        key_name = "SUPABASE_ANON_KEY" if key is None else "SUPABASE_SERVICE_ROLE_KEY"
        raise _error(reply.status, reply.body, reply.head.get(b"retry-after"), key_name)


def _read(content: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise _malformed() from None


def _error(status: int, content: bytes, retry_after: str, key_name: str) -> Exception:
    """The error for an answer that is no success."""
    if status == 429:
        wait_s = float(retry_after) if retry_after.isascii() and retry_after.isdigit() else RETRY_AFTER_S
        return RateLimited("Supabase Auth is limiting requests. Wait, then try again.", retry_after_s=min(wait_s, 3600))
    if status >= 500:
        log.warning("supabase_failed", status=status)
        return Unavailable(
            "Supabase Auth, which keeps the users, failed. Try again shortly.",
            code="supabase_unavailable",
            retry_after_s=RETRY_AFTER_S,
        )
    try:
        complaint = msgspec.json.decode(content, type=_Complaint)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        complaint = _Complaint()
    code = complaint.error_code or (complaint.code if isinstance(complaint.code, str) else "") or complaint.error or ""
    if status >= 400 and (code or complaint.msg):
        return Refused(status, code, complaint.message or complaint.msg or complaint.error_description or "")
    # Only the gateway before GoTrue answers without a code: it wants another key, or nothing is behind the address.
    return _key_rejected(key_name) if status == 401 else _malformed()


def _key_rejected(name: str) -> Unavailable:
    log.error("supabase_key_rejected", variable=name)
    return Unavailable(
        f"Supabase does not accept this server's key; the operator of this server must correct {name}.",
        code="supabase_key_rejected",
    )


def _malformed() -> Unavailable:
    log.error("supabase_malformed")
    return Unavailable(
        "Supabase Auth gave an answer that its interface does not allow; the operator of this server should check "
        "SUPABASE_URL.",
        code="supabase_malformed",
    )
