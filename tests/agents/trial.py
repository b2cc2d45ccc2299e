"""An agent tried without a runner: its requests are read as the server reads them, and its samples are its model."""

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import pytest
from pydantic import BaseModel

from amrikyy.agents.agent import Agent, Operation, Q, R, Request
from amrikyy.agents.context import RunContext
from amrikyy.errors import ValidationFailed

M = TypeVar("M", bound=BaseModel)


class FakeRun(RunContext):
    """A run whose model is the operation's own sample, and whose children run in place."""

    def __init__(self, operation: Operation[Any, Any], request: Request) -> None:
        self._operation = operation
        self._request = request
        self.truncated = False
        self.prompts: list[str] = []
        self.schemas: list[type[BaseModel]] = []
        self.options: dict[str, Any] = {}
        self.shares: list[float] = []
        self.heard: list[tuple[int, str]] = []
        self.children: list[str] = []
        self.failing: dict[str, Exception] = {}
        self.cancelled: list[str] = []

    def _sample(self) -> BaseModel | str:
        assert self._operation.sample is not None
        return self._operation.sample(self._request)

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
        """Answer with the sample, and ask `done` on the way as a stream would."""
        self.prompts.append(f"{system}\n{prompt}")
        self.schemas.append(schema)
        self.options = {"max_output_tokens": max_output_tokens, "message": message}
        sample = self._sample()
        assert isinstance(sample, BaseModel)
        answer = schema.model_validate_json(sample.model_dump_json(by_alias=True))
        if done is not None:
            self.shares += [done({}), done(answer.model_dump(by_alias=True))]
            assert self.shares[-2] >= 0
            self.progress(self.shares[-1], message)
        return answer

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
        """Write the sample."""
        self.prompts.append(f"{system}\n{prompt}")
        self.options = {"max_output_tokens": max_output_tokens, "expected_words": expected_words, "message": message}
        text = self._sample()
        assert isinstance(text, str)
        return text

    def progress(self, share: float, message: str) -> None:
        """Remember what was said."""
        self.heard.append((int(share * 100), message))

    async def call(self, operation: Operation[Q, R], request: Q) -> R:
        """Run the child here and now."""
        self.children.append(operation.name)
        try:
            await asyncio.sleep(0)
            if operation.name in self.failing:
                raise self.failing[operation.name]
            if self.failing:
                await asyncio.sleep(60)
            result = await operation.function(request, FakeRun(operation, request))
        except asyncio.CancelledError:
            self.cancelled.append(operation.name)
            raise
        # As the runner does: through JSON.
        return operation.result_type.model_validate_json(result.model_dump_json(by_alias=True))


class Trial:
    """What an agent makes of requests.

    Args:
        agent: which one.
        bodies: a good request of each operation; `changes` are made to it, and what is `...` is left out.
    """

    def __init__(self, agent: Agent, bodies: Mapping[str, dict[str, Any]]) -> None:
        self._agent = agent
        self._bodies = bodies

    def parse(self, name: str, **changes: Any) -> Any:
        """The request, read."""
        body = {key: value for key, value in (self._bodies[name] | changes).items() if value is not ...}
        return self._agent[name].parse(json.dumps(body, default=str).encode())

    def refusal(self, name: str, **changes: Any) -> dict[str, str]:
        """What is said of each wrong field."""
        with pytest.raises(ValidationFailed) as refused:
            self.parse(name, **changes)
        return {detail["field"]: detail["message"] for detail in refused.value.details}

    async def run(self, name: str, **changes: Any) -> tuple[Any, FakeRun]:
        """The result, and how it came about."""
        operation, request = self._agent[name], self.parse(name, **changes)
        fake = FakeRun(operation, request)
        made = await operation.function(request, fake)
        return operation.result_type.from_text(made, request) if operation.writes_text else made, fake

    def sample(self, name: str, **changes: Any) -> Any:
        """What the offline model answers."""
        return self.sample_of(name, self.parse(name, **changes))

    def sample_of(self, name: str, request: Any) -> Any:
        """What the offline model answers to a request that is read already."""
        function = self._agent[name].sample
        assert function is not None
        return function(request)
