"""What a workflow is to do: the plans that callers send, and the tree of calls that is made of one before it starts."""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from amrikyy.agents.agent import Operation, Request
from amrikyy.agents.registry import Registry
from amrikyy.errors import NotFound, ValidationFailed
from amrikyy.workflows import expressions

MAX_STEPS = 100
MAX_DEPTH = 3
"""A workflow in a workflow in a workflow, and no deeper."""

MAX_BYTES = 1_000_000
"""Of a plan with its input, of a step's request, and of an output, as JSON."""

Name = Annotated[
    str,
    Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,63}$", description="A letter, then up to 63 letters, digits, - and _."),
]
Fields = dict[str, Any]
Strategy = Literal["sequential", "parallel", "hierarchical"]


def _with_example(**fields: Any) -> ConfigDict:
    """An example of the whole: of its parts alone, none would run."""
    return ConfigDict(json_schema_extra={"examples": [fields]})


class Options(Request):
    """How a workflow is run."""

    timeout_s: float = Field(default=3600, gt=0, le=86_400, description="Seconds that the whole workflow may take.")
    max_cost_usd: float | None = Field(
        default=None, ge=0, le=1e6, description="No model call begins that could bring the whole workflow above this."
    )
    on_error: Literal["fail", "continue"] | None = Field(
        default=None,
        description="What a failed step means for the others. By default a sequence stops, and parallel tasks go on.",
    )
    retries: int = Field(
        default=0, ge=0, le=5, description="How often a step is retried after a failure of the server or of a model."
    )


class Step(Request):
    """One call of an agent's method, or one named workflow."""

    agent: str | None = Field(default=None, max_length=32, examples=["travel"])
    method: str | None = Field(default=None, max_length=64, examples=["searchFlights"])
    workflow: str | None = Field(
        default=None, max_length=64, description="A named workflow, instead of agent and method."
    )
    params: Fields = Field(default={}, description="Fields of the request; they take precedence over the input's.")
    select: str | None = Field(
        default=None, description="JMESPath on the input and all outputs so far: an object of fields for the request."
    )
    transform: str | None = Field(default=None, description="JMESPath on the output: what the next steps receive.")
    retries: int | None = Field(
        default=None, ge=0, le=5, description="How often this step is retried; by default as often as the options say."
    )


class Task(Step):
    """A step that runs beside others."""

    input: Fields | None = Field(default=None, description="Instead of the workflow's input.")


class SubAgent(Request):
    """An agent, and one of its methods unless the planner is to choose."""

    name: str = Field(max_length=32)
    method: str | None = Field(default=None, max_length=64)


class Sequential(Request):
    """Steps one after the other; each sees what those before it produced."""

    model_config = _with_example(
        steps=[
            {"agent": "travel", "method": "searchFlights"},
            {"agent": "content", "method": "generateBlogPost"},
        ],
        input={"destination": "Paris"},
    )

    strategy: Literal["sequential"] = "sequential"
    steps: list[Step] = Field(min_length=1)
    input: Fields = Field(default={})
    options: Options = Options()


class Parallel(Request):
    """Tasks at the same time."""

    model_config = _with_example(
        tasks=[
            {"agent": "travel", "method": "searchFlights"},
            {"agent": "travel", "method": "searchHotels"},
            {"agent": "content", "method": "generateSocialPosts"},
        ],
        input={"destination": "Tokyo"},
    )

    strategy: Literal["parallel"] = "parallel"
    tasks: list[Task] = Field(min_length=1)
    input: Fields = Field(default={})
    options: Options = Options()


class Hierarchical(Request):
    """A master agent first, then sub-agents at the same time with what it produced, then one result of theirs."""

    model_config = _with_example(
        master="innovation", subAgents=["travel", "content"], input={"campaign": "Summer Travel 2025"}
    )

    strategy: Literal["hierarchical"] = "hierarchical"
    master: str | SubAgent
    sub_agents: list[str | SubAgent] = Field(min_length=1)
    input: Fields = Field(default={})
    aggregator: str = Field(
        default="combine", description=f"{', '.join(expressions.AGGREGATORS)}, or JMESPath on the list of results."
    )
    options: Options = Options()


Plan: TypeAlias = Sequential | Parallel | Hierarchical


