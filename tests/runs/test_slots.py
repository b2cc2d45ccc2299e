"""The line before the slots."""

import asyncio

import pytest

from amrikyy.errors import Unavailable
from amrikyy.runs import slots as slots_module
from amrikyy.runs.slots import Place, Slots


async def test_slots_are_handed_on_in_order_and_priority_goes_first() -> None:
    slots = Slots(1, line=10)
    first = slots.enter(priority=False)
    plain = [slots.enter(priority=False) for _ in range(2)]
    urgent = [slots.enter(priority=True) for _ in range(2)]
    order: list[Place] = []
    holder = first
    for _ in range(4):
        slots.leave(holder)
        holder = next(place for place in (*plain, *urgent) if place.has_slot)
        order.append(holder)
    assert order == [*urgent, *plain]
    slots.leave(holder)
    assert (slots.taken, slots.waiting) == (0, 0)


async def test_a_full_line_refuses_and_says_what_to_do() -> None:
    slots = Slots(1, line=1)
    slots.enter(priority=False)
    slots.enter(priority=False)
    with pytest.raises(Unavailable, match="MAX_CONCURRENT_STREAMS") as refused:
        slots.enter(priority=True)
    assert (refused.value.code, refused.value.retry_after_s) == ("server_full", 5)


async def test_whoever_leaves_the_line_never_gets_or_costs_a_slot() -> None:
    slots = Slots(1, line=10)
    holder, impatient, patient = (slots.enter(priority=False) for _ in range(3))
    assert impatient.turn is not None
    impatient.turn.cancel()  # its task was cancelled and has not been able to leave yet
    slots.leave(holder)
    assert patient.has_slot
    slots.leave(impatient)
    slots.leave(impatient)
    assert (slots.taken, slots.waiting) == (1, 0)
    slots.leave(patient)
    assert slots.taken == 0


async def test_everybody_in_line_is_told_its_new_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots_module, "ANNOUNCE_EVERY_S", 0.01)
    slots = Slots(1, line=10)
    holder = slots.enter(priority=False)
    told: dict[str, list[int]] = {"plain": [], "late": [], "urgent": []}
    places = {name: slots.enter(priority=name == "urgent") for name in told}
    for name, place in places.items():
        place.moved = told[name].append
        place.show(slots.last(place))
    await asyncio.sleep(0.03)
    slots.leave(holder)
    await asyncio.sleep(0.03)
    slots.leave(places["plain"])
    await asyncio.sleep(0.03)
    assert told == {"plain": [3, 2, 1], "late": [3, 2, 1], "urgent": [1]}
