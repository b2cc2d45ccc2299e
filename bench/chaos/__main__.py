"""`python -m bench.chaos --minutes 10`: kill and stop parts of a service under load, and check its promises."""

import argparse
import asyncio
import json
import os
import random
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import uvloop

from bench.chaos import audit
from bench.chaos.audit import Finding
from bench.chaos.book import Book
from bench.chaos.client import Client
from bench.chaos.faults import KINDS, Fault, Kind, happen
from bench.chaos.model import read_journal
from bench.chaos.report import as_json, table
from bench.chaos.stage import KEYS, Stage
from bench.chaos.traffic import Traffic
from bench.guard import guarded
from bench.machine import machine

QUIET_S = (1.5, 4.0)
"""Between the recovery of the service and the next fault."""

WARM_UP_S = 3.0
SETTLES_WITHIN_S = 150.0
REVOKED_WITHIN_S = 5.0

UNFORESEEN = re.compile(r"Traceback|operation_crashed|run_not_recorded|unhandled|never awaited|never retrieved")


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do, and for how long."""

    seed: int
    seconds: float
    per_s: float
    kinds: Sequence[Kind]
    environment: Mapping[str, str]


async def run(stage: Stage, plan: Plan) -> tuple[dict[str, Any], list[Fault], list[Finding]]:
    """Put load on the service, cause the faults, and audit the outcome."""
    began_at = time.time()
    book = Book()
    faults: list[Fault] = []
    connector = aiohttp.TCPConnector(limit=0)
    once = aiohttp.TCPConnector(force_close=True)
    async with (
        aiohttp.ClientSession(connector=connector) as http,
        aiohttp.ClientSession(connector=once) as fresh,
    ):
        named = {name: Client(http, stage.url, key, book) for name, key in KEYS.items()}
        probe = Client(fresh, stage.url, KEYS["probe"], book)
        stop = asyncio.Event()
        traffic = Traffic(named["caller"], named["limited"], named["admin"], plan.seed, plan.per_s)
        load = asyncio.create_task(traffic.run(stop))
        try:
            await asyncio.sleep(WARM_UP_S)
            await _disturb(stage, plan, probe, faults, load)
        finally:
            stop.set()
        async with asyncio.timeout(SETTLES_WITHIN_S):
            await load
        findings = await _audit(stage, book, faults, http)
    findings.append(await asyncio.to_thread(_stop, stage))
    findings.append(_log(stage))
    result = {
        "seed": plan.seed, "began_at": began_at, "took_s": time.time() - began_at, "per_s": plan.per_s,
        "requests": len(book.exchanges), "counts": book.counts, "environment": dict(plan.environment),
        "machine": machine(),
    }  # fmt: skip
    return result, faults, findings


async def _disturb(stage: Stage, plan: Plan, probe: Client, faults: list[Fault], load: "asyncio.Task[None]") -> None:
    """Cause one fault after another, each kind once in an order drawn by the seed, then all again."""
    chance = random.Random(plan.seed)  # noqa: S311 - no secret
    until = time.monotonic() + plan.seconds
    waiting: list[Kind] = []
    while time.monotonic() < until and not load.done():
        if not waiting:
            waiting = chance.sample(list(plan.kinds), len(plan.kinds))
        kind = waiting.pop()
        _say(f"{until - time.monotonic():4.0f} s left: {kind.name}")
        fault = await happen(kind, stage, chance, probe)
        faults.append(fault)
        if fault.returned_at is None:
            _say(f"the service has not returned from «{kind.name}»")
        await asyncio.sleep(chance.uniform(*QUIET_S))


async def _audit(stage: Stage, book: Book, faults: list[Fault], http: aiohttp.ClientSession) -> list[Finding]:
    _say("checking")
    returned = Finding("The service returns by itself", len(faults))
    for fault in faults:
        if fault.returned_at is None:
            returned.broken.append(f"not within {fault.kind.returns_within_s:g} s from «{fault.kind.name}»")
    told = Finding("Streams have no gap and no repeat, and a key stands for one run", len(book.runs), book.broken)
    await asyncio.sleep(REVOKED_WITHIN_S)
    database = await asyncpg.connect(stage.postgres.url)
    try:
        findings = [
            returned,
            *audit.check_answers(book, faults),
            told,
            *await audit.check_workflows(database, book, faults, read_journal(stage.journal)),
            *await audit.check_runs(database, book, faults, stage.killed_at),
            *audit.check_limit(book, faults, _redis_away_at(stage)),
            *await audit.check_keys(book, lambda key: Client(http, stage.url, key, Book())),
        ]
    finally:
        await database.close()
    return findings


def _stop(stage: Stage) -> Finding:
    finding = Finding("The server stops when it is told to, with exit code 0", 1)
    workers = stage.workers()
    if code := stage.stop_server():
        finding.broken.append(f"exit code {code}")
    finding.broken += [f"worker {pid} is still there" for pid in workers if Path(f"/proc/{pid}").exists()]
    return finding


def _log(stage: Stage) -> Finding:
    """Check that the server's log has no unforeseen error."""
    finding = Finding("The server's log has no error that was not foreseen")
    events: Counter[str] = Counter()
    for line in stage.log.read_text(errors="replace").splitlines():
        finding.checked += 1
        if UNFORESEEN.search(line):
            finding.broken.append(line[:1500])
        try:
            said = json.loads(line)
        except ValueError:
            continue
        if isinstance(said, dict) and said.get("level") in ("error", "warning"):
            events[f"{said['level']} {said.get('event')}"] += 1
    finding.allowed = events
    return finding


