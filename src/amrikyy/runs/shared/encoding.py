"""What is written of runs in Redis, as MessagePack."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

import msgspec
from pydantic import BaseModel, ConfigDict

from amrikyy.errors import AmrikyyError, RunCancelled
from amrikyy.runs.events import Delta, Event
from amrikyy.runs.execution import Execution, Outcome, Spent
from amrikyy.runs.partial import Fold
from amrikyy.runs.run import Run


class End(msgspec.Struct, frozen=True, array_like=True):
    """What an execution's last event does not say."""

    result: bytes | None
    spent: Spent
    cached: Literal["", "hit", "stale", "similar"]


class Batch(msgspec.Struct, frozen=True, array_like=True):
    """Events that were stored together.

    Attributes:
        first: the number of the first of them.
        events: a partial one with the whole object so far, because what it grows into is known to its process alone.
        end: with the last event.
    """

    first: int
    events: list[Any]
    end: End | None


class RunNote(msgspec.Struct, frozen=True, array_like=True):
    """A run, without its events: they are its execution's, which the runs that joined it share.

    Attributes:
        execution: the id of the execution.
        process: who works on it.
        duration_s: None while it goes on.
        left_after: how many events the run had when it ended before its execution did; else None.
        left: the error that it ended with then.
        asked: the words that the request was planned from.
        whole: all events of its execution, where they were stored at once: then there is no stream of them.
    """

    execution: str
    process: str
    owner: str
    agent: str
    operation: str
    request: dict[str, Any]
    started_at: datetime
    joined: bool
    streams: bool
    duration_s: float | None
    left_after: int | None
    left: dict[str, Any] | None
    asked: str | None = None
    whole: Batch | None = None


class WholeObject(BaseModel):
    """What partial events from elsewhere grow into: each is the whole object so far, and valid already."""

    model_config = ConfigDict(extra="allow")


def note_of(run: Run, execution: str, process: str, *, whole: Batch | None = None) -> bytes:
    """A run as it is now, encoded. `whole`: with all events of its execution."""
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
            left=None if left is None or left.error is None else _fields(left.error),
            asked=run.asked,
            whole=whole,
        )
    )


def batch_of(execution: Execution, start: int, stop: int, wholes: Mapping[int, bytes]) -> Batch:
    """Events number start + 1 to stop, and the end if that is among them.

    Args:
        execution: whose.
        start: how many events come before.
        stop: the number of the last one.
        wholes: the encoded objects of partial events, by number, as far as they are known.
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
    """Do to an execution what another one's batch says. Events that it has already are left out."""
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


def error_of(fields: dict[str, Any]) -> AmrikyyError:
    """An error as it was raised elsewhere."""
    kind = RunCancelled if fields["code"] == RunCancelled.code else AmrikyyError
    error = kind(fields["message"], details=fields["details"], retry_after_s=fields["retry_after_s"])
    error.status, error.code, error.title = fields["status"], fields["code"], fields["title"]
    return error


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


def _fields(error: Any) -> dict[str, Any]:
    if not isinstance(error, AmrikyyError):
        raise NotImplementedError(f"no event holds a {type(error).__name__}")
    return {
        "status": error.status,
        "code": error.code,
        "title": error.title,
        "message": error.message,
        "details": error.details,
        "retry_after_s": error.retry_after_s,
    }


encode_batch = _encode = msgspec.msgpack.Encoder(enc_hook=_fields).encode
