"""Runs in Redis, as one process sees them."""

import asyncio
import gc
import re
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import pytest

from amrikyy.errors import RedisUnavailable, RunCancelled
from amrikyy.redis_link import Argument, RedisAddress, RedisLink, Reply
from amrikyy.runs.events import Event
from amrikyy.runs.execution import Execution, Outcome
from amrikyy.runs.live import LiveRuns
from amrikyy.runs.run import Run, new_run_id
from amrikyy.runs.shared import SCRIPTS, SharedRuns, tail
from amrikyy.runs.shared.encoding import note_of
from amrikyy.runs.shared.log import LoggedExecution
from amrikyy.runs.shared.presence import Order
from amrikyy.runs.sharing import Leader, Lease
from tests.redis_server import redis_server


async def test_a_redis_that_stops_while_a_lease_is_asked_for_is_noticed_once() -> None:
    unheard: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unheard.append(context))
    with redis_server() as redis:
        link = RedisLink(RedisAddress.parse(redis.url), scripts=SCRIPTS, deadline_s=0.2)
        await link.start()
        shared = SharedRuns(link, prefix="test", live=LiveRuns(60), keep_s=60, grace_s=1, timeout_s=60)
        redis.pause()
        assert await shared.claim("flight", "run_1").lease() is None
        await asyncio.sleep(0.05)  # what called back still refers to the replies
        gc.collect()
        assert not shared.is_settled
        await shared.close()
        await link.close()
    assert unheard == []


@asynccontextmanager
async def opened(redis_url: str, prefix: str = "") -> AsyncIterator[tuple[SharedRuns, RedisLink, str]]:
    prefix = prefix or uuid4().hex
    link = RedisLink(RedisAddress.parse(redis_url), scripts=SCRIPTS, deadline_s=10)
    await link.start()
    shared = SharedRuns(link, prefix=prefix, live=LiveRuns(60), keep_s=60, grace_s=1, timeout_s=60)
    yield shared, link, prefix
    await shared.close()
    await link.close()


async def commands(link: RedisLink) -> Counter[str]:
    """How often the server has run each command."""
    found = await link.send("INFO", "commandstats")
    assert isinstance(found, bytes)
    return Counter({name: int(calls) for name, calls in re.findall(r"cmdstat_([^:]+):calls=(\d+)", found.decode())})


def begun(shared: SharedRuns, *, streams: bool, run_id: str = "") -> Run:
    """A run of one process that others may find."""
    run_id = run_id or new_run_id()
    run = Run(
        "user:1", "content", "blog", b"{}", 60, shared.begin(run_id, None, streams=streams, allowance=None), id=run_id
    )
    shared.note(run)
    run.execution.append(Event("started"))
    return run


def end(shared: SharedRuns, run: Run) -> None:
    run.execution.end(Event("completed"), Outcome(result=b'{"text":"x"}'))
    run.finish()
    shared.note(run)


async def shown(run: Run) -> None:
    async with asyncio.timeout(10):
        while run.readable < run.event_count:
            await asyncio.sleep(0.005)


async def test_a_run_that_answers_at_once_is_one_command_and_can_be_read_by_all(redis_url: str) -> None:
    async with opened(redis_url) as (shared, link, prefix), opened(redis_url, prefix) as (other, *_):
        before = await commands(link)
        runs = [begun(shared, streams=False) for _ in range(5)]
        for run in runs:
            end(shared, run)
        for run in runs:
            await shown(run)
        sent = await commands(link) - before
        assert sent["set"] >= 5, "with the signs of life"
        assert not {"xadd", "evalsha", "eval", "pexpire"} & set(sent)
        for run in runs:
            found = await other.find(run.id)
            assert found is not None
            assert found.events(0, 9) == run.events(0, 9)
            assert (found.status, found.duration_s, found.outcome) == ("completed", run.duration_s, run.outcome)
            followed = Execution()
            assert await other.follow(Leader(run.id, shared.process), followed)
            assert followed.events == run.execution.events
        assert isinstance(lives_ms := await link.send("PTTL", f"{prefix}:run:{{{runs[0].id}}}"), int)
        assert 0 < lives_ms <= 60_001


async def test_a_stream_is_an_entry_a_batch_and_its_script_is_for_trouble_only(redis_url: str) -> None:
    async with opened(redis_url) as (shared, link, prefix), opened(redis_url, prefix) as (other, *_):
        before = await commands(link)
        run = begun(shared, streams=True)
        for number in range(10):
            await shown(run)
            run.execution.append(Event("token", str(number)))
        await shown(run)
        end(shared, run)
        await shown(run)
        sent = await commands(link) - before
        assert sent["xadd"] == 12
        assert sent["pexpire"] <= 2 + 5, "beside those of orders"
        assert not {"evalsha", "eval", "xrevrange"} & set(sent)
        found = await other.find(run.id)
        assert found is not None
        assert found.events(0, 99) == run.events(0, 99)


