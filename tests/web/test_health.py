"""Health, status and the documents."""

import asyncio
import json
import re
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Any

import pytest
from openapi_spec_validator import validate
from sqlalchemy import event
from structlog.testing import capture_logs

from amrikyy.agents.registry import load_registry
from amrikyy.db import Database
from amrikyy.errors import Unavailable
from amrikyy.web import docs, health
from tests.serving import MakeSettings, Served, serve

SNAPSHOT = Path(__file__).parents[2] / "docs" / "openapi.json"


async def test_health_has_the_shape_of_the_guide(server: Served) -> None:
    reply = await server.ask("GET", "/api/health", key=None)
    body = reply.json
    assert reply.status == 200
    assert set(body) == {"status", "timestamp", "uptime", "components", "version", "phase"}
    assert (body["status"], body["version"], body["phase"]) == ("healthy", "2.0.0", 2)
    assert list(body["components"]) == ["redis", "database", "gemini", "agents", "offline"]
    assert body["components"]["redis"]["status"] == "not_configured"
    assert body["components"]["gemini"]["status"] == "not_configured"
    assert set(body["components"]["database"]) == {"status", "latency", "message"}
    assert all("message" in body["components"][name] for name in ("redis", "gemini", "offline"))
    agents = body["components"]["agents"]
    assert agents["summary"] == {"total": 3, "healthy": 3, "degraded": 0, "unhealthy": 0}
    assert agents["agents"]["travel"] == {"status": "healthy", "totalCalls": 0, "errorRate": 0}
    assert body["timestamp"].endswith("Z")


async def test_probes_and_status(server: Served) -> None:
    assert (await server.ask("GET", "/api/health/live", key=None)).json["status"] == "alive"
    ready = (await server.ask("GET", "/api/health/ready", key=None)).json
    assert set(ready) == {"status", "timestamp"}
    assert ready["status"] == "ready"
    status = (await server.ask("GET", "/api/status", key=None)).json
    assert set(status) == {
        "service", "version", "phase", "environment", "ready", "uptime", "memory", "timestamp",
    }  # fmt: skip
    assert status["memory"]["used"] > 10
    front = (await server.ask("GET", "/api", key=None)).json
    assert set(front) == {"service", "version", "phase", "status", "timestamp", "features", "endpoints"}
    paths = {endpoint.path for endpoint in server.app.endpoints}
    assert set(front["endpoints"].values()) <= paths | {"/api/stream/{agent}/{operation}"}
    assert "/api/coordinator" in front["endpoints"].values()


