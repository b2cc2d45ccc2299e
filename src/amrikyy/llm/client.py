"""What the two wire clients share: the course of one call. Each protocol adds its own format (`gemini`, `openai`)."""

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import msgspec
import structlog
from msgspec import structs

from amrikyy.errors import (
    ModelError,
    ModelMalformed,
    ModelRefused,
    ModelRequestRejected,
    ModelTimeout,
    ModelUnreachable,
)
from amrikyy.http_client import (
    BrokenOff,
    Collector,
    ConnectTimeout,
    Head,
    HttpClient,
    HttpFailure,
    NotConnected,
    encode_headers,
)
from amrikyy.llm.causes import Complaint, Origin, cause, retry_after_s
from amrikyy.llm.deadlines import Clock, Deadlines
from amrikyy.llm.prices import MAX_COUNTED, Prices, estimate_tokens
from amrikyy.llm.request import Emit, Pieces, Request, Usage
from amrikyy.llm.wire import MAX_BODY_BYTES, UNDECODABLE, Events, Whole, undecodable

log = structlog.get_logger(__name__)

_encode = msgspec.json.Encoder().encode

MAX_OUTPUT_TOKENS = 1_000_000
"""More than any model writes: until a server has named its limit, each request's own limit applies."""

MIN_OUTPUT_TOKENS = 256
"""A limit below this is not believed, whatever a server says."""

_LIMIT_NAMES = ("max_tokens", "max_completion_tokens", "max_output_tokens", "maxoutputtokens", "max output tokens")
_TOO_LARGE = ("too large", "at most", "range", "maximum", "exceed", "less than", "greater than", "limit")


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


class Tally(msgspec.Struct, eq=False, gc=False):
    """What is known about an answer so far.

    Attributes:
        input_tokens, output_tokens: estimates, unless they are `reported`.
        counted: both, as the server counted them; negative until it says so.
        length: characters of text.
        tokens_came: whether text or thoughts have come since this was last checked.
        finished: whether the provider said that the answer is complete.
        truncated: whether the output limit cut it off.
        refusal: the provider's word for why it will not answer.
    """

    input_tokens: int
    output_tokens: int = 0
    counted: tuple[int, int] = (-1, -1)
    length: int = 0
    reported: bool = False
    tokens_came: bool = False
    finished: bool = False
    truncated: bool = False
    refusal: str = ""

    def close(self) -> None:
        """Adopt the server's own count, unless it is missing or implausible: a negative one would refund money."""
        input_tokens, output_tokens = self.counted
        if 0 <= input_tokens <= MAX_COUNTED and 0 <= output_tokens <= MAX_COUNTED:
            self.input_tokens, self.output_tokens, self.reported = input_tokens, output_tokens, True
        else:
            self.output_tokens = estimate_tokens(self.length)


