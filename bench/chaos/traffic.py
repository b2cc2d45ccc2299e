"""The load: errands of many kinds, drawn by a seed, begun at a steady rate whether or not earlier ones have ended."""

import asyncio
import random
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Any

from bench.chaos.book import Accepted, Book
from bench.chaos.client import Client

JSON = "/api/agents/content/generateBlogPost"
FLIGHTS = "/api/agents/travel/searchFlights"
LIMITED = "/api/agents/content/generateVideoScript"
SEQUENTIAL = "/api/coordinator/sequential"
PARALLEL = "/api/coordinator/parallel"
REPEATED_AFTER_S = 3.0
ASYNC = "respond-async"
MAX_OPEN = 400
LIMITED_PER_S = 6.0

Errand = Callable[[], Awaitable[None]]


def new_mark() -> str:
    """A mark by which the model server recognises a call."""
    return f"mark-{secrets.token_hex(5)}"


def blog(mark: str) -> dict[str, Any]:
    """A request for a text that nobody has asked for before."""
    return {"topic": f"Night trains {mark}", "length": "short"}


class Traffic:
    """All clients together."""

    def __init__(self, caller: Client, limited: Client, admin: Client, seed: int, per_s: float) -> None:
        self._caller = caller
        self._limited = limited
        self._admin = admin
        self._book: Book = caller.book
        self._random = random.Random(seed)  # noqa: S311 - no secret
        self._per_s = per_s
        self._open: set[asyncio.Task[None]] = set()
        self._errands: dict[str, tuple[int, Errand]] = {
            "JSON calls": (24, self._json),
            "shared results": (12, self._flights),
            "streams": (16, self._stream),
            "streams left and resumed": (12, self._leave),
            "keyed calls, repeated": (12, self._keyed),
            "runs in the background": (8, self._background),
            "workflows": (6, self._workflow),
            "keyed workflows, repeated": (4, self._keyed_workflow),
            "API keys made and revoked": (2, self._key),
            "clients that leave for good": (4, self._abandon),
        }

    async def run(self, until: asyncio.Event) -> None:
        """Begin errands until told to stop; then wait for those in progress.

        Raises:
            Exception: an errand failed, and not because of what the server answered.
        """
        limited = asyncio.create_task(self._press_the_limit(until))
        names = list(self._errands)
        weights = [self._errands[name][0] for name in names]
        while not until.is_set():
            if len(self._open) < MAX_OPEN:
                name = self._random.choices(names, weights)[0]
                self._book.count(name)
                task = asyncio.ensure_future(self._errands[name][1]())
                self._open.add(task)
                task.add_done_callback(self._open.discard)
            else:
                self._book.count("errands not begun: too many open")
            await asyncio.sleep(self._random.expovariate(self._per_s))
        await limited
        await asyncio.gather(*self._open)

    async def _json(self) -> None:
        reply = await self._caller.ask("JSON calls", "POST", JSON, blog(new_mark()))
        if reply.ok:
            self._book.replied("JSON calls", reply.body)

    async def _flights(self) -> None:
        day = f"2100-01-{self._random.randint(1, 28):02}"
        body = {"origin": "JFK", "destination": "LHR", "date": day}
        bypass = {"cache_control": "no-cache"} if self._random.random() < 0.2 else {}
        reply = await self._caller.ask("shared results", "POST", FLIGHTS, body, **bypass)
        if reply.ok:
            self._book.replied("shared results", reply.body)

    async def _stream(self) -> None:
        await self._caller.stream("streams", blog(new_mark()))

    async def _leave(self) -> None:
        events, away_s = self._random.randint(1, 30), self._random.uniform(0.05, 2.0)
        await self._caller.stream("streams left and resumed", blog(new_mark()), leave_after=events, away_s=away_s)

    async def _abandon(self) -> None:
        errand, wait_s = "clients that leave for good", self._random.uniform(0.01, 0.1)
        task = asyncio.ensure_future(self._caller.ask(errand, "POST", JSON, blog(new_mark())))
        await asyncio.wait((task,), timeout=wait_s)
        if task.cancel():
            await asyncio.wait((task,))
            self._book.exchanges = [each for each in self._book.exchanges if each.ended_at or each.errand != errand]

    async def _keyed(self) -> None:
        errand, body, key = "keyed calls, repeated", blog(new_mark()), secrets.token_hex(8)
        reply = await self._caller.insist(errand, "POST", JSON, body, idempotency_key=key)
        if not reply.ok:
            return
        first = self._book.replied(errand, reply.body, promised=True)
        await asyncio.sleep(self._random.uniform(0, REPEATED_AFTER_S))
        again = await self._caller.insist(errand, "POST", JSON, body, idempotency_key=key)
        if again.ok and again.body["runId"] != first.run_id:
            self._book.broken.append(
                f"{errand}: the key stood for {first.run_id}, answered at {first.told_at:.2f}, and at "
                f"{again.began_at:.2f} for {again.body['runId']}"
            )
        elif again.ok and again.body["result"].get("text") != first.text:
            self._book.broken.append(f"{errand}: {first.run_id} had another result when it was asked for again")

    async def _background(self) -> None:
        errand = "runs in the background"
        reply = await self._caller.ask(errand, "POST", JSON, blog(new_mark()), prefer=ASYNC)
        if reply.status == 202:
            self._book.run(reply.body["runId"], errand, promised=True)

    async def _workflow(self) -> None:
        marks, path, body = self._plan()
        reply = await self._caller.ask("workflows", "POST", path, body, prefer=ASYNC)
        if reply.status == 202:
            self._accept(reply.body["workflowId"], marks)

    async def _keyed_workflow(self) -> None:
        errand, key = "keyed workflows, repeated", secrets.token_hex(8)
        marks, path, body = self._plan()
        reply = await self._caller.insist(errand, "POST", path, body, prefer=ASYNC, idempotency_key=key)
        if reply.status != 202:
            return
        workflow_id = reply.body["workflowId"]
        self._accept(workflow_id, marks)
        await asyncio.sleep(self._random.uniform(0, REPEATED_AFTER_S))
        again = await self._caller.insist(errand, "POST", path, body, prefer=ASYNC, idempotency_key=key)
        if again.ok and again.body["workflowId"] != workflow_id:
            self._accept(again.body["workflowId"], marks, instead_of=workflow_id)

    def _plan(self) -> tuple[list[str], str, dict[str, Any]]:
        marks = [new_mark() for _ in range(self._random.randint(2, 4))]
        steps = [{"agent": "content", "method": "generateBlogPost", "params": blog(mark)} for mark in marks]
        if self._random.random() < 0.3:
            return marks, PARALLEL, {"tasks": steps, "input": {}}
        return marks, SEQUENTIAL, {"steps": steps, "input": {}}

    def _accept(self, workflow_id: str, marks: list[str], instead_of: str | None = None) -> None:
        self._book.workflows[workflow_id] = Accepted(workflow_id, marks, time.time(), instead_of)

    async def _key(self) -> None:
        errand = "API keys made and revoked"
        reply = await self._admin.ask(errand, "POST", "/api/auth/keys", {"name": "chaos", "role": "user"})
        if reply.status != 201:
            return
        key, key_id = reply.body["key"], reply.body["info"]["id"]
        self._book.keys[key_id] = key
        if self._random.random() < 0.3:
            await asyncio.sleep(self._random.uniform(0, REPEATED_AFTER_S))
            reply = await self._admin.ask(errand, "DELETE", f"/api/auth/keys/{key_id}")
            if reply.ok:
                del self._book.keys[key_id]
                self._book.revoked[key_id] = (key, time.time())
            elif reply.status is None or reply.status >= 500:
                del self._book.keys[key_id]  # it may or may not have been revoked

    async def _press_the_limit(self, until: asyncio.Event) -> None:
        """Call as one caller who always asks for more than its limit."""
        tasks: set[asyncio.Task[None]] = set()
        while not until.is_set():
            task = asyncio.ensure_future(self._limited_call())
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            await asyncio.sleep(1 / LIMITED_PER_S)
        await asyncio.gather(*tasks)

    async def _limited_call(self) -> None:
        body = {"topic": f"Night trains {new_mark()}", "duration": 60}
        reply = await self._limited.ask("limited calls", "POST", LIMITED, body)
        self._book.count("limited calls")
        if reply.status is not None and reply.status != 429:
            self._book.admitted.append((reply.began_at, reply.ended_at))
            if reply.ok:
                self._book.replied("limited calls", reply.body)
        elif reply.status is None:
            self._book.count("limited calls whose fate is unknown")
