"""What is asked of a model, and what comes back: the one seam between agents and providers."""

from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol

import msgspec
from pydantic import BaseModel

from amrikyy.llm.spans import ModelCall
from amrikyy.telemetry.spans import Span

Tier = Literal["standard", "pro"]

Pieces = list[str]
"""Pieces of an answer that came together, none of them empty."""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One call of a model.

    Attributes:
        prompt: what the user asks, already written out.
        system: who the model is to be and what it must keep to.
        schema: the pydantic model that the answer must be JSON of; None for prose.
        inputs: the operation's validated request as JSON values; the offline model answers from them.
        sample: writes the offline model's answer (prose, or JSON of `schema`). Without one the offline
            model fills `schema` itself from `inputs`.
        streaming: the answer is wanted as it is written. False lets a client make one plain call and
            yield the whole text at once, which is cheaper for both sides.
        tier: which of the configured models is meant.
        max_output_tokens: upper bound of the answer's length.
        temperature: 0 to 2; the provider's meaning.
        agent: whose call it is, for metrics.
        span: what the call is a part of; None if it is not traced.
        calls: where each attempt is noted, if it is traced.
    """

    prompt: str
    system: str = ""
    schema: type[BaseModel] | None = None
    inputs: Mapping[str, Any] = {}
    sample: Callable[[], str] | None = None
    streaming: bool = True
    tier: Tier = "standard"
    max_output_tokens: int = 8192
    temperature: float = 0.7
    agent: str = ""
    span: Span | None = None
    calls: list[ModelCall] | None = None


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """What a call used and cost. A stream yields one before its first text and one last; the later one holds.

    The first says who answers and estimates the prompt, so that a call that is cut off can still be billed
    (`Models.estimate`); its cost is not known yet.

    Attributes:
        model: the model that answered, without its provider ("gemini-2.5-pro"; the offline model is "offline").
        provider: "gemini", "openai", "ollama", "offline".
        input_tokens: tokens of the prompt, as the provider counted them.
        output_tokens: tokens of the answer, thinking included.
        cost_usd: US dollars; None when the price is unknown, which is not 0.
        estimated: the provider did not report the tokens, so they are estimated from the length of the text.
        truncated: the answer was cut off at `max_output_tokens`.
    """

    model: str
    provider: str
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float | None = None
    estimated: bool = False
    truncated: bool = False


Emit = Callable[[Pieces | Usage], None]
"""Is told what a model says, at the moment it comes, from the socket's own callback.

A function and no asynchronous generator: each of those that a token passes on its way costs 0.3 microseconds, each call
some 5, and whoever waits for the next item a turn of the event loop. The log of the run holds what comes, so nobody
has to be waited for."""


class Client(Protocol):
    """A model that can be asked. Wire clients, the offline model and the fallback chain are all one of these."""

    @property
    def name(self) -> str:
        """`provider:model`, for people and for labels."""
        ...

    async def stream(self, request: Request, emit: "Emit") -> None:
        """Ask, and emit who answers (`Usage`), the answer as it comes (`Pieces`), and what it used (`Usage`), last.

        Cancelling the task closes the connection to the provider at once, and so does an exception out of `emit`,
        which is raised here.

        Raises:
            ModelError: one of its subclasses, by cause.
        """
        ...

    async def ping(self) -> None:
        """Find out whether the model can be reached, without spending tokens. Raises ModelError if not."""
        ...

    async def close(self) -> None:
        """Let go of connections. Idempotent."""
        ...
