"""The offline model's social posts: in the form that each network's readers are used to, in the requested tone."""

import random
import re

from amrikyy.agents.catalog.content.fields import SocialPlatform, Tone
from amrikyy.agents.catalog.content.requests import SocialPostsRequest
from amrikyy.agents.catalog.content.samples.aspects import ASPECTS, Aspect
from amrikyy.agents.catalog.content.samples.wording import headline, subject
from amrikyy.agents.catalog.content.social import SocialPostDraft, SocialPostsDraft
from amrikyy.agents.seeding import seeded

HOOKS: dict[Tone, tuple[str, ...]] = {
    "professional": ("A note on {topic}.", "{topic}: one point that is often missed.", "What we learnt about {topic}."),
    "casual": ("Okay, {topic}.", "Let's talk about {topic}.", "Quick thought on {topic}:"),
    "friendly": (
        "New to {topic}? You're not alone.",
        "A small tip for {topic}!",
        "Thinking about {topic}? Start here.",
    ),
    "formal": ("A remark concerning {topic}.", "On the subject of {topic}.", "{topic}: an observation."),
    "humorous": ("{topic}: it's not you, it's the plan.", "Day 1 of {topic}. Send snacks.", "{topic}, but sober."),
}

QUESTIONS = (
    "What was your first step?",
    "What would you add?",
    "Which part took you longest?",
    "How do you handle this?",
    "What would you tell a beginner?",
)

GENERIC_TAGS = ("HowTo", "LessonsLearned", "SmallSteps", "WorkInProgress", "GoodHabits", "StartHere", "Notes")

# Words that say nothing on their own.
_SMALL_WORDS = re.compile(
    "a|an|and|are|as|at|by|for|from|how|in|into|is|it|of|on|or|that|the|to|what|why|with|your", re.IGNORECASE
)


def social_posts(request: SocialPostsRequest) -> SocialPostsDraft:
    """One post for each platform, each about a different aspect."""
    rng = seeded(request, "social")
    aspects = rng.sample(ASPECTS, len(request.platforms))
    hooks = rng.sample(HOOKS[request.tone], 3)
    tags = _tags(request.topic, rng)
    posts = [
        SocialPostDraft(
            platform=platform,
            text=_text(platform, hooks[number % 3].format(topic=headline(request.topic, 200)), aspect, request, rng),
            hashtags=tags if request.hashtags else [],
            media_idea=aspect.visual,
        )
        for number, (platform, aspect) in enumerate(zip(request.platforms, aspects, strict=True))
    ]
    return SocialPostsDraft(posts=posts)


def _text(platform: SocialPlatform, hook: str, aspect: Aspect, request: SocialPostsRequest, rng: random.Random) -> str:
    words = {"it": subject(request.topic), "who": "people who do this every week"}
    point, example = aspect.point.format(**words), aspect.example.format(**words)
    mistake, check = aspect.mistake.format(**words), aspect.check.format(**words)
    question = rng.choice(QUESTIONS)
    steps = "\n".join(f"{number}. {step}" for number, step in enumerate(aspect.steps, start=1))
    match platform:
        case "twitter":
            return f"{hook} {aspect.heading}. {aspect.steps[0]} {question}"
        case "facebook":
            return f"{hook}\n\n{point}\n\n{example}\n\n{question}"
        case "instagram":
            return f"{hook}\n\n{aspect.heading}.\n\n{point}\n\n{steps}\n\nSave this for later. {question}"
        case "linkedin":
            return f"{hook}\n\n{point}\n\n{mistake}\n\nWhat helps:\n{steps}\n\n{check}\n\n{question}"
        case "tiktok":
            return f"{hook} Three steps in thirty seconds: {' '.join(aspect.steps)} {question}"


def _tags(topic: str, rng: random.Random) -> list[str]:
    """The whole topic if it is short, its words, and some that fit anything."""
    words = [word for word in re.findall(r"[^\W\d_]{2,20}", topic) if not _SMALL_WORDS.fullmatch(word)]
    whole = ["".join(word[:1].upper() + word[1:] for word in words)] if 1 < len(words) <= 3 else []
    return [*whole, *(word[:1].upper() + word[1:] for word in words[:6]), *rng.sample(GENERIC_TAGS, 3)]
