"""`/api/coordinator`: runs plans of several operations, and manages the workflows that they become."""

from starlette.responses import Response

from amrikyy.agents.agent import Request
from amrikyy.agents.registry import Registry
from amrikyy.auth import Act
from amrikyy.auth.roles import Permission
from amrikyy.errors import BudgetSpent, Conflict, NotFound, Unavailable, ValidationFailed, error_of
from amrikyy.web.agents import RUN_ERRORS
from amrikyy.web.endpoint import Answer, Call, Endpoint, JsonBytes
from amrikyy.web.errors import encode
from amrikyy.web.last_event import WORKFLOW_EVENT_ID, last_event_id
from amrikyy.web.launch import HEADERS, wishes_of
from amrikyy.web.paging import page_of
from amrikyy.web.stream import NOTHING_LEFT, visible_to
from amrikyy.web.workflow_events import WORKFLOW_EVENTS, WorkflowStream
from amrikyy.web.workflow_launch import end_of, launch_workflow
from amrikyy.web.workflow_replies import (
    AgentMethods,
    AgentTally,
    CoordinatorAgents,
    CoordinatorReset,
    CoordinatorStats,
    HierarchicalBody,
    NamedBody,
    ParallelBody,
    SequentialBody,
    StatsReply,
    StepOutcome,
    Tally,
    WorkflowAccepted,
    WorkflowCancelled,
    WorkflowInfo,
    WorkflowPage,
    WorkflowQuery,
    WorkflowReply,
    WorkflowStatus,
    info_of,
    public_error,
    reply_of,
    step_of,
    tally_of,
)

TAG = "Coordinator"
BASE = "/api/coordinator"

_DURABLE = """The answer comes when the workflow has ended; with `"async": true` or `Prefer: respond-async` at once.
What has begun is finished, whatever becomes of the server: finished steps are not run again. A caller who leaves before
the answer cancels the workflow, unless the request has an `Idempotency-Key`."""

_EVENTS = """Each event has the id `<workflowId>:<seq>`, counted from 1 without a gap:

* `connected` `{message, workflowId, strategy, total}`, then `started` `{workflowId}` when its turn has come
* `step` when a step begins, and when it has ended, with all that is known of it and the `progress` `{done, total}`
* at the end `complete` `{workflowId, finalResult, durationMs, costUsd}` or `error` (the body of an HTTP error)

A comment line is sent after 15 s of silence. A server that stops says `reconnect`, which has no id. Whoever was cut off
asks again with `Last-Event-ID`, any server, and gets exactly what it has not seen."""


def coordinator_endpoints(registry: Registry) -> list[Endpoint]:
    """The routes of this module."""
    agents = [AgentMethods(name=agent.name, methods=list(agent.operations)) for agent in registry]

    async def list_agents(_: Call) -> Answer:
        return CoordinatorAgents(agents=agents, total=len(agents))

    def execute(path: str, body: type[Request], summary: str) -> Endpoint:
        return Endpoint(
            method="POST", path=path, handler=run_plan, needs=Permission.AGENT_EXECUTE, tag=TAG, summary=summary,
            description=_DURABLE, body=body, answer=WorkflowReply, headers=HEADERS[:2], locates=True,
            also={202: ("It has begun; `Location` is where to look it up.", WorkflowAccepted)},
            errors=(*RUN_ERRORS, BudgetSpent, NotFound, Conflict), check_room=_check_room,
        )  # fmt: skip

    read, manage = Permission.AGENT_READ, Permission.AGENT_MANAGE
    one = f"{BASE}/status/{{workflowId}}"
    return [
        execute(f"{BASE}/sequential", SequentialBody, "Run steps one after the other"),
        execute(f"{BASE}/parallel", ParallelBody, "Run tasks at the same time"),
        execute(f"{BASE}/hierarchical", HierarchicalBody, "Let a master agent lead others"),
        execute(BASE, NamedBody, "Run a named workflow"),
        Endpoint(method="GET", path=f"{BASE}/agents", handler=list_agents, needs=read, tag=TAG,
                 summary="List the agents and methods that plans can use", answer=CoordinatorAgents),
        Endpoint(method="GET", path=f"{BASE}/status", handler=list_workflows, needs=read, tag=TAG,
                 summary="List workflows, newest first", query=WorkflowQuery, answer=WorkflowPage,
                 errors=(Unavailable,),
                 description="Your own; with the permission agent:manage, everybody's."),
        Endpoint(method="GET", path=one, handler=get_workflow, needs=read, tag=TAG, summary="Look up a workflow",
                 answer=WorkflowStatus, errors=(NotFound, Unavailable)),
        Endpoint(method="GET", path=f"{one}/events", handler=follow, needs=Permission.AGENT_STREAMING, tag=TAG,
                 summary="Follow a workflow", description=_EVENTS, media_type="text/event-stream",
                 events=WORKFLOW_EVENTS, headers=(WORKFLOW_EVENT_ID,), also=NOTHING_LEFT,
                 errors=(NotFound, ValidationFailed, Conflict, Unavailable)),
        Endpoint(method="POST", path=f"{one}/cancel", handler=cancel, needs=Permission.AGENT_EXECUTE, tag=TAG,
                 summary="Cancel a workflow", answer=WorkflowCancelled, errors=(NotFound, Conflict, Unavailable),
                 description="A model call in progress is broken off at once; the steps that have ended stay."),
        Endpoint(method="GET", path=f"{BASE}/stats", handler=statistics, needs=Permission.AGENT_STATS, tag=TAG,
                 summary="Statistics of workflows", answer=StatsReply, errors=(Unavailable,)),
        Endpoint(method="POST", path=f"{BASE}/stats/reset", handler=reset, needs=manage, tag=TAG,
                 summary="Reset the statistics of workflows", answer=CoordinatorReset, errors=(Unavailable,)),
    ]  # fmt: skip


