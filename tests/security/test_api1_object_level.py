"""API1, broken object level authorization: every route that names a thing, asked by somebody whose it is not."""

import asyncio
from typing import Any

import pytest

from amrikyy.agents.registry import load_registry
from amrikyy.app import endpoints_of
from amrikyy.auth.roles import Permission
from tests.serving import KEYS, Served

BLOG = {"topic": "Lisbon in spring"}
FOR_ADMINISTRATORS = {Permission.AGENT_MANAGE, Permission.CACHE_MANAGE, Permission.AGENT_STATS}
OF_A_CALLER = [
    (endpoint.method, endpoint.path)
    for endpoint in endpoints_of(load_registry())
    if "{runId}" in endpoint.path and endpoint.needs not in FOR_ADMINISTRATORS
]
"""Routes with a parameter that names what belongs to one caller."""

OF_NOBODY = {"agent", "operation", "name"}
"""Parameters that name what all callers share."""


def test_every_parameter_of_a_route_is_either_shared_a_run_or_for_administrators() -> None:
    """A route with another kind of thing needs a test of its own here before it can be added."""
    for endpoint in endpoints_of(load_registry()):
        named = {part.partition("}")[0] for part in endpoint.path.split("{")[1:]}
        if named - OF_NOBODY - {"runId", "workflowId"}:
            assert endpoint.needs in FOR_ADMINISTRATORS, endpoint.path


async def started(server: Served, key: str = "premium") -> Any:
    reply = await server.ask("POST", "/api/agents/content/generateBlogPost", BLOG, key=key)
    assert reply.status == 200, reply.body
    run_id = reply.json["runId"]
    for _ in range(100):  # the run log is written behind
        if (await server.ask("GET", f"/api/runs/{run_id}", key=key)).status == 200:
            return run_id
        await asyncio.sleep(0.02)
    raise AssertionError("the run was never recorded")


@pytest.mark.parametrize(("method", "path"), OF_A_CALLER)
async def test_the_run_of_another_does_not_exist(server: Served, method: str, path: str) -> None:
    run_id = await started(server)
    body = BLOG if method == "POST" else None
    headers = {"last-event-id": f"{run_id}:1"}
    theirs = await server.ask(method, path.format(runId=run_id), body, key="other", headers=headers)
    assert theirs.status == 404, theirs.body
    never = f"run_{'0' * (len(run_id) - 4)}"
    nobodys = await server.ask(
        method, path.format(runId=never), body, key="other", headers={"last-event-id": f"{never}:1"}
    )
    if method == "GET" and path.startswith("/api/runs"):
        # Not even the wording tells whether it exists.
        same = {name: text.replace(run_id, "").replace(never, "") if isinstance(text, str) else text
                for name, text in theirs.json.items() if name != "requestId"}  # fmt: skip
        assert same == {name: text.replace(never, "") if isinstance(text, str) else text
                        for name, text in nobodys.json.items() if name != "requestId"}  # fmt: skip
    assert (await server.ask("GET", f"/api/runs/{run_id}", key="premium")).json["run"]["status"] == "completed"


OF_A_WORKFLOW = [
    (endpoint.method, endpoint.path) for endpoint in endpoints_of(load_registry()) if "{workflowId}" in endpoint.path
]


async def test_the_workflow_of_another_does_not_exist(server: Served) -> None:
    steps = [{"agent": "content", "method": "generateBlogPost", "params": BLOG}]
    mine = await server.ask("POST", "/api/coordinator/sequential", {"steps": steps})
    assert mine.status == 200, mine.body
    workflow_id = mine.json["workflowId"]
    assert len(OF_A_WORKFLOW) >= 3
    for method, path in OF_A_WORKFLOW:
        theirs = await server.ask(method, path.format(workflowId=workflow_id), key="other")
        assert theirs.status == 404, (path, theirs.body)
    listed = await server.ask("GET", "/api/coordinator/status", key="other")
    assert workflow_id not in listed.body.decode()
    assert workflow_id in (await server.ask("GET", "/api/coordinator/status")).body.decode()


async def test_resuming_the_stream_of_another_on_its_own_route_is_a_404(server: Served) -> None:
    events = await server.stream("/api/stream/blog", BLOG)
    reply = await server.ask("POST", "/api/stream/blog", BLOG, key="other", headers={"last-event-id": events[0].id})
    assert reply.status == 404


async def test_lists_and_usage_are_ones_own(server: Served) -> None:
    run_id = await started(server)
    for query in ("", "?agent=content", "?status=completed", "?limit=100"):
        listed = await server.ask("GET", f"/api/runs{query}", key="other")
        assert run_id not in listed.body.decode()
    assert run_id in (await server.ask("GET", "/api/runs", key="premium")).body.decode()
    assert run_id in (await server.ask("GET", "/api/runs", key="admin")).body.decode()


async def test_children_of_the_run_of_another_are_not_listed(server: Served) -> None:
    run_id = await started(server)
    listed = await server.ask("GET", f"/api/runs?parentId={run_id}", key="other")
    assert listed.json["runs"] == []


async def test_an_idempotency_key_is_the_caller_s_own(server: Served) -> None:
    headers = {"idempotency-key": "the-same-key"}
    path = "/api/agents/content/generateBlogPost"
    mine = await server.ask("POST", path, BLOG, headers=headers)
    theirs = await server.ask("POST", path, BLOG, key="other", headers=headers)
    assert (mine.status, theirs.status) == (200, 200)
    assert mine.json["runId"] != theirs.json["runId"]


async def test_a_budget_shows_ones_own_alone(server: Served) -> None:
    reply = await server.ask("GET", "/api/budgets/mine", key="other")
    assert reply.status == 200
    others = await server.ask("GET", "/api/auth/me", key="premium")
    assert others.json["id"] not in reply.body.decode()
    assert KEYS["premium"] not in reply.body.decode()
