"""Avoids repeated work: reuses results, also of similar requests, and joins work in progress, here or elsewhere."""

import asyncio
from typing import Any, NamedTuple

import msgspec

from amrikyy.agents.agent import Operation, Request, encode_request
from amrikyy.agents.counts import count_usage
from amrikyy.agents.replay import entry_of, play
from amrikyy.agents.second_look import Look, SecondLook
from amrikyy.cache import Cache, CacheResult, Entry, key_of
from amrikyy.llm.models import Models
from amrikyy.runs.execution import Execution
from amrikyy.runs.run import Run, new_run_id
from amrikyy.runs.sharing import Leader, Lease, Sharing
from amrikyy.sealing import Sealer
from amrikyy.telemetry.metrics import Metrics


class Flight(msgspec.Struct, frozen=True):
    """An execution in progress that others may join. A stream does not join a JSON answer's, which has no partial
    events. A JSON answer joins a stream's, but only in the same process."""

    key: str
    streams: bool

    @property
    def name(self) -> str:
        """Its name, the same in all processes."""
        return f"{self.key}:{'stream' if self.streams else 'json'}"


class Found(msgspec.Struct, frozen=True):
    """What can be reused for a request.

    Attributes:
        entry: a result that answers it.
        stale: an outdated result, if there is no `entry`.
        flight: what others may join once it is executed; None if it need not be, or nothing may be reused.
        lease: the right to execute it for all processes, or who holds that.
        look: what was looked for by meaning.
    """

    entry: Entry | None = None
    stale: Entry | None = None
    flight: Flight | None = None
    lease: Lease | None = None
    look: Look | None = None

    @property
    def is_similar(self) -> bool:
        """Whether the result is that of a similar request."""
        return self.entry is not None and self.look is not None and self.look.entry is self.entry

    @property
    def leader(self) -> Leader | None:
        """The other process that is already executing it."""
        return self.lease.leader if self.lease is not None else None

    @property
    def word(self) -> CacheResult:
        """What was found, as a word for metrics and traces."""
        if self.entry is not None:
            return "similar" if self.is_similar else "hit"
        return "miss" if self.stale is None else "stale"


NOTHING = Found()


class Asked:
    """A query for what all processes share about a request: its cached result, and the lease on executing it.

    It is sent on creation; until it is answered or abandoned, others in this process that ask the same wait.
    """

    def __init__(
        self, asking: dict[Flight, asyncio.Event], cache: Cache, sharing: Sharing, flight: Flight, run_id: str
    ) -> None:
        self._asking = asking
        self._cache = cache
        self._flight = flight
        # In this order, because the previous holder of the lease may have left a result.
        self._claiming = sharing.claim(flight.name, run_id)
        self._getting = cache.ask(flight.key)
        asking[flight] = asyncio.Event()  # last: if one of the calls above failed, nobody would ever set it

    async def answer(self) -> tuple[Entry | None, Lease | None]:
        """The cached result, and the lease."""
        claiming, key = self._claiming, self._flight.key
        try:
            entry = await self._cache.get(key, self._getting)
            lease = await claiming.lease()
            if claiming.is_late and not _is_fresh(entry):
                entry = await self._cache.get(key)
            return entry, lease
        except BaseException:
            claiming.abandon()
            raise
        finally:
            self._asking.pop(self._flight).set()

    def abandon(self) -> None:
        """Give up the query: nobody needs the answer any more."""
        self._claiming.abandon()
        self._asking.pop(self._flight).set()


class Ahead(NamedTuple):
    """A query for a run that was sent before it was known whether the run may begin.

    Attributes:
        request: the request as JSON.
        key: the key under which its result is cached.
        run_id: the run's id.
        asked: the query.
    """

    request: bytes
    key: str
    run_id: str
    asked: Asked


