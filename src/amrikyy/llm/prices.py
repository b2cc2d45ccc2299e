"""What a call costs: the operator's own prices first, then the public ones of genai-prices, else unknown."""

from collections.abc import Mapping
from dataclasses import dataclass

CHARACTERS_PER_TOKEN = 4
"""Of English text, as OpenAI's and Google's documentation put it; only estimates use it."""

_PUBLIC_PROVIDERS = {"gemini": "google", "openai": "openai"}
"""Our names to those of genai-prices. A model of one's own machine has no public price."""


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
        price = self._overrides.get(f"{provider}:{model}") or self._overrides.get(model)
        if price is not None:
            return (input_tokens * price.input + output_tokens * price.output) / 1_000_000
        if provider == "offline":
            return 0.0
        return _public_cost(provider, model, input_tokens, output_tokens)


def _public_cost(provider: str, model: str, input_tokens: int, output_tokens: int) -> float | None:
    provider_id = _PUBLIC_PROVIDERS.get(provider)
    if provider_id is None:
        return None
    # 0.15 s and some megabytes, which only a paid model is worth. It reads its own bundled table, never the network.
    from genai_prices import Usage, calc_price

    try:
        usage = Usage(input_tokens=input_tokens, output_tokens=output_tokens)
        return float(calc_price(usage, model, provider_id=provider_id).total_price)
    except (LookupError, ValueError):
        return None


def estimate_tokens(text_length: int) -> int:
    """About how many tokens a text of that many characters has."""
    return -(-text_length // CHARACTERS_PER_TOKEN)
