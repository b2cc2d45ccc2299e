"""What is written to the socket, for small applications that do one thing each."""

import asyncio
import dis
import json
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress

import pytest
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from amrikyy.web.connection import CONNECTION, Leaving
from amrikyy.web.endpoint import JsonBytes
from amrikyy.web.protocol import Cycle, Protocol
from amrikyy.web.server import Server

GET = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"


@asynccontextmanager
async def served(app: ASGIApp) -> AsyncIterator[Callable[..., "asyncio.Future[bytes]"]]:
    """A server, and a function that sends bytes and returns all that comes until the server closes or falls silent.

    Several pieces are sent 0.06 s apart.
    """
    config = uvicorn.Config(app, http=Protocol, ws="none", lifespan="off", log_config=None, server_header=False)
    server = uvicorn.Server(config)
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    serving = asyncio.create_task(server._serve([listening]))
    while not server.started:
        await asyncio.sleep(0.01)

    async def ask(first: bytes, *others: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        said = b""
        try:
            writer.write(first)
            for piece in others:
                await asyncio.sleep(0.06)
                writer.write(piece)
            async with asyncio.timeout(0.3):
                while more := await reader.read(65536):
                    said += more
        except TimeoutError:
            pass
        finally:
            writer.close()
        return said

    yield lambda *pieces: asyncio.ensure_future(ask(*pieces))
    server.should_exit = True
    await serving
    listening.close()


def responding(status: int, headers: list[tuple[bytes, bytes]], *bodies: bytes) -> ASGIApp:
    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": status, "headers": headers})
        for body in bodies:
            await send({"type": "http.response.body", "body": body, "more_body": True})
        await send({"type": "http.response.body"})

    return app


async def test_a_body_of_known_length_is_sent_as_it_is() -> None:
    async with served(JsonBytes(b"[1]")) as ask:
        head, _, body = (await ask(GET)).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"content-length: 3" in head
    assert b"chunked" not in head
    assert body == b"[1]"


async def test_a_body_of_unknown_length_is_chunked() -> None:
    async with served(responding(200, [], b"one", b"", b"three")) as ask:
        head, _, body = (await ask(GET)).partition(b"\r\n\r\n")
    assert b"transfer-encoding: chunked" in head
    assert body == b"3\r\none\r\n5\r\nthree\r\n0\r\n\r\n"


async def test_a_body_that_is_there_is_taken_and_never_that_of_another_request() -> None:
    how: list[str] = []

    async def echo(scope: Scope, receive: Receive, send: Send) -> None:
        body = scope[CONNECTION].take_body(scope)
        how.append("received" if body is None else "taken")
        if body is None:
            message = await receive()
            assert not message["more_body"]
            body = message["body"]
        assert scope[CONNECTION].take_body(scope) in (b"", None), "it is there once"
        await JsonBytes(body)(scope, receive, send)

    def post(body: bytes) -> bytes:
        return b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)

    async with served(echo) as ask:
        assert (await ask(post(b"[0]"))).endswith(b"[0]")
        answers = await ask(post(b"[1]") + post(b"[22]") + post(b"[333]"))
    assert [answer.partition(b"\r\n\r\n")[2] for answer in answers.split(b"HTTP/1.1 ")[1:]] == [
        b"[1]",
        b"[22]",
        b"[333]",
    ]
    assert how[0] == "taken"
    assert "received" in how, "of requests that were sent ahead"


@pytest.mark.parametrize("request_line", [b"HEAD / HTTP/1.1", b"GET / HTTP/1.1"])
async def test_what_has_no_body_has_none(request_line: bytes) -> None:
    status = 200 if request_line.startswith(b"HEAD") else 204
    async with served(responding(status, [])) as ask:
        said = await ask(request_line + b"\r\nhost: x\r\n\r\n")
    assert said.endswith(b"\r\n\r\n")
    assert b"chunked" not in said


async def test_requests_in_one_packet_are_answered_in_their_order() -> None:
    async with served(JsonBytes(b"[1]")) as ask:
        said = await ask(GET + GET + GET)
    assert said.count(b"HTTP/1.1 200 OK") == said.count(b"[1]") == 3


