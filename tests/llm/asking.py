"""Asking a client, and keeping what it answers."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from amrikyy.errors import ModelError
from amrikyy.http_client import HttpClient
from amrikyy.llm.deadlines import Deadlines
from amrikyy.llm.gemini import GeminiClient
from amrikyy.llm.openai import OpenAIClient
from amrikyy.llm.request import Client, Request, Usage

KEY = "top-secret-key-0123456789"

Protocol = Literal["gemini", "openai"]


def wire_client(
    protocol: Protocol,
    url: str,
    http: HttpClient,
    *,
    deadlines: Deadlines | None = None,
    model: str = "test",
) -> Client:
    if protocol == "gemini":
        return GeminiClient(model, KEY, http=http, base_url=url, deadlines=deadlines)
    return OpenAIClient(model, KEY, http=http, base_url=f"{url}/v1", deadlines=deadlines)


@dataclass
class Answer:
    """What came, and the error that ended it."""

    pieces: list[str] = field(default_factory=list)
    usages: list[Usage] = field(default_factory=list)
    error: ModelError | None = None
    took_s: float = 0.0

    def take(self, item: list[str] | Usage) -> None:
        if isinstance(item, list):
            self.pieces += item
        else:
            self.usages.append(item)

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    @property
    def usage(self) -> Usage:
        return self.usages[-1]


async def attempt(client: Client, prompt: str = "Say something.", **asked: Any) -> Answer:
    """Ask to the end, be it an answer or a ModelError; anything else is raised."""
    if "inputs" in asked:
        asked["inputs"] = msgspec.json.encode(asked["inputs"])
    answer = Answer()
    began = time.monotonic()
    try:
        await client.stream(Request(prompt=prompt, **asked), answer.take)
    except ModelError as error:
        answer.error = error
    answer.took_s = time.monotonic() - began
    return answer


async def ask(client: Client, prompt: str = "Say something.", **asked: Any) -> Answer:
    """Ask, and raise the error if there is one."""
    answer = await attempt(client, prompt, **asked)
    if answer.error is not None:
        raise answer.error
    return answer


async def until(condition: Callable[[], bool], within_s: float = 2) -> None:
    """Wait until the condition holds."""
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.002)
