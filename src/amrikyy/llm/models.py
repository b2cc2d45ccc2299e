"""The configured models, the tiers that they serve, and the connections that they share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import structlog
from msgspec import structs

from amrikyy.http_client import HttpClient, Proxy
from amrikyy.llm.breaker import Breaker
from amrikyy.llm.chain import ModelChain, Observe, Retry
from amrikyy.llm.deadlines import Deadlines
from amrikyy.llm.gemini import GeminiClient
from amrikyy.llm.offline import OfflineClient
from amrikyy.llm.openai import OpenAIClient
from amrikyy.llm.prices import ModelPrice, Prices, estimate_tokens, forget_table, most_tokens
from amrikyy.llm.request import Client, Request, Tier, Usage

log = structlog.get_logger(__name__)

PROVIDERS = ("gemini", "openai", "ollama", "offline")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelsConfig:
    """The settings that decide which models there are; each field is the variable of the same name.

    Attributes:
        retry: how often and with what pauses a model is tried.
        allow_offline_default: the offline model serves when nothing is configured.
        max_connections: the most open connections, to all providers together; further calls wait for one, for at most
            MODEL_CONNECT_TIMEOUT_S.
        proxy: used for providers over HTTPS.
    """

    models: str | None = None
    gemini_api_key: str | None = field(default=None, repr=False)
    gemini_model: str = "gemini-2.0-flash-exp"
    gemini_pro_model: str = "gemini-2.5-pro"
    gemini_base_url: str = "https://generativelanguage.googleapis.com"
    openai_api_key: str | None = field(default=None, repr=False)
    openai_base_url: str = "https://api.openai.com/v1"
    ollama_base_url: str = "http://localhost:11434/v1"
    offline_tokens_per_s: float = 50
    prices: Mapping[str, ModelPrice] = field(default_factory=dict)
    deadlines: Deadlines = field(default_factory=Deadlines)
    retry: Retry = field(default_factory=Retry)
    allow_offline_default: bool = False
    max_connections: int = 1000
    proxy: Proxy | None = None


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """One entry of MODELS."""

    provider: str
    model: str

    @classmethod
    def parse(cls, text: str) -> list["ModelSpec"]:
        """Read MODELS: `provider:model`, in the order in which they are asked; each counts once.

        Raises:
            ValueError: saying what is wrong with it.
        """
        specs: list[ModelSpec] = []
        for entry in filter(None, (part.strip() for part in text.split(","))):
            provider, _, model = (part.strip() for part in entry.partition(":"))
            if provider not in PROVIDERS:
                raise ValueError(f"MODELS: {entry!r} names no known provider; {_HOW}.")
            if provider == "offline":
                model = "offline"
            elif not model:
                raise ValueError(f"MODELS: {entry!r} names no model; {_HOW}.")
            specs.append(cls(provider, model.removeprefix("models/") if provider == "gemini" else model))
        if not specs:
            raise ValueError(f"MODELS names no model; {_HOW}.")
        if len(specs) > 1 and any(spec.provider == "offline" for spec in specs):
            raise ValueError(
                "MODELS: the offline model serves alone or not at all. At the end of a fallback chain it would hide an "
                "outage behind answers that no AI gave."
            )
        return list(dict.fromkeys(specs))


_HOW = "write provider:model, for example gemini:gemini-2.5-pro, openai:gpt-5-mini, ollama:llama3.2, or offline alone"


class Models:
    """The models of this process.

    Attributes:
        clients: each model once, in the order in which they are asked; for health.
        is_offline: whether the offline model serves, and no AI.
        breakers: the circuit breakers by the clients' names; for health.
    """

    def __init__(
        self,
        tiers: Mapping[Tier, Client],
        clients: Sequence[Client],
        *,
        breakers: Mapping[str, Breaker],
        http: HttpClient | None,
        prices: Prices,
    ) -> None:
        self._tiers = dict(tiers)
        self.clients = list(clients)
        self.is_offline = isinstance(self.clients[0], OfflineClient)
        self.breakers = dict(breakers)
        self._http = http
        self._prices = prices

    def for_tier(self, tier: Tier) -> Client:
        """The client that serves a tier: a chain of the tier's models."""
        return self._tiers[tier]

    def estimate(self, usage: Usage, output_length: int) -> Usage:
        """The usage of a call that was cut off after `output_length` characters, with tokens and cost estimated."""
        output_tokens = max(usage.output_tokens, estimate_tokens(output_length))
        cost_usd = self._prices.cost(usage.provider, usage.model, usage.input_tokens, output_tokens)
        return structs.replace(usage, output_tokens=output_tokens, cost_usd=cost_usd, estimated=True)

    def cost(self, provider: str, model: str, input_tokens: int, output_tokens: int) -> float | None:
        """What so many tokens of any model cost, in US dollars; None if its price is not known."""
        return self._prices.cost(provider, model, input_tokens, output_tokens)

    def most_usd(self, request: Request) -> float | None:
        """The most that a call may cost: its input, and all the output that it allows; None if a price is unknown.

        Of the models that may end up answering it, the most expensive one counts.
        """
        names = (name.partition(":") for name in self._tiers[request.tier].name.split(","))
        input_tokens = most_tokens(request)
        costs = [
            self._prices.cost(provider, model, input_tokens, request.max_output_tokens) for provider, _, model in names
        ]
        known = [cost for cost in costs if cost is not None]
        return max(known) if len(known) == len(costs) else None

    def unpriced(self) -> list[str]:
        """The models whose price is not known."""
        named = ((client.name, client.name.partition(":")) for client in self.clients)
        return [name for name, (provider, _, model) in named if self._prices.cost(provider, model, 1, 1) is None]

    async def close(self) -> None:
        """Close all connections. Idempotent."""
        if self._http is not None:
            await self._http.close()


