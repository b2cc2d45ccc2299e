"""The agent in examples/, served: all that the server's own agents have, it has as well."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.serving import MakeSettings, Served, serve

EXAMPLES = Path(__file__).parents[2] / "examples"

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)  # they know no SQL


@pytest.fixture
async def server(make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Served]:
    monkeypatch.syspath_prepend(EXAMPLES)
    async with serve(make_settings(agents="support.agents")) as served:
        yield served


async def test_an_error_of_the_authors_own_has_its_status_and_its_code(server: Served) -> None:
    reply = await server.ask("POST", "/api/agents/support/trackOrder", {"order": "A-1001"})
    assert (reply.status, reply.json["code"], reply.json["error"]) == (404, "order_not_found", "Order not found")
    events = await server.stream("/api/stream/support/trackOrder", {"order": "A-1001"})
    assert (events[-1].event, events[-1].data["code"]) == ("error", "order_not_found")
    document = (await server.ask("GET", "/api/openapi.json", key=None)).json
    assert (
        "`order_not_found`"
        in document["paths"]["/api/agents/support/trackOrder"]["post"]["responses"]["404"]["description"]
    )
    assert "404" not in document["paths"]["/api/agents/support/answerQuestion"]["post"]["responses"]
    wrong = (await server.ask("POST", "/api/agents/support/trackOrder", {"order": "1001"})).json
    assert wrong["details"][0]["message"] == "Not of the required form, for example A-1001"
    run = (await server.ask("GET", f"/api/runs/{reply.headers['x-run-id']}")).json["run"]
    assert run["error"]["code"] == "order_not_found"


async def test_what_the_authors_own_library_used_is_in_the_answer_the_usage_and_the_budget(server: Served) -> None:
    path, body = "/api/agents/support/replyWithOwnLibrary", {"text": "Hello"}
    reply = (await server.ask("POST", path, body)).json
    assert (reply["model"], reply["usage"]["totalTokens"]) == ("claude-sonnet-4-5", 21)
    assert reply["costUsd"] > 0
    usage = (await server.ask("GET", "/api/usage?groupBy=model")).json
    assert "claude-sonnet-4-5" in str(usage)
    limit = {"subject": "role:premium", "period": "day", "limitUsd": reply["costUsd"] * 1.5}
    assert (await server.ask("POST", "/api/budgets", limit, key="admin")).status == 200
    statuses = [(await server.ask("POST", path, body)).status for _ in range(3)]
    assert statuses[-1] == 402


async def test_it_is_a_step_beside_those_of_the_server(server: Served) -> None:
    plan = {
        "steps": [
            {"agent": "support", "method": "answerQuestion", "params": {"text": "Where is my parcel?"},
             "transform": "{topic: answer}"},
            {"agent": "content", "method": "generateBlogPost", "params": {"length": "short"}},
        ],
        "input": {},
    }  # fmt: skip
    reply = await server.ask("POST", "/api/coordinator/sequential", plan)
    assert reply.status == 200, reply.body
    assert "Answer: Where is my parcel?" in str(reply.json)


async def test_an_object_that_the_authors_own_library_fills_is_streamed_as_it_grows(server: Served) -> None:
    events = await server.stream("/api/stream/support/sortQuestion", {"text": "Hello"})
    partials = [event.data["data"] for event in events if event.event == "partial"]
    assert partials == [{"answer": "You said: Hello."}]  # the second came too soon, and is in the result
    assert events[-1].data["result"] == {"answer": "You said: Hello. We will see to it.", "needsAPerson": False}
