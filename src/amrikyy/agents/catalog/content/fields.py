"""The types of value that content requests consist of: topics, keywords, platforms, tones."""

import unicodedata
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints

from amrikyy.agents.spoken import Spoken

SocialPlatform = Literal["twitter", "facebook", "instagram", "linkedin", "tiktok"]
Tone = Literal["professional", "casual", "friendly", "formal", "humorous"]
Length = Literal["short", "medium", "long"]
Style = Literal["tutorial", "vlog", "review", "educational", "entertainment"]
Depth = Literal["brief", "comprehensive"]
Frequency = Literal["daily", "weekly"]


def _one_line(value: Any) -> Any:
    """Remove control characters and line breaks: a topic becomes a heading, and PostgreSQL stores no NUL."""
    if not isinstance(value, str):
        return value
    if value.isprintable():  # as nearly all values are, and then all white space is spaces
        return value.strip() if "  " not in value else " ".join(value.split())
    value = "".join(char for char in value if char.isspace() or unicodedata.category(char) != "Cc")
    return " ".join(value.split())


def _without_repeats(items: list[str]) -> list[str]:
    """Each item once, in the order of first mention, ignoring case."""
    kept: dict[str, str] = {}
    for item in items:
        kept.setdefault(item.casefold(), item)
    return list(kept.values())


def _distinct(items: list[SocialPlatform]) -> list[SocialPlatform]:
    if len(set(items)) < len(items):
        raise ValueError("Name each platform once")
    return items


Topic = Annotated[
    str,
    StringConstraints(min_length=3, max_length=200),
    BeforeValidator(_one_line),
    Spoken(subject=True, after=("about", "on")),
]
"""What the content is about, on one line."""

Item = Annotated[str, StringConstraints(min_length=1, max_length=100), BeforeValidator(_one_line)]
"""A keyword or another short text in a list, on one line."""

Audience = Annotated[
    str,
    StringConstraints(min_length=2, max_length=200),
    BeforeValidator(_one_line),
    Spoken(after=("aimed at", "targeting", "for an audience of")),
]
"""The intended readers, on one line."""

Keywords = Annotated[
    list[Item], Field(max_length=10), AfterValidator(_without_repeats), Spoken(after=("keywords", "keyword"))
]

SocialPlatforms = Annotated[
    list[SocialPlatform], Field(min_length=1, max_length=5), AfterValidator(_distinct), Spoken(assume="platforms")
]

Channels = Annotated[
    list[Annotated[str, StringConstraints(min_length=1, max_length=50), BeforeValidator(_one_line)]],
    Field(min_length=1, max_length=10),
    AfterValidator(_without_repeats),
]
"""Where a calendar publishes. Free text: teams have newsletters, podcasts and intranets that no enumeration knows."""

Topics = Annotated[
    list[Annotated[str, StringConstraints(min_length=1, max_length=200), BeforeValidator(_one_line)]],
    Field(max_length=20),
    AfterValidator(_without_repeats),
    Spoken(after=("about", "on")),
]
