"""The models of a stream's events, for the documentation; `sse` writes the events."""

from typing import Any

from pydantic import BaseModel, Field, create_model

from amrikyy.agents.agent import Operation
from amrikyy.web.replies import ErrorBody, TokenUsage, Wire


class Connected(Wire):
    """The stream has begun."""

    message: str
    run_id: str
    agent: str
    operation: str


class Queued(Wire):
    """The server is full, and the run waits in line."""

    position: int = Field(ge=1)


class Token(Wire):
    """The next piece of a text."""

    chunk: str


class Partial(Wire):
    """The result so far; what is not there yet is left out."""

    data: dict[str, Any]


class Progress(Wire):
    """How far the work is, in percent. It never falls, and is 100 only at the end."""

    progress: int = Field(ge=0, le=100)
    message: str


class Reconnect(Wire):
    """The server stops, and another one works on the run. It has no id: the last one that was received holds."""

    run_id: str
    retry_ms: int = Field(description="Milliseconds after which to ask again, with `Last-Event-ID`.")


class Complete(Wire):
    """The run has ended well."""

    total_tokens: int
    duration: str = Field(examples=["2.5s"])
    usage: TokenUsage
    cost_usd: float | None = Field(description="US dollars; null when the model's price is not known.")
    model: str | None
    cached: bool
    result: Any


Events = dict[str, type[BaseModel]]
"""The model of each event by its name."""


def events_of(operation: Operation[Any, Any] | None = None) -> Events:
    """The events of an operation's stream; without an operation, those of any stream."""
    grows: Events = {"token": Token, "partial": Partial}
    complete: type[BaseModel] = Complete
    if operation is not None:
        del grows["partial" if operation.writes_text else "token"]
        name = f"{operation.agent.title()}{operation.name[0].upper()}{operation.name[1:]}Complete".replace("-", "")
        complete = create_model(name, __base__=Complete, result=(operation.result_type, ...))
    return {
        "connected": Connected, "queued": Queued, **grows, "progress": Progress, "complete": complete,
        "error": ErrorBody, "reconnect": Reconnect,
    }  # fmt: skip
