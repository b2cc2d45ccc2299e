"""Limits never allow too much, refuse no more than they must, and refuse all or nothing."""

from collections import defaultdict
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amrikyy.errors import ValidationFailed
from amrikyy.ratelimit import Charge, Limit, MemoryLimiter
from amrikyy.ratelimit.limit import EXACT_UP_TO


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class Model:
    """Obviously right, and slow: every admitted charge with its time, counted anew at each decision."""

    def __init__(self) -> None:
        self.admitted: defaultdict[tuple[str, str], list[tuple[float, int]]] = defaultdict(list)

    def used(self, charge: Charge, now: float, window_s: float) -> int:
        return sum(cost for at, cost in self.admitted[charge.name, charge.key] if at + window_s > now)

    def allows(self, charges: Sequence[Charge], now: float, slack: float = 0) -> bool:
        return all(
            self.used(charge, now, charge.limit.window_s * (1 + slack)) + charge.cost <= charge.limit.count
            for charge in charges
        )

    def take(self, charges: Sequence[Charge], now: float) -> None:
        for charge in charges:
            self.admitted[charge.name, charge.key].append((now, charge.cost))


SMALL = {"global": Limit(7, 10), "agent": Limit(5, 7), "operation": Limit(2, 3)}
LARGE = {"global": Limit(1000, 10), "agent": Limit(700, 7)}

steps = st.lists(
    st.tuples(
        st.floats(0, 4),
        st.sampled_from(["ana", "bob"]),
        st.sets(st.sampled_from(["global", "agent", "operation"]), min_size=1),
        st.integers(1, 2),
    ),
    max_size=80,
)


@given(steps)
@settings(max_examples=300, deadline=None)
def test_small_limits_decide_exactly_as_the_model_does(
    requests: list[tuple[float, str, set[str], int]],
) -> None:
    clock, model = Clock(), Model()
    limiter = MemoryLimiter(clock=clock)
    for pause_s, key, names, cost in requests:
        clock.now_s += pause_s
        charges = [Charge(name, key, SMALL[name], cost) for name in sorted(names)]
        decision = limiter.decide_now(charges)
        assert (decision.refused is None) is model.allows(charges, clock.now_s)
        if decision.refused is None:
            model.take(charges, clock.now_s)
        for charge, state in zip(charges, decision.states, strict=True):
            assert state.remaining == charge.limit.count - model.used(charge, clock.now_s, charge.limit.window_s)


@given(st.lists(st.tuples(st.floats(0, 3), st.integers(1, 400)), max_size=60))
@settings(max_examples=200, deadline=None)
def test_large_limits_never_allow_too_much_and_refuse_a_slice_too_long_at_most(
    requests: list[tuple[float, int]],
) -> None:
    clock, model = Clock(), Model()
    limiter = MemoryLimiter(clock=clock)
    for pause_s, cost in requests:
        clock.now_s += pause_s
        charges = [Charge(name, "ana", limit, cost) for name, limit in LARGE.items()]
        decision = limiter.decide_now(charges)
        if decision.refused is None:
            assert model.allows(charges, clock.now_s)
            model.take(charges, clock.now_s)
        else:
            assert not model.allows(charges, clock.now_s, slack=1.0001 / EXACT_UP_TO)


@given(steps)
@settings(max_examples=100, deadline=None)
def test_after_the_time_that_a_refusal_names_the_same_request_passes(
    requests: list[tuple[float, str, set[str], int]],
) -> None:
    clock = Clock()
    limiter = MemoryLimiter(clock=clock)
    for pause_s, key, names, cost in requests:
        clock.now_s += pause_s
        charges = [Charge(name, key, SMALL[name], cost) for name in sorted(names)]
        decision = limiter.decide_now(charges)
        if decision.refused is not None:
            assert decision.retry_after_s > 0
            clock.now_s += decision.retry_after_s + 1e-9
            assert limiter.decide_now(charges).refused is None


def test_a_refused_request_has_consumed_nothing() -> None:
    limiter = MemoryLimiter(clock=Clock())
    wide, narrow = Charge("global", "ana", Limit(100, 60)), Charge("operation", "ana", Limit(1, 60))
    assert limiter.decide_now([wide, narrow]).refused is None
    for _ in range(50):
        decision = limiter.decide_now([wide, narrow])
        assert decision.refused is narrow
        assert decision.states[0].remaining == 99


