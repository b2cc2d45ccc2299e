"""Goes through a plan: which step comes when, and what becomes of its output."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from amrikyy.errors import MAX_DETAILS, AmrikyyError, BudgetSpent, error_of
from amrikyy.workflows import expressions
from amrikyy.workflows.plan import Call, Group, Node, Options
from amrikyy.workflows.records import Outcome
from amrikyy.workflows.steps import apply, selected

AT_ONCE = 20
"""Steps of one workflow at the same time."""

Fields = Mapping[str, Any]
RunStep = Callable[[Call, Fields, Fields], Awaitable[Outcome]]


class Flow:
    """Runs the steps of a plan in their order.

    Args:
        options: the workflow's.
        run_step: runs a step, or finds its outcome if it has been run before. Given the same outcomes a flow takes
            the same way, so that it can be begun anew in another process.
    """

    def __init__(self, options: Options, run_step: RunStep) -> None:
        self._options = options
        self._run_step = run_step
        self._places = asyncio.Semaphore(AT_ONCE)

    async def run(self, tree: Group, given: Fields) -> Any:
        """The result of the whole.

        Raises:
            AmrikyyError: a step's that ended it.
            ValidationFailed: an expression does not fit what it was given.
        """
        outcome = await self._group(tree, given, {})
        if not outcome["success"]:
            raise error_of(outcome["error"])
        return outcome["output"]

    async def _node(self, node: Node, given: Fields, produced: Fields) -> Outcome:
        if isinstance(node, Group):
            return await self._nested(node, given, produced)
        async with self._places:
            outcome = await self._run_step(node, given, produced)
        error = outcome["error"]
        if error is not None and error["status"] == BudgetSpent.status:  # nothing that comes after could be paid, too
            raise error_of(error | {"message": f"The workflow was stopped at {node.path}: {error['message']}"})
        return outcome

    async def _nested(self, group: Group, given: Fields, produced: Fields) -> Outcome:
        """A workflow in a workflow: to the one around it, a step like any other."""
        base = given if group.input is None else group.input
        try:
            fields = await selected(group.select, {**base, **produced})
            outcome = await self._group(group, {**group.defaults, **base, **fields, **group.params}, produced)
            if outcome["success"]:
                outcome["output"] = await apply(group.transform, outcome["output"])
        except AmrikyyError as error:
            if error.status == BudgetSpent.status:
                raise
            outcome = _failed(error.record)
        return outcome | {"agent": "", "method": group.name}

    async def _group(self, group: Group, given: Fields, produced: Fields) -> Outcome:
        if group.strategy == "sequential":
            return await self._sequence(group.children, given, produced)
        if group.master is not None:
            master = await self._node(group.master, given, produced)
            if not master["success"] and self._options.on_error != "continue":
                return _failed(_error_at(master))
            produced = _with_output(produced, master)
        outcomes = await self._together(group.children, given, produced)
        failed = [outcome for outcome in outcomes if not outcome["success"]]
        if len(failed) == len(outcomes) or (failed and self._options.on_error == "fail"):
            return _failed(_error_of_all(failed))
        if group.aggregator is None:
            return _succeeded(expressions.combine(outcomes))
        return _succeeded(await apply(group.aggregator, outcomes))

    async def _sequence(self, nodes: Sequence[Node], given: Fields, produced: Fields) -> Outcome:
        last, failed = None, None
        for node in nodes:
            outcome = await self._node(node, given, produced)
            if outcome["success"]:
                last = outcome
                produced = _with_output(produced, outcome)
            elif self._options.on_error == "continue":
                failed = failed or outcome
            else:
                return _failed(_error_at(outcome))
        if last is None:
            assert failed is not None
            return _failed(_error_at(failed))
        return _succeeded(last["output"])

    async def _together(self, nodes: Sequence[Node], given: Fields, produced: Fields) -> list[Outcome]:
        """Each to its own end: what one of them does is nothing to the others."""
        ended = await asyncio.gather(*(self._node(node, given, produced) for node in nodes), return_exceptions=True)
        for each in ended:
            if isinstance(each, BaseException):
                raise each
        return [each for each in ended if not isinstance(each, BaseException)]


def _with_output(produced: Fields, outcome: Outcome) -> Fields:
    return {**produced, **outcome["output"]} if isinstance(outcome["output"], dict) else produced


def _succeeded(output: Any) -> Outcome:
    return {"success": True, "output": output, "error": None}


def _failed(error: Mapping[str, Any]) -> Outcome:
    return {"success": False, "output": None, "error": dict(error)}


def _error_of_all(failed: Sequence[Outcome]) -> dict[str, Any]:
    """The error of the first, which says of the others that they failed as well, and what was wrong with them."""
    first, *others = [_error_at(outcome) for outcome in failed]
    if not others:
        return first
    steps = ", ".join(outcome["step"] for outcome in failed[1:] if "step" in outcome)
    details = [detail for error in (first, *others) for detail in error["details"]]
    so_did = f" So did {steps}." if steps else ""
    return first | {"message": f"{first['message']}{so_did}", "details": details[:MAX_DETAILS]}


def _error_at(outcome: Outcome) -> dict[str, Any]:
    """The error of a step as the error of the whole: it says which step."""
    error: dict[str, Any] = outcome["error"]
    if "step" not in outcome:  # of a workflow inside, which says so already
        return error
    details = [
        each | {"field": f"{outcome['step']}.{each['field']}"} if "field" in each else each for each in error["details"]
    ]
    return error | {"message": f"{outcome['step']} failed: {error['message']}", "details": details}
