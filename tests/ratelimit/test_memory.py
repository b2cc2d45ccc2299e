"""Limits in memory take bounded room, and are known to be a share of what several processes allow."""

from amrikyy.ratelimit import Charge, Limit, MemoryLimiter
from tests.ratelimit.counting import Clock


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


def test_an_idle_counter_that_is_dropped_for_a_new_one_in_the_same_decision_counts_all_the_same() -> None:
    clock = Clock()
    limiter = MemoryLimiter(clock=clock)
    idle, new = Charge("global", "ana", Limit(30, 60)), Charge("travel", "ana", Limit(30, 60))
    for uses in (1, 5):  # the second time it has been busy
        for _ in range(uses):
            limiter.decide_now([idle])
        clock.now_s += 61
        remaining = [[state.remaining for state in limiter.decide_now([new, idle]).states] for _ in range(5)]
        assert remaining == [[29 - number] * 2 for number in range(5)]
        assert len(limiter) == 2
        clock.now_s += 61