@pytest.mark.parametrize("loss", ["DEL", "FLUSHALL", "script"])
async def test_events_that_redis_has_lost_or_has_twice_are_whole_for_every_reader(loss: str) -> None:
    with redis_server() as redis:
        async with opened(redis.url) as (shared, link, prefix), opened(redis.url, prefix) as (other, *_):
            run = begun(shared, streams=True)
            run.execution.append(Event("token", "a"))
            await shown(run)
            key = f"{prefix}:run:{{{run.id}}}:events"
            if loss == "script":
                await link.send("SCRIPT", "FLUSH")
            await link.send(*(("FLUSHALL",) if loss == "FLUSHALL" else ("DEL", key)))
            for number in range(3):
                run.execution.append(Event("token", str(number)))
                await shown(run)
            assert isinstance(run.execution, LoggedExecution)
            run.execution.stored -= 1  # as if the reply to the last one had been lost
            run.execution.append(Event("token", "z"))
            await shown(run)
            end(shared, run)
            await shown(run)
            execution = Execution(streams=True)
            assert await other.follow(Leader(run.id, shared.process), execution)
            assert execution.events == run.execution.events
            assert isinstance(lives_ms := await link.send("PTTL", key), int)
            assert 0 < lives_ms <= 60_001


async def test_whoever_gets_a_lease_that_another_had_looks_for_what_that_one_left(redis_url: str) -> None:
    async with opened(redis_url) as (one, link, prefix), opened(redis_url, prefix) as (two, second, _):
        first = one.claim("flight", "run_1")
        lease = await first.lease()
        assert lease is not None
        assert not first.is_late
        assert (await two.claim("flight", "run_2").lease()) == Lease(
            "flight", lease.value, Leader("run_1", one.process)
        )
        late = two.claim("flight", "run_3")
        await second.ping()
        one.release(lease)
        await link.ping()
        assert (await late.lease()) == Lease("flight", f"run_3 {two.process}")
        assert late.is_late


@pytest.mark.parametrize("written", [b"", b"nonsense", b"\xff\xfe x", b"a b c", b"../../x y", b"x" * 10_000])
async def test_what_somebody_else_has_written_in_the_place_of_a_lease_holds_up_nobody(
    redis_url: str, written: bytes
) -> None:
    async with opened(redis_url) as (shared, link, prefix):
        await link.send("SET", f"{prefix}:flight:flight", written)
        lease = await shared.claim("flight", "run_1").lease()
        assert lease is not None
        assert lease.leader is None
        assert await link.send("GET", f"{prefix}:flight:flight") == f"run_1 {shared.process}".encode()


@pytest.mark.parametrize("written", [b"nonsense", b"\x93\x01\xc0\xc0", b"\x91" * 100_000])
async def test_events_that_nobody_can_read_are_those_of_a_run_that_is_lost(redis_url: str, written: bytes) -> None:
    async with opened(redis_url) as (shared, link, prefix):
        execution = Execution(streams=True)
        run = Run("user:1", "content", "blog", b"{}", 60, execution)
        await link.send("SET", f"{prefix}:run:{{{run.id}}}", note_of(run, run.id, "elsewhere"))
        await link.send("XADD", f"{prefix}:run:{{{run.id}}}:events", "1-0", "b", written)
        assert await shared.find(run.id) is None
        assert not await shared.follow(Leader(run.id, "elsewhere"), Execution(streams=True))
        await link.send("SET", f"{prefix}:run:{{{run.id}}}", written)
        assert await shared.find(run.id) is None


def in_progress(shared: SharedRuns) -> Run:
    """A run of one process that others may cancel."""
    run = begun(shared, streams=True)
    run.execution.done_by(asyncio.create_task(asyncio.sleep(60)))
    shared._presence._live.add(run)
    return run


async def cancelled(run: Run) -> str:
    """Why it was cancelled."""
    async with asyncio.timeout(10):
        while run.execution.cause is None:
            await asyncio.sleep(0.01)
    return run.execution.cause.message