def _check_room(call: Call) -> None:
    call.runtime.workflows.check_room(call.principal.id)


async def run_plan(call: Call) -> Answer:
    """Run the plan in the body, or the workflow that it names."""
    wishes = wishes_of(call)
    workflows = call.runtime.workflows
    workflow_id = await launch_workflow(call, wishes)
    location = f"{BASE}/status/{workflow_id}"
    where = (b"location", location.encode())
    if call.body.detached or wishes.detached:
        record = await workflows.get(workflow_id, owner=None)
        accepted = WorkflowAccepted(workflow_id=workflow_id, strategy=record.strategy, status=record.status)
        return JsonBytes(accepted.model_dump_json(by_alias=True).encode(), 202, [where])
    record = await end_of(call, workflow_id, goes_on=wishes.key is not None)
    call.exchange.cost_usd = record.cost_usd
    if record.error is not None:
        call.exchange.extra_headers.append(where)
        error = error_of(record.error)
        error.message += f" How each step went: GET {location}."
        raise error
    body = reply_of(record, await workflows.results(record))
    return JsonBytes(encode(body), headers=[where])


async def list_workflows(call: Call) -> Answer:
    """List the caller's workflows; with agent:manage, everybody's."""
    query: WorkflowQuery = call.query
    records = await call.runtime.workflows.page(
        owner=visible_to(call),
        status=query.status,
        strategy=query.strategy,
        name=query.name,
        before=query.cursor,
        limit=query.limit + 1,
    )
    page, next_cursor = page_of(records, query.limit)
    workflows = [WorkflowInfo(**info_of(record)) for record in page]
    return WorkflowPage(count=len(page), workflows=workflows, next_cursor=next_cursor)


async def get_workflow(call: Call) -> Answer:
    """One workflow of the caller's."""
    workflows = call.runtime.workflows
    record = await workflows.get(call.params["workflowId"], owner=visible_to(call))
    call.exchange.run_id = record.id
    return WorkflowStatus(
        **info_of(record),
        results=[StepOutcome(**step_of(outcome)) for outcome in await workflows.results(record)],
        final_result=record.result,
        error=public_error(record.error),
        events=record.events,
    )


async def follow(call: Call) -> Answer:
    """The events of a workflow after Last-Event-ID."""
    record = await call.runtime.workflows.get(call.params["workflowId"], owner=visible_to(call))
    call.exchange.run_id = record.id
    seen_id, after = last_event_id(call, "wf") or (record.id, 0)
    if seen_id != record.id:
        raise Conflict("Last-Event-ID belongs to another workflow than the path.", code="other_run")
    if record.ended and after >= record.events:
        return Response(status_code=204)
    if after > record.events:
        message = f"The workflow has {record.events} events so far, so number {after} cannot have been seen."
        raise Conflict(message, code="no_such_event")
    return WorkflowStream(call.runtime.workflows, record, after=after)


async def cancel(call: Call) -> Answer:
    """Stop a workflow of the caller's."""
    workflows, workflow_id = call.runtime.workflows, call.params["workflowId"]
    found = await workflows.get(workflow_id, owner=visible_to(call))
    if found.owner != call.principal.id and not found.ended:
        await call.runtime.audit.record(Act(call.actor, "workflow.cancel", workflow_id, {"owner": found.owner}))
    reason = "The workflow was cancelled by its caller."
    record = await workflows.cancel(workflow_id, owner=visible_to(call), reason=reason)
    call.exchange.run_id = workflow_id
    how = "was" if record.ended else "is being"
    return WorkflowCancelled(workflow_id=workflow_id, status=record.status, message=f"The workflow {how} cancelled.")


async def statistics(call: Call) -> Answer:
    """Statistics of workflows."""
    found = await call.runtime.workflows.statistics()
    ended = found.all
    return StatsReply(
        stats=CoordinatorStats(
            total_workflows=ended.total + found.active,
            completed_workflows=ended.completed,
            failed_workflows=ended.failed,
            cancelled_workflows=ended.cancelled,
            active_workflows=found.active,
            avg_duration=ended.mean_ms,
            success_rate=round(100 * ended.completed / ended.total, 2) if ended.total else None,
            by_strategy={name: Tally(**tally_of(tally)) for name, tally in found.strategies.items()},
            agents=[AgentTally(agent=name, **tally_of(tally)) for name, tally in found.agents.items()],
        )
    )


async def reset(call: Call) -> Answer:
    """Start counting again from zero."""
    await call.runtime.audit.record(Act(call.actor, "stats.reset", "coordinator"))
    await call.runtime.workflows.reset_statistics()
    return CoordinatorReset(reset=True, message="The statistics of workflows were reset.")
