"""Limits in Redis hold over all processes, in a cluster, and cost one round trip."""

import asyncio
import sys
from collections.abc import AsyncIterator

import msgspec
import pytest

from amrikyy.ratelimit import Charge, Limit
from amrikyy.ratelimit.memory import Usage
from amrikyy.ratelimit.redis import AMEND, DECIDE, RedisLimiter
from amrikyy.redis_link import RedisLink
from tests.ratelimit.counting import new_prefix, open_link
from tests.redis_server import redis_server

CHARGES = (Charge("global", "user:ana", Limit(100, 60)), Charge("content", "user:ana", Limit(30, 60)))

PROCESS = """
import asyncio, sys
from amrikyy.ratelimit import Charge, Limit
from amrikyy.ratelimit.redis import RedisLimiter
from tests.ratelimit.counting import open_link

async def main(url, prefix):
    link = await open_link(url, deadline_s=10)
    limiter = RedisLimiter(link, prefix=prefix)
    charges = [Charge("global", "user:ana", Limit(100, 60)), Charge("content", "user:ana", Limit(30, 60))]
    print("ready", flush=True)
    sys.stdin.readline()
    decisions = await asyncio.gather(*(limiter.decide(charges) for _ in range(100)))
    print(sum(decision.refused is None for decision in decisions))
    await link.close()

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.fixture
async def link(redis_url: str) -> AsyncIterator[RedisLink]:
    opened = await open_link(redis_url, deadline_s=5)
    yield opened
    await opened.close()


async def calls(link: RedisLink, command: str) -> int:
    """How often the server has run a command."""
    stats = await link.send("INFO", "commandstats")
    assert isinstance(stats, bytes)
    lines = [line for line in stats.decode().splitlines() if line.startswith(f"cmdstat_{command}:calls=")]
    return int(lines[0].split("=")[1].split(",")[0]) if lines else 0


async def test_a_hundred_at_once_through_several_clients_pass_exactly_as_often_as_the_limit_says(
    redis_url: str,
) -> None:
    prefix = new_prefix()
    links = [await open_link(redis_url, deadline_s=5) for _ in range(4)]
    limiters = [RedisLimiter(link, prefix=prefix) for link in links]
    decisions = await asyncio.gather(*(limiters[turn % 4].decide(CHARGES) for turn in range(100)))
    assert sum(decision.refused is None for decision in decisions) == 30
    left = await limiters[0].peek(CHARGES)
    assert [state.remaining for state in left.states] == [70, 0], "who was refused has consumed nothing"
    for link in links:
        await link.close()


async def test_three_processes_at_once_let_pass_exactly_as_many_as_one(redis_url: str, link: RedisLink) -> None:
    prefix = new_prefix()
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", PROCESS, redis_url, prefix,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )
        for _ in range(3)
    ]  # fmt: skip
    async with asyncio.timeout(30):
        for process in processes:
            assert process.stdout is not None
            while await process.stdout.readline() != b"ready\n":
                assert process.returncode is None
        passed = await asyncio.gather(*(process.communicate(b"go\n") for process in processes))
    counts = [int(output.split()[-1]) for output, _ in passed]
    assert sum(counts) == 30
    left = await RedisLimiter(link, prefix=prefix).peek(CHARGES)
    assert [state.remaining for state in left.states] == [70, 0]


async def test_windows_slide_by_the_servers_clock(link: RedisLink) -> None:
    limiter = RedisLimiter(link, prefix=new_prefix())
    charges = [Charge("global", "ana", Limit(2, 1))]
    admitted: list[float] = []
    for _ in range(12):
        decision = await limiter.decide(charges)
        counting = [at for at in admitted if at + 1 > decision.taken_at]
        assert (decision.refused is None) == (len(counting) < 2)
        if decision.refused is None:
            admitted.append(decision.taken_at)
        else:
            assert decision.retry_after_s == pytest.approx(counting[0] + 1 - decision.taken_at, abs=1e-5)
        await asyncio.sleep(0.2)
    assert len(admitted) >= 4


async def test_a_decision_is_one_command(link: RedisLink) -> None:
    limiter = RedisLimiter(link, prefix=new_prefix())
    before = await calls(link, "evalsha")
    for _ in range(40):
        await limiter.decide(CHARGES)
    assert await calls(link, "evalsha") - before == 40


async def test_a_caller_is_charged_what_the_request_costs_whatever_it_was_charged_before(
    link: RedisLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("amrikyy.ratelimit.redis.REMEMBERED", 3)
    limiter = RedisLimiter(link, prefix=new_prefix())
    assert (await limiter.decide(())).states == ()
    allowed, costly = CHARGES[:1], (msgspec.structs.replace(CHARGES[0], cost=5),)
    left = [(await limiter.decide(charges)).states[0].remaining for charges in (CHARGES, allowed, costly, allowed) * 2]
    assert left == [99, 98, 93, 92, 91, 90, 85, 84]
    for number in range(10):
        others = (Charge("global", f"user:{number}", Limit(2, 60)),)
        assert [(await limiter.decide(others)).refused for _ in range(3)] == [None, None, others[0]]
    assert (await limiter.decide(CHARGES)).states[1].remaining == 27


async def test_what_no_longer_counts_is_no_longer_kept(link: RedisLink) -> None:
    prefix = new_prefix()
    limiter = RedisLimiter(link, prefix=prefix)
    for limit in (Limit(5, 20), Limit(1000, 20)):
        await limiter.refund(await limiter.decide([Charge(f"{limit}", "bob", limit)]))
        await limiter.refund(await limiter.decide([Charge(f"refunded {limit}", "ana", limit)]))
        await limiter.decide([Charge(f"{limit}", "ana", limit)])
    assert await link.send("KEYS", f"{prefix}*") == [f"{prefix}:{{ana}}".encode()]
    assert await link.send("HLEN", f"{prefix}:{{ana}}") == 2 + 1
    life_ms = await link.send("PTTL", f"{prefix}:{{ana}}")
    assert isinstance(life_ms, int)
    assert 20_000 < life_ms <= 20_200 * 9 / 8


async def test_what_a_caller_used_lives_as_long_as_its_longest_window(link: RedisLink) -> None:
    prefix = new_prefix()
    limiter = RedisLimiter(link, prefix=prefix)
    for limit in (Limit(5, 60), Limit(5, 3600), Limit(5, 1)):
        taken = await limiter.decide([Charge(f"{limit}", "ana", limit)])
        await limiter.refund(taken)
        await limiter.decide([Charge(f"{limit}", "ana", limit)])
    life_ms = await link.send("PTTL", f"{prefix}:{{ana}}")
    assert isinstance(life_ms, int)
    assert life_ms > 3_590_000


async def test_a_counter_keeps_no_more_than_its_limit_remembers(link: RedisLink) -> None:
    prefix = new_prefix()
    limiter = RedisLimiter(link, prefix=prefix)
    charge = Charge("global", "ana", Limit(100_000, 1))
    for _ in range(600):
        await limiter.decide([charge])
    length = await link.send("HSTRLEN", f"{prefix}:{{ana}}", "global")
    assert isinstance(length, int)
    assert length <= 16 * 130


async def test_scripts_that_somebody_flushed_are_sent_again(link: RedisLink) -> None:
    limiter = RedisLimiter(link, prefix=new_prefix())
    await limiter.decide(CHARGES)
    await link.send("SCRIPT", "FLUSH")
    second = await limiter.decide(CHARGES)
    assert second.states[0].remaining == 98
    await link.send("SCRIPT", "FLUSH")
    await limiter.refund(second)
    assert (await limiter.peek(CHARGES)).states[0].remaining == 99
    assert await link.send("SCRIPT", "EXISTS", DECIDE.sha, AMEND.sha) == [1, 1]


async def test_what_is_told_twice_counts_once_and_other_things_each_time(link: RedisLink) -> None:
    limiter = RedisLimiter(link, prefix=new_prefix())
    usages = [Usage(each.name, each.key, each.limit, ((100.0, 3),)) for each in CHARGES]
    for teller in (("one", 1), ("one", 1), ("two", 1), ("one", 2), ("one", 1)):
        await limiter.add(usages, 100.5, teller)
    assert (await limiter.peek(CHARGES)).states[0].remaining == 100 - 9


async def test_the_charges_of_a_request_are_in_one_slot_of_a_cluster() -> None:
    with redis_server("--cluster-enabled", "yes") as server:
        for start in (0, 8192):
            assert server.ask(f"CLUSTER ADDSLOTS {' '.join(map(str, range(start, start + 8192)))}") == b"+OK\r\n"
        async with asyncio.timeout(10):
            while b"cluster_state:ok" not in server.ask("CLUSTER INFO"):
                await asyncio.sleep(0.05)
        link = await open_link(server.url, deadline_s=5)
        limiter = RedisLimiter(link)
        caller = [Charge(name, "address:2001:db8::/64", Limit(5, 60)) for name in ("global", "travel", "travel.book")]
        login = [Charge("login.address", "192.0.2.1", Limit(30, 60)), Charge("login.account", "c0ffee", Limit(10, 60))]
        for charges in (caller, login):
            decision = await limiter.decide(charges)
            assert decision.refused is None
            await limiter.refund(decision)
        await link.close()
