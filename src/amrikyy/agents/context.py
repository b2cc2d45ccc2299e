"""What an operation can do while it runs: ask a model, report progress, run another operation."""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from pydantic import BaseModel, ValidationError

from amrikyy.agents.agent import Operation, Q, R, Request
from amrikyy.agents.calls import count_call, endless, lineage
from amrikyy.agents.counts import count_usage
from amrikyy.agents.cover import Cover
from amrikyy.agents.results import MAX_OUTPUT, check_text, lone_surrogate, output_too_large, sample_text
from amrikyy.agents.showing import PARTIAL_INTERVAL_S, Answer, Feed, Growth, Prose, share_of_fields
from amrikyy.errors import ModelMalformed
from amrikyy.llm.request import Request as ModelRequest
from amrikyy.llm.request import Usage
from amrikyy.runs.events import Delta, Event
from amrikyy.runs.partial import Fold
from amrikyy.runs.run import Run

if TYPE_CHECKING:
    from amrikyy.agents.runner import Runner

M = TypeVar("M", bound=BaseModel)

MAX_CHANGES = 200_000
"""The most texts and progress events that one run may show; each is kept as long as the run can be read."""

MAX_QUOTED_ERRORS = 20
"""The most validation errors that a repair shows to the model; a hopeless answer has hundreds."""

CHARACTERS_PER_WORD = 6.1
"""In English prose, with spaces and Markdown. Only the progress shown depends on it."""

_REPAIR = """{prompt}

You answered this before:
{answer}

That answer is not valid:
{errors}

Write the whole answer again as one JSON object that follows the schema, with these mistakes corrected."""


