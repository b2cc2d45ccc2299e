"""The offline model: deterministic, free, built in, and no AI."""

import asyncio
import json
import re
from typing import Any

import msgspec

from amrikyy.llm.filler import fill
from amrikyy.llm.prices import estimate_tokens
from amrikyy.llm.request import Emit, Request, Usage

_PIECES = re.compile(r"\s*\S{1,12}|\s+")
"""A word with the space before it is about a token; long words come in parts."""

_TICK_S = 0.01
"""Seconds. At high rates, the tokens of one such interval share a timer."""


class OfflineClient:
    """Answers from the operation's own sample, else fills the schema from the inputs, else says what it is.

    `tokens_per_s` is the rate at which it streams; 0 means as fast as it is read.
    """

    name = "offline:offline"
    provider = "offline"
    model = "offline"

    def __init__(self, tokens_per_s: float = 50) -> None:
        self._tokens_per_s = tokens_per_s

    async def stream(self, request: Request, emit: Emit) -> None:
        """Answer at the set rate; see `Client.stream`.

        Raises:
            ModelMalformed: the schema has validators that no invented value satisfies.
        """
        text = _answer(request)
        input_tokens = estimate_tokens(len(request.prompt) + len(request.system))
        emit(Usage(model=self.model, provider=self.provider, input_tokens=input_tokens, cost_usd=0.0, estimated=True))
        if not request.streaming:
            emit([text])
        elif self._tokens_per_s <= 0:
            emit(_PIECES.findall(text))
        else:
            await self._pace(text, emit)
        output_tokens = estimate_tokens(len(text))
        emit(
            Usage(
                model=self.model,
                provider=self.provider,
                input_tokens=input_tokens,
                output_tokens=output_tokens,
                cost_usd=0.0,
            )
        )

    async def _pace(self, text: str, emit: Emit) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        number = position = 0
        # One at a time: a list of all pieces would take 60 KB for as long as it streams, and `finditer` 1.7 KB.
        while piece := _piece_at(text, position):
            # Measured from the start, so that the delays of late timers do not add up.
            ahead_s = number / self._tokens_per_s - (loop.time() - began)
            if ahead_s >= min(_TICK_S, 1 / self._tokens_per_s / 2):
                await asyncio.sleep(ahead_s)
            emit([piece])
            number, position = number + 1, position + len(piece)

    async def ping(self) -> None:
        """Do nothing: the offline model is always available."""

    async def close(self) -> None:
        """Do nothing: there is nothing to close."""


def _piece_at(text: str, position: int) -> str:
    piece = _PIECES.match(text, position)
    return piece[0] if piece is not None else ""


def _answer(request: Request) -> str:
    if request.sample is not None:
        return request.sample()
    inputs: dict[str, Any] = msgspec.json.decode(request.inputs)
    if request.schema is not None:
        return fill(request.schema, inputs)
    about = "; ".join(f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in inputs.items())
    return (
        "# An answer of the offline model\n\n"
        "This text was written by the built-in offline model, which is no AI. It lets you try the whole server, its "
        "streams, its limits and its bookkeeping, without an account anywhere and without a cost.\n\n"
        f"The request was this. {about or 'It had no fields'}.\n\n"
        "A real model would now answer it. To have one, set GEMINI_API_KEY, or MODELS with the key of the provider "
        "that it names, and send the same request again.\n"
    )
