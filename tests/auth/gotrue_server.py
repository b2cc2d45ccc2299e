"""A server on loopback that speaks GoTrue's REST interface, as far as this project uses it, and can misbehave.

Written after the source of supabase/auth (internal/api): status codes and error codes are its own.
"""

import asyncio
import json
import secrets
import time
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key

ANON_KEY = "anon-key"
SERVICE_KEY = "service-role-key"
JWT_SECRET = "shared-" * 6
PASSWORD = "correct horse battery"


@dataclass
class Account:
    """A user of the project."""

    email: str
    password: str = PASSWORD
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    app_metadata: dict[str, Any] = field(default_factory=lambda: {"provider": "email", "providers": ["email"]})
    user_metadata: dict[str, Any] = field(default_factory=dict)
    banned_until: datetime | None = None
    confirmed: bool = True
    anonymous: bool = False
    factors: list[dict[str, str]] = field(default_factory=list)
    created_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def banned(self) -> bool:
        return self.banned_until is not None and self.banned_until > datetime.now(UTC)

    def json(self) -> dict[str, Any]:
        moment = self.created_at.strftime("%Y-%m-%dT%H:%M:%S.%f") + "123Z"  # Go writes nanoseconds
        body = {
            "id": self.id, "aud": "authenticated", "role": "authenticated", "email": self.email, "phone": "",
            "app_metadata": self.app_metadata, "user_metadata": self.user_metadata, "identities": [],
            "created_at": moment, "updated_at": moment, "is_anonymous": self.anonymous,
        }  # fmt: skip
        if self.factors:
            body["factors"] = self.factors
        if self.banned_until is not None:
            body["banned_until"] = self.banned_until.strftime("%Y-%m-%dT%H:%M:%SZ")
        return body


class Refusal(Exception):
    def __init__(self, status: int, code: str, message: str = "no") -> None:
        self.status = status
        self.body = {"code": code, "message": message}


