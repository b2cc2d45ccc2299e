"""`/api/coordinator`: the guide's bodies, and what becomes of what they start."""

import asyncio
import re
from collections.abc import AsyncIterator
from itertools import permutations, product
from typing import Any

import pytest

from tests.model_server import Behaviour, ModelServer
from tests.serving import KEYS, MakeSettings, Served, serve
from tests.web.test_models_behind import settings_for
from tests.web.test_refusals import assert_error

BASE = "/api/coordinator"
IDEAS = {"agent": "innovation", "method": "generateIdeas", "params": {"niche": "travel", "count": 2}}
BLOG = {"agent": "content", "method": "generateBlogPost", "params": {"topic": "Slow travel", "length": "short"}}
TWO = {"steps": [IDEAS, BLOG]}
SLOW = {"steps": [BLOG], "input": {}}


@pytest.fixture
async def models() -> AsyncIterator[ModelServer]:
    async with ModelServer() as server:
        yield server


async def test_a_sequence_answers_with_every_step(server: Served) -> None:
    reply = await server.ask("POST", f"{BASE}/sequential", TWO)
    assert reply.status == 200, reply.body
    body = reply.json
    assert (body["success"], body["strategy"], body["steps"]) == (True, "sequential", 2)
    assert reply.headers["x-run-id"] == body["workflowId"]
    first, second = body["results"]
    assert set(first) == {
        "step", "agent", "method", "input", "assumed", "output", "error", "durationMs", "costUsd", "success", "runId",
        "attempts", "reason",
    }  # fmt: skip
    assert (first["step"], first["success"], first["costUsd"]) == ("steps.0", True, 0)
    assert second["output"] == body["finalResult"]
    run = (await server.ask("GET", f"/api/runs/{first['runId']}")).json["run"]
    assert (run["parentId"], run["operation"]) == (body["workflowId"], "generateIdeas")


async def test_a_master_goes_before_its_sub_agents(server: Served) -> None:
    plan = {
        "master": {"name": "innovation", "method": "generateIdeas"},
        "subAgents": [{"name": "content", "method": "generateBlogPost"}],
        "input": {"niche": "trains", "topic": "Night trains"},
        "aggregator": "function(results) { return combine(results); }",
    }
    body = (await server.ask("POST", f"{BASE}/hierarchical", plan)).json
    assert (body["master"], body["subAgents"]) == ("innovation", 1)
    assert set(body["finalResult"]) == {"generateBlogPost"}
    assert [each["step"] for each in body["results"]] == ["master", "subAgents.0"]


TRIP = {"destination": "Rome", "duration": 5, "budget": 1000}


async def test_any_agent_leads_any_other_by_names_alone(server: Served) -> None:
    inputs = (TRIP, {"topic": "Night trains"}, {"campaign": "Summer Travel 2025"})
    for (master, other), given in product(permutations(("travel", "content", "innovation"), 2), inputs):
        plan = {"master": master, "subAgents": [other], "input": given}
        reply = await server.ask("POST", f"{BASE}/hierarchical", plan)
        assert reply.status == 200, (plan, reply.body)


async def test_a_trip_is_planned_and_written_about(server: Served) -> None:
    for master in ("travel", {"name": "travel", "method": "generateItinerary"}):
        plan = {"master": master, "subAgents": ["content"], "input": TRIP}
        trip, post = (await server.ask("POST", f"{BASE}/hierarchical", plan)).json["results"]
        assert (trip["method"], trip["input"]["duration"]) == ("generateItinerary", 5)
        assert (post["method"], post["input"]["topic"]) == ("generateBlogPost", "Rome")
    plan = {"master": "travel", "subAgents": ["content"], "input": {}}  # all that there is to go by is the output
    trip, post = (await server.ask("POST", f"{BASE}/hierarchical", plan)).json["results"]
    assert post["input"]["topic"] == trip["output"]["destinations"][0]["name"]


