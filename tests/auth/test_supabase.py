"""Supabase Auth as the directory of users, through the running application and a real GoTrue-speaking server."""

import asyncio
import base64
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from amrikyy.auth.authenticator import FRESH_S
from amrikyy.auth.supabase import SupabaseTokens
from amrikyy.auth.supabase.tokens import OUTAGE_S
from tests.auth.gotrue_server import ANON_KEY, JWT_SECRET, PASSWORD, SERVICE_KEY, Account, GoTrueServer
from tests.cli.test_commands import amrikyy as command
from tests.serving import MakeSettings, Reply, Served, serve

NEW_PASSWORD = "another long password"

Serving = Callable[..., AbstractAsyncContextManager[Served]]


@pytest.fixture
def database_url(sqlite_template: Any, tmp_path: Any) -> str:
    """One database is enough: what differs between the two is tested elsewhere."""
    (tmp_path / "test.db").write_bytes(sqlite_template.read_bytes())
    return f"sqlite:///{tmp_path / 'test.db'}"


@pytest.fixture
async def gotrue() -> AsyncIterator[GoTrueServer]:
    server = GoTrueServer()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
def ana(gotrue: GoTrueServer) -> Account:
    return gotrue.add("ana@example.com", "premium")


@pytest.fixture
def serving(gotrue: GoTrueServer, make_settings: MakeSettings) -> Serving:
    """A server whose users are that project's; what it remembers of a credential grows old at once."""

    @asynccontextmanager
    async def start(*, fresh_s: float = -1, **overrides: Any) -> AsyncIterator[Served]:
        given = {"supabase_url": gotrue.url, "supabase_anon_key": ANON_KEY, "supabase_service_role_key": SERVICE_KEY}
        async with serve(make_settings(**(given | overrides))) as served:
            served.runtime.authenticator._fresh_s = fresh_s
            yield served

    return start


@pytest.fixture
async def server(serving: Serving) -> AsyncIterator[Served]:
    async with serving() as served:
        yield served


async def login(server: Served, email: str = "ana@example.com", password: str = PASSWORD) -> Reply:
    return await server.ask("POST", "/api/auth/login", {"email": email, "password": password}, key=None)


async def me(server: Served, token: str) -> Reply:
    return await server.ask("GET", "/api/auth/me", key=None, headers={"authorization": f"Bearer {token}"})


async def outcome(server: Served, token: str) -> tuple[int, str]:
    reply = await me(server, token)
    return reply.status, reply.json.get("code") or reply.json.get("role")


class Clock:
    """A monotonic clock that a test can put forward."""

    def __init__(self, server: Served) -> None:
        self.ahead_s = 0.0
        verifier = server.runtime.authenticator._verifier
        assert isinstance(verifier, SupabaseTokens)
        verifier._monotonic = verifier._keys._monotonic = self

    def __call__(self) -> float:
        return time.monotonic() + self.ahead_s


# --- A session from its beginning to its end ---


@pytest.mark.parametrize("algorithm", ["ES256", "HS256"])
async def test_logging_in_using_refreshing_and_logging_out(
    gotrue: GoTrueServer, ana: Account, serving: Serving, algorithm: str
) -> None:
    gotrue.algorithm = algorithm
    async with serving(supabase_jwt_secret=JWT_SECRET if algorithm == "HS256" else None) as server:
        first = (await login(server)).json
        assert set(first) == {"success", "token", "refreshToken", "expiresIn", "user"}
        assert (first["user"]["id"], first["user"]["role"], first["expiresIn"]) == (ana.id, "premium", 3600)
        known = (await me(server, first["token"])).json
        assert (known["id"], known["email"], known["role"]) == (f"user:{ana.id}", ana.email, "premium")
        second = (await server.ask("POST", "/api/auth/refresh", {"refreshToken": first["refreshToken"]}, key=None)).json
        assert await outcome(server, second["token"]) == (200, "premium")
        headers = {"authorization": f"Bearer {second['token']}"}
        assert (await server.ask("POST", "/api/auth/logout", key=None, headers=headers)).status == 200
        assert await outcome(server, second["token"]) == (401, "session_over")
        again = await server.ask("POST", "/api/auth/refresh", {"refreshToken": second["refreshToken"]}, key=None)
        assert (again.status, again.json["code"]) == (401, "session_over")


