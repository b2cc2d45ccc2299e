"""Runs that answer with JSON, seen from other processes on one Redis: found, read, cancelled, and made once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from sqlalchemy import update

from amrikyy.db.tables import runs
from amrikyy.errors import Unavailable
from amrikyy.runs import store
from amrikyy.runs.shared import runs as shared_runs
from amrikyy.web import stream
from tests.model_server import Behaviour, ModelServer
from tests.redis_server import redis_server
from tests.serving import MakeSettings, Served, serve
from tests.web.test_models_behind import settings_for

BLOG = {"topic": "AI in Travel", "length": "short"}
PATH = "/api/agents/content/generateBlogPost"


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """One kind is enough: nothing here depends on it."""
    return sqlite_url


@pytest.fixture
async def models() -> AsyncIterator[ModelServer]:
    async with ModelServer() as server:
        yield server


@asynccontextmanager
async def two_servers(
    models: ModelServer, make_settings: MakeSettings, redis_url: str
) -> AsyncIterator[tuple[Served, Served]]:
    settings = settings_for("gemini", models, make_settings, redis_url=redis_url, redis_prefix=uuid4().hex)
    async with AsyncExitStack() as stack:
        one, two = [await stack.enter_async_context(serve(settings)) for _ in range(2)]
        one.runtime.records.instance = "another-host:1:1"  # or its runs would be taken for those of a dead process
        yield one, two


async def begun(server: Served) -> str:
    """The id of the run that the caller has just begun."""
    async with asyncio.timeout(10):
        while not (found := (await server.ask("GET", "/api/runs")).json["runs"]):
            await asyncio.sleep(0.01)
    return str(found[0]["id"])


async def test_a_run_without_a_stream_is_cancelled_from_another_process_as_soon_as_it_is_known(
    models: ModelServer, make_settings: MakeSettings, redis_url: str
) -> None:
    models.script.append(Behaviour(before_s=60))
    async with two_servers(models, make_settings, redis_url) as (one, two):
        asked = asyncio.create_task(one.ask("POST", PATH, BLOG))
        assert (await two.ask("DELETE", f"/api/stream/{await begun(two)}")).status == 200
        assert (await asked).json["code"] == "run_cancelled"


async def test_a_run_without_a_stream_can_be_read_on_another_process_while_it_goes_on_and_after(
    models: ModelServer, make_settings: MakeSettings, redis_url: str
) -> None:
    models.script.append(Behaviour(before_s=1.5))
    async with two_servers(models, make_settings, redis_url) as (one, two):
        asked = asyncio.create_task(one.ask("POST", PATH, BLOG))
        run_id = await begun(two)
        async with asyncio.timeout(10):
            assert two.runtime.shared_runs is not None
            while await two.runtime.shared_runs.find(run_id) is None:
                await asyncio.sleep(0.02)
        async with two.open(f"/api/stream/{run_id}") as events:
            assert (await anext(events)).event == "connected"
            assert not asked.done(), "what there is is shown before the end"
            rest = [event async for event in events]
        assert rest[-1].data["result"] == (await asked).json["result"]
        assert (await two.stream(f"/api/stream/{run_id}", None))[1:] == rest
        quick = await one.ask("POST", PATH, BLOG | {"tone": "formal"})
        async with asyncio.timeout(10):
            while (reply := await two.ask("GET", f"/api/stream/{quick.json['runId']}")).status != 200:
                await asyncio.sleep(0.02)
        assert quick.json["result"]["text"].splitlines()[0] in reply.body.decode()


async def test_a_run_that_left_what_it_shared_has_ended_elsewhere_as_it_did_here(
    models: ModelServer, make_settings: MakeSettings, redis_url: str
) -> None:
    models.script.append(Behaviour(pieces=["# A title\n\n", *["word "] * 20], pause_s=0.02))
    async with two_servers(models, make_settings, redis_url) as (one, two):
        async with one.open("/api/stream/blog", BLOG) as whole, one.open("/api/stream/blog", BLOG) as left:
            left_id = (await anext(left)).data["runId"]
            assert (await one.ask("DELETE", f"/api/stream/{left_id}")).status == 200
            here = [event async for event in left]
            assert [event async for event in whole][-1].event == "complete"
        there = (await two.stream(f"/api/stream/{left_id}", None))[1:]
    assert len(models.posts) == 1
    assert (here[-1].event, here[-1].data["code"]) == ("error", "run_cancelled")
    assert [(event.id, event.event) for event in there] == [(event.id, event.event) for event in here]


async def test_who_has_seen_more_than_a_killed_process_could_store_is_told_that_the_run_is_lost(
    models: ModelServer, make_settings: MakeSettings, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "CAUGHT_UP_WITHIN_S", 0.5)
    monkeypatch.setattr(shared_runs, "SETTLES_WITHIN_S", 0.0)
    models.script.append(Behaviour(pieces=["# A title\n\n", "word"], hang_after=2))
    async with (
        two_servers(models, make_settings, redis_url) as (one, two),
        one.open("/api/stream/blog", BLOG) as events,
    ):
        run_id = (await anext(events)).data["runId"]
        await anext(events)
        beyond = {"last-event-id": f"{run_id}:20"}
        while_it_lives = await two.ask("GET", f"/api/stream/{run_id}", headers=beyond)
        assert (while_it_lives.status, while_it_lives.json["code"]) == (409, "no_such_event")
        shared = one.runtime.shared_runs
        assert shared is not None
        await shared._presence.close()  # a process that was killed has no heartbeat, either
        lost = await two.stream(f"/api/stream/{run_id}", None, last_event_id=f"{run_id}:20")
    assert [(event.number, event.event, event.data["code"]) for event in lost] == [(21, "error", "run_lost")]


async def test_a_key_is_free_again_once_the_process_has_died_that_could_not_record_its_run(
    models: ModelServer, make_settings: MakeSettings, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "ENDS_WITHIN_S", 0.2)
    key = {"idempotency-key": "k"}
    async with two_servers(models, make_settings, redis_url) as (one, two):
        monkeypatch.setattr(one.runtime.records, "note", lambda run: None)  # as if it died in the next moment
        first = await one.ask("POST", PATH, BLOG, headers=key)
        while_it_lives = await two.ask("POST", PATH, BLOG, headers=key)
        assert (while_it_lives.status, while_it_lives.json["code"]) == (503, "database_unavailable")
        shared = one.runtime.shared_runs
        assert shared is not None
        await shared._presence.close()  # a process that was killed has no heartbeat, either
        again = await two.ask("POST", PATH, BLOG, headers=key)
        assert again.status == 200
        assert again.json["runId"] != first.json["runId"]
        assert (await two.ask("POST", PATH, BLOG, headers=key)).json["runId"] == again.json["runId"]


async def test_a_server_that_stops_sends_readers_of_a_run_elsewhere_on_and_nothing_is_lost(
    models: ModelServer, make_settings: MakeSettings, redis_url: str
) -> None:
    models.script.append(Behaviour(pieces=["# A title\n\n", *["word "] * 30], hang_after=20))
    keyed = {"idempotency-key": "k"}
    async with (
        two_servers(models, make_settings, redis_url) as (one, two),
        one.open("/api/stream/blog", BLOG, idempotency_key="k") as whole,
    ):
        run_id = (await anext(whole)).data["runId"]
        waiting = asyncio.create_task(two.ask("POST", "/api/stream/blog", BLOG, headers=keyed))
        async with two.open(f"/api/stream/{run_id}") as events:
            seen = [await anext(events) for _ in range(5)]
            await two.runtime.drain()
            seen += [event async for event in events]
        ends = b'event: reconnect\ndata: {"runId":"%b","retryMs":1000}\n\n' % run_id.encode()
        assert (await waiting).body.endswith(ends)
        told = seen.pop()
        assert (told.event, told.id, told.data) == ("reconnect", "", {"runId": run_id, "retryMs": 1000})
        late = await two.stream(f"/api/stream/{run_id}", None)
        assert late[-1].event == "reconnect"
        repeated = await two.ask("POST", "/api/stream/blog", BLOG, headers=keyed)
        assert repeated.body.endswith(ends), "the key stands for the run that goes on"
        metrics = (await two.ask("GET", "/api/metrics", key="admin")).body.decode()
        failed = [line for line in metrics.splitlines() if 'status="failed"' in line and not line.endswith(" 0.0")]
        assert failed == []
        async with one.open(f"/api/stream/{run_id}", last_event_id=seen[-1].id) as events:
            assert (await one.ask("DELETE", f"/api/stream/{run_id}")).status == 200
            seen += [event async for event in events]
        whole_rest = [event async for event in whole]
        assert seen[-1].data.pop("requestId") != whole_rest[-1].data.pop("requestId")
        assert seen[1:] == whole_rest
        assert [event.number for event in seen] == list(range(1, len(seen) + 1))
        assert (seen[-1].event, seen[-1].data["code"]) == ("error", "run_cancelled")


async def test_a_run_without_a_stream_is_written_once(models: ModelServer, make_settings: MakeSettings) -> None:
    with redis_server() as redis:
        async with two_servers(models, make_settings, redis.url) as (one, _):
            replies = [await one.ask("POST", PATH, BLOG | {"topic": f"Topic {number}"}) for number in range(5)]
            assert {reply.status for reply in replies} == {200}
            async with asyncio.timeout(10):
                while (kept := redis.ask("KEYS *:run:*")).count(b":run:") < 5:
                    await asyncio.sleep(0.02)
            assert b":events" not in kept
            said = redis.ask("INFO commandstats")
            assert not any(command in said for command in (b"cmdstat_xadd", b"cmdstat_exists", b"cmdstat_eval:"))


async def test_two_who_ask_at_once_for_what_another_process_has_made_both_get_it(
    models: ModelServer, make_settings: MakeSettings, redis_url: str
) -> None:
    async with two_servers(models, make_settings, redis_url) as (one, two):
        await one.ask("POST", PATH, BLOG)
        replies = await asyncio.gather(*(two.ask("POST", PATH, BLOG) for _ in range(5)))
        assert {reply.headers["x-cache"] for reply in replies} <= {"hit", "join"}
        assert len(models.posts) == 1


async def test_a_lease_that_could_not_be_given_back_is_given_back_when_redis_is_back(
    models: ModelServer, make_settings: MakeSettings
) -> None:
    models.script.append(Behaviour(status=500, body="broken", before_s=1))
    with redis_server() as redis:
        async with two_servers(models, make_settings, redis.url) as (one, two):
            asked = asyncio.create_task(one.ask("POST", PATH, BLOG))
            await begun(one)
            redis.pause()
            assert (await asked).status == 502
            redis.resume()
            async with asyncio.timeout(15):
                while b":flight:" in redis.ask("KEYS *") or b"PONG" not in redis.ask("PING"):
                    await asyncio.sleep(0.05)
            assert (await two.ask("POST", PATH, BLOG)).status == 200
            assert len(models.posts) == 2


async def test_a_server_that_stops_keeps_no_lease(models: ModelServer, make_settings: MakeSettings) -> None:
    with redis_server() as redis:
        settings = settings_for("gemini", models, make_settings, redis_url=redis.url, redis_timeout_ms=10_000)
        async with serve(settings) as server:
            redis.pause()
            asked = asyncio.create_task(server.ask("POST", PATH, BLOG))
            async with asyncio.timeout(10):
                while not server.runtime.runner._reuse._asking:
                    await asyncio.sleep(0.01)
            draining = asyncio.create_task(server.runtime.drain())
            await asyncio.sleep(0.05)
            redis.resume()
            assert (await asked).json["code"] == "draining"
            await draining
            async with asyncio.timeout(10):
                while b":flight:" in redis.ask("KEYS *") or b"PONG" not in redis.ask("PING"):
                    await asyncio.sleep(0.02)


async def test_the_end_of_a_keyed_run_is_told_elsewhere_only_when_it_is_in_the_database(
    models: ModelServer, make_settings: MakeSettings, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object) -> None:
        raise Unavailable("The database is away.", code="database_unavailable", retry_after_s=1)

    keyed = {"idempotency-key": "k"}
    async with two_servers(models, make_settings, redis_url) as (one, two):
        with monkeypatch.context() as patched:
            patched.setattr(one.runtime.records, "_write", away)
            assert (await one.ask("POST", PATH, BLOG, headers=keyed)).status == 503
            assert (await two.ask("POST", PATH, BLOG, headers=keyed)).json["code"] == "database_unavailable"
        await one.runtime.records.flush()
        reply = await two.ask("POST", PATH, BLOG, headers=keyed)
        assert reply.status == 200
        record = await two.ask("GET", f"/api/runs/{reply.json['runId']}")
        assert record.json["run"]["status"] == "completed"
        assert len(models.posts) == 1


async def test_who_has_seen_what_a_process_could_not_store_before_it_died_is_told_that_the_run_is_lost(
    models: ModelServer, make_settings: MakeSettings, redis_url: str
) -> None:
    models.script.append(Behaviour(pieces=["# A title\n\n", *["word "] * 30], hang_after=20))
    async with two_servers(models, make_settings, redis_url) as (one, two):
        async with one.open("/api/stream/blog", BLOG) as events:
            run_id = (await anext(events)).data["runId"]
            await anext(events)
            ahead = asyncio.create_task(two.stream(f"/api/stream/{run_id}", None, last_event_id=f"{run_id}:500"))
            await asyncio.sleep(0.2)
            assert not ahead.done(), "it may have been shown while Redis was away"
            shared = one.runtime.shared_runs
            assert shared is not None
            await shared._presence.close()
            (told,) = await ahead
        assert (told.event, told.number, told.data["code"]) == ("error", 501, "run_lost")


def followed() -> list[str]:
    """The tasks that follow a run of another process."""
    return [task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith("follow-run_")]


async def nothing_followed() -> None:
    async with asyncio.timeout(10):
        while followed():
            await asyncio.sleep(0.01)


async def test_whoever_is_refused_a_run_elsewhere_does_not_keep_it_alive(
    models: ModelServer, make_settings: MakeSettings, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "CAUGHT_UP_WITHIN_S", 0.1)
    models.script.append(Behaviour(pieces=["# A title\n\n", *["word "] * 30], hang_after=20))
    async with (
        two_servers(models, make_settings, redis_url) as (one, two),
        one.open("/api/stream/blog", BLOG) as events,
    ):
        run_id = (await anext(events)).data["runId"]
        await anext(events)
        somebody_elses = await two.ask("GET", f"/api/stream/{run_id}", key="other")
        assert (somebody_elses.status, somebody_elses.json["code"]) == (404, "run_not_found")
        seen = {"last-event-id": f"{run_id}:2"}
        of_another_request = await two.ask("POST", "/api/stream/blog", BLOG | {"topic": "Else"}, headers=seen)
        assert (of_another_request.status, of_another_request.json["code"]) == (409, "other_request")
        assert not followed()
        unseen = await two.ask("GET", f"/api/stream/{run_id}", headers={"last-event-id": f"{run_id}:500"})
        assert (unseen.status, unseen.json["code"]) in ((409, "no_such_event"), (503, "run_elsewhere"))
        await nothing_followed()


async def test_whoever_waits_for_missing_events_when_the_server_stops_is_sent_on(
    models: ModelServer, make_settings: MakeSettings, redis_url: str
) -> None:
    models.script.append(Behaviour(pieces=["# A title\n\n", *["word "] * 30], hang_after=20))
    async with (
        two_servers(models, make_settings, redis_url) as (one, two),
        one.open("/api/stream/blog", BLOG) as events,
    ):
        run_id = (await anext(events)).data["runId"]
        seen = {"last-event-id": f"{run_id}:500"}
        ahead = asyncio.create_task(two.ask("GET", f"/api/stream/{run_id}", headers=seen))
        async with asyncio.timeout(10):
            while not followed():
                await asyncio.sleep(0.01)
        assert two.runtime.shared_runs is not None
        two.runtime.shared_runs.send_on()
        reply = await ahead
        assert (reply.status, reply.json["code"]) == (503, "draining")


async def test_a_repetition_that_is_only_told_where_the_run_is_does_not_follow_it(
    models: ModelServer, make_settings: MakeSettings, redis_url: str
) -> None:
    models.script.append(Behaviour(before_s=60))
    keyed = {"idempotency-key": "k", "prefer": "respond-async"}
    async with two_servers(models, make_settings, redis_url) as servers:
        first, again = [await server.ask("POST", PATH, BLOG, headers=keyed) for server in servers]
        assert (again.status, again.json["runId"]) == (202, first.json["runId"])
        assert not followed()


async def test_a_repetition_whose_caller_leaves_ends_nothing_but_itself(
    models: ModelServer, make_settings: MakeSettings, redis_url: str
) -> None:
    models.script.append(Behaviour(before_s=2.5))
    keyed = {"idempotency-key": "k"}
    async with two_servers(models, make_settings, redis_url) as (one, two):
        asked = asyncio.create_task(one.ask("POST", PATH, BLOG, headers=keyed))
        await begun(two)
        repeated = asyncio.create_task(two.ask("POST", PATH, BLOG, headers=keyed))
        async with asyncio.timeout(10):
            while not followed():
                await asyncio.sleep(0.01)
        repeated.cancel()
        await nothing_followed()
        assert not asked.done()
        assert (await asked).status == 200


async def test_a_repetition_of_a_run_whose_process_dies_is_told_that_it_is_lost(
    models: ModelServer, make_settings: MakeSettings
) -> None:
    models.script.append(Behaviour(before_s=60))
    keyed = {"idempotency-key": "k"}
    async with two_servers(models, make_settings, redis_url="") as (one, two):
        first = asyncio.create_task(one.ask("POST", PATH, BLOG, headers=keyed))
        run_id = await begun(two)
        repeated = asyncio.create_task(two.ask("POST", PATH, BLOG, headers=keyed))
        async with asyncio.timeout(10):
            while not followed():
                await asyncio.sleep(0.01)
        async with two.runtime.database.begin() as connection:
            long_ago = datetime(2020, 1, 1, tzinfo=UTC)
            await connection.execute(update(runs).where(runs.c.id == run_id).values(deadline_at=long_ago))
        reply = await repeated
        assert (reply.status, reply.json["code"]) == (503, "run_lost")
        first.cancel()
