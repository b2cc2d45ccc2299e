"""The request and response bodies of the coordinator's routes."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from pydantic import ConfigDict, Field

from amrikyy.agents.agent import Request
from amrikyy.web.paging import NextCursor, page_cursor, page_limit
from amrikyy.web.replies import Success, Wire, dollars, duration_text
from amrikyy.workflows import counts
from amrikyy.workflows.plan import Hierarchical, Name, Options, Parallel, Sequential
from amrikyy.workflows.records import Outcome, Status, WorkflowRecord, WorkflowSummary


class StepProgress(Wire):
    """How many steps have ended, and how many there are."""

    done: int
    total: int


class SequentialBody(Sequential):
    """Steps one after the other."""

    detached: bool = Field(
        default=False, alias="async", description="Answer at once with 202; the workflow goes on by itself."
    )


class ParallelBody(Parallel):
    """Tasks at the same time."""

    detached: bool = Field(
        default=False, alias="async", description="Answer at once with 202; the workflow goes on by itself."
    )


class HierarchicalBody(Hierarchical):
    """A master task, and the sub-tasks that it delegates."""

    detached: bool = Field(
        default=False, alias="async", description="Answer at once with 202; the workflow goes on by itself."
    )


class NamedBody(Request):
    """A named workflow with its inputs."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "workflowName": "market-research",
                    "inputs": {"industry": "hospitality", "competitors": ["Airbnb", "Booking.com"]},
                }
            ]
        }
    )

    workflow_name: Name
    inputs: dict[str, Any] = Field(default={}, description="They replace the workflow's own inputs, name by name.")
    options: Options | None = None
    detached: bool = Field(
        default=False, alias="async", description="Answer at once with 202; the workflow goes on by itself."
    )


class StepOutcome(Wire):
    """How a step went."""

    step: str = Field(description="Its place in the plan.", examples=["steps.0"])
    agent: str
    method: str | None
    reason: str | None = Field(default=None, description="Why the planner chose the method, if the plan named none.")
    input: dict[str, Any] | None = Field(description="Its complete request.")
    assumed: dict[str, Any] = Field(description="The fields that the planner filled in, with their values.")
    output: Any
    error: dict[str, Any] | None
    success: bool
    run_id: str | None = Field(description="The step's last run: GET /api/runs/{runId}.")
    attempts: int
    duration_ms: float
    cost_usd: float | None


class WorkflowReply(Success):
    """A workflow that has ended."""

    strategy: str
    workflow_id: str
    name: str | None
    results: list[StepOutcome]
    final_result: Any
    duration: str = Field(examples=["2.5s"])
    cost_usd: float | None = Field(description="US dollars; null when the price of a step is not known.")
    steps: int | None = Field(default=None, description="The number of steps, for a sequence.")
    tasks: int | None = Field(default=None, description="The number of tasks, for a parallel workflow.")
    master: str | None = Field(default=None, description="The agent of the master task.")
    sub_agents: int | None = Field(default=None, description="The number of sub-tasks.")


class WorkflowAccepted(Success):
    """The workflow has begun and goes on without its caller."""

    workflow_id: str
    strategy: str
    status: Status


class WorkflowInfo(Wire):
    """A workflow without its results."""

    workflow_id: str
    name: str | None
    strategy: str
    status: Status
    progress: StepProgress
    created_at: datetime
    started_at: datetime | None
    duration_ms: float | None = Field(description="Null while it runs.")
    cost_usd: float | None


class WorkflowStatus(WorkflowInfo, Success):
    """A workflow as it is now."""

    results: list[StepOutcome] = Field(description="Of the steps that have ended.")
    final_result: Any
    error: dict[str, Any] | None
    events: int = Field(description="How many events it has.")


class WorkflowPage(Success):
    """A page of workflows, newest first."""

    count: int
    workflows: list[WorkflowInfo]
    next_cursor: NextCursor


class WorkflowQuery(Request):
    """Which workflows to list."""

    status: Status | None = None
    strategy: Literal["sequential", "parallel", "hierarchical"] | None = None
    name: str | None = Field(default=None, max_length=64, description="Only runs of this named workflow.")
    cursor: str | None = page_cursor(r"^wf_[0-9a-f]+$")
    limit: int = page_limit()


class WorkflowCancelled(Success):
    """The workflow was stopped, or is about to be."""

    workflow_id: str
    status: Status
    message: str


class AgentMethods(Wire):
    """An agent and its methods."""

    name: str
    methods: list[str]


class CoordinatorAgents(Success):
    """The agents and methods that plans can use."""

    agents: list[AgentMethods]
    total: int


class Tally(Wire):
    """How workflows of a strategy, or steps of an agent, went."""

    total: int
    completed: int
    failed: int
    cancelled: int
    avg_duration: float | None = Field(description="Milliseconds; null when there was none.")
    cost_usd: float = Field(description="US dollars, for those whose price is known.")


class AgentTally(Tally):
    """How an agent's steps went."""

    agent: str


class CoordinatorStats(Wire):
    """How workflows went since the last reset, in all processes."""

    total_workflows: int
    completed_workflows: int
    failed_workflows: int
    cancelled_workflows: int
    active_workflows: int
    avg_duration: float | None = Field(description="Milliseconds; null when none has ended.")
    success_rate: float | None = Field(description="Percent of those that have ended.")
    by_strategy: dict[str, Tally]
    agents: list[AgentTally]


class StatsReply(Success):
    """Statistics."""

    stats: CoordinatorStats


class CoordinatorReset(Success):
    """The counters start again from zero."""

    reset: bool
    message: str


def reply_of(record: WorkflowRecord, results: Sequence[Outcome]) -> dict[str, Any]:
    """A workflow that has completed, as the JSON values of a `WorkflowReply`."""
    assert record.duration_ms is not None
    tree, count = record.tree, len(record.tree.children)
    sizes: dict[str, Any] = {"steps": count} if tree.strategy == "sequential" else {"tasks": count}
    if tree.master is not None:
        sizes = {"master": tree.master.agent, "subAgents": count}
    return {
        "success": True,
        "strategy": record.strategy,
        "workflowId": record.id,
        "name": record.name,
        "results": [step_of(outcome) for outcome in results],
        "finalResult": record.result,
        "duration": duration_text(record.duration_ms / 1000),
        "costUsd": dollars(record.cost_usd),
        **sizes,
    }


def info_of(record: WorkflowSummary) -> dict[str, Any]:
    """The fields of a `WorkflowInfo`."""
    return {
        "workflow_id": record.id,
        "name": record.name,
        "strategy": record.strategy,
        "status": record.status,
        "progress": StepProgress(done=record.done, total=record.total),
        "created_at": record.created_at,
        "started_at": record.started_at,
        "duration_ms": record.duration_ms,
        "cost_usd": dollars(record.cost_usd),
    }


def step_of(outcome: Outcome) -> dict[str, Any]:
    """The fields of a `StepOutcome`, under their names in JSON."""
    return {**outcome, "error": public_error(outcome["error"]), "costUsd": dollars(outcome["costUsd"])}


def public_error(error: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """An error without what only the answer's head says, as runs show it, too."""
    return {name: error[name] for name in ("error", "code", "message", "details")} if error else None


def tally_of(tally: counts.Tally) -> dict[str, Any]:
    """The fields of a `Tally`."""
    return {name: getattr(tally, name) for name in ("total", "completed", "failed", "cancelled")} | {
        "avg_duration": tally.mean_ms,
        "cost_usd": dollars(tally.cost_usd),
    }
