"""One step of a workflow: its request, its run, its outcome."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import structlog

from amrikyy.agents.agent import Operation, Request, values_of
from amrikyy.agents.planner import Choice, Planner
from amrikyy.agents.registry import Registry
from amrikyy.agents.runner import Runner
from amrikyy.errors import AmrikyyError, BodyTooLarge, InternalError, ValidationFailed
from amrikyy.runs.run import Run
from amrikyy.spend import Allowance
from amrikyy.telemetry.spans import Span, Tracer
from amrikyy.workflows import expressions
from amrikyy.workflows.plan import MAX_BYTES, Call
from amrikyy.workflows.records import Outcome, WorkflowRecord
from amrikyy.workflows.requests import fitting, plain
from amrikyy.workflows.spans import describe_step, part_of

log = structlog.get_logger(__name__)

Charge = Callable[[str, str], Awaitable[None]]
"""Charges an owner for an operation (`agent.operation`) that the planner has chosen; raises RateLimited."""

RETRY_AFTER_S = 0.5
"""Before the first repetition; twice as long before each further one."""


class Steps:
    """Runs steps as child runs of their workflow."""

    def __init__(self, runner: Runner, registry: Registry, planner: Planner, charge: Charge, tracer: Tracer) -> None:
        self._tracer = tracer
        self._runner = runner
        self._charge = charge
        self._registry = registry
        self._planner = planner

    async def run(
        self,
        call: Call,
        given: Mapping[str, Any],
        produced: Mapping[str, Any],
        workflow: WorkflowRecord,
        allowance: Allowance | None,
    ) -> Outcome:
        """Run a step. Whatever happens is an outcome.

        Args:
            call: the step.
            given: what the caller has sent.
            produced: what the steps before it have put out.
            workflow: what it is a step of.
            allowance: what the workflow may still spend; None if nothing limits it.

        Raises:
            CancelledError: there is no outcome: the workflow was cancelled, or this server is stopping.
        """
        started = time.perf_counter()
        outcome: Outcome = {"step": call.path, "agent": call.agent, "method": call.method, "input": None, "assumed": {}}
        outcome["reason"] = None
        outcome |= {"output": None, "error": None, "success": False, "runId": None, "attempts": 0, "costUsd": 0.0}
        span = self._tracer.resume(part_of(workflow))
        try:
            choice = await self._choose(call, given, produced, workflow, allowance, span)
            outcome["costUsd"] = choice.cost_usd
            outcome["method"] = choice.operation.name
            outcome["input"] = values_of(choice.request)
            outcome["assumed"] = choice.assumed
            outcome["reason"] = choice.reason if call.method is None else None
            retries = workflow.options.retries if call.retries is None else call.retries
            output = await self._try(choice.operation, choice.request, workflow, allowance, retries, outcome, span)
            outcome["output"] = await apply(call.transform, output)
            outcome["success"] = True
        except AmrikyyError as error:
            if error.code == "draining":
                raise asyncio.CancelledError from None  # whoever takes the workflow over runs the step
            outcome["error"] = error.record
        except Exception:
            log.exception("step_crashed", workflow_id=workflow.id, step=call.path)
            message = "The step failed unexpectedly. The log has the cause, under the workflow's id."
            outcome["error"] = InternalError(message).record
        finally:
            if span is not None:
                span.end(describe_step, (workflow, outcome))
        outcome["durationMs"] = round((time.perf_counter() - started) * 1000, 3)
        return outcome

    async def _choose(
        self,
        call: Call,
        given: Mapping[str, Any],
        produced: Mapping[str, Any],
        workflow: WorkflowRecord,
        allowance: Allowance | None,
        span: Span | None,
    ) -> Choice:
        agent = self._registry[call.agent]
        given = given if call.input is None else call.input
        params = await selected(call.select, {**given, **produced}) | call.params
        place: Any = {"owner": workflow.owner, "parent_id": workflow.id, "allowance": allowance, "within": span}
        if call.method is None:
            # What was given holds, and comes first: it says best what the workflow is about.
            flowing = {**given, **plain(produced), **given}
            choice = await self._planner.choose(list(agent.operations.values()), flowing, **place)
            if workflow.limited:
                await self._charge(workflow.owner, choice.operation.key)
            return choice
        operation = agent[call.method]
        return await self._planner.complete(operation, params, fitting(operation, given, produced), **place)

    async def _try(
        self,
        operation: Operation[Any, Any],
        request: Request,
        workflow: WorkflowRecord,
        allowance: Allowance | None,
        retries: int,
        outcome: Outcome,
        span: Span | None,
    ) -> Any:
        while True:
            outcome["attempts"] += 1
            run = await self._runner.start(
                operation, request, owner=workflow.owner, detached=True, parent_id=workflow.id, allowance=allowance,
                within=span,
            )  # fmt: skip
            outcome["runId"] = run.id
            try:
                ended = await run.wait()
            except asyncio.CancelledError:
                run.cancel("The workflow was stopped.")
                raise
            outcome["costUsd"] = _sum(outcome["costUsd"], run)
            if ended.error is None:
                assert ended.result is not None
                if len(ended.result) > MAX_BYTES:
                    raise BodyTooLarge(f"The output has {len(ended.result)} bytes; a step may have {MAX_BYTES}.")
                return json.loads(ended.result)
            if not _is_worth_repeating(ended.error) or outcome["attempts"] > retries:
                raise ended.error
            await asyncio.sleep(RETRY_AFTER_S * 2 ** (outcome["attempts"] - 1))


async def apply(expression: str | None, value: Any) -> Any:
    """The value, or what an expression makes of it.

    Raises:
        ValidationFailed: the expression does not fit the value.
    """
    return value if expression is None else await asyncio.to_thread(expressions.evaluate, expression, value)


async def selected(expression: str | None, value: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that an expression selects, without those for which there was nothing.

    Raises:
        ValidationFailed: the expression does not fit the value, or does not make an object.
    """
    if expression is None:
        return {}
    fields = await apply(expression, dict(value))
    if not isinstance(fields, dict):
        raise ValidationFailed(f"The expression {expression[:200]!r} must make an object of fields.")
    return {name: field for name, field in fields.items() if field is not None}


def _sum(cost_usd: float | None, run: Run) -> float | None:
    spent = run.spent.cost_usd
    return None if cost_usd is None or spent is None else cost_usd + spent


def _is_worth_repeating(error: AmrikyyError) -> bool:
    return error.status >= 500 and error.code != "draining"
