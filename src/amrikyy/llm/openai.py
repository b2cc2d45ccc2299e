"""A client for OpenAI's chat completions, which many servers offer (platform.openai.com/docs/api-reference/chat)."""

from typing import Any
from urllib.parse import urlsplit

import msgspec

from amrikyy.errors import ContextTooLong, ModelError, ModelQuotaExceeded, ModelRateLimited, ModelRefused
from amrikyy.http_client import HttpClient
from amrikyy.llm.causes import Complaint, Origin, cause
from amrikyy.llm.client import Tally, WireClient
from amrikyy.llm.deadlines import Deadlines
from amrikyy.llm.dialect import ADAPTABLE, Dialect, Unfence
from amrikyy.llm.prices import Prices
from amrikyy.llm.request import Emit, Pieces, Request, Usage
from amrikyy.llm.wire import UNDECODABLE

BASE_URL = "https://api.openai.com/v1"

_SERVICES = {"openai": ("OpenAI", "OPENAI_API_KEY", "OPENAI_BASE_URL"), "ollama": ("Ollama", "", "OLLAMA_BASE_URL")}

_CODES: dict[str, type[ModelError]] = {
    "context_length_exceeded": ContextTooLong,
    "exceed_context_size_error": ContextTooLong,  # llama.cpp
    "insufficient_quota": ModelQuotaExceeded,
    "billing_hard_limit_reached": ModelQuotaExceeded,
    "rate_limit_exceeded": ModelRateLimited,
    "content_filter": ModelRefused,
    "content_policy_violation": ModelRefused,
}
"""The causes that error codes stand for; servers compatible with OpenAI have some of their own."""

_TOO_LONG = ("maximum context length", "context window", "available context size", "maximum model length")


class _Wire(msgspec.Struct, gc=False):
    pass


class _Message(_Wire):
    content: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None


class _Choice(_Wire):
    delta: _Message | None = None
    message: _Message | None = None
    finish_reason: str | None = None


class _Counted(_Wire):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class _Error(_Wire):
    message: str | None = None
    type: str | None = None
    code: str | int | None = None
    param: str | None = None


class _Answer(_Wire):
    choices: list[_Choice] | None = None
    usage: _Counted | None = None
    error: _Error | str | None = None


class _ErrorAnswer(_Wire):
    error: _Error | str | None = None
    message: str | None = None
    detail: Any = None


_answers = msgspec.json.Decoder(_Answer)
_errors = msgspec.json.Decoder(_ErrorAnswer)


class OpenAIClient(WireClient):
    """One model of a server that speaks chat completions."""

    def __init__(
        self,
        model: str,
        api_key: str | None,
        *,
        http: HttpClient,
        base_url: str = BASE_URL,
        provider: str = "openai",
        deadlines: Deadlines | None = None,
        prices: Prices | None = None,
    ) -> None:
        service, key_variable, url_variable = _SERVICES[provider]
        super().__init__(
            Origin(f"{provider}:{model}", service, key_variable or url_variable, url_variable, api_key),
            http=http,
            headers={"authorization": f"Bearer {api_key}"} if api_key else {},
            deadlines=deadlines,
            prices=prices,
        )
        self._ping_url = f"{base_url.rstrip('/')}/models"
        self._completions_url = f"{base_url.rstrip('/')}/chat/completions"
        # OpenAI's reasoning models only know the new name of the limit, most other servers only the old one.
        is_openai = urlsplit(base_url).hostname == "api.openai.com"
        self._dialect = Dialect(length_name="max_completion_tokens" if is_openai else "max_tokens")

    async def stream(self, request: Request, emit: Emit) -> None:
        """See `WireClient.stream`."""
        await super().stream(request, emit if request.schema is None else _Unfencing(emit))

    def _url(self, request: Request) -> str:
        return self._completions_url

    def _body(self, request: Request) -> dict[str, Any]:
        return self._dialect.body(self.model, request)

    def read(self, data: bytes, tally: Tally) -> str:
        """See `WireClient.read`."""
        if data == b"[DONE]":
            return ""  # not proof that the answer is complete: that is the finish reason, which a cut-off answer lacks
        answer = _answers.decode(data)
        if answer.usage is not None:
            self._read_usage(answer.usage, tally)
        if not answer.choices:
            if answer.error is not None:
                raise self._failed(answer.error)
            return ""
        choice = answer.choices[0]
        if reason := choice.finish_reason:
            tally.finished = True
            tally.truncated = reason == "length"
            if reason == "content_filter":
                tally.refusal = reason
            elif reason == "error" and answer.error is not None:
                raise self._failed(answer.error)
        said = choice.delta or choice.message
        if said is None:
            return ""
        if said.content:
            tally.tokens_came = True
            return said.content
        if said.refusal:
            tally.refusal = "refusal"
        if said.reasoning_content or said.reasoning:
            tally.tokens_came = True  # it thinks, so it has not fallen silent
        return ""

    def _read_usage(self, counted: _Counted, tally: Tally) -> None:
        if counted.prompt_tokens is not None and counted.completion_tokens is not None:
            tally.counted = counted.prompt_tokens, counted.completion_tokens

    def _failed(self, error: _Error | str) -> ModelError:
        """The exception for an error that came within an answer that had begun well."""
        found = error if isinstance(error, _Error) else _Error(message=error)
        status = found.code if isinstance(found.code, int) else 500
        return cause(self._origin, status, _describe(status, found))

    def _complaint(self, status: int, body: bytes) -> Complaint:
        try:
            answer = _errors.decode(body)
        except UNDECODABLE:
            return Complaint()
        if isinstance(answer.error, _Error):
            return _describe(status, answer.error)
        return _describe(status, _Error(message=str(answer.error or answer.message or answer.detail or "")))

    def _learn(self, status: int, complaint: Complaint, request: Request, body: dict[str, Any]) -> str | None:
        if status in ADAPTABLE and (parameter := self._dialect.learn(complaint.message, body, request.schema)):
            return f"it does not understand {parameter}"
        return super()._learn(status, complaint, request, body)


class _Unfencing:
    """Emits an answer without the code fence that many models put around JSON."""

    __slots__ = ("_emit", "_fence")

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._fence = Unfence()

    def __call__(self, item: Pieces | Usage) -> None:
        feed = self._fence.feed
        if isinstance(item, list):
            if pieces := [text for piece in item if (text := feed(piece))]:
                self._emit(pieces)
        else:
            if text := self._fence.end():
                self._emit([text])
            self._emit(item)


def _describe(status: int, error: _Error) -> Complaint:
    message = f"{error.message or ''}{f' ({error.param})' if error.param else ''}"
    code = str(error.code or error.type or "")
    kind = _CODES.get(code) or _CODES.get(error.type or "")
    if kind is None and status != 429 and any(words in message.lower() for words in _TOO_LONG):
        kind = ContextTooLong
    return Complaint(message, code, kind)
