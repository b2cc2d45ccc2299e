"""The faults: what each does, which errors it excuses, and when the service has recovered."""

import asyncio
import os
import random
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from tests.own_server import OwnServer

from bench.chaos.book import CLOSED, REFUSED
from bench.chaos.client import Client
from bench.chaos.stage import WORKERS, Stage
from bench.chaos.traffic import JSON, blog, new_mark

PROBE_EVERY_S = 0.1
GOOD_PROBES = 8
"""How many must succeed in a row, each on a connection of its own, so that each worker is asked."""

PROBES = "probes"

GONE = frozenset({CLOSED, "run_lost", "run_elsewhere", "draining"})
DATABASE = frozenset({"database_unavailable", "not_recorded"})
MODEL = frozenset({
    "model_unreachable", "model_timeout", "model_circuit_open", "model_overloaded", "model_failed", "model_malformed",
})  # fmt: skip

RETURNS_WITHIN_S = 20.0
MODEL_RETURNS_WITHIN_S = 75.0
"""A model that has failed five times in a row is not called for a minute (`llm.breaker`)."""

REDIS_LINGERS_S = 8.0
"""A worker tries to reach Redis every 2 s, and for 5 s more it reports what it does not find there as out of reach
(`runs.shared.runs.SETTLES_WITHIN_S`)."""