async def test_a_named_workflow_runs_with_its_inputs(server: Served) -> None:
    body = {"workflowName": "market-study", "inputs": {
        "idea": "A marketplace for night trains", "industry": "rail travel", "competitors": ["Trainline"],
    }}  # fmt: skip
    reply = await server.ask("POST", BASE, body)
    assert reply.status == 200, reply.body
    assert reply.json["name"] == "market-study"
    assert len(reply.json["results"]) == 4
    unknown = await server.ask("POST", BASE, {"workflowName": "no-such"})
    assert_error(unknown, 404, "workflow_not_found")
    assert "GET /api/coordinator/workflows lists" in unknown.json["message"]


@pytest.mark.parametrize("how", ["body", "header"])
async def test_async_is_answered_at_once_and_can_be_looked_up(server: Served, how: str) -> None:
    plan, headers = (TWO | {"async": True}, {}) if how == "body" else (TWO, {"prefer": "respond-async"})
    reply = await server.ask("POST", f"{BASE}/sequential", plan, headers=headers)
    assert reply.status == 202
    path = reply.headers["location"]
    assert path == f"{BASE}/status/{reply.json['workflowId']}"
    async with asyncio.timeout(10):
        while (status := (await server.ask("GET", path)).json)["status"] != "completed":
            await asyncio.sleep(0.05)
    assert status["progress"] == {"done": 2, "total": 2}
    assert [each["step"] for each in status["results"]] == ["steps.0", "steps.1"]
    assert_error(await server.ask("GET", path, key="other"), 404, "workflow_not_found")
    assert (await server.ask("GET", path, key="admin")).status == 200


async def test_its_events_can_be_read_and_taken_up_again(server: Served) -> None:
    workflow_id = (await server.ask("POST", f"{BASE}/sequential", TWO | {"async": True})).json["workflowId"]
    path = f"{BASE}/status/{workflow_id}/events"
    async with server.open(path) as stream:
        events = [event async for event in stream]
    assert [event.number for event in events] == list(range(1, len(events) + 1))
    assert [event.event for event in events] == ["connected", "started", *["step"] * 4, "complete"]
    assert [each.data["progress"]["done"] for each in events[2:6]] == [0, 1, 1, 2]
    async with server.open(path, last_event_id=events[3].id) as stream:
        rest = [event async for event in stream]
    assert rest == events[4:]
    nothing = await server.ask("GET", path, headers={"last-event-id": events[-1].id})
    assert nothing.status == 204
    assert_error(await server.ask("GET", path, headers={"last-event-id": "wf_0:1"}), 409, "other_run")
    assert_error(await server.ask("GET", path, headers={"last-event-id": "x"}), 400, "validation_failed")
    later = {"last-event-id": f"{workflow_id}:99"}
    assert (await server.ask("GET", path, headers=later)).status in (204, 409)


async def test_anothers_workflow_is_not_there_on_any_route(server: Served) -> None:
    workflow_id = (await server.ask("POST", f"{BASE}/sequential", TWO)).json["workflowId"]
    path = f"{BASE}/status/{workflow_id}"
    for method, route in (("GET", path), ("GET", f"{path}/events"), ("POST", f"{path}/cancel")):
        assert_error(await server.ask(method, route, key="other"), 404, "workflow_not_found")
    events = await server.ask("GET", f"{path}/events", key="other", headers={"last-event-id": f"{workflow_id}:1"})
    assert_error(events, 404, "workflow_not_found")
    assert (await server.ask("GET", f"{BASE}/status", key="other")).json["workflows"] == []
    child = (await server.ask("GET", path)).json["results"][0]["runId"]
    assert (await server.ask("GET", f"/api/runs/{child}", key="other")).status == 404


async def test_the_same_key_starts_one_workflow(server: Served) -> None:
    key = {"idempotency-key": "once"}
    replies = await asyncio.gather(*(server.ask("POST", f"{BASE}/sequential", TWO, headers=key) for _ in range(4)))
    assert len({reply.json["workflowId"] for reply in replies}) == 1
    other = await server.ask("POST", f"{BASE}/sequential", {"steps": [BLOG]}, headers=key)
    assert_error(other, 409, "idempotency_conflict")


