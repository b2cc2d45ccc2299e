"""Taking a stream up again: no gap, no repeat, and a clear word when it cannot be."""

import asyncio
from typing import Any

import pytest

from amrikyy.runs.run import Run
from tests.model_server import Behaviour, ModelServer
from tests.serving import SSE, MakeSettings, Served, serve
from tests.web.test_models_behind import settings_for

BLOG = {"topic": "AI in Travel", "length": "short"}
ITINERARY = {"destination": "Lisbon", "duration": 3, "budget": 1500}


async def resumed(server: Served, run_id: str, after: int, key: str = "premium") -> list[SSE]:
    return await server.stream(f"/api/stream/{run_id}", None, key=key, last_event_id=f"{run_id}:{after}")


@pytest.mark.parametrize(("path", "body"), [("/api/stream/blog", BLOG), ("/api/stream/itinerary", ITINERARY)])
async def test_cut_at_any_event_the_rest_is_what_was_not_seen(
    make_settings: MakeSettings, path: str, body: dict[str, Any]
) -> None:
    async with serve(make_settings(offline_tokens_per_s=2000)) as server:
        whole = await server.stream(path, body)
        run_id = whole[0].data["runId"]
        assert len(whole) > 5
        for after in range(len(whole)):
            assert await resumed(server, run_id, after) == whole[after:]


async def test_a_stream_cut_while_it_runs_is_taken_up_by_the_same_post(make_settings: MakeSettings) -> None:
    async with serve(make_settings(offline_tokens_per_s=200, stream_grace_s=5)) as server:
        seen: list[SSE] = []
        async with server.open("/api/stream/blog", BLOG) as events:
            seen += [await anext(events) for _ in range(7)]
        run_id = seen[0].data["runId"]
        async with server.open("/api/stream/blog", BLOG, last_event_id=seen[-1].id) as events:
            seen += [await anext(events) for _ in range(20)]
        seen += [event async for event in stream_of(server, run_id, seen[-1])]
        assert [event.number for event in seen] == list(range(1, len(seen) + 1))
        text = "".join(event.data["chunk"] for event in seen if event.event == "token")
        assert seen[-1].data["result"]["text"] == text
        assert len((await server.ask("GET", "/api/runs")).json["runs"]) == 1


async def stream_of(server: Served, run_id: str, last: SSE) -> Any:
    for event in await resumed(server, run_id, last.number):
        yield event


async def test_two_readers_of_one_run_get_the_same(make_settings: MakeSettings) -> None:
    async with (
        serve(make_settings(offline_tokens_per_s=300)) as server,
        server.open("/api/stream/blog", BLOG) as events,
    ):
        first = await anext(events)
        other = asyncio.create_task(server.stream(f"/api/stream/{first.data['runId']}", None))
        assert [first] + [event async for event in events] == await other


async def test_nothing_left_is_a_204(server: Served) -> None:
    whole = await server.stream("/api/stream/blog", BLOG)
    headers = {"last-event-id": whole[-1].id}
    run_id = whole[0].data["runId"]
    for method, path, body in (("GET", f"/api/stream/{run_id}", None), ("POST", "/api/stream/blog", BLOG)):
        reply = await server.ask(method, path, body, headers=headers)
        assert (reply.status, reply.body) == (204, b"")


async def test_unknown_and_expired_runs_are_gone_and_never_start_anew(make_settings: MakeSettings) -> None:
    async with serve(make_settings(stream_resume_s=0)) as server:
        whole = await server.stream("/api/stream/blog", BLOG)
        run_id = whole[0].data["runId"]
        await asyncio.sleep(0.01)
        for known in (run_id, "run_0123abc"):
            headers = {"last-event-id": f"{known}:3"}
            for method, path, body in (("GET", f"/api/stream/{known}", None), ("POST", "/api/stream/blog", BLOG)):
                reply = await server.ask(method, path, body, headers=headers)
                assert (reply.status, reply.json["code"]) == (410, "run_gone")
        assert len((await server.ask("GET", "/api/runs")).json["runs"]) == 1


async def test_the_run_of_another_is_a_404_on_every_way(make_settings: MakeSettings) -> None:
    async with serve(make_settings()) as server:
        run_id = (await server.stream("/api/stream/blog", BLOG))[0].data["runId"]
        headers = {"last-event-id": f"{run_id}:1"}
        for method, path, body in (
            ("GET", f"/api/stream/{run_id}", None),
            ("POST", "/api/stream/blog", BLOG),
            ("DELETE", f"/api/stream/{run_id}", None),
            ("GET", f"/api/runs/{run_id}", None),
        ):
            reply = await server.ask(method, path, body, headers=headers, key="other")
            assert (reply.status, reply.json["code"]) == (404, "run_not_found"), (method, path)
        assert (await resumed(server, run_id, 3, key="admin"))[0].number == 4


