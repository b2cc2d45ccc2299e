"""Model calls as spans, following OpenTelemetry's semantic conventions for generative AI."""

from typing import TYPE_CHECKING

import msgspec

from amrikyy.telemetry.spans import Clean, Description, Value, instructions, message

if TYPE_CHECKING:
    from amrikyy.llm.request import Request, Usage

_PROVIDERS = {"gemini": "gcp.gemini"}
"""Providers whose names in the conventions differ from ours."""


class ModelCall(msgspec.Struct, gc=False):
    """One attempt to get an answer.

    Attributes:
        model: `provider:model`.
        request: what was asked.
        attempt: the number of the attempt with this model, from 1.
        usage: what it used, once that is known.
        pieces: its answer, if traces are to have it.
        outcome: "ok", or the error's code.
        first_text_ms: milliseconds until the answer began.
    """

    model: str
    request: "Request"
    attempt: int
    usage: "Usage | None" = None
    pieces: "list[str]" = []
    outcome: str = "ok"
    first_text_ms: float | None = None


def describe_call(call: ModelCall, clean: Clean | None) -> Description:
    """Describe the span of a call: `chat`."""
    provider, _, model = call.model.partition(":")
    request, usage = call.request, call.usage
    attributes: dict[str, Value | None] = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": _PROVIDERS.get(provider, provider),
        "gen_ai.request.model": model or provider,
        "gen_ai.request.max_tokens": request.max_output_tokens,
        "gen_ai.request.temperature": request.temperature,
        "gen_ai.request.stream": request.streaming,
        "gen_ai.output.type": "text" if request.schema is None else "json",
        "amrikyy.attempt": call.attempt,
    }
    if usage is not None:
        attributes |= {
            "gen_ai.response.model": usage.model,
            "gen_ai.usage.input_tokens": usage.input_tokens,
            "gen_ai.usage.output_tokens": usage.output_tokens,
            "gen_ai.usage.cost": usage.cost_usd,
            "amrikyy.usage_estimated": usage.estimated or None,
            "amrikyy.truncated": usage.truncated or None,
        }
    if call.first_text_ms is not None and request.streaming:
        attributes["amrikyy.first_output_ms"] = call.first_text_ms
    if clean is not None:
        attributes["gen_ai.input.messages"] = message("user", request.prompt, clean)
        if request.system:
            attributes["gen_ai.system_instructions"] = instructions(request.system, clean)
        if call.pieces:
            attributes["gen_ai.output.messages"] = message("assistant", "".join(call.pieces), clean)
    error = None if call.outcome == "ok" else call.outcome
    return Description(f"chat {model or provider}", "client", attributes, error)
