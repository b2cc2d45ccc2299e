"""API4, unrestricted resource consumption: large, deep, slow, many, and what makes a regular expression think long."""

import asyncio
import time

import pytest

from amrikyy.web import admission
from tests.security.conftest import Raw
from tests.serving import KEYS, MakeSettings, Served, serve

BLOG = "/api/agents/content/generateBlogPost"
HEAD = f"POST {BLOG} HTTP/1.1\r\nhost: x\r\nx-api-key: {KEYS['premium']}\r\ncontent-type: application/json\r\n".encode()


BODIES = [
    b"[" * 400_000,
    b'{"topic":' * 100_000,
    b"[" * 200_000 + b"]" * 200_000,
    b'{"topic": "Lisbon", "keywords": ' + b"[" * 5_000 + b"]" * 5_000 + b"}",
    b'{"topic": ' + b"9" * 900_000 + b"}",
    b'{"topic": 1e999999999}',
    b'{"topic": "' + b"\\u0000" * 100_000 + b'"}',
    b'{"topic": "\\ud800"}',
    b"{" + b",".join(b'"f%d":1' % number for number in range(60_000)) + b"}",
    b'{"topic": NaN}',
]


async def test_a_body_made_to_hurt_is_a_400_at_once_and_its_answer_is_short(server: Served) -> None:
    for raw in BODIES:
        began = time.process_time()
        reply = await server.ask("POST", BLOG, raw=raw)
        assert reply.status == 400
        assert time.process_time() - began < 2
        assert len(reply.body) < 100_000
        assert (await server.ask("GET", "/api/health/live", key=None)).status == 200


async def test_a_length_that_is_promised_and_too_large_is_refused_before_it_is_sent(raw: Raw) -> None:
    said = await raw(HEAD + b"content-length: 1000001\r\n\r\n")
    assert said.startswith(b"HTTP/1.1 413")


LENGTHS = [b"-1", b"0x10", b"1e3", b"+5", b"5, 6", b"9" * 30]


async def test_a_length_that_is_none_is_refused(raw: Raw) -> None:
    for length in LENGTHS:
        said = await raw(HEAD + b"content-length: " + length + b"\r\n\r\n{}")
        assert said.startswith((b"HTTP/1.1 400", b"HTTP/1.1 413"))
        assert said.count(b"HTTP/1.1") == 1


async def test_a_body_that_trickles_is_given_up(server: Served, raw: Raw, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "BODY_TIMEOUT_S", 0.3)
    said = await raw(HEAD + b'content-length: 100\r\n\r\n{"topic"')
    assert said.startswith(b"HTTP/1.1 400")
    assert b"body_timeout" in said
    assert (await server.ask("GET", "/api/health/live", key=None)).status == 200


async def test_headers_without_end_are_refused(raw: Raw) -> None:
    said = await raw(b"GET /api/status HTTP/1.1\r\nhost: x\r\n" + b"x-filler: " + b"a" * 300_000)
    assert not said.startswith(b"HTTP/1.1 2")


async def test_a_page_has_a_bound(server: Served) -> None:
    for path in ("/api/runs", "/api/audit", "/api/auth/users", "/api/auth/keys"):
        for limit in ("0", "-1", "101", "10000000000000000000000", "all", "1e3", "%00"):
            reply = await server.ask("GET", f"{path}?limit={limit}", key="admin")
            assert reply.status == 400, f"{path} {limit}"


async def test_a_flood_of_made_up_credentials_is_not_remembered_for_ever(server: Served) -> None:
    for number in range(50):
        reply = await server.ask("GET", "/api/auth/me", key=None, headers={"x-api-key": f"api_{number:032d}"})
        assert reply.status == 401
    from amrikyy.auth.authenticator import REFUSED_CAPACITY

    assert len(server.runtime.authenticator._refused) <= REFUSED_CAPACITY
    assert (await server.ask("GET", "/api/auth/me", key=None, headers={"x-api-key": "k" * 8193})).status == 401


SLOW_TEXTS = ["a" * 900 + "!", "from " * 180, "to to " * 150, "(" * 900, "1 " * 450, "2027-" * 180, " " * 900,
              "hotels in " * 90, "flights from A to " * 50, "é" * 900, "0" * 900, "," * 900, "\t\n" * 450]  # fmt: skip


async def test_no_text_makes_the_planner_or_a_pattern_think_long(make_settings: MakeSettings) -> None:
    async with serve(make_settings()) as server:
        for text in SLOW_TEXTS:
            began = time.process_time()
            reply = await server.ask("POST", "/api/agents/travel/ask", {"query": text})
            assert reply.status < 500 or reply.status == 502, (text[:20], reply.body)
            assert time.process_time() - began < 1, text[:20]


HEADERS = [
    "x-request-id",
    "idempotency-key",
    "last-event-id",
    "prefer",
    "cache-control",
    "x-forwarded-for",
    "authorization",
    "accept",
    "traceparent",
]


async def test_a_long_header_takes_no_long_time(server: Served) -> None:
    for header in HEADERS:
        sent = {"x-api-key": KEYS["premium"], header: ("a," * 3_000) + "!"}
        if header == "authorization":
            del sent["x-api-key"]
        began = time.process_time()
        reply = await server.ask("POST", BLOG, {"topic": "Lisbon"}, key=None, headers=sent)
        assert reply.status < 500
        assert time.process_time() - began < 1


async def test_more_streams_than_there_is_room_for_are_refused_and_the_others_answered(
    make_settings: MakeSettings,
) -> None:
    settings = make_settings(max_concurrent_streams=2, max_queued_streams=2, offline_tokens_per_s=400)
    async with serve(settings) as server:
        asked = [server.ask("POST", BLOG, {"topic": f"Lisbon {number}", "length": "short"}) for number in range(12)]
        statuses = [reply.status for reply in await asyncio.gather(*asked)]
    assert set(statuses) == {200, 503}
    assert statuses.count(200) >= 2
