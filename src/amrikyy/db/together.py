"""One query for all lookups at about the same time: a query costs a hundred times as much as one of its rows."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")

AT_MOST = 500
"""Keys in one query."""


class Together(Generic[K, V]):
    """Batches lookups: those that arrive while a query is in progress are answered by the next one.

    Args:
        ask: looks up the values of some distinct keys.
        pause_s: how long the first lookup waits for others.
    """

    def __init__(self, ask: Callable[[list[K]], Awaitable[Mapping[K, V]]], pause_s: float = 0) -> None:
        self._ask = ask
        self._pause_s = pause_s
        self._wanted: dict[K, asyncio.Future[V | None]] = {}
        self._asking: asyncio.Task[None] | None = None

    async def get(self, key: K) -> V | None:
        """The value of the key; None if there is none. Raises what `ask` raises."""
        answer = self._wanted.get(key)
        if answer is None:
            answer = self._wanted[key] = asyncio.get_running_loop().create_future()
        if self._asking is None:
            self._asking = asyncio.get_running_loop().create_task(self._ask_all())
        return await asyncio.shield(answer)

    async def _ask_all(self) -> None:
        try:
            while self._wanted:
                if self._pause_s:
                    await asyncio.sleep(self._pause_s)
                keys = list(self._wanted)[:AT_MOST]
                await self._answer({key: self._wanted.pop(key) for key in keys})
        finally:
            self._asking = None

    async def _answer(self, asked: dict[K, "asyncio.Future[V | None]"]) -> None:
        try:
            found = await self._ask(list(asked))
        except BaseException as error:
            for answer in asked.values():
                if not answer.done():
                    answer.set_exception(error if isinstance(error, Exception) else asyncio.CancelledError())
                    answer.exception()  # retrieved, in case all who asked have left
            if not isinstance(error, Exception):
                raise
            return
        for key, answer in asked.items():
            if not answer.done():
                answer.set_result(found.get(key))
