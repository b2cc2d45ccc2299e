"""A random number generator that is seeded from the request alone."""

import hashlib
import random

from pydantic import BaseModel


def seeded(request: BaseModel, purpose: str) -> random.Random:
    """A generator that yields the same for the same request in every process and on every day."""
    text = f"{purpose} {request.model_dump_json(by_alias=True)}"
    return random.Random(hashlib.sha256(text.encode()).digest())  # noqa: S311 - variety, not secrecy
