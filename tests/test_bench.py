"""The parts of the bench that could be wrong without anybody noticing."""

import asyncio
from itertools import pairwise
from typing import cast

import pytest
from bench.calls import Call
from bench.ladder.open_loop import arrivals, put_rate
from bench.summary import quantile

REQUEST = b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n"


def test_a_quantile_is_a_value_that_so_many_do_not_exceed() -> None:
    values = [float(number) for number in range(100, 0, -1)]
    assert [quantile(values, share) for share in (0.01, 0.5, 0.99, 0.999, 1)] == [1, 50, 99, 100, 100]
    assert quantile([7.0], 0.5) == 7
    with pytest.raises(ValueError, match="no values"):
        quantile([], 0.5)


def test_arrivals_come_at_the_rate_independent_of_one_another_and_the_same_each_time() -> None:
    due = list(arrivals(1000, 20))
    assert len(due) == pytest.approx(20_000, rel=0.03)
    assert due == sorted(due)
    assert due[-1] < 20
    gaps = [after - before for before, after in pairwise(due)]
    assert quantile(gaps, 0.5) == pytest.approx(0.000693, rel=0.05)  # ln 2: exponential
    assert due == list(arrivals(1000, 20))


class Stalled(asyncio.Protocol):
    """A server that answers nobody until a quarter of a second after the first request."""

    opens_at = 0.0

    def __init__(self, status: bytes) -> None:
        self._answer = b"HTTP/1.1 %b\r\ncontent-length: 2\r\n\r\n{}" % status

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        assert data == REQUEST
        loop = asyncio.get_running_loop()
        Stalled.opens_at = Stalled.opens_at or loop.time() + 0.25
        loop.call_at(Stalled.opens_at, self._transport.write, self._answer)


@pytest.mark.parametrize(("status", "errors"), [(b"200 OK", False), (b"503 Unavailable", True)])
async def test_a_server_that_stalls_is_charged_for_everybody_who_came_meanwhile(
    status: bytes, errors: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.ladder.open_loop.MAX_CONNECTIONS", 4)  # the others cannot even be sent
    loop = asyncio.get_running_loop()
    Stalled.opens_at = 0.0
    server = await loop.create_server(lambda: Stalled(status), "127.0.0.1", 0)
    async with server:
        load = await put_rate(server.sockets[0].getsockname()[1], lambda: REQUEST, 400, 0.15)
    offered = len(list(arrivals(400, 0.15)))
    assert load.offered == offered
    assert load.errors == (offered if errors else 0)
    assert len(load.latencies_ms) == (0 if errors else offered)
    # A caller who waits for its answer would have met the stall once.
    assert all(latency_ms > 95 for latency_ms in load.latencies_ms)


def test_each_request_of_a_call_is_another_as_json_and_as_a_form() -> None:
    as_json = Call("/", {"message": "number {n}"}).requests({"x-api-key": "k"})
    as_form = Call("/", {"message": "number {n}", "stream": "true"}, form=True).requests({})
    bodies = [request().partition(b"\r\n\r\n") for request in (as_json, as_json, as_form)]
    assert bodies[0][2] != bodies[1][2]
    assert b"x-api-key: k\r\n" in bodies[0][0]
    assert b"application/x-www-form-urlencoded" in bodies[2][0]
    assert bodies[2][2].startswith(b"message=number+0")
    assert bodies[2][2].endswith(b"&stream=true")
    for head, _, body in bodies:
        assert f"Content-Length: {len(body)}".encode() in head
