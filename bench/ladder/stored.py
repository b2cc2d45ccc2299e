"""What many stored runs cost: listing them, summing them up, adding one, deleting the old ones. On SQLite."""

import asyncio
import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from datetime import timedelta
from pathlib import Path

from amrikyy.db.engine import open_database
from amrikyy.runs.store import RunRecords
from amrikyy.spend import Sums
from bench.calls import BLOG_POST, Call
from bench.candidates import API_KEY, Running, amrikyy
from bench.ladder.growth import cost_us, serving
from bench.ladder.open_loop import put_rate
from bench.ladder.section import Section, Value
from bench.load import put_load
from bench.measure import set_manner, warm_up
from bench.scenarios import TOKENS
from bench.summary import quantile

STORED = (0, 100_000, 1_000_000)
MANAGER = "api_" + "d" * 32
TIMES = 7
DAYS = 60
"""Runs are spread evenly over this many days; half of them are older than RUN_RETENTION_DAYS."""

RATE_PER_S = 100

FILL_RUNS = """
WITH RECURSIVE numbers(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n + 1 < :count),
moments(n, at) AS (SELECT n, :now - :days * 86400.0 + n * (:days * 86400.0 / :count) FROM numbers)
INSERT INTO runs (id, owner, agent, operation, status, request, result, model, input_tokens, output_tokens,
    usage_estimated, cost_usd, cached, events, instance, started_at, deadline_at, finished_at, duration_ms)
SELECT 'run_' || printf('%012x', at * 1000) || printf('%020x', n),
    CASE n % 10 WHEN 0 THEN :owner ELSE 'user:' || (n % 997) END,
    CASE n % 3 WHEN 0 THEN 'content' ELSE 'travel' END,
    CASE n % 3 WHEN 0 THEN 'generateBlogPost' WHEN 1 THEN 'searchFlights' ELSE 'searchHotels' END,
    CASE n % 50 WHEN 0 THEN 'failed' ELSE 'completed' END,
    '{"topic":"Night trains"}', '{"title":"Night trains","text":"' || hex(zeroblob(200)) || '"}',
    'gemini-2.0-flash-exp', 120, 200, 0, 0.0001, 0, 205, 'bench:1:0',
    strftime('%Y-%m-%d %H:%M:%f000', at, 'unixepoch'), strftime('%Y-%m-%d %H:%M:%f000', at + 600, 'unixepoch'),
    strftime('%Y-%m-%d %H:%M:%f000', at + 2, 'unixepoch'), 2000
FROM moments
"""

FILL_SPEND = """
INSERT INTO spend (run_id, model, owner, agent, operation, day, input_tokens, output_tokens, cost_usd, usage_estimated)
SELECT id, model, owner, agent, operation, substr(started_at, 1, 10), input_tokens, output_tokens, cost_usd, 0 FROM runs
WHERE instance = 'bench:1:0'
"""

QUERIES = {
    "own runs, newest page, ms": (API_KEY, "/api/runs"),
    "all runs, newest page, ms": (MANAGER, "/api/runs?limit=100"),
    "all failed of an operation, ms": (
        MANAGER,
        "/api/runs?agent=content&operation=generateBlogPost&status=failed&limit=100",
    ),
    "all cancelled of an agent, of which there are none, ms": (
        MANAGER,
        "/api/runs?agent=travel&status=cancelled&limit=100",
    ),
    "all, from the middle, ms": (MANAGER, "/api/runs?limit=100&cursor={middle}"),
    "one run, ms": (MANAGER, "/api/runs/{middle}"),
    "own usage, ms": (API_KEY, "/api/usage"),
    "all usage by agent, ms": (MANAGER, "/api/usage?caller=all&groupBy=agent"),
    "all usage by day, since yesterday, ms": (MANAGER, "/api/usage?caller=all&groupBy=day&since={yesterday}"),
}


