"""Records what happens in the workflows of this process: in one transaction whatever happens at the same time."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import structlog

from amrikyy.errors import Unavailable
from amrikyy.workflows.records import Claim, Ending, Kind, Note, Superseded, Unrecorded, Write, note_of
from amrikyy.workflows.store import WorkflowStore

log = structlog.get_logger(__name__)

RETRY_AFTER_S = 1.0

BATCH = 50
BATCH_BYTES = 4_000_000
"""Workflows and bytes of one transaction, so that none waits long for the others."""


class Journal:
    """Writes for all workflows of this process. What happens while a transaction runs goes into the next.

    Args:
        store: where it is written.
        wake: told the id of each workflow of which something was written.
    """

    def __init__(self, store: WorkflowStore, wake: Callable[[str], None]) -> None:
        self._store = store
        self._wake = wake
        self._waiting: dict[Transcript, None] = {}
        self._writer: asyncio.Task[None] | None = None

    def open(self, claim: Claim) -> "Transcript":
        """What happens from now on in a workflow that this process has claimed."""
        return Transcript(claim, self._write_soon)

    async def close(self) -> None:
        """Write what is left, if that is possible now."""
        if self._writer is not None:
            await asyncio.wait([self._writer], timeout=RETRY_AFTER_S)
            self._writer.cancel()
            await asyncio.gather(self._writer, return_exceptions=True)

    def _write_soon(self, transcript: "Transcript") -> None:
        self._waiting[transcript] = None
        if self._writer is None or self._writer.done():
            self._writer = asyncio.get_running_loop().create_task(self._write_all(), name="workflows-journal")

    async def _write_all(self) -> None:
        while self._waiting:
            batch = self._next_batch()
            writes = [each.take() for each in batch]
            for each, lost in zip(batch, await self._write(writes), strict=True):
                each.written(lost)
                self._wake(each.claim.record.id)

    def _next_batch(self) -> list["Transcript"]:
        batch: list[Transcript] = []
        size = 0
        for each in self._waiting:
            size += each.size
            if batch and (size > BATCH_BYTES or len(batch) == BATCH):
                break
            batch.append(each)
        for each in batch:
            del self._waiting[each]
        return batch

    async def _write(self, writes: Sequence[Write]) -> list[BaseException | None]:
        """Write, for as long as it takes: a workflow does not fail because the database was away."""
        again = False
        while True:
            try:
                good = await self._store.record(writes, again=again)
            except Unavailable as error:
                if not again:
                    log.warning("workflow_waits_for_database", reason=error.message)
                again = True
                await asyncio.sleep(RETRY_AFTER_S)
            except Exception:
                if len(writes) == 1:
                    log.exception("workflow_not_written", workflow_id=writes[0].claim.record.id)
                    return [Unrecorded()]
                return [(await self._write([each]))[0] for each in writes]  # one of them is to blame, and only that one
            else:
                return [None if each else Superseded() for each in good]


class Transcript:
    """What happens in one workflow, written in this order.

    Attributes:
        size: of what is to be written, in bytes.
    """

    def __init__(self, claim: Claim, write_soon: Callable[["Transcript"], None]) -> None:
        self.claim = claim
        self.size = 0
        self._write_soon = write_soon
        self._notes: list[Note] = []
        self._ending: Ending | None = None
        self._lost: BaseException | None = None
        self._kept = asyncio.Event()
        self._kept.set()

    def note(self, kind: Kind, path: str, data: Any) -> None:
        """Have something written, together with whatever else happens until the loop's next turn."""
        if self._lost is None:
            note = note_of(kind, path, data)
            self._notes.append(note)
            self.size += len(note.data)
            self._wants_writing()

    async def kept(self) -> None:
        """Wait until everything so far is written.

        Raises:
            Superseded: it never will be: the workflow is another process's.
            Unrecorded: it never will be, by a mistake of ours.
        """
        await self._kept.wait()
        if self._lost is not None:
            raise self._lost

    async def end(self, ending: Ending) -> None:
        """Write the end, after all that was noted.

        Raises:
            Superseded, Unrecorded: as for `kept`.
        """
        if self._lost is None:
            self._ending = ending
            self._wants_writing()
        await self.kept()

    def take(self) -> Write:
        """What is to be written now."""
        write = Write(self.claim, tuple(self._notes), self._ending)
        self._notes, self._ending, self.size = [], None, 0
        return write

    def written(self, lost: BaseException | None) -> None:
        """What was taken is written; or `lost`, with whatever came after it."""
        self._lost = self._lost or lost
        if self._lost is not None or not (self._notes or self._ending):
            self._kept.set()

    def _wants_writing(self) -> None:
        self._kept.clear()
        self._write_soon(self)
