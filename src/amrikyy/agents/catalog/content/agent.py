"""The content agent and its five operations."""

from collections.abc import Callable
from typing import Any

from amrikyy.agents.agent import Agent, hours, minutes
from amrikyy.agents.catalog.content import prompts, samples
from amrikyy.agents.catalog.content.articles import BlogPost
from amrikyy.agents.catalog.content.plans import ContentCalendar, calendar_draft
from amrikyy.agents.catalog.content.requests import (
    BlogPostRequest,
    ContentCalendarRequest,
    ResearchRequest,
    SocialPostsRequest,
    VideoScriptRequest,
)
from amrikyy.agents.catalog.content.research import Research, ResearchDraft
from amrikyy.agents.catalog.content.scripts import VideoScript
from amrikyy.agents.catalog.content.social import SocialPosts, social_draft
from amrikyy.agents.context import RunContext

THINKING_TOKENS = 8192
"""Room for the hidden reasoning of a model that thinks, which counts as output."""

TOKENS_PER_WORD = 3
"""Upper bound: English takes 1.4, Arabic and Hindi more than 2."""

TOKENS_PER_ENTRY = 300
"""Upper bound of what one entry of a calendar takes; typical ones take 130."""

CUES_SHARE = 1.4
"""Words of a script, including its headings and visual cues, for each word that is spoken."""

content = Agent(
    "content",
    "Writes: blog posts, social posts, video scripts, research briefs, content calendars.",
    limit="30/minute",
    capabilities=("blog-posts", "social-posts", "video-scripts", "research", "content-calendars"),
    metadata={
        "category": "content",
        "languages": "The topic's own, else English.",
        "data": "Lengths, dates, outlines and times are computed; claims are a model's and unverified.",
    },
    example="write a blog post about AI in travel",
)


@content.operation(
    limit="5/minute",
    cache_for=hours(1),
    result=BlogPost,
    sample=samples.blog_post,
    words=("article", "essay", "newsletter"),
)
async def generate_blog_post(request: BlogPostRequest, run: RunContext) -> str:
    """Write a blog post in Markdown."""
    words = request.target_words
    return await run.write(
        prompt=prompts.for_blog_post(request),
        system=prompts.BLOG,
        max_output_tokens=THINKING_TOKENS + TOKENS_PER_WORD * words,
        temperature=0.8,
        expected_words=words,
        message="Writing the post",
    )


@content.operation(
    limit="10/minute",
    cache_for=minutes(30),
    sample=samples.social_posts,
    words=("tweet", "caption", "instagram", "twitter", "linkedin", "facebook", "tiktok"),
)
async def generate_social_posts(request: SocialPostsRequest, run: RunContext) -> SocialPosts:
    """Write a post for each social network, within its limits."""
    answer = await run.generate(
        social_draft(frozenset(request.platforms)),
        prompt=prompts.for_social_posts(request),
        system=prompts.SOCIAL,
        temperature=0.9,
        done=_counted(len(request.platforms), "posts"),
        message="Writing the posts",
    )
    return SocialPosts.from_draft(answer, request)


@content.operation(
    cache_for=hours(1), result=VideoScript, sample=samples.video_script, words=("youtube", "screenplay", "clip")
)
async def generate_video_script(request: VideoScriptRequest, run: RunContext) -> str:
    """Write a video script with scenes and time codes."""
    words = round(CUES_SHARE * request.target_words)
    return await run.write(
        prompt=prompts.for_video_script(request),
        system=prompts.SCRIPT,
        max_output_tokens=THINKING_TOKENS + TOKENS_PER_WORD * words,
        temperature=0.8,
        expected_words=words,
        message="Writing the script",
    )


@content.operation(cache_for=hours(2), sample=samples.research, words=("report", "study", "find"))
async def research_topic(request: ResearchRequest, run: RunContext) -> Research:
    """Collect what is known about a topic, as claims with a confidence and how to verify them."""
    answer = await run.generate(
        ResearchDraft,
        prompt=prompts.for_research(request),
        system=prompts.RESEARCH,
        max_output_tokens=2 * THINKING_TOKENS,
        temperature=0.3,
        message="Collecting claims",
    )
    return Research.from_draft(answer, request)


@content.operation(cache_for=hours(24), sample=samples.calendar, words=("schedule", "editorial", "daily", "weekly"))
async def generate_content_calendar(request: ContentCalendarRequest, run: RunContext) -> ContentCalendar:
    """Plan what to publish when and where, from tomorrow on."""
    answer = await run.generate(
        calendar_draft(request.entry_count),
        prompt=prompts.for_calendar(request),
        system=prompts.CALENDAR,
        max_output_tokens=THINKING_TOKENS + TOKENS_PER_ENTRY * request.entry_count,
        temperature=0.8,
        done=_counted(request.entry_count, "entries"),
        message="Planning the entries",
    )
    return ContentCalendar.from_draft(answer, request)


def _counted(expected: int, name: str) -> Callable[[dict[str, Any]], float]:
    """The share of the expected entries that are complete; the newest one is still being written."""
    return lambda partial: max(0, len(partial.get(name, ())) - 1) / expected
