"""Social posts: what a model drafts, and the posts ready to publish that are made from it."""

from functools import cache
from typing import Annotated, Self

from pydantic import AfterValidator, Field, StringConstraints, create_model

from amrikyy.agents.agent import Result
from amrikyy.agents.catalog.content.draft import Draft
from amrikyy.agents.catalog.content.fields import SocialPlatform, Tone
from amrikyy.agents.catalog.content.platforms import (
    PLATFORMS,
    normalize_hashtags,
    post_length,
    split_hashtags,
    without_hashtags,
)
from amrikyy.agents.catalog.content.reading import shorten
from amrikyy.agents.catalog.content.requests import SocialPostsRequest

Hashtag = Annotated[str, StringConstraints(max_length=200)]


class SocialPostDraft(Draft):
    """One post as the model drafts it."""

    platform: SocialPlatform = Field(description="Where it is published.")
    text: str = Field(min_length=1, max_length=5000, description="The post without its hashtags.")
    hashtags: list[Hashtag] = Field(default=[], description="Hashtags, most specific first.")
    media_idea: str = Field(min_length=3, max_length=400, description="The picture or clip that goes with it.")


class SocialPostsDraft(Draft):
    """Posts as the model drafts them."""

    posts: list[SocialPostDraft] = Field(min_length=1, description="One post for each platform.")


class SocialPost(SocialPostDraft):
    """One post, ready to publish."""

    hashtags: list[str] = Field(description="Hashtags as the network links them; they are part of `post`.")
    post: str = Field(description="What to publish: the text and below it the hashtags.")
    character_count: int = Field(
        description="Length of `post` as the network counts it: on Twitter a link is 23, and an emoji or Chinese, "
        "Japanese and Korean characters are 2 each."
    )
    character_limit: int = Field(description="The most characters that the network takes, on a free account.")
    shortened: bool = Field(description="The draft was over the limit, so the text was cut after a word.")


class SocialPosts(Result):
    """Posts about one topic, one for each platform."""

    topic: str = Field(description="What the posts are about.")
    tone: Tone = Field(description="How they sound.")
    posts: list[SocialPost] = Field(description="The posts, in the order in which the platforms were requested.")

    @classmethod
    def from_draft(cls, draft: SocialPostsDraft, request: SocialPostsRequest) -> Self:
        """Put the posts in the request's order, tidy their hashtags and keep each within its network's limit."""
        drafted = {post.platform: post for post in reversed(draft.posts)}
        posts = [_finish(drafted[platform], request) for platform in request.platforms if platform in drafted]
        return cls(topic=request.topic, tone=request.tone, posts=posts)


def _finish(draft: SocialPostDraft, request: SocialPostsRequest) -> SocialPost:
    network = PLATFORMS[draft.platform]
    text, trailing = split_hashtags(draft.text)
    hashtags = normalize_hashtags([*draft.hashtags, *trailing], network.max_hashtags) if request.hashtags else []
    if not request.hashtags:
        text = without_hashtags(text)
    # A draft that has only hashtags still needs something to read.
    text = text or request.topic
    footer = "\n\n" + " ".join(hashtags) if hashtags else ""
    room = network.limit - post_length(draft.platform, footer)
    short = shorten(text, room, lambda part: post_length(draft.platform, part))
    post = short + footer
    return SocialPost(
        platform=draft.platform,
        text=short,
        hashtags=hashtags,
        media_idea=draft.media_idea,
        post=post,
        character_count=post_length(draft.platform, post),
        character_limit=network.limit,
        shortened=short != text,
    )


@cache
def social_draft(platforms: frozenset[SocialPlatform]) -> type[SocialPostsDraft]:
    """The draft type with a post for each of the platforms; 31 types at most. Any further posts are ignored.

    It is a validator rather than a length in the schema, because the schema cannot say which platforms.
    """

    def check(posts: list[SocialPostDraft]) -> list[SocialPostDraft]:
        if missing := platforms - {post.platform for post in posts}:
            raise ValueError(f"there must be one post for each platform; missing: {', '.join(sorted(missing))}")
        return posts

    wanted = ", ".join(platform for platform in PLATFORMS if platform in platforms)
    return create_model(
        f"SocialPostsDraft{''.join(platform.title() for platform in PLATFORMS if platform in platforms)}",
        __base__=SocialPostsDraft,
        __doc__=SocialPostsDraft.__doc__,
        posts=(Annotated[list[SocialPostDraft], AfterValidator(check)], Field(description=f"One post each: {wanted}.")),
    )
