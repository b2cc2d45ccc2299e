"""Rounds: one server at a time is started, warmed up, measured and stopped, so that none idles beside another.

Freezing the others is no alternative: LiteLLM answers with time-outs afterwards.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from bench.calls import PROSE, Call
from bench.candidates import Running, start
from bench.load import WrongAnswer, put_load
from bench.measure import DIRECT, Slice, set_manner, take_slice, warm_up
from bench.peers.contestants import Contestant
from bench.scenarios import TOKENS, Scenario

SCENARIOS = [
    Scenario("json-1", "JSON, 1 caller", PROSE, 1, direct=PROSE),
    Scenario("json-16", "JSON, 16 callers", PROSE, 16, direct=PROSE),
    Scenario("json-64", "JSON, 64 callers", PROSE, 64, slice_s=1.2, direct=PROSE),
    Scenario("stream-1", "stream, 1 caller", PROSE, 1, "token"),
    Scenario("stream-16", "stream, 16 callers", PROSE, 16, "token", slice_s=1.2),
]
"""Each contestant runs them with calls of its own; `direct` is the model call that each of these makes."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured.

    Attributes:
        rounds: how often each contestant is started.
        slices: how many are taken of each scenario after each start.
        slice_share: how long a slice lasts, as a share of the scenario's time.
        warm_up_s: CPU seconds for each of a contestant's two calls.
        until: when the last contestant may be started, on the clock of `time.perf_counter`.
    """

    rounds: int
    slices: int
    slice_share: float
    warm_up_s: float
    until: float


@dataclass(slots=True)
class Measured:
    """The results.

    Attributes:
        slices: by scenario, of all contestants and the model server alone.
        started_s: by contestant, seconds from its start to its first answer.
        idle_bytes: resident memory then.
        loaded_bytes: the most that was resident after a slice.
        failures: what was not measured, and why.
    """

    slices: dict[str, list[Slice]] = field(default_factory=lambda: {each.name: [] for each in SCENARIOS})
    started_s: dict[str, list[float]] = field(default_factory=dict)
    idle_bytes: dict[str, list[int]] = field(default_factory=dict)
    loaded_bytes: dict[str, int] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)


async def measure_rounds(
    who: Sequence[Contestant], model: Running, folder: Path, plan: Plan, say: Callable[[str], None]
) -> Measured:
    """Measure all in turn, each round beginning with another one. A failure is noted, and the others go on."""
    measured = Measured()
    measured.failures += [f"{each.name}: {each.lacks}" for each in who if each.lacks]
    able = [each for each in who if not each.lacks]
    for number in range(plan.rounds):
        say(f"round {number + 1}: the model server alone")
        await set_manner(model, TOKENS, 0)
        for scenario in SCENARIOS:
            if scenario.direct is not None:
                await _slices(measured, scenario, DIRECT, scenario.direct, model, model, plan)
        shift = number % max(len(able), 1)
        for each in [*able[shift:], *able[:shift]]:
            if time.perf_counter() > plan.until:
                measured.failures.append(f"{each.name}: not in round {number + 1}, the time was up")
                continue
            say(f"round {number + 1}: {each.name}")
            try:
                await _measure_one(measured, each, model, folder, plan)
            except (RuntimeError, OSError) as error:
                measured.failures.append(f"{each.name}, round {number + 1}: {error}")
    return measured


async def _measure_one(measured: Measured, who: Contestant, model: Running, folder: Path, plan: Plan) -> None:
    server = start(who.candidate, f"http://127.0.0.1:{model.port}", folder)
    try:
        measured.started_s.setdefault(who.name, []).append(server.started_s)
        measured.idle_bytes.setdefault(who.name, []).append(server.idle_bytes)
        try:
            await _look_at(who, server, model)
            await warm_up(server, [who.post, who.stream], model, plan.warm_up_s)
        except (WrongAnswer, TimeoutError) as error:
            measured.failures.append(f"{who.name}: {error!r}")
            return
        for scenario in SCENARIOS:
            call = who.stream if scenario.unit == "token" else who.post
            try:
                await _slices(measured, scenario, who.name, call, server, model, plan)
            except (WrongAnswer, TimeoutError) as error:
                measured.failures.append(f"{who.name}, {scenario.title}: {error!r}")
                await asyncio.sleep(1)  # for what is left of it to end
            used = measured.loaded_bytes.get(who.name, 0)
            measured.loaded_bytes[who.name] = max(used, server.process.resident_bytes)
    finally:
        server.process.stop()


async def _look_at(who: Contestant, server: Running, model: Running) -> None:
    """Check that callers without a credential are refused where one is needed, and that a stream is complete.

    Raises:
        WrongAnswer: one of these does not hold.
    """
    await set_manner(model, TOKENS, 0)
    if who.candidate.credential:
        try:
            await put_load(server.port, who.post.requests({}), 1, 0, who.post.marks)
        except WrongAnswer:
            pass
        else:
            raise WrongAnswer("it answers without a credential")
    requests = who.stream.requests(who.candidate.credential)
    load = await put_load(server.port, requests, 1, 0, who.stream.marks)
    if not TOKENS <= load.tokens <= TOKENS + 5:  # some add an empty one at the end
        raise WrongAnswer(f"a stream has {load.tokens} tokens, not {TOKENS}")


async def _slices(
    measured: Measured, scenario: Scenario, name: str, call: Call, server: Running, model: Running, plan: Plan
) -> None:
    asked = replace(scenario, call=call, slice_s=scenario.slice_s * plan.slice_share)
    requests = call.requests(server.candidate.credential)
    for _ in range(plan.slices):
        measured.slices[scenario.name].append(replace(await take_slice(asked, server, requests, model), candidate=name))