Act = Callable[[Stage, random.Random], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A fault.

    Attributes:
        name: for the list of faults survived.
        act: causes the fault and repairs what does not recover by itself; blocks until then.
        allows: error codes that may reach clients from the fault's beginning until the service has recovered.
        kills: whether a serving process ends at once, so that what it had not written yet is lost.
        redis_away, database_away: what the server must do without meanwhile.
        forgets: whether events of finished runs are lost, so that from then on their streams may be gone (410).
        lingers_s: for how long after the fault its errors may reach clients although the service has recovered: each
            worker notices a fault by itself, and the probes may have reached only one that did not.
        returns_within_s: within how many seconds of the fault's end the service must recover.
    """

    name: str
    act: Act
    allows: frozenset[str] = frozenset()
    kills: bool = False
    redis_away: bool = False
    database_away: bool = False
    forgets: bool = False
    lingers_s: float = 0.0
    returns_within_s: float = RETURNS_WITHIN_S


@dataclass(slots=True)
class Fault:
    """A fault that happened. Times are on the system's clock; `returned_at` is None if the service did not recover."""

    kind: Kind
    began_at: float
    acted_at: float = 0.0
    returned_at: float | None = None

    @property
    def over_at(self) -> float:
        """When the service had recovered, or should have."""
        return self.returned_at or self.acted_at + self.kind.returns_within_s

    @property
    def recovery_s(self) -> float | None:
        """Seconds from the end of the fault until the service answered normally again; None if it did not."""
        return None if self.returned_at is None else max(0.0, self.returned_at - self.acted_at)


def _kill_worker(stage: Stage, chance: random.Random) -> None:
    stage.kill_workers([chance.choice(stage.workers())])


def _kill_both_workers(stage: Stage, _: random.Random) -> None:
    stage.kill_workers(stage.workers())


def _stop_worker(stage: Stage, chance: random.Random) -> None:
    worker = chance.choice(stage.workers())
    os.kill(worker, signal.SIGSTOP)
    time.sleep(chance.uniform(0.5, 6.0))
    with suppress(ProcessLookupError):
        os.kill(worker, signal.SIGCONT)


def _reload(stage: Stage, _: random.Random) -> None:
    before = set(stage.workers())
    stage.signal_server(signal.SIGHUP)
    until = time.monotonic() + 40
    while time.monotonic() < until and (before & set(stage.workers()) or len(stage.workers()) < WORKERS):
        time.sleep(0.1)


def _kill_server(stage: Stage, chance: random.Random) -> None:
    stage.kill_server()
    time.sleep(chance.uniform(0.0, 2.0))
    stage.start_server()


def _redis(stage: Stage) -> OwnServer:
    return stage.redis


def _postgres(stage: Stage) -> OwnServer:
    return stage.postgres


def _killed(server: Callable[[Stage], OwnServer], start: Callable[[Stage], None]) -> Act:
    def act(stage: Stage, chance: random.Random) -> None:
        server(stage).kill()
        time.sleep(chance.uniform(0.2, 4.0))
        start(stage)

    return act


def _stopped(server: Callable[[Stage], OwnServer], least_s: float, most_s: float) -> Act:
    def act(stage: Stage, chance: random.Random) -> None:
        server(stage).pause()
        time.sleep(chance.uniform(least_s, most_s))
        server(stage).resume()

    return act


def _worker_killed_without(server: Callable[[Stage], OwnServer], least_s: float) -> Act:
    def act(stage: Stage, chance: random.Random) -> None:
        server(stage).pause()
        time.sleep(chance.uniform(least_s, 2.0))
        _kill_worker(stage, chance)
        time.sleep(chance.uniform(0.2, 2.0))
        server(stage).resume()

    return act


def _kill_model(stage: Stage, chance: random.Random) -> None:
    stage.signal_model(signal.SIGKILL)
    time.sleep(chance.uniform(0.2, 3.0))
    stage.start_model()


def _stop_model(stage: Stage, chance: random.Random) -> None:
    stage.signal_model(signal.SIGSTOP)
    time.sleep(chance.uniform(0.5, 5.0))
    stage.signal_model(signal.SIGCONT)


KINDS = (
    Kind(name="a worker is killed", act=_kill_worker, allows=GONE, kills=True),
    Kind(name="a worker stands still", act=_stop_worker, allows=frozenset({"run_lost"})),
    Kind(name="Redis is killed, and comes back empty", act=_killed(_redis, Stage.start_redis),
         allows=frozenset({"run_elsewhere"}), redis_away=True, forgets=True, lingers_s=REDIS_LINGERS_S),
    Kind(name="Redis stands still", act=_stopped(_redis, 0.2, 5.0), allows=frozenset({"run_elsewhere"}),
         redis_away=True, lingers_s=REDIS_LINGERS_S),
    Kind(name="PostgreSQL is killed", act=_killed(_postgres, Stage.start_postgres), allows=DATABASE,
         database_away=True),
    Kind(name="PostgreSQL stands still", act=_stopped(_postgres, 0.5, 6.0), allows=DATABASE, database_away=True),
    Kind(name="the model server stands still", act=_stop_model, allows=MODEL),
    Kind(name="all workers are replaced (SIGHUP)", act=_reload, allows=frozenset({CLOSED, "draining"})),
    Kind(name="both workers are killed", act=_kill_both_workers, allows=GONE, kills=True),
    Kind(name="a worker is killed while Redis stands still", act=_worker_killed_without(_redis, 0.2), allows=GONE,
         kills=True, redis_away=True, forgets=True, lingers_s=REDIS_LINGERS_S),
    Kind(name="a worker is killed while PostgreSQL stands still", act=_worker_killed_without(_postgres, 0.5),
         allows=GONE | DATABASE, kills=True, database_away=True),
    Kind(name="the supervisor is killed, and started anew", act=_kill_server, allows=GONE | {REFUSED},
         kills=True),
    Kind(name="the model server is killed", act=_kill_model, allows=MODEL, returns_within_s=MODEL_RETURNS_WITHIN_S,
         lingers_s=MODEL_RETURNS_WITHIN_S),
)  # fmt: skip


async def happen(kind: Kind, stage: Stage, chance: random.Random, probe: Client) -> Fault:
    """Cause a fault, and wait until the service has recovered, or should have."""
    fault = Fault(kind, time.time())
    await asyncio.to_thread(kind.act, stage, chance)
    fault.acted_at = time.time()
    until = time.monotonic() + kind.returns_within_s
    good, first = 0, 0.0
    while time.monotonic() < until:
        if await _is_well(stage, probe):
            first = first if good else time.time()  # when it was answered: it may have waited for a worker
            good += 1
            if good == GOOD_PROBES:
                fault.returned_at = first
                break
        else:
            good = 0
        await asyncio.sleep(PROBE_EVERY_S)
    return fault


async def _is_well(stage: Stage, probe: Client) -> bool:
    """Whether a keyed call goes through limits, model and database, and the server calls itself healthy."""
    if len(stage.workers()) < WORKERS:
        return False
    called = await probe.ask(PROBES, "POST", JSON, blog(new_mark()), idempotency_key=new_mark())
    if not called.ok:
        return False
    probe.book.replied(PROBES, called.body)
    health = await probe.ask(PROBES, "GET", "/api/health")
    if not health.ok:
        return False
    components = health.body["components"]  # an agent's health covers its last minutes, so the fault still shows
    return all(components[name]["status"] == "healthy" for name in ("redis", "database"))
