"""Expressions: what they can do, and what they cannot be made to do."""

import time
import tracemalloc
from typing import Any

import pytest

from amrikyy.errors import ValidationFailed
from amrikyy.workflows.expressions import InvalidExpression, check, check_aggregator, evaluate

RESULTS: list[dict[str, Any]] = [
    {"agent": "a", "method": "m", "output": {"summary": "One.", "n": 1}, "success": True},
    {"agent": "b", "method": "m", "output": [2, 3], "success": True},
    {"agent": "b", "method": "x", "output": None, "success": False},
]


@pytest.mark.parametrize(
    ("aggregator", "result"),
    [
        ("combine", {"a.m": RESULTS[0]["output"], "b.m": [2, 3]}),
        ("concat", [RESULTS[0]["output"], 2, 3]),
        ("function(results) { return first(results); }", RESULTS[0]["output"]),
        ("[?success].method", ["m", "m"]),
        (
            "summarize",
            {
                "succeeded": 2,
                "failed": 1,
                "results": [{"name": "a.m", "summary": "One."}, {"name": "b.m", "summary": [2, 3]}],
            },
        ),
    ],
)
def test_an_aggregator_is_a_name_or_an_expression(aggregator: str, result: object) -> None:
    assert evaluate(check_aggregator(aggregator), RESULTS) == result


def test_own_functions() -> None:
    value = {"a": "2026-12-30", "b": "2027-01-02", "n": 5}
    assert evaluate("days_between(a, b)", value) == 3
    assert evaluate("subtract(n, `2`)", value) == 3


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("__import__('os').system('true')", "no function"),
        ("function(r) { return evil(r); }", "Not a JMESPath expression"),
        ("sort(a, b)", "takes 1"),
        ("(" * 1500, "nested|No JMESPath"),
        ("!" * 500 + "a", "nested"),
        ("a" * 2001, "longer"),
    ],
)
def test_what_cannot_be_evaluated_is_refused_before(text: str, reason: str) -> None:
    with pytest.raises(InvalidExpression, match=reason):
        check(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("[@,@]" + "|[@,@]" * 30, 1),
        ("to_string([@,@])" + "|to_string([@,@])" * 30, "x"),
        ("[*].[a,a,a]" + "|[*].[[0],[0],[0]]" * 30, [{"a": 1}] * 5000),
        ("sum(@)", ["a"]),
        ("days_between(@, @)", "soon"),
    ],
)
def test_what_makes_too_much_of_its_input_or_does_not_fit_it_is_stopped(text: str, value: object) -> None:
    started = time.process_time()
    with pytest.raises(ValidationFailed):
        evaluate(check(text), value)
    assert time.process_time() - started < 5


def test_a_text_that_would_be_far_larger_than_what_it_is_joined_of_is_never_made() -> None:
    value = {"glue": "x" * 100_000, "texts": [""] * 1000}
    tracemalloc.start()
    with pytest.raises(ValidationFailed, match="too large a value"):
        evaluate(check("join(glue, texts)"), value)
    made = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert made < 10_000_000  # it would be 100 MB, and 50 GB of what a request may hold
    assert evaluate(check("join(', ', @)"), ["a", "b"]) == "a, b"


def test_many_results_of_one_name_are_combined_in_time_that_grows_with_their_number() -> None:
    results = [{"success": True, "method": "m", "output": number} for number in range(20_000)]
    began = time.process_time()
    whole = evaluate("combine(@)", results)
    assert time.process_time() - began < 2  # it was half a minute
    assert (whole["m"], whole["m#2"], whole["m#20000"]) == (0, 1, 19_999)


@pytest.mark.parametrize("text", ["combine(@)", "concat(@)", "first(@)", "summarize(@)"])
def test_what_is_no_result_cannot_be_aggregated_and_that_is_the_callers_mistake(text: str) -> None:
    with pytest.raises(ValidationFailed, match=r"cannot be evaluated here: '.*' is missing"):
        evaluate(text, [{"success": True}])


@pytest.mark.parametrize("text", ["function(r){return combine(r)" + " " * 900_000 + "x", " " * 900_000, "a" * 900_000])
def test_an_aggregator_of_the_longest_body_is_refused_at_once(text: str) -> None:
    began = time.process_time()
    with pytest.raises(InvalidExpression, match="longer than"):
        check_aggregator(text)
    assert time.process_time() - began < 1  # it was a quarter of an hour


def test_the_blanks_of_the_guides_function_are_read_once() -> None:
    text = "function(r){return combine(r)" + " " * 1_900
    began = time.process_time()
    for _ in range(100):
        with pytest.raises(InvalidExpression):
            check_aggregator(text + "x")
    assert time.process_time() - began < 0.5  # with two repetitions side by side, it was more than a second
    assert check_aggregator(text + ";" + " " * 50 + "}") == "combine(@)"