async def test_a_repetition_finds_its_workflow_after_the_definition_was_changed_and_deleted(server: Served) -> None:
    path, key = f"{BASE}/workflows", {"idempotency-key": "once"}
    definition = {"name": "mine", "description": "One step.", "plan": {"strategy": "sequential", "steps": [BLOG]}}
    body = {"workflowName": "mine", "inputs": {"tone": "formal"}}
    assert (await server.ask("POST", path, definition, key="admin")).status == 201
    first = await server.ask("POST", BASE, body, headers=key)
    assert first.status == 200, first.body
    changed = definition | {"plan": {"strategy": "sequential", "steps": [IDEAS]}}
    assert (await server.ask("POST", path, changed, key="admin")).status in (200, 201)
    assert (await server.ask("POST", BASE, body, headers=key)).json == first.json
    assert (await server.ask("DELETE", f"{path}/mine", key="admin")).status in (200, 204)
    assert (await server.ask("POST", BASE, body, headers=key)).json == first.json
    assert_error(await server.ask("POST", BASE, body | {"inputs": {}}, headers=key), 409, "idempotency_conflict")
    assert_error(await server.ask("POST", BASE, body), 404, "workflow_not_found")


async def test_a_key_whose_workflow_was_refused_can_be_used_at_once(server: Served) -> None:
    key, wrong = {"idempotency-key": "once"}, {"steps": [BLOG | {"method": "no-such"}]}
    began = asyncio.get_running_loop().time()
    replies = await asyncio.gather(*(server.ask("POST", f"{BASE}/sequential", wrong, headers=key) for _ in range(4)))
    assert {reply.status for reply in replies} == {400}
    assert (await server.ask("POST", f"{BASE}/sequential", TWO, headers=key)).status == 200
    assert asyncio.get_running_loop().time() - began < 5, "nobody waits for the record of what was never started"


async def test_cancelling_breaks_off_the_call_of_the_model(models: ModelServer, make_settings: MakeSettings) -> None:
    models.rule = lambda _: Behaviour(before_s=60)
    async with serve(settings_for("gemini", models, make_settings)) as server:
        workflow_id = (await server.ask("POST", f"{BASE}/sequential", SLOW | {"async": True})).json["workflowId"]
        path = f"{BASE}/status/{workflow_id}"
        async with server.open(f"{path}/events") as stream, asyncio.timeout(10):
            async for event in stream:
                if event.event == "step":
                    while not models.posts:
                        await asyncio.sleep(0.01)
                    async with server.open(f"{path}/events", last_event_id=event.id):
                        pass  # at once, though nothing new has happened
                    assert_error(await server.ask("POST", f"{path}/cancel", key="other"), 404, "workflow_not_found")
                    reply = await server.ask("POST", f"{path}/cancel")
                    await asyncio.wait_for(models.posts[0].closed.wait(), 1)
                    assert (reply.status, reply.json["status"]) == (200, "cancelled")
                last = event
        assert (last.event, last.data["code"]) == ("error", "run_cancelled")
        assert server.runtime.runner.running == 0
        assert_error(await server.ask("POST", f"{path}/cancel"), 409, "workflow_ended")
        assert_error(await server.ask("POST", f"{path}/cancel", key="admin"), 409, "workflow_ended")
        another = (await server.ask("POST", f"{BASE}/sequential", SLOW | {"async": True})).json["workflowId"]
        assert (await server.ask("POST", f"{BASE}/status/{another}/cancel", key="admin")).status == 200
        log = (await server.ask("GET", "/api/audit?action=workflow.cancel", key="admin")).json["entries"]
        assert [entry["target"] for entry in log] == [another], "an administrative act, where it is another's"


