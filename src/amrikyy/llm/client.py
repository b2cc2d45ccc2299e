"""What the two wire clients have in common: the life of one call. A protocol adds its words (`gemini`, `openai`)."""

import re
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import aiohttp
import structlog

from amrikyy.errors import (
    ModelError,
    ModelMalformed,
    ModelRefused,
    ModelRequestRejected,
    ModelTimeout,
    ModelUnreachable,
)
from amrikyy.llm.causes import Complaint, Origin, cause, retry_after_s
from amrikyy.llm.deadlines import Clock, Deadlines
from amrikyy.llm.prices import Prices, estimate_tokens
from amrikyy.llm.request import Pieces, Request, Usage
from amrikyy.llm.wire import Exchange, exchange

log = structlog.get_logger(__name__)

MAX_OUTPUT_TOKENS = 1_000_000
"""More than any model writes: until a server has named its limit, each request's own counts."""

MIN_OUTPUT_TOKENS = 256
"""A server that does not allow so much is not taken at its word."""

_LIMIT_NAMES = ("max_tokens", "max_completion_tokens", "max_output_tokens", "maxoutputtokens", "max output tokens")
_TOO_LARGE = ("too large", "at most", "range", "maximum", "exceed", "less than", "greater than", "limit")


class AskAgain(Exception):
    """The server rejected how it was asked, and the client has learnt to ask otherwise."""


def lower_output_limit(complaint: str, asked: int) -> int | None:
    """The output limit to try when a server says that `asked` is too much; None if that is not what it says.

    Every server words it differently ("supports at most 16384", "from 1 to 8193 (exclusive)"); the largest number
    below `asked` is taken, unless that is so small that it must mean something else. Then half is tried.
    """
    said = complaint.lower()
    if not (any(name in said for name in _LIMIT_NAMES) and any(words in said for words in _TOO_LARGE)):
        return None
    numbers = [int(number) for number in re.findall(r"(?<![\w.])\d{3,7}(?![\w.]*\w)", said)]
    below = max((number - ("exclusive" in said) for number in numbers if number < asked), default=0)
    if not asked / 16 <= below < asked:
        below = asked // 2
    return below if below >= MIN_OUTPUT_TOKENS else None


class Tally:
    """What is known about an answer so far.

    Attributes:
        input_tokens, output_tokens: estimated until `reported`.
        length: characters of text.
        tokens_came: text or thought came since this was last looked at.
        finished: the provider said that the answer is at its end.
        truncated: because of the output limit.
        refusal: the provider's word for why it will not answer.
    """

    __slots__ = (
        "finished", "input_tokens", "length", "output_tokens", "refusal", "reported", "tokens_came", "truncated",
    )  # fmt: skip

    def __init__(self, input_tokens: int) -> None:
        self.input_tokens = input_tokens
        self.output_tokens = 0
        self.length = 0
        self.reported = False
        self.tokens_came = False
        self.finished = False
        self.truncated = False
        self.refusal = ""