async def test_logging_out_ends_one_session_and_leaves_the_others(server: Served, ana: Account) -> None:
    here, there = (await login(server)).json["token"], (await login(server)).json["token"]
    await server.ask("POST", "/api/auth/logout", key=None, headers={"authorization": f"Bearer {here}"})
    assert [(await me(server, token)).status for token in (here, there)] == [401, 200]


async def test_nobody_learns_why_a_login_failed(server: Served, gotrue: GoTrueServer, ana: Account) -> None:
    gotrue.add("banned@example.com", banned_until=datetime.now(UTC) + timedelta(days=1))
    replies = [
        await login(server, password="wrong"),
        await login(server, "nobody@example.com"),
        await login(server, "banned@example.com"),
        await login(server, "no address"),
    ]
    assert {(reply.status, reply.json["code"], reply.json["message"]) for reply in replies} == {
        (401, "invalid_login", "The e-mail address or the password is wrong.")
    }


async def test_an_unconfirmed_address_is_told_to_whoever_knows_the_password(
    server: Served, gotrue: GoTrueServer
) -> None:
    gotrue.add("new@example.com", confirmed=False)
    assert (await login(server, "new@example.com", "wrong")).json["code"] == "invalid_login"
    reply = await login(server, "new@example.com")
    assert (reply.status, reply.json["code"]) == (401, "email_not_confirmed")


async def test_api_keys_stay_and_local_accounts_are_gone(server: Served) -> None:
    assert (await server.ask("GET", "/api/auth/me", key="admin")).json["role"] == "admin"
    made = await server.ask("POST", "/api/auth/keys", {"name": "app", "role": "premium"}, key="admin")
    headers = {"x-api-key": made.json["key"]}
    assert (await server.ask("GET", "/api/auth/me", key=None, headers=headers)).json["role"] == "premium"


async def test_a_token_of_this_server_is_none_of_supabase(serving: Serving, make_settings: MakeSettings) -> None:
    admin = {"admin_email": "admin@example.com", "admin_password": PASSWORD}
    async with serve(make_settings(**admin)) as local:
        token = (await login(local, "admin@example.com")).json["token"]
    for secret in (None, "j" * 40):  # even a shared secret that is our own makes no token of ours Supabase's
        async with serving(supabase_jwt_secret=secret, **admin) as server:
            assert server.runtime.first_admin is None
            assert await outcome(server, token) == (401, "invalid_token")
            assert (await login(server, "admin@example.com")).status == 401


# --- Roles ---


@pytest.mark.parametrize(
    ("app_metadata", "role"),
    [({"role": "admin"}, "admin"), ({"role": "premium"}, "premium"), ({}, "user"), ({"role": "king"}, "user"),
     ({"role": ["admin"]}, "user"), ({"role": None}, "user"), ({"role": "ADMIN"}, "user")],
)  # fmt: skip
async def test_the_role_is_that_of_the_app_metadata(
    server: Served, gotrue: GoTrueServer, app_metadata: dict[str, Any], role: str
) -> None:
    user = gotrue.add("bo@example.com", app_metadata=app_metadata, user_metadata={"role": "admin", "name": "Bo"})
    known = (await me(server, gotrue.token(user))).json
    assert (known["role"], known["name"]) == (role, "Bo")


async def test_what_counts_is_the_role_now_not_the_one_in_the_token(
    server: Served, gotrue: GoTrueServer, ana: Account
) -> None:
    token = gotrue.token(ana, app_metadata={"role": "internal"})
    assert await outcome(server, token) == (200, "premium")
    ana.app_metadata["role"] = "user"
    assert await outcome(server, token) == (200, "user")


# --- Tokens that are none ---


@pytest.mark.parametrize(
    "changed",
    [{"iss": "https://other.supabase.co/auth/v1"}, {"iss": "supabase"}, {"iss": None}, {"aud": "anon"}, {"aud": None},
     {"sub": None}, {"sub": ""}, {"sub": 7}, {"session_id": None}, {"session_id": ""}, {"exp": None}, {"iat": None},
     {"iat": int(time.time()) + 86_400}],
)  # fmt: skip
async def test_a_token_with_another_claim_is_refused_before_supabase_is_asked(
    server: Served, gotrue: GoTrueServer, ana: Account, changed: dict[str, Any]
) -> None:
    assert await outcome(server, gotrue.token(ana, **changed)) == (401, "invalid_token")
    assert gotrue.count("GET /auth/v1/user") == 0


