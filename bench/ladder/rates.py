"""A ladder of rates up to more than the server can do, with one worker and with two."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from tests.redis_server import redis_server

from bench.calls import BLOG_POST
from bench.candidates import Candidate, Running, amrikyy, start
from bench.ladder.open_loop import OpenLoad, put_rate
from bench.ladder.section import Section
from bench.load import put_load
from bench.measure import set_manner, settle, warm_up
from bench.processes import LOAD_CORE
from bench.scenarios import TOKENS
from bench.summary import quantile

SHARES = (0.1, 0.25, 0.5, 0.7, 0.85, 1.0, 1.15, 1.5)
"""The rungs, as shares of the rate that 64 callers reach who wait for their answers."""

ROOM = {"MAX_CONCURRENT_STREAMS": "1000"}
"""As it is without a setting: past saturation it matters how many a server takes on."""

KNEE = 5.0
"""The server is past its knee where p99 is more than this many times that of the lowest rung."""


@dataclass(frozen=True, slots=True)
class Rung:
    """The results at one rate; times are per request.

    Attributes:
        per_s: requests offered a second.
        answered_per_s: requests answered with 200 a second.
        lag_ms: how late the load generator was, at p99.
        busy: CPU that the server's processes used together, in cores.
    """

    per_s: float
    answered_per_s: float
    p50_ms: float
    p99_ms: float
    p999_ms: float
    errors: int
    connections: int
    lag_ms: float
    busy: float


async def ladder(model: Running, folder: Path, workers: int, rung_s: float, shares: Sequence[float]) -> Section:
    """Measure each rung with this many workers.

    Raises:
        RuntimeError: the server does not come up.
        WrongAnswer, TimeoutError: it does not answer.
    """
    title = f"Open-loop rates, {workers} worker{'s' if workers > 1 else ''} (JSON operation)"
    columns = ("offered/s", "answered/s", "p50, ms", "p99, ms", "p99.9, ms", "errors", "connections",
               "generator late, p99, ms", "server CPU, cores")  # fmt: skip
    section = Section(f"rates-{workers}", title, columns)
    with ExitStack() as stack:
        candidate = amrikyy(f"amrikyy-{workers}", **ROOM)
        if workers > 1:
            redis = stack.enter_context(redis_server())
            candidate = _several(workers, redis.url)
        server = start(candidate, f"http://127.0.0.1:{model.port}", folder)
        stack.callback(server.process.stop)
        await set_manner(model, TOKENS, 0)
        await warm_up(server, [BLOG_POST], model, 1.5)
        requests = BLOG_POST.requests(candidate.credential)
        closed = await put_load(server.port, requests, 64, rung_s / 2)
        most = closed.calls / closed.wall_s
        rungs: list[Rung] = []
        for share in shares:
            cpu_s = server.process.cpu_s
            load = await put_rate(server.port, requests, most * share, rung_s)
            rungs.append(_rung(most * share, rung_s, load, await settle(server.process) - cpu_s))
    section.rows = [
        (each.per_s, each.answered_per_s, each.p50_ms, each.p99_ms, each.p999_ms, each.errors, each.connections,
         each.lag_ms, each.busy)
        for each in rungs
    ]  # fmt: skip
    section.notes.append(f"64 callers who wait for their answers get {most:,.0f}/s")
    section.notes.append(_knee(rungs))
    if workers > 1:
        section.notes.append(
            "workers, load generator, model server and Redis share the machine's cores: what this shows is that "
            "several workers are right under load, not how far they scale"
        )
    return section


def _several(workers: int, redis_url: str) -> Candidate:
    environment = {"WEB_CONCURRENCY": str(workers), "REDIS_URL": redis_url}
    return replace(amrikyy(f"amrikyy-{workers}", **environment, **ROOM), more_cores=(LOAD_CORE,))


def _rung(per_s: float, seconds: float, load: OpenLoad, cpu_s: float) -> Rung:
    latencies = load.latencies_ms or [float("inf")]
    return Rung(
        per_s=load.offered / seconds,
        answered_per_s=len(load.latencies_ms) / max(load.wall_s, seconds),
        p50_ms=quantile(latencies, 0.5),
        p99_ms=quantile(latencies, 0.99),
        p999_ms=quantile(latencies, 0.999),
        errors=load.errors,
        connections=load.connections,
        lag_ms=quantile(load.lags_ms, 0.99) if load.lags_ms else 0.0,
        busy=cpu_s / max(load.wall_s, seconds),
    )


def _knee(rungs: Sequence[Rung]) -> str:
    good = None
    for each in rungs:
        if each.errors or each.p99_ms > KNEE * rungs[0].p99_ms:
            break
        good = each
    if good is None:
        return "knee: none was found, the lowest rate has errors"
    return (
        f"knee: up to {good.per_s:,.0f}/s there is no error and p99 is within {KNEE:g} times of the lowest rate's; "
        f"{good.busy:.2f} cores are used there"
    )
