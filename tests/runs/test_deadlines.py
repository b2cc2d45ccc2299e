"""Runs are stopped at their deadlines, by one timer for all."""

import asyncio
from typing import Any

import pytest

from amrikyy.runs.deadlines import TOGETHER_S, Deadlines
from amrikyy.runs.run import Run


def run_of(deadline_s: float, parent_id: str | None = None) -> Run:
    return Run(owner="user:a", agent="a", operation="b", request=b"{}", deadline_s=deadline_s, parent_id=parent_id)


class Timers:
    """The event loop's clock and its timers, which a test turns by hand."""

    def __init__(self) -> None:
        self.now = 100.0
        self.set: list[tuple[float, Any]] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Any) -> Any:
        timer = (when, callback)
        self.set.append(timer)
        return type("Timer", (), {"cancel": lambda _: self.set.remove(timer)})()

    def turn_to(self, now: float) -> None:
        while self.set and min(self.set)[0] <= now:
            when, callback = min(self.set)
            self.set.remove((when, callback))
            self.now = max(self.now, when)
            callback()
        self.now = now


@pytest.fixture
async def watched(monkeypatch: pytest.MonkeyPatch) -> tuple[Timers, Deadlines, list[tuple[float, float]]]:
    timers, expired = Timers(), list[tuple[float, float]]()
    deadlines = Deadlines(lambda run: expired.append((run.deadline_s, timers.now - 100)))
    monkeypatch.setattr(deadlines, "_loop", timers)
    return timers, deadlines, expired


async def test_each_run_is_stopped_at_its_deadline_and_never_before(watched: Any) -> None:
    timers, deadlines, expired = watched
    for deadline_s in (3.0, 1.0, 2.0):
        deadlines.add(run_of(deadline_s))
    timers.turn_to(100.9)
    assert expired == []
    timers.turn_to(200)
    assert expired == [(1.0, 1.0), (2.0, 2.0), (3.0, 3.0)]
    assert not timers.set, "there is nothing left to wait for"


async def test_a_run_that_has_ended_is_not_stopped(watched: Any) -> None:
    timers, deadlines, expired = watched
    ended, goes_on = run_of(1.0), run_of(5.0)
    deadlines.add(ended)
    deadlines.add(goes_on)
    deadlines.remove(ended)
    timers.turn_to(104)
    assert expired == []
    deadlines.remove(goes_on)
    timers.turn_to(200)
    assert expired == []
    deadlines.add(run_of(1.0))
    timers.turn_to(300)
    assert expired == [(1.0, 101.0)], "the timer is set again once there is something to wait for"


async def test_parts_of_a_run_are_left_to_it_for_a_moment(watched: Any) -> None:
    timers, deadlines, expired = watched
    deadlines.add(run_of(1.0))
    whole = run_of(1.01)
    part, left_alone = run_of(1.011, whole.id), run_of(1.012, whole.id)
    for run in (whole, part, left_alone, run_of(1.013, "wf_1")):
        deadlines.add(run)
    timers.turn_to(101.06)  # all but the first are due when it looks for the second time
    assert [deadline_s for deadline_s, _ in expired] == [1.0, 1.01, 1.013]
    deadlines.remove(part)  # by now the whole has cancelled it, as it should have the other
    timers.turn_to(200)
    assert [deadline_s for deadline_s, _ in expired] == [1.0, 1.01, 1.013, 1.012]


async def test_thousands_of_runs_have_one_timer_that_looks_at_them_a_few_times_a_second(watched: Any) -> None:
    timers, deadlines, expired = watched
    looks = 0
    look = deadlines._look

    def counted() -> None:
        nonlocal looks
        looks += 1
        look()

    deadlines._look = counted
    for number in range(5_000):
        deadlines.add(run_of(1 + number / 5_000))
        assert len(timers.set) == 1
    timers.turn_to(103)
    assert len(expired) == 5_000
    assert all(-1e-6 <= at - deadline_s <= TOGETHER_S + 1e-6 for deadline_s, at in expired)
    assert looks <= 1 / TOGETHER_S + 2


async def test_what_is_begun_while_others_are_stopped_is_watched_too() -> None:
    begun: list[Run] = []
    both = asyncio.Event()

    def expire(run: Run) -> None:
        if begun:
            both.set()
        else:
            begun.append(run)
            deadlines.add(run_of(0.01))

    deadlines = Deadlines(expire)
    deadlines.add(run_of(0.01))
    async with asyncio.timeout(5):
        await both.wait()
