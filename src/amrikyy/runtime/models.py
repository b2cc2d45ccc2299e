"""The models that answer, and the one that tells how alike requests are, as the settings name them."""

from amrikyy.agents.second_look import SecondLook
from amrikyy.http_client import HttpClient
from amrikyy.llm import Deadlines, ModelPrice, Models, ModelsConfig, Retry
from amrikyy.llm import open_models as open_chain
from amrikyy.llm.embeddings import Embedder
from amrikyy.llm.prices import Prices, forget_table
from amrikyy.runtime.proxy import proxy_of
from amrikyy.settings import ConfigurationError, Settings, reveal
from amrikyy.telemetry.metrics import Metrics

CALLS_PER_RUN = 3
"""Calls of a model that a run has open at most, as a travel package does: whoever was let in is not kept waiting."""


def open_models(settings: Settings, metrics: Metrics) -> Models:
    """The chain of models that answer.

    Raises:
        ConfigurationError: a model is named that cannot be used, or none in production.
    """

    def observe(model: str, agent: str, seconds: float, status: str) -> None:
        metrics.model_calls.inc(model, agent, status)
        metrics.model_seconds.observe(seconds, model)

    config = ModelsConfig(
        models=settings.models,
        gemini_api_key=reveal(settings.gemini_api_key),
        gemini_model=settings.gemini_model,
        gemini_pro_model=settings.gemini_pro_model,
        gemini_base_url=settings.gemini_base_url,
        openai_api_key=reveal(settings.openai_api_key),
        openai_base_url=settings.openai_base_url,
        ollama_base_url=settings.ollama_base_url,
        offline_tokens_per_s=settings.offline_tokens_per_s,
        prices=_prices(settings),
        deadlines=Deadlines(
            connect_s=settings.model_connect_timeout_s,
            first_token_s=settings.model_first_token_timeout_s,
            token_gap_s=settings.model_token_timeout_s,
            total_s=settings.model_timeout_s,
        ),
        retry=Retry(attempts=settings.model_attempts),
        allow_offline_default=not settings.production,
        max_connections=settings.max_concurrent_streams * CALLS_PER_RUN,
        proxy=proxy_of(settings),
    )
    try:
        return open_chain(config, observe)
    except ValueError as error:
        raise ConfigurationError(str(error)) from None


def open_second_look(settings: Settings) -> SecondLook | None:
    """What finds results of similar requests; None unless CACHE_SIMILARITY says how alike they must be.

    Raises:
        ConfigurationError: EMBEDDINGS_MODEL names no model, or serves nothing.
    """
    if settings.cache_similarity is None:
        if settings.embeddings_model is not None:
            raise ConfigurationError("EMBEDDINGS_MODEL has no effect without CACHE_SIMILARITY (for example 0.95).")
        return None
    if settings.embeddings_model is None:
        return SecondLook(settings.cache_similarity, None)
    provider, _, model = settings.embeddings_model.partition(":")
    servers = {
        "gemini": (settings.gemini_base_url, settings.gemini_api_key),
        "openai": (settings.openai_base_url, settings.openai_api_key),
        "ollama": (settings.ollama_base_url, None),
    }
    if provider not in servers or not model:
        raise ConfigurationError(
            "EMBEDDINGS_MODEL names no model; write provider:model, for example openai:text-embedding-3-small, "
            "gemini:gemini-embedding-001 or ollama:nomic-embed-text."
        )
    base_url, key = servers[provider]
    prices = Prices(_prices(settings))
    prices.cost(provider, model, 1, 0)  # asked now, so that no request waits until the price table is read
    forget_table()
    http = HttpClient(proxy=proxy_of(settings))
    embedder = Embedder(provider, model, base_url=base_url, api_key=reveal(key), http=http, prices=prices)
    return SecondLook(settings.cache_similarity, embedder)


def _prices(settings: Settings) -> dict[str, ModelPrice]:
    return {name: ModelPrice(input=price.input, output=price.output) for name, price in settings.model_prices.items()}
