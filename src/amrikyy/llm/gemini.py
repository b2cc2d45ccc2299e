"""The client of Gemini's REST API: generateContent and streamGenerateContent (ai.google.dev/api/generate-content)."""

from typing import Any

import msgspec

from amrikyy.errors import ContextTooLong, ModelError, ModelKeyRejected, ModelQuotaExceeded
from amrikyy.http_client import HttpClient
from amrikyy.llm.causes import Complaint, Origin, cause
from amrikyy.llm.client import Tally, WireClient
from amrikyy.llm.deadlines import Deadlines
from amrikyy.llm.prices import Prices
from amrikyy.llm.request import Request
from amrikyy.llm.schema import encoded_schema
from amrikyy.llm.wire import UNDECODABLE

BASE_URL = "https://generativelanguage.googleapis.com"

_REFUSALS = frozenset({"SAFETY", "PROHIBITED_CONTENT", "BLOCKLIST", "RECITATION", "SPII", "IMAGE_SAFETY"})
"""finishReason of an answer that the safety system stopped."""

_BROKEN = frozenset({"MALFORMED_FUNCTION_CALL", "MALFORMED_RESPONSE", "OTHER"})
"""finishReason of an answer that went wrong."""


class _Wire(msgspec.Struct, rename="camel", gc=False):
    pass


class _Part(_Wire):
    text: str = ""
    thought: bool = False


class _Content(_Wire):
    parts: list[_Part] = []


class _Candidate(_Wire):
    content: _Content | None = None
    finish_reason: str | None = None


class _Feedback(_Wire):
    block_reason: str | None = None


class _UsageMetadata(_Wire):
    prompt_token_count: int = 0
    candidates_token_count: int = 0
    thoughts_token_count: int = 0


class _ErrorDetail(_Wire):
    reason: str = ""
    retry_delay: str = ""
    violations: list[dict[str, Any]] = []


class _Error(_Wire):
    code: int = 0
    message: str = ""
    status: str = ""
    details: list[_ErrorDetail] = []


class _Answer(_Wire):
    candidates: list[_Candidate] = []
    prompt_feedback: _Feedback | None = None
    usage_metadata: _UsageMetadata | None = None
    error: _Error | None = None


_answers = msgspec.json.Decoder(_Answer)
_errors = msgspec.json.Decoder(_Answer | list[_Answer])  # streamGenerateContent wraps its errors in a list


class GeminiClient(WireClient):
    """One Gemini model."""

    def __init__(
        self,
        model: str,
        api_key: str,
        *,
        http: HttpClient,
        base_url: str = BASE_URL,
        deadlines: Deadlines | None = None,
        prices: Prices | None = None,
    ) -> None:
        super().__init__(
            Origin(f"gemini:{model}", "Gemini", "GEMINI_API_KEY", "GEMINI_BASE_URL", api_key),
            http=http,
            headers={"x-goog-api-key": api_key},
            deadlines=deadlines,
            prices=prices,
        )
        self._ping_url = f"{base_url.rstrip('/')}/v1beta/models/{model}"
        self._stream_url = f"{self._ping_url}:streamGenerateContent?alt=sse"
        self._whole_url = f"{self._ping_url}:generateContent"

    def _url(self, request: Request) -> str:
        return self._stream_url if request.streaming else self._whole_url

    def _body(self, request: Request) -> dict[str, Any]:
        config: dict[str, Any] = {"temperature": request.temperature, "maxOutputTokens": request.max_output_tokens}
        if request.schema is not None:
            config["responseMimeType"] = "application/json"
            config["responseJsonSchema"] = msgspec.Raw(encoded_schema(request.schema))
        body: dict[str, Any] = {
            "contents": [{"role": "user", "parts": [{"text": request.prompt}]}],
            "generationConfig": config,
        }
        if request.system:
            body["systemInstruction"] = {"parts": [{"text": request.system}]}
        return body

    def read(self, data: bytes, tally: Tally) -> str:
        """See `WireClient.read`."""
        answer = _answers.decode(data)
        if (said := answer.usage_metadata) is not None:
            tally.counted = said.prompt_token_count, said.candidates_token_count + said.thoughts_token_count
        if not answer.candidates:
            self._read_failure(answer, tally)
            return ""
        candidate = answer.candidates[0]
        if reason := candidate.finish_reason:
            self._read_end(reason, tally)
        if candidate.content is None:
            return ""
        text = ""
        for part in candidate.content.parts:
            if part.text:
                tally.tokens_came = True  # a thought, too, shows that it has not fallen silent
                if not part.thought:
                    text += part.text
        return text

    def _read_failure(self, answer: _Answer, tally: Tally) -> None:
        if answer.error is not None:
            raise self._failed(answer.error)
        if answer.prompt_feedback is not None and answer.prompt_feedback.block_reason:
            tally.refusal = answer.prompt_feedback.block_reason
            tally.finished = True

    def _read_end(self, reason: str, tally: Tally) -> None:
        tally.finished = reason not in _BROKEN
        tally.truncated = reason == "MAX_TOKENS"
        if reason in _REFUSALS:
            tally.refusal = reason

    def _failed(self, error: _Error) -> ModelError:
        """The exception for an error that came within an answer that had begun well."""
        return cause(self._origin, error.code or 500, _describe(error.code or 500, error))

    def _complaint(self, status: int, body: bytes) -> Complaint:
        try:
            answer = _errors.decode(body)
        except UNDECODABLE:
            return Complaint()
        found = answer if isinstance(answer, list) else [answer]
        error = next((each.error for each in found if each.error is not None), None)
        return Complaint() if error is None else _describe(status, error)


def _describe(status: int, error: _Error) -> Complaint:
    kind: type[ModelError] | None = None
    if "API_KEY_INVALID" in {detail.reason for detail in error.details}:
        kind = ModelKeyRejected
    elif status == 429 and "PerDay" in str([detail.violations for detail in error.details]):
        kind = ModelQuotaExceeded
    elif status == 400 and "exceeds the maximum number of tokens" in error.message:
        kind = ContextTooLong
    delay = next((detail.retry_delay for detail in error.details if detail.retry_delay), "")
    return Complaint(error.message, error.status, kind, _seconds(delay))


def _seconds(duration: str) -> float | None:
    """A protobuf duration in JSON: "12s", "3.5s"."""
    try:
        return float(duration.removesuffix("s"))
    except ValueError:
        return None
