"""Restores runs from their records: those of other processes, and those no longer in memory."""

import asyncio
import json

import msgspec

from amrikyy.errors import AmrikyyError, error_of
from amrikyy.runs.elsewhere import ExecutionElsewhere
from amrikyy.runs.events import Event
from amrikyy.runs.execution import Execution, Outcome, Spent
from amrikyy.runs.record import RunRecord
from amrikyy.runs.run import Run
from amrikyy.runs.store import RunRecords

POLL_S = 0.5
"""Seconds between two reads of the record of a run in another process."""


def restore(record: RunRecord) -> Run:
    """Restore a run from its record. Of its events, only the first and the last are left."""
    run = _copy(record, Execution())
    if record.ended:
        _end(run, record)
    return run


def follow(records: RunRecords, record: RunRecord) -> Run:
    """A local copy of a run in another process; it ends when its record says that the run has ended.

    Cancelling the copy only stops following the run.
    """
    execution = ExecutionElsewhere()
    run = _copy(record, execution, elsewhere=True)

    async def wait_for_end() -> None:
        try:
            while not run.ended:
                await asyncio.sleep(POLL_S)
                # Shielded: a cancellation in the middle of it would cost the pool a connection.
                latest = await asyncio.shield(records.get(record.id, owner=None))
                if latest.ended:
                    _end(run, latest)
        except AmrikyyError as error:
            execution.fail(error)

    execution.followed_by(lambda: asyncio.get_running_loop().create_task(wait_for_end(), name=f"follow-{run.id}"))
    return run


def _copy(record: RunRecord, execution: Execution, *, elsewhere: bool = False) -> Run:
    run = Run(
        owner=record.owner,
        agent=record.agent,
        operation=record.operation,
        request=msgspec.json.encode(record.request),
        deadline_s=0,
        execution=execution,
        elsewhere=elsewhere,
        parent_id=record.parent_id,
        id=record.id,
        started_at=record.started_at.timestamp(),
    )
    execution.append(Event("started"))
    if record.cached:
        execution.cached = "hit"
    return run


def _end(run: Run, record: RunRecord) -> None:
    run.execution.spent = Spent(
        record.input_tokens,
        record.output_tokens,
        record.cost_usd,
        record.usage_estimated,
        tuple(record.model.split(",")) if record.model else (),
    )
    if record.error is not None:
        run.execution.fail(error_of(record.error))
    else:
        run.execution.end(Event("completed"), Outcome(result=json.dumps(record.result).encode()))
    run.duration_s = (record.duration_ms or 0) / 1000
