"""The offline model's calendars: a new headline for every entry, in a format that suits its platform."""

from amrikyy.agents.catalog.content.plans import CalendarEntryDraft, ContentCalendarDraft, slots
from amrikyy.agents.catalog.content.requests import ContentCalendarRequest
from amrikyy.agents.catalog.content.samples.aspects import ASPECTS
from amrikyy.agents.catalog.content.samples.wording import headline, subject
from amrikyy.agents.seeding import seeded

TOPICS = (
    "Behind the scenes",
    "Questions from customers",
    "One skill a week",
    "Lessons from mistakes",
    "The team's picks",
)
"""What to write about when the request leaves it open."""

FORMATS = {
    "blog": ("How-to article", "Checklist", "Case story", "Interview", "Opinion piece"),
    "social": ("Carousel", "Poll", "Short thread", "Before and after", "Reader's question"),
    "video": ("Short clip", "Screen recording", "Talking head", "Walk-through", "Time lapse"),
    "newsletter": ("Letter from the editor", "Reading list", "Three things learnt", "Reader's question"),
    "podcast": ("Interview", "Solo episode", "Listener's question", "Round table"),
}
SYNONYMS = {
    "twitter": "social", "x": "social", "facebook": "social", "instagram": "social", "linkedin": "social",
    "threads": "social", "tiktok": "video", "youtube": "video", "reels": "video", "email": "newsletter",
}  # fmt: skip
OTHER_FORMATS = ("Short article", "Checklist", "Question and answer", "Case story")

TITLES = (
    "{topic}: a closer look at {aspect}",
    "{topic}: {aspect} in five minutes",
    "{topic}: what we got wrong about {aspect}",
    "{topic}: three questions about {aspect}",
    "{topic}: {aspect}, explained to a beginner",
    "{topic}: {aspect} before and after",
)

CALLS = (
    "Reply with your own example.",
    "Save this and try it on Monday.",
    "Send it to the person who asked you about this.",
    "Vote for what we should look at next.",
    "Download the checklist and tick the first line.",
    "Tell us where you got stuck.",
)


def calendar(request: ContentCalendarRequest) -> ContentCalendarDraft:
    """A calendar with an entry for each slot; no headline comes twice."""
    rng = seeded(request, "calendar")
    plan = slots(request)
    own = rng.sample(TOPICS, len(TOPICS))
    aspects, titles = rng.sample(ASPECTS, len(ASPECTS)), rng.sample(TITLES, len(TITLES))
    about = ", ".join(request.topics[:3]) or "what our readers ask about most"
    return ContentCalendarDraft(
        theme=headline(f"One useful thing at a time: {about}", 280),
        entries=[
            CalendarEntryDraft(
                number=slot.number,
                topic=(topic := slot.topic or own[index % len(own)]),
                # Aspects take turns, and each returns under a different title: 108 entries without a repeat.
                title=titles[(index + index // len(aspects)) % len(titles)].format(
                    topic=headline(topic), aspect=aspects[index % len(aspects)].name
                ),
                format=rng.choice(_formats(slot.platform)),
                summary=aspects[index % len(aspects)].point.format(it=subject(topic), who="our readers"),
                call_to_action=CALLS[index % len(CALLS)],
            )
            for index, slot in enumerate(plan)
        ],
    )


def _formats(platform: str) -> tuple[str, ...]:
    name = platform.casefold()
    return FORMATS.get(SYNONYMS.get(name, name), OTHER_FORMATS)
