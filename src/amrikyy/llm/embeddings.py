"""Embeddings: a text as a vector, so that texts of nearly the same meaning lie near each other."""

from array import array
from typing import Any, NamedTuple

import msgspec
import structlog

from amrikyy.errors import AmrikyyError
from amrikyy.http_client import HttpClient, HttpFailure
from amrikyy.llm.prices import MAX_COUNTED, Prices, estimate_tokens
from amrikyy.llm.request import Usage

log = structlog.get_logger(__name__)

CONNECT_S = 1.0
TIMEOUT_S = 2.0
"""For a second look, which may save a model call of many seconds; a longer wait would cost more than it saves."""

MAX_BODY = 1_000_000
"""Bytes of an answer: the longest vectors in use have 4,096 numbers."""


class _OpenAIVector(msgspec.Struct):
    embedding: list[float]


class _OpenAICounted(msgspec.Struct):
    prompt_tokens: int = 0


class _OpenAIAnswer(msgspec.Struct):
    data: list[_OpenAIVector]
    usage: _OpenAICounted | None = None


class _GeminiVector(msgspec.Struct):
    values: list[float]


class _GeminiAnswer(msgspec.Struct):
    embedding: _GeminiVector


class Embedded(NamedTuple):
    """A text's vector, and the usage of the call."""

    vector: "array[float]"
    usage: Usage


class Embedder:
    """Asks one embedding model.

    Args:
        provider: gemini, openai or ollama.
        model: its name.
        base_url: the provider's; for openai and ollama, with the version.
        api_key: if the provider wants one.
        http: sends the requests.
        prices: what the models cost.
    """

    def __init__(
        self, provider: str, model: str, *, base_url: str, api_key: str | None, http: HttpClient, prices: Prices
    ) -> None:
        self.provider = provider
        self.model = model
        self._base_url = base_url.rstrip("/")
        self._api_key = api_key
        self._http = http
        self._prices = prices
        self._failing = False

    async def embed(self, text: str) -> Embedded | None:
        """The vector of a text; None if none comes in time. A failure is logged once, until embedding works again."""
        try:
            vector, tokens = await self._ask(text)
        except (HttpFailure, TimeoutError, msgspec.DecodeError, AmrikyyError, _Refused) as error:
            if not self._failing:
                log.warning("embeddings_fail", model=f"{self.provider}:{self.model}", reason=str(error) or "timeout")
            self._failing = True
            return None
        if self._failing:
            log.info("embeddings_work_again", model=f"{self.provider}:{self.model}")
        self._failing = False
        if not 0 <= tokens <= MAX_COUNTED:
            tokens = 0
        counted = tokens or estimate_tokens(len(text))
        cost_usd = self._prices.cost(self.provider, self.model, counted, 0)
        usage = Usage(
            model=self.model, provider=self.provider, input_tokens=counted, cost_usd=cost_usd, estimated=not tokens
        )
        return Embedded(array("f", vector), usage)

    async def close(self) -> None:
        """Close its connections."""
        await self._http.close()

    async def _ask(self, text: str) -> tuple[list[float], int]:
        if self.provider == "gemini":
            url = f"{self._base_url}/v1beta/models/{self.model}:embedContent"
            content = await self._post(url, {"content": {"parts": [{"text": text}]}}, {"x-goog-api-key": self._api_key})
            return msgspec.json.decode(content, type=_GeminiAnswer).embedding.values, 0
        bearer = f"Bearer {self._api_key}" if self._api_key else None
        body = {"model": self.model, "input": text}
        content = await self._post(f"{self._base_url}/embeddings", body, {"authorization": bearer})
        answer = msgspec.json.decode(content, type=_OpenAIAnswer)
        if not answer.data:
            raise _Refused("it answered without a vector")
        return answer.data[0].embedding, answer.usage.prompt_tokens if answer.usage else 0

    async def _post(self, url: str, body: dict[str, Any], secret: dict[str, str | None]) -> bytes:
        headers = {"content-type": "application/json"} | {name: value for name, value in secret.items() if value}
        reply = await self._http.fetch(
            "POST", url, headers=headers, body=msgspec.json.encode(body), connect_s=CONNECT_S, timeout_s=TIMEOUT_S,
            max_body=MAX_BODY,
        )  # fmt: skip
        if reply.status != 200:
            raise _Refused(f"it answered with {reply.status}")
        return reply.body


class _Refused(Exception):
    """The provider returned no vector."""