async def test_requests_are_read_as_they_were_sent() -> None:
    scopes: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scopes.append(scope)
        await JsonBytes(b"[1]")(scope, receive, send)

    async with served(app) as ask:
        said = await ask(b"PUT /a%20b/%2e?q=%20 HTTP/1.1\r\nX-One: 1\r\nx-one: 2\r\n\r\nGET /c HTTP/1.0\r\n\r\n")
    assert said.count(b"200 OK") == 2
    assert said.count(b"connection: close") == 1
    first, second = scopes
    assert (first["method"], first["path"], first["raw_path"]) == ("PUT", "/a b/.", b"/a%20b/%2e")
    assert (first["query_string"], first["http_version"]) == (b"q=%20", "1.1")
    assert first["headers"] == [(b"x-one", b"1"), (b"x-one", b"2")]
    assert (second["path"], second["query_string"], second["http_version"]) == ("/c", b"", "1.0")


@pytest.mark.parametrize(
    ("sent", "status", "path"),
    [
        (b"GET http://y/z?q HTTP/1.1\r\nhost: x\r\n\r\n", b"200", "/z"),
        (b"OPTIONS * HTTP/1.1\r\nhost: x\r\n\r\n", b"200", "*"),
        (b"GET /u HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n", b"200", "/u"),
        (b"GET /c HTTP/1.1\r\nhost: x\r\nconnection: upgrade, HTTP2-Settings\r\nupgrade: h2c\r\n\r\n", b"200", "/c"),
        (b"GET http://y HTTP/1.1\r\nhost: x\r\n\r\n", b"200", "/"),
        (b"GET http://y?a=1 HTTP/1.1\r\nhost: x\r\n\r\n", b"200", "/"),
        (b"CONNECT y:443 HTTP/1.1\r\nhost: x\r\n\r\n", b"400", None),
        (b"GET \x01 HTTP/1.1\r\nhost: x\r\n\r\n", b"400", None),
        (b"GET / HTTP/1.1\r\nhost x\r\n\r\n", b"400", None),
    ],
)
async def test_what_is_unusual_is_answered_as_http_has_it(sent: bytes, status: bytes, path: str | None) -> None:
    paths: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        paths.append(scope["path"])
        await JsonBytes(b"[1]")(scope, receive, send)

    async with served(app) as ask:
        assert (await ask(sent)).startswith(b"HTTP/1.1 " + status)
        assert (await ask(GET)).startswith(b"HTTP/1.1 200"), "others are served"
    assert paths == ([path] if path is not None else []) + ["/"]


@pytest.mark.parametrize(("taken", "most"), [(True, 20_000), (False, 100_000)])
async def test_a_body_that_comes_in_pieces_is_whole(taken: bool, most: int) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        body, more = b"", True
        if taken:
            while not scope[CONNECTION].has_whole_body:
                await asyncio.sleep(0.01)
            body, more = scope[CONNECTION].take_body(scope), False
        while more:
            message = await receive()
            body += message["body"]
            more = message["more_body"]
            await asyncio.sleep(0.1)  # two pieces come meanwhile
        await JsonBytes(body)(scope, receive, send)

    pieces = [b"a" * 30_000, b"b", b"", b"c" * most, b"d" * 5]
    head = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % sum(map(len, pieces))
    async with served(app) as ask:
        said = await ask(head + pieces[0], *pieces[1:])
    assert said.partition(b"\r\n\r\n")[2] == b"".join(pieces)


async def test_a_client_that_asks_before_it_sends_its_body_is_told_to_go_on() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        body = b""
        while (message := await receive())["body"] or message["more_body"]:
            body += message["body"]
            if not message["more_body"]:
                break
        await JsonBytes(body)(scope, receive, send)

    async with served(app) as ask:
        head = b"POST / HTTP/1.1\r\nhost: x\r\nexpect: 100-Continue\r\ncontent-length: 3\r\n\r\n"
        said = await ask(head, b"[7]")
    assert said.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n")
    assert said.endswith(b"[7]")


async def test_a_response_whose_head_cannot_be_sent_is_a_500() -> None:
    async with served(responding(200, [(b"x", b"a\r\nb: c")], b"[1]")) as ask:
        assert (await ask(GET)).startswith(b"HTTP/1.1 500")


