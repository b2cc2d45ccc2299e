"""The model server of a chaos run: `python -m bench.chaos.model PORT JOURNAL`. It logs the mark in each prompt.

A line of the journal is `begin` or `end`, the number of the call, its mark and the time. It is written at once, so
that it survives a kill; `end` means that the last byte of the answer has been handed to the system.
"""

import asyncio
import os
import random
import re
import sys
import time
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import uvloop

from bench import model

MARK = re.compile(rb"mark-[0-9a-f]{10}")
NO_MARK = "-"
ANSWERS_AFTER_S = (0.03, 0.15)
MANNER = model.Manner(tokens=40, tokens_per_s=80)
ALL_AT_ONCE = re.compile(rb":generateContent")

_numbers = count(1)


class Connection(model.Connection):
    """Answers late, as models do, and writes the journal."""

    journal = -1
    manner = MANNER

    def _answer(self, line: bytes, body: bytes) -> None:
        if b"generateContent" not in line and b"GenerateContent" not in line:
            super()._answer(line, body)
            return
        found = MARK.search(body)
        self._call = (f"{os.getpid()}.{next(_numbers)}", found[0].decode() if found else NO_MARK)
        self._note("begin")
        if ALL_AT_ONCE.search(line):
            delay_s = random.uniform(*ANSWERS_AFTER_S)  # noqa: S311 - no secret
            self._timer = self._loop.call_later(delay_s, self._finish, line, body)
        else:
            super()._answer(line, body)

    def _finish(self, line: bytes, body: bytes) -> None:
        super()._answer(line, body)
        self._note("end")

    def _pace(self, pieces: list[bytes], pause_s: float, number: int, began: float) -> None:
        super()._pace(pieces, pause_s, number, began)
        if number == len(pieces) - 1:
            self._note("end")

    def _note(self, what: str) -> None:
        number, mark = self._call
        os.write(self.journal, f"{what} {number} {mark} {time.time():.6f}\n".encode())


@dataclass(slots=True)
class ModelCall:
    """One call that the model server saw, on the system's clock; `ended_at` is None if it was not answered in full."""

    mark: str
    began_at: float
    ended_at: float | None = None


def read_journal(path: Path) -> list[ModelCall]:
    """All calls with a mark, in order."""
    calls: dict[str, ModelCall] = {}
    for line in path.read_text().splitlines():
        what, number, mark, at = line.split()
        if what == "begin":
            calls[number] = ModelCall(mark, float(at))
        else:
            calls[number].ended_at = float(at)
    return [call for call in calls.values() if call.mark != NO_MARK]


async def serve(port: int) -> None:
    """Serve until the process is ended."""
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    Connection.journal = os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    uvloop.run(serve(int(sys.argv[1])))
