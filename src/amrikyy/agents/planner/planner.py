"""The planner: from plain words or loose fields to an operation and its valid request."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pydantic import BaseModel, Field, ValidationError

from amrikyy.agents.agent import Agent, Operation, Request, Result, values_of
from amrikyy.agents.context import RunContext
from amrikyy.agents.planner import answers
from amrikyy.agents.planner.completion import Completion, complete, today
from amrikyy.agents.planner.phrases import length_in
from amrikyy.agents.planner.reading import MAX_READ, Reading, Said, read
from amrikyy.agents.registry import Registry
from amrikyy.agents.runner import Runner
from amrikyy.agents.spoken import slots_of
from amrikyy.errors import ValidationFailed
from amrikyy.llm.values import TOPICS
from amrikyy.runs.run import Run
from amrikyy.spend import Allowance
from amrikyy.telemetry.spans import Span

MAX_WANTED = 20_000
"""Characters of the fields, as JSON, that a model is shown; what flows through a workflow may be a megabyte."""

MAX_ANSWER_TOKENS = 8192
"""A request takes some hundred tokens; the rest is room for the hidden reasoning of a pro model."""

Fields = Mapping[str, Any]


class Choice(NamedTuple):
    """An operation and its valid request.

    Attributes:
        assumed: what nobody has said of it, by the fields' names in JSON.
        cost_usd: US dollars that planning took; None if a price is not known.
        reason: why this operation, if there were others.
    """

    operation: Operation[Any, Any]
    request: Request
    assumed: dict[str, Any]
    cost_usd: float | None = 0.0
    reason: str = ""


class Wanted(Request):
    """What somebody wants, and the operations to choose from."""

    query: str | None = None
    fields: dict[str, Any] = Field(default={})
    operations: list[str] = Field(min_length=1, description="`agent.operation`.")
    binding: bool = Field(default=False, description="A field that does not suit the operation is a mistake.")

    @property
    def text(self) -> str:
        """Everything that was said."""
        return self.query or ", ".join(_texts(self.fields))

    @property
    def about(self) -> str | None:
        """What the fields are about, if they were given as fields and not in a sentence."""
        return None if self.query else about(self.fields)


class Planned(Result):
    """What was chosen."""

    operation: str
    request: dict[str, Any]
    assumed: dict[str, Any]
    reason: str = ""


class Planner:
    """Chooses operations and builds their requests. Each use of a model is a run of its own, named `plan`.

    Args:
        registry: the operations that there are.
        runner: executes the planning.
        home_airport: the origin that may be assumed.
    """

    def __init__(self, registry: Registry, runner: Runner, *, home_airport: str) -> None:
        self._registry = registry
        self._runner = runner
        self._home_airport = home_airport
        self._operations: dict[str, Operation[Wanted, Planned]] = {}

    def check_home(self) -> None:
        """Check that every operation with an origin accepts the one that may be assumed.

        Raises:
            ValueError: saying what is wrong with it.
        """
        for operation in self._registry.operations():
            origins = {slot.name for slot in slots_of(operation.request_type) if slot.spoken.assume == "origin"}
            try:
                operation.request_type.model_validate(dict.fromkeys(origins, self._home_airport))
            except ValidationError as error:
                for wrong in error.errors(include_url=False, include_context=False, include_input=False):
                    if wrong["loc"] and wrong["loc"][0] in origins:
                        raise ValueError(f"{wrong['msg'].removeprefix('Value error, ')}.") from None

    def question(
        self, operations: Sequence[Operation[Any, Any]], wanted: str | Fields, *, binding: bool = False
    ) -> tuple[Operation[Any, Any], Request]:
        """Planning as an operation and its request, for whoever starts the run; `planned_by` reads the result."""
        keys = [operation.key for operation in operations]
        if isinstance(wanted, str):
            return self._operation(operations[0].agent), Wanted(query=wanted, operations=keys)
        return self._operation(operations[0].agent), Wanted(fields=dict(wanted), operations=keys, binding=binding)

    def planned_by(self, run: Run) -> Planned:
        """What a run of planning has planned.

        Raises:
            AmrikyyError: what planning failed with.
        """
        outcome = run.outcome
        assert outcome is not None, "the run has ended"
        if outcome.error is not None:
            raise outcome.error
        assert outcome.result is not None
        return Planned.model_validate_json(outcome.result)

    def operation_of(self, planned: Planned) -> Operation[Any, Any]:
        """The operation that was chosen."""
        return self._find(planned.operation)

    def request_of(self, planned: Planned) -> Request:
        """The request that was built, valid now.

        Raises:
            ValidationFailed: it was valid when it was planned; its date is in the past by now.
        """
        request_type: type[Request] = self.operation_of(planned).request_type
        try:
            return request_type.model_validate(planned.request)
        except ValidationError as error:
            raise ValidationFailed.from_pydantic(error, request_type) from None

    async def choose(
        self,
        operations: Sequence[Operation[Any, Any]],
        wanted: str | Fields,
        *,
        owner: str,
        parent_id: str | None = None,
        allowance: Allowance | None = None,
        within: Span | None = None,
        binding: bool = False,
    ) -> Choice:
        """Choose the operation that is asked for in words or by loose fields, and build its request.

        Cancelling it cancels the planning.

        Args:
            operations: what there is to choose from; their first agent is the one that the planning is counted for.
            wanted: a sentence, or fields.
            owner: the principal who pays.
            parent_id: the run that it is a part of.
            allowance: what it may spend; None if nothing limits it.
            within: what it is traced as a part of; None if it is not traced.
            binding: the fields were given for these operations, so that a wrong value is a mistake. Without it, they
                were given for whatever may come, and those that do not suit what is chosen are passed over.

        Raises:
            ValidationFailed: naming what is missing or wrong.
            AmrikyyError: what planning failed with.
        """
        plan, request = self.question(operations, wanted, binding=binding)
        run = await self._runner.start(
            plan, request, owner=owner, parent_id=parent_id, allowance=allowance, within=within
        )
        try:
            await run.wait()
        except asyncio.CancelledError:
            run.cancel("Nobody waits for the plan any more.")
            raise
        planned = self.planned_by(run)
        return Choice(
            self.operation_of(planned), self.request_of(planned), planned.assumed, run.spent.cost_usd, planned.reason
        )

    async def complete(
        self,
        operation: Operation[Any, Any],
        params: Fields,
        flowing: Fields,
        *,
        owner: str,
        parent_id: str | None = None,
        allowance: Allowance | None = None,
        within: Span | None = None,
    ) -> Choice:
        """A request of `params`, then same-named fields of what flows, then defaults, then what the rest tells.

        A model is asked only if fields are missing or wrong that can neither be read nor assumed.

        Raises:
            ValidationFailed: naming what is missing or wrong.
            AmrikyyError: what planning failed with.
        """
        everything = {**flowing, **params}
        names = {slot.name for slot in slots_of(operation.request_type)}
        named = {name: value for name, value in everything.items() if name in names or name in params}
        done = complete(operation, named, home_airport=self._home_airport, about=about(everything))
        if done.request is not None:
            return Choice(operation, done.request, done.assumed)
        if params.keys() - names:
            assert done.error is not None
            raise done.error  # no model can make an unknown field known
        return await self.choose(
            [operation], everything, owner=owner, parent_id=parent_id, allowance=allowance, within=within, binding=True
        )

    def plan_offline(self, question: Request) -> Planned:
        """What the offline model's answer amounts to.

        Raises:
            ValidationFailed: naming what is missing or wrong.
        """
        assert isinstance(question, Wanted)
        planned = self._completed(self._sample(question), question)
        if isinstance(planned, ValidationFailed):
            raise planned
        return planned

    def _find(self, key: str) -> Operation[Any, Any]:
        agent, _, name = key.partition(".")
        return self._registry[agent][name]

    def _operation(self, agent: str) -> Operation[Wanted, Planned]:
        """Planning as an operation, so that it is limited, recorded and paid for like any other."""
        if agent not in self._operations:

            @Agent(agent, "Plans.").operation(tier="pro", sample=self._sample)
            async def plan(wanted: Wanted, run: RunContext) -> Planned:
                """Choose an operation and build its request."""
                return await self._plan(wanted, run)

            self._operations[agent] = plan
        return self._operations[agent]

    async def _plan(self, wanted: Wanted, run: RunContext) -> Planned:
        operations = tuple(self._find(key) for key in wanted.operations)
        asked = json.dumps(wanted.query or wanted.fields, ensure_ascii=False)[:MAX_WANTED]
        prompt = answers.prompt_for(operations, asked, today().isoformat())
        answer = await self._ask(run, operations, prompt)
        planned = self._completed(answer, wanted)
        if isinstance(planned, ValidationFailed):
            answer = await self._ask(run, operations, answers.repair_for(prompt, answer, planned.details))
            planned = self._completed(answer, wanted)
        if isinstance(planned, ValidationFailed):
            raise planned
        return planned

    async def _ask(self, run: RunContext, operations: tuple[Operation[Any, Any], ...], prompt: str) -> BaseModel:
        return await run.generate(
            answers.answer_type(operations),
            prompt=prompt,
            system=answers.SYSTEM,
            max_output_tokens=MAX_ANSWER_TOKENS,
            temperature=0,
            message="Planning",
        )

    def _sample(self, wanted: Wanted) -> BaseModel:
        """The offline model's answer."""
        reading = self._read(wanted)
        return answers.answer(reading.operation, reading.said) if reading else answers.answer(None, {})

    def _read(self, wanted: Wanted) -> Reading | None:
        operations = [self._find(key) for key in wanted.operations]
        readings = read(wanted.text, operations, today(), frozenset(wanted.fields))
        reading = readings[0]
        if wanted.query is None:  # values say little about the operation, but what request they make tells
            reading = max(readings, key=lambda each: self._fit(each, wanted))
        elif reading.likeness == 0 and not reading.said and len(operations) > 1:
            return None
        reading.said = _without_subjects(reading, wanted)
        return reading

    def _fit(self, reading: Reading, wanted: Wanted) -> tuple[bool, int, int]:
        """Whether the fields make a request of it, how much of its name is in them, and how many of them it takes."""
        said = {name: value for name, (value, _) in _without_subjects(reading, wanted).items()}
        done = self._complete(reading.operation, said, wanted)
        if done.request is None:
            return False, 0, 0
        return True, reading.likeness, len(done.request.model_fields_set) - len(done.assumed)

    def _completed(self, answer: BaseModel, wanted: Wanted) -> Planned | ValidationFailed:
        found = answers.said_in(answer, wanted.text)
        if found is None or found[0] not in wanted.operations:
            return _nothing_fits(wanted)
        key, said = found
        done = self._complete(self._find(key), said, wanted)
        if done.request is None:
            assert done.error is not None
            return done.error
        request = values_of(done.request)
        assumed = {name: value for name, value in request.items() if name in done.assumed or name in done.defaults}
        return Planned(operation=key, request=request, assumed=assumed, reason=answers.reason_in(answer))

    def _complete(self, operation: Operation[Any, Any], said: dict[str, Any], wanted: Wanted) -> Completion:
        """A request of what was said and named: what was named holds, unless it is wrong."""
        names = {slot.name for slot in slots_of(operation.request_type)}
        named = {name: value for name, value in wanted.fields.items() if name in names}
        place: Any = {"home_airport": self._home_airport, "about": wanted.about}
        place["days_long"] = length_in(wanted.text[:MAX_READ])
        done = complete(operation, said | named, **place)
        if done.request is None and said:
            done = complete(operation, named | said, **place)
        if done.request is None and named and not wanted.binding:
            suiting = {name: value for name, value in (said | named).items() if name not in done.wrong}
            without = complete(operation, suiting, **place)
            if without.request is not None:
                return without
        return done


