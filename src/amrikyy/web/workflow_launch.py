"""Turns an admitted request into a workflow: a new one, or the one that an earlier copy of the request started."""

import asyncio
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from starlette.requests import ClientDisconnect

from amrikyy.errors import Conflict, NotFound, ValidationFailed
from amrikyy.runs.idempotency import Claim, framed
from amrikyy.web.connection import Leaving
from amrikyy.web.endpoint import Call
from amrikyy.web.launch import Wishes, allowance_of, hash_of_key, is_kept
from amrikyy.web.limits import charge, counted_caller, is_limited
from amrikyy.workflows.flow import error_of
from amrikyy.workflows.plan import Group, Plan
from amrikyy.workflows.records import Owner, WorkflowRecord, new_workflow_id

RECORDED_WITHIN = timedelta(seconds=10)
"""By then a workflow that another request has claimed a key for is recorded, which opening its engine delays."""


async def launch_workflow(call: Call, plan: Plan, wishes: Wishes, *, name: str | None = None) -> str:
    """Start a workflow, or find the one that an earlier request with the same Idempotency-Key started.

    Returns:
        its id.

    Raises:
        ValidationFailed: the plan is wrong, with the path of every wrong part, or larger than a limit.
        BudgetSpent: nothing is left of the caller's budget.
        RateLimited: a limit refused the plan; nothing was counted.
        Conflict: the key was used with another body before.
        Unavailable: too many are waiting, the server is stopping, or the database cannot be reached.
    """
    tree = await call.runtime.workflows.check(plan, name=name)
    if wishes.key is None:
        workflow_id = await _start(call, plan, tree, new_workflow_id())
    else:
        workflow_id = await _once(call, plan, tree, wishes.key)
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


async def _start(call: Call, plan: Plan, tree: Group, workflow_id: str) -> str:
    runtime, principal = call.runtime, call.principal
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


async def _once(call: Call, plan: Plan, tree: Group, key: str) -> str:
    keys = call.runtime.idempotency
    key_hash = hash_of_key(call, key)
    body = framed(tree.name or "", plan.model_dump_json())
    while True:
        claim = await keys.find(key_hash)
        if claim is not None:
            keys.check(claim, body)
            record = await _claimed(call, claim)
            if record is not None and (record.error is None or is_kept(error_of(record.error))):
                return record.id
        workflow_id = new_workflow_id()
        if await keys.claim(key_hash, body, workflow_id, instead_of=claim.run_id if claim else None):
            break
    try:
        return await _start(call, plan, tree, workflow_id)
    except BaseException:
        await keys.release(key_hash, workflow_id)
        raise


async def _claimed(call: Call, claim: Claim) -> WorkflowRecord | None:
    """The workflow that a key was claimed for; None if it was lost before it was recorded."""
    while True:
        try:
            return await call.runtime.workflows.get(claim.run_id, owner=None)
        except NotFound:
            if datetime.now(UTC) - claim.created_at > RECORDED_WITHIN:
                return None
            await asyncio.sleep(0.05)
