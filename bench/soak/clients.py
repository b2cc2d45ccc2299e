"""The clients: those that behave, and those that leave, stall, resume, send rubbish or may not call at all."""

import asyncio
import math
import random
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from itertools import count

from bench.candidates import API_KEY
from bench.soak.wire import Broken, Connection, request

JSON = "/api/agents/content/generateBlogPost"
FLIGHTS = "/api/agents/travel/searchFlights"
STREAM = "/api/stream/blog"
CREDENTIAL = {"x-api-key": API_KEY}
REPEATED = 40
MAX_OPEN = 2000
OVERSIZED = b'{"topic": "' + b"x" * 1_100_000 + b'"}'
RUBBISH = (
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # the beginning of TLS
    b"GET / HTTP/9.9\r\n\r\n",
    b"\x00\xff" * 200 + b"\r\n\r\n",
    b"POST /api/stream/blog HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
    b"POST /api/stream/blog HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
)

_numbers = count()


class Clients:
    """All clients. Their errands begin at random moments, at a steady rate.

    Attributes:
        unexpected: how often each answer came that a client of its kind must not get.
        counts: how many errands were begun, by kind.
        latencies_ms: latencies of the JSON calls, by the interval that they were due in.
    """

    def __init__(self, port: int, seed: int, interval_s: float) -> None:
        self._port = port
        self._random = random.Random(seed)  # noqa: S311 - no secret
        self._idle: list[Connection] = []
        self._open: set[asyncio.Task[None]] = set()
        self._interval_s = interval_s
        self._began = time.perf_counter()
        self.unexpected: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()
        self.latencies_ms: dict[int, list[float]] = defaultdict(list)
        behaving: dict[str, tuple[float, Callable[[], Awaitable[None]]]] = {
            "JSON calls": (36, self._json),
            "cached results": (22, self._cached),
            "identical requests at once": (1, self._identical),
            "streams": (10, self._stream),
        }
        self._behaving = behaving
        self._all = behaving | {
            "streams that are left": (5, self._leave),
            "readers that stall": (1, self._stall),
            "streams that are resumed": (6, self._resume),
            "workflows": (0.5, self._workflow),
            "wrong bodies": (6, self._wrong_body),
            "rubbish": (3, self._rubbish),
            "wrong credentials": (5, self._wrong_credential),
            "oversized bodies": (0.5, self._oversized),
            "requests that stop in the middle": (2, self._unfinished),
            "callers that leave before the answer": (2, self._impatient),
        }

    async def saturate(self, callers: int, seconds: float, *, most: float = math.inf) -> float:
        """Errands a second when this many well-behaved clients call as fast as they can, up to `most` errands."""
        names, weights = list(self._behaving), [weight for weight, _ in self._behaving.values()]
        until, done = time.perf_counter() + seconds, 0

        async def call() -> None:
            nonlocal done
            while time.perf_counter() < until and done < most:
                await self._behaving[self._random.choices(names, weights)[0]][1]()
                done += 1

        began = time.perf_counter()
        await asyncio.gather(*(call() for _ in range(callers)))
        return done / (time.perf_counter() - began)

    async def run(self, per_s: float, seconds: float) -> None:
        """Run errands of all kinds for `seconds`, each begun when it is due, and wait for the last one."""
        names, weights = list(self._all), [weight for weight, _ in self._all.values()]
        due = self._began = time.perf_counter()
        until = due + seconds
        while due < until:
            due += self._random.expovariate(per_s)
            if (early_s := due - time.perf_counter()) > 0:
                await asyncio.sleep(early_s)
            if len(self._open) >= MAX_OPEN:
                self.unexpected["not begun: too many errands are open"] += 1
                continue
            name = self._random.choices(names, weights)[0]
            self.counts[name] += 1
            task = asyncio.ensure_future(self._do(name, due))
            self._open.add(task)
            task.add_done_callback(self._open.discard)
        await asyncio.gather(*self._open)

    def close(self) -> None:
        """Close the connections that are kept open."""
        for each in self._idle:
            each.close()
        self._idle.clear()

    async def _do(self, name: str, due: float) -> None:
        try:
            await self._all[name][1]()
        except TimeoutError:
            self.unexpected[f"{name}: no answer in time"] += 1
        except (Broken, OSError) as error:
            self.unexpected[f"{name}: {error!r:.120}"] += 1
        if name == "JSON calls":
            interval = int((due - self._began) / self._interval_s)
            self.latencies_ms[interval].append((time.perf_counter() - due) * 1000)

    def _expect(self, name: str, status: int, *wanted: int, said: bytes = b"") -> None:
        if status not in wanted:
            self.unexpected[f"{name}: {status} {said[:150]!r}"] += 1

    def _blog(self) -> dict[str, str]:
        return {"topic": f"Night trains, number {next(_numbers)}", "length": "medium"}

    async def _ask(self, name: str, data: bytes, *wanted: int) -> bytes:
        """Send a request on a connection that is kept open; returns the answer's body."""
        connection = None
        while self._idle and (connection is None or connection.is_closed):
            connection = self._idle.pop()  # the server closes idle connections after a while
        if connection is None or connection.is_closed:
            connection = await Connection.open(self._port)
        try:
            connection.send(data)
            answer = await connection.answer()
        except BaseException:
            connection.close()
            raise
        if b"connection: close" in answer.head.lower():
            connection.close()
        else:
            self._idle.append(connection)
        self._expect(name, answer.status, *wanted, said=answer.body)
        return answer.body

    async def _json(self) -> None:
        await self._ask("JSON calls", request("POST", JSON, CREDENTIAL, self._blog()), 200)

    async def _cached(self) -> None:
        day = f"2100-02-{1 + self._random.randrange(28):02}"
        body = {"origin": "JFK", "destination": "LHR", "date": day}
        await self._ask("cached results", request("POST", FLIGHTS, CREDENTIAL, body), 200)

    async def _identical(self) -> None:
        data = request("POST", JSON, CREDENTIAL, self._blog())
        await asyncio.gather(*(self._ask("identical requests at once", data, 200) for _ in range(6)))

    async def _open_stream(self, name: str, data: bytes) -> Connection | None:
        connection = await Connection.open(self._port)
        connection.send(data)
        status, head = await connection.head()
        if status != 200:
            self._expect(name, status, 200, said=head)
            connection.close()
            return None
        return connection

    async def _read(
        self, name: str, data: bytes, *, until: int | None = None, pause_s: float = 0, after: int = 0
    ) -> str | None:
        """Read a stream to its end, or `until` events; returns the last event's id, or None if the stream ended."""
        connection = await self._open_stream(name, data)
        if connection is None:
            return None
        expected, last = after, ""
        try:
            async for event_id, event, said in connection.events():
                expected, last = expected + 1, event_id
                if event_id.rpartition(":")[2] != str(expected):
                    self.unexpected[f"{name}: event {event_id} where number {expected} was due"] += 1
                if event == "complete":
                    return None
                if event == "error":
                    self.unexpected[f"{name}: {said[:150]!r}"] += 1
                    return None
                if until is not None and expected - after >= until:
                    return last
                if pause_s and expected == after + 5:
                    await asyncio.sleep(pause_s)
            self.unexpected[f"{name}: a stream without an end"] += 1
        finally:
            connection.close()
        return None

    async def _stream(self) -> None:
        await self._read("streams", request("POST", STREAM, CREDENTIAL, self._blog()))

    async def _leave(self) -> None:
        name, events = "streams that are left", self._random.randint(1, 20)
        await self._read(name, request("POST", STREAM, CREDENTIAL, self._blog()), until=events)

    async def _stall(self) -> None:
        pause_s = self._random.uniform(2, 8)
        await self._read("readers that stall", request("POST", STREAM, CREDENTIAL, self._blog()), pause_s=pause_s)

    async def _resume(self) -> None:
        name, body = "streams that are resumed", self._blog()
        last = await self._read(name, request("POST", STREAM, CREDENTIAL, body), until=self._random.randint(1, 30))
        if last is not None:
            await asyncio.sleep(self._random.uniform(0, 1))
            again = request("POST", STREAM, {**CREDENTIAL, "Last-Event-ID": last}, body)
            await self._read(name, again, after=int(last.rpartition(":")[2]))

    async def _workflow(self) -> None:
        steps = [{"agent": "content", "method": "generateBlogPost", "params": self._blog()} for _ in range(2)]
        data = request("POST", "/api/coordinator/sequential", CREDENTIAL, {"steps": steps, "input": {}})
        await self._ask("workflows", data, 200)

    async def _wrong_body(self) -> None:
        bodies: list[object] = [
            {},
            {"topic": 7},
            {"topic": "x" * 5000},
            {"topic": "Trains", "more": 1},
            b"{not json",
            b"[" * 5000,
        ]
        wrong = self._random.choice(bodies)
        path = self._random.choice([JSON, STREAM])
        await self._ask("wrong bodies", request("POST", path, CREDENTIAL, wrong), 400)

    async def _wrong_credential(self) -> None:
        credential = self._random.choice([{}, {"x-api-key": "api_" + "0" * 32}, {"authorization": "Bearer a.b.c"}])
        await self._ask("wrong credentials", request("POST", JSON, credential, self._blog()), 401)

    async def _rubbish(self) -> None:
        connection = await Connection.open(self._port)
        try:
            connection.send(self._random.choice(RUBBISH))
            status, head = await connection.head()
            self._expect("rubbish", status, 400, 401, 404, 505, said=head)
        except (Broken, OSError):
            pass  # closed without a word, which is an answer, too
        finally:
            connection.close()

    async def _oversized(self) -> None:
        connection = await Connection.open(self._port)
        try:
            connection.send(request("POST", JSON, CREDENTIAL, OVERSIZED))
            answer = await connection.answer()
            self._expect("oversized bodies", answer.status, 413, said=answer.body)
        except Broken:
            pass  # it may be closed while most of the body is still on its way
        finally:
            connection.close()

    async def _unfinished(self) -> None:
        connection = await Connection.open(self._port)
        data = request("POST", JSON, CREDENTIAL, self._blog())
        connection.send(data[: self._random.randrange(len(data) - 1)])
        await asyncio.sleep(self._random.uniform(0, 3))
        connection.close()

    async def _impatient(self) -> None:
        connection = await Connection.open(self._port)
        connection.send(request("POST", JSON, CREDENTIAL, self._blog()))
        await asyncio.sleep(self._random.uniform(0, 0.01))
        connection.close()
