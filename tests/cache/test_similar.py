"""Which requests are alike, and which never are."""

from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amrikyy.cache import similar
from amrikyy.cache.similar import SimilarRequests, likeness, words_of


@pytest.mark.parametrize(
    ("one", "other", "share"),
    [
        ("Night trains in Europe", "night trains, in EUROPE!", 1.0),
        ("Café in Zürich", "cafe in zurich", 1.0),
        ("night trains of europe", "night trains in europe", 0.75),
        ("hotels in Paris", "hotels in Rome", 2 / 3),
        ("one thing", "another matter", 0.0),
        ("", "", 1.0),
    ],
)
def test_words_are_compared_as_they_are_said(one: str, other: str, share: float) -> None:
    assert likeness([words_of(one)], [words_of(other)]) == pytest.approx(share)


def test_of_several_texts_the_one_counts_that_differs_most() -> None:
    equal, other = words_of("a long text that is the same in both"), words_of("another")
    assert likeness([equal, words_of("x y")], [equal, other]) == 0.0


@given(st.text(max_size=60), st.text(max_size=60))
def test_likeness_is_a_share_and_has_no_direction(one: str, other: str) -> None:
    a, b = [words_of(one)], [words_of(other)]
    assert 0.0 <= likeness(a, b) == likeness(b, a) <= 1.0
    assert likeness(a, a) == 1.0


def test_embeddings_are_compared_by_their_direction() -> None:
    east, north = array("f", [2.0, 0.0]), array("f", [0.0, 1.0])
    assert likeness(east, array("f", [9.0, 0.0])) == pytest.approx(1.0)
    assert likeness(east, north) == 0.0
    assert likeness(east, array("f", [0.0, 0.0])) == 0.0
    assert likeness(east, array("f", [2.0, 0.0, 0.0])) == 0.0, "of another model"


def test_only_what_is_alike_enough_is_found_the_most_alike_first() -> None:
    requests = SimilarRequests(0.7)
    requests.keep("b", [words_of("night trains of europe")], "of")
    requests.keep("b", [words_of("night trains in europe")], "in")
    requests.keep("b", [words_of("day trains somewhere else")], "else")
    requests.keep("other", [words_of("night trains in europe")], "another bucket's")
    assert requests.find("b", [words_of("Night trains in Europe")]) == ["in", "of"]
    requests.forget("b", "in")
    requests.forget("b", "in")
    assert requests.find("b", [words_of("Night trains in Europe")]) == ["of"]
    assert requests.find("unknown", [words_of("x")]) == []


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(similar, "MAX_IN_BUCKET", 3)
    monkeypatch.setattr(similar, "MAX_REQUESTS", 5)
    requests = SimilarRequests(0.5)
    for number in range(10):
        requests.keep("full", [words_of(f"text {number}")], str(number))
        requests.keep("full", [words_of(f"text {number}")], str(number))
    assert len(requests) == 3
    for number in range(10):
        requests.keep(f"bucket {number}", [words_of("text")], "key")
    assert len(requests) == 5
    assert requests.find("bucket 0", [words_of("text")]) == []
    assert requests.find("bucket 9", [words_of("text")]) == ["key"]