async def test_the_same_post_with_another_body_is_a_409(server: Served) -> None:
    run_id = (await server.stream("/api/stream/blog", BLOG))[0].data["runId"]
    headers = {"last-event-id": f"{run_id}:1"}
    for path, body in (
        ("/api/stream/blog", BLOG | {"tone": "humorous"}),
        ("/api/stream/content/generateVideoScript", {"topic": "AI in Travel", "duration": 60}),
    ):
        reply = await server.ask("POST", path, body, headers=headers)
        assert (reply.status, reply.json["code"]) == (409, "other_request")
    assert (await server.ask("POST", "/api/stream/blog", BLOG | {"tone": "x"}, headers=headers)).status == 400


@pytest.mark.parametrize("value", ["7", "run_1", "run_1:x", "run_1:-1", "run_g:1", "run_1:1:1", "x" * 300])
async def test_a_malformed_last_event_id_is_a_400_that_names_it(server: Served, value: str) -> None:
    reply = await server.ask("POST", "/api/stream/blog", BLOG, headers={"last-event-id": value})
    assert (reply.status, reply.json["details"][0]["field"]) == (400, "Last-Event-ID")


async def test_an_event_that_cannot_have_been_seen_is_a_409(make_settings: MakeSettings) -> None:
    async with (
        serve(make_settings(offline_tokens_per_s=20)) as server,
        server.open("/api/stream/blog", BLOG) as events,
    ):
        run_id = (await anext(events)).data["runId"]
        headers = {"last-event-id": f"{run_id}:5000"}
        reply = await server.ask("GET", f"/api/stream/{run_id}", headers=headers)
        assert (reply.status, reply.json["code"]) == (409, "no_such_event")
        other = await server.ask("GET", "/api/stream/run_0", headers=headers)
        assert (other.status, other.json["code"]) == (409, "other_run")


async def test_a_run_whose_process_died_ends_with_run_lost(server: Served) -> None:
    records = server.runtime.records
    mine, owner = records.instance, (await server.ask("GET", "/api/auth/me")).json["id"]
    records.instance = "another-machine:1:0"
    alive, dead = (
        Run(owner=owner, agent="content", operation="generateBlogPost", request=b"{}", deadline_s=deadline_s)
        for deadline_s in (60, -60)
    )
    for run in (alive, dead):
        records.note(run)
    await records.flush()
    records.instance = mine
    reply = await server.ask("GET", f"/api/stream/{alive.id}", headers={"last-event-id": f"{alive.id}:12"})
    assert (reply.status, reply.json["code"]) == (503, "run_elsewhere")
    events = await resumed(server, dead.id, 12)
    assert [(event.number, event.event, event.data["code"]) for event in events] == [(13, "error", "run_lost")]


async def test_a_reader_who_comes_back_in_time_keeps_the_run_and_one_who_asked_for_it_need_not(
    make_settings: MakeSettings,
) -> None:
    async with serve(make_settings(offline_tokens_per_s=300, stream_grace_s=0.05)) as server:
        async with server.open("/api/stream/blog", BLOG, prefer="respond-async") as events:
            run_id = (await anext(events)).data["runId"]
        await asyncio.sleep(0.2)
        whole = await resumed(server, run_id, 0)
        assert whole[-1].event == "complete"


async def test_a_client_that_reads_nothing_is_cut_and_can_resume(
    make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("amrikyy.web.sse.STALL_S", 0.2)
    async with serve(make_settings(stream_grace_s=30)) as server:
        whole = await server.stream("/api/stream/blog", BLOG)
        run = server.runtime.live.get(whole[0].data["runId"])
        assert run is not None
        # More than the kernel's buffers take: the connection must stall, and nobody else may notice.
        run.execution.events[2:3] = [run.execution.events[2]] * 200_000
        reader, writer = await asyncio.open_connection("127.0.0.1", int(server.url.rpartition(":")[2]), limit=1024)
        from tests.serving import KEYS

        writer.write(f"GET /api/stream/{run.id} HTTP/1.1\r\nhost: x\r\nx-api-key: {KEYS['premium']}\r\n\r\n".encode())
        await reader.readuntil(b"\r\n\r\n")
        async with asyncio.timeout(10):
            while run.readers == 0:
                await asyncio.sleep(0.01)
            other = await resumed(server, run.id, run.event_count - 3)
            assert len(other) == 3
            while run.readers:
                await asyncio.sleep(0.05)
        writer.close()


async def test_whoever_is_back_hears_so_at_once_though_nothing_new_has_happened(make_settings: MakeSettings) -> None:
    async with ModelServer() as models, serve(settings_for("gemini", models, make_settings)) as server:
        models.rule = lambda _: Behaviour(pieces=["# A title\n\n", "word "], hang_after=2)
        async with server.open("/api/stream/blog", BLOG) as events:
            seen = [await anext(events) for _ in range(3)]
        for path, body in (("/api/stream/blog", BLOG), (f"/api/stream/{seen[0].data['runId']}", None)):
            async with asyncio.timeout(10), server.open(path, body, last_event_id=seen[-1].id):
                pass