async def test_who_leaves_takes_the_workflow_along_unless_it_has_a_key(
    models: ModelServer, make_settings: MakeSettings
) -> None:
    models.rule = lambda _: Behaviour(before_s=60)
    async with serve(settings_for("gemini", models, make_settings)) as server:
        for headers, status in (({}, "cancelled"), ({"idempotency-key": "stays"}, "running")):
            asking = asyncio.create_task(server.ask("POST", f"{BASE}/sequential", SLOW, headers=headers))
            async with asyncio.timeout(10):
                while not server.runtime.runner.running:
                    await asyncio.sleep(0.02)
                asking.cancel()
                await asyncio.wait([asking])
                await asyncio.sleep(0.3)
                newest = (await server.ask("GET", f"{BASE}/status")).json["workflows"][0]
                while newest["status"] != status:
                    await asyncio.sleep(0.05)
                    newest = (await server.ask("GET", f"{BASE}/status")).json["workflows"][0]
        await server.ask("POST", f"{BASE}/status/{newest['workflowId']}/cancel")


async def test_a_failed_sequence_answers_with_the_error_of_its_step(server: Served) -> None:
    plan = {"steps": [IDEAS, {"agent": "content", "method": "generateBlogPost", "transform": "join(@, @)"}],
            "input": {"topic": "Trains"}}  # fmt: skip
    reply = await server.ask("POST", f"{BASE}/sequential", plan)
    assert_error(reply, 400, "validation_failed")
    assert reply.json["message"].startswith("steps.1 failed: ")
    assert reply.json["message"].endswith(f"How each step went: GET {reply.headers['location']}.")
    status = (await server.ask("GET", reply.headers["location"])).json
    assert (status["status"], [each["success"] for each in status["results"]]) == ("failed", [True, False])


async def test_wrong_plans_are_refused_before_anything_starts(server: Served) -> None:
    wrong: dict[str, Any] = {"steps": [{"agent": "nobody", "method": "x"}, BLOG | {"transform": "evil("}]}
    reply = await server.ask("POST", f"{BASE}/sequential", wrong)
    assert_error(reply, 400, "validation_failed")
    assert [each["field"] for each in reply.json["details"]] == ["steps.0.agent", "steps.1.transform"]
    many = await server.ask("POST", f"{BASE}/sequential", {"steps": [BLOG] * 101})
    assert [each["field"] for each in many.json["details"]] == ["steps.100"]
    for code in ("function(r){ process.exit() }", "__import__('os').system('true')"):
        body = {"master": "innovation", "subAgents": ["content"], "aggregator": code}
        refused = await server.ask("POST", f"{BASE}/hierarchical", body)
        assert_error(refused, 400, "validation_failed")
        (detail,) = refused.json["details"]
        assert "code is not accepted" in detail["message"]
        assert "combine, concat, first, summarize" in detail["message"]
    assert (await server.ask("GET", f"{BASE}/status")).json["count"] == 0


async def test_a_plan_is_charged_whole_and_one_larger_than_a_limit_never_passes(make_settings: MakeSettings) -> None:
    limits = {"content.generateBlogPost": "3/minute"}
    async with serve(make_settings(rate_limit_whitelist="", rate_limits=limits)) as server:
        never = await server.ask("POST", f"{BASE}/parallel", {"tasks": [BLOG] * 4})
        assert_error(never, 400, "exceeds_limit")
        assert (await server.ask("POST", f"{BASE}/parallel", {"tasks": [BLOG] * 2})).status == 200
        refused = await server.ask("POST", f"{BASE}/parallel", {"tasks": [BLOG] * 2})
        assert_error(refused, 429, "rate_limited_operation")
        assert (await server.ask("POST", "/api/agents/content/generateBlogPost", BLOG["params"])).status == 200


async def test_workflows_are_listed_in_pages(server: Served) -> None:
    for path, plan in (("sequential", TWO), ("parallel", {"tasks": [BLOG]}), ("sequential", {"steps": [IDEAS]})):
        await server.ask("POST", f"{BASE}/{path}", plan)
    page = (await server.ask("GET", f"{BASE}/status?limit=2")).json
    assert [each["strategy"] for each in page["workflows"]] == ["sequential", "parallel"]
    rest = (await server.ask("GET", f"{BASE}/status?limit=2&cursor={page['nextCursor']}")).json
    assert (rest["count"], rest["nextCursor"]) == (1, None)
    assert (await server.ask("GET", f"{BASE}/status?strategy=parallel")).json["count"] == 1
    assert (await server.ask("GET", f"{BASE}/status", key="other")).json["count"] == 0


