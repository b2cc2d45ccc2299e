"""Budgets themselves: what they cover, over processes on one database, and after the death of one."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import insert, select, update

from amrikyy.db import Database, open_database
from amrikyy.db.asynchronous import AsyncConnection
from amrikyy.db.tables import budget_days, reservations, spend
from amrikyy.db.tables import budgets as budgets_table
from amrikyy.errors import BudgetSpent, NotFound, Unavailable, ValidationFailed
from amrikyy.spend import Budgets, Sums, budget_store
from amrikyy.spend.budget_store import Ask, Budget, BudgetStore, Settled

KEY = "key:" + "0" * 32


async def nobody(_: Any) -> None:
    """Records nothing."""


def clock_at(moment: datetime) -> type[datetime]:
    """The class `datetime` of a process whose clock stands at that moment."""

    class Clock(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> "Clock":
            return cls.fromtimestamp(moment.timestamp(), tz)

    return Clock


@asynccontextmanager
async def opened(database: Database, lease_s: float = 45) -> AsyncIterator[Budgets]:
    budgets = Budgets(database, lease_s=lease_s)
    await budgets.start()
    try:
        yield budgets
    finally:
        await budgets.close()


@pytest.fixture
async def budgets(database: Database) -> AsyncIterator[Budgets]:
    async with opened(database) as each:
        yield each


async def put(budgets: Budgets, subject: str, limit_usd: float, period: Any = "day") -> None:
    await budgets.put(subject, period, limit_usd, by="user:root", noting=nobody)


async def attempt(budgets: Budgets, most_usd: float, cost_usd: float, *, owner: str = KEY, role: str = "user") -> bool:
    """One call: whether it was made."""
    allowance = budgets.allowance(owner, role)
    assert allowance is not None
    try:
        reservation = await allowance.reserve(most_usd)
    except BudgetSpent:
        return False
    await asyncio.sleep(0.01)
    reservation.settle(cost_usd)
    return True


async def spent(budgets: Budgets, subject: str = KEY) -> float:
    return (await budgets.standings([subject]))[0].spent_usd


async def test_a_caller_without_a_budget_costs_nothing(budgets: Budgets) -> None:
    assert budgets.allowance(KEY, "user") is None
    await put(budgets, "key:" + "1" * 32, 1)
    assert budgets.allowance(KEY, "user") is None


async def test_a_budget_holds_that_is_set_while_its_removal_is_being_learnt(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed_since = BudgetStore.changed_since
    read, may_go_on = asyncio.Event(), asyncio.Event()

    async def slow(self: BudgetStore, revision: int) -> list[Budget]:
        found = await changed_since(self, revision)
        if not read.is_set():
            read.set()
            await may_go_on.wait()
        return found

    budgets = Budgets(database)  # not started: the test learns in its keeper's place
    await budgets._store.put(KEY, "day", 1.0, "user:root", nobody)
    await budgets._store.remove(KEY, "day", "user:root", nobody)
    monkeypatch.setattr(BudgetStore, "changed_since", slow)
    learning = asyncio.create_task(budgets._refresh())
    await read.wait()
    setting = asyncio.create_task(put(budgets, KEY, 1.0))
    await asyncio.wait([setting], timeout=0.3)
    may_go_on.set()
    await asyncio.gather(learning, setting)
    assert budgets.allowance(KEY, "user") is not None


async def test_a_budget_that_is_removed_while_it_is_set_is_no_failure_of_ours(budgets: Budgets) -> None:
    async def removes(connection: AsyncConnection) -> None:
        await connection.execute(update(budgets_table).values(limit_usd=None))

    with pytest.raises(NotFound):
        await budgets.put(KEY, "day", 1.0, by="user:root", noting=removes)


async def test_fifty_calls_at_a_time_spend_no_more_than_the_budget(budgets: Budgets) -> None:
    await put(budgets, KEY, 1.0)
    made = await asyncio.gather(*(attempt(budgets, 0.1, 0.1) for _ in range(50)))
    assert made.count(True) == 10
    assert await spent(budgets) == pytest.approx(1.0)
    assert not await attempt(budgets, 0.001, 0.001)


async def test_what_was_reserved_and_not_used_can_be_used_by_the_next_call(budgets: Budgets) -> None:
    await put(budgets, KEY, 1.0)
    for _ in range(10):
        assert await attempt(budgets, 0.9, 0.01)
    assert await spent(budgets) == pytest.approx(0.1)


async def test_processes_on_one_database_share_a_budget(
    database_url: str, database: Database, budgets: Budgets
) -> None:
    await put(budgets, KEY, 1.0)
    others = [open_database(database_url) for _ in range(2)]
    async with opened(others[0]) as second, opened(others[1]) as third:
        calls = [attempt(each, 0.1, 0.1) for _ in range(17) for each in (budgets, second, third)]
        made = await asyncio.gather(*calls)
        assert made.count(True) == 10
        assert max([await spent(each) for each in (second, third, budgets)]) == pytest.approx(1.0)
        await put(third, KEY, 1.05)
        assert await attempt(budgets, 0.05, 0.05)
    for other in others:
        await other.close()


async def test_a_refusal_says_whose_budget_what_is_left_and_when_it_begins_anew(budgets: Budgets) -> None:
    await put(budgets, KEY, 0.5, "month")
    await put(budgets, "role:user", 100)
    assert await attempt(budgets, 0.3, 0.2)
    allowance = budgets.allowance(KEY, "user")
    assert allowance is not None
    held = await allowance.reserve(0.2)
    with pytest.raises(BudgetSpent) as refused:
        await allowance.reserve(0.15)
    error = refused.value
    now = datetime.now(UTC)
    next_month = datetime(now.year + now.month // 12, now.month % 12 + 1, 1, tzinfo=UTC)
    assert error.details == [
        {"subject": KEY, "period": "month", "limitUsd": 0.5, "spentUsd": 0.2, "reservedUsd": 0.2,
         "leftUsd": pytest.approx(0.1), "resetsAt": f"{next_month:%Y-%m-%dT%H:%M:%SZ}"}
    ]  # fmt: skip
    assert error.retry_after_s == 5, "only a call in progress stands in the way"
    held.settle(0.3)
    with pytest.raises(BudgetSpent) as refused:
        await allowance.reserve(0.15)
    assert refused.value.retry_after_s == pytest.approx((next_month - now).total_seconds(), abs=5)
    with pytest.raises(BudgetSpent, match="whole budget would not: ask for less") as refused:
        await allowance.reserve(0.6)
    assert refused.value.retry_after_s is None, "no waiting would help"


async def test_the_callers_of_a_role_share_its_budget(budgets: Budgets) -> None:
    await put(budgets, "role:premium", 1.0)
    calls = [attempt(budgets, 0.2, 0.2, owner=f"user:{number}", role="premium") for number in range(9)]
    assert (await asyncio.gather(*calls)).count(True) == 5
    assert budgets.allowance("user:1", "admin") is None


@pytest.mark.parametrize("summed_up", [False, True])
async def test_what_was_spent_before_a_budget_was_set_counts(
    budgets: Budgets, database: Database, *, summed_up: bool
) -> None:
    today = datetime.now(UTC).date()
    for day, cost_usd in [(today, 0.4), (today, None), (today.replace(year=2020), 9.0)]:
        await enter(database, day, cost_usd)
    if summed_up:
        await Sums(database).add_up()
    await put(budgets, KEY, 0.5)
    assert await spent(budgets) == pytest.approx(0.4)
    assert not await attempt(budgets, 0.2, 0.2)
    await put(budgets, KEY, 0.7)
    assert await spent(budgets) == pytest.approx(0.4), "it is not counted a second time"
    assert await attempt(budgets, 0.2, 0.2)


async def enter(database: Database, day: date, cost_usd: float | None) -> None:
    """Write a ledger entry of a run that began on that day."""
    row = {"run_id": f"run_{uuid4().hex}", "model": "m", "owner": KEY, "agent": "content", "operation": "x",
           "day": day.isoformat(), "input_tokens": 1, "output_tokens": 1, "cost_usd": cost_usd,
           "usage_estimated": False}  # fmt: skip
    async with database.begin() as connection:
        await connection.execute(insert(spend).values(row))


async def test_a_call_over_midnight_counts_once_when_its_budget_is_raised(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budget_store, "datetime", clock_at(datetime(2026, 7, 15, 0, 1, tzinfo=UTC)))
    yesterday, today = date(2026, 7, 14), date(2026, 7, 15)
    store = BudgetStore(database)

    async def spent_after_raising_to(limit_usd: float) -> float:
        await store.put(KEY, "month", limit_usd, "user:root", nobody)
        return (await store.standings([KEY]))[0].spent_usd

    assert await spent_after_raising_to(100) == 0
    await store.book([Settled("a", (KEY,), 5.0, is_reserved=False)], [])
    await enter(database, yesterday, 5.0)
    assert await spent_after_raising_to(200) == 5
    await enter(database, today, 2.0)  # of a process that did not know of the budget yet
    assert await spent_after_raising_to(300) == pytest.approx(7)
    await enter(database, yesterday, 1.0)
    assert await spent_after_raising_to(400) == pytest.approx(8)
    assert await spent_after_raising_to(500) == pytest.approx(8)


async def test_a_budget_that_was_removed_no_longer_holds_in_any_process(
    budgets: Budgets, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("amrikyy.spend.budgets.REFRESH_S", 0.05)
    other = open_database(database_url)
    async with opened(other) as elsewhere:
        await put(budgets, KEY, 0)
        async with asyncio.timeout(5):
            while elsewhere.allowance(KEY, "user") is None:
                await asyncio.sleep(0.02)
        assert await budgets.remove(KEY, "day", by="user:root", noting=nobody)
        assert not await budgets.remove(KEY, "day", by="user:root", noting=nobody)
        async with asyncio.timeout(5):
            while elsewhere.allowance(KEY, "user") is not None:
                await asyncio.sleep(0.02)
    await other.close()


async def test_a_call_that_is_cancelled_while_it_reserves_leaves_nothing_reserved(
    budgets: Budgets, database: Database
) -> None:
    await put(budgets, KEY, 1.0)
    calls = [asyncio.ensure_future(attempt(budgets, 0.1, 0.1)) for _ in range(10)]
    for _ in range(3):
        await asyncio.sleep(0)
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    await budgets.standings([KEY])
    async with database.connect() as connection:
        assert (await connection.execute(select(reservations))).all() == []
    assert await attempt(budgets, 1.0, 1.0)


HOLDER = """
import asyncio, sys
from amrikyy.db import open_database
from amrikyy.spend import Budgets

