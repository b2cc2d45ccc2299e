"""Plans: what is refused before anything starts, and where the refusal points."""

from typing import Any

import pytest
from pydantic import TypeAdapter

from amrikyy.agents.registry import load_registry
from amrikyy.errors import ValidationFailed
from amrikyy.workflows.library import LIBRARY
from amrikyy.workflows.plan import Definition, Plan, check

REGISTRY = load_registry()
FLIGHTS = {"agent": "travel", "method": "searchFlights"}
BLOG = {"agent": "content", "method": "generateBlogPost"}


def wrong(body: dict[str, Any], *definitions: Definition) -> dict[str, str]:
    """The type of each refusal by its path."""
    plan: Plan = TypeAdapter(Plan).validate_python(body)
    known = {each.name: each for each in (*LIBRARY, *definitions)}
    with pytest.raises(ValidationFailed) as refused:
        check(plan, REGISTRY, known.get)
    return {each["field"]: each["type"] for each in refused.value.details}


def named(name: str, *steps: dict[str, Any]) -> Definition:
    return Definition.model_validate(
        {"name": name, "description": "A test.", "plan": {"strategy": "sequential", "steps": steps}}
    )


def test_every_wrong_part_is_named_by_its_path() -> None:
    steps = [
        FLIGHTS,
        {"agent": "nobody", "method": "searchFlights"},
        {"agent": "travel", "method": "fly"},
        FLIGHTS | {"params": {"wings": 2, "passengers": 12}},
        BLOG | {"transform": "__import__('os').system('true')"},
        {"agent": "travel"},
        {"workflow": "no-such"},
        {"workflow": "trip-offers", "agent": "travel"},
    ]
    assert wrong({"steps": steps}) == {
        "steps.1.agent": "agent_not_found",
        "steps.2.method": "operation_not_found",
        "steps.3.params.passengers": "less_than_equal",
        "steps.3.params.wings": "extra_forbidden",
        "steps.4.transform": "invalid_expression",
        "steps.5.method": "missing",
        "steps.6.workflow": "unknown_workflow",
        "steps.7.workflow": "value_error",
    }


def test_a_hierarchy_is_checked_too() -> None:
    body = {"master": "boss", "subAgents": ["travel", {"name": "content", "method": "sing"}], "aggregator": "no(@)"}
    assert wrong(body) == {
        "master": "agent_not_found",
        "subAgents.1.method": "operation_not_found",
        "aggregator": "invalid_expression",
    }


@pytest.mark.parametrize(
    "code", ["function(r){ process.exit() }", "__import__('os').system('true')", "r => r", "evil("]
)
def test_code_is_refused(code: str) -> None:
    assert wrong({"master": "travel", "subAgents": ["content"], "aggregator": code}) == {
        "aggregator": "invalid_expression"
    }


def test_a_plan_has_a_hundred_steps_at_most_those_of_named_workflows_included() -> None:
    assert wrong({"steps": [FLIGHTS] * 101}) == {"steps.100": "too_many"}
    fifty = named("fifty", *[FLIGHTS] * 50)
    assert wrong({"tasks": [{"workflow": "fifty"}] * 3}, fifty) == {"tasks.2.steps.0": "too_many"}


def test_a_workflow_may_not_contain_itself_nor_go_too_deep() -> None:
    a, b = named("a", {"workflow": "b"}), named("b", FLIGHTS, {"workflow": "a"})
    assert wrong({"steps": [{"workflow": "a"}]}, a, b) == {"steps.0.steps.0.steps.1.workflow": "cycle"}
    one, two, three = named("one", {"workflow": "two"}), named("two", {"workflow": "three"}), named("three", FLIGHTS)
    assert wrong({"steps": [{"workflow": "one"}]}, one, two, three) == {"steps.0.steps.0.steps.0.workflow": "too_deep"}


def test_an_oversized_input_is_refused() -> None:
    assert wrong({"steps": [FLIGHTS], "input": {"text": "x" * 1_000_000}}) == {"input": "too_large"}


def test_the_workflows_that_ship_can_be_run() -> None:
    known = {each.name: each for each in LIBRARY}
    for definition in LIBRARY:
        tree = check(definition.plan, REGISTRY, known.get, name=definition.name)
        assert len({call.path for call in tree.calls()}) >= 2
