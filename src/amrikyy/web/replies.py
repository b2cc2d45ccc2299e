"""Bodies that several routes share, and the representation of a run for its caller."""

from typing import Any, Literal

import msgspec
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from amrikyy.runs.execution import Spent
from amrikyy.runs.run import Run


class Wire(BaseModel):
    """Base of the bodies that this server answers with: camelCase outside."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, defer_build=True)


class Success(Wire):
    """The field that every success has."""

    success: Literal[True] = True


class ErrorBody(Wire):
    """The body of every error."""

    success: Literal[False] = False
    error: str = Field(description="A short title.", examples=["Validation failed"])
    code: str = Field(description="A stable word that a program can switch on.", examples=["validation_failed"])
    message: str = Field(description="What happened and what to do about it.")
    details: list[dict[str, Any]] = Field(
        description="For failed validation: `field`, `message` and `type` of every mistake."
    )
    request_id: str | None


class TokenUsage(Wire):
    """Tokens that the model used, this run's children included."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    usage_estimated: bool = Field(
        default=False,
        exclude_if=lambda estimated: not estimated,
        description="Whether a provider did not report its tokens, so that some are estimated.",
    )


def duration_text(seconds: float) -> str:
    """A duration like the guide's "2.5s"; always in seconds, short ones with more digits."""
    return f"{seconds:.1f}s" if seconds >= 1 else f"{seconds:.3f}s"


def dollars(cost_usd: float | None) -> float | None:
    """An amount of dollars without floating-point noise: no token costs as little as a tenth of a billionth."""
    return None if cost_usd is None else round(cost_usd, 10)


def usage_of(spent: Spent) -> dict[str, Any]:
    """Token counts, under the industry's usual names; `usageEstimated` only if the provider did not report them."""
    usage: dict[str, Any] = {
        "promptTokens": spent.input_tokens,
        "completionTokens": spent.output_tokens,
        "totalTokens": spent.total_tokens,
    }
    return usage | {"usageEstimated": True} if spent.estimated else usage


def completion(run: Run) -> dict[str, Any]:
    """The data of the `complete` event."""
    spent = run.spent
    return {
        "totalTokens": spent.total_tokens,
        "duration": duration_text(run.elapsed_s),
        "usage": usage_of(spent),
        "costUsd": dollars(spent.cost_usd),
        "model": spent.model,
        "cached": run.cached,
        "result": _result(run),
    }


def reply(run: Run) -> dict[str, Any]:
    """The body of the response to `POST /api/agents/{agent}/{operation}`."""
    spent = run.spent
    return {
        "success": True,
        "agent": run.agent,
        "operation": run.operation,
        "runId": run.id,
        "result": _result(run),
        "model": spent.model,
        "usage": usage_of(spent),
        "costUsd": dollars(spent.cost_usd),
        "cached": run.cached,
        "duration": duration_text(run.elapsed_s),
    }


def _result(run: Run) -> msgspec.Raw | None:
    outcome = run.outcome
    return msgspec.Raw(outcome.result) if outcome is not None and outcome.result is not None else None
