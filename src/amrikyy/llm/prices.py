"""What a call costs: the operator's own prices first, then the public ones of genai-prices, else unknown."""

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING

import msgspec

from amrikyy.llm.request import Request
from amrikyy.llm.schema import encoded_schema
from amrikyy.packages import modules_only

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, TieredPrices

MAX_COUNTED = 10**9
"""The largest token count of one call that is believed when a server reports it."""

CHARACTERS_PER_TOKEN = 4
"""In English text, according to OpenAI's and Google's documentation; used only for estimates."""

BYTES_PER_TOKEN = 3
"""Few texts have fewer."""

_PUBLIC_PROVIDERS = {"gemini": "google", "ollama": None}
"""Our provider names → those of genai-prices, where they differ. A model on one's own machine has no public price."""


@dataclass(frozen=True, slots=True)
class ModelPrice:
    """Dollars per million tokens."""

    input: float
    output: float


class Prices:
    """Prices by model. `overrides` are named "model" or "provider:model"; the longer name wins."""

    def __init__(self, overrides: Mapping[str, ModelPrice] | None = None) -> None:
        self._overrides = dict(overrides or {})

    def cost(self, provider: str, model: str, input_tokens: int, output_tokens: int) -> float | None:
        """US dollars; None when the model's price is not known, which is not 0."""
        if self._overrides:
            price = self._overrides.get(f"{provider}:{model}") or self._overrides.get(model)
            if price is not None:
                return (input_tokens * price.input + output_tokens * price.output) / 1_000_000
        if provider == "offline":
            return 0.0
        provider_id = _PUBLIC_PROVIDERS.get(provider, provider)
        rates = _public_rates(provider_id, model, int(time.time() // 86_400)) if provider_id is not None else None
        if rates is None:
            return None
        into, out = rates
        return (input_tokens * into.at(input_tokens) + output_tokens * out.at(input_tokens)) / 1_000_000


class _Rate(msgspec.Struct, frozen=True):
    """Dollars per million tokens; above each threshold of input tokens, another rate applies, to all tokens."""

    base: float
    tiers: tuple[tuple[int, float], ...] = ()

    def at(self, input_tokens: int) -> float:
        rate = self.base
        for above, tier_rate in self.tiers:
            if input_tokens > above:
                rate = tier_rate
        return rate


@lru_cache(maxsize=256)
def _public_rates(provider_id: str, model: str, _day: int) -> tuple[_Rate, _Rate] | None:
    """The rates for input and output, looked up once a day, because prices may change with the date.

    genai-prices takes 0.1 ms to calculate one price, as long as everything else that a model call costs us.
    """
    found = _public_model(provider_id, model)
    if found is None:
        return None
    price = found.get_prices(datetime.now(UTC))
    return _rate(price.input_mtok), _rate(price.output_mtok)


@lru_cache(maxsize=256)
def _public_model(provider_id: str, model: str) -> "ModelInfo | None":
    # Imported only for a paid model: it takes 0.15 s and some megabytes. It reads its bundled table, never the network:
    # the package's client for newer tables would take another 2 MB.
    modules_only("genai_prices")
    from genai_prices.data import providers
    from genai_prices.data_snapshot import DataSnapshot

    try:
        return DataSnapshot(providers, from_auto_update=False).find_provider_model(model, None, provider_id, None)[1]
    except (LookupError, ValueError):
        return None


def forget_table() -> None:
    """Free the table of public prices (4 MB); rates already looked up are kept. Another model has it read again."""
    if sys.modules.pop("genai_prices.data", None) is not None:
        import genai_prices

        del genai_prices.data


def _rate(price: "Decimal | TieredPrices | None") -> _Rate:
    if price is None:
        return _Rate(0.0)
    if isinstance(price, Decimal):
        return _Rate(float(price))
    return _Rate(float(price.base), tuple((tier.start, float(tier.price)) for tier in price.tiers))


def estimate_tokens(text_length: int) -> int:
    """About how many tokens a text of so many characters has."""
    return -(-text_length // CHARACTERS_PER_TOKEN)


def most_tokens(request: Request) -> int:
    """More tokens than the input of a call is likely to have.

    Counted in bytes, which works for every script: a Chinese character has three of them, and is about one token.
    """
    size = len(request.prompt.encode()) + len(request.system.encode())
    if request.schema is not None:
        size += len(encoded_schema(request.schema))
    return -(-size // BYTES_PER_TOKEN)
