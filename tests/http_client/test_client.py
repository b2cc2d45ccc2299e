"""The HTTP client against servers that say exactly what a test wants, byte by byte."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amrikyy.http_client import (
    BrokenOff,
    ConnectTimeout,
    Head,
    HttpClient,
    HttpFailure,
    NotConnected,
    Patience,
    Reply,
    TooLarge,
)
from amrikyy.http_client import connection as connection_module
from amrikyy.http_client.request import encode_headers, encode_request

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"

Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


class Server:
    """Answers each request with the next script; it keeps the requests, and counts the connections."""

    def __init__(self) -> None:
        self.script: list[bytes | Answer] = []
        self.requests: list[bytes] = []
        self.connections = 0
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
                self.requests.append(head + await reader.readexactly(int(length or 0)))
                says = self.script.pop(0) if self.script else OK
                if isinstance(says, bytes):
                    writer.write(says)
                else:
                    await says(writer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    scripted = Server()
    listening = await asyncio.start_server(scripted.serve, "127.0.0.1", 0)
    scripted.port = listening.sockets[0].getsockname()[1]
    yield scripted
    listening.close()


@pytest.fixture
async def http() -> AsyncIterator[HttpClient]:
    client = HttpClient()
    yield client
    await client.close()


@asynccontextmanager
async def opened(max_connections: int) -> AsyncIterator[HttpClient]:
    client = HttpClient(max_connections=max_connections)
    yield client
    await client.close()


async def fetch(http: HttpClient, server: Server, path: str = "/", **asked: object) -> Reply:
    options: dict[str, Any] = {"connect_s": 1.0, "timeout_s": 2.0, "max_body": 1_000_000, **asked}
    return await http.fetch("GET", f"http://127.0.0.1:{server.port}{path}", **options)


def close(writer: asyncio.StreamWriter) -> None:
    writer.close()


async def test_a_request_is_sent_as_the_standard_has_it(http: HttpClient, server: Server) -> None:
    reply = await http.fetch(
        "POST", f"http://127.0.0.1:{server.port}/a b/ü?q=x y&r=%2F", headers={"x-key": "k"}, body=b"{}", connect_s=1,
        timeout_s=2, max_body=10,
    )  # fmt: skip
    assert (reply.status, reply.body) == (200, b"hi")
    host = f"host: 127.0.0.1:{server.port}".encode()
    lines = [b"POST /a%20b/%C3%BC?q=x%20y&r=%2F HTTP/1.1", host, b"x-key: k", b"content-length: 2", b"", b"{}"]
    assert server.requests == [b"\r\n".join(lines)]


async def test_a_connection_serves_one_request_after_another(http: HttpClient, server: Server) -> None:
    for _ in range(5):
        assert (await fetch(http, server)).body == b"hi"
    assert server.connections == 1
    assert http.busy == 0


async def test_each_exchange_of_a_connection_has_its_own_deadline(http: HttpClient, server: Server) -> None:
    async def late(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.15)
        writer.write(OK)

    server.script += [OK, late, late]
    await fetch(http, server, timeout_s=0.1)
    assert (await fetch(http, server, timeout_s=60)).body == b"hi"
    impatient = asyncio.create_task(fetch(http, server, timeout_s=0.05))
    assert (await asyncio.wait([impatient], timeout=10))[0]
    assert isinstance(impatient.exception(), TimeoutError)
    assert server.connections == 1


async def test_a_trailer_is_no_header_of_the_next_answer(http: HttpClient, server: Server) -> None:
    async def chunked(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n")
        await asyncio.sleep(0.02)
        writer.write(b"0\r\ncontent-type: text/html\r\n\r\n")

    server.script += [
        chunked,
        b"HTTP/1.1 200 OK\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: 0\r\n\r\n",
    ]
    assert (await fetch(http, server)).head.content_type == ""
    assert (await fetch(http, server)).head.content_type == "text/plain"
    assert server.connections == 1


async def test_requests_at_the_same_time_have_connections_of_their_own(http: HttpClient, server: Server) -> None:
    replies = await asyncio.gather(*(fetch(http, server) for _ in range(10)))
    assert [reply.body for reply in replies] == [b"hi"] * 10
    assert server.connections == 10


@pytest.mark.parametrize(
    ("says", "body"),
    [
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", b"abcde"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + OK, b"hi"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nhi", b"hi"),
    ],
    ids=["chunked", "interim answers", "no content", "HTTP/1.0"],
)
async def test_every_form_of_body_is_read(http: HttpClient, server: Server, says: bytes, body: bytes) -> None:
    async def slowly(writer: asyncio.StreamWriter) -> None:
        for byte in says:
            writer.write(bytes([byte]))
            await asyncio.sleep(0)

    server.script += [says, slowly, OK]
    assert (await fetch(http, server)).body == body
    assert (await fetch(http, server)).body == body, "byte by byte"
    assert (await fetch(http, server)).body == b"hi", "and nothing of it is left over"


async def test_a_body_without_a_length_ends_with_its_connection(http: HttpClient, server: Server) -> None:
    async def until_the_end(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nhalf")
        await asyncio.sleep(0.02)
        writer.write(b" and half")
        writer.close()

    server.script.append(until_the_end)
    assert (await fetch(http, server)).body == b"half and half"


async def test_a_connection_that_the_server_gave_up_is_replaced_unseen(http: HttpClient, server: Server) -> None:
    async def leave(writer: asyncio.StreamWriter) -> None:
        writer.close()

    await fetch(http, server)
    server.script.append(leave)  # the request and the farewell cross
    assert (await fetch(http, server)).body == b"hi"
    assert server.connections == 2


async def test_a_request_is_let_go_of_when_its_answer_begins(http: HttpClient, server: Server) -> None:
    may_end = asyncio.Event()

    async def slowly(writer: asyncio.StreamWriter) -> None:
        writer.write(OK[:-1])
        await may_end.wait()
        writer.write(OK[-1:])

    await fetch(http, server)
    server.script.append(slowly)
    asking = asyncio.create_task(fetch(http, server))  # on a connection that was used: it might have to be sent again
    await asyncio.sleep(0)
    (connection,) = http._open
    assert connection.unanswered.startswith(b"GET / ")
    while connection.unanswered:
        await asyncio.sleep(0.001)
    assert not asking.done()
    may_end.set()
    assert (await asking).body == b"hi"


async def test_a_new_connection_that_is_lost_is_no_reason_to_send_twice(http: HttpClient, server: Server) -> None:
    async def leave(writer: asyncio.StreamWriter) -> None:
        writer.close()

    server.script.append(leave)
    with pytest.raises(BrokenOff):
        await fetch(http, server)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "says",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n\x00\x01",
        b"HTTP/1.1 200 OK\r\n" + b"x: " + b"y" * (connection_module.MAX_HEAD + 1),
    ],
    ids=["another protocol", "wrong length", "wrong chunk", "upgrade", "endless header"],
)
async def test_what_is_no_answer_ends_the_exchange_and_the_connection(
    http: HttpClient, server: Server, says: bytes
) -> None:
    server.script.append(says)
    with pytest.raises(HttpFailure):
        await fetch(http, server)
    assert (await fetch(http, server)).body == b"hi"
    assert server.connections == 2


async def test_an_answer_that_nobody_asked_for_closes_the_connection(http: HttpClient, server: Server) -> None:
    server.script.append(OK + b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nextra")
    await fetch(http, server)
    assert (await fetch(http, server)).body == b"hi"
    assert server.connections == 2


async def test_an_answer_larger_than_expected_is_not_read(http: HttpClient, server: Server) -> None:
    server.script.append(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n" + b"x" * 1000)
    with pytest.raises(TooLarge):
        await fetch(http, server, max_body=100)


async def test_silence_ends_with_patience_and_the_connection_with_it(http: HttpClient, server: Server) -> None:
    async def nothing(_: asyncio.StreamWriter) -> None:
        await asyncio.sleep(5)

    server.script.append(nothing)
    with pytest.raises(TimeoutError):
        await fetch(http, server, timeout_s=0.1)
    await asyncio.sleep(0.01)
    assert http.busy == 0


def test_a_loop_that_keeps_another_time_gives_a_server_as_long() -> None:
    class WhileAsleep(asyncio.SelectorEventLoop):
        """As uvloop is on a Mac that has slept: its time has gone on, and `time.monotonic` has not."""

        def time(self) -> float:
            return super().time() + 10_000

    async def slowly(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.1)
        writer.write(OK)

    async def never(_: asyncio.StreamWriter) -> None:
        await asyncio.sleep(5)

    class Waits(Patience):
        def passed(self) -> Exception:
            return TimeoutError()

    class Gets:
        body = b""

        def head(self, head: Head) -> None:
            pass

        def data(self, data: bytes) -> None:
            self.body += data

    async def ask() -> None:
        scripted = Server()
        listening = await asyncio.start_server(scripted.serve, "127.0.0.1", 0)
        scripted.port = listening.sockets[0].getsockname()[1]
        async with opened(2) as http:
            scripted.script += [slowly, never]
            url, answer = f"http://127.0.0.1:{scripted.port}/", Gets()
            await http.exchange("GET", url, answer, connect_s=1, patience=Waits(time.monotonic() + 5))
            assert answer.body == b"hi"
            with pytest.raises(TimeoutError):
                await http.exchange("GET", url, answer, connect_s=1, patience=Waits(time.monotonic() + 0.1))
        listening.close()

    with asyncio.Runner(loop_factory=WhileAsleep) as runner:
        runner.run(ask())


async def test_who_finds_no_free_connection_waits_for_one(server: Server) -> None:
    async with opened(2) as http:
        replies = await asyncio.gather(*(fetch(http, server) for _ in range(20)))
        assert len(replies) == 20
        assert server.connections <= 2


async def test_who_waits_too_long_is_told_so_and_costs_nobody_a_turn(server: Server) -> None:
    free = asyncio.Event()

    async def wait(writer: asyncio.StreamWriter) -> None:
        await free.wait()
        writer.write(OK)

    server.script.append(wait)
    async with opened(1) as http:
        holding = asyncio.create_task(fetch(http, server))
        await asyncio.sleep(0.02)
        patient = asyncio.create_task(fetch(http, server))
        with pytest.raises(ConnectTimeout):
            await fetch(http, server, connect_s=0.05)
        free.set()
        assert (await holding).body == (await patient).body == b"hi"


async def test_who_waits_first_is_served_first(server: Server) -> None:
    free = asyncio.Event()

    async def wait(writer: asyncio.StreamWriter) -> None:
        await free.wait()
        writer.write(OK)

    server.script.append(wait)
    async with opened(1) as http:
        # The first opens the connection while the others get in line: that it is open now gives nobody a place.
        asked = [asyncio.create_task(fetch(http, server, f"/{number}")) for number in range(4)]
        await asyncio.sleep(0.05)
        free.set()
        await asyncio.gather(*asked)
    assert [request.split()[1] for request in server.requests] == [b"/0", b"/1", b"/2", b"/3"]


async def test_an_idle_connection_to_another_server_makes_room(server: Server) -> None:
    other = Server()
    listening = await asyncio.start_server(other.serve, "127.0.0.1", 0)
    other.port = listening.sockets[0].getsockname()[1]
    async with opened(1) as http:
        for each in (server, other, server):
            assert (await fetch(http, each)).body == b"hi"
    listening.close()


async def test_idle_connections_are_closed_in_time(
    http: HttpClient, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("amrikyy.http_client.client.KEEP_ALIVE_S", 0.05)
    await asyncio.gather(*(fetch(http, server) for _ in range(3)))
    assert len(http._open) == 3
    await asyncio.sleep(0.2)
    assert not http._open
    assert not http._idle


async def test_cancelling_closes_the_connection(http: HttpClient, server: Server) -> None:
    async def nothing(_: asyncio.StreamWriter) -> None:
        await asyncio.sleep(5)

    server.script.append(nothing)
    asking = asyncio.create_task(fetch(http, server))
    await asyncio.sleep(0.05)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await asyncio.sleep(0.01)
    assert http.busy == 0


@pytest.mark.parametrize("leaves", ["before the end", "after the end"])
async def test_who_leaves_when_the_answer_is_just_ending_takes_nobody_along(
    http: HttpClient, server: Server, leaves: str
) -> None:
    loop = asyncio.get_running_loop()
    asked: list[asyncio.Task[Reply]] = []

    class Leaving:
        def head(self, _: Head) -> None:
            pass

        def data(self, _: bytes) -> None:
            # The answer ends when this returns. Before the task that waited for it goes on, another has taken the
            # connection, and the first one is cancelled.
            asked.append(loop.create_task(fetch(http, server, "/second")))
            if leaves == "before the end":
                first.cancel()
            else:
                loop.call_soon(first.cancel)

    class Calm(Patience):
        def passed(self) -> Exception:
            return TimeoutError()

    url, calm = f"http://127.0.0.1:{server.port}/first", Calm(time.monotonic() + 5)
    first = loop.create_task(http.exchange("GET", url, Leaving(), connect_s=1, patience=calm))
    with pytest.raises(asyncio.CancelledError):
        await first

    assert (await asked[0]).body == b"hi"
    assert server.connections == 1


async def test_nobody_there_is_not_connected(http: HttpClient) -> None:
    with pytest.raises(NotConnected, match="ConnectionRefusedError"):
        await http.fetch("GET", "http://127.0.0.1:1/", connect_s=1, timeout_s=1, max_body=1)


async def test_a_closed_client_ends_what_goes_on_and_begins_nothing(server: Server) -> None:
    async def nothing(_: asyncio.StreamWriter) -> None:
        await asyncio.sleep(5)

    server.script.append(nothing)
    http = HttpClient()
    asking = asyncio.create_task(fetch(http, server))
    await asyncio.sleep(0.05)
    await http.close()
    with pytest.raises(NotConnected):
        await asking
    with pytest.raises(NotConnected):
        await fetch(http, server)


@pytest.mark.parametrize("value", ["a\r\nx-evil: 1", "a\nb", "a\0b", "snow\u2603"])
def test_a_header_cannot_carry_another(value: str) -> None:
    with pytest.raises(ValueError, match="'authorization'") as refused:
        encode_headers({"authorization": value})
    assert value not in str(refused.value)


@pytest.mark.parametrize("url", ["ftp://host/", "http://", "host/path", "file:///etc/passwd"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="http"):
        encode_request("GET", url, b"", None)


def test_an_ipv6_address_keeps_its_brackets() -> None:
    origin, request = encode_request("GET", "http://[::1]:8080/x", b"", None)
    assert origin == ("::1", 8080, False)
    assert b"host: [::1]:8080\r\n" in request


@given(st.text(max_size=50), st.text(max_size=50))
def test_no_path_breaks_the_request_line(path: str, query: str) -> None:
    try:
        _, request = encode_request("GET", f"http://host/{path}?{query}", b"", None)
    except ValueError:
        return  # urlsplit finds it no address at all
    line, *headers = request.split(b"\r\n")
    assert line.startswith(b"GET /")
    assert line.count(b" ") == 2
    assert headers == [b"host: host", b"", b""]
