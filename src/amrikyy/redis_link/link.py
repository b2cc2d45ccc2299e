"""The link to Redis: reconnected in the background, so that nobody waits for a Redis that is unreachable."""

import asyncio
import os
import random
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from hashlib import sha1
from typing import Any, NamedTuple

from amrikyy.errors import RedisRefused, RedisUnavailable
from amrikyy.redis_link.address import RedisAddress
from amrikyy.redis_link.journal import LinkJournal
from amrikyy.redis_link.wire import GRACE_S, Argument, OnError, Reply, Wire, pack

DEADLINE_S = 0.05
"""How long a reply may take before Redis counts as unreachable."""

DOUBT_S = 0.1
"""How long a connection with a longer deadline has to reply once another one has had no reply."""

CONNECT_TIMEOUT_S = 1.0
FIRST_RETRY_S = 0.05
LAST_RETRY_S = 2.0

STEADY_S = 5.0
"""A link that was up this long reconnects quickly; one that breaks sooner waits longer each time."""


@dataclass(frozen=True, slots=True)
class Script:
    """A Lua script that Redis runs atomically."""

    source: str
    sha: str

    @classmethod
    def of(cls, source: str) -> "Script":
        """The script with this source."""
        return cls(source, sha1(source.encode(), usedforsecurity=False).hexdigest())

    def on(self, keys: Sequence[str], args: Sequence[Argument]) -> "Prepared":
        """The script with what it is run on, which may be run again and again."""
        given = len(keys), *keys, *args
        return Prepared(pack((b"EVALSHA", self.sha, *given)), (b"EVAL", self.source, *given))


class Prepared(NamedTuple):
    """A script with its keys and arguments, as it is sent; and with its source, for a Redis that does not have it."""

    packed: bytes
    with_source: tuple[Argument, ...]


@dataclass(frozen=True, slots=True)
class LinkState:
    """Whether Redis answers.

    Attributes:
        reason: why it does not; empty if it does.
        since: the monotonic time of the last change.
    """

    is_up: bool
    reason: str
    since: float = field(default_factory=time.monotonic)


