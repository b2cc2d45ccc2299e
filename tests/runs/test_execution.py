"""The log of an execution and its readers."""

import asyncio

import pytest

from amrikyy.errors import NotFound
from amrikyy.runs.events import Event
from amrikyy.runs.execution import Execution, Outcome, Spent
from amrikyy.runs.live import LiveRuns
from amrikyy.runs.run import Reader, Run, new_run_id


async def read_all(reader: Reader) -> list[Event]:
    events: list[Event] = []
    while not reader.at_end:
        events += await reader.read(timeout_s=1)
    return events


async def test_every_reader_gets_every_event_in_order_wherever_it_begins() -> None:
    run = run_of("read")
    early = Reader(run)
    reading = asyncio.create_task(read_all(early))
    for number in range(100):
        run.execution.append(Event("token", str(number)))
        if number % 7 == 0:
            await asyncio.sleep(0)
    late = Reader(run, after=40)
    run.execution.end(Event("completed"), Outcome(result=b"{}"))
    assert [event.data for event in (await reading)[:-1]] == [str(number) for number in range(100)]
    assert [event.data for event in (await read_all(late))[:-1]] == [str(number) for number in range(40, 100)]


async def test_a_reader_far_behind_gets_the_log_in_parts() -> None:
    run = run_of("long")
    for number in range(2500):
        run.execution.append(Event("token", str(number)))
    run.execution.end(Event("completed"), Outcome(result=b"{}"))
    reader = Reader(run)
    parts = []
    while not reader.at_end:
        parts.append(len(await reader.read(timeout_s=1)))
    assert parts == [1000, 1000, 501]


async def test_silence_ends_a_read_with_nothing() -> None:
    assert await Reader(run_of("silent")).read(timeout_s=0.01) == []


async def test_a_read_ends_at_its_own_time_whatever_the_reads_before_it_waited_for() -> None:
    execution = Execution()
    run = Run(owner="a", agent="b", operation="c", request=b"{}", deadline_s=60, execution=execution)
    reader = run.read()
    reading = asyncio.create_task(reader.read(60))
    await asyncio.sleep(0)
    execution.append(Event("started"))
    assert len(await reading) == 1
    async with asyncio.timeout(10):
        assert await reader.read(0.01) == []
        assert await reader.read(0.02) == []
        reading = asyncio.create_task(reader.read(60))
        await asyncio.sleep(0.05)  # the timer of the read before has run out
        assert not reading.done()
        execution.append(Event("token", "x"))
        assert len(await reading) == 1
    reader.close()


async def test_closing_a_reader_wakes_it() -> None:
    run = run_of("closing")
    reader = Reader(run)
    reading = asyncio.create_task(reader.read(timeout_s=30))
    await asyncio.sleep(0)
    reader.close()
    reader.close()
    assert await reading == []
    assert run.readers == 0


async def test_waiting_for_an_end_that_is_already_there_does_not_wait() -> None:
    run = run_of("ended")
    run.execution.end(Event("completed"), Outcome(result=b"{}"))
    assert (await run.wait()).result == b"{}"


async def test_a_run_that_leaves_a_shared_execution_ends_alone_and_its_log_keeps_what_was_until_then() -> None:
    first = run_of("shared")
    second = Run(owner="user:2", agent="travel", operation="shared", request=b"{}", deadline_s=1,
                 execution=first.execution, joined=True)  # fmt: skip
    working = asyncio.create_task(asyncio.sleep(30))
    first.execution.done_by(working)
    first.execution.append(Event("started"))
    reading = asyncio.create_task(read_all(second.read()))
    await asyncio.sleep(0)
    assert second.cancel("Enough.")
    assert [event.kind for event in await reading] == ["started", "cancelled"]
    first.execution.append(Event("token", "a"))
    assert (second.status, second.event_count, first.status, first.event_count) == ("cancelled", 2, "running", 2)
    assert [event.kind for event in second.events(0, 10)] == ["started", "cancelled"]
    assert not second.cancel("Again.")
    assert first.cancel("The last one leaves.")
    with pytest.raises(asyncio.CancelledError):
        await working


def test_a_sum_with_an_unknown_price_is_unknown() -> None:
    spent = Spent()
    spent.add(["a"], 1, 2, 0.5, estimated=False)
    spent.add(["b"], 1, 2, None, estimated=True)
    spent.add(["a"], 1, 2, 0.5, estimated=False)
    assert (spent.cost_usd, spent.total_tokens, spent.model, spent.estimated) == (None, 9, "a,b", True)


def test_run_ids_sort_by_time() -> None:
    ids = [new_run_id() for _ in range(3)]
    assert len(set(ids)) == 3
    assert [each[:16] for each in ids] == sorted(each[:16] for each in ids)


def run_of(name: str) -> Run:
    return Run(owner="user:1", agent="travel", operation=name, request=b"{}", deadline_s=1)


async def test_finished_runs_are_forgotten_after_their_time_and_when_there_are_too_many() -> None:
    live = LiveRuns(keep_s=60, max_finished=2)
    runs = [run_of(str(number)) for number in range(3)]
    for run in runs:
        live.add(run)
        live.finish(run)
    assert live.get(runs[0].id) is None
    assert live.get(runs[2].id) is runs[2]
    small = LiveRuns(keep_s=60, max_finished_bytes=5000)
    for run in runs:
        small.finish(run)
    assert [small.get(run.id) is not None for run in runs] == [False, True, True]
    brief = LiveRuns(keep_s=0.01)
    brief.add(runs[0])
    assert brief.get(runs[0].id) is runs[0]
    brief.finish(runs[0])
    await asyncio.sleep(0.03)
    assert brief.get(runs[0].id) is None


async def test_a_run_whose_last_reader_leaves_is_cancelled_after_the_grace_time_unless_it_comes_back() -> None:
    async def forever() -> None:
        await asyncio.sleep(30)

    run = run_of("left")
    task = asyncio.create_task(forever())
    run.execution.done_by(task)
    run.leave(run.read(), grace_s=0.02)
    back = run.read()
    await asyncio.sleep(0.04)
    assert not task.cancelled()
    run.leave(back, grace_s=0.01)
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_run_whose_end_somebody_waits_for_goes_on_when_its_last_reader_leaves() -> None:
    run = run_of("waited for")
    task = asyncio.create_task(asyncio.sleep(30))
    run.execution.done_by(task)
    waiting = asyncio.create_task(run.wait())
    await asyncio.sleep(0)
    run.leave(run.read(), grace_s=0)
    assert not task.cancelling()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    run.leave(run.read(), grace_s=0)
    assert task.cancelling()


async def test_a_detached_run_goes_on_without_readers() -> None:
    run = run_of("detached")
    run.detached = True
    task = asyncio.create_task(asyncio.sleep(0.03))
    run.execution.done_by(task)
    run.leave(run.read(), grace_s=0)
    await task


def test_status_follows_from_the_last_event() -> None:
    running, failed = run_of("running"), run_of("failed")
    failed.execution.end(Event("failed", NotFound("x")), Outcome(error=NotFound("x")))
    assert (running.status, failed.status) == ("running", "failed")