class WireClient(ABC):
    """A model that is reached over HTTP; implements `Client`."""

    _ping_url: str
    """The URL of the model's description."""

    def __init__(
        self,
        origin: Origin,
        *,
        http: HttpClient,
        headers: Mapping[str, str],
        deadlines: Deadlines | None,
        prices: Prices | None,
    ) -> None:
        self.name = origin.model
        self.provider, _, self.model = origin.model.partition(":")
        self._origin = origin
        self._http = http
        # Compression would hold tokens back until a block is full.
        self._headers = encode_headers(
            {"content-type": "application/json", "accept": "*/*", "accept-encoding": "identity", **headers}
        )
        self._deadlines = deadlines or Deadlines()
        self._prices = prices or Prices()
        self._output_limit = MAX_OUTPUT_TOKENS

    async def stream(self, request: Request, emit: Emit) -> None:
        """See `Client.stream`. A server that rejects the form of a request is asked again in a form that it accepts."""
        while True:
            asked = request
            if request.max_output_tokens > self._output_limit:
                asked = structs.replace(request, max_output_tokens=self._output_limit)
            headers = self._headers
            if asked.span is not None:
                headers += f"traceparent: {asked.span.traceparent}\r\n".encode()
            clock = Clock(self._deadlines, self.name, streaming=asked.streaming)
            answer = _Answer(self, asked, emit, clock)
            try:
                await self._http.exchange(
                    "POST", self._url(asked), answer, headers=headers, body=_encode(answer.sent),
                    connect_s=self._deadlines.connect_s, patience=clock,
                )  # fmt: skip
            except (HttpFailure, ModelTimeout) as error:
                if not answer.tally.finished:
                    raise self._failure(error, clock) from None
            if answer.status == 200:
                answer.end()
                self._check(answer.tally, asked)
                return
            # Nothing was emitted yet.
            assert answer.sent is not None
            complaint = self._complaint(answer.status, answer.whole())
            lesson = self._learn(answer.status, complaint, asked, answer.sent)
            if lesson is None:
                raise self._refusal(answer, complaint, asked)
            log.info("model_asked_again", model=self.name, because=lesson)

    async def ping(self) -> None:
        """Fetch the model's description, which spends no tokens."""
        clock = Clock(self._deadlines, self.name, streaming=True)
        collected = Collector(MAX_BODY_BYTES)
        try:
            await self._http.exchange(
                "GET", self._ping_url, collected, headers=self._headers,
                connect_s=self._deadlines.connect_s, patience=clock,
            )  # fmt: skip
        except HttpFailure as error:
            raise self._failure(error, clock) from None
        reply = collected.reply()
        if reply.status != 200:
            raise cause(self._origin, reply.status, self._complaint(reply.status, reply.body))

    async def close(self) -> None:  # noqa: B027 - on purpose: no protocol has anything to close
        """Nothing to close: the HTTP client belongs to whoever created it."""

    @abstractmethod
    def _url(self, request: Request) -> str: ...

    @abstractmethod
    def _body(self, request: Request) -> dict[str, Any]: ...

    @abstractmethod
    def read(self, data: bytes, tally: Tally) -> str:
        """Return the text in an event or a body, and record everything else in the tally.

        Raises:
            ModelError: it reports that the model failed.
            Exception: one of `UNDECODABLE`.
        """

    @abstractmethod
    def _complaint(self, status: int, body: bytes) -> Complaint: ...

    def _failure(self, error: HttpFailure | ModelTimeout, clock: Clock) -> ModelError:
        """The error for an exchange that has failed."""
        match error:
            case ModelTimeout():
                return error
            case ConnectTimeout():
                return clock.not_connected()
            case NotConnected():
                message = f"cannot be reached ({error}); check its base URL and the network."
                return ModelUnreachable(f"The model {self.name} {message}", model=self.name)
            case _:
                message = f"The connection to the model {self.name} broke off in the middle: {error}."
                return ModelUnreachable(message, model=self.name)

    def _check(self, tally: Tally, request: Request) -> None:
        """Raise if what has ended is not a usable answer."""
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

    def usage(self, tally: Tally) -> Usage:
        """What the finished answer used."""
        return Usage(
            model=self.model,
            provider=self.provider,
            input_tokens=tally.input_tokens,
            output_tokens=tally.output_tokens,
            cost_usd=self._prices.cost(self.provider, self.model, tally.input_tokens, tally.output_tokens),
            estimated=not tally.reported,
            truncated=tally.truncated,
        )

    def _refusal(self, answer: "_Answer", complaint: Complaint, request: Request) -> ModelError:
        """The error for a response whose status is not 200."""
        asked_to_wait_s = retry_after_s(answer.header("retry-after"), answer.header("retry-after-ms"))
        if asked_to_wait_s is not None:
            complaint = Complaint(complaint.message, complaint.code, complaint.kind, asked_to_wait_s)
        return cause(self._origin, answer.status, complaint, (request.prompt, request.system))

    def not_a_model(self) -> ModelError:
        """The error for a response that is a web page."""
        return ModelMalformed(
            f"The server of {self.name} answered with a web page; check {self._origin.url_variable}.", model=self.name
        )

    def _learn(self, status: int, complaint: Complaint, request: Request, body: dict[str, Any]) -> str | None:
        """Adapt to a complaint about the request's `body`. Returns what there was to adapt to, if anything."""
        if status in (400, 422) and (limit := lower_output_limit(complaint.message, request.max_output_tokens)):
            self._output_limit = min(self._output_limit, limit)
            return f"it writes at most {limit} tokens"
        return None


class _Answer:
    """Receives a response, and emits its text as it arrives.

    Attributes:
        sent: the body of the request, until the server has accepted it: a stream of minutes need not keep it.
        status: the response's status, once it has begun.
        tally: what is known about the answer.
    """

    __slots__ = ("_body", "_client", "_clock", "_emit", "_head", "_streaming", "sent", "status", "tally")

    def __init__(self, client: WireClient, request: Request, emit: Emit, clock: Clock) -> None:
        self._client = client
        self._emit = emit
        self._clock = clock
        self._streaming = request.streaming
        self._head: Head | None = None
        self._body: Events | Whole = Whole(client.name)
        self.sent: dict[str, Any] | None = client._body(request)
        self.status = 0
        self.tally = Tally(estimate_tokens(len(request.prompt) + len(request.system)))

    def header(self, name: str) -> str:
        assert self._head is not None
        return self._head.get(name.encode())

    def head(self, head: Head) -> None:
        self.status = head.status
        if head.status != 200:
            self._head = head
            return
        self.sent = None
        client, content_type = self._client, head.content_type
        if head.fields.get(b"content-encoding", b"identity") not in (b"", b"identity"):
            coding = head.get(b"content-encoding")[:16]
            raise BrokenOff(f"its answer is compressed ({coding}), which it was asked not to do")
        if content_type == "text/html":
            raise client.not_a_model()
        input_tokens = self.tally.input_tokens
        self._emit(Usage(model=client.model, provider=client.provider, input_tokens=input_tokens, estimated=True))
        # Some servers cannot stream and send a plain response instead.
        if self._streaming and content_type != "application/json":
            self._body = Events(client.name)

    def data(self, data: bytes) -> None:
        events, tally = self._body.feed(data), self.tally
        if events:
            self._take(events)
        if tally.finished:
            self._clock.finish()
        elif tally.tokens_came:
            tally.tokens_came = False
            self._clock.token()

    def end(self) -> None:
        """The body has ended."""
        self._take(self._body.end())
        self.tally.close()
        self._emit(self._client.usage(self.tally))

    def whole(self) -> bytes:
        """The body of a response whose status is not 200."""
        return b"".join(self._body.end())

    def _take(self, events: list[bytes]) -> None:
        read, tally = self._client.read, self.tally
        pieces: Pieces = []
        try:
            for event in events:
                if text := read(event, tally):
                    pieces.append(text)
        except UNDECODABLE as error:
            raise undecodable(error, self._client.name) from None
        finally:
            if pieces:  # also those that came before an error event
                tally.length += sum(map(len, pieces))
                self._emit(pieces)