def test_callers_and_limits_are_counted_apart() -> None:
    limiter = MemoryLimiter(clock=Clock())
    limit = Limit(1, 60)
    for name, key in (("a", "ana"), ("a", "bob"), ("b", "ana")):
        assert limiter.decide_now([Charge(name, key, limit)]).refused is None
    assert limiter.decide_now([Charge("a", "ana", limit)]).refused is not None


def test_what_is_given_back_can_be_used_again() -> None:
    clock = Clock()
    limiter = MemoryLimiter(clock=clock)
    for limit in (Limit(2, 60), Limit(1000, 60)):
        charges = [Charge(str(limit), "ana", limit, limit.count)]
        for _ in range(3):
            decision = limiter.decide_now(charges)
            assert decision.refused is None
            clock.now_s += 1
            limiter.refund_now(decision)
            limiter.refund_now(decision)
        assert limiter.decide_now(charges).states[0].remaining == 0


def test_a_charge_larger_than_its_limit_is_the_callers_mistake() -> None:
    limiter = MemoryLimiter(clock=Clock())
    with pytest.raises(ValidationFailed, match="never") as refused:
        limiter.decide_now([Charge("travel", "ana", Limit(5, 60), 6)])
    assert refused.value.code == "exceeds_limit"


def test_one_of_several_processes_has_its_share_and_at_least_one() -> None:
    limiter = MemoryLimiter(clock=Clock())
    limiter.divide_by = 3
    for limit, share in ((Limit(30, 60), 10), (Limit(2, 60), 1)):
        charges = [Charge(str(limit), "ana", limit)]
        passed = sum(limiter.decide_now(charges).refused is None for _ in range(40))
        assert passed == share


def test_memory_is_bounded_and_idle_counters_go_first() -> None:
    clock = Clock()
    limiter = MemoryLimiter(clock=clock, max_counters=100)
    busy = Charge("global", "busy", Limit(3, 60))
    for _ in range(3):
        limiter.decide_now([busy])
    for number in range(1000):
        assert limiter.decide_now([busy]).refused is busy, "who knocks is not forgotten"
        limiter.decide_now([Charge("global", f"address:{number}", Limit(5, 60))])
        assert len(limiter) <= 100
    clock.now_s += 61
    for number in range(100):
        limiter.decide_now([Charge("global", f"new:{number}", Limit(50, 60))])
    assert len(limiter) == 100


def test_a_flood_of_new_addresses_washes_no_busy_counter_away_and_is_counted_itself() -> None:
    limiter = MemoryLimiter(clock=Clock(), max_counters=100)
    guessing = [Charge("login.account", f"account:{number}", Limit(10, 600)) for number in range(90)]
    for charge in guessing:
        for _ in range(10):
            limiter.decide_now([charge])
    for number in range(1000):
        limiter.decide_now([Charge("global", f"address:{number}", Limit(100, 60))])
        assert len(limiter) <= 100
    assert all(limiter.decide_now([charge]).refused is charge for charge in guessing)
    newest = Charge("global", "address:999", Limit(100, 60))
    assert limiter.decide_now([newest]).states[0].remaining == 98


def test_more_busy_callers_than_there_is_room_for_leave_room_for_new_ones() -> None:
    limiter = MemoryLimiter(clock=Clock(), max_counters=100)
    for number in range(300):
        for _ in range(3):
            limiter.decide_now([Charge("global", f"user:{number}", Limit(3, 60))])
    new = [Charge("global", f"new:{number}", Limit(100, 60)) for number in range(10)]
    for charge in new:
        limiter.decide_now([charge])
    assert [limiter.decide_now([charge]).states[0].remaining for charge in new] == [98] * 10
    last = Charge("global", "user:299", Limit(3, 60))
    assert limiter.decide_now([last]).refused is last
    assert len(limiter) <= 100


async def test_a_peek_takes_nothing() -> None:
    limiter = MemoryLimiter(clock=Clock())
    charges = [Charge("global", "ana", Limit(2, 60))]
    for _ in range(5):
        peeked = await limiter.peek(charges)
        assert peeked.refused is None
        assert peeked.states[0].remaining == 2
    assert len(limiter) == 0
    for _ in range(2):
        await limiter.decide(charges)
    assert (await limiter.peek(charges)).refused is charges[0]