class Reuse:
    """Finds what can be reused for a request; of identical requests at the same time, it lets only one do the work.

    Args:
        cache: results of earlier executions.
        second_look: finds results of similar requests, if they may be used.
        models: what makes the results: those of the offline model are kept apart.
        sealer: hashes requests, so that nobody who sees a key can tell what was asked.
        metrics: counts what looking uses.
    """

    def __init__(
        self, cache: Cache, second_look: SecondLook | None, models: Models, sealer: Sealer, metrics: Metrics
    ) -> None:
        self._cache = cache
        self._second_look = second_look
        self._models = models
        self._sealer = sealer
        self._metrics = metrics
        self._in_progress: dict[Flight, Execution] = {}
        self._asking: dict[Flight, asyncio.Event] = {}
        self._stopping = False

    def key_of(self, operation: Operation[Any, Any], request: bytes, owner: str) -> str:
        """The key under which a result is cached."""
        whose = None if operation.shared else owner
        return key_of(
            operation.agent, operation.name, operation.version, whose, request, self._sealer.fingerprint,
            offline=self._models.is_offline,
        )  # fmt: skip

    async def find(
        self,
        operation: Operation[Any, Any],
        request: bytes,
        key: str,
        *,
        streams: bool,
        run_id: str,
        sharing: Sharing,
        asked: "Asked | None" = None,
    ) -> Found:
        """Look in this process, then for similar requests, then in what all processes share.

        Args:
            operation: what would be run.
            request: the request as JSON.
            key: from `key_of`.
            streams: whether somebody would read the events as they come.
            run_id: the id under which it would be executed.
            sharing: coordinates it with other processes.
            asked: from `look_ahead`, for the same request.
        """
        entry, look = self._cache.at_hand(key), None
        if self._second_look is not None and not _is_fresh(entry):
            entry = await self._cache.get(key)
            if not _is_fresh(entry):
                look = await self._second_look.look(operation, key, request, self._cache)
                if look is not None and look.usage is not None:
                    count_usage(self._metrics, operation.agent, look.usage)
                entry = look.entry if look is not None and look.entry is not None else entry
        if entry is not None and entry.is_fresh:
            if asked is not None:
                asked.abandon()
            return Found(entry, look=look)
        flight, lease = Flight(key, streams), None
        if asked is not None:
            entry, lease = await asked.answer()
        elif sharing.is_alone and not self._cache.is_shared:
            if self._second_look is not None:
                entry = self._cache.at_hand(key)  # looking for similar ones took time, and it may be there by now
        else:
            entry, lease = await self._ask_others(sharing, flight, run_id)
        if entry is None or not entry.is_fresh:
            return Found(None, entry, flight, lease, look)
        # A lease of our own stays with what was found: others may be following it by now.
        return Found(entry, lease=lease if lease is not None and lease.leader is None else None, look=look)

    async def _ask_others(self, sharing: Sharing, flight: Flight, run_id: str) -> tuple[Entry | None, Lease | None]:
        """The result that all processes can find, and the lease on executing the request."""
        while asking := self._asking.get(flight):
            await asking.wait()  # somebody in this process is already asking
        entry = self._cache.at_hand(flight.key)
        if _is_fresh(entry) or self.in_progress(flight) is not None or self._stopping:
            return entry, None
        return await Asked(self._asking, self._cache, sharing, flight, run_id).answer()

    def look_ahead(
        self, operation: Operation[Any, Any], request: Request, owner: str, *, streams: bool, sharing: Sharing
    ) -> "Ahead | None":
        """Query what all processes share before it is known whether the request is allowed.

        None if this process already has the answer or is working on it, or cannot ask yet.
        """
        encoded = encode_request(request)
        key, run_id = self.key_of(operation, encoded, owner), new_run_id()
        flight = Flight(key, streams)
        if self._second_look is not None or self._stopping or flight in self._asking:
            return None
        if _is_fresh(self._cache.at_hand(key)) or self.in_progress(flight) is not None:
            return None
        return Ahead(encoded, key, run_id, Asked(self._asking, self._cache, sharing, flight, run_id))

    def in_progress(self, flight: Flight | None) -> Execution | None:
        """The execution in this process that such a request may join: a stream joins a stream, a JSON answer either."""
        if flight is None:
            return None
        # It is removed a moment after it has ended, and whoever joined it in between would never end.
        found = self._in_progress.get(flight)
        if found is not None and not found.ended:
            return found
        found = None if flight.streams else self._in_progress.get(Flight(flight.key, streams=True))
        return found if found is not None and not found.ended else None

    def begun(self, flight: Flight, execution: Execution) -> None:
        """Let others join the execution from now on."""
        self._in_progress[flight] = execution

    def ended(self, flight: Flight, execution: Execution) -> None:
        """Let nobody join the execution any more."""
        if self._in_progress.get(flight) is execution:
            del self._in_progress[flight]

    async def follow(
        self, operation: Operation[Any, Any], found: Found, run_id: str, execution: Execution, sharing: Sharing
    ) -> bool:
        """Let another process do the work, and show what it shows.

        Returns:
            False if it cannot finish, and no other process has done it: this one must, and has the lease.

        Raises:
            RunLost: it died in the middle of what it had shown.
            Unavailable: its progress cannot be seen.
        """
        flight, leader = found.flight, found.leader
        assert flight is not None
        assert leader is not None
        while not await sharing.follow(leader, execution):
            lease = await sharing.claim(flight.name, run_id, instead_of=leader).lease()
            if lease is None or lease.leader is None:
                sharing.lead(execution, lease)
                entry = await self._cache.get(flight.key)  # another process may have taken over before, and be done
                if entry is None or not entry.is_fresh:
                    return False
                play(operation, entry, execution)
                break
            leader = lease.leader
        return True

    def keep(self, operation: Operation[Any, Any], key: str, look: Look | None, execution: Execution) -> None:
        """Cache an execution's result for later runs."""
        self._cache.put(operation.agent, key, entry_of(operation, execution))
        if self._second_look is not None and look is not None:
            self._second_look.keep(look, key)

    def count(self, run: Run, *, asked: bool) -> None:
        """Count how a run got its result. `asked`: whether a reusable one was looked for."""
        result: CacheResult = "bypass"
        if asked:
            cached = run.execution.cached
            result = "similar" if cached == "similar" else "hit" if cached else "join" if run.joined else "miss"
        self._cache.count(run.agent, result)

    def count_stale(self, agent: str) -> None:
        """Count that no new result could be made, and an outdated one was served."""
        self._cache.count(agent, "stale")

    def stop(self) -> None:
        """Claim no more leases: what is not in progress will not begin."""
        self._stopping = True


def _is_fresh(entry: Entry | None) -> bool:
    return entry is not None and entry.is_fresh
