"""Writes the events of this process' executions to Redis, in small batches, before readers are shown them."""

import asyncio
from contextlib import suppress

import structlog
from msgspec import field

from amrikyy.errors import RedisRefused, RedisUnavailable
from amrikyy.redis_link import Argument, LinkState, RedisLink, Reply, Script
from amrikyy.runs.events import Event
from amrikyy.runs.execution import Execution
from amrikyy.runs.run import Run
from amrikyy.runs.shared.encoding import batch_of, encode_batch, note_of
from amrikyy.runs.shared.keys import Keys
from amrikyy.runs.sharing import Lease
from amrikyy.sealing import Sealer

log = structlog.get_logger(__name__)

BATCH_S = 0.02
"""Between two writes. A token is delayed by at most this; at 100 tokens/s two or three share a round trip."""

MAX_BATCH = 1000
"""Events in one entry of the stream."""

MAX_ENTRIES = 100_000
"""Entries of a stream: the most that a run of half an hour writes."""

MAX_BEHIND = 1000
"""Ended executions that wait for Redis to come back. Of those beyond, other processes only have the record."""

CLOSE_S = 1.0

QUIET_S = 0.25
"""A run of which only the end matters is published if it takes longer than this, or if somebody reads it."""

APPEND = Script.of("""
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
local have = last[1] and tonumber(string.match(last[1][1], '^%d+')) or 0
if have ~= tonumber(ARGV[1]) or ARGV[1] == ARGV[2] then return have end
redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[5], ARGV[2] .. '-0', 'b', ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return tonumber(ARGV[2])
""")
"""Adds events ARGV[1] + 1 to ARGV[2], if ARGV[1] events are stored. Returns how many are stored then.

An entry's id is the number of its last event, so that one whose reply was lost is not written twice, and everything is
written again to a Redis that has lost it. As long as nothing went wrong, XADD alone does the same for a third of Redis'
time: it accepts no id twice, and with NOMKSTREAM only the first entry creates the stream.
"""


class LoggedExecution(Execution, eq=False, kw_only=True):
    """An execution whose events are shown once they are stored, or at once while Redis is away.

    Attributes:
        run_log: what stores its events.
        id: the id that it is stored under: that of the run that started it.
        noted: its runs by id.
        is_told: it is published to other processes: a stream always, others if they are long or read, or at their end.
        stored: how many events Redis is known to have.
        is_split: some events were sent as entries of a stream, not all at once with the run.
        is_doubtful: Redis may have more or fewer events than `stored`.
        shown: how many readers may have.
        wholes: the objects of partial events that are not stored yet, by number.
        lease: the lease on its request, if other processes can join it.
    """

    run_log: "RunLog"
    id: str
    noted: dict[str, Run] = field(default_factory=dict)
    is_told: bool
    stored: int = 0
    is_split: bool = False
    is_doubtful: bool = False
    shown: int = 0
    wholes: dict[int, bytes] = field(default_factory=dict)
    lease: Lease | None = None

    @property
    def readable(self) -> int:
        """How many events may be shown."""
        return self.shown

    def append(self, event: Event) -> None:
        """Add an event; readers are woken once it is stored."""
        self.events.append(event)
        if event.kind == "partial" and (latest := self.latest_partial) and latest[0] == len(self.events):
            self.wholes[latest[0]] = latest[1]
        if self.outcome is not None:
            if self.is_told:
                self.run_log.grown(self)
            else:
                self.watch()
            self.wake()  # those who only wait for the end need not wait for Redis
        elif self.is_told:
            self.run_log.grown(self)

    def extend(self, events: list[Event]) -> None:
        """Add several events at once."""
        self.events += events
        if self.is_told:
            self.run_log.grown(self)

    @property
    def is_whole(self) -> bool:
        """Whether it has ended, and all its events can be stored at once, with the run that started it."""
        return self.ended and not self.is_split and len(self.events) <= MAX_BATCH

    def watch(self) -> None:
        """Publish it to other processes, and store its events as they come."""
        if not self.is_told:
            self.is_told = True
            self.run_log.tell(self)

    def show(self, count: int) -> None:
        """Show readers the first `count` events."""
        if count > self.shown:
            self.shown = count
            self.wake()


