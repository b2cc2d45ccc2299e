"""One client: requests with a deadline, each noted in the book; streams that are resumed where they broke off."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp

from bench.chaos.book import CLOSED, HUNG, REFUSED, Book, Exchange

DEADLINE_S = 30.0
"""Seconds within which every request must be answered, whatever is broken; one that is not counts as hung."""

BETWEEN_TRIES_S = 0.3
GIVES_UP_AFTER_S = 120.0


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer; if `status` is None, there was none."""

    status: int | None
    body: Any
    headers: Mapping[str, str]
    began_at: float
    ended_at: float

    @property
    def ok(self) -> bool:
        """Whether the request succeeded."""
        return self.status is not None and self.status < 400


class Client:
    """Sends requests to the server with one API key."""

    def __init__(self, http: aiohttp.ClientSession, url: str, key: str, book: Book) -> None:
        self._http = http
        self._url = url
        self._key = key
        self.book = book

    async def ask(self, errand: str, method: str, path: str, body: Any = None, **headers: str) -> Reply:
        """Send one request and read the whole answer."""
        exchange = self._begin(errand)
        reply_headers: Mapping[str, str] = {}
        content: Any = None
        try:
            async with self._request(method, path, body, headers) as reply:
                exchange.status, reply_headers = reply.status, reply.headers
                content = await reply.json(content_type=None)
        except TimeoutError:
            exchange.status, exchange.code = None, HUNG
        except aiohttp.ClientConnectorError as error:
            exchange.status, exchange.code, exchange.said = None, REFUSED, repr(error)[:200]
        except (aiohttp.ClientError, OSError, ValueError) as error:
            exchange.status, exchange.code, exchange.said = None, CLOSED, repr(error)[:200]
        exchange.ended_at = time.time()
        if exchange.status is not None and exchange.status >= 400:
            exchange.code = content.get("code") if isinstance(content, dict) else "no body"
            exchange.said = str(content)[:300]
            exchange.retry_after = "retry-after" in reply_headers
        return Reply(exchange.status, content, reply_headers, exchange.began_at, exchange.ended_at)

    async def insist(self, errand: str, method: str, path: str, body: Any = None, **headers: str) -> Reply:
        """Repeat a request until the answer is anything but a 5xx, or for `GIVES_UP_AFTER_S`."""
        until = time.monotonic() + GIVES_UP_AFTER_S
        while True:
            reply = await self.ask(errand, method, path, body, **headers)
            if (reply.status is not None and reply.status < 500) or time.monotonic() > until:
                return reply
            wait_s = float(reply.headers.get("retry-after", BETWEEN_TRIES_S)) if reply.status else BETWEEN_TRIES_S
            await asyncio.sleep(min(wait_s, 5.0))

    async def stream(self, errand: str, body: Any, *, leave_after: int | None = None, away_s: float = 0.0) -> None:
        """Read a stream to its end, whatever happens to the connection; after `leave_after` events, reconnect once."""
        reading = Reading(errand, self.book)
        path, until = "/api/stream/blog", time.monotonic() + GIVES_UP_AFTER_S
        while not reading.ended:
            if time.monotonic() > until:
                self.book.broken.append(f"{errand}: the stream of {reading.run_id} could not be read to its end")
                return
            exchange = self._begin(errand)
            resuming = {"last_event_id": reading.last_id} if reading.last_id else {}
            method, target, sent = ("GET", f"/api/stream/{reading.run_id}", None) if resuming else ("POST", path, body)
            try:
                async with self._request(method, target, sent, resuming) as reply:
                    exchange.status = reply.status
                    if reply.status == 200:
                        await reading.read(reply, leave_after)
                    elif reply.status == 204:
                        reading.ended = True
                        reading.violation("204 though its end was not received")
                    else:
                        content = await reply.json(content_type=None)
                        exchange.code, exchange.said = content["code"], str(content)[:300]
                        exchange.retry_after = "retry-after" in reply.headers
            except TimeoutError:
                exchange.code = HUNG
            except aiohttp.ClientConnectorError as error:
                exchange.code, exchange.said = REFUSED, repr(error)[:200]
            except (aiohttp.ClientError, OSError, ValueError) as error:
                exchange.code, exchange.said = CLOSED, repr(error)[:200]
            exchange.ended_at = time.time()
            exchange.run_began_at = reading.began_at
            if reading.error is not None:
                exchange.code, exchange.streamed, exchange.said = reading.error, True, f"{reading.run_id}"
            if exchange.status == 410 or (exchange.status == 404 and resuming):
                reading.gone(exchange.status)
            elif exchange.code is None and leave_after is not None and not reading.ended:
                self.book.count("streams left and taken up again")
                leave_after = None
                await asyncio.sleep(away_s)
            elif not reading.ended:
                if not resuming and exchange.status is not None and 400 <= exchange.status < 500:
                    return
                await asyncio.sleep(BETWEEN_TRIES_S)

    def _begin(self, errand: str) -> Exchange:
        exchange = Exchange(errand, time.time())
        self.book.exchanges.append(exchange)
        return exchange

    @asynccontextmanager
    async def _request(
        self, method: str, path: str, body: Any, headers: Mapping[str, str]
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        sent = {name.replace("_", "-"): value for name, value in headers.items()} | {"x-api-key": self._key}
        async with (
            asyncio.timeout(DEADLINE_S),
            self._http.request(method, self._url + path, json=body, headers=sent) as reply,
        ):
            yield reply


class Reading:
    """What a client has received of a stream, over all its connections."""

    def __init__(self, errand: str, book: Book) -> None:
        self._errand = errand
        self._book = book
        self._numbers: list[int] = []
        self._text: list[str] = []
        self.began_at = time.time()
        self.run_id = ""
        self.last_id = ""
        self.ended = False
        self.error: str | None = None

    async def read(self, reply: aiohttp.ClientResponse, leave_after: int | None) -> None:
        """Read events until the end, or until there are `leave_after` of them."""
        buffered = b""
        async for chunk in reply.content.iter_any():
            buffered += chunk
            *blocks, buffered = buffered.split(b"\n\n")
            for block in blocks:
                if not block.startswith(b":"):
                    self._take(block)
            if self.ended or (leave_after is not None and len(self._numbers) >= leave_after):
                return

    def gone(self, status: int) -> None:
        """Note that the run can no longer be resumed."""
        self.ended = True
        self._book.run(self.run_id, self._errand).status = f"gone {status}"

    def violation(self, what: str) -> None:
        """Note that a promise about streams was broken."""
        self._book.broken.append(f"{self._errand}: {self.run_id}: {what}; events {self._numbers}")

    def _take(self, block: bytes) -> None:
        fields = dict(line.split(b": ", 1) for line in block.split(b"\n"))
        name, data = fields[b"event"].decode(), json.loads(fields[b"data"])
        if name == "reconnect":
            self._book.count("reconnect events")
            return
        event_id = fields[b"id"].decode()
        run_id, _, number = event_id.rpartition(":")
        if self.run_id and run_id != self.run_id:
            self.violation(f"an event of another run, {event_id}")
        if int(number) != (self._numbers[-1] + 1 if self._numbers else 1):
            self.violation(f"event {number} came out of its turn")
        self.run_id, self.last_id = run_id, event_id
        self._numbers.append(int(number))
        told = self._book.run(run_id, self._errand)
        if name == "token":
            self._text.append(data["chunk"])
        elif name == "complete":
            self.ended = True
            self._book.replied(self._errand, {"runId": run_id, **data})
            if self._text and told.text is not None and "".join(self._text).strip() != told.text.strip():
                self.violation(f"its text is not what its tokens are: {told.text[:80]!r}")
        elif name == "error":
            self.ended, self.error = True, data["code"]
            told.status, told.told_at = f"error {data['code']}", time.time()