async def test_an_expired_token_is_refused_after_the_leeway(server: Served, gotrue: GoTrueServer, ana: Account) -> None:
    assert await outcome(server, gotrue.token(ana, exp=int(time.time()) - 10)) == (401, "token_expired")


def _unsigned(claims: dict[str, Any], header: dict[str, Any]) -> str:
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in (header, claims)]
    return f"{parts[0]}.{parts[1]}."


async def test_no_token_chooses_its_own_algorithm(serving: Serving, gotrue: GoTrueServer, ana: Account) -> None:
    session = gotrue.begin(ana)
    claims = gotrue.claims(ana, session)
    public = gotrue.keys[gotrue.signing].public_key()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    header = base64.urlsafe_b64encode(json.dumps({"alg": "HS256", "kid": gotrue.signing}).encode()).rstrip(b"=")
    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=")
    mac = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256).sign(header + b"." + payload, pem)
    confused = b".".join((header, payload, base64.urlsafe_b64encode(mac).rstrip(b"="))).decode()
    forged = {
        "public key as a secret": confused,
        "no signature": _unsigned(claims, {"alg": "none", "kid": gotrue.signing}),
        "no algorithm": _unsigned(claims, {"kid": gotrue.signing}),
        "shared secret": jwt.encode(claims, JWT_SECRET, "HS256", headers={"kid": gotrue.signing}),
        "another key": jwt.encode(claims, generate_private_key(SECP256R1()), "ES256", headers={"kid": gotrue.signing}),
        "its own key": jwt.encode(claims, generate_private_key(SECP256R1()), "ES256",
                                  headers={"jwk": gotrue.jwks()[0], "jku": "http://127.0.0.1:9/", "kid": "x"}),
        "no key id": jwt.encode(claims, gotrue.keys[gotrue.signing], "ES256"),
        "odd key id": jwt.encode(claims, gotrue.keys[gotrue.signing], "ES256", headers={"kid": "k" * 300}),
    }  # fmt: skip
    async with serving() as server:
        for name, token in forged.items():
            assert await outcome(server, token) == (401, "invalid_token"), name
        assert await outcome(server, gotrue.token(ana, session)) == (200, "premium")
    async with serving(supabase_jwt_secret=JWT_SECRET) as server:
        for name, token in (forged | {"public key": gotrue.token(ana, session)}).items():
            if name != "shared secret":
                assert await outcome(server, token) == (401, "invalid_token"), name
        assert gotrue.count("GET /auth/v1/.well-known/jwks.json") == 1, "with a secret, no public key is even fetched"


# --- Keys ---


async def test_a_rotated_key_is_fetched_and_a_flood_of_unknown_ones_is_not(
    serving: Serving, gotrue: GoTrueServer, ana: Account
) -> None:
    fetches = "GET /auth/v1/.well-known/jwks.json"
    async with serving() as server:
        clock = Clock(server)
        assert await outcome(server, gotrue.token(ana)) == (200, "premium")
        other = generate_private_key(SECP256R1())
        forged = [
            jwt.encode(gotrue.claims(ana, "s"), other, "ES256", headers={"kid": f"forged-{number}"})
            for number in range(20)
        ]
        outcomes = await asyncio.gather(*(outcome(server, token) for token in forged))
        assert set(outcomes) == {(401, "invalid_token")}
        assert gotrue.count(fetches) == 1
        clock.ahead_s += 11
        gotrue.rotate()
        outcomes = await asyncio.gather(*(outcome(server, gotrue.token(ana)) for _ in range(20)))
        assert set(outcomes) == {(200, "premium")}
        assert gotrue.count(fetches) == 2


async def test_the_keys_are_fetched_again_when_they_are_old_and_kept_while_supabase_is_down(
    serving: Serving, gotrue: GoTrueServer, ana: Account
) -> None:
    async with serving() as server:
        clock = Clock(server)
        token = gotrue.token(ana)
        assert await outcome(server, token) == (200, "premium")
        gotrue.behaviour, gotrue.only = "500", "jwks"
        for _ in range(3):
            clock.ahead_s += 601
            assert await outcome(server, token) == (200, "premium")
        await asyncio.sleep(0.05)
        assert gotrue.count("GET /auth/v1/.well-known/jwks.json") == 4