async def hold():
    budgets = Budgets(open_database(sys.argv[1]), lease_s=1.0)
    await budgets.start()
    await budgets.allowance(sys.argv[2], "user").reserve(1.0)
    print("held", flush=True)
    await asyncio.sleep(60)

asyncio.run(hold())
"""


async def test_the_reservations_of_a_process_that_was_killed_are_released(
    budgets: Budgets, database_url: str, database: Database
) -> None:
    await put(budgets, KEY, 1.0)
    holder = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HOLDER, database_url, KEY, stdout=asyncio.subprocess.PIPE
    )
    assert holder.stdout is not None
    async with asyncio.timeout(30):
        assert await holder.stdout.readline() == b"held\n"
    await asyncio.sleep(1.5)
    assert not await attempt(budgets, 0.5, 0.5), "the holder lives, and has renewed its lease"
    holder.kill()
    await holder.wait()
    async with asyncio.timeout(10):
        while not await attempt(budgets, 0.5, 0.5):
            await asyncio.sleep(0.1)
    assert await spent(budgets) == 0.5
    await budgets.purge()
    async with database.connect() as connection:
        assert (await connection.execute(select(reservations))).all() == []


async def test_a_process_whose_clock_is_ahead_does_not_give_away_what_others_have_reserved(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, ahead = BudgetStore(database), BudgetStore(database)
    await store.put(KEY, "month", 1.0, "user:root", nobody)
    assert await store.book([], [Ask("a", (KEY,), 0.9)]) == [None]
    monkeypatch.setattr(budget_store, "datetime", clock_at(datetime.now(UTC) + timedelta(minutes=5)))
    assert await ahead.purge() == 0
    (refused,) = await ahead.book([], [Ask("b", (KEY,), 0.9)])
    assert refused is not None
    assert refused.reserved_usd == pytest.approx(0.9)


async def test_a_process_knows_of_what_it_has_reserved_even_if_the_databases_clock_jumps(database: Database) -> None:
    store, other = BudgetStore(database), BudgetStore(database)
    await store.put(KEY, "month", 1.0, "user:root", nobody)
    assert await store.book([], [Ask("a", (KEY,), 0.9)]) == [None]
    async with database.begin() as connection:
        await connection.execute(update(reservations).values(expires_at=datetime.now(UTC) - timedelta(minutes=5)))
    assert await store.purge() == 0
    (refused,) = await store.book([], [Ask("b", (KEY,), 0.9)])
    assert refused is not None
    await store.renew()
    (refused,) = await other.book([], [Ask("c", (KEY,), 0.9)])
    assert refused is not None


async def test_a_process_that_stops_gives_back_what_it_holds(budgets: Budgets, database_url: str) -> None:
    await put(budgets, KEY, 1.0)
    other = open_database(database_url)
    async with opened(other) as elsewhere:
        allowance = elsewhere.allowance(KEY, "user")
        assert allowance is not None
        await allowance.reserve(0.6)
        (await allowance.reserve(0.4)).settle(0.1)
    await other.close()
    assert await spent(budgets) == pytest.approx(0.1)
    assert await attempt(budgets, 0.9, 0.9)


async def test_whoever_asks_how_things_stand_while_all_others_are_refused_is_answered(database: Database) -> None:
    store = BudgetStore(database)

    async def noting(_: object) -> None:
        pass

    await store.put("somebody", "day", 1.0, "admin", noting)
    asks = [Ask("call", ("somebody",), 5.0), Ask("", (), 0.0)]
    refused, answered = await store.book([], asks)
    assert refused is not None
    assert answered is None
    assert (await store.standings(["somebody"]))[0].reserved_usd == 0


async def test_a_ceiling_holds_for_all_parts_of_a_run_together(budgets: Budgets) -> None:
    allowance = budgets.allowance(KEY, "user", ceiling_usd=1.0, spent_usd=0.5)
    assert allowance is not None
    first = await allowance.reserve(0.3)
    with pytest.raises(BudgetSpent) as refused:
        await allowance.reserve(0.3)
    assert refused.value.code == "cost_ceiling"
    first.settle(0.1)
    await (await allowance.reserve(0.3)).grow(0.4)
    with pytest.raises(ValidationFailed, match="price"):
        await allowance.reserve(None, "ollama:mine")


async def test_days_that_no_period_includes_any_more_are_deleted(budgets: Budgets, database: Database) -> None:
    async with database.begin() as connection:
        for day in ("2020-01-01", datetime.now(UTC).date().isoformat()):
            await connection.execute(insert(budget_days).values(subject=KEY, day=day, spent_usd=1.0))
    assert await budgets.purge() == 1


async def test_what_is_booked_afterwards_counts_against_the_next_call(budgets: Budgets) -> None:
    await put(budgets, KEY, 1.0)
    allowance = budgets.allowance(KEY, "user")
    assert allowance is not None
    allowance.book(1.2, "anthropic:x")
    with pytest.raises(BudgetSpent):
        await allowance.reserve(0.1)
    with pytest.raises(ValidationFailed, match="the price of anthropic:x is not known"):
        allowance.book(None, "anthropic:x")


@pytest.mark.parametrize("is_committed", [True, False])
async def test_what_a_call_has_cost_counts_once_whether_a_lost_answer_was_to_a_commit_or_not(
    budgets: Budgets, monkeypatch: pytest.MonkeyPatch, is_committed: bool
) -> None:
    usual, lost = BudgetStore.book, 0

    async def book(store: BudgetStore, settled: Any, asks: Any, **named: Any) -> Any:
        nonlocal lost
        if settled and lost < 3:  # more often than it is tried at once
            lost += 1
            if is_committed and lost == 1:
                await usual(store, settled, asks, **named)
            raise Unavailable("the connection was lost")
        return await usual(store, settled, asks, **named)

    await put(budgets, KEY, 10.0)
    monkeypatch.setattr(BudgetStore, "book", book)
    assert await attempt(budgets, 2.0, 1.0)
    async with asyncio.timeout(10):
        while lost < 3 or await spent(budgets) < 1.0:
            await asyncio.sleep(0.01)
    assert await attempt(budgets, 2.0, 1.0)
    async with asyncio.timeout(5):
        while (standing := (await budgets.standings([KEY]))[0]).spent_usd < 2.0:
            await asyncio.sleep(0.01)
    assert (standing.spent_usd, standing.reserved_usd) == (2.0, 0.0)
