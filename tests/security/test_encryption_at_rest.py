"""With an ENCRYPTION_KEY nothing of what callers send or get can be read where it rests."""

import io
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from redis.asyncio import Redis
from sqlalchemy import inspect, text

from amrikyy.agents.registry import load_registry
from amrikyy.cache import key_of
from amrikyy.cli.resealing import reseal_all
from amrikyy.db import open_database
from amrikyy.db.tables import runs
from amrikyy.runs.shared.keys import Keys
from amrikyy.runtime import open_runtime
from amrikyy.sealing import key_bytes, key_id
from amrikyy.settings import ConfigurationError, Settings
from tests.serving import MakeSettings, Served, serve
from tests.web.test_refusals import assert_error

KEY, OTHER = "ab" * 32, "o" * 32
MARKER = "zanzibarmarker"
BLOG = {"topic": f"Why {MARKER}", "length": "short"}
IDEAS = {"agent": "innovation", "method": "generateIdeas", "params": {"niche": MARKER, "count": 2}}
STEP = {"agent": "content", "method": "generateBlogPost", "params": BLOG}
WRONG = {
    "agent": "travel",
    "method": "getVisaRequirements",
    "params": {"destination": MARKER, "nationality": MARKER, "duration": MARKER},
}
PATH = "/api/agents/content/generateBlogPost"
KEYED = {"idempotency-key": "the-key"}


async def scenario(server: Served) -> dict[str, Any]:
    """Everything that leaves something behind: a run, a stream, a cached result, a replay, workflows, errors."""
    run = await server.ask("POST", PATH, BLOG, headers=KEYED)
    assert run.status == 200, run.body
    assert MARKER in run.body.decode().lower()
    assert (await server.ask("POST", PATH, BLOG)).headers["x-cache"] == "hit"
    assert [event.event for event in await server.stream("/api/stream/blog", BLOG | {"tone": "humorous"})][
        -1
    ] == "complete"
    done = await server.ask("POST", "/api/coordinator/sequential", {"steps": [IDEAS, STEP], "input": {"note": MARKER}})
    assert done.json["success"], done.body
    failed = await server.ask("POST", "/api/coordinator/sequential", {"steps": [WRONG]})
    assert failed.status == 400, failed.body
    definition = {
        "name": f"named-{uuid4().hex[:8]}",
        "description": MARKER,
        "plan": {"strategy": "sequential", "steps": [STEP]},
    }
    assert (await server.ask("POST", "/api/coordinator/workflows", definition, key="admin")).status == 201
    async with server.open("/api/stream/blog", BLOG | {"tone": "formal"}) as events:
        async for event in events:
            if event.event == "connected":
                break  # leaving cancels it
    await server.runtime.records.flush()
    return {"run": run.json["runId"], "workflow": done.json["workflowId"]}


async def at_rest_in_database(url: str) -> str:
    """All that is stored, as one text in lower case: SQLite's files byte for byte, PostgreSQL's rows."""
    if url.startswith("sqlite"):
        main = Path(url.removeprefix("sqlite:///"))
        files = sorted(main.parent.glob(f"{main.stem}*.db*"))
        assert {"test.db", "test-workflows.db"} <= {each.name for each in files}
        return "".join(each.read_bytes().decode("latin-1") for each in files).lower()
    database = open_database(url)
    found: list[str] = []
    async with database.connect() as connection:
        names = await connection.run_sync(
            lambda sync: [
                (s, name) for s in ("public", "workflows") for name in inspect(sync).get_table_names(schema=s)
            ]
        )
        for schema, name in names:
            rows = await connection.execute(text(f'SELECT t::text FROM "{schema}"."{name}" t'))  # noqa: S608 - our own
            found += rows.scalars().all()
    await database.close()
    assert found
    return "".join(found).lower()


async def at_rest_in_redis(url: str, prefix: str) -> str:
    """All keys and values, as one text in lower case."""
    found: list[Any] = []
    async with Redis.from_url(url) as connected:
        redis: Any = connected
        async for key in redis.scan_iter(f"{prefix}*"):
            kind = (await redis.type(key)).decode()
            found.append(key)
            match kind:
                case "string":
                    found.append(await redis.get(key))
                case "stream":
                    found += [value for _, fields in await redis.xrange(key) for value in fields.values()]
                case "zset":
                    found += await redis.zrange(key, 0, -1)
                case "list":
                    found += await redis.lrange(key, 0, -1)
                case "hash":
                    found += [part for pair in (await redis.hgetall(key)).items() for part in pair]
                case _:
                    raise AssertionError(f"a {kind} that nobody looks at")
    assert found
    return b"\n".join(found).decode("latin-1").lower()


