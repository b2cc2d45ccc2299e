"""For the tests of agents: an operation's real run, without a server, with answers of the model that the test gives."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, NamedTuple

import msgspec
from pydantic import BaseModel

from amrikyy.agents.agent import Operation, Q, R
from amrikyy.agents.context import RunContext
from amrikyy.agents.runner import Runner
from amrikyy.cache import Cache, MemoryCache
from amrikyy.errors import AmrikyyError, ModelError
from amrikyy.llm.models import Models, ModelsConfig, open_models
from amrikyy.llm.prices import Prices, estimate_tokens
from amrikyy.llm.request import Emit, Request, Usage
from amrikyy.runs.live import LiveRuns
from amrikyy.runs.partial import Fold
from amrikyy.runs.run import Run
from amrikyy.runs.slots import Slots
from amrikyy.telemetry.metrics import Metrics

_WORDS = re.compile(r"\s*\S+|\s+")


class Asked(NamedTuple):
    """One question to the model."""

    prompt: str
    system: str
    schema: type[BaseModel] | None


@dataclass(frozen=True, slots=True)
class Tried(Generic[R]):
    """How a run went.

    Attributes:
        error: what it failed with; None if it has a result.
        asked: what the model was asked, in order, by the operations that it called as well.
        tokens: the texts that a stream shows.
        partials: the objects that a stream shows as they grow, as JSON values.
        progress: (percent, message), as a stream shows them.
        tokens_used: input and output tokens, of the operations that it called as well.
        cost_usd: what its calls have cost; None if a price is not known.
    """

    _result: R | None
    error: AmrikyyError | None
    asked: list[Asked]
    tokens: list[str] = field(default_factory=list)
    partials: list[dict[str, Any]] = field(default_factory=list)
    progress: list[tuple[int, str]] = field(default_factory=list)
    tokens_used: int = 0
    cost_usd: float | None = 0.0

    @property
    def result(self) -> R:
        """The result.

        Raises:
            AmrikyyError: what the run failed with.
        """
        if self.error is not None:
            raise self.error
        assert self._result is not None
        return self._result


async def try_out(
    operation: Operation[Q, R],
    request: Q | Mapping[str, Any],
    *,
    answers: Sequence[BaseModel | str | ModelError] = (),
    owner: str = "user:test",
    timeout_s: float = 10.0,
) -> Tried[R]:
    """Run an operation as the server runs it, and return how that went.

    Args:
        operation: what the decorator has made of the function.
        request: the request, or the JSON object that a client would send, which is read as the server reads it.
        answers: what the model answers, one for each time that it is asked; a ModelError is a failure of it.
            Without any, the offline model answers, as it does on a laptop.
        owner: who asks.
        timeout_s: after so long the run fails as it does at RUN_TIMEOUT_S.

    Raises:
        ValidationFailed: the request is wrong.
        AssertionError: the model was asked more often than there are answers, or less often.
        Exception: what the operation raised that is no AmrikyyError; the server would answer 500.
    """
    parsed = operation.parse(msgspec.json.encode(request)) if isinstance(request, Mapping) else request
    raised: list[BaseException] = []

    async def watched(request: Q, run: RunContext) -> Any:
        try:
            return await operation.function(request, run)
        except (Exception, KeyboardInterrupt) as error:  # Ctrl-C ends the tests, not only the run
            if not isinstance(error, AmrikyyError):
                raised.append(error)
            raise

    script = _Script(answers) if answers else None
    asked: list[Asked] = []
    models = _models(script, asked)
    runner = Runner(
        models,
        Cache(MemoryCache(1_000_000)),
        LiveRuns(keep_s=60),
        _Unrecorded(),
        Slots(1000, 1000),
        Metrics(),
        timeout_s=timeout_s,
    )
    try:
        run = await runner.start(replace(operation, function=watched), parsed, owner=owner, streams=True)
        outcome = await run.wait()
    finally:
        await runner.close()
        await models.close()
    if script is not None and script.too_few:
        raise AssertionError(
            f"{operation.key} asks the model {len(asked)} times, and the test has {len(answers)} answers."
        )
    if raised:
        raise raised[0]
    if script is not None and outcome.error is None and len(asked) < len(answers):
        raise AssertionError(f"{operation.key} asks the model {len(asked)} times; the test has {len(answers)} answers.")
    result = None if outcome.result is None else operation.result_type.model_validate_json(outcome.result)
    spent = run.spent
    tried: Tried[R] = Tried(result, outcome.error, asked, tokens_used=spent.total_tokens, cost_usd=spent.cost_usd)
    _show(run, tried)
    return tried


def _show(run: Run, tried: Tried[Any]) -> None:
    shown = None
    for number, event in enumerate(run.execution.events, 1):
        if event.kind == "token":
            tried.tokens.append(event.data)
        elif event.kind == "progress":
            tried.progress.append(event.data)
        elif event.kind == "partial" and (kind := run.execution.partial_type) is not None:
            shown = shown or Fold(kind)
            shown.feed(event.data, run.execution.partial_types.get(number))
            tried.partials.append(msgspec.json.decode(shown.encoded()))


class _Unrecorded:
    def note(self, run: Run) -> None:
        """Nothing is kept."""

    def check(self) -> None:
        """Nothing could be in the way."""


class _Listening:
    """The offline model, whose questions are noted."""

    def __init__(self, inner: Any, asked: list[Asked]) -> None:
        self._inner = inner
        self._asked = asked
        self.name: str = inner.name

    async def stream(self, request: Request, emit: Emit) -> None:
        self._asked.append(Asked(request.prompt, request.system, request.schema))
        await self._inner.stream(request, emit)

    async def ping(self) -> None:
        """It is always there."""

    async def close(self) -> None:
        """It has nothing to let go of."""


class _Script:
    """A model that answers what it is told."""

    name = "test:script"

    def __init__(self, answers: Sequence[BaseModel | str | ModelError]) -> None:
        self._left = list(answers)
        self.too_few = False

    async def stream(self, request: Request, emit: Emit) -> None:
        if not self._left:
            self.too_few = True
            raise ModelError("The test has no answer left.", model=self.name)
        answer = self._left.pop(0)
        if isinstance(answer, ModelError):
            raise answer
        text = answer if isinstance(answer, str) else answer.model_dump_json(by_alias=True)
        used = Usage(
            model="script",
            provider="test",
            input_tokens=estimate_tokens(len(request.prompt) + len(request.system)),
            output_tokens=estimate_tokens(len(text)),
            cost_usd=0.0,
        )
        emit(used)
        emit(_WORDS.findall(text))
        emit(used)


def _models(script: _Script | None, asked: list[Asked]) -> Models:
    if script is None:
        offline = open_models(ModelsConfig(models="offline", offline_tokens_per_s=0))
        client = _Listening(offline.for_tier("standard"), asked)
    else:
        client = _Listening(script, asked)
    return Models({"standard": client, "pro": client}, [client], breakers={}, http=None, prices=Prices({}))
