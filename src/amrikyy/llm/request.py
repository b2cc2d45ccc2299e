"""What is asked of a model, and what comes back: the one interface between agents and providers."""

from collections.abc import Callable
from typing import Literal, Protocol

import msgspec
from pydantic import BaseModel

from amrikyy.llm.spans import ModelCall
from amrikyy.telemetry.spans import Span

Tier = Literal["standard", "pro"]

Pieces = list[str]
"""Pieces of an answer that arrived together; none is empty."""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One call of a model.

    Attributes:
        prompt: the finished prompt.
        system: the system instruction: the role that the model takes, and its rules.
        schema: the pydantic model that the answer must match, as JSON; None for prose.
        inputs: the operation's validated request as JSON; the offline model answers from them.
        sample: writes the offline model's answer (prose, or JSON of `schema`). Without one the offline
            model fills `schema` itself from `inputs`.
        streaming: whether the answer is wanted as it is written. False lets a client make one plain call and
            emit the whole text at once, which is cheaper for both sides.
        tier: which of the configured models serves the call.
        max_output_tokens: upper bound of the answer's length.
        temperature: 0 to 2, as the provider defines it.
        agent: the agent that makes the call, for metrics.
        span: the span that the call is a part of; None if it is not traced.
        calls: collects the attempts, if they are traced.
    """

    prompt: str
    system: str = ""
    schema: type[BaseModel] | None = None
    inputs: bytes = b"{}"
    sample: Callable[[], str] | None = None
    streaming: bool = True
    tier: Tier = "standard"
    max_output_tokens: int = 8192
    temperature: float = 0.7
    agent: str = ""
    span: Span | None = None
    calls: list[ModelCall] | None = None


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """What a call used and cost. A stream emits one before its first text and one at its end; the later one counts.

    The first names the model that answers and estimates the prompt, so that a call that is cut off can still be
    billed (`Models.estimate`); its cost is not known yet.

    Attributes:
        model: the model that answered, without its provider ("gemini-2.5-pro"; the offline model is "offline").
        provider: "gemini", "openai", "ollama", "offline".
        input_tokens: tokens of the prompt, as the provider counted them.
        output_tokens: tokens of the answer, thinking included.
        cost_usd: US dollars; None when the price is unknown, which is not 0.
        estimated: whether the tokens are estimated from the length of the text, as the provider did not report them.
        truncated: whether the answer was cut off at `max_output_tokens`.
    """

    model: str
    provider: str
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float | None = None
    estimated: bool = False
    truncated: bool = False


Emit = Callable[[Pieces | Usage], None]
"""Receives what a model says the moment it arrives, called within the socket's own callback.

A function, not an asynchronous generator: each generator on a token's way costs 0.3 microseconds a token and some 5 a
call, and waiting for the next item costs a turn of the event loop. The run's log keeps what comes, so there is no
consumer to wait for."""


class Client(Protocol):
    """A model that can be asked. The wire clients, the offline model and the fallback chain all implement it."""

    @property
    def name(self) -> str:
        """`provider:model`, for people and for labels."""
        ...

    async def stream(self, request: Request, emit: "Emit") -> None:
        """Ask, and emit who answers (`Usage`), the answer as it comes (`Pieces`), and what it used (`Usage`), last.

        Cancelling the task closes the connection to the provider at once; so does an exception raised by `emit`, which
        propagates to the caller.

        Raises:
            ModelError: one of its subclasses, by cause.
        """
        ...

    async def ping(self) -> None:
        """Find out whether the model can be reached, without spending tokens. Raises ModelError if not."""
        ...

    async def close(self) -> None:
        """Close the connections. Idempotent."""
        ...