@pytest.mark.parametrize("key", [KEY, None], ids=["with a key", "without"])
async def test_a_scenario_leaves_nothing_readable_behind(
    make_settings: MakeSettings, database_url: str, redis_url: str, key: str | None, tmp_path: Path
) -> None:
    """Without a key everything is found: so it is looked for where it is."""
    prefix = uuid4().hex
    settings = make_settings(
        encryption_key=key,
        redis_url=redis_url,
        redis_prefix=prefix,
        otel_instrumentation_genai_capture_message_content=True,
    )
    async with serve(settings) as server:
        made = await scenario(server)
        assert database_url.startswith("postgresql") or (tmp_path / "test.db-wal").stat().st_size
        stored = await at_rest_in_database(database_url)
        shared = await at_rest_in_redis(redis_url, prefix)
        assert (MARKER in stored) == (key is None)
        assert (MARKER in shared) == (key is None)
        run = (await server.ask("GET", f"/api/runs/{made['run']}")).json["run"]
        assert run["request"]["topic"] == BLOG["topic"]
        guessed = key_of("content", "generateBlogPost", 1, None, msgspec.json.encode(run["request"])).rpartition(":")[2]
        assert (guessed in shared) == (key is None), "who can think of the request must not find it"
    async with serve(settings) as server:  # which has nothing in memory
        again = await server.ask("POST", PATH, BLOG, headers=KEYED)
        assert (again.json["runId"], again.json["result"]) == (made["run"], run["result"])
        assert_error(
            await server.ask("POST", PATH, BLOG | {"tone": "formal"}, headers=KEYED), 409, "idempotency_conflict"
        )
        assert (await server.ask("POST", PATH, BLOG)).headers["x-cache"] == "hit"
        status = (await server.ask("GET", f"/api/coordinator/status/{made['workflow']}")).json
        assert [each["input"].get("topic") for each in status["results"]] == [None, BLOG["topic"]]


async def resealed(settings: Settings) -> tuple[int, str]:
    """What `amrikyy db reseal` leaves, and says."""
    said = io.StringIO()
    with redirect_stdout(said), redirect_stderr(said):
        return await reseal_all(settings), said.getvalue()


async def streamed(server: Served, topic: str) -> str:
    """The id of a run whose events are in Redis, where there is one."""
    events = await server.stream("/api/stream/blog", {"topic": topic, "length": "short"})
    return str(events[0].data["runId"])


async def refuses(settings: Settings) -> str:
    """What a server says that must not start."""
    with pytest.raises(ConfigurationError) as caught:
        async with open_runtime(settings, load_registry()):
            pass
    return str(caught.value)


