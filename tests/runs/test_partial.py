"""The object so far is valid as far as it goes, whatever the cut."""

import json
import time
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field

from amrikyy.agents import Result
from amrikyy.runs.events import Delta
from amrikyy.runs.partial import Fold


class Stop(Result):
    day_number: int = Field(ge=1)
    time_of_day: Literal["early", "late"]
    notes: list[str] = Field(min_length=1)


class Journey(Result):
    title: str = Field(min_length=3)
    stops: list[Stop] = Field(min_length=2)
    total_usd: float | None = None
    tags: list[Literal["aa", "bb"]] = Field(default_factory=list)


WHOLE = {
    "title": 'Hi "you" \\ 12',
    "stops": [
        {"dayNumber": 123, "timeOfDay": "early", "notes": ["a b", "c"]},
        {"dayNumber": 2, "timeOfDay": "late", "notes": ["x"]},
    ],
    "totalUsd": 12.75,
    "tags": ["aa", "bb"],
}


def so_far(text: str) -> dict[str, object]:
    fold = Fold(Journey)
    fold.feed(Delta(text))
    value: dict[str, object] = json.loads(fold.encoded())
    return value


@pytest.mark.parametrize("indent", [None, 2])
def test_every_cut_of_an_answer_is_a_prefix_of_the_whole(indent: int | None) -> None:
    text = json.dumps(WHOLE, indent=indent)
    for cut in range(len(text) + 1):
        assert_is_prefix(so_far(text[:cut]), WHOLE)
    assert so_far(text) == WHOLE


def assert_is_prefix(part: object, whole: object) -> None:
    if isinstance(whole, dict):
        assert isinstance(part, dict)
        for name, value in part.items():
            assert_is_prefix(value, whole[name])
    elif isinstance(whole, list):
        assert isinstance(part, list)
        assert len(part) <= len(whole)
        for value, expected in zip(part, whole, strict=False):
            assert_is_prefix(value, expected)
    elif isinstance(whole, str) and whole not in ("early", "late", "aa", "bb"):
        assert isinstance(part, str)
        assert whole.startswith(part)
    else:
        assert part == whole  # numbers and enumerations come whole or not at all


@given(st.text(max_size=40))
@settings(max_examples=200, deadline=None)
def test_no_text_breaks_the_fold(text: str) -> None:
    so_far('{"title": "' + text)
    so_far(text)


def test_a_value_of_the_wrong_type_is_not_there() -> None:
    assert so_far('{"title": 7, "stops": [{"dayNumber": 0, "timeOfDay": "noon", "notes": ["n"]}]}') == {
        "stops": [{"notes": ["n"]}]
    }


def test_a_code_fence_around_the_object_does_not_matter() -> None:
    assert so_far('```json\n{"title": "Rome"}\n```') == {"title": "Rome"}


def test_a_restart_forgets_what_was_before() -> None:
    fold = Fold(Journey)
    fold.feed(Delta('{"title": "Paris", "totalUsd": 1}'))
    fold.feed(Delta('{"title": "Ro', restarts=True))
    fold.feed(Delta('me"}'))
    assert json.loads(fold.encoded()) == {"title": "Rome"}


def test_a_long_word_in_an_answer_is_read_once() -> None:
    began = time.process_time()
    assert so_far('{"title": "' + "a" * 200_000 + '", "price": 12')["title"] == "a" * 200_000
    assert time.process_time() - began < 5  # from each of its characters, it would be minutes
