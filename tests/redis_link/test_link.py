"""The link to Redis: many callers, one connection, a deadline for each reply, and back by itself."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from uuid import uuid4

import pytest
import uvloop
from structlog.testing import capture_logs

from amrikyy.errors import RedisRefused, RedisUnavailable
from amrikyy.redis_link import LinkJournal, LinkState, RedisAddress, RedisLink, Script
from amrikyy.redis_link.link import DEADLINE_S
from amrikyy.redis_link.wire import MAX_PENDING
from tests.process import free_port
from tests.redis_server import RedisServer, redis_server

ECHO = Script.of("return ARGV[1]")

QUICK_S = 3
"""Many times a deadline of 50 ms, for a machine that is busy with other tests."""


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """A Redis that the test may stop."""
    with redis_server() as started:
        yield started


@asynccontextmanager
async def linked(url: str, deadline_s: float = 2) -> AsyncIterator[RedisLink]:
    link = RedisLink(RedisAddress.parse(url), scripts=[ECHO], deadline_s=deadline_s)
    await link.start()
    try:
        yield link
    finally:
        await link.close()


@asynccontextmanager
async def listening(
    handle: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[int]:
    """The port of a server of the test's own; at the end all its connections have been closed."""
    handling: list[asyncio.Task[object] | None] = []

    async def handle_and_close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handling.append(asyncio.current_task())
        await handle(reader, writer)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(handle_and_close, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
    await asyncio.gather(*(task for task in handling if task is not None))


async def until(is_so: Callable[[], bool], within_s: float = 8) -> None:
    async with asyncio.timeout(within_s):
        while not is_so():
            await asyncio.sleep(0.01)


async def text(link: RedisLink, *command: str) -> str:
    """What is answered to a command that is answered with text."""
    reply = await link.send(*command)
    assert isinstance(reply, bytes)
    return reply.decode()


async def reads(link: RedisLink) -> int:
    """How often Redis has read from a connection."""
    return int((await text(link, "INFO", "stats")).split("total_reads_processed:")[1].split()[0])


async def test_each_caller_gets_its_own_reply(redis_url: str) -> None:
    async with linked(redis_url) as link:
        replies = await asyncio.gather(*(link.run(ECHO, [], [number]) for number in range(1000)))
        assert replies == [str(number).encode() for number in range(1000)]
        assert await link.ping() < QUICK_S


async def test_what_is_sent_together_is_one_write(redis_url: str) -> None:
    async with linked(redis_url) as link:
        before = await reads(link)
        await asyncio.gather(*(link.send("PING") for _ in range(500)))
        assert await reads(link) - before < 20


async def test_what_nobody_waits_for_is_sent_in_order_and_soon(redis_url: str) -> None:
    async with linked(redis_url) as link:
        key = f"test:{uuid4().hex}"
        link.tell("SET", key, "1")
        link.tell("HSET", key, "no", "hash")  # its error is nobody's
        assert await text(link, "GET", key) == "1"
        link.tell("SET", key, "2")
        async with linked(redis_url) as other, asyncio.timeout(8):
            while await text(other, "GET", key) != "2":
                await asyncio.sleep(0.01)
    with pytest.raises(RedisUnavailable):
        link.tell("PING")


async def test_what_nobody_waits_for_is_written_with_what_somebody_waits_for(redis_url: str) -> None:
    async with linked(redis_url) as link:
        before = await reads(link)
        for _ in range(5):
            for _ in range(5):
                link.tell("PING")
                await asyncio.sleep(0)
            await link.send("PING")
        assert await reads(link) - before <= 5 + 1


async def test_a_script_that_nobody_waits_for_is_run_though_somebody_flushed_it(redis_url: str) -> None:
    async with linked(redis_url) as link:
        key = f"test:{uuid4().hex}"
        count = Script.of("return redis.call('INCRBY', KEYS[1], ARGV[1])")
        for _ in range(2):
            link.tell_script(count, [key], [2])
        async with asyncio.timeout(8):
            while await link.send("GET", key) != b"4":
                await asyncio.sleep(0.01)


async def test_a_caller_that_leaves_does_not_disturb_the_others(redis_url: str) -> None:
    async with linked(redis_url) as link:
        replies = [link.send("ECHO", number) for number in range(10)]
        replies[3].cancel()
        with pytest.raises(asyncio.CancelledError):
            await replies[3]
        assert await replies[9] == b"9"


async def test_an_error_is_the_error_of_its_caller_alone(redis_url: str) -> None:
    async with linked(redis_url) as link:
        wrong, right = link.send("NO_SUCH_COMMAND"), link.send("ECHO", "hello")
        with pytest.raises(RedisRefused, match="unknown command"):
            await wrong
        assert await right == b"hello"
        assert link.state.is_up


async def test_it_speaks_as_who_and_where_the_url_says() -> None:
    with redis_server("--requirepass", "p@ss") as server:
        async with linked(f"redis://:p%40ss@127.0.0.1:{server.port}/3") as link:
            who = await text(link, "CLIENT", "INFO")
            assert " db=3 " in who
            assert " name=amrikyy-" in who
        async with linked(f"unix://:p%40ss@{server.socket}?db=2") as link:
            assert " db=2 " in await text(link, "CLIENT", "INFO")


@pytest.mark.parametrize("credentials", ["", ":wrong-secret@"])
async def test_a_wrong_password_is_a_reason_that_does_not_repeat_it(credentials: str) -> None:
    with capture_logs() as lines, redis_server("--requirepass", "secret") as server:
        async with linked(f"redis://{credentials}127.0.0.1:{server.port}") as link:
            assert "NOAUTH" in link.state.reason or "WRONGPASS" in link.state.reason
            with pytest.raises(RedisUnavailable):
                link.send("PING")
    assert [line["event"] for line in lines] == ["redis_down"]
    assert "secret" not in str(lines)


async def test_a_redis_that_never_answers_fails_everybody_in_time_and_then_at_once(server: RedisServer) -> None:
    async with linked(server.url, DEADLINE_S) as link:
        server.pause()
        began = time.monotonic()
        outcomes = await asyncio.gather(*(link.send("PING") for _ in range(100)), return_exceptions=True)
        assert 0.05 <= time.monotonic() - began < QUICK_S
        assert all(isinstance(outcome, RedisUnavailable) for outcome in outcomes)
        began = time.monotonic()
        for _ in range(1000):
            with pytest.raises(RedisUnavailable, match="no reply within 50 ms"):
                link.send("PING")
        assert time.monotonic() - began < QUICK_S
        server.resume()
        await until(lambda: link.state.is_up)
        await link.ping()


async def test_a_link_that_is_doubted_is_given_up_before_its_deadline_unless_redis_answers(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("amrikyy.redis_link.link.DOUBT_S", 0.8)
    async with linked(server.url, deadline_s=60) as link:
        link.doubt()
        await asyncio.sleep(1)
        assert link.state.is_up
        server.pause()
        waiting = link.send("PING")
        link.doubt()
        with pytest.raises(RedisUnavailable, match="no reply within 800 ms"):
            await waiting
        link.doubt()
        server.resume()
        await until(lambda: link.state.is_up)


async def test_each_change_is_one_line_and_one_call(server: RedisServer) -> None:
    changes: list[LinkState] = []
    with capture_logs() as lines:
        async with linked(server.url) as link:
            link.watch(changes.append)
            server.kill()
            await until(lambda: not link.state.is_up)
            since = link.state.since
            await asyncio.sleep(0.5)
            assert link.state.since == since, "that it is still down is no change"
            server.start()
            await until(lambda: link.state.is_up)
        assert [line["event"] for line in lines] == ["redis_up", "redis_down", "redis_up"]
    assert [change.is_up for change in changes] == [False, True]
    assert changes[0].reason


async def test_each_change_is_one_line_however_many_links_notice(server: RedisServer) -> None:
    address = RedisAddress.parse(server.url)
    with capture_logs() as lines:
        journal = LinkJournal(address)
        links = [RedisLink(address, deadline_s=2, journal=journal) for _ in range(2)]
        for link in links:
            await link.start()
        for _ in range(2):
            server.kill()
            await until(lambda: not any(link.state.is_up for link in links))
            server.start()
            await until(lambda: all(link.state.is_up for link in links))
        for link in links:
            await link.close()
    assert [line["event"] for line in lines] == ["redis_up", *["redis_down", "redis_up"] * 2]


async def test_a_busy_process_does_not_blame_redis(redis_url: str) -> None:
    def work_with_a_command_on_its_way() -> None:
        async def main() -> None:
            async with linked(redis_url, 0.5) as link:
                for _ in range(2):
                    reply = link.send("ECHO", "hello")
                    await asyncio.sleep(0)
                    time.sleep(1)
                    assert await reply == b"hello"

        uvloop.run(main())  # whose timers come before what has arrived

    await asyncio.to_thread(work_with_a_command_on_its_way)


async def test_a_connection_that_ends_in_the_middle_of_a_reply_fails_its_callers(server: RedisServer) -> None:
    cut_at: list[int] = []

    async def cut(from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        from_redis, to_redis = await asyncio.open_connection("127.0.0.1", server.port)

        async def forward() -> None:
            while data := await from_client.read(65536):
                to_redis.write(data)
            to_redis.close()

        forwarding = asyncio.create_task(forward())
        while data := await from_redis.read(65536):
            to_client.write(data[: cut_at[0]] if cut_at else data)
            if cut_at:
                cut_at.clear()
                break
        forwarding.cancel()
        to_redis.close()
        await to_redis.wait_closed()

    async with listening(cut) as port, linked(f"redis://127.0.0.1:{port}") as link:
        await link.send("SET", "long", "x" * 1000)
        cut_at.append(500)
        replies = [link.send("GET", "long"), link.send("PING")]
        outcomes = await asyncio.gather(*replies, return_exceptions=True)
        assert all(isinstance(outcome, RedisUnavailable) for outcome in outcomes)
        await until(lambda: link.state.is_up)
        assert await link.send("GET", "long") == b"x" * 1000


async def test_what_is_no_redis_is_none() -> None:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with listening(answer) as port, linked(f"redis://127.0.0.1:{port}") as link:
        assert "not a reply of a Redis" in link.state.reason
        with pytest.raises(RedisUnavailable):
            await link.ping()


async def test_a_start_without_redis_takes_no_longer_and_finds_it_later() -> None:
    port = free_port()
    async with linked(f"redis://127.0.0.1:{port}") as link:
        assert not link.state.is_up
        assert "refused" in link.state.reason.lower() or "connect" in link.state.reason.lower()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        async with linked(f"redis://127.0.0.1:{silent.getsockname()[1]}", DEADLINE_S) as link:
            assert link.state.reason == "no reply within 50 ms"
        assert time.monotonic() - began < 2 * QUICK_S


async def test_a_redis_that_cannot_write_is_not_up(server: RedisServer) -> None:
    async with linked(server.url) as link:
        server.ask(f"REPLICAOF 127.0.0.1 {free_port()}")
        with pytest.raises(RedisRefused, match="READONLY"):
            await link.send("SET", "a", 1)
        await asyncio.sleep(0.5)
        assert not link.state.is_up, "it would answer a PING"
        server.ask("REPLICAOF NO ONE")
        await until(lambda: link.state.is_up)
        assert await link.send("SET", "a", 1) == b"OK"


async def test_what_waits_is_bounded(server: RedisServer) -> None:
    async with linked(server.url, DEADLINE_S) as link:
        server.pause()
        waiting = [link.send("PING") for _ in range(MAX_PENDING)]
        with pytest.raises(RedisUnavailable, match="already wait"):
            link.send("PING")
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(isinstance(outcome, RedisUnavailable) for outcome in outcomes)


async def test_closing_ends_the_connection_and_who_waits(server: RedisServer) -> None:
    before = asyncio.all_tasks()
    async with linked(server.url) as link:
        server.pause()
        waiting = link.send("PING")
    with pytest.raises(RedisUnavailable, match="closed"):
        await waiting
    with pytest.raises(RedisUnavailable, match="closed"):
        link.send("PING")
    assert asyncio.all_tasks() == before
