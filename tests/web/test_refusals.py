"""Who is refused, with what, and in which order: credential, permission, body."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest

from amrikyy.errors import ModelCircuitOpen, Unavailable
from amrikyy.web.errors import error_response
from tests.serving import KEYS, Reply, Served

BLOG = {"topic": "AI in Travel"}


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """One kind is enough: nothing here depends on it."""
    return sqlite_url


def assert_error(reply: Reply, status: int, code: str) -> None:
    assert reply.status == status, reply.body
    body = reply.json
    assert set(body) == {"success", "error", "code", "message", "details", "requestId"}
    assert (body["success"], body["code"]) == (False, code)
    assert body["requestId"] == reply.headers["x-request-id"]
    assert body["message"]
    assert body["error"]


@pytest.mark.parametrize(
    ("method", "path", "raw"),
    [
        ("GET", "/api/agents/list", None),
        ("POST", "/api/stream/blog", b"{not json"),
        ("POST", "/api/agents/travel/searchFlights", b"{}"),
        ("GET", "/api/no/such/path", None),
        ("GET", "/", None),
        ("DELETE", "/api/agents/list", None),
        ("DELETE", "/api/health", None),
        ("PUT", "/api/auth/login", b"{}"),
        ("GET", "/api/runs/run_0", None),
        ("POST", "/api/agents/travel/searchFlights", b"x" * 900_000),
    ],
)
async def test_without_a_credential_everything_but_the_public_routes_is_a_401(
    server: Served, method: str, path: str, raw: bytes | None
) -> None:
    reply = await server.ask(method, path, raw=raw, key=None)
    assert_error(reply, 401, "missing_credential")
    assert reply.headers["www-authenticate"] == "Bearer"


async def test_the_public_routes_are_these(server: Served) -> None:
    public = {(endpoint.method, endpoint.path) for endpoint in server.app.endpoints if endpoint.needs == "public"}
    assert public == {
        ("GET", "/api"),
        ("GET", "/api/health"),
        ("GET", "/api/health/live"),
        ("GET", "/api/health/ready"),
        ("GET", "/api/status"),
        ("POST", "/api/auth/login"),
        ("POST", "/api/auth/refresh"),
        ("POST", "/api/auth/password/reset"),
        ("GET", "/api/docs"),
        ("GET", "/api/openapi.json"),
    }


@pytest.mark.parametrize("key", ["api_" + "9" * 32, "nonsense", ""])
async def test_a_wrong_key_is_a_401(server: Served, key: str) -> None:
    reply = await server.ask("GET", "/api/agents/list", key=None, headers={"x-api-key": key})
    assert reply.status == 401
    assert key not in reply.body.decode() or not key


async def test_a_malformed_authorization_header_is_a_401(server: Served) -> None:
    for value in ("Bearer", "Bearer a.b.c", "Basic dXNlcjpwYXNz", KEYS["user"]):
        reply = await server.ask("GET", "/api/agents/list", key=None, headers={"authorization": value})
        assert reply.status == 401, value


async def test_permission_comes_before_the_body(server: Served) -> None:
    reply = await server.ask("POST", "/api/stream/blog", raw=b"{not json", key="user")
    assert_error(reply, 403, "forbidden")
    assert "agent:streaming" in reply.json["message"]


async def test_every_wrong_field_is_named_at_once(server: Served) -> None:
    body = {"topic": "ab", "tone": "angry", "length": 5, "keywords": ["x"] * 11, "extra": 1}
    reply = await server.ask("POST", "/api/stream/blog", body)
    assert_error(reply, 400, "validation_failed")
    fields = {detail["field"] for detail in reply.json["details"]}
    assert fields == {"topic", "tone", "length", "keywords", "extra"}
    assert all(detail["message"] and detail["type"] for detail in reply.json["details"])


async def test_what_has_not_the_right_form_is_refused_in_words_and_not_with_a_pattern(server: Served) -> None:
    lists = ("/api/runs", "/api/coordinator/status", "/api/audit", "/api/auth/keys")
    replies = [await server.ask("GET", f"{path}?cursor=7é", key="admin") for path in lists]
    replies.append(await server.ask("POST", "/api/coordinator", {"workflowName": "7 days"}))
    budget = {"subject": "nobody", "period": "day", "limitUsd": 1}
    replies.append(await server.ask("POST", "/api/budgets", budget, key="admin"))
    for reply in replies:
        assert_error(reply, 400, "validation_failed")
        (wrong,) = reply.json["details"]
        assert wrong["type"] == "string_pattern_mismatch"
        assert not re.search(r"\^|\$|\[", wrong["message"]), wrong
    said = [reply.json["details"][0]["message"] for reply in replies]
    assert set(said[:4]) == {"Not of the required form: `nextCursor` of the previous page, unchanged"}


async def test_what_may_be_of_several_types_is_named_as_its_sender_wrote_it(server: Served) -> None:
    for path, body, fields in (
        ("/api/agents/travel/cache/warm", {"queries": [5, {"operation": "x"}, {"X": 1}]},
         ["queries.0", "queries.1.request", "queries.1", "queries.2", "queries.2.operation", "queries.2.request",
          "queries.2.X"]),
        ("/api/coordinator/hierarchical", {"master": 5, "subAgents": ["travel", {"name": "x", "Str": 1}]},
         ["master", "subAgents.1", "subAgents.1.Str"]),
    ):  # fmt: skip
        reply = await server.ask("POST", path, body, key="admin")
        assert_error(reply, 400, "validation_failed")
        assert {detail["field"] for detail in reply.json["details"]} == set(fields)


async def test_a_time_or_a_date_that_is_none_is_refused_with_one_that_is(server: Served) -> None:
    for path, meant in (
        ("/api/audit?since=yesterday", "This must be a time, for example 2027-05-01T12:00:00Z"),
        ("/api/audit?since=2026-01-01T00:00:00", "Add the time zone, for example 2027-05-01T12:00:00Z"),
        ("/api/usage?since=yesterday", "This must be a date, for example 2027-05-01"),
    ):
        reply = await server.ask("GET", path, key="admin")
        assert_error(reply, 400, "validation_failed")
        assert [detail["message"] for detail in reply.json["details"]] == [meant]


async def test_numbers_truths_and_times_are_read_from_no_other_json_type(server: Served) -> None:
    stay = {"destination": "Oslo", "checkIn": "2099-01-01", "checkOut": "2099-01-05"}
    reply = await server.ask("POST", "/api/agents/travel/searchHotels", stay | {"guests": "2", "rooms": True, "x": 1})
    assert_error(reply, 400, "validation_failed")
    assert {detail["field"] for detail in reply.json["details"]} == {"guests", "rooms", "x"}
    assert (await server.ask("POST", "/api/agents/travel/searchHotels", stay | {"guests": 2.0})).status == 200
    assert (await server.ask("POST", "/api/agents/travel/searchHotels", stay | {"stars": None})).status == 200
    for path, body, field in (
        (
            "/api/stream/content/generateSocialPosts",
            {"topic": "Rain", "platforms": ["twitter"], "hashtags": "no"},
            "hashtags",
        ),
        ("/api/auth/keys", {"name": "app", "expiresAt": 4_000_000_000}, "expiresAt"),
        (
            "/api/coordinator/parallel",
            {"tasks": [{"agent": "travel"}], "options": {"maxCostUsd": "5"}},
            "options.maxCostUsd",
        ),
        ("/api/coordinator/parallel", {"tasks": [{"agent": "travel"}], "async": 1}, "async"),
    ):
        reply = await server.ask("POST", path, body, key="admin")
        assert_error(reply, 400, "validation_failed")
        assert [detail["field"] for detail in reply.json["details"]] == [field]


async def test_a_body_that_is_no_json_is_a_400(server: Served) -> None:
    assert_error(await server.ask("POST", "/api/stream/blog", raw=b"{not json"), 400, "malformed_body")
    for raw in (b"[]", b"null", b'"text"', b"3"):
        assert_error(await server.ask("POST", "/api/stream/blog", raw=raw), 400, "validation_failed")
    assert_error(await server.ask("POST", "/api/stream/blog", raw=b""), 400, "validation_failed")
    assert_error(await server.ask("POST", "/api/stream/blog", raw=b"\xff\xfe"), 400, "malformed_body")


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
async def test_a_number_that_json_has_not_is_a_400_wherever_it_stands(server: Served, number: str) -> None:
    plan = '{"steps": [{"agent": "travel", "method": "searchFlights", "params": {"x": [%s]}}]}'
    large = '{"steps": [], "input": {"a": %s, "x": %%s}}' % ("1" * 5000)
    blog = '{"topic": "AI in Travel", "keywords": [%s]}'
    for path, body in (
        ("/api/coordinator/sequential", plan),
        ("/api/coordinator/sequential", large),
        ("/api/stream/blog", blog),
        ("/api/auth/login", "%s"),
    ):
        reply = await server.ask("POST", path, raw=(body % number).encode())
        assert_error(reply, 400, "malformed_body")
        assert f"JSON has no {number}" in reply.json["message"]
    text = {"topic": f"What {number} is in JavaScript", "length": "short"}
    assert (await server.ask("POST", "/api/agents/content/generateBlogPost", text)).status == 200


async def test_a_body_over_the_limit_is_a_413(server: Served) -> None:
    reply = await server.ask("POST", "/api/stream/blog", {"topic": "x" * 1_000_001})
    assert_error(reply, 413, "body_too_large")


async def test_a_body_over_the_limit_in_chunks_is_a_413(server: Served) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield b"x" * 50_000

    headers = {"x-api-key": KEYS["premium"], "content-type": "application/json"}
    async with server.http.post(f"{server.url}/api/stream/blog", data=chunks(), headers=headers) as reply:
        assert reply.status == 413


async def test_a_body_of_another_type_is_a_415(server: Served) -> None:
    reply = await server.ask("POST", "/api/stream/blog", raw=b"topic=x", headers={"content-type": "text/plain"})
    assert_error(reply, 415, "unsupported_media_type")


async def test_an_encoded_body_is_a_415_and_not_read_as_it_is(server: Served) -> None:
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    reply = await server.ask("POST", "/api/stream/blog", raw=b"{}", headers=headers)
    assert_error(reply, 415, "unsupported_media_type")


async def test_a_field_has_one_name(server: Served) -> None:
    stay = {"destination": "Paris", "check_in": "2099-05-01", "checkOut": "2099-05-03"}
    reply = await server.ask("POST", "/api/agents/travel/searchHotels", stay)
    assert_error(reply, 400, "validation_failed")
    assert {detail["field"] for detail in reply.json["details"]} == {"check_in", "checkIn"}


async def test_a_password_is_counted_in_characters(server: Served) -> None:
    login = {"email": "ana@example.com", "password": "x" * 300}
    reply = await server.ask("POST", "/api/auth/login", login, key=None)
    assert reply.json["details"][0]["message"] == "Value should have at most 256 characters, not 300"


@pytest.mark.parametrize(
    ("lines", "status", "code"),
    [
        (("host: x", "host: y"), 400, "malformed_request"),
        ((), 400, "malformed_request"),
        (("host: x", "content-type: application/json", "content-type: text/plain"), 400, "malformed_request"),
        (("host: x", "x-api-key: nobody"), 401, "ambiguous_credentials"),
        (("host: x", "accept: a/b", "accept: c/d"), 200, None),
    ],
)
async def test_what_others_might_read_otherwise_is_refused(
    server: Served, lines: tuple[str, ...], status: int, code: str | None
) -> None:
    head = ("GET /api/agents/list HTTP/1.1", f"x-api-key: {KEYS['premium']}", "connection: close", *lines, "", "")
    host, _, port = server.url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write("\r\n".join(head).encode())
    said, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    assert said.startswith(b"HTTP/1.1 %d " % status)
    assert json.loads(body).get("code") == code


async def test_an_unknown_path_is_a_404_and_a_wrong_method_a_405(server: Served) -> None:
    assert_error(await server.ask("GET", "/api/nothing/here"), 404, "no_such_path")
    reply = await server.ask("PUT", "/api/agents/list")
    assert_error(reply, 405, "method_not_allowed")
    assert reply.headers["allow"] == "GET, HEAD"
    assert (await server.ask("HEAD", "/api/agents/list")).status == 200


async def test_what_a_405_allows_is_what_there_is(server: Served) -> None:
    allowed = {"/api/stream/run_1": "DELETE, GET, POST", "/api/auth/login": "POST", "/api/runs/run_1": "GET, HEAD"}
    for path, methods in allowed.items():
        for method in ("PUT", *({"HEAD"} - set(methods.split(", ")))):
            reply = await server.ask(method, path)
            assert (reply.status, reply.headers["allow"]) == (405, methods), (method, path)


async def test_an_unknown_agent_or_operation_is_a_404_that_names_what_there_is(server: Served) -> None:
    reply = await server.ask("POST", "/api/agents/nobody/doThings", {})
    assert_error(reply, 404, "agent_not_found")
    assert "travel" in reply.json["message"]
    reply = await server.ask("POST", "/api/stream/travel/flyAway", {})
    assert_error(reply, 404, "operation_not_found")
    assert "searchFlights" in reply.json["message"]


async def test_a_well_formed_request_id_comes_back_and_another_does_not(server: Served) -> None:
    reply = await server.ask("GET", "/api/status", headers={"x-request-id": "mine-42"})
    assert reply.headers["x-request-id"] == "mine-42"
    reply = await server.ask("GET", "/api/status", headers={"x-request-id": "not good!"})
    assert reply.headers["x-request-id"].startswith("req_")


async def test_every_response_has_the_security_headers_that_helmet_sets(server: Served) -> None:
    for path, key in (("/api/status", None), ("/api/agents/list", None), ("/api/agents/list", "user")):
        headers = (await server.ask("GET", path, key=key)).headers
        for name in (
            "content-security-policy", "cross-origin-opener-policy", "cross-origin-resource-policy",
            "origin-agent-cluster", "referrer-policy", "strict-transport-security", "x-content-type-options",
            "x-dns-prefetch-control", "x-download-options", "x-frame-options", "x-permitted-cross-domain-policies",
            "x-xss-protection",
        ):  # fmt: skip
            assert name in headers, name
        assert "total;dur=" in headers["server-timing"]
        assert "server" not in headers


async def test_they_are_there_too_when_another_server_serves_the_application(server: Served) -> None:
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": "/api/status", "headers": [], "query_string": b""}
    await server.app(scope, receive, send)
    names = [name for name, _ in sent[0]["headers"]]
    assert (sent[0]["status"], names.count(b"content-security-policy"), names.count(b"x-frame-options")) == (200, 1, 1)


def test_every_503_says_when_to_try_again() -> None:
    for error in (Unavailable("It is away."), ModelCircuitOpen("It is left alone.", model="m")):
        assert int(dict(error_response(error, "req_1").headers)[b"retry-after"]) > 0
    assert (b"retry-after", b"1") in error_response(Unavailable("Soon.", retry_after_s=0.2), "req_1").headers


async def test_a_head_request_answers_like_get_without_a_body(server: Served) -> None:
    reply = await server.ask("HEAD", "/api/health/live", key=None)
    assert (reply.status, reply.body) == (200, b"")
