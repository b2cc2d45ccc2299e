"""The requests of the content operations."""

from typing import Annotated

from pydantic import Field

from amrikyy.agents.agent import EMPTY_LIST, Request
from amrikyy.agents.catalog.content.fields import (
    Audience,
    Channels,
    Depth,
    Frequency,
    Keywords,
    Length,
    SocialPlatforms,
    Style,
    Tone,
    Topic,
    Topics,
)
from amrikyy.agents.spoken import Spoken

TARGET_WORDS: dict[Length, int] = {"short": 400, "medium": 800, "long": 1500}
"""About how many words a blog post of each length has."""

SPEAKING_WORDS_PER_MINUTE = 150
"""Between the 140 of lectures and the 160 of radio monologues in Tauroza and Allison, "Speech Rates in British
English" (Applied Linguistics 11, 1990): the pace of a narrator who is easy to follow."""


class BlogPostRequest(Request):
    """A blog post that is to be written."""

    topic: Topic = Field(description="What the post is about, 3 to 200 characters.", examples=["AI in travel"])
    tone: Tone = Field(default="professional", description="How it sounds.")
    length: Annotated[Length, Spoken(units={"post": 1, "blog": 1, "article": 1})] = Field(
        default="medium", description="short: about 400 words, medium: about 800, long: about 1500."
    )
    keywords: Keywords = Field(
        default_factory=list,
        json_schema_extra=EMPTY_LIST,
        description="Words or phrases that the post must use, at most 10 of 1 to 100 characters; repeats are dropped.",
        examples=[["personalisation", "itinerary"]],
    )
    target_audience: Audience | None = Field(
        default=None, description="Who it is for, 2 to 200 characters.", examples=["owners of small hotels"]
    )

    @property
    def target_words(self) -> int:
        """About how many words the post should have."""
        return TARGET_WORDS[self.length]


class SocialPostsRequest(Request):
    """Posts for social networks that are to be written."""

    topic: Topic = Field(description="What the posts are about, 3 to 200 characters.", examples=["Weekend in Cairo"])
    platforms: SocialPlatforms = Field(
        description="Where they are published: 1 to 5 different ones; one post for each.",
        examples=[["twitter", "linkedin"]],
    )
    tone: Tone = Field(default="casual", description="How they sound.")
    hashtags: bool = Field(default=True, description="Whether the posts end with hashtags.")


class VideoScriptRequest(Request):
    """A video script that is to be written."""

    topic: Topic = Field(description="What the video is about, 3 to 200 characters.", examples=["Packing light"])
    duration: Annotated[int, Spoken(units={"second": 1, "minute": 60})] = Field(
        ge=30, le=3600, description="Length of the video in seconds, 30 to 3600.", examples=[180]
    )
    style: Style = Field(default="educational", description="The kind of video.")

    @property
    def target_words(self) -> int:
        """How many words a narrator speaks in that time."""
        return round(self.duration * SPEAKING_WORDS_PER_MINUTE / 60)


class ResearchRequest(Request):
    """A topic that is to be researched."""

    topic: Topic = Field(description="What to research, 3 to 200 characters.", examples=["Sleeper trains in Europe"])
    depth: Depth = Field(
        default="comprehensive", description="brief: up to 5 claims; comprehensive: up to 12, with more context."
    )


class ContentCalendarRequest(Request):
    """A period for which publications are to be planned."""

    duration: Annotated[int, Spoken(units={"day": 1, "week": 7, "month": 30})] = Field(
        default=30, ge=1, le=90, description="Length of the period in days, 1 to 90."
    )
    platforms: Channels = Field(
        default=["blog", "social", "video"],
        description="Where to publish, in turn: 1 to 10 names of 1 to 50 characters; repeats are dropped.",
    )
    topics: Topics = Field(
        default_factory=list,
        json_schema_extra=EMPTY_LIST,
        description="What to write about, in turn: at most 20 of 1 to 200 characters; repeats are dropped. Empty: "
        "the model chooses.",
        examples=[["city trips", "train travel"]],
    )
    frequency: Frequency = Field(default="daily", description="One entry for each day, or one for each week begun.")

    @property
    def entry_count(self) -> int:
        """How many entries the calendar has: one for each day or started week."""
        return self.duration if self.frequency == "daily" else -(-self.duration // 7)
