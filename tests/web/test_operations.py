"""Operations as JSON, and the record of their runs."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.serving import Served

SOON = datetime.now(UTC).date() + timedelta(days=40)
LATER = SOON + timedelta(days=7)

REQUESTS: dict[str, dict[str, Any]] = {
    "travel/searchFlights": {"origin": "JFK", "destination": "LHR", "date": SOON.isoformat()},
    "travel/searchHotels": {"destination": "Paris", "checkIn": SOON.isoformat(), "checkOut": LATER.isoformat()},
    "travel/generateItinerary": {"destination": "Tokyo", "duration": 4, "budget": 3000},
    "travel/getDestinationRecommendations": {},
    "travel/getVisaRequirements": {"destination": "Japan", "nationality": "Egyptian"},
    "travel/createCompletePackage": {
        "origin": "New York", "destination": "Rome", "date": SOON.isoformat(), "duration": 5, "budget": 4000,
    },
    "content/generateBlogPost": {"topic": "AI in Travel"},
    "content/generateSocialPosts": {"topic": "AI in Travel", "platforms": ["twitter", "linkedin"]},
    "content/generateVideoScript": {"topic": "AI in Travel", "duration": 120},
    "content/researchTopic": {"topic": "AI in Travel"},
    "content/generateContentCalendar": {"duration": 7},
    "innovation/generateIdeas": {"niche": "urban gardening"},
    "innovation/analyzeTrends": {"industry": "travel"},
    "innovation/analyzeCompetitors": {"niche": "travel planning", "competitors": ["Acme", "Globex"]},
    "innovation/validateIdea": {"idea": "An app that plans rainy days."},
    "innovation/createBusinessModelCanvas": {"idea": "An app that plans rainy days.", "industry": "travel"},
}  # fmt: skip


def test_there_is_a_request_for_each_of_the_sixteen_operations() -> None:
    from amrikyy.agents.registry import load_registry

    assert {f"{each.agent}/{each.name}" for each in load_registry().operations()} == set(REQUESTS)


@pytest.mark.parametrize("operation", REQUESTS)
async def test_an_operation_answers_in_json_and_its_run_is_recorded(server: Served, operation: str) -> None:
    agent, name = operation.split("/")
    reply = await server.ask("POST", f"/api/agents/{operation}", REQUESTS[operation], key="user")
    assert reply.status == 200, reply.body
    body = reply.json
    assert set(body) == {
        "success", "agent", "operation", "runId", "result", "model", "usage", "costUsd", "cached", "duration",
    }  # fmt: skip
    assert (body["success"], body["agent"], body["operation"]) == (True, agent, name)
    assert (body["model"], body["costUsd"], body["cached"]) == ("offline", 0.0, False)
    assert body["usage"]["totalTokens"] == body["usage"]["promptTokens"] + body["usage"]["completionTokens"] > 0
    assert reply.headers["x-run-id"] == body["runId"]
    stages = [stage.partition(";dur=")[0] for stage in reply.headers["server-timing"].split(", ")]
    assert stages == ["auth", "limit", "cache", "model", "total"]

    run = (await server.ask("GET", f"/api/runs/{body['runId']}", key="user")).json["run"]
    assert (run["status"], run["agent"], run["operation"]) == ("completed", agent, name)
    assert run["result"] == body["result"]
    assert run["usage"] == body["usage"]
    assert run["error"] is None
    assert REQUESTS[operation].items() <= run["request"].items()


async def test_a_package_is_made_of_child_runs_and_costs_their_sum(server: Served) -> None:
    body = (
        await server.ask("POST", "/api/agents/travel/createCompletePackage", REQUESTS["travel/createCompletePackage"])
    ).json
    children = (await server.ask("GET", f"/api/runs?parentId={body['runId']}")).json["runs"]
    assert {child["operation"] for child in children} == {"searchFlights", "searchHotels", "generateItinerary"}
    assert body["usage"]["totalTokens"] > sum(child["usage"]["totalTokens"] for child in children) > 0


async def test_the_list_of_agents_says_what_each_can_do(server: Served) -> None:
    body = (await server.ask("GET", "/api/agents/list", key="user")).json
    assert (body["success"], body["count"]) == (True, 3)
    assert [agent["name"] for agent in body["agents"]] == ["travel", "content", "innovation"]
    flights = body["agents"][0]["operations"][0]
    assert flights == {
        "name": "searchFlights",
        "description": flights["description"],
        "limit": "20/minute",
        "cacheSeconds": 300,
        "streaming": "partials",
    }
    assert {operation["limit"] for operation in body["agents"][2]["operations"]} == {"30/minute"}


async def test_runs_are_listed_newest_first_a_page_at_a_time_with_filters(server: Served) -> None:
    made = [
        (await server.ask("POST", "/api/agents/innovation/generateIdeas", {"niche": niche})).json["runId"]
        for niche in ("one one", "two two", "three three")
    ]
    await server.ask("POST", "/api/agents/innovation/analyzeTrends", {"industry": "travel"})
    first = (await server.ask("GET", "/api/runs?operation=generateIdeas&limit=2")).json
    assert [run["id"] for run in first["runs"]] == [made[2], made[1]]
    second = (await server.ask("GET", f"/api/runs?operation=generateIdeas&limit=2&cursor={first['nextCursor']}")).json
    assert ([run["id"] for run in second["runs"]], second["nextCursor"]) == ([made[0]], None)
    assert (await server.ask("GET", "/api/runs?status=failed")).json["count"] == 0
    assert (await server.ask("GET", "/api/runs")).json["count"] == 4
    assert (await server.ask("GET", "/api/runs?agent=travel")).json["count"] == 0


async def test_a_wrong_query_names_the_parameter(server: Served) -> None:
    reply = await server.ask("GET", "/api/runs?limit=1000&colour=red&status=gone")
    assert reply.status == 400
    assert {detail["field"] for detail in reply.json["details"]} == {"limit", "colour", "status"}


async def test_a_past_date_and_a_return_before_the_start_are_refused(server: Served) -> None:
    body = {"origin": "JFK", "destination": "LHR", "date": LATER.isoformat(), "returnDate": SOON.isoformat()}
    reply = await server.ask("POST", "/api/agents/travel/searchFlights", body)
    assert [detail["field"] for detail in reply.json["details"]] == ["returnDate"]
    reply = await server.ask("POST", "/api/agents/travel/searchFlights", body | {"date": "2020-01-01"})
    assert "date" in [detail["field"] for detail in reply.json["details"]]