def open_models(config: ModelsConfig, observe: Observe | None = None) -> Models:
    """Create the clients; needs a running event loop, and connects to nothing yet. `observe` is called for each call.

    Raises:
        ValueError: the configuration names no usable model; the message says what to set.
    """
    tiers = _specs_by_tier(config)
    wanted = list(dict.fromkeys(spec for specs in tiers.values() for spec in specs))
    for spec in wanted:
        _check(spec, config)
    prices = Prices(config.prices)
    http = None
    if any(spec.provider != "offline" for spec in wanted):
        http = HttpClient(max_connections=config.max_connections, proxy=config.proxy)
    clients = {spec: _client(spec, config, http, prices) for spec in wanted}
    breakers = {spec: Breaker(clients[spec].name) for spec in wanted}
    for spec in wanted:
        # Looked up now, so that no request waits while the price table is read.
        if prices.cost(spec.provider, spec.model, 1, 1) is None:
            log.info("model_price_unknown", model=clients[spec].name, hint="set MODEL_PRICES to count its cost")
    forget_table()
    chains: dict[Tier, Client] = {
        tier: ModelChain(
            [(clients[spec], breakers[spec]) for spec in specs],
            retry=config.retry,
            total_s=config.deadlines.total_s,
            observe=observe,
        )
        for tier, specs in tiers.items()
    }
    by_name = {clients[spec].name: breakers[spec] for spec in wanted}
    return Models(chains, list(clients.values()), breakers=by_name, http=http, prices=prices)


def _specs_by_tier(config: ModelsConfig) -> dict[Tier, list[ModelSpec]]:
    if config.models and config.models.strip():
        specs = ModelSpec.parse(config.models)
        return {"standard": specs, "pro": specs}
    if config.gemini_api_key:
        return {
            "standard": ModelSpec.parse(f"gemini:{config.gemini_model}"),
            "pro": ModelSpec.parse(f"gemini:{config.gemini_pro_model}"),
        }
    if config.allow_offline_default:
        return {"standard": ModelSpec.parse("offline"), "pro": ModelSpec.parse("offline")}
    raise ValueError(
        "No model is configured: set GEMINI_API_KEY, or MODELS (for example openai:gpt-5-mini with OPENAI_API_KEY), or "
        "MODELS=offline to serve the built-in model, which is not an AI."
    )


def _check(spec: ModelSpec, config: ModelsConfig) -> None:
    """Raise for a key that cannot work, naming the variable."""
    key, variable = {
        "gemini": (config.gemini_api_key, "GEMINI_API_KEY"),
        "openai": (config.openai_api_key, "OPENAI_API_KEY"),
    }.get(spec.provider, (None, ""))
    # A self-hosted server that speaks OpenAI's protocol often needs no key.
    is_openai = spec.provider == "openai" and urlsplit(config.openai_base_url).hostname == "api.openai.com"
    if not key and (spec.provider == "gemini" or is_openai):
        raise ValueError(f"{variable} is not set, and {spec.provider}:{spec.model} needs it.")
    if key is not None and not (key.isascii() and key.isprintable() and key == key.strip()):
        raise ValueError(f"{variable} has characters in it that no key has, such as spaces or line breaks.")


def _client(spec: ModelSpec, config: ModelsConfig, http: HttpClient | None, prices: Prices) -> Client:
    if http is None:
        return OfflineClient(config.offline_tokens_per_s)
    if spec.provider == "gemini":
        return GeminiClient(
            spec.model,
            config.gemini_api_key or "",
            http=http,
            base_url=config.gemini_base_url,
            deadlines=config.deadlines,
            prices=prices,
        )
    is_openai = spec.provider == "openai"
    return OpenAIClient(
        spec.model,
        config.openai_api_key if is_openai else None,
        http=http,
        base_url=config.openai_base_url if is_openai else config.ollama_base_url,
        provider=spec.provider,
        deadlines=config.deadlines,
        prices=prices,
    )
