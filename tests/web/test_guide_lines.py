"""The guide's example of `/api/health`, and its lines for an operator's shell, as they are written there."""

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.model_server import ModelServer
from tests.serving import MakeSettings, Served, serve
from tests.web.test_models_behind import settings_for

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

HEALTH = {
    "status": "healthy",
    "timestamp": "2025-10-22T10:00:00.000Z",
    "uptime": 3600,
    "components": {
        "redis": {"status": "healthy", "latency": 5, "message": "Redis operational"},
        "database": {"status": "healthy", "latency": 120, "message": "Supabase operational"},
        "gemini": {"status": "healthy", "latency": 450, "message": "Gemini API operational"},
        "agents": {
            "status": "healthy",
            "agents": {
                "travel": {"status": "healthy", "totalCalls": 1523, "errorRate": 2},
                "content": {"status": "healthy", "totalCalls": 892, "errorRate": 1},
                "innovation": {"status": "healthy", "totalCalls": 347, "errorRate": 0},
            },
            "summary": {"total": 3, "healthy": 3, "degraded": 0, "unhealthy": 0},
        },
    },
    "version": "2.0.0",
    "phase": 2,
}

LINES = {
    """curl http://localhost:3001/api/metrics/json | jq '.metrics[] | select(.name == "rate_limit_hits_total")'""": {
        "limit": "content.generateBlogPost"
    },
    """curl http://localhost:3001/api/metrics/json | jq '.metrics[] | select(.name == "stream_sessions_active")'""": {
        "agent": "content"
    },
}
"""Each with the labels of a value that it shows."""


def shape(value: Any) -> Any:
    """What there is, by name, with what kind of thing it is; a state as it is."""
    if isinstance(value, dict):
        return {name: each if name == "status" else shape(each) for name, each in value.items()}
    return "number" if isinstance(value, int | float) else type(value).__name__


async def test_with_redis_and_gemini_health_is_the_example_of_the_guide(
    make_settings: MakeSettings, redis_url: str, tmp_path: Path
) -> None:
    async with ModelServer() as models:
        settings = settings_for("gemini", models, make_settings, redis_url=redis_url, redis_prefix=tmp_path.name)
        async with serve(settings) as server:
            reply = await server.ask("GET", "/api/health", key=None)
    assert reply.status == 200
    body = reply.json
    assert body["components"].pop("gemini:gemini-2.5-pro")["status"] == "healthy"  # the guide's server had one model
    assert shape(body) == shape(HEALTH)


async def run(line: str, server: Served) -> Any:
    """What a line of the guide prints."""
    process = await asyncio.create_subprocess_shell(
        line.replace("http://localhost:3001", server.url),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    output, errors = await process.communicate()
    assert process.returncode == 0, errors
    return json.loads(output)


@pytest.mark.skipif(not (shutil.which("curl") and shutil.which("jq")), reason="curl or jq is not installed")
async def test_the_guides_lines_for_an_operator_work_as_they_are_written(make_settings: MakeSettings) -> None:
    settings = make_settings(
        metrics_public=True, rate_limits={"content.generateBlogPost": "1/hour"}, rate_limit_whitelist=""
    )
    async with serve(settings) as server:
        await server.stream("/api/stream/blog", {"topic": "Night trains"})
        assert (await server.ask("POST", "/api/agents/content/generateBlogPost", {"topic": "Trains"})).status == 429
        for line, labels in LINES.items():
            metric = await run(line, server)
            assert labels in [value["labels"] for value in metric["values"]]