def assigned(kind: type) -> set[str]:
    """The attributes that the initialiser of a class assigns."""
    return {each.argval for each in dis.get_instructions(vars(kind)["__init__"]) if each.opname == "STORE_ATTR"}


async def test_what_a_connection_holds_is_in_slots() -> None:
    """If this fails, uvicorn's attributes have changed, and ours must follow: in a dictionary they take 1.3 KB more."""
    given_by_us, given_by_uvicorn = assigned(Cycle), assigned(RequestResponseCycle)
    assert given_by_uvicorn - given_by_us == {"access_log", "access_logger"}, "which only its own `send` uses"
    kept: list[Mapping[str, object]] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await JsonBytes(b"[1]")(scope, receive, send)
        kept.extend([vars(scope[CONNECTION]), vars(scope[CONNECTION].cycle)])

    async with served(app) as ask:
        await ask(GET)
    assert kept == [{}, {}]


@pytest.mark.parametrize("early", [b"", GET[:1], GET[:20], GET])
async def test_a_connection_without_a_parser_understands_what_comes_next(early: bytes) -> None:
    has_parser: list[bool] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await asyncio.sleep(0.03)
        scope[CONNECTION].free_parser()
        has_parser.append(scope[CONNECTION].parser is not None)
        await asyncio.sleep(0.06)
        await send({"type": "http.response.body", "body": b"[1]"})

    async with served(app) as ask:
        said = await ask(GET + early, GET.removeprefix(early))
    assert said.count(b"HTTP/1.1 200 OK") == said.count(b"[1]") == 2
    assert has_parser[0] == (0 < len(early) < len(GET))


@pytest.mark.parametrize("frees", [True, False])
@pytest.mark.parametrize("pause_s", [0.0, 0.03, 0.1], ids=["before", "between", "after"])
async def test_what_is_no_http_never_gets_into_the_answer_before_it(pause_s: float, frees: bool) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        if frees:
            scope[CONNECTION].free_parser()
        await send({"type": "http.response.body", "body": b"[1,", "more_body": True})
        await asyncio.sleep(pause_s)
        await send({"type": "http.response.body", "body": b"2]"})

    async with served(app) as ask:
        said = await ask(GET, b"\x00\x01\x02\r\n\r\n")
        answer, refusal = b"3\r\n[1,\r\n2\r\n2]\r\n0\r\n\r\n", b"HTTP/1.1 400 Bad Request"
        assert said.count(answer) == 1
        assert said.partition(answer)[2].startswith(refusal) == (pause_s < 0.06)


async def test_what_is_no_http_is_told_so_like_every_other_mistake() -> None:
    async with served(JsonBytes(b"[1]")) as ask:
        head, _, body = (await ask(b"FOO /\r\n\r\n")).partition(b"\r\n\r\n")
    said = json.loads(body)
    assert head.startswith(b"HTTP/1.1 400 ")
    assert (said["success"], said["code"]) == (False, "malformed_request")
    assert f"x-request-id: {said['requestId']}".encode() in head
    assert b"content-length: %d\r\n" % len(body) in head + b"\r\n"


async def test_a_body_that_breaks_off_while_it_is_answered_breaks_the_connection() -> None:
    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"one", "more_body": True})
        await asyncio.sleep(0.1)

    head = b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
    async with served(app) as ask:
        said = await ask(head + b"2\r\nhi\r\n", b"zz\r\n")
    assert said.endswith(b"3\r\none\r\n")


async def test_a_body_of_unknown_length_ends_with_the_connection_of_http_1_0() -> None:
    async with served(responding(200, [], b"one", b"", b"three")) as ask:
        head, _, body = (await ask(b"GET / HTTP/1.0\r\n\r\n")).partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head
    assert b"connection: close" in head
    assert body == b"onethree"


async def test_what_follows_a_body_is_no_header_of_its_request() -> None:
    heard: list[list[tuple[bytes, bytes]]] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive()).get("more_body"):
            pass
        heard.append(list(scope["headers"]))
        await JsonBytes(b"[1]")(scope, receive, send)

    async with served(app) as ask:
        head = b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\ntrailer: x-api-key\r\n\r\n"
        await ask(head + b"2\r\nhi\r\n0\r\nx-api-key: stolen\r\n\r\n")
    assert heard == [[(b"host", b"x"), (b"transfer-encoding", b"chunked"), (b"trailer", b"x-api-key")]]


