"""The offline model's video scripts: as many scenes and spoken words as fill the duration."""

from collections import deque
from collections.abc import Sequence

from amrikyy.agents.agent import count_words
from amrikyy.agents.catalog.content.prompts import scene_count
from amrikyy.agents.catalog.content.requests import VideoScriptRequest
from amrikyy.agents.catalog.content.samples.aspects import ASPECTS, Aspect
from amrikyy.agents.catalog.content.samples.lenses import LENSES, lenses_for
from amrikyy.agents.catalog.content.samples.tones import STYLE_VOICES
from amrikyy.agents.catalog.content.samples.wording import headline, subject
from amrikyy.agents.catalog.content.scripts import time_code
from amrikyy.agents.seeding import seeded

VIEWERS = "people who want to get it right"

VISITS = ("{heading}", "{heading}: in practice", "{heading}: what to watch for")
"""The titles of an aspect's first scene and of those in which it returns."""

SHOTS = ("Close-up.", "Wide shot.", "Over the shoulder.", "Slow pan.", "Static, eye level.", "Hand-held.")


def video_script(request: VideoScriptRequest) -> str:
    """A script whose narration takes about the requested duration, with scenes that fill it without a gap."""
    rng = seeded(request, "script")
    voice = STYLE_VOICES[request.style]
    words = {"it": subject(request.topic), "topic": subject(request.topic), "who": VIEWERS}
    count = scene_count(request.duration)
    marks = [round(request.duration * number / count) for number in range(count + 1)]
    places = sorted(rng.sample(range(len(ASPECTS)), min(count, len(ASPECTS))))
    order = rng.sample(LENSES, len(LENSES))
    material = [
        _Material(ASPECTS[place], words, rng.choice(voice.asides), lenses_for(number, order))
        for number, place in enumerate(places)
    ]
    first_shot = rng.randrange(len(SHOTS))
    opening, closing = voice.openings[0].format(**words), voice.closings[0].format(**words)
    scenes = [f"# {headline(request.topic, 200)}"]
    said = 0
    for number in range(count):
        visit, place = divmod(number, len(material))
        source = material[place]
        # The same picture returns in a different shot.
        shot = SHOTS[(first_shot + number + visit) % len(SHOTS)]
        # If one scene is too long, the next is shorter: the whole must fit, not each part.
        room = round(request.target_words * (number + 1) / count) - said
        first, last = number == 0, number == count - 1
        before, after = [opening] * first, [closing] * last
        narration = " ".join([*before, *source.take(room - count_words(" ".join(before + after))), *after])
        said += count_words(narration)
        title = "Why watch this" if first else "What to do next" if last else source.title()
        scenes.append(
            f"## [{time_code(marks[number])}-{time_code(marks[number + 1])}] {title}\n\n"
            f"**Visual:** {shot} {source.aspect.visual}\n\n"
            f"**Narration:** {narration}"
        )
    return "\n\n".join(scenes) + "\n"


class _Material:
    """What can be said about one aspect, each sentence once."""

    def __init__(self, aspect: Aspect, words: dict[str, str], aside: str, order: Sequence[str]) -> None:
        self.aspect = aspect
        self._visits = 0
        first, second, third = aspect.steps
        own = [
            aspect.point.format(**words),
            f"So: {_small(first)} Then {_small(second)} And finally, {_small(third)}",
            aspect.example.format(**words),
            f"{aspect.mistake.format(**words)} {aside}",
            aspect.check.format(**words),
        ]
        lenses = [lens.format(aspect=aspect.name, **words) for lens in order]
        self._sentences = deque(own[:1] + lenses[:1] + own[1:3] + lenses[1:3] + own[3:] + lenses[3:])

    def title(self) -> str:
        """A scene's title, different each time until they repeat."""
        self._visits += 1
        return VISITS[(self._visits - 1) % len(VISITS)].format(heading=self.aspect.heading)

    def take(self, room: int) -> list[str]:
        """Sentences not used before, of about `room` words; a sentence that is too long is kept for later."""
        taken: list[str] = []
        waiting: list[str] = []
        while self._sentences and room > 0:
            sentence = self._sentences.popleft()
            if count_words(sentence) > room + 4:
                waiting.append(sentence)
                continue
            taken.append(sentence)
            room -= count_words(sentence)
        self._sentences.extendleft(reversed(waiting))
        return taken


def _small(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:]
