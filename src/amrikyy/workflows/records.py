"""What is recorded of a workflow: what it is to do, its numbered events, and its end."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Literal, get_args

from sqlalchemy import Row

from amrikyy.errors import AmrikyyError
from amrikyy.runs.run import new_run_id
from amrikyy.telemetry.spans import Context
from amrikyy.workflows.plan import Group, Options

End = Literal["completed", "failed", "cancelled"]
Status = Literal["queued", "running", "completed", "failed", "cancelled"]
Kind = Literal["queued", "started", "step_started", "step_completed", "step_failed"] | End

ENDS: tuple[End, ...] = get_args(End)
ACTIVE = ("queued", "running")
STEP_ENDS = ("step_completed", "step_failed")

Outcome = dict[str, Any]
"""What is recorded of a step, all JSON: step, agent, method, reason, input, assumed, output, error, success, runId,
attempts, durationMs and costUsd."""


class Superseded(Exception):
    """Another process has gone on with the workflow, or it has ended: this one may do nothing more for it."""


class Unrecorded(Exception):
    """Something that has happened cannot be recorded, by a mistake of ours. The log has the cause."""


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose a workflow is.

    Attributes:
        id: the principal's.
        role: its role, whose budget the workflow is subject to.
        limited: what the planner chooses counts against the principal's limits.
    """

    id: str
    role: str
    limited: bool = True


@dataclass(frozen=True, slots=True)
class WorkflowEvent:
    """One thing that happened. `data` is a JSON value; of a step's end, its whole outcome."""

    number: int
    kind: Kind
    path: str
    data: Any
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowSummary:
    """How a workflow is doing.

    Attributes:
        total: its steps.
        done: those that have ended.
        cost_usd: of its runs; None when the price of one is not known.
    """

    id: str
    owner: str
    name: str | None
    strategy: str
    status: Status
    total: int
    done: int
    events: int
    cost_usd: float | None
    created_at: datetime
    started_at: datetime | None
    duration_ms: float | None

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen."""
        return self.status not in ACTIVE


SUMMARY = tuple(field.name for field in fields(WorkflowSummary))
"""The columns that a summary is made of: none of those that may be large."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowRecord(WorkflowSummary):
    """A workflow, whole.

    Attributes:
        role: the owner's when it was started.
        limited: as in `Owner`.
        trace: what started it, if that is traced.
    """

    role: str
    limited: bool
    trace: Context | None
    tree: Group
    input: dict[str, Any]
    options: Options
    result: Any
    error: Any
    cancel_requested: bool


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to work on a workflow, until another process claims it.

    Attributes:
        epoch: the number of this claim, from 1.
        begun: the steps that have begun before, by their paths.
        outcomes: of the steps that have ended before, by their paths.
    """

    record: WorkflowRecord
    epoch: int
    begun: frozenset[str]
    outcomes: Mapping[str, Outcome]


@dataclass(frozen=True, slots=True)
class Note:
    """Something that has just happened, and has no number yet.

    Attributes:
        data: JSON.
        cost_usd: of the step that has ended; None if its price is not known.
    """

    kind: Kind
    path: str
    data: str
    cost_usd: float | None = 0.0


@dataclass(frozen=True, slots=True)
class Ending:
    """How a workflow has ended.

    Attributes:
        outcomes: of all its steps that have ended, for the statistics.
    """

    status: End
    result: Any
    error: AmrikyyError | None
    outcomes: Mapping[str, Outcome]
    duration_ms: float


@dataclass(frozen=True, slots=True)
class Write:
    """What is to be recorded of one workflow at the same time."""

    claim: Claim
    notes: tuple[Note, ...]
    ending: Ending | None = None


def new_workflow_id() -> str:
    """An id that sorts by time and cannot be guessed."""
    return new_run_id().replace("run_", "wf_", 1)


def note_of(kind: Kind, path: str, data: Any) -> Note:
    """Something that has just happened, with a JSON value that says more."""
    return Note(kind, path, json.dumps(data), data["costUsd"] if kind in STEP_ENDS else 0.0)


def summary_of(row: Row[Any]) -> WorkflowSummary:
    """A row of the workflows' table, or its columns in `SUMMARY`, as a summary."""
    return WorkflowSummary(**{name: getattr(row, name) for name in SUMMARY})


def record_of(row: Mapping[str, Any]) -> WorkflowRecord:
    """A row of the workflows' table, its content unsealed, as a record."""
    return WorkflowRecord(
        **{name: row[name] for name in SUMMARY},
        role=row["role"],
        limited=row["limited"],
        trace=Context.parse(row["traceparent"].encode()) if row["traceparent"] else None,
        tree=Group.model_validate_json(row["tree"]),
        input=json.loads(row["input"]),
        options=Options.model_validate_json(row["options"]),
        result=json.loads(row["result"]) if row["result"] else None,
        error=json.loads(row["error"]) if row["error"] else None,
        cancel_requested=row["cancel_requested"],
    )
