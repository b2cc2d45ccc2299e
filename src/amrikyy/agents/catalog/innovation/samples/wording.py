"""Scores with some variation, and the request's words as parts of a sentence."""

import random
from collections.abc import Sequence


def around(value: int, rng: random.Random, spread: int = 7) -> int:
    """The score, or one near it, from 0 to 100."""
    return max(0, min(100, value + rng.randint(-spread, spread)))


def capital(text: str) -> str:
    """The text with an initial capital, unless its first word has a capital of its own (iOS)."""
    first = text.split(maxsplit=1)[0] if text.split() else ""
    return text[:1].upper() + text[1:] if first.islower() else text


def gist(text: str, words: int = 9) -> str:
    """The first words of a text on one line, without the full stop; at most 90 characters."""
    taken: Sequence[str] = text.split()
    short = " ".join(taken[:words]).rstrip(".,;:!?")
    if len(short) > 90:
        short = short[:89].rstrip() + "…"
    elif len(taken) > words:
        short += " …"
    return short or text.strip()[:90]