def _redis_away_at(stage: Stage) -> list[float]:
    """When a worker logged that it works without Redis, and so counts limits in memory."""
    stamp = re.compile(r'"(?:redis_down|limits_in_memory)".*?"time": "([^"]+)"')
    return [datetime.fromisoformat(at).timestamp() for at in stamp.findall(stage.log.read_text(errors="replace"))]


def _say(what: str) -> None:
    sys.stderr.write(f"{what}\n")
    sys.stderr.flush()


def main() -> int:
    """Run, print, and say with the exit code whether every promise was kept."""
    parser = argparse.ArgumentParser(prog="python -m bench.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="of the schedule and the load")
    parser.add_argument(
        "--minutes", type=float, default=10, help="how long faults go on; the checks take two more at most"
    )
    parser.add_argument("--rate", type=float, default=25, help="errands begun a second")
    parser.add_argument("--only", nargs="*", metavar="WORD", help="only faults whose name has one of these words")
    parser.add_argument(
        "--without", nargs="*", metavar="WORD", default=[], help="no faults whose name has one of these"
    )
    parser.add_argument("--set", nargs="*", metavar="NAME=VALUE", default=[], help="settings of the server")
    parser.add_argument("--keep", type=Path, help="where to put the server's log when the run is over")
    parser.add_argument("--json", type=Path, default=Path("bench/chaos.json"), help="where the findings are written")
    chosen = parser.parse_args()
    kinds = [
        kind
        for kind in KINDS
        if (not chosen.only or any(word in kind.name for word in chosen.only))
        and not any(word in kind.name for word in chosen.without)
    ]
    if not kinds:
        parser.error(f"there is no such fault; there are: {'; '.join(kind.name for kind in KINDS)}")
    environment = dict(each.split("=", 1) for each in chosen.set)
    plan = Plan(chosen.seed, chosen.minutes * 60, chosen.rate, kinds, environment)
    with guarded("chaos") as guard, ExitStack() as stack:
        tempfile.tempdir = str(guard.folder)  # so the folders of Redis and PostgreSQL are removed with it
        stage = Stage(guard, environment)
        stack.callback(stage.close)
        _say(f"starting everything, in {guard.folder}")
        stage.start()
        try:
            result, faults, findings = uvloop.run(run(stage, plan))
        except KeyboardInterrupt:
            _say("interrupted: everything that was started is ended")
            return 130
        finally:
            if chosen.keep and stage.log.exists():
                chosen.keep.write_bytes(stage.log.read_bytes())
    chosen.json.write_text(json.dumps(as_json(result, faults, findings), indent=1) + "\n")
    sys.stdout.write(table(result, faults, findings))
    return int(any(finding.broken for finding in findings))


if __name__ == "__main__":
    os.umask(0o022)
    sys.exit(main())