async def test_without_any_key_it_is_a_503_and_never_a_401(
    serving: Serving, gotrue: GoTrueServer, ana: Account
) -> None:
    gotrue.behaviour, gotrue.only = "500", "jwks"
    async with serving() as server:
        for _ in range(2):
            reply = await me(server, gotrue.token(ana))
            assert (reply.status, reply.json["code"]) == (503, "supabase_unavailable")
            assert int(reply.headers["retry-after"]) > 0
        assert gotrue.count("GET /auth/v1/.well-known/jwks.json") == 1


async def test_a_secret_or_nonsense_among_the_public_keys_is_not_used(
    serving: Serving, gotrue: GoTrueServer, ana: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = gotrue.jwks()
    secret = {"kty": "oct", "k": base64.urlsafe_b64encode(JWT_SECRET.encode()).decode(), "kid": "oct", "alg": "HS256"}
    odd: list[dict[str, Any]] = [
        secret, {}, {"kty": "EC"}, {"kty": 7, "kid": "a"}, {"kty": "EC", "crv": "P-256", "x": "!", "y": "", "kid": "b"},
        {"kty": "RSA", "alg": ["RS256"], "kid": "c"}, good[0] | {"kid": "enc", "use": "enc"}, good[0] | {"kid": 7},
    ]  # fmt: skip
    monkeypatch.setattr(gotrue, "jwks", lambda: odd + good)
    forged = jwt.encode(gotrue.claims(ana, "s"), JWT_SECRET, "HS256", headers={"kid": "oct"})
    gotrue.keys["enc"] = gotrue.keys[gotrue.signing]
    not_for_signing = jwt.encode(
        gotrue.claims(ana, gotrue.begin(ana)), gotrue.keys["enc"], "ES256", headers={"kid": "enc"}
    )
    async with serving() as server:
        assert await outcome(server, forged) == (401, "invalid_token")
        assert await outcome(server, not_for_signing) == (401, "invalid_token")
        assert await outcome(server, gotrue.token(ana)) == (200, "premium")


# --- Whoever is locked out is out ---


async def test_supabase_is_asked_once_in_some_seconds(serving: Serving, gotrue: GoTrueServer, ana: Account) -> None:
    assert FRESH_S <= 5
    async with serving(fresh_s=FRESH_S) as server:
        token = gotrue.token(ana)
        await asyncio.gather(*(me(server, token) for _ in range(20)))
        assert gotrue.count("GET /auth/v1/user") == 1


@pytest.mark.parametrize("how", ["ban", "end", "delete", "anonymous", "factor"])
async def test_a_locked_out_user_is_out_with_a_token_that_is_still_valid(
    serving: Serving, gotrue: GoTrueServer, ana: Account, how: str
) -> None:
    async with serving(fresh_s=0.1) as server:
        token = gotrue.token(ana)
        assert await outcome(server, token) == (200, "premium")
        match how:
            case "ban":
                ana.banned_until = datetime.now(UTC) + timedelta(days=1)
            case "end":
                gotrue.sessions.clear()
            case "delete":
                gotrue.accounts.clear()
            case "anonymous":
                ana.anonymous = True
            case "factor":
                ana.factors = [{"id": "1", "factor_type": "totp", "status": "verified"}]
        await asyncio.sleep(0.15)
        codes = {"ban": "account_disabled", "anonymous": "anonymous_user", "factor": "second_factor_required"}
        assert await outcome(server, token) == (401, codes.get(how, "session_over"))


async def test_a_second_factor_counts_and_a_ban_ends(server: Served, gotrue: GoTrueServer, ana: Account) -> None:
    ana.factors = [{"status": "verified"}, {"status": "unverified"}]
    ana.banned_until = datetime.now(UTC) - timedelta(seconds=1)
    assert await outcome(server, gotrue.token(ana, aal="aal2")) == (200, "premium")


async def test_an_outage_is_survived_for_a_minute_by_sessions_that_were_good(
    serving: Serving, gotrue: GoTrueServer, ana: Account
) -> None:
    async with serving() as server:
        clock = Clock(server)
        token, other = gotrue.token(ana), gotrue.token(ana)
        assert await outcome(server, token) == (200, "premium")
        await gotrue.stop()
        assert await outcome(server, token) == (200, "premium")
        assert await outcome(server, other) == (503, "supabase_unavailable"), "nobody has ever called it good"
        clock.ahead_s = OUTAGE_S + 1
        assert await outcome(server, token) == (503, "supabase_unavailable")
        await gotrue.start()
        assert await outcome(server, token) == (200, "premium")


async def test_who_was_locked_out_stays_out_in_an_outage(serving: Serving, gotrue: GoTrueServer, ana: Account) -> None:
    async with serving() as server:
        token = gotrue.token(ana)
        assert await outcome(server, token) == (200, "premium")
        gotrue.sessions.clear()
        assert await outcome(server, token) == (401, "session_over")
        await gotrue.stop()
        assert await outcome(server, token) == (503, "supabase_unavailable")


async def test_a_hanging_supabase_costs_one_wait_and_blocks_nobody(
    serving: Serving, gotrue: GoTrueServer, ana: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving() as server:
        token = gotrue.token(ana)
        assert await outcome(server, token) == (200, "premium")
        _be_impatient(monkeypatch)
        gotrue.behaviour = "hang"
        waiting = asyncio.create_task(outcome(server, token))
        await asyncio.sleep(0.05)
        began = time.perf_counter()
        assert (await server.ask("GET", "/api/auth/me", key="admin")).status == 200
        assert time.perf_counter() - began < 0.2
        assert await waiting == (200, "premium")
        asked = gotrue.count("GET /auth/v1/user")
        assert await outcome(server, token) == (200, "premium")
        assert gotrue.count("GET /auth/v1/user") == asked, "it is left alone for a while"


def _be_impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("amrikyy.auth.supabase.gotrue.TIMEOUT_S", 0.3)


# --- A Supabase that is not well ---


@pytest.mark.parametrize(
    ("behaviour", "status", "code"),
    [("hang", 503, "supabase_unavailable"), ("500", 503, "supabase_unavailable"), ("429", 429, "rate_limited"),
     ("garbage", 503, "supabase_malformed"), ("page", 503, "supabase_malformed"), ("huge", 503, "supabase_malformed"),
     ("redirect", 503, "supabase_malformed")],
)  # fmt: skip
async def test_a_supabase_that_is_not_well_is_an_error_that_says_so(
    server: Served,
    gotrue: GoTrueServer,
    ana: Account,
    monkeypatch: pytest.MonkeyPatch,
    behaviour: str,
    status: int,
    code: str,
) -> None:
    _be_impatient(monkeypatch)
    tokens = (await login(server)).json
    gotrue.behaviour = behaviour
    headers = {"authorization": f"Bearer {tokens['token']}"}
    for reply in (
        await login(server),
        await server.ask("POST", "/api/auth/refresh", {"refreshToken": tokens["refreshToken"]}, key=None),
        await server.ask("GET", "/api/auth/users", key="admin"),
    ):
        assert (reply.status, reply.json["code"]) == (status, code)
        if "retry-after" in reply.headers or status == 429:
            assert int(reply.headers["retry-after"]) in (5, 7)
        assert PASSWORD.encode() not in reply.body
    assert (await server.ask("GET", "/api/auth/me", key=None, headers=headers)).status == 503
    assert f"GET {gotrue.url}/elsewhere" not in gotrue.asked
    health = (await server.ask("GET", "/api/health", key=None)).json
    assert health["components"]["supabase"]["status"] == "unhealthy"
    assert health["status"] == "degraded"


async def test_a_dead_supabase_leaves_api_keys_working(server: Served, gotrue: GoTrueServer, ana: Account) -> None:
    assert (await server.ask("GET", "/api/health", key=None)).json["components"]["supabase"]["status"] == "healthy"
    await gotrue.stop()
    reply = await login(server)
    assert (reply.status, reply.json["code"], reply.headers["retry-after"]) == (503, "supabase_unavailable", "5")
    assert (await server.ask("GET", "/api/auth/me", key="admin")).status == 200


async def test_a_wrong_key_of_this_server_is_not_the_callers_fault(
    serving: Serving, gotrue: GoTrueServer, ana: Account
) -> None:
    async with serving(supabase_anon_key="wrong") as server:
        reply = await login(server)
        assert (reply.status, reply.json["code"]) == (503, "supabase_key_rejected")
        assert "SUPABASE_ANON_KEY" in reply.json["message"]
    async with serving(supabase_service_role_key="wrong") as server:
        reply = await server.ask("GET", "/api/auth/users", key="admin")
        assert (reply.status, reply.json["code"]) == (503, "supabase_key_rejected")
    async with serving(supabase_service_role_key=ANON_KEY) as server:
        reply = await server.ask("GET", "/api/auth/users", key="admin")
        assert "SUPABASE_SERVICE_ROLE_KEY" in reply.json["message"]


async def test_a_project_whose_tokens_are_not_accepted_is_told_at_the_login(
    serving: Serving, gotrue: GoTrueServer, ana: Account
) -> None:
    gotrue.algorithm = "HS256"
    async with serving() as server:
        reply = await login(server)
        assert (reply.status, reply.json["code"]) == (503, "supabase_misconfigured")
        assert "SUPABASE_JWT_SECRET" in reply.json["message"]


# --- Passwords ---


async def change(server: Served, token: str, current: str = PASSWORD, new: str = NEW_PASSWORD) -> Reply:
    body = {"currentPassword": current, "newPassword": new}
    return await server.ask("POST", "/api/auth/password", body, key=None, headers={"authorization": f"Bearer {token}"})


async def test_changing_the_password_ends_all_other_sessions(
    server: Served, gotrue: GoTrueServer, ana: Account
) -> None:
    here, there = (await login(server)).json["token"], (await login(server)).json["token"]
    wrong = await change(server, here, current="wrong")
    assert (wrong.status, wrong.json["code"]) == (403, "wrong_password")
    changed = await change(server, here)
    assert changed.status == 200
    assert [await outcome(server, token) for token in (here, there)] == [(401, "session_over")] * 2
    assert await outcome(server, changed.json["token"]) == (200, "premium")
    assert ana.password == NEW_PASSWORD
    log = (await server.ask("GET", "/api/audit", key="admin")).json["entries"]
    assert [(entry["action"], entry["actor"]) for entry in log] == [("user.change_password", f"user:{ana.id}")]
    body = {"currentPassword": PASSWORD, "newPassword": NEW_PASSWORD}
    assert (await server.ask("POST", "/api/auth/password", body, key="user")).status == 403, "a key has no password"


@pytest.mark.parametrize(("new", "kind"), [("weak weak weak", "weak_password"), (PASSWORD, "same_password")])
async def test_a_password_that_supabase_does_not_accept_is_a_wrong_field_and_leaves_no_session(
    server: Served, gotrue: GoTrueServer, ana: Account, new: str, kind: str
) -> None:
    token = (await login(server)).json["token"]
    reply = await change(server, token, new=new)
    assert (reply.status, reply.json["details"][0]["field"], reply.json["details"][0]["type"]) == (
        400, "newPassword", kind,
    )  # fmt: skip
    assert len(gotrue.sessions) == 1


# --- Administration ---


async def test_users_are_administered(server: Served, gotrue: GoTrueServer) -> None:
    body = {"email": "Bo@Example.com", "password": PASSWORD, "role": "premium", "name": "Bo"}
    made = await server.ask("POST", "/api/auth/users", body, key="admin")
    assert made.status == 201, made.body
    user = made.json["user"]
    assert (user["email"], user["role"], user["name"], user["disabled"]) == ("bo@example.com", "premium", "Bo", False)
    assert (await server.ask("POST", "/api/auth/users", body, key="admin")).json["code"] == "user_exists"
    path = f"/api/auth/users/{user['id']}"
    assert (await server.ask("GET", path, key="admin")).json["user"] == user
    token = (await login(server, "bo@example.com")).json["token"]
    changed = await server.ask("PATCH", path, {"role": "user", "name": "Robert", "disabled": True}, key="admin")
    assert changed.status == 200, changed.body
    seen = changed.json["user"]
    assert (seen["role"], seen["name"], seen["disabled"]) == ("user", "Robert", True)
    assert gotrue.accounts[user["id"]].app_metadata["provider"] == "email", "what else is there stays"
    assert await outcome(server, token) == (401, "account_disabled")
    assert (await login(server, "bo@example.com")).status == 401
    await server.ask("PATCH", path, {"disabled": False}, key="admin")
    assert await outcome(server, token) == (200, "user")
    log = (await server.ask("GET", "/api/audit", key="admin")).json["entries"]
    assert [entry["action"] for entry in reversed(log)] == [
        "user.create", "user.create", "user.change", "user.change",
    ]  # fmt: skip
    assert PASSWORD not in json.dumps(log)


async def test_users_are_found_by_address_and_unknown_ones_are_a_404(
    server: Served, gotrue: GoTrueServer, ana: Account
) -> None:
    gotrue.add("joana@example.com")
    accounts = server.runtime.accounts
    assert (await accounts.user("ANA@example.com")).id == ana.id
    await accounts.reset_password("ana@example.com", NEW_PASSWORD)
    assert ana.password == NEW_PASSWORD
    for who in ("nobody@example.com", "a@example.com", "0" * 32, "00000000-0000-0000-0000-000000000000", "..%2fx"):
        assert (await server.ask("GET", f"/api/auth/users/{who}", key="admin")).status == 404


async def test_lists_are_paged(server: Served, gotrue: GoTrueServer) -> None:
    for number in range(5):
        gotrue.add(f"user{number}@example.com")
    emails: list[str] = []
    cursor = ""
    while True:
        page = (await server.ask("GET", f"/api/auth/users?limit=2{cursor}", key="admin")).json
        emails += [user["email"] for user in page["users"]]
        if page["nextCursor"] is None:
            break
        cursor = f"&cursor={page['nextCursor']}"
    assert emails == [f"user{number}@example.com" for number in reversed(range(5))]
    assert len([user async for user in server.runtime.accounts.each_user()]) == 5
    wrong = await server.ask("GET", "/api/auth/users?cursor=x", key="admin")
    assert (wrong.status, wrong.json["details"][0]["field"]) == (400, "cursor")


async def test_nobody_reaches_above_its_own_role(server: Served, gotrue: GoTrueServer) -> None:
    boss = gotrue.add("boss@example.com", "internal")
    for method, path, body in (
        ("POST", "/api/auth/users", {"email": "x@example.com", "role": "internal"}),
        ("PATCH", f"/api/auth/users/{boss.id}", {"role": "user"}),
        ("PATCH", f"/api/auth/users/{boss.id}", {"disabled": True}),
        ("PATCH", f"/api/auth/users/{boss.id}", {"name": "x"}),
        ("POST", f"/api/auth/users/{boss.id}/password-reset", None),
    ):
        refused = await server.ask(method, path, body, key="admin")
        assert (refused.status, refused.json["code"]) == (403, "role_too_high"), (method, path)
    assert set(gotrue.accounts) == {boss.id}
    assert (boss.app_metadata["role"], boss.banned, boss.user_metadata) == ("internal", False, {})
    log = (await server.ask("GET", "/api/audit", key="admin")).json["entries"]
    assert [entry["outcome"] for entry in log] == ["denied"] * 5


async def test_the_last_admin_stays(server: Served, gotrue: GoTrueServer, monkeypatch: pytest.MonkeyPatch) -> None:
    first = gotrue.add("first@example.com", "admin")
    path = f"/api/auth/users/{first.id}"
    for number in range(3):
        gotrue.add(f"user{number}@example.com")
    gotrue.add("banned@example.com", "admin").banned_until = datetime(2999, 1, 1, tzinfo=UTC)
    for change in ({"role": "premium"}, {"disabled": True}, {"disabled": True, "role": "admin"}):
        refused = await server.ask("PATCH", path, change, key="admin")
        assert (refused.status, refused.json["code"]) == (409, "last_admin")
    assert (first.app_metadata["role"], first.banned) == ("admin", False)
    assert (await server.ask("PATCH", path, {"role": "admin", "name": "First"}, key="admin")).status == 200
    second = gotrue.add("second@example.com", "admin")
    monkeypatch.setattr("amrikyy.auth.supabase.accounts.MAX_LOOKED_THROUGH", 1)
    token = (await login(server, "second@example.com")).json["token"]
    bearer = {"authorization": f"Bearer {token}"}
    demoted = await server.ask("PATCH", path, {"role": "user"}, key=None, headers=bearer)
    assert demoted.status == 200, "whoever asks is another one"
    alone = await server.ask("PATCH", f"/api/auth/users/{second.id}", {"role": "user"}, key=None, headers=bearer)
    assert (alone.status, alone.json["code"]) == (409, "last_admin")


async def test_a_one_time_link_sets_a_password_once_and_ends_all_sessions(
    server: Served, gotrue: GoTrueServer, ana: Account
) -> None:
    token = (await login(server)).json["token"]
    path = f"/api/auth/users/{ana.id}/password-reset"
    older, newer = [(await server.ask("POST", path, key="admin")).json["reset"]["token"] for _ in range(2)]

    async def redeem(link: str) -> Reply:
        body = {"token": link, "newPassword": NEW_PASSWORD}
        return await server.ask("POST", "/api/auth/password/reset", body, key=None)

    assert (await redeem(older)).json["code"] == "invalid_reset"
    assert (await redeem(newer)).status == 200
    assert (await redeem(newer)).json["code"] == "invalid_reset"
    assert gotrue.sessions == {}
    assert await outcome(server, token) == (401, "session_over")
    assert (await login(server, password=NEW_PASSWORD)).status == 200
    log = (await server.ask("GET", "/api/audit", key="admin")).json["entries"]
    assert [entry["action"] for entry in log] == ["user.redeem_reset", "user.offer_reset", "user.offer_reset"]


@pytest.mark.parametrize("change", [{"role": "admin"}, {"disabled": True}])
async def test_a_higher_role_and_a_ban_void_one_time_links(
    server: Served, gotrue: GoTrueServer, ana: Account, change: dict[str, Any]
) -> None:
    path = f"/api/auth/users/{ana.id}"
    link = (await server.ask("POST", f"{path}/password-reset", key="admin")).json["reset"]["token"]
    assert (await server.ask("PATCH", path, change, key="admin")).status == 200
    await server.ask("PATCH", path, {"disabled": False}, key="admin")
    body = {"token": link, "newPassword": NEW_PASSWORD}
    assert (await server.ask("POST", "/api/auth/password/reset", body, key=None)).status == 401
    assert ana.password == PASSWORD


async def test_without_the_service_role_key_nobody_is_administered(serving: Serving, ana: Account) -> None:
    async with serving(supabase_service_role_key=None) as server:
        assert (await login(server)).status == 200
        for method, path, body in (
            ("GET", "/api/auth/users", None),
            ("POST", "/api/auth/users", {"email": "x@example.com"}),
            ("PATCH", f"/api/auth/users/{ana.id}", {"role": "user"}),
        ):
            reply = await server.ask(method, path, body, key="admin")
            assert (reply.status, reply.json["code"]) == (403, "users_elsewhere")
        assert (await server.ask("GET", "/api/audit", key="admin")).json["entries"] == []


async def test_the_operator_administers_the_same_users(gotrue: GoTrueServer, tmp_path: Path) -> None:
    environment = {"SUPABASE_URL": gotrue.url, "SUPABASE_ANON_KEY": ANON_KEY, "PYTHONPATH": os.pathsep.join(sys.path)}

    async def amrikyy(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        return await asyncio.to_thread(command, tmp_path, *arguments, **environment, **more)

    key = {"SUPABASE_SERVICE_ROLE_KEY": SERVICE_KEY}
    create = ("users", "create", "bo@example.com", "--role", "admin", "--password", PASSWORD)
    refused = await amrikyy(*create)
    assert (refused.returncode, gotrue.accounts) == (1, {})
    assert "SUPABASE_SERVICE_ROLE_KEY" in refused.stderr
    assert (await amrikyy(*create, **key)).returncode == 0
    listed = await amrikyy("users", "list", **key)
    assert "bo@example.com" in listed.stdout
    bo = gotrue.by_email("bo@example.com")
    assert bo is not None
    assert bo.app_metadata["role"] == "admin"


async def test_the_banner_says_whose_users_log_in(server: Served, gotrue: GoTrueServer) -> None:
    assert server.runtime.users_name == f"Supabase Auth (127.0.0.1:{gotrue.port})"