def contains_others(plan: Plan) -> bool:
    """Whether a step of it is a named workflow."""
    if isinstance(plan, Hierarchical):
        return False
    return any(step.workflow is not None for step in (plan.steps if isinstance(plan, Sequential) else plan.tasks))


def _names_its_strategy(plan: Any) -> Any:
    if isinstance(plan, dict) and "strategy" not in plan:
        raise ValueError("Name its strategy: sequential, parallel or hierarchical")
    return plan


class Definition(Request):
    """A workflow with a name."""

    model_config = _with_example(
        name="city-break",
        description="An itinerary, then a blog post about it: destination, duration, budget.",
        plan={
            "strategy": "sequential",
            "steps": [
                {"agent": "travel", "method": "generateItinerary"},
                {"agent": "content", "method": "generateBlogPost", "params": {"tone": "friendly"}},
            ],
            "input": {"duration": 3, "budget": 600},
        },
    )

    name: Name
    description: str = Field(min_length=1, max_length=500)
    plan: Annotated[Plan, Field(discriminator="strategy"), BeforeValidator(_names_its_strategy)] = Field(
        description="The body of the route of the same name, with its `strategy`: `sequential` and `steps`, `parallel` "
        "and `tasks`, or `hierarchical`, `master` and `subAgents`. Its `input` holds where a caller names nothing else."
    )


Definitions = Callable[[str], Definition | None]
"""Finds a definition by its name."""


class _Node(BaseModel):
    model_config = ConfigDict(frozen=True)


class Call(_Node):
    """A leaf of the tree: one operation. `path` is its place in the plan, and its name in results and events."""

    kind: Literal["call"] = "call"
    path: str
    agent: str
    method: str | None = None
    params: Fields = {}
    input: Fields | None = None
    select: str | None = None
    transform: str | None = None
    retries: int | None = None


class Group(_Node):
    """A branch: calls and groups that are run by a strategy. `name` is the named workflow's that it is."""

    kind: Literal["group"] = "group"
    path: str
    strategy: Strategy
    name: str | None = None
    children: tuple["Node", ...]
    master: Call | None = None
    aggregator: str | None = None
    defaults: Fields = {}
    params: Fields = {}
    input: Fields | None = None
    select: str | None = None
    transform: str | None = None

    def calls(self) -> Iterator[Call]:
        """Every call below, in the order of the plan."""
        if self.master is not None:
            yield self.master
        for child in self.children:
            if isinstance(child, Call):
                yield child
            else:
                yield from child.calls()


Node = Annotated[Call | Group, Field(discriminator="kind")]
Group.model_rebuild()


def check(plan: Plan, registry: Registry, definitions: Definitions, *, name: str | None = None) -> Group:
    """Make sure that a plan can be run, and write out the named workflows in it.

    Args:
        plan: what was asked for.
        registry: the agents that there are.
        definitions: the named workflows.
        name: the plan's own.

    Raises:
        ValidationFailed: with the path of every wrong part.
    """
    size = len(json.dumps(plan.model_dump(mode="json", by_alias=True)))
    if size > MAX_BYTES:
        field = "input" if len(json.dumps(plan.input)) > MAX_BYTES // 2 else "(body)"
        raise _refused([_wrong(field, f"Plan and input have {size} bytes; {MAX_BYTES} are allowed", "too_large")])
    checker = _Checker(registry, definitions)
    tree = checker.group(plan, "", (name,) if name else ())
    if checker.wrong:
        raise _refused(checker.wrong)
    return tree