class RedisLink:
    """One connection for many callers, with a deadline of tens of milliseconds for each reply.

    It is its own circuit breaker: while it is down every command fails at once, and a background task reconnects until
    Redis has shown, within the deadline, that it accepts writes.

    Args:
        address: where Redis is.
        scripts: loaded on each connection, for `run`.
        deadline_s: how long a reply may take.
        journal: shared by all links to the same Redis; by default, the link has its own.
        prefix: of the key that it writes as a test.

    Attributes:
        state: whether Redis answers.
    """

    def __init__(
        self,
        address: RedisAddress,
        *,
        scripts: Sequence[Script] = (),
        deadline_s: float = DEADLINE_S,
        journal: LinkJournal | None = None,
        prefix: str = "amrikyy",
    ) -> None:
        self.address = address
        self._scripts = scripts
        self._deadline_s = deadline_s
        self._journal = journal or LinkJournal(address)
        self._name = f"amrikyy-{os.getpid()}"
        self._trial_key = f"{prefix}:link:{self._name}"
        self._wire: Wire | None = None  # while Redis is up
        self._watchers: list[Callable[[LinkState], None]] = []
        self._connected_at = 0.0
        self._lost = asyncio.Event()
        self._tried = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.state = LinkState(is_up=False, reason="not connected yet")

    async def start(self) -> None:
        """Connect, and if that fails, keep trying in the background; returns after the first attempt."""
        self._task = asyncio.get_running_loop().create_task(self._keep_up(), name="redis-link")
        await self._tried.wait()

    async def close(self) -> None:
        """Close the connection and stop trying."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    def watch(self, watcher: Callable[[LinkState], None]) -> None:
        """Have `watcher` called at once at each change; it must neither block nor raise."""
        self._watchers.append(watcher)

    def send(self, *command: Argument) -> asyncio.Future[Reply]:
        """Send a command after all that were sent before it.

        Raises:
            RedisUnavailable: Redis is unreachable (at once), or its reply did not come in time (from the future).
            RedisRefused: the reply is an error (from the future).
        """
        if self._wire is None:
            raise self._away()
        return self._wire.send(*command)

    def tell(self, *command: Argument, on_error: OnError | None = None) -> None:
        """Send a command whose reply nobody waits for, after all that were sent before it, and within milliseconds.

        Args:
            command: what is sent.
            on_error: called if the reply is an error; not if none comes.

        Raises:
            RedisUnavailable: Redis is unreachable.
        """
        if self._wire is None:
            raise self._away()
        self._wire.tell(*command, on_error=on_error)

    def doubt(self) -> None:
        """Test this link, as another has had no reply: without one soon, it is closed before its own deadline."""
        wire, loop = self._wire, asyncio.get_running_loop()
        if wire is None:
            return

        def look(*, again: bool) -> None:
            if not answer.done():
                if again:  # as a wire does: perhaps our own process was busy
                    loop.call_later(GRACE_S, lambda: look(again=False))
                else:
                    wire.close(f"no reply within {DOUBT_S * 1000:.0f} ms")

        with suppress(RedisUnavailable):
            answer = wire.send(b"PING")
            answer.add_done_callback(lambda done: done.cancelled() or done.exception())
            loop.call_later(DOUBT_S, lambda: look(again=True))

    async def run(self, script: Script, keys: Sequence[str], args: Sequence[Argument]) -> Reply:
        """Run a script in one round trip. Raises what `send` raises."""
        return await self.begin(script.on(keys, args))

    def begin(self, prepared: Prepared) -> Coroutine[Any, Any, Reply]:
        """Send a prepared script now; the coroutine that is returned waits for its reply. Raises what `send` raises."""
        if self._wire is None:
            raise self._away()
        return self._reply(self._wire.send_packed(prepared.packed), prepared)

    async def _reply(self, sent: "asyncio.Future[Reply]", prepared: Prepared) -> Reply:
        try:
            return await sent
        except RedisRefused as error:
            if not error.message.startswith("NOSCRIPT"):  # it was loaded, but somebody flushed all scripts
                raise
        return await self.send(*prepared.with_source)

    def tell_script(self, script: Script, keys: Sequence[str], args: Sequence[Argument]) -> None:
        """Run a script whose reply nobody waits for, after all that was sent before it. Raises what `tell` raises."""

        def look(error: RedisRefused) -> None:
            if error.message.startswith("NOSCRIPT"):
                with suppress(RedisUnavailable):
                    self.tell(b"EVAL", script.source, len(keys), *keys, *args)

        self.tell(b"EVALSHA", script.sha, len(keys), *keys, *args, on_error=look)

    def _away(self) -> RedisUnavailable:
        return RedisUnavailable(f"Redis is not available: {self.state.reason}")

    async def ping(self) -> float:
        """Seconds that a reply takes. Raises what `send` raises."""
        began = time.perf_counter()
        await self.send(b"PING")
        return time.perf_counter() - began

    async def _keep_up(self) -> None:
        failures = 0
        try:
            while True:
                self._lost.clear()
                try:
                    await self._connect()
                except (OSError, ValueError, RedisUnavailable) as error:  # a TimeoutError is an OSError
                    self._change(up=False, reason=str(error) or f"no connection within {CONNECT_TIMEOUT_S:g} s")
                    self._tried.set()
                else:
                    self._change(up=True)
                    self._tried.set()
                    await self._lost.wait()
                    if time.monotonic() - self._connected_at > STEADY_S:
                        failures = 0
                pause_s = min(FIRST_RETRY_S * 2**failures, LAST_RETRY_S)
                failures = min(failures + 1, 10)
                await asyncio.sleep(pause_s * random.uniform(0.5, 1))  # noqa: S311 - so that not all come back at once
        finally:
            self._tried.set()
            self.state = LinkState(is_up=False, reason="the link was closed")
            if (wire := self._wire) is not None:
                wire.close(self.state.reason)
                await wire.closed

    async def _connect(self) -> None:
        """Open a connection, and use it once Redis has shown that it accepts writes.

        Raises:
            OSError, RedisUnavailable: no connection could be made.
        """
        address, loop = self.address, asyncio.get_running_loop()
        wire = Wire(self._deadline_s, self._on_lost)
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                if address.path is not None:
                    await loop.create_unix_connection(lambda: wire, address.path)
                else:
                    await loop.create_connection(lambda: wire, address.host, address.port, ssl=address.tls)
                auth = ("AUTH", address.username or "default", address.password) if address.password else ()
                greeting = [wire.send("HELLO", 2, *auth, "SETNAME", self._name)]
                if address.db:
                    greeting.append(wire.send("SELECT", address.db))
                greeting += [wire.send("SCRIPT", "LOAD", script.source) for script in self._scripts]
                # A replica, a full server and one with a failing disk answer a PING, too.
                greeting.append(wire.send("SET", self._trial_key, 1, "PX", 1000))
                await asyncio.gather(*greeting)
                if self._lost.is_set():
                    raise RedisUnavailable("the connection was lost at once")
        except BaseException:
            wire.close("no connection was made")
            raise
        self._wire = wire
        self._connected_at = time.monotonic()

    def _on_lost(self, reason: str) -> None:
        self._lost.set()
        self._wire = None
        if self.state.is_up:
            self._change(up=False, reason=reason)

    def _change(self, *, up: bool, reason: str = "") -> None:
        before = self.state
        if up == before.is_up and self._tried.is_set():
            self.state = replace(before, reason=reason)
            return
        self.state = LinkState(up, reason)
        if up:
            self._journal.up(self)
        else:
            self._journal.down(self, reason)
        for watcher in self._watchers:
            watcher(self.state)