def _without_subjects(reading: Reading, wanted: Wanted) -> Said:
    """What was said, without what the request is about if it is known: what is left of values is no sentence."""
    if not wanted.about:
        return reading.said
    subjects = {slot.name for slot in slots_of(reading.operation.request_type) if slot.spoken.subject}
    return {name: value for name, value in reading.said.items() if name not in subjects}


def _nothing_fits(wanted: Wanted) -> ValidationFailed:
    field = "query" if wanted.query is not None else "input"
    message = f"The {field} asks for none of these: {', '.join(wanted.operations)}"
    return ValidationFailed(
        f"{message}. Say in a sentence what is wanted, or run an operation by its name.",
        details=[{"field": field, "message": message, "type": "no_operation"}],
    )


def about(fields: Fields) -> str | None:
    """What some fields are about: the most telling field, else the first text."""
    telling = [fields[name] for name in TOPICS if isinstance(fields.get(name), str)]
    return next((text for text in [*telling, *fields.values()] if isinstance(text, str) and text.strip()), None)


def _texts(value: Any) -> list[str]:
    """Every text and number in a JSON value."""
    if isinstance(value, Mapping):
        return [text for part in value.values() for text in _texts(part)]
    if isinstance(value, list):
        return [text for part in value for text in _texts(part)]
    return [str(value)] if isinstance(value, str | int | float) and not isinstance(value, bool) else []