class _Checker:
    def __init__(self, registry: Registry, definitions: Definitions) -> None:
        self._registry = registry
        self._definitions = definitions
        self._count = 0
        self.wrong: list[dict[str, str]] = []

    def group(self, plan: Plan, path: str, names: tuple[str, ...], **place: Any) -> Group:
        prefix = f"{path}." if path else ""
        name = names[-1] if names else None
        if isinstance(plan, Hierarchical):
            return Group(
                path=path,
                strategy="hierarchical",
                name=name,
                master=self._sub_agent(plan.master, f"{prefix}master"),
                children=tuple(
                    self._sub_agent(each, f"{prefix}subAgents.{i}") for i, each in enumerate(plan.sub_agents)
                ),
                aggregator=self._aggregator(plan.aggregator, f"{prefix}aggregator"),
                **place,
            )
        listed, part = (plan.steps, "steps") if isinstance(plan, Sequential) else (plan.tasks, "tasks")
        children = tuple(
            child for i, step in enumerate(listed) if (child := self._step(step, f"{prefix}{part}.{i}", names))
        )
        return Group(path=path, strategy=plan.strategy, name=name, children=children, **place)

    def _step(self, step: Step, path: str, names: tuple[str, ...]) -> Call | Group | None:
        if self._count > MAX_STEPS:  # that has been said, and named workflows could make it any number
            return None
        place: Fields = {
            "params": step.params,
            "input": step.input if isinstance(step, Task) else None,
            "select": self._expression(step.select, f"{path}.select"),
            "transform": self._expression(step.transform, f"{path}.transform"),
        }
        if step.workflow is not None:
            if step.agent is not None or step.method is not None:
                self._note(f"{path}.workflow", "A step names a workflow, or an agent and a method, not both")
                return None
            if step.retries is not None:
                self._note(f"{path}.retries", "Each step of the named workflow has its own")
            return self._named(step.workflow, path, names, place)
        if step.agent is None or step.method is None:
            missing = "agent" if step.agent is None else "method"
            self._note(f"{path}.{missing}", "Field required", "missing")
            return None
        call = Call(path=path, agent=step.agent, method=step.method, retries=step.retries, **place)
        return self._call(call, "agent", "method")

    def _named(self, name: str, path: str, names: tuple[str, ...], place: Fields) -> Group | None:
        where = f"{path}.workflow"
        definition = self._definitions(name)
        if definition is None:
            self._note(where, f"There is no workflow {name!r}", "unknown_workflow")
        elif name in names:
            cycle = " → ".join([*names[names.index(name) :], name])
            self._note(where, f"The workflow contains itself: {cycle}", "cycle")
        elif len(names) + (not names) >= MAX_DEPTH:
            self._note(where, f"Workflows may be nested at most {MAX_DEPTH} deep", "too_deep")
        else:
            return self.group(definition.plan, path, (*(names or ("",)), name), defaults=definition.plan.input, **place)
        return None

    def _sub_agent(self, agent: str | SubAgent, path: str) -> Call:
        if isinstance(agent, str):
            return self._call(Call(path=path, agent=agent), "", "")
        return self._call(Call(path=path, agent=agent.name, method=agent.method), "name", "method")

    def _call(self, call: Call, agent_field: str, method_field: str) -> Call:
        self._count += 1
        if self._count == MAX_STEPS + 1:
            self._note(
                call.path, f"A workflow may have {MAX_STEPS} steps, those of its named workflows included", "too_many"
            )
        where = agent_field
        try:
            agent = self._registry[call.agent]
            if call.method is not None:
                where = method_field
                self._params(agent[call.method], call)
        except NotFound as error:
            self._note(f"{call.path}.{where}".rstrip("."), error.message, error.code)
        return call

    def _params(self, operation: Operation[Any, Any], call: Call) -> None:
        for wrong in wrong_fields(operation, call.params):
            if wrong["type"] != "missing":
                self._note(f"{call.path}.params.{wrong['field']}", wrong["message"], wrong["type"])

    def _aggregator(self, text: str, path: str) -> str:
        try:
            return expressions.check_aggregator(text)
        except expressions.InvalidExpression as error:
            self._note(path, str(error), "invalid_expression")
            return text

    def _expression(self, text: str | None, path: str) -> str | None:
        try:
            return text and expressions.check(text)
        except expressions.InvalidExpression as error:
            self._note(path, str(error), "invalid_expression")
            return text

    def _note(self, field: str, message: str, kind: str = "value_error") -> None:
        self.wrong.append(_wrong(field, message, kind))


def wrong_fields(operation: Operation[Any, Any], fields: Mapping[str, Any]) -> list[dict[str, str]]:
    """What keeps these fields from being a request of the operation."""
    try:
        operation.request_type.model_validate(dict(fields))
    except ValidationError as error:
        return ValidationFailed.from_pydantic(error, operation.request_type).details
    return []


def _wrong(field: str, message: str, kind: str) -> dict[str, str]:
    return {"field": field, "message": message, "type": kind}


def _refused(wrong: list[dict[str, str]]) -> ValidationFailed:
    names = ", ".join(dict.fromkeys(each["field"] for each in wrong[:10]))
    return ValidationFailed(f"Correct these parts of the plan and send it again: {names}.", details=wrong[:MAX_STEPS])
