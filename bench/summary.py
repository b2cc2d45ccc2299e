"""From slices to figures: medians over the slices of one state of the machine."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from bench.calibration import SAME_STATE
from bench.measure import DIRECT, Slice
from bench.scenarios import Scenario


@dataclass(frozen=True, slots=True)
class Figures:
    """What a candidate reached in a scenario; the median over its slices.

    Attributes:
        per_s: calls or tokens a second.
        cpu_us: microseconds of the server's CPU a call or token.
        p50_ms, p99_ms: of a call, from its first byte to its last.
        first_token_ms: the median to a stream's first token; None without streams.
        busy: share of its core that the server used.
        load_share, model_share, foreign_share: see `Slice`.
        slices: how many slices there were.
    """

    per_s: float
    cpu_us: float
    p50_ms: float
    p99_ms: float
    first_token_ms: float | None
    busy: float
    load_share: float
    model_share: float
    foreign_share: float
    slices: int


@dataclass(frozen=True, slots=True)
class Summary:
    """A scenario's figures.

    Attributes:
        calibration_ms: the calibration of the state that the figures are from.
        comparable: whether all candidates were measured in that state; if not, slices of several states are mixed.
        candidates: figures by name; `model` is the call without a server in between.
    """

    scenario: str
    title: str
    unit: str
    calibration_ms: float
    comparable: bool
    candidates: dict[str, Figures]

    def ratio(self, name: str, other: str) -> float | None:
        """How many times as much `name` does as `other` in a second of the server's CPU."""
        if name not in self.candidates or other not in self.candidates:
            return None
        return self.candidates[other].cpu_us / self.candidates[name].cpu_us

    def added_ms(self, name: str) -> tuple[float, float] | None:
        """Milliseconds at p50 and p99 that a server adds to the call it makes itself."""
        if DIRECT not in self.candidates:
            return None
        found, direct = self.candidates[name], self.candidates[DIRECT]
        return found.p50_ms - direct.p50_ms, found.p99_ms - direct.p50_ms


def summarise(scenario: Scenario, slices: Sequence[Slice]) -> Summary:
    """Figures from the slices of the state in which every candidate was measured most often."""
    names = list(dict.fromkeys(each.candidate for each in slices))
    kept, comparable = _of_one_state(names, slices)
    return Summary(
        scenario.name,
        scenario.title,
        scenario.unit,
        statistics.median(each.calibration_ms for each in kept),
        comparable,
        {name: _figures(scenario, [each for each in kept if each.candidate == name]) for name in names},
    )


def _of_one_state(names: Sequence[str], slices: Sequence[Slice]) -> tuple[list[Slice], bool]:
    steady = sorted((each for each in slices if each.steady), key=lambda each: each.calibration_ms)
    states: list[list[Slice]] = []
    for each in steady:
        if states and each.calibration_ms < SAME_STATE * states[-1][0].calibration_ms:
            states[-1].append(each)
        else:
            states.append([each])

    def fewest(state: list[Slice]) -> int:
        return min(sum(each.candidate == name for each in state) for name in names)

    best = max(states, key=fewest, default=[])
    return (best, True) if best and fewest(best) >= 1 else (list(slices), False)


def _figures(scenario: Scenario, slices: Sequence[Slice]) -> Figures:
    def units(each: Slice) -> int:
        # The direct call has no token events: it is not streamed.
        return each.load.tokens if scenario.unit == "token" else each.load.calls

    first = [time_ms for each in slices for time_ms in each.load.first_tokens_ms]
    middle = statistics.median
    return Figures(
        per_s=middle(units(each) / each.load.wall_s for each in slices),
        cpu_us=middle(each.cpu_s * 1e6 / units(each) for each in slices),
        p50_ms=middle(quantile(each.load.latencies_ms, 0.5) for each in slices),
        p99_ms=middle(quantile(each.load.latencies_ms, 0.99) for each in slices),
        first_token_ms=middle(first) if first else None,
        busy=middle(each.cpu_s / each.load.wall_s for each in slices),
        load_share=middle(each.load_share for each in slices),
        model_share=middle(each.model_share for each in slices),
        foreign_share=middle(each.foreign_share for each in slices),
        slices=len(slices),
    )


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of the values does not exceed.

    Raises:
        ValueError: there are no values.
    """
    if not values:
        raise ValueError("no values")
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
