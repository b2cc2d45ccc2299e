"""Logging in over HTTP, and what a token is good for."""

from collections.abc import AsyncIterator

import pytest

from tests.serving import KEYS, MakeSettings, Served, serve

ADMIN = {"email": "admin@example.com", "password": "correct horse battery"}

FIRST_ADMIN = {"admin_email": ADMIN["email"], "admin_password": ADMIN["password"]}


@pytest.fixture
async def server(make_settings: MakeSettings) -> AsyncIterator[Served]:
    """A server with an admin who can log in."""
    async with serve(make_settings(**FIRST_ADMIN)) as served:
        yield served


async def test_login_answers_tokens_and_the_user(server: Served) -> None:
    reply = await server.ask("POST", "/api/auth/login", ADMIN, key=None)
    assert reply.status == 200, reply.body
    body = reply.json
    assert set(body) == {"success", "token", "refreshToken", "expiresIn", "user"}
    assert body["expiresIn"] == 900
    assert (body["user"]["email"], body["user"]["role"]) == ("admin@example.com", "admin")
    assert "agent:manage" in body["user"]["permissions"]
    me = await server.ask("GET", "/api/auth/me", key=None, headers={"authorization": f"Bearer {body['token']}"})
    assert (me.status, me.json["kind"], me.json["email"]) == (200, "user", "admin@example.com")


async def test_a_wrong_password_and_an_unknown_account_are_told_apart_by_nobody(server: Served) -> None:
    wrong = await server.ask("POST", "/api/auth/login", ADMIN | {"password": "wrong wrong wrong"}, key=None)
    unknown = await server.ask("POST", "/api/auth/login", ADMIN | {"email": "nobody@example.com"}, key=None)
    assert wrong.status == unknown.status == 401
    assert {**wrong.json, "requestId": ""} == {**unknown.json, "requestId": ""}


async def test_login_names_missing_fields_and_never_repeats_the_password(server: Served) -> None:
    reply = await server.ask("POST", "/api/auth/login", {"password": "hunter2hunter2", "user": "x"}, key=None)
    assert reply.status == 400
    assert {detail["field"] for detail in reply.json["details"]} == {"email", "user"}
    assert b"hunter2" not in reply.body


async def test_a_refresh_token_works_once(server: Served) -> None:
    first = (await server.ask("POST", "/api/auth/login", ADMIN, key=None)).json
    second = await server.ask("POST", "/api/auth/refresh", {"refreshToken": first["refreshToken"]}, key=None)
    assert second.status == 200
    assert second.json["token"]
    again = await server.ask("POST", "/api/auth/refresh", {"refreshToken": first["refreshToken"]}, key=None)
    assert again.status == 401


async def test_logging_out_ends_the_session(server: Served) -> None:
    body = (await server.ask("POST", "/api/auth/login", ADMIN, key=None)).json
    headers = {"authorization": f"Bearer {body['token']}"}
    assert (await server.ask("POST", "/api/auth/logout", key=None, headers=headers)).status == 200
    reply = await server.ask("POST", "/api/auth/refresh", {"refreshToken": body["refreshToken"]}, key=None)
    assert reply.status == 401


async def test_an_api_key_has_the_role_that_was_given_to_it(server: Served) -> None:
    for name, role in (("user", "user"), ("premium", "premium"), ("admin", "admin")):
        me = (await server.ask("GET", "/api/auth/me", key=name)).json
        assert (me["kind"], me["role"]) == ("key", role)


async def test_a_token_signed_with_another_secret_is_a_401(make_settings: MakeSettings) -> None:
    async with serve(make_settings(**FIRST_ADMIN, jwt_secret="k" * 40)) as other:
        token = (await other.ask("POST", "/api/auth/login", ADMIN, key=None)).json["token"]
    async with serve(make_settings()) as server:
        reply = await server.ask("GET", "/api/auth/me", key=None, headers={"authorization": f"Bearer {token}"})
        assert reply.status == 401


async def test_a_credential_in_the_url_is_none(server: Served) -> None:
    reply = await server.ask("GET", f"/api/agents/list?api_key={KEYS['admin']}&token=x", key=None)
    assert reply.status == 401
