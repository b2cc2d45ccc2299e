"""Limits never allow too much, refuse no more than they must, and refuse all or nothing: in memory and in Redis."""

from typing import Literal, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from amrikyy.errors import ValidationFailed
from amrikyy.ratelimit import Charge, Decision, Limit
from amrikyy.ratelimit.limit import EXACT_UP_TO
from tests.ratelimit.counting import Clock, MakeLimiter, Model

SMALL = {"global": Limit(7, 10), "agent": Limit(5, 7), "operation": Limit(2, 3)}
LARGE = {"global": Limit(1000, 10), "agent": Limit(700, 7)}

TICK_S = 1 / 64
"""Times are multiples of it, which a float and a whole number of microseconds hold exactly."""

pauses = st.integers(0, 256).map(lambda ticks: ticks * TICK_S)
many = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)


class Step(NamedTuple):
    """The next thing that happens, after a pause."""

    pause_s: float
    kind: Literal["decide", "peek", "refund"]
    key: str
    names: frozenset[str]
    cost: int


steps = st.lists(
    st.builds(
        Step,
        pauses,
        st.sampled_from(["decide", "decide", "decide", "peek", "refund"]),
        st.sampled_from(["ana", "bob"]),
        st.frozensets(st.sampled_from(sorted(SMALL)), min_size=1),
        st.integers(1, 2),
    ),
    max_size=60,
)


@given(happens=steps)
@many
async def test_small_limits_decide_exactly_as_the_model_does(make_limiter: MakeLimiter, happens: list[Step]) -> None:
    clock, model = Clock(), Model()
    limiter = make_limiter(clock)
    taken: list[Decision] = []
    for step in happens:
        clock.now_s += step.pause_s
        now = clock.now_s
        if step.kind == "refund":
            if taken:
                decision = taken.pop(step.cost % len(taken))
                await limiter.refund(decision)
                model.give_back([state.charge for state in decision.states], decision.taken_at)
            continue
        charges = [Charge(name, step.key, SMALL[name], step.cost) for name in sorted(step.names)]
        decision = await (limiter.decide if step.kind == "decide" else limiter.peek)(charges)
        assert (decision.refused is None) is model.allows(charges, now)
        assert decision.taken_at == now
        if decision.refused is not None:
            assert not model.allows([decision.refused], now + decision.retry_after_s - TICK_S), "it refuses longest"
            assert decision.retry_after_s == model.retry_after_s(charges, now)
        elif step.kind == "decide":
            model.take(charges, now)
            taken.append(decision)
        for charge, state in zip(charges, decision.states, strict=True):
            assert state.charge is charge
            assert state.remaining == charge.limit.count - model.used(charge, now)
            assert state.reset_s == model.reset_s(charge, now)


@given(requests=st.lists(st.tuples(pauses, st.integers(1, 400)), max_size=60))
@many
async def test_large_limits_never_allow_too_much_and_refuse_a_slice_too_long_at_most(
    make_limiter: MakeLimiter, requests: list[tuple[float, int]]
) -> None:
    clock, model = Clock(), Model()
    limiter = make_limiter(clock)
    for pause_s, cost in requests:
        clock.now_s += pause_s
        charges = [Charge(name, "ana", limit, cost) for name, limit in LARGE.items()]
        decision = await limiter.decide(charges)
        if decision.refused is None:
            assert model.allows(charges, clock.now_s)
            model.take(charges, clock.now_s)
        else:
            assert not model.allows(charges, clock.now_s, slack=1.0001 / EXACT_UP_TO)


@pytest.mark.parametrize("limits", [SMALL, LARGE], ids=["small", "large"])
async def test_after_the_time_that_a_refusal_names_the_same_request_passes_and_no_sooner(
    make_limiter: MakeLimiter, limits: dict[str, Limit]
) -> None:
    clock = Clock()
    limiter = make_limiter(clock)
    refusals = 0
    for turn in range(200):
        clock.now_s += turn % 5 * 13 * TICK_S
        charges = [Charge(name, "ana", limit, max(1, limit.count // 5)) for name, limit in limits.items()]
        decision = await limiter.decide(charges)
        if decision.refused is not None:
            refusals += 1
            clock.now_s += decision.retry_after_s - 1e-5
            assert (await limiter.decide(charges)).refused is not None
            clock.now_s += 2e-5
            assert (await limiter.decide(charges)).refused is None
    assert refusals > 20


async def test_a_refused_request_has_consumed_nothing(make_limiter: MakeLimiter) -> None:
    limiter = make_limiter(Clock())
    wide, narrow = Charge("global", "ana", Limit(100, 60)), Charge("operation", "ana", Limit(1, 60))
    assert (await limiter.decide([wide, narrow])).refused is None
    for charges in ([wide, narrow], [narrow, wide]):
        for _ in range(20):
            decision = await limiter.decide(charges)
            assert decision.refused is narrow
            assert {state.remaining for state in decision.states if state.charge is wide} == {99}


async def test_callers_and_limits_are_counted_apart(make_limiter: MakeLimiter) -> None:
    limiter = make_limiter(Clock())
    limit = Limit(1, 60)
    for name, key in (("a", "ana"), ("a", "bob"), ("b", "ana")):
        assert (await limiter.decide([Charge(name, key, limit)])).refused is None
    assert (await limiter.decide([Charge("a", "ana", limit)])).refused is not None


async def test_what_is_given_back_can_be_used_again_and_only_once(make_limiter: MakeLimiter) -> None:
    clock = Clock()
    limiter = make_limiter(clock)
    for limit in (Limit(3, 60), Limit(1000, 60)):
        part, rest = limit.count // 3, limit.count - limit.count // 3
        name = str(limit)
        first = await limiter.decide([Charge(name, "ana", limit, part)])
        clock.now_s += 1
        await limiter.decide([Charge(name, "ana", limit, rest)])
        for _ in range(2):
            await limiter.refund(first)
            assert (await limiter.peek([Charge(name, "ana", limit)])).states[0].remaining == part
        refused = await limiter.decide([Charge(name, "ana", limit, limit.count)])
        assert refused.refused is not None
        await limiter.refund(refused)
        assert (await limiter.peek([Charge(name, "ana", limit)])).states[0].remaining == part


async def test_a_charge_larger_than_its_limit_is_the_callers_mistake(make_limiter: MakeLimiter) -> None:
    limiter = make_limiter(Clock())
    with pytest.raises(ValidationFailed, match="never") as refused:
        await limiter.decide([Charge("travel", "ana", Limit(5, 60), 6)])
    assert refused.value.code == "exceeds_limit"
    assert (await limiter.decide([Charge("travel", "ana", Limit(5, 60), 5)])).refused is None
