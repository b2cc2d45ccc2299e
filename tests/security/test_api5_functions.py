"""API5, broken function level authorization: every route against every role."""

import pytest

from amrikyy.agents.registry import load_registry
from amrikyy.app import endpoints_of
from amrikyy.auth.roles import Permission
from amrikyy.web.endpoint import PUBLIC
from tests.serving import Served

ENDPOINTS = [endpoint for endpoint in endpoints_of(load_registry()) if endpoint.needs != PUBLIC]
GUIDE = {
    "user": {"agent:read", "agent:execute"},
    "premium": {"agent:read", "agent:execute", "agent:priority", "agent:streaming"},
}


def concrete(path: str) -> str:
    values = {"runId": "run_0", "agent": "travel", "operation": "none", "userId": "0" * 32, "keyId": "0" * 32,
              "subject": "everybody", "period": "day",
              "workflowId": "wf_0", "traceId": "0" * 32, "name": "none"}  # fmt: skip
    return path.format(**values)


@pytest.mark.parametrize("role", GUIDE)
async def test_every_route_that_needs_more_than_the_role_has_is_a_403_before_the_body_is_read(
    server: Served, role: str
) -> None:
    tried = 0
    for endpoint in ENDPOINTS:
        if isinstance(endpoint.needs, Permission) and endpoint.needs.value not in GUIDE[role]:
            reply = await server.ask(endpoint.method, concrete(endpoint.path), raw=b"{not json", key=role)
            assert (reply.status, reply.json["code"]) == (403, "forbidden"), endpoint.path
            tried += 1
    assert tried > 15


async def test_every_route_without_a_credential_is_a_401_before_anything_else(server: Served) -> None:
    for endpoint in ENDPOINTS:
        for path in (concrete(endpoint.path), concrete(endpoint.path) + "?limit=x"):
            reply = await server.ask(endpoint.method, path, raw=b"{not json", key=None)
            assert reply.status == 401, path


METHOD_HEADERS = ["x-http-method-override", "x-http-method", "x-method-override"]


async def test_no_header_changes_the_method(server: Served) -> None:
    for header in METHOD_HEADERS:
        reply = await server.ask("GET", "/api/auth/users", key="user", headers={header: "POST"})
        assert reply.status == 403


PATH_HEADERS = ["x-original-url", "x-rewrite-url", "x-forwarded-prefix", "x-forwarded-host", "forwarded"]


async def test_no_header_changes_the_path(server: Served) -> None:
    for header in PATH_HEADERS:
        reply = await server.ask("GET", "/api/auth/users", key=None, headers={header: "/api/status"})
        assert reply.status == 401
        reply = await server.ask("GET", "/api/status", key=None, headers={header: "/api/auth/users"})
        assert "users" not in reply.json


async def test_what_is_said_about_the_role_in_a_header_counts_nothing(server: Served) -> None:
    headers = {"x-role": "admin", "x-user-role": "admin", "role": "admin", "x-user-id": "admin", "cookie": "role=admin"}
    reply = await server.ask("GET", "/api/audit", key="user", headers=headers)
    assert reply.status == 403