class RunContext:
    """What an operation's function works with: each run gets its own."""

    __slots__ = (
        "_changes", "_message", "_operation", "_percent", "_request", "_run", "_runner", "_said", "_span", "growing",
        "shown_at", "truncated",
    )  # fmt: skip

    def __init__(self, runner: "Runner", run: Run, operation: Operation[Any, Any], request: Request) -> None:
        self._runner = runner
        self._run = run
        self._operation = operation
        self._request = request
        self._span = run.span  # the run may end before the work that it began
        self._percent = 0
        for event in run.execution.events:  # if another process began the work, readers have seen how far it was
            if event.kind == "progress":
                self._percent = max(self._percent, event.data[0])
        self._message = ""
        self._said = self._changes = 0
        self.truncated = False
        self.growing: Growth | None = None
        """The object that was shown last."""
        self.shown_at = float("-inf")
        """When a partial object was last shown."""

    @property
    def id(self) -> str:
        """The run's id, which its caller sees in `x-run-id`: for logs, and as an idempotency key elsewhere."""
        return self._run.id

    @property
    def owner(self) -> str:
        """Who asked, as a stable "user:…" or "key:…" under which to look up their data.

        Raises:
            TypeError: the operation is `shared`: its result is given to others, so it must not depend on who asks.
        """
        if self._operation.shared:
            raise TypeError(f"{self._operation.key} is shared, so its result must not depend on who asks")
        return self._run.owner

    @property
    def remaining_s(self) -> float:
        """Seconds until the run's deadline, at which it is cancelled."""
        return max(0.0, self._run.deadline_s - self._run.elapsed_s)

    async def generate(
        self,
        schema: type[M],
        *,
        prompt: str,
        system: str = "",
        max_output_tokens: int = 8192,
        temperature: float = 0.7,
        done: Callable[[dict[str, Any]], float] | None = None,
        message: str = "Working",
    ) -> M:
        """Ask the model for an object of `schema`, stream its partial states, and return the valid whole.

        An answer that is not valid is repaired once: the model is shown its answer and what is wrong with it.

        Args:
            schema: the type of the answer, which the partial events grow into.
            prompt: the finished prompt.
            system: the system instruction: the role that the model takes.
            max_output_tokens: upper bound of the answer.
            temperature: 0 to 2.
            done: takes the partial object so far (camelCase JSON) and returns the share of the work done, 0 to 1,
                for progress. By default, it is the share of the schema's fields that are there.
            message: what progress events say is going on.

        Raises:
            ModelMalformed: the repaired answer is not valid either.
            ModelError: the provider failed; the subclass tells the cause.
        """
        request = self._ask(prompt, system, schema, max_output_tokens, temperature)
        growth = Growth(self, schema, done or share_of_fields(schema), message)
        answer = await self._collect(request, growth)
        try:
            return schema.model_validate_json(_json_object(answer))
        except ValidationError as error:
            mistakes = _describe(error)
        growth.restart()
        repair = _REPAIR.format(prompt=prompt, answer=answer[: 4 * max_output_tokens], errors="\n".join(mistakes))
        answer = await self._collect(self._ask(repair, system, schema, max_output_tokens, temperature), growth)
        try:
            return schema.model_validate_json(_json_object(answer))
        except ValidationError as error:
            cut = " It was cut off at the output limit." if self.truncated else ""
            raise ModelMalformed(
                f"The model {self._run.execution.spent.model} twice gave an answer that is no valid "
                f"{self._operation.key} result.{cut} Try again, or configure a more capable model.",
                model=self._run.execution.spent.model or "",
                details=[{"field": field, "message": message, "type": kind} for field, message, kind in _list(error)],
            ) from None

    async def write(
        self,
        *,
        prompt: str,
        system: str = "",
        max_output_tokens: int = 8192,
        temperature: float = 0.7,
        expected_words: int | None = None,
        message: str = "Writing",
    ) -> str:
        """Ask the model for prose, stream it as it is written, and return the whole text.

        Args:
            prompt: the finished prompt.
            system: the system instruction: the role that the model takes.
            max_output_tokens: upper bound of the answer.
            temperature: 0 to 2.
            expected_words: about how long the text will be, for progress.
            message: what progress events say is going on.

        Raises:
            ModelError: the provider failed; the subclass tells the cause.
        """
        text = Prose(self, (expected_words or 0) * CHARACTERS_PER_WORD, message)
        return await self._answer(self._ask(prompt, system, None, max_output_tokens, temperature), text.feed)

    def say(self, text: str) -> None:
        """Stream a text of the operation's own, such as a heading between two texts that the model writes.

        Raises:
            InternalError: the run has shown too much (`output_too_large`), or the text has a lone surrogate
                (`wrong_result`).
        """
        check_text(self._operation, text)
        execution = self._run.execution
        self._count(len(text))
        execution.shows(self._run.elapsed_s)
        execution.append(Event("token", text))

    def show(self, partial: Mapping[str, Any]) -> None:
        """Stream how far a result of the operation's own has grown, for instance one that a library streams.

        A stream shows ten a second at most, and leaves out what is not valid yet; an answer in JSON shows none.

        Args:
            partial: the object so far, as JSON values with the names that the result has in JSON (camelCase).
        """
        execution, now = self._run.execution, time.monotonic()
        if not execution.streams or now - self.shown_at < PARTIAL_INTERVAL_S:
            return
        try:
            text = msgspec.json.encode(partial).decode()
        except UnicodeEncodeError as error:
            raise lone_surrogate(self._operation) from error
        if self._said + len(text) > MAX_OUTPUT // 2:
            return  # each is kept whole; the result itself comes at the end
        fold = Fold(self._operation.result_type)
        fold.feed(growth := Delta(text, restarts=True))
        self._count(len(text))
        self.shown_at = now
        execution.shows(self._run.elapsed_s)
        number = len(execution.events) + 1
        if execution.partial_type is None:
            execution.partial_type = self._operation.result_type
        self.growing = None
        execution.partial_types[number] = self._operation.result_type
        execution.latest_partial = (number, fold.encoded())
        execution.append(Event("partial", growth))

    def progress(self, share: float, message: str) -> None:
        """Report the share of the work done, 0 to 1. Progress never falls, and reaches 100 % only at the end."""
        percent = min(99, int(share * 100))
        if percent > self._percent or (message != self._message and percent == self._percent):
            check_text(self._operation, message)
            self._count(len(message))
            self._percent, self._message = percent, message
            self._run.execution.append(Event("progress", (percent, message)))

    async def call(self, operation: Operation[Q, R], request: Q) -> R:
        """Run another operation as a child of this run, and return its result.

        Raises:
            AmrikyyError: the error that the child failed with.
            InternalError: runs are too deep within one another, or this one has started too many (`too_many_runs`).
            TypeError: this operation is `shared`, and the other is not: its result may depend on who asks.
        """
        if self._operation.shared and not operation.shared:
            raise TypeError(f"{self._operation.key} is shared, so it cannot call {operation.key}, which is not")
        line = lineage(self._run, self._runner.live)
        count_call(line, operation)
        child = await self._runner.start(
            operation,
            request,
            owner=self._run.owner,
            parent_id=self._run.id,
            deadline_s=self._run.deadline_s,
            allowance=self._run.execution.allowance,
            within=self._span,
        )
        if any(child.execution is each.execution for each in line):  # it would wait for itself until the deadline
            child.stop(endless(line, operation))
        try:
            outcome = await child.wait()
        except asyncio.CancelledError:
            child.cancel("The run that this one belongs to has ended.")
            raise
        finally:
            spent = child.spent
            self._run.execution.spent.add(
                spent.models, spent.input_tokens, spent.output_tokens, spent.cost_usd, estimated=spent.estimated
            )
        if outcome.error is not None:
            raise outcome.error
        assert outcome.result is not None
        return operation.result_type.model_validate_json(outcome.result)

    async def charge(self, model: str, *, input_tokens: int, output_tokens: int, cost_usd: float | None = None) -> None:
        """Account for a call of a model that the operation has made with some other library.

        It counts towards the run's usage and cost, the ledger, metrics and budgets, as a call by `write` or `generate`
        does, but only afterwards: a budget refuses the next call, not this one.

        Args:
            model: `provider:model`, such as "anthropic:claude-sonnet-4-5".
            input_tokens: of the prompt, as the provider counted them.
            output_tokens: of the answer, thinking included.
            cost_usd: what it has cost; by default what the price table (MODEL_PRICES, genai-prices) says.

        Raises:
            ValueError: the model is not written as `provider:model`, or a number is negative.
            ValidationFailed: the caller has a budget, and the model's price is not known (`price_unknown`).
        """
        check_text(self._operation, model)
        provider, _, name = model.partition(":")
        if not (provider and name) or min(input_tokens, output_tokens, cost_usd or 0) < 0:
            raise ValueError(f"charge({model!r}): write provider:model, and tokens and dollars of zero or more")
        if cost_usd is None:
            # The first look at the price table takes 0.15 s.
            cost_usd = await asyncio.to_thread(self._runner.models.cost, provider, name, input_tokens, output_tokens)
        used = Usage(
            model=name, provider=provider, input_tokens=input_tokens, output_tokens=output_tokens, cost_usd=cost_usd
        )
        self._run.execution.charge(name, input_tokens, output_tokens, cost_usd, estimated=False)
        count_usage(self._runner.metrics, self._run.agent, used)
        if (allowance := self._run.execution.allowance) is not None:
            allowance.book(cost_usd, model)

    def _count(self, length: int) -> None:
        """Count what the run is about to show; refuse it beyond the limits, or once the run has ended."""
        if self._run.execution.outcome is not None:
            raise asyncio.CancelledError
        self._said += length
        self._changes += 1
        if self._said > MAX_OUTPUT or self._changes > MAX_CHANGES:
            raise output_too_large(self._operation)

    def _ask(
        self, prompt: str, system: str, schema: type[BaseModel] | None, max_output_tokens: int, temperature: float
    ) -> ModelRequest:
        sample = self._operation.sample
        return ModelRequest(
            prompt=prompt,
            system=system,
            schema=schema,
            inputs=self._run.request,
            sample=None if sample is None else lambda: sample_text(self._operation, sample(self._request), schema),
            streaming=self._run.execution.streams,
            tier=self._operation.tier,
            max_output_tokens=max_output_tokens,
            temperature=temperature,
            agent=self._run.agent,
            span=self._span,
            calls=None if self._span is None else [],
        )

    async def _collect(self, request: ModelRequest, growth: "Growth") -> str:
        answer = await self._answer(request, growth.feed)
        growth.flush()
        return answer

    async def _answer(self, request: ModelRequest, feed: Feed) -> str:
        """Ask, pass the text on as it comes, and account for what it used, however the call ends. Returns the text."""
        execution, models = self._run.execution, self._runner.models
        allowance = execution.allowance  # None where nothing limits what is spent
        cover = await Cover.of(execution, allowance, models, request) if allowance is not None else None
        answer = Answer(feed, cover)
        finished = False
        try:
            await models.for_tier(request.tier).stream(request, answer.take)
            finished = True
        finally:
            if (usage := answer.usage) is not None:
                used = usage if finished else models.estimate(usage, answer.length)
                self.truncated = used.truncated
                execution.charge(
                    used.model, used.input_tokens, used.output_tokens, used.cost_usd, estimated=used.estimated
                )
                count_usage(self._runner.metrics, self._run.agent, used)
                if request.calls:
                    request.calls[-1].usage = used
                    if self._runner.traces_content:
                        request.calls[-1].pieces = answer.pieces
            if request.calls:
                request.calls.clear()  # each refers to the request
            if cover is not None:
                cover.settle(used.cost_usd if usage is not None else 0.0)
        if not answer.length:
            raise ModelMalformed(
                "The model answered with nothing at all. Try again, or try another model.",
                model=usage.model if usage else "",
            )
        return "".join(answer.pieces)


def _json_object(answer: str) -> str:
    """The JSON object in an answer that may have a code fence or a sentence around it."""
    start, end = answer.find("{"), answer.rfind("}")
    return answer[start : end + 1] if 0 <= start < end else answer


def _list(error: ValidationError) -> list[tuple[str, str, str]]:
    return [
        (".".join(str(part) for part in wrong["loc"])[:200] or "(answer)", wrong["msg"], wrong["type"])
        for wrong in error.errors(include_url=False, include_input=False, include_context=False)[:MAX_QUOTED_ERRORS]
    ]


def _describe(error: ValidationError) -> list[str]:
    return [f"- {field}: {message}" for field, message, _ in _list(error)]
