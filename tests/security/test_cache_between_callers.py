"""Results that are kept: one caller's never reaches another, and nobody can plant one."""

from typing import Any

from tests.serving import Served

BLOG = {"topic": "A private plan"}
FLIGHTS = {"origin": "JFK", "destination": "LHR", "date": "2099-05-01"}


async def ask(server: Served, path: str, body: Any, key: str, **headers: str) -> tuple[str, Any]:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    reply = await server.ask("POST", f"/api/agents/{path}", body, key=key, headers=sent)
    assert reply.status == 200, reply.body
    return reply.headers["x-cache"], reply.json


async def test_what_is_one_callers_is_kept_for_this_caller_alone(server: Served) -> None:
    assert (await ask(server, "content/generateBlogPost", BLOG, "premium"))[0] == "miss"
    assert (await ask(server, "content/generateBlogPost", BLOG, "premium"))[0] == "hit"
    assert (await ask(server, "content/generateBlogPost", BLOG, "other"))[0] == "miss"


HEADERS = (
    "x-forwarded-host",
    "x-forwarded-for",
    "x-original-url",
    "accept-language",
    "x-request-id",
    "cookie",
    "origin",
)


async def test_no_header_finds_its_way_into_a_result_that_others_get(server: Served) -> None:
    planted = dict.fromkeys(HEADERS, "planted-value")
    _, first = await ask(server, "travel/searchFlights", FLIGHTS, "other", **planted)
    cache, got = await ask(server, "travel/searchFlights", FLIGHTS, "premium")
    assert cache == "hit"
    assert "planted-value" not in str(got)
    assert got["result"] == first["result"]
    assert got["runId"] != first["runId"]


async def test_requests_that_differ_have_keys_that_differ(server: Served) -> None:
    """Fields are kept apart: no value can pose as a separator and the next field."""
    bodies: list[dict[str, Any]] = [
        {"topic": "abc"},
        {"topic": "abc", "keywords": ["a", "b"]},
        {"topic": "abc", "keywords": ["a,b"]},
        {"topic": "abc", "keywords": ['a","b']},
        {"topic": "abc", "targetAudience": "ab"},
        {"topic": 'abc","targetAudience":"ab'},
        {"topic": "abc:content"},
        {"topic": "ABC"},
    ]
    seen = [(await ask(server, "content/generateBlogPost", body, "admin"))[0] for body in bodies]
    assert seen == ["miss"] * len(bodies)


async def test_clearing_a_cache_takes_a_pattern_for_no_command(server: Served) -> None:
    for pattern in ("*", "[", "\\", "*" * 200, "a\r\nFLUSHALL\r\n", "\x00", "{", "(a+)+$"):
        reply = await server.ask("POST", "/api/agents/travel/cache/clear", {"pattern": pattern}, key="admin")
        assert reply.status in (200, 400), pattern
