"""What is stored in Redis about runs, as MessagePack."""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec
from pydantic import BaseModel, ConfigDict

from amrikyy.errors import AmrikyyError, error_of
from amrikyy.runs.events import Delta, Event
from amrikyy.runs.execution import Execution, Outcome, Spent
from amrikyy.runs.partial import Fold
from amrikyy.runs.run import Run


class End(msgspec.Struct, frozen=True, array_like=True):
    """What is stored with an execution's last event, which does not contain it."""

    result: bytes | None
    spent: Spent
    cached: Literal["", "hit", "stale", "similar"]


class Batch(msgspec.Struct, frozen=True, array_like=True):
    """Events that were stored together.

    Attributes:
        first: the number of the first one.
        events: partial ones contain the whole object so far, because only their own process knows the model of it.
        end: None unless the last event is among them.
    """

    first: int
    events: list[Any]
    end: End | None


class RunNote(msgspec.Struct, frozen=True, array_like=True):
    """A run without its events, which belong to its execution and are shared by the runs that joined it.

    Attributes:
        execution: the id of the execution.
        process: the name of the process that works on it.
        duration_s: None while it is in progress.
        left_after: how many events the run had when it ended before its execution did; else None.
        left: the error that it ended with in that case.
        asked: the words that the request was planned from.
        whole: all events of its execution if they were stored at once, in which case there is no stream of them.
    """

    execution: str
    process: str
    owner: str
    agent: str
    operation: str
    request: bytes
    started_at: float
    joined: bool
    streams: bool
    duration_s: float | None
    left_after: int | None
    left: dict[str, Any] | None
    asked: str | None = None
    whole: Batch | None = None


class WholeObject(BaseModel):
    """The model of partial events from other processes: each is the whole object so far, already validated."""

    model_config = ConfigDict(extra="allow")


def note_of(run: Run, execution: str, process: str, *, whole: Batch | None = None) -> bytes:
    """The encoded note of a run in its present state; `whole` has all events of its execution."""
    left = run.left
    return _encode(
        RunNote(
            execution=execution,
            process=process,
            owner=run.owner,
            agent=run.agent,
            operation=run.operation,
            request=run.request,
            started_at=run.started_at,
            joined=run.joined,
            streams=run.execution.streams,
            duration_s=run.duration_s,
            left_after=run.event_count - 1 if left is not None else None,
            left=None if left is None or left.error is None else left.error.record,
            asked=run.asked,
            whole=whole,
        )
    )


def batch_of(execution: Execution, start: int, stop: int, wholes: Mapping[int, bytes]) -> Batch:
    """Events number `start` + 1 to `stop`, with the end if the last event is among them.

    Args:
        execution: the execution that they belong to.
        start: how many events come before.
        stop: the number of the last one.
        wholes: the encoded objects of partial events by event number, as far as they are known.
    """
    outcome, end = execution.outcome, None
    if outcome is not None and stop == len(execution.events):
        end = End(outcome.result, execution.spent, execution.cached)
    events = execution.events[start:stop]
    for index, event in enumerate(events):
        if event.kind == "partial":
            whole = wholes.get(start + index + 1) or _folded(execution, start + index)
            events[index] = Event("partial", Delta(whole.decode(), restarts=True))
    return Batch(start + 1, events, end)


def _folded(execution: Execution, index: int) -> bytes:
    assert execution.partial_type is not None, "a partial event says what it grows into before it is in the log"
    fold = Fold(execution.partial_type)
    for number, event in enumerate(execution.events[: index + 1], 1):
        if event.kind == "partial":
            fold.feed(event.data, execution.partial_types.get(number))
    return fold.encoded()


def add_batch(execution: Execution, batch: Batch) -> None:
    """Apply a batch from another process to a local execution, skipping the events that it already has."""
    fresh = batch.events[len(execution.events) + 1 - batch.first :]
    events = [_event(kind, data) for kind, data in fresh]
    execution.partial_type = WholeObject
    if batch.end is None or not events:
        execution.extend(events)
        return
    execution.cached = batch.end.cached
    execution.spent = batch.end.spent
    execution.extend(events[:-1])
    last = events[-1]
    execution.end(last, Outcome(result=batch.end.result, error=last.data))


decode_note = msgspec.msgpack.Decoder(RunNote).decode
decode_batch = msgspec.msgpack.Decoder(Batch).decode


def _event(kind: Any, data: Any) -> Event:
    match kind:
        case "partial":
            return Event(kind, Delta(*data))
        case "progress":
            return Event(kind, tuple(data))
        case "failed" | "cancelled":
            return Event(kind, error_of(data))
        case _:
            return Event(kind, data)


def _record(error: Any) -> dict[str, Any]:
    if not isinstance(error, AmrikyyError):
        raise NotImplementedError(f"no event holds a {type(error).__name__}")
    return error.record


encode_batch = _encode = msgspec.msgpack.Encoder(enc_hook=_record).encode
