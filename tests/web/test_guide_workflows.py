"""The guide's three bodies for the coordinator, as they stand there (`...` in an object left out)."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydantic import BaseModel

from tests.model_server import Behaviour, ModelServer, Recorded
from tests.serving import MakeSettings, Served, serve
from tests.web.test_ask import call_of
from tests.web.test_models_behind import settings_for
from tests.web.test_operations import REQUESTS

SEQUENTIAL = """{
  "steps": [
    { "agent": "travel", "method": "searchFlights", "params": {} },
    { "agent": "content", "method": "generateBlogPost", "params": {} }
  ],
  "input": { "destination": "Paris" }
}"""
PARALLEL = """{
  "tasks": [
    { "agent": "travel", "method": "searchFlights" },
    { "agent": "travel", "method": "searchHotels" },
    { "agent": "content", "method": "generateSocialPosts" }
  ],
  "input": { "destination": "Tokyo" }
}"""
HIERARCHICAL = """{
  "master": "innovation",
  "subAgents": ["travel", "content"],
  "input": { "campaign": "Summer Travel 2025" },
  "aggregator": "function(results) { return combine(results); }"
}"""


@pytest.fixture(params=["offline", "gemini"])
async def server(request: pytest.FixtureRequest, make_settings: MakeSettings) -> AsyncIterator[Served]:
    if request.param == "offline":
        async with serve(make_settings()) as served:
            yield served
    else:
        async with ModelServer() as models, serve(settings_for("gemini", models, make_settings)) as served:
            models.rule = lambda post: sensible(served, post)
            yield served


CHOSEN = {"travel": "getDestinationRecommendations", "content": "generateBlogPost", "innovation": "generateIdeas"}
"""What the model chooses of each agent for the campaign."""

ASSUMED_PLATFORMS = ["twitter", "facebook", "instagram", "linkedin", "tiktok"]


def sensible(server: Served, post: Recorded) -> Behaviour | None:
    """What a model could have answered: to the planner a choice, to an operation what the offline model says to it."""
    schema = post.json["generationConfig"].get("responseJsonSchema")
    if schema is None:
        return None
    if "You turn a request into a call" in str(post.json):
        agent = next(each for each in CHOSEN if f"{each}." in json.dumps(schema))
        return Behaviour(pieces=[call_of(f"{agent}.{CHOSEN[agent]}")])
    for operation in server.runtime.registry.operations():
        assert operation.sample is not None
        fields = REQUESTS[operation.key.replace(".", "/")]
        if operation.name == "generateSocialPosts":  # a post for each of those that the planner assumes
            fields = fields | {"platforms": ASSUMED_PLATFORMS}
        request = operation.request_type.model_validate(fields)
        answer = operation.sample(request)
        if isinstance(answer, BaseModel) and answer.model_fields_set == {*schema["properties"]}:
            return Behaviour(pieces=[answer.model_dump_json(by_alias=True)])
    raise AssertionError(f"nobody asks for {schema['properties'].keys()}")


async def run(server: Served, strategy: str, body: str) -> dict[str, Any]:
    reply = await server.ask("POST", f"/api/coordinator/{strategy}", raw=body.encode())
    assert reply.status == 200, reply.body
    answer: dict[str, Any] = json.loads(reply.body)
    return answer


async def test_the_sequence_goes_from_flights_to_a_post_about_them(server: Served) -> None:
    answer = await run(server, "sequential", SEQUENTIAL)
    flights, post = answer["results"]
    assert (flights["input"]["origin"], flights["input"]["destination"]) == ("JFK", "CDG")
    assert {"origin", "date"} <= flights["assumed"].keys()
    assert "Paris" in post["input"]["topic"]
    assert answer["finalResult"]["text"]


async def test_the_tasks_run_beside_each_other(server: Served) -> None:
    answer = await run(server, "parallel", PARALLEL)
    assert answer["tasks"] == 3
    by_method = {each["method"]: each for each in answer["results"]}
    assert by_method["searchFlights"]["input"]["destination"] == "HND"
    assert by_method["searchHotels"]["input"]["destination"] == "Tokyo"
    assert {"checkIn", "checkOut"} <= by_method["searchHotels"]["assumed"].keys()
    assert "Tokyo" in by_method["generateSocialPosts"]["input"]["topic"]
    assert set(answer["finalResult"]) == set(by_method)


async def test_the_master_leads_and_the_function_is_understood_as_a_name(server: Served) -> None:
    answer = await run(server, "hierarchical", HIERARCHICAL)
    master, travel, content = answer["results"]
    assert [each["agent"] for each in answer["results"]] == ["innovation", "travel", "content"]
    assert all(each["success"] and each["method"] and each["assumed"] is not None for each in answer["results"])
    assert all(each["reason"] for each in answer["results"])  # which operation, with what request, and why
    assert "Summer Travel 2025" in json.dumps(master["input"])
    assert set(answer["finalResult"]) == {travel["method"], content["method"]}