class RunLog:
    """Writes new events soon after they come. While Redis is away nobody waits; it gets what it missed afterwards.

    Args:
        link: a connection other than the limiter's, whose decisions a batch must not delay.
        keys: the names of keys.
        process: the name of this process.
        sealer: seals what is written.
        keep_s: how long a finished run can be read.
        timeout_s: how long a run may take.
    """

    def __init__(
        self,
        link: RedisLink,
        keys: Keys,
        process: str,
        sealer: Sealer,
        *,
        keep_s: float,
        timeout_s: float,
    ) -> None:
        self._link = link
        self._keys = keys
        self._process = process
        self._sealer = sealer
        self._running_ms = int(1000 * (timeout_s + keep_s)) + 1
        self._keep_ms = int(1000 * keep_s) + 1
        self._open: dict[str, LoggedExecution] = {}
        self._grown: dict[str, LoggedExecution] = {}
        self._notes: dict[str, tuple[Run, LoggedExecution]] = {}
        self._quiet: dict[str, tuple[float, LoggedExecution]] = {}
        self._telling: asyncio.TimerHandle | None = None
        self._work = asyncio.Event()
        self._urgent = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        link.watch(self._link_changed)
        self._writer = asyncio.get_running_loop().create_task(self._write_forever(), name="run-log")

    def note(self, run: Run) -> None:
        """Write the state of a run, as it is at the time of the next write, if its execution is published."""
        execution = run.execution
        if not isinstance(execution, LoggedExecution):
            return
        execution.noted[run.id] = run
        if not execution.is_told:
            self._keep_quiet(execution)
        elif self._link.state.is_up:
            self._notes[run.id] = (run, execution)
            self._wake()

    def tell(self, execution: LoggedExecution) -> None:
        """Publish an execution to other processes from now on."""
        self._quiet.pop(execution.id, None)
        for run in list(execution.noted.values()):
            self.note(run)
        if execution.events:
            self.grown(execution)

    def grown(self, execution: LoggedExecution) -> None:
        """Note that an execution has new events."""
        self._open[execution.id] = execution
        if self._link.state.is_up:
            self._grown[execution.id] = execution
            self._wake()
            if execution.streams and execution.ended:  # a cached result is a whole stream: its reader need not wait
                self._urgent.set()
        else:
            execution.show(len(execution.events))

    async def close(self) -> None:
        """Write what is left, and stop."""
        if self._telling is not None:
            self._telling.cancel()
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await self._idle.wait()
        self._writer.cancel()
        with suppress(asyncio.CancelledError):
            await self._writer

    def _wake(self) -> None:
        if not self._work.is_set():  # nearly always it is, by what else is in the batch
            self._idle.clear()
            self._work.set()

    def _keep_quiet(self, execution: LoggedExecution) -> None:
        loop = asyncio.get_running_loop()
        self._quiet.setdefault(execution.id, (loop.time() + QUIET_S, execution))
        if self._telling is None:
            self._telling = loop.call_later(QUIET_S, self._tell_due)

    def _tell_due(self) -> None:
        now, self._telling = asyncio.get_running_loop().time(), None
        for due, execution in list(self._quiet.values()):
            if due > now:
                self._telling = asyncio.get_running_loop().call_at(due, self._tell_due)
                return
            execution.watch()

    def _link_changed(self, state: LinkState) -> None:
        if not state.is_up:
            for execution in self._open.values():
                execution.show(len(execution.events))
            return
        for execution in self._open.values():  # Redis may have lost everything
            execution.is_doubtful = True
            self._grown[execution.id] = execution
            self._notes |= {run.id: (run, execution) for run in execution.noted.values()}
        self._wake()

    async def _write_forever(self) -> None:
        while True:
            await self._work.wait()
            self._work.clear()
            try:
                await self._write()
            except Exception:
                log.exception("run_log_crashed")
                for execution in self._open.values():
                    execution.show(len(execution.events))
            if not self._work.is_set():
                self._idle.set()
            timer = asyncio.get_running_loop().call_later(BATCH_S, self._urgent.set)
            await self._urgent.wait()
            timer.cancel()
            self._urgent.clear()

    async def _write(self) -> None:
        grown, self._grown = self._grown, {}
        notes, self._notes = self._notes, {}
        sent: list[tuple[LoggedExecution, int, asyncio.Future[Reply]]] = []
        try:
            for run, execution in notes.values():
                if run.id != execution.id or not execution.is_whole:
                    expire_ms = self._running_ms if run.duration_s is None else self._keep_ms
                    note = note_of(run, execution.id, self._process)
                    self._link.tell(*self._set(run.id, note, expire_ms))
            for execution in grown.values():
                stop = min(len(execution.events), execution.stored + MAX_BATCH)
                if stop > execution.stored or execution.is_doubtful:
                    sent.append((execution, stop, self._send(execution, stop)))
        except RedisUnavailable:
            self._notes = notes | self._notes
        for execution, stop, reply in sent:
            try:
                stored = await reply
            except RedisRefused as error:
                if error.message.startswith("NOSCRIPT"):
                    with suppress(RedisUnavailable):
                        await self._link.send("SCRIPT", "LOAD", APPEND.source)
                elif execution.is_doubtful:
                    log.error("run_not_stored", run_id=execution.id, reason=error.message)
                    execution.stored = stop
                execution.is_doubtful = True
            except RedisUnavailable:
                pass
            else:
                # XADD with NOMKSTREAM replies with nil if the stream is gone.
                execution.stored = stored if isinstance(stored, int) else 0 if stored is None else stop
                execution.is_doubtful = execution.stored != stop
        for execution in grown.values():
            self._show(execution)

    def _send(self, execution: LoggedExecution, stop: int) -> "asyncio.Future[Reply]":
        """Write events up to number `stop`: with the run if those are all events, else as an entry of a stream."""
        batch = batch_of(execution, execution.stored, stop, execution.wholes)
        if execution.is_whole:
            note = note_of(execution.noted[execution.id], execution.id, self._process, whole=batch)
            return self._link.send(*self._set(execution.id, note, self._keep_ms))
        key = self._keys.events(execution.id)
        sealed = self._sealer.seal(encode_batch(batch), key, stop)
        is_first, execution.is_split = not execution.is_split, True
        is_last = execution.ended and stop == len(execution.events)
        expire_ms = self._keep_ms if is_last else self._running_ms
        if execution.is_doubtful:
            args = (execution.stored, stop, sealed, expire_ms, MAX_ENTRIES)
            return self._link.send(b"EVALSHA", APPEND.sha, 1, key, *args)
        options = () if is_first else (b"NOMKSTREAM", b"MAXLEN", b"~", MAX_ENTRIES)
        added = self._link.send(b"XADD", key, *options, f"{stop}-0", b"b", sealed)
        if is_first or is_last:
            self._link.tell(b"PEXPIRE", key, expire_ms)
        return added

    def _set(self, run_id: str, note: bytes, expire_ms: int) -> tuple[Argument, ...]:
        key = self._keys.run(run_id)
        return b"SET", key, self._sealer.seal(note, key), b"PX", expire_ms

    def _show(self, execution: LoggedExecution) -> None:
        all_of_them = len(execution.events)
        if not self._link.state.is_up:
            execution.show(all_of_them)
            self._forget_some()
            return
        execution.show(execution.stored)
        execution.wholes = {number: whole for number, whole in execution.wholes.items() if number > execution.stored}
        if execution.stored < all_of_them:
            self.grown(execution)
        elif execution.ended and self._open.pop(execution.id, None) is not None:
            execution.noted = {}  # breaks a reference cycle, which would wait for the garbage collector

    def _forget_some(self) -> None:
        ended = [execution for execution in self._open.values() if execution.ended]
        for execution in ended[: max(0, len(ended) - MAX_BEHIND)]:
            del self._open[execution.id]
