"""Turns an admitted request into a workflow: a new one, or the one that an earlier copy of the request started."""

import asyncio
from collections import Counter
from contextlib import suppress
from functools import partial

from starlette.requests import ClientDisconnect

from amrikyy.errors import Conflict, ValidationFailed, error_of
from amrikyy.web.connection import Leaving
from amrikyy.web.endpoint import Call
from amrikyy.web.idempotency import claim_of, is_kept, once
from amrikyy.web.launch import Wishes, allowance_of
from amrikyy.web.limits import charge, counted_caller, is_limited
from amrikyy.web.workflow_replies import NamedBody
from amrikyy.workflows.plan import Group, Plan
from amrikyy.workflows.records import Owner, WorkflowRecord, new_workflow_id


async def launch_workflow(call: Call, wishes: Wishes) -> str:
    """Start a workflow, or find the one that an earlier request with the same Idempotency-Key started.

    Returns:
        its id.

    Raises:
        NotFound: there is no workflow of the name in the body.
        ValidationFailed: the plan is wrong, with the path of every wrong part, or larger than a limit.
        BudgetSpent: nothing is left of the caller's budget.
        RateLimited: a limit refused the plan; nothing was counted.
        Conflict: the key was used with another body before.
        Unavailable: too many are waiting, the server is stopping, or the database cannot be reached.
    """
    find, start = partial(_find, call), partial(_start, call)
    if wishes.key is None:
        workflow_id = await start(new_workflow_id())
    else:
        claim = await claim_of(call)
        workflow_id = await once(call, wishes.key, claim, new_id=new_workflow_id, find=find, start=start)
    headers = call.exchange.extra_headers
    headers.append((b"x-run-id", workflow_id.encode()))
    if wishes.detached:
        headers.append((b"preference-applied", b"respond-async"))
    call.exchange.run_id = workflow_id
    return workflow_id


async def end_of(call: Call, workflow_id: str, *, goes_on: bool) -> WorkflowRecord:
    """Wait for the end; if the caller disconnects, the workflow is cancelled, unless it `goes_on`.

    Raises:
        Unavailable: this server is stopping; another one goes on with the workflow.
    """
    waiting = asyncio.get_running_loop().create_task(call.runtime.workflows.wait(workflow_id))
    leaving = Leaving(call.scope, call.receive, waiting.cancel)
    try:
        await asyncio.wait((waiting,))
    finally:
        leaving.stop()
        waiting.cancel()
    if not waiting.cancelled():
        return waiting.result()
    if not goes_on:
        with suppress(Conflict):  # it has ended meanwhile
            await call.runtime.workflows.cancel(workflow_id, owner=None, reason="The caller disconnected.")
    raise ClientDisconnect


async def _find(call: Call, workflow_id: str) -> str | None:
    record = await call.runtime.workflows.get(workflow_id, owner=None)
    return record.id if record.error is None or is_kept(error_of(record.error)) else None


async def _start(call: Call, workflow_id: str) -> str:
    runtime, principal = call.runtime, call.principal
    plan, tree = await _plan_in(call)
    if plan.options.max_cost_usd is not None and (unpriced := runtime.models.unpriced()):
        message = f"It cannot be enforced: the price of {', '.join(unpriced)} is not known; set it in MODEL_PRICES"
        raise ValidationFailed(
            "Correct these parts of the plan and send it again: options.maxCostUsd.",
            code="price_unknown",
            details=[{"field": "options.maxCostUsd", "message": message, "type": "price_unknown"}],
        )
    if (allowance := allowance_of(call)) is not None:
        await allowance.check()
    owner = Owner(principal.id, principal.role.value, limited=is_limited(call))
    if owner.limited:
        times = Counter(f"{each.agent}.{each.method}" for each in tree.calls() if each.method is not None)
        await charge(call, runtime.limits.table.operations(counted_caller(call), times))
    span = call.exchange.span
    call.exchange.traced = span is not None
    return await runtime.workflows.start(
        plan, tree, owner, workflow_id=workflow_id, trace=span.context if span is not None else None
    )


async def _plan_in(call: Call) -> tuple[Plan, Group]:
    """The plan that is the body, or whose name is in it, and the same checked."""
    body, workflows = call.body, call.runtime.workflows
    if not isinstance(body, NamedBody):
        return body, await workflows.check(body)
    plan = await workflows.named(body.workflow_name, body.inputs, body.options)
    return plan, await workflows.check(plan, name=body.workflow_name)