async def test_statistics_and_metrics_count_what_ended(server: Served) -> None:
    await server.ask("POST", f"{BASE}/sequential", TWO)
    await server.ask("POST", f"{BASE}/parallel", {"tasks": [IDEAS, BLOG]})
    stats = (await server.ask("GET", f"{BASE}/stats", key="admin")).json["stats"]
    assert (stats["totalWorkflows"], stats["completedWorkflows"], stats["activeWorkflows"]) == (2, 2, 0)
    assert stats["byStrategy"]["parallel"]["completed"] == 1
    assert {each["agent"]: each["total"] for each in stats["agents"]} == {"content": 2, "innovation": 2}
    metrics = (await server.ask("GET", "/api/metrics", key="admin")).body.decode()
    assert 'coordinator_workflows_total{status="completed",strategy="sequential"} 1.0' in metrics
    assert 'coordinator_workflows_total{status="failed",strategy="hierarchical"} 0.0' in metrics, "before one has"
    assert 'coordinator_workflow_duration_seconds_count{strategy="parallel"} 1.0' in metrics
    assert (await server.ask("POST", f"{BASE}/stats/reset", key="premium")).status == 403
    assert (await server.ask("POST", f"{BASE}/stats/reset", key="admin")).json["reset"] is True
    assert (await server.ask("GET", f"{BASE}/stats", key="admin")).json["stats"]["totalWorkflows"] == 0


async def test_that_there_is_no_room_is_said_before_the_body_is_read(server: Served) -> None:
    server.runtime.workflows.turns.line = 0
    for path in (BASE, f"{BASE}/sequential", f"{BASE}/parallel", f"{BASE}/hierarchical"):
        assert_error(await server.ask("POST", path, raw=b"{not json"), 503, "server_full")
    known = await server.ask("POST", BASE, raw=b"{not json", headers={"idempotency-key": "k"})
    assert_error(known, 400, "malformed_body")


async def test_workflows_are_defined_in_versions(server: Served) -> None:
    definition = {"name": "mine", "description": "A test.", "plan": {"strategy": "sequential", **TWO}}
    assert (await server.ask("POST", f"{BASE}/workflows", definition, key="premium")).status == 403
    for version in (1, 2):
        reply = await server.ask("POST", f"{BASE}/workflows", definition, key="admin")
        assert (reply.status, reply.json["version"]) == (201, version)
    listed = (await server.ask("GET", f"{BASE}/workflows")).json
    assert {"name": "mine", "strategy": "sequential", "description": "A test.", "steps": 2, "version": 2} in listed[
        "workflows"
    ]
    assert {"trip-plan", "campaign-launch", "market-study"} <= {each["name"] for each in listed["workflows"]}
    assert (await server.ask("GET", f"{BASE}/workflows/mine")).json["plan"]["steps"][0]["agent"] == "innovation"
    assert (await server.ask("POST", BASE, {"workflowName": "mine"})).status == 200
    nameless = await server.ask("POST", f"{BASE}/workflows", definition | {"plan": TWO}, key="admin")
    assert nameless.json["details"][0]["message"].startswith("Name its strategy")
    cyclic = definition | {"plan": {"strategy": "sequential", "steps": [{"workflow": "mine"}]}}
    refused = await server.ask("POST", f"{BASE}/workflows", cyclic, key="admin")
    assert refused.json["details"][0]["type"] == "cycle"
    assert (await server.ask("DELETE", f"{BASE}/workflows/mine", key="admin")).status == 200
    audit = (await server.ask("GET", "/api/audit", key="admin")).json["entries"]
    assert [each["action"] for each in audit[:3]] == ["workflow.delete", "workflow.save", "workflow.save"]
    assert_error(await server.ask("GET", f"{BASE}/workflows/mine"), 404, "workflow_not_found")
    assert_error(await server.ask("DELETE", f"{BASE}/workflows/trip-plan", key="admin"), 409, "workflow_built_in")


