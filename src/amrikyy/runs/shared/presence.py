"""That this process lives, and what the others ask of it."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import cast

import msgspec
import structlog

from amrikyy.errors import RedisUnavailable
from amrikyy.redis_link import RedisLink
from amrikyy.runs.live import LiveRuns
from amrikyy.runs.run import Reader, Run
from amrikyy.runs.shared.keys import Keys

log = structlog.get_logger(__name__)

BEAT_S = 0.25
"""Between two signs of life; an order waits so long at most."""

ALIVE_S = 3.0
"""How long a sign of life holds: so much later the runs of a process that was killed are known to be lost."""

HOLD_S = 3.0
"""How long a run is kept for a reader elsewhere after that one's last word."""

RENEW_S = 1.0
"""Between two words of a reader elsewhere."""

ORDERS_S = 60
MAX_ORDERS = 100


class Order(msgspec.Struct, frozen=True, array_like=True):
    """What one process asks of another: to cancel a run; to keep it, as it is read; to keep what other runs joined."""

    what: str
    run_id: str
    reason: str = ""


@dataclass(slots=True)
class _Held:
    """What was taken for others, until the timer gives it back."""

    timer: asyncio.TimerHandle
    reader: Reader | None = None
    place: Run | None = None


class Presence:
    """Shows that the process lives, and follows orders."""

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
        """Say that the process goes."""
        self._beating.cancel()
        with suppress(asyncio.CancelledError):
            await self._beating
        for held in self._held.values():
            held.timer.cancel()
        with suppress(RedisUnavailable):
            await self._link.send("DEL", self._keys.process(self._process))

    def order(self, process: str, order: Order) -> None:
        """Ask another process for something; it may be gone.

        Raises:
            RedisUnavailable: nobody can be asked.
        """
        key = self._keys.orders(process)
        self._link.tell("RPUSH", key, _encode(order))
        self._link.tell("PEXPIRE", key, ORDERS_S * 1000)

    def _show(self) -> None:
        with suppress(RedisUnavailable):
            self._link.tell("SET", self._keys.process(self._process), 1, "PX", int(ALIVE_S * 1000))

    async def _beat(self) -> None:
        key = self._keys.orders(self._process)
        while True:
            await asyncio.sleep(BEAT_S)
            self._show()
            try:
                ordered = self._link.send("LRANGE", key, 0, MAX_ORDERS - 1)
                if orders := cast("list[bytes]", await ordered):
                    await self._link.send("LTRIM", key, len(orders), -1)
            except RedisUnavailable:
                continue
            for encoded in orders:
                try:
                    self._follow(_decode(encoded))
                except msgspec.DecodeError:
                    log.warning("run_order_unreadable")
                except Exception:  # or this process would be taken for dead
                    log.exception("run_order_not_followed")

    def _follow(self, order: Order) -> None:
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
            # A run of nobody's: as long as it follows the execution, that goes on without those who left.
            place = Run("", run.agent, run.operation, {}, run.deadline_s, run.execution, joined=True)
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


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Order).decode
