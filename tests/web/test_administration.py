"""Users, keys, passwords and the audit log over HTTP: what may be done, by whom, and what is written down."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from amrikyy.auth.authenticator import FRESH_S
from tests.serving import KEYS, MakeSettings, Reply, Served, serve
from tests.web.test_identity import ADMIN, FIRST_ADMIN

PASSWORD = "a new long password"
BOSS_KEY = "api_" + "5" * 32


@pytest.fixture
async def server(make_settings: MakeSettings) -> AsyncIterator[Served]:
    keys = ",".join(f"{KEYS[name]}:{role}" for name, role in (("user", "user"), ("admin", "admin")))
    settings = make_settings(valid_api_keys=f"{keys},{BOSS_KEY}:internal", password_reset_url="https://app.example/new",
                             **FIRST_ADMIN)  # fmt: skip
    async with serve(settings) as served:
        # What is remembered of a credential grows old at once, instead of within seconds.
        served.runtime.authenticator._fresh_s = -1
        yield served


async def login(server: Served, email: str, password: str = PASSWORD) -> Reply:
    return await server.ask("POST", "/api/auth/login", {"email": email, "password": password}, key=None)


def bearer(tokens: Any) -> dict[str, str]:
    return {"authorization": f"Bearer {tokens['token']}"}


async def create(server: Served, email: str, role: str = "user", password: str | None = PASSWORD) -> Any:
    body = {"email": email, "role": role} | ({"password": password} if password else {})
    reply = await server.ask("POST", "/api/auth/users", body, key="admin")
    assert reply.status == 201, reply.body
    return reply.json


async def acts(server: Served, query: str = "") -> list[dict[str, Any]]:
    reply = await server.ask("GET", f"/api/audit?limit=100{query}", key="admin")
    entries: list[dict[str, Any]] = reply.json["entries"]
    return entries


async def test_users_are_created_listed_changed_and_locked_out(server: Served) -> None:
    user = (await create(server, "Ana@Example.com"))["user"]
    assert (user["email"], user["role"], user["disabled"], user["name"]) == ("ana@example.com", "user", False, None)
    path = f"/api/auth/users/{user['id']}"
    assert (await server.ask("GET", path, key="admin")).json["user"] == user
    tokens = (await login(server, "ana@example.com")).json
    assert (await server.ask("GET", "/api/auth/me", key=None, headers=bearer(tokens))).json["role"] == "user"
    changed = await server.ask("PATCH", path, {"role": "premium", "name": "Ana"}, key="admin")
    assert (changed.json["user"]["role"], changed.json["user"]["name"]) == ("premium", "Ana")
    me = await server.ask("GET", "/api/auth/me", key=None, headers=bearer(tokens))
    assert me.json["role"] == "premium", "a change counts for tokens already issued"
    await server.ask("PATCH", path, {"disabled": True}, key="admin")
    locked = await server.ask("GET", "/api/auth/me", key=None, headers=bearer(tokens))
    assert (locked.status, locked.json["code"]) == (401, "account_disabled")
    assert (await login(server, "ana@example.com")).status == 401
    await server.ask("PATCH", path, {"disabled": False}, key="admin")
    assert (await login(server, "ana@example.com")).status == 200
    assert (await server.ask("GET", "/api/auth/me", key=None, headers=bearer(tokens))).status == 401


async def test_lists_are_paged(server: Served) -> None:
    for number in range(4):
        await create(server, f"user{number}@example.com")
    emails: list[str] = []
    cursor = ""
    while True:
        page = (await server.ask("GET", f"/api/auth/users?limit=2{cursor}", key="admin")).json
        assert page["count"] == len(page["users"]) <= 2
        emails += [user["email"] for user in page["users"]]
        if page["nextCursor"] is None:
            break
        cursor = f"&cursor={page['nextCursor']}"
    assert emails == ["admin@example.com", *(f"user{number}@example.com" for number in range(4))]


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/api/auth/users"), ("POST", "/api/auth/users"), ("GET", "/api/auth/users/x"),
     ("PATCH", "/api/auth/users/x"), ("POST", "/api/auth/users/x/password-reset"), ("GET", "/api/auth/keys"),
     ("POST", "/api/auth/keys"), ("DELETE", "/api/auth/keys/x"), ("GET", "/api/audit")],
)  # fmt: skip
async def test_administration_is_for_administrators(server: Served, method: str, path: str) -> None:
    assert (await server.ask(method, path, key=None)).status == 401
    refused = await server.ask(method, path, key="user")
    assert (refused.status, refused.json["details"][0]["permission"]) == (403, "agent:manage")


async def test_nobody_reaches_above_its_own_role(server: Served) -> None:
    boss = await server.ask("POST", "/api/auth/users", {"email": "boss@example.com", "role": "internal"}, key=None,
                            headers={"x-api-key": BOSS_KEY})  # fmt: skip
    boss_id = boss.json["user"]["id"]
    key = await server.ask("POST", "/api/auth/keys", {"name": "root", "role": "internal"}, key=None,
                           headers={"x-api-key": BOSS_KEY})  # fmt: skip
    user_id = (await create(server, "ana@example.com"))["user"]["id"]
    for method, path, body in (
        ("POST", "/api/auth/users", {"email": "x@example.com", "role": "internal"}),
        ("PATCH", f"/api/auth/users/{user_id}", {"role": "internal"}),
        ("PATCH", f"/api/auth/users/{boss_id}", {"role": "user"}),
        ("PATCH", f"/api/auth/users/{boss_id}", {"disabled": True}),
        ("PATCH", f"/api/auth/users/{boss_id}", {"name": "x"}),
        ("POST", f"/api/auth/users/{boss_id}/password-reset", None),
        ("POST", "/api/auth/keys", {"name": "x", "role": "internal"}),
        ("DELETE", f"/api/auth/keys/{key.json['info']['id']}", None),
    ):
        refused = await server.ask(method, path, body, key="admin")
        assert (refused.status, refused.json["code"]) == (403, "role_too_high"), (method, path)


async def test_wrong_requests_name_their_fields_and_change_nothing(server: Served) -> None:
    user_id = (await create(server, "ana@example.com"))["user"]["id"]
    before = len(await acts(server))
    for method, path, body, field in (
        ("POST", "/api/auth/users", {"email": "no address"}, "email"),
        ("POST", "/api/auth/users", {"email": "x@example.com", "password": "short"}, "password"),
        ("POST", "/api/auth/users", {"email": "x@example.com", "isAdmin": True}, "isAdmin"),
        ("PATCH", f"/api/auth/users/{user_id}", {}, "(body)"),
        ("PATCH", f"/api/auth/users/{user_id}", {"id": "x"}, "id"),
        ("PATCH", f"/api/auth/users/{user_id}", {"role": "king"}, "role"),
        ("POST", "/api/auth/keys", {"name": "x", "expiresAt": "2001-01-01T00:00:00Z"}, "expiresAt"),
        ("POST", "/api/auth/keys", {"name": "x", "expiresAt": "2099-01-01T00:00:00"}, "expiresAt"),
        ("PATCH", f"/api/auth/users/{user_id}", {"role": "premium", "name": "a\x00b"}, "name"),
        ("POST", "/api/auth/keys", {"name": "x", "expiresAt": "9999-12-31T23:59:59-14:00"}, "expiresAt"),
        ("GET", "/api/audit?since=yesterday", None, "since"),
        ("GET", "/api/audit?since=0001-01-01T00:00:00%2B14:00", None, "since"),
        ("GET", "/api/audit?actor=%00", None, "actor"),
        ("GET", "/api/audit?cursor=%00", None, "cursor"),
        ("GET", "/api/auth/keys?createdBy=%00", None, "createdBy"),
        ("GET", "/api/auth/keys?cursor=x", None, "cursor"),
        ("GET", "/api/auth/users?cursor=x", None, "cursor"),
    ):
        reply = await server.ask(method, path, body, key="admin")
        assert (reply.status, reply.json["details"][0]["field"]) == (400, field), reply.body
    assert (await server.ask("POST", "/api/auth/users", {"email": "ANA@example.com"}, key="admin")).status == 409
    assert (await server.ask("PATCH", "/api/auth/users/" + "0" * 32, {"name": "x"}, key="admin")).status == 404
    assert (await server.ask("GET", f"/api/auth/users/{user_id}", key="admin")).json["user"]["role"] == "user"
    assert len(await acts(server)) == before


async def test_all_wrong_fields_are_named_at_once(server: Served) -> None:
    body = {"email": "no address", "password": "short", "name": "\x00", "role": "king", "isAdmin": True}
    reply = await server.ask("POST", "/api/auth/users", body, key="admin")
    assert {detail["field"] for detail in reply.json["details"]} == set(body)
    reset = {"token": "", "newPassword": "short"}
    reply = await server.ask("POST", "/api/auth/password/reset", reset, key=None)
    assert {detail["field"] for detail in reply.json["details"]} == set(reset)
    assert "short" not in reply.body.decode().replace("too_short", "")


async def test_no_cache_keeps_a_token_or_a_key(server: Served) -> None:
    made = await server.ask("POST", "/api/auth/keys", {"name": "app"}, key="admin")
    logged_in = await login(server, ADMIN["email"], ADMIN["password"])
    listed = await server.ask("GET", "/api/auth/users", key="admin")
    assert [reply.headers["cache-control"] for reply in (made, logged_in, listed)] == ["no-store"] * 3


async def test_a_change_is_made_wholly_or_not_at_all_and_what_was_denied_is_recorded(server: Served) -> None:
    user_id = (await create(server, "ana@example.com"))["user"]["id"]
    path = f"/api/auth/users/{user_id}"
    denied = await server.ask("PATCH", path, {"disabled": True, "role": "internal"}, key="admin")
    assert (denied.status, denied.json["code"]) == (403, "role_too_high")
    user = (await server.ask("GET", path, key="admin")).json["user"]
    assert (user["role"], user["disabled"]) == ("user", False)
    (entry,) = await acts(server, "&outcome=denied")
    assert (entry["action"], entry["target"]) == ("user.change", user_id)
    assert entry["details"] == {"role": "internal", "disabled": True}
    assert entry["actorRole"] == "admin"


async def test_a_link_is_void_once_its_user_has_a_higher_role(server: Served) -> None:
    made = await create(server, "ana@example.com", password=None)
    path = f"/api/auth/users/{made['user']['id']}"
    promoted = await server.ask("PATCH", path, {"role": "internal"}, key=None, headers={"x-api-key": BOSS_KEY})
    assert promoted.status == 200
    assert (await redeem(server, made["reset"]["token"])).status == 401


async def test_the_last_admin_stays(server: Served) -> None:
    admin = (await server.ask("GET", "/api/auth/users", key="admin")).json["users"][0]
    for change in ({"role": "user"}, {"disabled": True}):
        reply = await server.ask("PATCH", f"/api/auth/users/{admin['id']}", change, key="admin")
        assert (reply.status, reply.json["code"]) == (409, "last_admin")


async def test_a_key_is_shown_once_has_its_role_and_stops_working_when_it_is_revoked(server: Served) -> None:
    later = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    made = await server.ask("POST", "/api/auth/keys", {"name": "app", "role": "premium", "expiresAt": later},
                            key="admin")  # fmt: skip
    key, info = made.json["key"], made.json["info"]
    assert (made.status, info["state"], info["role"]) == (201, "active", "premium")
    assert key.startswith(info["prefix"])
    headers = {"x-api-key": key}
    assert (await server.ask("GET", "/api/auth/me", key=None, headers=headers)).json["role"] == "premium"
    listed = await server.ask("GET", f"/api/auth/keys?createdBy={info['createdBy']}", key="admin")
    assert [each["id"] for each in listed.json["keys"]] == [info["id"]]
    assert key.encode() not in listed.body
    path = f"/api/auth/keys/{info['id']}"
    assert (await server.ask("DELETE", path, key="admin")).status == 200
    assert (await server.ask("GET", "/api/auth/me", key=None, headers=headers)).status == 401
    assert (await server.ask("DELETE", path, key="admin")).status == 404
    assert (await server.ask("GET", "/api/auth/keys", key="admin")).json["keys"][0]["state"] == "revoked"


async def test_running_processes_hear_of_a_revocation_within_seconds(make_settings: MakeSettings) -> None:
    assert FRESH_S <= 5
    async with serve(make_settings()) as one, serve(make_settings()) as two:
        two.runtime.authenticator._fresh_s = 0.2
        made = await one.ask("POST", "/api/auth/keys", {"name": "app"}, key="admin")
        headers = {"x-api-key": made.json["key"]}
        assert (await two.ask("GET", "/api/auth/me", key=None, headers=headers)).status == 200
        await one.ask("DELETE", f"/api/auth/keys/{made.json['info']['id']}", key="admin")
        await asyncio.sleep(0.25)
        assert (await two.ask("GET", "/api/auth/me", key=None, headers=headers)).status == 401


async def test_changing_the_password_ends_all_other_logins(server: Served) -> None:
    await create(server, "ana@example.com")
    here, elsewhere = (await login(server, "ana@example.com")).json, (await login(server, "ana@example.com")).json
    body = {"currentPassword": PASSWORD, "newPassword": "another long password"}
    wrong = await server.ask("POST", "/api/auth/password", body | {"currentPassword": "x"}, key=None,
                             headers=bearer(here))  # fmt: skip
    assert (wrong.status, wrong.json["code"]) == (403, "wrong_password")
    changed = await server.ask("POST", "/api/auth/password", body, key=None, headers=bearer(here))
    assert changed.status == 200
    for tokens in (here, elsewhere):
        assert (await server.ask("GET", "/api/auth/me", key=None, headers=bearer(tokens))).status == 401
        refresh = {"refreshToken": tokens["refreshToken"]}
        assert (await server.ask("POST", "/api/auth/refresh", refresh, key=None)).status == 401
    assert (await server.ask("GET", "/api/auth/me", key=None, headers=bearer(changed.json))).status == 200
    assert (await login(server, "ana@example.com")).status == 401
    assert (await login(server, "ana@example.com", "another long password")).status == 200
    assert (await server.ask("POST", "/api/auth/password", body, key="user")).status == 403, "a key has no password"


async def test_a_stolen_refresh_token_ends_its_family_and_no_other(server: Served) -> None:
    await create(server, "ana@example.com")
    mine, other = (await login(server, "ana@example.com")).json, (await login(server, "ana@example.com")).json
    stolen = {"refreshToken": mine["refreshToken"]}
    renewed = await server.ask("POST", "/api/auth/refresh", stolen, key=None)
    assert (await server.ask("POST", "/api/auth/refresh", stolen, key=None)).status == 401
    newest = {"refreshToken": renewed.json["refreshToken"]}
    assert (await server.ask("POST", "/api/auth/refresh", newest, key=None)).status == 401
    assert (await server.ask("GET", "/api/auth/me", key=None, headers=bearer(renewed.json))).status == 401
    assert (await server.ask("GET", "/api/auth/me", key=None, headers=bearer(other))).status == 200


async def redeem(server: Served, token: str, password: str = PASSWORD) -> Reply:
    return await server.ask("POST", "/api/auth/password/reset", {"token": token, "newPassword": password}, key=None)


async def test_a_one_time_link_works_once_and_only_the_newest_does(server: Served) -> None:
    made = await create(server, "ana@example.com", password=None)
    path = f"/api/auth/users/{made['user']['id']}/password-reset"
    assert made["reset"]["url"] == f"https://app.example/new#{made['reset']['token']}"
    assert (await login(server, "ana@example.com", "!")).status == 401
    newer = (await server.ask("POST", path, key="admin")).json["reset"]["token"]
    assert (await redeem(server, newer, "short")).status == 400
    refusals = [await redeem(server, token) for token in (made["reset"]["token"], "rst_unknown", "x")]
    assert {(reply.status, reply.json["code"]) for reply in refusals} == {(401, "invalid_reset")}
    assert len({reply.json["message"] for reply in refusals}) == 1
    assert (await redeem(server, newer)).status == 200
    assert (await redeem(server, newer)).status == 401
    tokens = (await login(server, "ana@example.com")).json
    voided = (await server.ask("POST", path, key="admin")).json["reset"]["token"]
    body = {"currentPassword": PASSWORD, "newPassword": "another long password"}
    await server.ask("POST", "/api/auth/password", body, key=None, headers=bearer(tokens))
    assert (await redeem(server, voided)).status == 401, "a change of the password voids it"
    expired = (await server.ask("POST", path, key="admin")).json["reset"]["token"]
    async with server.runtime.database.begin() as connection:
        await connection.execute(text("UPDATE password_resets SET expires_at = '2001-01-01 00:00:00'"))
    assert (await redeem(server, expired)).status == 401
    disabled = (await server.ask("POST", path, key="admin")).json["reset"]["token"]
    await server.ask("PATCH", path.removesuffix("/password-reset"), {"disabled": True}, key="admin")
    assert (await redeem(server, disabled)).status == 401


async def test_every_act_is_in_the_audit_log_and_no_secret_is(server: Served) -> None:
    made = await create(server, "ana@example.com", password=None)
    user_id = made["user"]["id"]
    key = (await server.ask("POST", "/api/auth/keys", {"name": "app"}, key="admin")).json
    await redeem(server, made["reset"]["token"])
    await server.ask("PATCH", f"/api/auth/users/{user_id}", {"role": "premium"}, key="admin")
    tokens = (await login(server, "ana@example.com")).json
    body = {"currentPassword": PASSWORD, "newPassword": "another long password"}
    await server.ask("POST", "/api/auth/password", body, key=None, headers=bearer(tokens))
    await server.ask("PATCH", f"/api/auth/users/{user_id}", {"disabled": True}, key="admin")
    await server.ask("DELETE", f"/api/auth/keys/{key['info']['id']}", key="admin")
    await server.ask("POST", "/api/agents/travel/cache/clear", {"pattern": "travel:*"}, key="admin")
    log = await acts(server)
    assert [entry["action"] for entry in reversed(log)] == [
        "user.create", "user.create", "user.offer_reset", "key.create", "user.redeem_reset",
        "user.set_role", "user.change_password", "user.disable", "key.revoke", "cache.clear",
    ]  # fmt: skip
    assert [entry["actor"] for entry in log].count(f"user:{user_id}") == 2
    assert log[-1]["actor"] == "system"
    promotion = next(entry for entry in log if entry["action"] == "user.set_role")
    assert (promotion["target"], promotion["details"]) == (user_id, {"from": "user", "to": "premium"})
    assert promotion["actorRole"] == "admin"
    assert promotion["address"] == "127.0.0.1"
    assert promotion["requestId"].startswith("req_")
    page = (await server.ask("GET", "/api/audit?limit=100", key="admin")).body.decode()
    for secret in (key["key"], made["reset"]["token"], PASSWORD, "another long password"):
        assert secret not in page
    assert [entry["action"] for entry in await acts(server, f"&target={user_id}&action=user.disable")] == [
        "user.disable"
    ]
    assert await acts(server, "&until=2001-01-01T00:00:00Z") == []
    paged = (await server.ask("GET", "/api/audit?limit=3", key="admin")).json
    rest = await acts(server, f"&cursor={paged['nextCursor']}")
    assert [entry["id"] for entry in paged["entries"] + rest] == [entry["id"] for entry in log]


async def test_what_cannot_be_recorded_is_not_done(server: Served) -> None:
    user_id = (await create(server, "ana@example.com"))["user"]["id"]
    async with server.runtime.database.begin() as connection:
        await connection.execute(text("ALTER TABLE audit_log RENAME TO audit_log_away"))
    for method, path, body in (
        ("POST", "/api/auth/users", {"email": "x@example.com"}),
        ("PATCH", f"/api/auth/users/{user_id}", {"role": "admin"}),
        ("POST", "/api/auth/keys", {"name": "x"}),
        ("POST", "/api/agents/travel/cache/clear", None),
    ):
        assert (await server.ask(method, path, body, key="admin")).status == 500
    users = (await server.ask("GET", "/api/auth/users", key="admin")).json["users"]
    assert [(user["email"], user["role"]) for user in users] == [
        ("admin@example.com", "admin"), ("ana@example.com", "user"),
    ]  # fmt: skip
    assert (await server.ask("GET", "/api/auth/keys", key="admin")).json["keys"] == []


async def test_a_user_without_a_password_is_created_with_its_link_or_not_at_all(server: Served) -> None:
    async with server.runtime.database.begin() as connection:
        await connection.execute(text("ALTER TABLE password_resets RENAME TO password_resets_away"))
    body = {"email": "ana@example.com"}
    assert (await server.ask("POST", "/api/auth/users", body, key="admin")).status == 500
    async with server.runtime.database.begin() as connection:
        await connection.execute(text("ALTER TABLE password_resets_away RENAME TO password_resets"))
    assert "ana@example.com" not in str(await acts(server))
    made = await server.ask("POST", "/api/auth/users", body, key="admin")
    assert made.status == 201
    assert (await redeem(server, made.json["reset"]["token"])).status == 200


async def test_the_admin_may_log_in(server: Served) -> None:
    assert (await login(server, ADMIN["email"], ADMIN["password"])).status == 200
