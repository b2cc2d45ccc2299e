"""Video scripts: their scenes, time codes and speaking time, derived from the text that was written."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate, pairwise
from typing import Any, Literal

from pydantic import Field

from amrikyy.agents.agent import Result, TextResult, count_words
from amrikyy.agents.catalog.content import reading
from amrikyy.agents.catalog.content.requests import SPEAKING_WORDS_PER_MINUTE, VideoScriptRequest

FIT_TOLERANCE = 0.15
"""Share of the requested duration; a narrator can be this much slower or faster without it being noticed."""

_CODE = r"(?:(\d{1,2}):)?(\d{1,3}):(\d{2})"
_TIMED = re.compile(rf"[\[(]?\s*{_CODE}\s*(?:-|–|—|to)\s*{_CODE}\s*[\])]?\s*[:|–—-]?\s*(.*)")
_CUE = re.compile(
    r"\W*(visuals?|b-roll|on[ -]screen(?: text)?|shot|camera|music|sound|sfx|graphics?)\b[^:\n]{0,20}:", re.I
)
_SPEAKER = re.compile(r"\W*(narration|narrator|voice[ -]?over|vo|host|speaker)\b[^:\n]{0,20}:", re.I)
_STAGE_DIRECTION = re.compile(r"\[[^\]\n]{0,500}\]|\([^)\n]{0,500}\)")


class Scene(Result):
    """One scene of a script."""

    number: int = Field(description="Its place, from 1.")
    title: str = Field(description="What it is about.")
    start: str = Field(description="When it begins, as M:SS from the start of the video.", examples=["1:30"])
    end: str = Field(description="When it ends, as M:SS.", examples=["2:15"])
    start_seconds: int = Field(description="When it begins, in seconds.")
    duration_seconds: int = Field(description="How long it lasts, in seconds.")
    spoken_words: int = Field(description="Words to be spoken in it; visual cues are not counted.")


class VideoScript(TextResult):
    """A video script, with its scenes and how long it takes to speak."""

    scenes: list[Scene] = Field(description="The scenes, in order.")
    timing: Literal["script", "computed"] = Field(
        description="Where the time codes are from: the script's own, or, where those are missing or contradict each "
        "other, the asked duration divided among the scenes by their spoken words."
    )
    spoken_words: int = Field(description="Words to be spoken: headings and visual cues are not counted.")
    estimated_speaking_seconds: int = Field(description="Time to speak them at 150 words a minute, in seconds.")
    target_seconds: int = Field(description="The duration that was asked for, in seconds.")
    fits_duration: bool = Field(description="Whether speaking takes the asked duration, give or take 15 %.")

    @classmethod
    def derive(cls, text: str, request: VideoScriptRequest) -> dict[str, Any]:
        """Derive scenes and times from the text."""
        passages = _passages(text)
        # If headings have times, nothing outside those sections is spoken: notes, sources, a summary of the style.
        scenes = [passage for passage in passages if passage.times] or passages
        spoken = sum(scene.words for scene in scenes)
        seconds = round(60 * spoken / SPEAKING_WORDS_PER_MINUTE)
        times = _written_times(scenes, request.duration)
        fields = super().derive(text, request)
        return fields | {
            "title": reading.plain(fields["title"]),
            "scenes": _scenes(scenes, times or _computed_times(scenes, request.duration)),
            "timing": "script" if times else "computed",
            "spoken_words": spoken,
            "estimated_speaking_seconds": seconds,
            "target_seconds": request.duration,
            "fits_duration": abs(seconds - request.duration) <= FIT_TOLERANCE * request.duration,
        }


@dataclass
class _Passage:
    """The text under one heading."""

    title: str
    times: tuple[int, int] | None
    lines: list[str] = field(default_factory=list)

    @cached_property
    def words(self) -> int:
        return sum(count_words(_spoken(line)) for line in self.lines)


def _passages(text: str) -> list[_Passage]:
    """The script, split at its headings below the title; text before the first of them is the opening."""
    passages = [_Passage("Opening", None)]
    for line in reading.prose_lines(text):
        heading = reading.heading_of(line)
        if heading is None:
            passages[-1].lines.append(line)
        elif heading[0] > 1:
            match = _TIMED.fullmatch(heading[1])
            times = (_seconds(*match.group(1, 2, 3)), _seconds(*match.group(4, 5, 6))) if match else None
            passages.append(_Passage((match[7] if match else heading[1]) or "Scene", times))
    return [passage for passage in passages if passage.words or passage.times]


def _spoken(line: str) -> str:
    """The spoken part of a line: nothing of a cue or a table, and no stage directions."""
    if _CUE.match(line) or line.lstrip().startswith(("|", ">", "<")):
        return ""
    if speaker := _SPEAKER.match(line):
        line = line[speaker.end() :]
    return _STAGE_DIRECTION.sub("", reading.plain(line))


def _written_times(scenes: Sequence[_Passage], duration: int) -> list[tuple[int, int]] | None:
    """The script's own times, if each scene begins where the one before ends and they fill the video."""
    times = [scene.times for scene in scenes if scene.times]
    if not times or len(times) < len(scenes) or times[0][0] != 0 or abs(times[-1][1] - duration) > 1:
        return None
    starts = [start for start, _ in times]
    ends = [end for _, end in times]
    return times if ends[:-1] == starts[1:] and all(start < end for start, end in times) else None


def _computed_times(scenes: Sequence[_Passage], duration: int) -> list[tuple[int, int]]:
    weights = [scene.words for scene in scenes]
    if not any(weights):
        weights = [1] * len(scenes)
    total = sum(weights) or 1
    marks = [round(duration * said / total) for said in accumulate(weights, initial=0)]
    return list(pairwise(marks))


def _scenes(scenes: Sequence[_Passage], times: Sequence[tuple[int, int]]) -> list[Scene]:
    return [
        Scene(
            number=number,
            title=scene.title,
            start=time_code(start),
            end=time_code(end),
            start_seconds=start,
            duration_seconds=end - start,
            spoken_words=scene.words,
        )
        for number, (scene, (start, end)) in enumerate(zip(scenes, times, strict=True), start=1)
    ]


def time_code(seconds: int) -> str:
    """M:SS from the start of the video; an hour is 60:00."""
    return f"{seconds // 60}:{seconds % 60:02}"


def _seconds(hours: str | None, minutes: str, seconds: str) -> int:
    return 3600 * int(hours or 0) + 60 * int(minutes) + int(seconds)