async def test_keys_are_switched_on_changed_and_taken_away_while_servers_run(
    make_settings: MakeSettings, database_url: str, redis_url: str
) -> None:
    shared = {"redis_url": redis_url, "redis_prefix": uuid4().hex}
    one, other = key_id(key_bytes(KEY)), key_id(key_bytes(OTHER))

    def settings(key: str | None, fallbacks: str | None = None) -> Settings:
        return make_settings(encryption_key=key, encryption_key_fallbacks=fallbacks, **shared)

    async def finds(server: Served, made: Mapping[str, Any]) -> None:
        run = (await server.ask("GET", f"/api/runs/{made['run']}")).json["run"]
        assert run["request"]["topic"] == BLOG["topic"]
        workflow = (await server.ask("GET", f"/api/coordinator/status/{made['workflow']}")).json
        assert len(workflow["results"]) == 2
        replayed = await server.ask("POST", PATH, BLOG, headers=KEYED)
        assert replayed.json["runId"] == made["run"], replayed.body

    async with serve(settings(None)) as plain:
        made = await scenario(plain)
        async with serve(settings(KEY)) as sealing:  # switched on later
            await finds(sealing, made)
            assert MARKER in await at_rest_in_database(database_url)
            await plain.runtime.traces.flush()  # what a server still writes without the key is for the next time
            left, said = await resealed(settings(KEY))
            assert left == 0
            assert f"rows were written with the key {one}; 0 remain." in said
            await finds(sealing, made)
    assert MARKER not in await at_rest_in_database(database_url)
    assert await resealed(settings(KEY)) == (0, f"0 rows were written with the key {one}; 0 remain.\n"), (
        "once is enough"
    )

    assert f"ENCRYPTION_KEY is not set, but the database holds values that are encrypted with the key {one}" in (
        await refuses(settings(None))
    )
    assert f"ENCRYPTION_KEY is not the key that the database's values are encrypted with: {one}" in (
        await refuses(settings(OTHER))
    )

    async with serve(settings(KEY, OTHER)) as before, serve(settings(OTHER, KEY)) as after:
        await finds(before, made)
        await finds(after, made)
        for writes, reads in ((before, after), (after, before)):
            new = await streamed(writes, uuid4().hex)
            await writes.runtime.records.flush()
            assert (await reads.ask("GET", f"/api/runs/{new}")).status == 200
            async with reads.open(f"/api/stream/{new}") as events:  # out of Redis
                assert [event.event async for event in events][-1] == "complete"
    async with serve(settings(OTHER, KEY)) as server:
        left, said = await resealed(settings(OTHER, KEY))
        assert left == 0
        assert f"The database no longer needs the key {one}." in said
        await finds(server, made)
    async with serve(settings(OTHER)) as server:
        run = (await server.ask("GET", f"/api/runs/{made['run']}")).json["run"]
        assert run["request"]["topic"] == BLOG["topic"]
    assert f"sealed:{one}" not in await at_rest_in_database(database_url)
    assert f"{other} is needed, not {one}" in await refuses(settings(KEY))

    assert (await resealed(settings(None, OTHER)))[0] == 0
    async with serve(settings(None)) as server:
        assert (await server.ask("GET", f"/api/runs/{made['run']}")).json["run"]["request"] == run["request"]
    assert "sealed:" not in await at_rest_in_database(database_url)


async def test_a_row_that_cannot_be_read_is_an_error_of_its_own_and_no_garbage(
    make_settings: MakeSettings, database_url: str
) -> None:
    settings = make_settings(encryption_key=KEY)
    async with serve(settings) as server:
        first, second = [
            (await server.ask("POST", PATH, {"topic": topic, "length": "short"})).json["runId"]
            for topic in ("The first", "The second")
        ]
        await server.runtime.records.flush()
    database = open_database(database_url)
    async with database.begin() as connection:  # somebody puts the second's result into the first
        theirs = (await connection.execute(runs.select().where(runs.c.id == second))).one().result
        await connection.execute(runs.update().where(runs.c.id == first).values(result=theirs))
    await database.close()
    async with serve(settings) as server:
        assert_error(await server.ask("GET", f"/api/runs/{first}"), 500, "undecryptable")
        assert (await server.ask("GET", f"/api/runs/{second}")).status == 200
        assert (await server.ask("GET", "/api/runs")).json["count"] == 2
    left, said = await resealed(make_settings(encryption_key=OTHER, encryption_key_fallbacks=KEY))
    assert left == 1
    assert "; 1 remain." in said
    assert f"runs: 1 row cannot be read, for example {first}." in said


@pytest.mark.parametrize("at_once", [True, False], ids=["stored at once", "stored as it came"])
async def test_a_run_in_redis_in_the_place_of_another_is_refused(
    make_settings: MakeSettings, redis_url: str, *, at_once: bool
) -> None:
    prefix = uuid4().hex
    settings = make_settings(
        encryption_key=KEY, redis_url=redis_url, redis_prefix=prefix, offline_tokens_per_s=0 if at_once else 2000
    )
    async with serve(settings) as one, serve(settings) as two:
        mine, theirs = [await streamed(one, topic) for topic in ("Of mine", "Of theirs")]
        async with two.open(f"/api/stream/{mine}") as events:
            assert [event.event async for event in events][-1] == "complete"
        async with Redis.from_url(redis_url) as redis:
            place = Keys(prefix).run if at_once else Keys(prefix).events
            assert await redis.copy(place(theirs), place(mine), replace=True)
        assert_error(await two.ask("GET", f"/api/stream/{mine}"), 500, "undecryptable")