async def test_agents_are_listed_with_their_methods(server: Served) -> None:
    body = (await server.ask("GET", f"{BASE}/agents")).json
    assert body["total"] == 3
    assert "searchFlights" in next(each["methods"] for each in body["agents"] if each["name"] == "travel")
    assert KEYS["premium"] not in str(body)


async def test_a_workflow_over_its_ceiling_stops_before_the_step(
    models: ModelServer, make_settings: MakeSettings
) -> None:
    models.rule = lambda _: Behaviour(pieces=["word "] * 500)
    prices = {"gemini-2.0-flash-exp": {"input": 1, "output": 2}, "gemini-2.5-pro": {"input": 1, "output": 2}}
    async with serve(settings_for("gemini", models, make_settings, model_prices=prices)) as server:
        plan = {"steps": [BLOG, BLOG | {"params": {"topic": "Night trains", "length": "short"}}]}
        tight = await server.ask("POST", f"{BASE}/sequential", plan | {"options": {"maxCostUsd": 1e-6}})
        assert_error(tight, 402, "cost_ceiling")
        assert models.posts == []
        a_call = float(re.findall(r"\$([\d.]+\d)", tight.json["message"])[-1])
        wider = await server.ask("POST", f"{BASE}/sequential", plan | {"options": {"maxCostUsd": a_call * 1.02}})
        assert_error(wider, 402, "cost_ceiling")
        assert wider.json["message"].startswith("The workflow was stopped at steps.1: ")
        assert len(models.posts) == 1
        status = (await server.ask("GET", wider.headers["location"])).json
        assert [each["success"] for each in status["results"]] == [True, False]
        assert 0 < status["costUsd"] == status["results"][0]["costUsd"] < a_call


async def test_a_ceiling_on_a_model_of_unknown_price_is_refused(
    models: ModelServer, make_settings: MakeSettings
) -> None:
    async with serve(settings_for("openai", models, make_settings)) as server:
        reply = await server.ask("POST", f"{BASE}/sequential", TWO | {"options": {"maxCostUsd": 1}})
        assert_error(reply, 400, "price_unknown")
        assert reply.json["details"][0]["field"] == "options.maxCostUsd"
        assert models.posts == []


async def test_a_stopping_server_sends_its_callers_elsewhere_and_the_next_one_goes_on(
    models: ModelServer, make_settings: MakeSettings
) -> None:
    models.script.append(Behaviour(before_s=60))
    settings = settings_for("gemini", models, make_settings, drain_timeout_s=0.2)
    async with serve(settings) as server:
        asking = asyncio.create_task(server.ask("POST", f"{BASE}/sequential", SLOW))
        async with asyncio.timeout(10):
            while not models.posts:
                await asyncio.sleep(0.01)
        workflow_id = (await server.ask("GET", f"{BASE}/status")).json["workflows"][0]["workflowId"]
        following = asyncio.create_task(server.ask("GET", f"{BASE}/status/{workflow_id}/events"))
        await asyncio.sleep(0.1)
        await server.app.drain()
        assert_error(await asking, 503, "draining")
        body = (await following).body.decode()
        assert body.startswith(f"id: {workflow_id}:1\nevent: connected\n")
        assert f'\n\nevent: reconnect\ndata: {{"workflowId":"{workflow_id}","retryMs":1000}}\n\n' in body
        assert (await server.ask("GET", f"{BASE}/status/{workflow_id}")).json["status"] == "running"
    path = f"{BASE}/status/{workflow_id}/events"
    async with (
        serve(settings) as server,
        asyncio.timeout(15),
        server.open(path, last_event_id=f"{workflow_id}:3") as stream,
    ):
        rest = [event async for event in stream]
    assert [(event.number, event.event) for event in rest] == [(4, "step"), (5, "complete")]
    assert len(models.posts) == 2
