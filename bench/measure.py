"""Slices: the candidates in turn, each between two calibrations, with the CPU time of everything that took part."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from bench.calibration import SAME_STATE, calibrate
from bench.calls import Call
from bench.candidates import Running
from bench.load import Caller, Load, Requests, connect, put_load
from bench.processes import Process, busy_s
from bench.scenarios import TOKENS, Scenario

DIRECT = "model"
"""The name under which the model server itself is measured."""

WARM_UP_CALLERS = 16
WARM_UPS = 6
SETTLE_STEP_S = 0.05
SETTLE_STEPS = 20
OPENING = 64
"""How many streams are opened at a time, so that no listen backlog overflows."""

HOLD_S = 2.0
"""How long all streams are open before memory is read."""


@dataclass(frozen=True, slots=True)
class Slice:
    """One candidate under load for about a second.

    Attributes:
        calibration_ms: the mean of the calibrations before and after.
        steady: whether the two belong to the same state.
        cpu_s: CPU seconds of the server, until it was idle again.
        load_share: the share of its core that the load generator used; at 1 it would be the bottleneck.
        model_share: the share of the same core that the model server used.
        foreign_share: the share of the server's core that other processes used.
    """

    candidate: str
    calibration_ms: float
    steady: bool
    load: Load
    cpu_s: float
    load_share: float
    model_share: float
    foreign_share: float


async def measure(scenario: Scenario, servers: Mapping[str, Running], model: Running, rounds: int) -> list[Slice]:
    """Measure the slices of a scenario, the candidates in turn.

    Raises:
        WrongAnswer, TimeoutError: a server did not answer as expected.
    """
    await set_manner(model, TOKENS, scenario.tokens_per_s)
    requests = {name: _requests(scenario.call, servers[name], scenario) for name in scenario.candidates}
    takes_part = {name: servers[name] for name in scenario.candidates}
    if scenario.direct is not None:
        requests[DIRECT] = scenario.direct.requests({})
        takes_part[DIRECT] = model
    for name, server in takes_part.items():
        await put_load(server.port, requests[name], scenario.callers, scenario.slice_s / 2, scenario.call.marks)
    return [
        replace(await take_slice(scenario, server, requests[name], model), candidate=name)
        for _ in range(rounds)
        for name, server in takes_part.items()
    ]


class Rate(NamedTuple):
    """What a server reached in a slice: answers, or tokens of streams, a second, and microseconds of CPU for each."""

    per_s: float
    cpu_us: float


async def take_turns(
    servers: Mapping[str, Running], call: Call, *, rounds: int, callers: int, slice_s: float
) -> dict[str, list[Rate]]:
    """Put load on each server in turn, `rounds` times.

    Raises:
        WrongAnswer, TimeoutError: a server did not answer as expected.
    """
    rates: dict[str, list[Rate]] = {name: [] for name in servers}
    for _ in range(rounds):
        for name, server in servers.items():
            began_s = server.process.cpu_s
            load = await put_load(server.port, call.requests(server.candidate.credential), callers, slice_s)
            done = load.tokens if call.streams else load.calls
            cpu_s = await settle(server.process) - began_s
            rates[name].append(Rate(done / load.wall_s, cpu_s / done * 1e6))
    return rates


async def warm_up(server: Running, calls: Sequence[Call], model: Running, cpu_s: float) -> None:
    """Let a server work on each call for `cpu_s` CPU seconds: Node is three times as fast once it has compiled.

    CPU seconds, because on a shared machine a server gets less than the clock says.

    Raises:
        WrongAnswer, TimeoutError: it does not answer as expected.
    """
    await set_manner(model, TOKENS, 0)
    for call in calls:
        until = server.process.cpu_s + cpu_s
        for _ in range(WARM_UPS):
            requests = call.requests(server.candidate.credential)
            await put_load(server.port, requests, WARM_UP_CALLERS, cpu_s, call.marks)
            if server.process.cpu_s >= until:
                break


async def memory_per_stream(server: Running, call: Call, model: Running, counts: tuple[int, ...]) -> dict[int, float]:
    """Bytes of resident memory per stream, by how many are open. The server must be freshly started.

    Raises:
        WrongAnswer, TimeoutError: a stream did not begin, or ended.
    """
    await set_manner(model, TOKENS, 0)
    requests = call.requests(server.candidate.credential)
    await put_load(server.port, requests, OPENING, 0.5)  # what the first requests load is never freed
    await set_manner(model, 10 * TOKENS, 1)
    requests = replace(call, headers={"x-tokens-per-s": "1"}).requests(server.candidate.credential)
    before = server.process.resident_bytes
    load = Load()
    callers: list[Caller] = []
    found: dict[int, float] = {}
    try:
        for count in counts:
            while len(callers) < count:
                opened = [await connect(server.port, requests, load) for _ in range(min(OPENING, count - len(callers)))]
                for each in opened:
                    each.start(0)
                async with asyncio.timeout(30):
                    for each in opened:
                        await each.has_token
                callers += opened
            await asyncio.sleep(HOLD_S)
            for each in callers:
                if each.done.done():
                    each.done.result()
            found[count] = (server.process.resident_bytes - before) / count
    finally:
        for each in callers:
            each.close()
    return found


async def set_manner(model: Running, tokens: int, tokens_per_s: float) -> None:
    """Tell the model server how to stream."""
    call = Call(f"/set?tokens={tokens}&tokens_per_s={tokens_per_s}")
    await put_load(model.port, call.requests({}), 1, 0)


async def settle(process: Process) -> float:
    """CPU seconds of a process, once it has nothing left to do (it writes its run log after it has answered)."""
    last = -1.0
    for _ in range(SETTLE_STEPS):
        await asyncio.sleep(SETTLE_STEP_S)
        now = process.cpu_s
        if now == last:
            break
        last = now
    return last


def _requests(call: Call, server: Running, scenario: Scenario) -> Requests:
    if scenario.tokens_per_s:
        call = replace(call, headers={**call.headers, "x-tokens-per-s": f"{scenario.tokens_per_s:g}"})
    return call.requests(server.candidate.credential)


async def take_slice(scenario: Scenario, server: Running, requests: Requests, model: Running) -> Slice:
    """Put load on one server for as long as the scenario says.

    Raises:
        WrongAnswer, TimeoutError: it did not answer as expected.
    """
    core = server.candidate.core
    before_ms = calibrate()
    cpu_s, model_s, own_s = server.process.cpu_s, model.process.cpu_s, time.process_time()
    began, core_s = time.perf_counter(), busy_s(core)
    load = await put_load(server.port, requests, scenario.callers, scenario.slice_s, scenario.call.marks)
    own_s, model_s = time.process_time() - own_s, model.process.cpu_s - model_s
    cpu_s = await settle(server.process) - cpu_s
    foreign_s = busy_s(core) - core_s - cpu_s
    all_s = time.perf_counter() - began
    after_ms = calibrate()
    return Slice(
        candidate=server.candidate.name,
        calibration_ms=(before_ms + after_ms) / 2,
        steady=max(before_ms, after_ms) < SAME_STATE * min(before_ms, after_ms),
        load=load,
        cpu_s=cpu_s,
        load_share=own_s / load.wall_s,
        model_share=model_s / load.wall_s,
        foreign_share=max(0.0, foreign_s / all_s),
    )
