"""Models: one interface, clients for the common wire protocols, and what makes calls reliable."""

from amrikyy.llm.breaker import Breaker
from amrikyy.llm.chain import ModelChain, Retry
from amrikyy.llm.deadlines import Deadlines
from amrikyy.llm.gemini import GeminiClient
from amrikyy.llm.models import Models, ModelsConfig, ModelSpec, open_models
from amrikyy.llm.offline import OfflineClient
from amrikyy.llm.openai import OpenAIClient
from amrikyy.llm.prices import ModelPrice, Prices, estimate_tokens
from amrikyy.llm.request import Client, Request, Tier, Usage
from amrikyy.llm.schema import wire_schema

__all__ = [
    "Breaker",
    "Client",
    "Deadlines",
    "GeminiClient",
    "ModelChain",
    "ModelPrice",
    "ModelSpec",
    "Models",
    "ModelsConfig",
    "OfflineClient",
    "OpenAIClient",
    "Prices",
    "Request",
    "Retry",
    "Tier",
    "Usage",
    "estimate_tokens",
    "open_models",
    "wire_schema",
]
