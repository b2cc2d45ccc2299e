"""The offline model's blog posts: one section for each aspect, as many and as long as the requested length needs."""

import random
from itertools import cycle

from amrikyy.agents.agent import count_words
from amrikyy.agents.catalog.content.fields import Length
from amrikyy.agents.catalog.content.requests import BlogPostRequest
from amrikyy.agents.catalog.content.samples.aspects import ASPECTS, Aspect
from amrikyy.agents.catalog.content.samples.lenses import KEYWORD_SENTENCES, LENSES, lenses_for
from amrikyy.agents.catalog.content.samples.tones import VOICES
from amrikyy.agents.catalog.content.samples.wording import headline, subject
from amrikyy.agents.seeding import seeded

SECTIONS: dict[Length, int] = {"short": 3, "medium": 5, "long": 9}

DEFAULT_READERS = "people who want to get it right"

TITLES = (
    "{topic}: what matters and what can wait",
    "{topic}, one decision at a time",
    "A practical look at {topic}",
    "{topic}: where to begin and when to stop",
    "{topic} without the detours",
)


def blog_post(request: BlogPostRequest) -> str:
    """A post of about the requested length that uses every keyword."""
    rng = seeded(request, "blog")
    voice = VOICES[request.tone]
    words = {
        "it": subject(request.topic),
        "topic": subject(request.topic),
        "who": request.target_audience or DEFAULT_READERS,
    }
    # In the order of `ASPECTS`, from the goal to growth.
    aspects = [ASPECTS[place] for place in sorted(rng.sample(range(len(ASPECTS)), SECTIONS[request.length]))]
    opening = rng.choice(voice.openings).format(**words)
    closing = rng.choice(voice.closings).format(**words)
    agenda = _agenda(aspects)
    budget = (request.target_words - count_words(opening + agenda + closing)) / len(aspects)
    asides = cycle(rng.sample(voice.asides, len(voice.asides)))
    keyword_lines = [
        line.format(keyword=keyword)
        for line, keyword in zip(rng.sample(KEYWORD_SENTENCES, len(request.keywords)), request.keywords, strict=True)
    ]
    order = rng.sample(LENSES, len(LENSES))
    sections = [
        _section(
            aspect,
            keyword_lines[number :: len(aspects)],
            next(asides),
            round(budget),
            words,
            lenses_for(number, order),
            rng,
        )
        for number, aspect in enumerate(aspects)
    ]
    title = rng.choice(TITLES).format(topic=headline(request.topic, 200))
    return "\n\n".join([f"# {title}", opening, agenda, *sections, "## What to do first", closing]) + "\n"


def _agenda(aspects: list[Aspect]) -> str:
    names = [aspect.name for aspect in aspects]
    return f"We will look at {', '.join(names[:-1])} and {names[-1]}, in that order, and end with a first move."


def _section(
    aspect: Aspect,
    keyword_lines: list[str],
    aside: str,
    budget: int,
    words: dict[str, str],
    order: list[str],
    rng: random.Random,
) -> str:
    """The aspect's own paragraphs, with a list of steps, then lenses, until the budget of words is used up."""
    lenses = (lens.format(aspect=aspect.name, **words) for lens in order)
    steps = f"Three things to do here:\n\n{_bullets(aspect.steps)}"
    rest = [steps, aspect.example.format(**words), f"{aspect.mistake.format(**words)} {aside}"]
    rng.shuffle(rest)
    paragraphs = [" ".join([aspect.point.format(**words), *keyword_lines])]
    for paragraph in [*rest, aspect.check.format(**words)]:
        if count_words(" ".join(paragraphs)) + count_words(paragraph) / 2 > budget:
            break
        paragraphs.append(paragraph)
    while budget - count_words(" ".join(paragraphs)) > 20:
        paragraphs.append(f"{next(lenses)} {next(lenses)}")
    return "\n\n".join([f"## {aspect.heading}", *paragraphs])


def _bullets(items: tuple[str, ...]) -> str:
    return "\n".join(f"- {item}" for item in items)