@pytest.mark.parametrize("old", [b"GET / HTTP/1.0\r\n\r\n", b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"])
async def test_a_client_that_wants_it_closed_gets_it_closed(old: bytes) -> None:
    async with served(JsonBytes(b"[1]")) as ask:
        said = await ask(old)
    assert b"connection: close" in said
    assert said.endswith(b"[1]")


@pytest.mark.parametrize("value", [b"a\r\nx-evil: 1", b"a\nb", b"a\rb", b"a\0b"])
async def test_a_header_cannot_carry_another(value: bytes) -> None:
    async with served(responding(200, [(b"x-name", value)])) as ask:
        said = await ask(GET)
    assert b"x-evil: 1" not in said
    assert b"x-name" not in said


@pytest.mark.parametrize("body", [b"", b"too long"])
async def test_a_body_that_is_not_as_long_as_promised_breaks_the_connection(body: bytes) -> None:
    async with served(responding(200, [(b"content-length", b"3")], body)) as ask:
        said = await ask(GET)
    assert b"too long" not in said


async def test_whoever_waits_is_told_at_once_that_the_client_has_left() -> None:
    left = asyncio.Event()
    seen: list[tuple[bool, bool]] = []

    async def app(scope: Scope, receive: Receive, _send: Send) -> None:
        leaving = Leaving(scope, receive, left.set)
        await asyncio.wait_for(left.wait(), 2)
        seen.append((leaving.has_left, leaving.may_stall))
        leaving.stop()

    async with served(app) as ask:
        asking = ask(GET)
        await asyncio.sleep(0.05)
        asking.cancel()
        await asyncio.wait_for(left.wait(), 1)
    assert seen == [(True, False)]


async def test_a_server_that_is_not_ours_is_asked_through_receive() -> None:
    messages: asyncio.Queue[dict[str, str]] = asyncio.Queue()
    left = asyncio.Event()
    leaving = Leaving({"type": "http"}, messages.get, left.set)
    await messages.put({"type": "http.request"})
    await asyncio.sleep(0.01)
    assert not leaving.has_left
    await messages.put({"type": "http.disconnect"})
    await asyncio.wait_for(left.wait(), 1)
    assert leaving.has_left


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nhost: x\r\n", GET + b"GET / HTT"])
async def test_who_sends_no_whole_head_in_time_is_cut_off(sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("amrikyy.web.protocol.HEAD_WITHIN_S", 0.2)
    monkeypatch.setattr("amrikyy.web.server.SWEEP_EVERY", 1)
    assert await _cut_off(sent, JsonBytes(b"[1]"), within_s=2)


async def test_who_waits_for_an_answer_is_not_cut_off_for_the_next_head(monkeypatch: pytest.MonkeyPatch) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(0.8)
        await JsonBytes(b"[1]")(scope, receive, send)

    monkeypatch.setattr("amrikyy.web.protocol.HEAD_WITHIN_S", 0.1)
    monkeypatch.setattr("amrikyy.web.server.SWEEP_EVERY", 1)
    assert not await _cut_off(GET + b"GET / HTT", app, within_s=0.5)


async def _cut_off(sent: bytes, app: ASGIApp, *, within_s: float) -> bool:
    """Whether our server closes a connection on which so much comes, and nothing more."""

    async def drain() -> None:
        pass

    config = uvicorn.Config(app, http=Protocol, ws="none", lifespan="off", log_config=None, timeout_keep_alive=1)
    server = Server(config, drain)
    listening = socket.create_server(("127.0.0.1", 0))
    serving = asyncio.create_task(server._serve([listening]))
    while not server.started:
        await asyncio.sleep(0.01)
    reader, writer = await asyncio.open_connection("127.0.0.1", listening.getsockname()[1])
    writer.write(sent)
    try:
        async with asyncio.timeout(within_s):
            with suppress(ConnectionError):
                while await reader.read(65536):
                    pass
        return True
    except TimeoutError:
        return False
    finally:
        writer.close()
        server.should_exit = True
        await serving
        listening.close()