class GoTrueServer:
    """The server.

    Attributes:
        asked: "METHOD /path" of every request.
        behaviour: "hang", "garbage", "page", "redirect", "huge", "500", "429" or "" for every path, or those in `only`.
    """

    def __init__(self, *, algorithm: str = "ES256") -> None:
        self.algorithm = algorithm
        self.accounts: dict[str, Account] = {}
        self.sessions: dict[str, str] = {}  # id → user id
        self.refresh_tokens: dict[str, tuple[str, bool]] = {}  # token → session, used
        self.recovery: dict[str, str] = {}
        self.asked: list[str] = []
        self.behaviour = ""
        self.only = ""
        self.keys: dict[str, EllipticCurvePrivateKey] = {}
        self.signing = ""
        self.rotate()
        self.port = 0
        self._runner: web.AppRunner | None = None
        self._hanging = asyncio.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def issuer(self) -> str:
        return f"{self.url}/auth/v1"

    # --- Its life ---

    async def start(self) -> None:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """From here on, connections are refused; `start` listens on the same port again."""
        self._hanging.set()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def count(self, request: str) -> int:
        return self.asked.count(request)

    # --- What it keeps ---

    def add(self, email: str, role: str | None = None, **attributes: Any) -> Account:
        account = Account(email, **attributes)
        if role is not None:
            account.app_metadata["role"] = role
        self.accounts[account.id] = account
        return account

    def by_email(self, email: str) -> Account | None:
        return next((each for each in self.accounts.values() if each.email == email), None)

    def rotate(self) -> None:
        """Sign with a new key; the old ones stay published."""
        self.signing = f"key-{len(self.keys) + 1}"
        self.keys[self.signing] = generate_private_key(SECP256R1())

    def jwks(self) -> list[dict[str, Any]]:
        if self.algorithm == "HS256":
            return []
        published = []
        for key_id, key in self.keys.items():
            public = jwt.algorithms.ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
            published.append(public | {"kid": key_id, "alg": "ES256", "use": "sig", "key_ops": ["verify"]})
        return published

    def claims(self, account: Account, session: str, **changed: Any) -> dict[str, Any]:
        now = int(time.time())
        claims = {
            "iss": self.issuer, "aud": "authenticated", "sub": account.id, "exp": now + 3600, "iat": now,
            "email": account.email, "role": "authenticated", "aal": "aal1", "session_id": session,
            "is_anonymous": account.anonymous, "app_metadata": account.app_metadata,
            "user_metadata": account.user_metadata,
        }  # fmt: skip
        return {name: value for name, value in (claims | changed).items() if value is not None}

    def token(self, account: Account, session: str = "", **changed: Any) -> str:
        """An access token of a session, a new one unless it is named; None leaves a claim out."""
        session = session or self.begin(account)
        claims = self.claims(account, session, **changed)
        if self.algorithm == "HS256":
            return jwt.encode(claims, JWT_SECRET, "HS256")
        return jwt.encode(claims, self.keys[self.signing], "ES256", headers={"kid": self.signing})

    def begin(self, account: Account) -> str:
        session = str(uuid.uuid4())
        self.sessions[session] = account.id
        return session

    def _grant(self, account: Account, session: str = "") -> web.Response:
        session = session or self.begin(account)
        refresh_token = secrets.token_urlsafe(9)
        self.refresh_tokens[refresh_token] = (session, False)
        return web.json_response({
            "access_token": self.token(account, session), "token_type": "bearer", "expires_in": 3600,
            "expires_at": int(time.time()) + 3600, "refresh_token": refresh_token, "user": account.json(),
        })  # fmt: skip

    # --- What it answers ---

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        asked = f"{request.method} {request.path}"
        self.asked.append(asked)
        if self.behaviour and self.only in asked:
            return await self._misbehave()
        if request.headers.get("apikey") not in (ANON_KEY, SERVICE_KEY):
            return web.json_response({"message": "Invalid API key", "hint": "Double check"}, status=401)
        path = request.path.removeprefix("/auth/v1")
        content = await request.read()
        body = json.loads(content) if content else {}
        try:
            if path.startswith("/admin/"):
                return self._administer(request, path.removeprefix("/admin"), body)
            return self._serve(request, path, body)
        except Refusal as refusal:
            return web.json_response(refusal.body, status=refusal.status)

    async def _misbehave(self) -> web.StreamResponse:
        match self.behaviour:
            case "hang":
                await asyncio.wait_for(self._hanging.wait(), 60)
            case "redirect":
                raise web.HTTPFound(f"{self.url}/elsewhere")
            case "huge":
                return web.json_response({"access_token": "x" * 3_000_000})
            case "page":
                return web.Response(text="<html>not found</html>", content_type="text/html", status=404)
            case "500":
                return web.json_response({"code": "unexpected_failure", "message": "database"}, status=500)
            case "429":
                return web.json_response({"code": "over_request_rate_limit"}, status=429, headers={"retry-after": "7"})
        return web.Response(body=b'{"id": [[[\xff')

    def _serve(self, request: web.Request, path: str, body: dict[str, Any]) -> web.Response:
        match (request.method, path):
            case ("GET", "/health"):
                return web.json_response({"name": "GoTrue", "version": "v2"})
            case ("GET", "/.well-known/jwks.json"):
                return web.json_response({"keys": self.jwks()})
            case ("POST", "/token") if request.query["grant_type"] == "password":
                return self._login(body)
            case ("POST", "/token"):
                return self._refresh(body["refresh_token"])
            case ("POST", "/logout"):
                account, session = self._session(request)
                if request.query["scope"] == "local":
                    del self.sessions[session]
                else:
                    self._end(account)
                return web.Response(status=204)
            case ("GET", "/user"):
                return web.json_response(self._session(request)[0].json())
            case ("PUT", "/user"):
                account, session = self._session(request)
                if body["password"] == account.password:
                    raise Refusal(422, "same_password", "New password should be different from the old password.")
                self._check(body["password"])
                account.password = body["password"]
                self._end(account, but=session)
                return web.json_response(account.json())
            case ("POST", "/verify"):
                found = self.accounts.get(self.recovery.pop(body["token_hash"], ""))
                if found is None or found.banned:
                    raise Refusal(403, "otp_expired", "Email link is invalid or has expired")
                return self._grant(found)
        raise Refusal(404, "not_found")

    def _administer(self, request: web.Request, path: str, body: dict[str, Any]) -> web.Response:
        if request.headers.get("authorization") != f"Bearer {SERVICE_KEY}":
            raise Refusal(403, "not_admin", "User not allowed")
        match (request.method, path.removeprefix("/users")):
            case ("GET", ""):
                number, size = int(request.query.get("page", 1)), int(request.query.get("per_page", 50))
                wanted = request.query.get("filter", "")
                users = [each for each in reversed(self.accounts.values()) if wanted in each.email]
                page = users[(number - 1) * size : number * size]
                return web.json_response({"users": [each.json() for each in page], "aud": "authenticated"})
            case ("POST", ""):
                if self.by_email(body["email"]) is not None:
                    raise Refusal(422, "email_exists", "A user with this email address has already been registered")
                self._check(body.get("password") or PASSWORD)
                account = self.add(body["email"], password=body.get("password") or secrets.token_urlsafe(48))
                return self._change(account, body)
            case ("POST", "/generate_link"):
                found = self.by_email(body["email"])
                if found is None:
                    raise Refusal(404, "user_not_found", "User with this email not found")
                self.recovery = {token: each for token, each in self.recovery.items() if each != found.id}
                token = secrets.token_hex(28)
                self.recovery[token] = found.id
                return web.json_response(found.json() | {"hashed_token": token, "verification_type": "recovery"})
            case (method, rest):
                known = self.accounts.get(rest.removeprefix("/"))
                if known is None:
                    raise Refusal(404, "user_not_found", "User not found")
                return web.json_response(known.json()) if method == "GET" else self._change(known, body)

    def _change(self, account: Account, body: dict[str, Any]) -> web.Response:
        account.app_metadata |= body.get("app_metadata", {})
        account.user_metadata |= body.get("user_metadata", {})
        if duration := body.get("ban_duration"):
            hours = 0 if duration == "none" else int(duration.removesuffix("h"))
            account.banned_until = datetime.now(UTC) + timedelta(hours=hours) if hours else None
        if password := body.get("password"):
            self._check(password)
            account.password = password
            self._end(account)
        return web.json_response(account.json())

    def _login(self, body: dict[str, Any]) -> web.Response:
        account = self.by_email(body["email"])
        if account is None or account.password != body["password"]:
            raise Refusal(400, "invalid_credentials", "Invalid login credentials")
        if account.banned:
            raise Refusal(400, "user_banned", "User is banned")
        if not account.confirmed:
            raise Refusal(400, "email_not_confirmed", "Email not confirmed")
        return self._grant(account)

    def _refresh(self, refresh_token: str) -> web.Response:
        session, used = self.refresh_tokens.get(refresh_token, ("", False))
        account = self.accounts.get(self.sessions.get(session, ""))
        if account is None:
            raise Refusal(400, "refresh_token_not_found", "Invalid Refresh Token: Refresh Token Not Found")
        if account.banned:
            raise Refusal(400, "user_banned", "Invalid Refresh Token: User Banned")
        if used:
            del self.sessions[session]
            raise Refusal(400, "refresh_token_already_used", "Invalid Refresh Token: Already Used")
        self.refresh_tokens[refresh_token] = (session, True)
        return self._grant(account, session)

    def _session(self, request: web.Request) -> tuple[Account, str]:
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        try:
            claims = jwt.decode(token, options={"verify_signature": False})
            key_id = jwt.get_unverified_header(token).get("kid", "")
            key: Any = JWT_SECRET if self.algorithm == "HS256" else self.keys.get(key_id)
            jwt.decode(token, key, algorithms=[self.algorithm], audience="authenticated")
        except jwt.InvalidTokenError:
            raise Refusal(403, "bad_jwt", "invalid JWT") from None
        session = claims.get("session_id", "")
        account = self.accounts.get(claims["sub"])
        if account is None:
            raise Refusal(403, "user_not_found", "User from sub claim in JWT does not exist")
        if session not in self.sessions:
            raise Refusal(403, "session_not_found", "Session from session_id claim in JWT does not exist")
        return account, session  # a ban is for the reader of `banned_until` to see: GoTrue does not check it here

    def _end(self, account: Account, but: str = "") -> None:
        self.sessions = {id_: user for id_, user in self.sessions.items() if user != account.id or id_ == but}

    @staticmethod
    def _check(password: str) -> None:
        if password == "weak weak weak":
            raise Refusal(422, "weak_password", "Password is known to be weak and easy to guess.")