async def by_stored_runs(model: Running, folder: Path, counts: Sequence[int]) -> Section:
    """Measure a server whose database has each of these numbers of runs."""
    columns = ["runs stored", "database, MB", *QUERIES, "JSON operation, ms", "µs of CPU", "start, s",
               "deleting half, runs/s", f"p99 at {RATE_PER_S}/s meanwhile, ms"]  # fmt: skip
    section = Section("runs", "Runs stored in SQLite", columns)
    for count in counts:
        section.rows.append(await _row(model, folder, count))
    return section


async def _row(model: Running, folder: Path, count: int) -> list[Value]:
    name = f"stored-{count}"
    candidate = amrikyy(name, VALID_API_KEYS=f"{API_KEY}:premium,{MANAGER}:admin")
    database = folder / name / "bench.db"
    await set_manner(model, TOKENS, 0)
    with serving(candidate, model, folder) as server:
        await put_load(server.port, BLOG_POST.requests(candidate.credential), 1, 0)
        await asyncio.sleep(0.3)  # until it is recorded
    middle, yesterday = _fill(database, count)
    await asyncio.to_thread(_add_up, database)
    row: list[Value] = [count, database.stat().st_size / 1e6]
    with serving(candidate, model, folder) as server:
        await warm_up(server, [BLOG_POST], model, 1)
        for key, path in QUERIES.values():
            call = Call(path.format(middle=middle, yesterday=yesterday))
            requests = call.requests({"x-api-key": key})
            times = [(await put_load(server.port, requests, 1, 0)).latencies_ms[0] for _ in range(TIMES)]
            row.append(quantile(times, 0.5))
        requests = BLOG_POST.requests(candidate.credential)
        alone = await put_load(server.port, requests, 1, 0.5)
        row += [quantile(alone.latencies_ms, 0.5), await cost_us(server, requests, BLOG_POST), server.started_s]
        if count:
            purging = asyncio.create_task(asyncio.to_thread(_purge, database))
            slow: list[float] = []
            while not purging.done():
                slow += (await put_rate(server.port, requests, RATE_PER_S, 1)).latencies_ms
            deleted, took_s = await purging
            row += [deleted / took_s, quantile(slow, 0.99)]
        else:
            row += [None, None]
    database.unlink()
    return row


def _fill(database: Path, count: int) -> tuple[str, str]:
    """Add runs and their entries in the ledger. Returns the id of one in the middle, and yesterday's date."""
    with closing(sqlite3.connect(database)) as connection, connection:
        for pragma in ("synchronous = OFF", "journal_mode = OFF", "cache_size = -1000000"):  # a gigabyte: for indexes
            connection.execute(f"PRAGMA {pragma}")
        (owner,) = connection.execute("SELECT owner FROM runs LIMIT 1").fetchone()
        if count:
            connection.execute(FILL_RUNS, {"count": count, "now": time.time() - 60, "days": DAYS, "owner": owner})
            connection.execute(FILL_SPEND)
        (middle,) = connection.execute("SELECT id FROM runs ORDER BY id LIMIT 1 OFFSET ?", (count // 2,)).fetchone()
        (yesterday,) = connection.execute("SELECT date('now', '-1 day')").fetchone()
    return middle, yesterday


def _add_up(database: Path) -> None:
    """Add the ledger up, as the server does every few seconds."""

    async def add_up() -> None:
        opened = open_database(f"sqlite:///{database}")
        await Sums(opened).add_up()
        await opened.close()

    asyncio.run(add_up())


def _purge(database: Path) -> tuple[int, float]:
    """Delete old runs as the server does every hour. Returns how many were deleted, and the seconds that it took."""

    async def purge() -> tuple[int, float]:
        opened = open_database(f"sqlite:///{database}")
        records = RunRecords(opened)
        began = time.perf_counter()
        deleted = await records.purge(timedelta(days=DAYS / 2))
        took_s = time.perf_counter() - began
        await records.close()
        await opened.close()
        return deleted, took_s

    return asyncio.run(purge())