class WireClient(ABC):
    """A model behind HTTP. Is a `Client`."""

    def __init__(
        self,
        origin: Origin,
        *,
        session: aiohttp.ClientSession,
        headers: Mapping[str, str],
        deadlines: Deadlines | None,
        prices: Prices | None,
    ) -> None:
        self.name = origin.model
        self.provider, _, self.model = origin.model.partition(":")
        self._origin = origin
        self._session = session
        # Compression would hold tokens back until a block is full.
        self._headers = {"content-type": "application/json", "accept-encoding": "identity", **headers}
        self._deadlines = deadlines or Deadlines()
        self._prices = prices or Prices()
        self._output_limit = MAX_OUTPUT_TOKENS

    async def stream(self, request: Request) -> AsyncGenerator[Pieces | Usage, None]:
        """Ask; see `Client.stream`. A server that rejects how it was asked is asked again, as it wants."""
        while True:
            asked = request
            if request.max_output_tokens > self._output_limit:
                asked = replace(request, max_output_tokens=self._output_limit)
            try:
                async with aclosing(self._answer(asked)) as answer:
                    async for item in answer:
                        yield item
                return
            except AskAgain as lesson:
                log.info("model_asked_again", model=self.name, because=str(lesson))

    async def ping(self) -> None:
        """Ask for a description, which spends no tokens."""
        clock = Clock(self._deadlines, self.name, streaming=True)
        async with exchange(
            self._session, "GET", self._ping_url, headers=self._headers, connect_s=self._deadlines.connect_s,
            clock=clock, model=self.name,
        ) as reply:  # fmt: skip
            body = await reply.body()
            if reply.status != 200:
                raise cause(self._origin, reply.status, self._complaint(reply.status, body))

    async def close(self) -> None:  # noqa: B027 - meant: no protocol has anything to close
        """Nothing to do: the session is its maker's."""

    @property
    @abstractmethod
    def _ping_url(self) -> str: ...

    @abstractmethod
    def _url(self, request: Request) -> str: ...

    @abstractmethod
    def _body(self, request: Request) -> dict[str, Any]: ...

    @abstractmethod
    def _read(self, data: bytes, tally: Tally) -> str:
        """The text in an event or a body; the rest of it goes into the tally."""

    @abstractmethod
    def _complaint(self, status: int, body: bytes) -> Complaint: ...

    def _answer(self, request: Request) -> AsyncGenerator[Pieces | Usage, None]:
        """One call, yielding as `stream` does. Raises AskAgain before anything is yielded."""
        return self._attempt(request, self._url(request), self._body(request))

    async def _attempt(self, request: Request, url: str, body: dict[str, Any]) -> AsyncGenerator[Pieces | Usage, None]:
        clock = Clock(self._deadlines, self.name, streaming=request.streaming)
        async with exchange(
            self._session, "POST", url, headers=self._headers, body=body, connect_s=self._deadlines.connect_s,
            clock=clock, model=self.name,
        ) as reply:  # fmt: skip
            if reply.status != 200:
                raise await self._refusal(reply, request, body)
            if reply.content_type == "text/html":
                raise ModelMalformed(
                    f"The server of {self.name} answered with a web page; check {self._origin.url_variable}.",
                    model=self.name,
                )
            tally = Tally(estimate_tokens(len(request.prompt) + len(request.system)))
            yield self._usage(tally, estimated=True)
            # Some servers do not know how to stream and answer plainly instead.
            if request.streaming and reply.content_type != "application/json":
                async with aclosing(self._pieces(reply, tally)) as answer:
                    async for pieces in answer:
                        yield pieces
            elif text := self._read(await reply.body(), tally):
                tally.length = len(text)
                yield [text]
            if not tally.reported:
                tally.output_tokens = estimate_tokens(tally.length)
            yield self._usage(tally, estimated=not tally.reported)
            self._check(tally, request)

    async def _pieces(self, reply: Exchange, tally: Tally) -> AsyncGenerator[Pieces, None]:
        """The pieces of a streamed answer, those of one read together."""
        read, clock = self._read, reply.clock
        try:
            async with aclosing(reply.events()) as reads:
                async for events in reads:
                    pieces: Pieces = []
                    try:
                        for event in events:
                            if text := read(event, tally):
                                tally.length += len(text)
                                pieces.append(text)
                    finally:
                        if pieces:  # also those before an event that is an error
                            yield pieces
                    if tally.finished:
                        clock.finish()
                    elif tally.tokens_came:
                        tally.tokens_came = False
                        clock.token()
        except (ModelTimeout, ModelUnreachable):
            if not tally.finished:
                raise

    def _check(self, tally: Tally, request: Request) -> None:
        """Raise if the answer that ended is none."""
        if tally.refusal:
            raise ModelRefused(
                f"The safety system of {self.name} refused the prompt or the answer ({tally.refusal}); "
                "rephrase the request.",
                model=self.name,
            )
        if not tally.finished:
            how = "broke off without an end" if tally.length else "had no content"
            raise ModelMalformed(f"The answer of the model {self.name} {how}; try again.", model=self.name)
        if tally.length:
            return
        if tally.truncated:
            raise ModelRequestRejected(
                f"The model {self.name} used up its output limit of {request.max_output_tokens} tokens by thinking "
                "and wrote nothing; raise the limit.",
                model=self.name,
            )
        raise ModelMalformed(f"The model {self.name} answered with nothing at all; try again.", model=self.name)

    def _usage(self, tally: Tally, *, estimated: bool) -> Usage:
        return Usage(
            model=self.model,
            provider=self.provider,
            input_tokens=tally.input_tokens,
            output_tokens=tally.output_tokens,
            cost_usd=self._prices.cost(self.provider, self.model, tally.input_tokens, tally.output_tokens),
            estimated=estimated,
            truncated=tally.truncated,
        )

    async def _refusal(self, reply: Exchange, request: Request, body: dict[str, Any]) -> ModelError:
        """The error for an answer with another status than 200. `body` is what was sent."""
        complaint = self._complaint(reply.status, await reply.body())
        self._learn(reply.status, complaint, request, body)
        asked_to_wait_s = retry_after_s(reply.headers)
        if asked_to_wait_s is not None:
            complaint = Complaint(complaint.message, complaint.code, complaint.kind, asked_to_wait_s)
        return self._error(reply.status, complaint, request)

    def _learn(self, status: int, complaint: Complaint, request: Request, body: dict[str, Any]) -> None:
        """Adapt to a complaint about how it was asked. Raises AskAgain if there was anything to adapt."""
        if status in (400, 422) and (limit := lower_output_limit(complaint.message, request.max_output_tokens)):
            self._output_limit = min(self._output_limit, limit)
            raise AskAgain(f"it writes at most {limit} tokens")

    def _error(self, status: int, complaint: Complaint, request: Request) -> ModelError:
        return cause(self._origin, status, complaint, (request.prompt, request.system))