async def test_without_its_database_the_server_is_unhealthy_and_not_ready(
    server: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def down() -> None:
        raise Unavailable("The database cannot be reached.", code="database_unavailable")

    monkeypatch.setattr(type(server.runtime.database), "ping", lambda _: down())
    monkeypatch.setattr(type(server.runtime.database), "takes_writes", False)  # as a login has found meanwhile
    health = await server.ask("GET", "/api/health", key=None)
    assert (health.status, health.json["status"]) == (503, "unhealthy")
    ready = await server.ask("GET", "/api/health/ready", key=None)
    assert (ready.status, ready.json["status"]) == (503, "not_ready")
    assert "database" in ready.json["reason"]
    assert (await server.ask("GET", "/api/health/live", key=None)).status == 200


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_server_whose_database_file_is_deleted_says_so(server: Served) -> None:
    assert (await server.ask("GET", "/api/health/ready", key=None)).status == 200
    Path(server.runtime.database.name).unlink()
    async with asyncio.timeout(20):
        while (ready := await server.ask("GET", "/api/health/ready", key=None)).status == 200:
            await asyncio.sleep(0.05)  # it is looked at every few seconds
    assert "deleted, moved or replaced" in ready.json["reason"]
    health = await server.ask("GET", "/api/health", key=None)
    assert (health.status, health.json["components"]["database"]["status"]) == (503, "unhealthy")
    assert b"\ndb_up 0.0\n" in (await server.ask("GET", "/api/metrics", key="admin")).body


class ReadOnly:
    """Makes a database refuse to write, as a replica does, until `over`."""

    def __init__(self, database: Database) -> None:
        self._sqlite = database.dialect == "sqlite"
        self.over = False
        event.listen(database.engine.sync_engine, "checkout", self._demote)

    def _demote(self, connection: Any, *_: object) -> None:
        setting = "PRAGMA query_only" if self._sqlite else "SET default_transaction_read_only"
        connection.cursor().execute(f"{setting} = {'off' if self.over else 'on'}")
        connection.commit()


async def test_a_database_that_takes_no_writes_degrades_health_although_no_run_waits(
    make_settings: MakeSettings,
) -> None:
    async with serve(make_settings()) as server:
        read_only = ReadOnly(server.runtime.database)

        async def health_is(wanted: str) -> str:
            async with asyncio.timeout(20):
                while True:
                    health = (await server.ask("GET", "/api/health", key=None)).json
                    database = health["components"]["database"]
                    if database["status"] == wanted:
                        return str(database["message"])
                    await asyncio.sleep(0.05)  # it is looked at every few seconds

        key = {"name": "k", "role": "user"}
        assert (await server.ask("POST", "/api/auth/keys", key, key="admin")).status == 503
        assert "cannot be written: 0 runs are waiting" in await health_is("degraded")
        read_only.over = True
        assert (await server.ask("POST", "/api/auth/keys", key, key="admin")).status == 201
        await health_is("healthy")


async def test_a_database_that_takes_no_writes_degrades_health_until_it_does_and_is_logged_once(
    make_settings: MakeSettings,
) -> None:
    async with serve(make_settings(offline_tokens_per_s=0)) as server:
        read_only = ReadOnly(server.runtime.database)

        def failing() -> bool:
            return server.runtime.records.failing

        with capture_logs() as logs:
            async with asyncio.timeout(20):
                while not failing():
                    await server.ask("POST", "/api/agents/content/generateBlogPost", {"topic": "A replica"})
                    await asyncio.sleep(0.02)
                health: dict[str, Any] = {"status": "healthy"}
                while health["status"] == "healthy":  # as it was found a moment ago
                    await server.ask("GET", "/api/budgets/mine")  # it can be read all the same
                    health = (await server.ask("GET", "/api/health", key=None)).json
            database = health["components"]["database"]
            assert (health["status"], database["status"]) == ("degraded", "degraded")
            assert "cannot be written" in database["message"]
            server.runtime.sample()
            assert server.runtime.metrics.database_up.value() == 0
            read_only.over = True
            async with asyncio.timeout(20):
                while failing():
                    await asyncio.sleep(0.02)
            server.runtime.sample()
            assert server.runtime.metrics.database_up.value() == 1
        told = [line for line in logs if line["event"].startswith(("database_", "runs_"))]
        assert [line["event"] for line in told] == [
            "database_unavailable", "runs_cannot_be_recorded", "database_available_again", "runs_are_recorded_again",
        ]  # fmt: skip
        assert re.search("read.?only", told[1]["reason"])


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_damaged_workflow_file_degrades_health_until_it_is_deleted_and_is_logged_once(
    make_settings: MakeSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "FRESH_S", 0.0)
    workflows = tmp_path / "test-workflows.db"
    workflows.write_bytes(b"no database at all" * 1000)
    plan = {"steps": [{"agent": "content", "method": "generateBlogPost", "params": {"topic": "A file"}}]}
    async with serve(make_settings()) as server:
        with capture_logs() as logs:
            body = (await server.ask("GET", "/api/health", key=None)).json
            assert (body["status"], body["components"]["database"]["status"]) == ("degraded", "degraded")
            assert "test-workflows.db is damaged" in body["components"]["database"]["message"]
            assert (await server.ask("GET", "/api/health/ready", key=None)).status == 200
            for _ in range(2):
                refused = await server.ask("POST", "/api/coordinator/sequential", plan)
                assert refused.status == 503
                assert "test-workflows.db is damaged" in refused.json["message"]
            for path in tmp_path.glob("test-workflows.db*"):
                path.unlink()
            assert (await server.ask("GET", "/api/health", key=None)).json["status"] == "healthy"
            assert (await server.ask("POST", "/api/coordinator/sequential", plan)).status == 200
        told = [line for line in logs if line["log_level"] == "error" or line["event"].startswith("workflow_")]
        assert [line["event"] for line in told] == ["workflow_file_damaged", "workflow_file_sound_again"]
        assert told[0]["file"] == str(workflows)
        assert told[0]["cure"].startswith("Delete it, and its -wal and -shm")


async def test_an_unreachable_model_is_unhealthy_and_says_so(make_settings: MakeSettings) -> None:
    settings = make_settings(models=None, gemini_api_key="test", gemini_base_url="http://127.0.0.1:9")
    async with serve(settings) as server:
        health = await server.ask("GET", "/api/health", key=None)
        assert health.status == 503
        assert health.json["components"]["gemini"]["status"] == "unhealthy"
        assert (await server.ask("GET", "/api/health/ready", key=None)).status == 200


async def test_the_openapi_document_is_valid_and_lists_every_operation(server: Served) -> None:
    document = (await server.ask("GET", "/api/openapi.json", key=None)).json
    validate(document)
    for operation in load_registry().operations():
        run = document["paths"][f"/api/agents/{operation.agent}/{operation.name}"]["post"]
        stream = document["paths"][f"/api/stream/{operation.agent}/{operation.name}"]["post"]
        request = {"$ref": f"#/components/schemas/{operation.request_type.__name__}"}
        assert run["requestBody"]["content"]["application/json"]["schema"] == request
        assert stream["requestBody"]["content"]["application/json"]["schema"] == request
        reply = run["responses"]["200"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
        result = document["components"]["schemas"][reply]["properties"]["result"]["$ref"]
        assert result == f"#/components/schemas/{operation.result_type.__name__}"
        assert {"400", "401", "403", "502", "503", "504"} <= set(run["responses"])


async def test_the_committed_openapi_document_is_up_to_date(server: Served) -> None:
    document = (await server.ask("GET", "/api/openapi.json", key=None)).json
    assert json.loads(SNAPSHOT.read_text()) == document, "run `make openapi` and commit docs/openapi.json"


async def test_the_docs_page_lists_every_path_and_has_no_script(server: Served) -> None:
    reply = await server.ask("GET", "/api/docs", key=None)
    assert reply.headers["content-type"] == "text/html; charset=utf-8"
    page = reply.body.decode()
    for path in (await server.ask("GET", "/api/openapi.json", key=None)).json["paths"]:
        assert path in page
    assert "<script" not in page
    assert "https://" not in page.replace("http://localhost:3001", "")


async def test_the_dates_in_the_examples_of_the_docs_page_do_not_pass_while_the_server_runs(
    server: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Clock(datetime):
        frozen_at = ""

        @classmethod
        def now(cls, tz: tzinfo | None = None) -> "Clock":
            return cls.fromisoformat(cls.frozen_at).replace(tzinfo=tz)

    monkeypatch.setattr(docs, "datetime", Clock)
    for day in ("2031-01-01", "2031-03-01"):
        Clock.frozen_at = day
        page = (await server.ask("GET", "/api/docs", key=None)).body.decode()
        examples = "".join(re.findall("<summary>Try it.*?</details>", page, re.DOTALL))
        dates = re.findall(r"20\d\d-\d\d-\d\d", examples)
        assert dates
        assert all(date > day for date in dates)


async def test_cors_answers_a_preflight_of_a_known_origin_only(make_settings: MakeSettings) -> None:
    async with serve(make_settings(allowed_origins="https://app.example.com")) as server:
        for origin, allowed in (("https://app.example.com", True), ("https://evil.example.com", False)):
            headers = {
                "origin": origin,
                "access-control-request-method": "POST",
                "access-control-request-headers": "x-api-key",
            }
            reply = await server.ask("OPTIONS", "/api/stream/blog", key=None, headers=headers)
            assert (reply.headers.get("access-control-allow-origin") == origin) is allowed
            refused = await server.ask("GET", "/api/agents/list", key=None, headers={"origin": origin})
            assert refused.status == 401
            assert (refused.headers.get("access-control-allow-origin") == origin) is allowed
            if allowed:
                shown = {name.strip() for name in refused.headers["access-control-expose-headers"].split(",")}
                assert {"x-run-id", "x-cache", "location", "retry-after", "server-timing"} <= shown