async def test_a_cancellation_does_not_wait_behind_thousands_of_readers(redis_url: str) -> None:
    async with opened(redis_url) as (shared, link, prefix), opened(redis_url, prefix) as (other, *_):
        run = in_progress(shared)
        await shown(run)
        for number in range(3000):
            other._presence.order(shared.process, Order("read", f"run_{number:032x}"))
        began = time.monotonic()
        assert await other.cancel(run.id, "It is not needed.", owner="user:1")
        assert await cancelled(run) == "It is not needed."
        assert time.monotonic() - began < 2, "a beat or two; a hundred orders a beat took 7 s"
        async with asyncio.timeout(10):
            while await link.send("EXISTS", f"{prefix}:process:{shared.process}:orders"):
                await asyncio.sleep(0.01)


async def test_an_order_that_is_repeated_takes_no_further_place(redis_url: str) -> None:
    async with opened(redis_url) as (shared, link, prefix):
        for number in range(1000):
            shared._presence.order("elsewhere", Order("read", f"run_{number % 3}"))
        assert await link.send("HLEN", f"{prefix}:process:elsewhere:orders") == 3


async def test_a_cancellation_is_carried_out_also_if_redis_goes_away_while_it_is_deleted(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(redis_url) as (shared, link, prefix), opened(redis_url, prefix) as (other, *_):
        run = in_progress(shared)
        await shown(run)
        send = link.send

        def losing_replies(*command: Argument) -> asyncio.Future[Reply]:
            reply = send(*command)
            if command[0] == "HDEL":
                reply.add_done_callback(lambda done: done.cancelled() or done.exception())
                reply = asyncio.get_running_loop().create_future()
                reply.set_exception(RedisUnavailable("No reply came in time."))
            return reply

        monkeypatch.setattr(link, "send", losing_replies)
        assert await other.cancel(run.id, "It is not needed.", owner="user:1")
        assert await cancelled(run) == "It is not needed."


async def cut_off(link: RedisLink, for_s: float) -> None:
    """Take the network away from a link, and wait until it is back."""

    async def unreachable() -> None:
        raise OSError("the network is unreachable")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(link, "_connect", unreachable)
        assert link._wire is not None
        link._wire.close("the network is unreachable")
        await asyncio.sleep(for_s)
    async with asyncio.timeout(10):
        while not link.state.is_up:
            await asyncio.sleep(0.01)


async def test_a_leader_that_has_stored_nothing_yet_is_not_given_up_because_redis_was_away(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail, "ALIVE_S", 1.0)
    async with opened(redis_url) as (shared, _, prefix), opened(redis_url, prefix) as (other, link, _):
        run_id, execution = new_run_id(), Execution()
        following = asyncio.create_task(other.follow(Leader(run_id, shared.process), execution))
        await cut_off(link, 1.1)
        await asyncio.sleep(0.2)
        assert not following.done()
        end(shared, begun(shared, streams=False, run_id=run_id))
        assert await following
        assert execution.outcome == Outcome(result=b'{"text":"x"}')


@pytest.mark.parametrize("is_alive", [True, False])
async def test_a_leader_that_never_begins_or_is_dead_is_given_up(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, is_alive: bool
) -> None:
    monkeypatch.setattr(tail, "ALIVE_S", 0.3)
    async with opened(redis_url) as (shared, *_), asyncio.timeout(5):
        process = shared.process if is_alive else "dead"
        assert not await shared.follow(Leader(new_run_id(), process), Execution())


async def test_a_run_elsewhere_is_followed_from_when_it_is_read_until_its_reader_leaves(redis_url: str) -> None:
    async with opened(redis_url) as (shared, _, prefix), opened(redis_url, prefix) as (other, *_):
        run = begun(shared, streams=True)
        await shown(run)
        found = await other.find(run.id)
        assert found is not None
        assert not other._following
        reader = found.read(found.event_count)
        run.execution.append(Event("token", "a"))
        assert await reader.read(10) == [Event("token", "a")]
        assert len(other._following) == 1
        found.leave(reader, grace_s=60)
        async with asyncio.timeout(10):
            assert isinstance((await found.wait()).error, RunCancelled)
        assert not other._following
        assert not run.ended


async def test_whoever_stops_waiting_at_once_for_a_run_elsewhere_is_not_left_waiting(redis_url: str) -> None:
    async with opened(redis_url) as (shared, _, prefix), opened(redis_url, prefix) as (other, *_):
        run = begun(shared, streams=True)
        await shown(run)
        found = await other.find(run.id)
        assert found is not None
        waiting = asyncio.create_task(found.wait())
        await asyncio.sleep(0)
        assert found.cancel("The caller disconnected."), "before the task that follows it has taken a step"
        async with asyncio.timeout(10):
            assert (await waiting).error is found.execution.cause
