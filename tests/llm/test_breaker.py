"""The circuit breaker: when it opens, when it lets a probe through, and who decides."""

import pytest
import structlog

from amrikyy.llm.breaker import Breaker, Call, Outcome, State


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker(monotonic=clock)


def state_of(breaker: Breaker) -> State:
    return breaker.state  # a call, for mypy takes a property to stay what it was


def entered(breaker: Breaker) -> Call:
    call = breaker.enter()
    assert call is not None
    return call


def opened(breaker: Breaker) -> Breaker:
    for _ in range(5):
        entered(breaker).end("failed")
    return breaker


def test_it_opens_at_the_fifth_failure_in_a_row(breaker: Breaker) -> None:
    states = []
    for _ in range(5):
        entered(breaker).end("failed")
        states.append(breaker.state)
    assert states == ["closed"] * 4 + ["open"]
    assert breaker.enter() is None
    assert breaker.retry_after_s == 60


def test_a_success_between_failures_counts_anew(breaker: Breaker) -> None:
    for report in ("failed", "failed", "failed", "failed", "succeeded", "failed", "failed", "failed", "failed"):
        entered(breaker).end(report)
    assert state_of(breaker) == "closed"


def test_a_call_without_a_verdict_neither_counts_nor_clears(breaker: Breaker) -> None:
    for report in ("failed", "failed", "left", "failed", "failed", "left", "failed"):
        entered(breaker).end(report)
    assert state_of(breaker) == "open"


def test_half_open_after_a_minute_it_lets_one_probe_through(breaker: Breaker, clock: Clock) -> None:
    opened(breaker)
    clock.now = 59.9
    assert breaker.enter() is None
    clock.now = 60
    assert state_of(breaker) == "half-open"
    assert [breaker.enter() is not None for _ in range(3)] == [True, False, False]


def test_a_probe_that_succeeds_closes_it(breaker: Breaker, clock: Clock) -> None:
    opened(breaker)
    clock.now = 60
    entered(breaker).end("succeeded")
    assert state_of(breaker) == "closed"
    for _ in range(4):
        entered(breaker).end("failed")
    assert state_of(breaker) == "closed"


def test_a_probe_that_fails_opens_it_for_another_minute(breaker: Breaker, clock: Clock) -> None:
    opened(breaker)
    clock.now = 75
    entered(breaker).end("failed")
    assert breaker.retry_after_s == 60
    clock.now = 134
    assert breaker.enter() is None


def test_a_cancelled_probe_frees_the_slot_without_deciding(breaker: Breaker, clock: Clock) -> None:
    opened(breaker)
    clock.now = 60
    entered(breaker).end("left")
    assert state_of(breaker) == "half-open"
    assert breaker.enter() is not None


def test_a_probe_that_answers_has_proved_enough(breaker: Breaker, clock: Clock) -> None:
    opened(breaker)
    clock.now = 60
    probe = entered(breaker)
    probe.answers()
    assert state_of(breaker) == "closed"
    probe.end("failed")
    for _ in range(4):
        assert state_of(breaker) == "closed"
        entered(breaker).end("failed")
    assert state_of(breaker) == "open"


@pytest.mark.parametrize("report", ["succeeded", "failed", "left", None])
def test_a_call_from_before_the_opening_decides_nothing(breaker: Breaker, clock: Clock, report: Outcome | None) -> None:
    old = entered(breaker)
    opened(breaker)
    clock.now = 60
    probe = entered(breaker)
    old.end(report) if report else old.answers()
    assert state_of(breaker) == "half-open"
    assert breaker.enter() is None  # the probe still has the slot
    probe.end("succeeded")
    assert state_of(breaker) == "closed"


def test_only_the_first_report_counts(breaker: Breaker) -> None:
    call = entered(breaker)
    for _ in range(5):
        call.end("failed")
    assert state_of(breaker) == "closed"


def test_the_log_says_of_which_model_it_opens_and_why_and_that_it_closes(clock: Clock) -> None:
    breaker = Breaker("gemini:a", failures=2, monotonic=clock)
    with structlog.testing.capture_logs() as logs:
        entered(breaker).end("succeeded")
        entered(breaker).end("failed", "model_timeout")
        entered(breaker).end("failed", "model_key_rejected")
        clock.now = 60
        entered(breaker).end("left")
        entered(breaker).end("succeeded")
        entered(breaker).end("succeeded")
    assert [(each["event"], each["model"], each["state"], each.get("code")) for each in logs] == [
        ("model_circuit", "gemini:a", "open", "model_key_rejected"),
        ("model_circuit", "gemini:a", "closed", None),
    ]
