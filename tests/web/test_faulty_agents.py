"""What an author did wrong fails the run that met it, with a word on what to do; everything else goes on."""

from collections.abc import AsyncIterator

import pytest

from tests.serving import MakeSettings, Served, serve

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)  # they know no SQL


@pytest.fixture
async def server(make_settings: MakeSettings) -> AsyncIterator[Served]:
    async with serve(make_settings(agents="tests.web.faulty_agents")) as served:
        yield served


@pytest.mark.parametrize("operation", ["interrupt", "leave"])
async def test_an_operation_cannot_stop_the_server(server: Served, operation: str) -> None:
    reply = await server.ask("POST", f"/api/agents/faulty/{operation}", {})
    assert (reply.status, reply.json["code"]) == (500, "internal_error")
    assert reply.headers["x-run-id"] in reply.json["message"]
    events = await server.stream(f"/api/stream/faulty/{operation}", {})
    assert (events[-1].event, events[-1].data["code"]) == ("error", "internal_error")
    assert (await server.ask("POST", "/api/agents/faulty/answer", {})).status == 200


@pytest.mark.parametrize(
    "how", ["say", "progress", "write", "message", "show", "charge", "error", "details", "in the result"]
)
async def test_half_of_an_emoji_is_refused_where_it_is_said(server: Served, how: str) -> None:
    events = await server.stream("/api/stream/faulty/garble", {"how": how})
    assert [event.event for event in events if event.event in ("token", "partial")] == []
    assert (events[-1].event, events[-1].data["code"]) == ("error", "wrong_result")
    assert "lone surrogate, such as half of an emoji" in events[-1].data["message"]
    run_id = events[0].data["runId"]
    async with server.open(f"/api/stream/{run_id}") as again:
        assert [event.event async for event in again][-1] == "error"
    assert (await server.ask("GET", f"/api/runs/{run_id}")).json["run"]["status"] == "failed"


@pytest.mark.parametrize("how", ["say", "progress", "charge", "error", "details", "in the result"])
async def test_half_of_an_emoji_is_refused_in_json_too(server: Served, how: str) -> None:
    reply = await server.ask("POST", "/api/agents/faulty/garble", {"how": how})
    assert (reply.status, reply.json["code"]) == (500, "wrong_result")
    assert "faulty.garble" in reply.json["message"]
    assert "surrogate" in reply.json["message"]


async def test_half_of_an_emoji_deep_in_a_result_is_refused(server: Served) -> None:
    reply = await server.ask("POST", "/api/agents/faulty/garbleResult", {})
    assert (reply.status, reply.json["code"]) == (500, "wrong_result")
    assert "join the pieces" in reply.json["message"]


@pytest.mark.parametrize(("how", "said"), [("text", "ValueError is not JSON"), ("delay", "number of seconds")])
async def test_an_error_that_cannot_be_sent_is_named(server: Served, how: str, said: str) -> None:
    reply = await server.ask("POST", "/api/agents/faulty/quoteError", {"how": how})
    assert (reply.status, reply.json["code"]) == (500, "wrong_result")
    assert said in reply.json["message"]


@pytest.mark.parametrize(
    ("how", "status", "retry_after"), [("later", 429, "42"), ("", 429, "5"), ("unavailable", 503, "5")]
)
async def test_a_refusal_of_the_authors_says_when_to_come_back(
    server: Served, how: str, status: int, retry_after: str
) -> None:
    reply = await server.ask("POST", "/api/agents/faulty/refuse", {"how": how})
    assert (reply.status, reply.headers["retry-after"]) == (status, retry_after)


@pytest.mark.parametrize("how", ["field", "infinite", "set later", "part", "dataclass", "anything", "call"])
async def test_a_number_that_json_does_not_have_is_refused_and_never_kept(server: Served, how: str) -> None:
    for _ in range(2):
        reply = await server.ask("POST", "/api/agents/faulty/divide", {"how": how})
        assert (reply.status, reply.json["code"]) == (500, "wrong_result")
        assert "faulty.divide" in reply.json["message"]
        assert "NaN" in reply.json["message"]


async def test_words_and_nothing_are_not_taken_for_such_a_number(server: Served) -> None:
    reply = await server.ask("POST", "/api/agents/faulty/divide", {})
    assert reply.json["result"] == {
        "average": 0.0, "shares": [{"share": None}], "total": None, "more": ["NaN", "Infinity", None],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("dict", "returned an object of the type dict"),
        ("another", "returned an object of the type Wanted"),
        ("nothing", "returned nothing (None). Is a `return` missing?"),
        ("unready", "returned a coroutine (answer_later). Is an `await` missing?"),
    ],
)
async def test_a_sample_that_is_no_answer_of_a_model_is_named(server: Served, how: str, said: str) -> None:
    reply = await server.ask("POST", "/api/agents/faulty/showSample", {"how": how})
    assert (reply.status, reply.json["code"]) == (500, "wrong_result")
    assert (
        "The sample of faulty.showSample has to return what the model would answer, here Said" in reply.json["message"]
    )
    assert said in reply.json["message"]
