"""Content calendars: what a model drafts, and the dated plan that is made from it."""

import datetime as dt
from collections import Counter
from functools import cache
from math import gcd, lcm
from typing import Annotated, Literal, NamedTuple, Self, get_args

from pydantic import AfterValidator, Field, create_model

from amrikyy.agents.agent import Result
from amrikyy.agents.catalog.content.draft import Draft
from amrikyy.agents.catalog.content.fields import Frequency
from amrikyy.agents.catalog.content.requests import ContentCalendarRequest

Weekday = Literal["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
WEEKDAYS: tuple[Weekday, ...] = get_args(Weekday)


class Slot(NamedTuple):
    """A place in the calendar to be filled: what code decides, and not the model.

    Attributes:
        number: its number, from 1.
        after_days: how many days after the calendar's first day it is.
        platform: where it is published.
        topic: what it is about; None when the model chooses.
    """

    number: int
    after_days: int
    platform: str
    topic: str | None


def slots(request: ContentCalendarRequest) -> list[Slot]:
    """One slot for each day or each started week; platforms and topics take turns.

    Where the two cycles would always form the same pairs (three platforms and three topics), the topics shift by one
    after each round, so that every topic comes to every platform.
    """
    platforms, topics = request.platforms, request.topics
    step = 1 if request.frequency == "daily" else 7
    common_round = lcm(len(platforms), len(topics)) if gcd(len(platforms), len(topics)) > 1 and topics else None
    return [
        Slot(
            number=index + 1,
            after_days=index * step,
            platform=platforms[index % len(platforms)],
            topic=topics[(index + (index // common_round if common_round else 0)) % len(topics)] if topics else None,
        )
        for index in range(request.entry_count)
    ]


def first_day() -> dt.date:
    """Tomorrow in UTC: a calendar made late in the day would otherwise begin with a date that is missed."""
    return dt.datetime.now(dt.UTC).date() + dt.timedelta(days=1)


class CalendarEntryDraft(Draft):
    """One publication as the model drafts it."""

    number: int = Field(ge=1, le=90, description="The slot that it fills, from 1.")
    topic: str = Field(min_length=1, max_length=200, description="What it is about: the slot's topic if it has one.")
    title: str = Field(min_length=3, max_length=200, description="A headline that could be published.")
    format: str = Field(min_length=2, max_length=80, description="Kind of content, fit for the platform.")
    summary: str = Field(min_length=10, max_length=600, description="What it says, in one or two sentences.")
    call_to_action: str = Field(min_length=3, max_length=200, description="What the reader is asked to do.")


class ContentCalendarDraft(Draft):
    """A calendar as the model drafts it."""

    theme: str = Field(min_length=3, max_length=300, description="What holds the period together, in one sentence.")
    entries: list[CalendarEntryDraft] = Field(description="One entry for each slot, in order.")


class CalendarEntry(CalendarEntryDraft):
    """One publication with its date."""

    date: dt.date = Field(description="Day of publication, UTC.")
    weekday: Weekday = Field(description="That day's English name.")
    platform: str = Field(description="Where it is published.")


class PlatformShare(Result):
    """How much of the calendar a platform has."""

    platform: str = Field(description="The platform.")
    entries: int = Field(description="How many entries are published there.")


class ContentCalendar(Result):
    """A plan of what to publish when and where."""

    start_date: dt.date = Field(description="First day of the period: the day after the calendar was made, UTC.")
    end_date: dt.date = Field(description="Last day of the period.")
    duration: int = Field(description="Length of the period in days.")
    frequency: Frequency = Field(description="One entry for each day, or one for each week begun.")
    theme: str = Field(description="What holds the period together.")
    entries: list[CalendarEntry] = Field(description="The entries by date.")
    platforms: list[PlatformShare] = Field(description="How the entries are spread.")
    topics: list[str] = Field(description="Every topic that occurs, in order of first occurrence.")

    @classmethod
    def from_draft(cls, draft: ContentCalendarDraft, request: ContentCalendarRequest) -> Self:
        """Fill the slots with the drafted entries, by number, and add their dates."""
        start = first_day()
        drafted = sorted(draft.entries, key=lambda entry: entry.number)
        entries = [_date(entry, slot, start) for slot, entry in zip(slots(request), drafted, strict=False)]
        counts = Counter(entry.platform for entry in entries)
        return cls(
            start_date=start,
            end_date=start + dt.timedelta(days=request.duration - 1),
            duration=request.duration,
            frequency=request.frequency,
            theme=draft.theme,
            entries=entries,
            platforms=[PlatformShare(platform=name, entries=counts[name]) for name in request.platforms],
            topics=list(dict.fromkeys(entry.topic for entry in entries)),
        )


def _date(draft: CalendarEntryDraft, slot: Slot, start: dt.date) -> CalendarEntry:
    day = start + dt.timedelta(days=slot.after_days)
    return CalendarEntry(
        **draft.model_dump(exclude={"number", "topic"}),
        number=slot.number,
        topic=slot.topic or draft.topic,
        date=day,
        weekday=WEEKDAYS[day.weekday()],
        platform=slot.platform,
    )


@cache
def calendar_draft(count: int) -> type[ContentCalendarDraft]:
    """The draft type with at least `count` entries; cached, 90 types at most. Extra entries are cut off later.

    It is a validator rather than a length in the schema: Gemini rejects schemas with long bounded arrays.
    """

    def check(entries: list[CalendarEntryDraft]) -> list[CalendarEntryDraft]:
        if len(entries) < count:
            raise ValueError(f"there must be {count} entries, one for each slot; these are {len(entries)}")
        return entries

    return create_model(
        f"ContentCalendarDraft{count}",
        __base__=ContentCalendarDraft,
        __doc__=ContentCalendarDraft.__doc__,
        entries=(
            Annotated[list[CalendarEntryDraft], AfterValidator(check)],
            Field(description=f"Exactly {count} entries: one for each slot, in order."),
        ),
    )
