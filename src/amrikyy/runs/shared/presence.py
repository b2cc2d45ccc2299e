"""Shows other processes that this one is alive, and carries out their orders."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple, cast

import structlog

from amrikyy.errors import RedisUnavailable
from amrikyy.redis_link import RedisLink
from amrikyy.runs.live import LiveRuns
from amrikyy.runs.run import Reader, Run
from amrikyy.runs.shared.keys import Keys

log = structlog.get_logger(__name__)

BEAT_S = 0.25
"""Between two heartbeats; an order waits for at most this long."""

ALIVE_S = 3.0
"""How long a heartbeat is valid, and so how long after a process was killed its runs are known to be lost."""

HOLD_S = 3.0
"""How long a run is kept for a reader in another process after that one's last renewal."""

RENEW_S = 1.0
"""Between two renewals by a reader in another process."""

ORDERS_S = 60

AT_ONCE = 100
"""Orders that are carried out before the event loop has a turn."""


class Order(NamedTuple):
    """A request to another process: to cancel a run, to keep it for a reader, or to keep its execution for a joiner."""

    what: str
    run_id: str
    reason: str = ""


@dataclass(slots=True)
class _Held:
    """A reader, or a share in an execution, held for another process until the timer releases it."""

    timer: asyncio.TimerHandle
    reader: Reader | None = None
    place: Run | None = None


class Presence:
    """Renews the process' heartbeat, and carries out orders."""

    def __init__(self, link: RedisLink, keys: Keys, process: str, live: LiveRuns, *, grace_s: float) -> None:
        self._link = link
        self._keys = keys
        self._process = process
        self._live = live
        self._grace_s = grace_s
        self._held: dict[tuple[str, str], _Held] = {}
        link.watch(lambda state: self._show() if state.is_up else None)
        self._show()
        self._beating = asyncio.get_running_loop().create_task(self._beat(), name="run-presence")

    async def close(self) -> None:
        """Stop, and delete the heartbeat."""
        self._beating.cancel()
        with suppress(asyncio.CancelledError):
            await self._beating
        for held in self._held.values():
            held.timer.cancel()
        with suppress(RedisUnavailable):
            await self._link.send("DEL", self._keys.process(self._process))

    def order(self, process: str, order: Order) -> None:
        """Send an order to another process, which may be dead. One that is repeated takes no further place.

        Raises:
            RedisUnavailable: Redis is away.
        """
        key = self._keys.orders(process)
        self._link.tell("HSET", key, f"{order.what} {order.run_id}", order.reason)
        self._link.tell("PEXPIRE", key, ORDERS_S * 1000)

    def _show(self) -> None:
        with suppress(RedisUnavailable):
            self._link.tell("SET", self._keys.process(self._process), 1, "PX", int(ALIVE_S * 1000))

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(BEAT_S)
            self._show()
            with suppress(RedisUnavailable):
                await self._carry_out_all()

    async def _carry_out_all(self) -> None:
        key = self._keys.orders(self._process)
        told = cast("list[bytes]", await self._link.send("HGETALL", key))
        if not told:
            return
        for number, (order, reason) in enumerate(zip(told[::2], told[1::2], strict=True), 1):
            try:
                what, _, run_id = order.decode().partition(" ")
                self._carry_out(Order(what, run_id, reason.decode()))
            except Exception:  # or this process would be taken for dead
                log.exception("run_order_not_carried_out")
            if number % AT_ONCE == 0:
                await asyncio.sleep(0)
        # Only now: if Redis goes away here, all of them are carried out once more, which changes nothing.
        await self._link.send("HDEL", key, *told[::2])

    def _carry_out(self, order: Order) -> None:
        run = self._live.get(order.run_id)
        if run is None:
            return
        if order.what == "cancel":
            run.cancel(order.reason)
        elif not (run.execution.ended if order.what == "join" else run.ended):
            self._hold(order, run)

    def _hold(self, order: Order, run: Run) -> None:
        what = (order.what, order.run_id)
        timer = asyncio.get_running_loop().call_later(HOLD_S, self._give_back, what, run)
        if (held := self._held.get(what)) is not None:
            held.timer.cancel()
            held.timer = timer
        elif order.what == "join":
            # A run without an owner: while it follows the execution, that one goes on even if all others leave.
            place = Run("", run.agent, run.operation, b"{}", run.deadline_s, run.execution, joined=True)
            self._held[what] = _Held(timer, place=place)
            run.execution.watch()
        else:
            self._held[what] = _Held(timer, reader=run.read(run.event_count))

    def _give_back(self, what: tuple[str, str], run: Run) -> None:
        held = self._held.pop(what)
        if held.reader is not None:
            run.leave(held.reader, self._grace_s)
        if held.place is not None:
            held.place.cancel("Nobody elsewhere follows the execution any more.")
