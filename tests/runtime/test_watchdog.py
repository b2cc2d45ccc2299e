"""The line that blocks the event loop is named."""

import asyncio
import time
from typing import Any

from amrikyy.runtime.watchdog import Watchdog


def block(for_s: float) -> None:
    time.sleep(for_s)


async def test_what_blocks_the_event_loop_is_named_with_its_line_and_its_run() -> None:
    reports: list[tuple[str, dict[str, Any]]] = []
    watchdog = Watchdog(beat_s=0.02, blocked_s=0.05, report=lambda event, **said: reports.append((event, said)))
    watchdog.start()

    async def operation() -> None:
        for _ in range(50):  # on a machine so busy that the thread is late, too, it says nothing
            if not reports:
                block(0.2)
                await asyncio.sleep(0.03)

    try:
        await asyncio.create_task(operation(), name="run_of_a_test")
    finally:
        watchdog.stop()
    [(event, said)] = reports
    assert (event, said["run_id"]) == ("event_loop_blocked", "run_of_a_test")
    assert said["at"][0].endswith(" block")
    assert "test_watchdog.py:" in said["at"][0]
    assert said["blocked_s"] < 60


async def test_a_loop_that_turns_is_not_reported() -> None:
    reports: list[object] = []
    watchdog = Watchdog(beat_s=0.01, blocked_s=30, report=lambda event, **_: reports.append(event))
    watchdog.start()
    await asyncio.sleep(0.05)
    watchdog.stop()
    assert not reports
