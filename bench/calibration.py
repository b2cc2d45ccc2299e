"""In which state the machine is: shared hosts change their speed by 1.7 within seconds."""

import time

from bench.processes import SERVER_CORE, on

ROUNDS = 120_000

SAME_STATE = 1.2
"""Two calibrations that differ by less belong to the same state; the states that were seen differ by 1.6 and more."""


def calibrate() -> float:
    """CPU milliseconds that a fixed loop takes on the server's core now; the better of two."""
    with on(SERVER_CORE):
        return min(_spin_ms(), _spin_ms())


def _spin_ms() -> float:
    began = time.thread_time()
    total = 0
    for number in range(ROUNDS):
        total += number & 7
    return (time.thread_time() - began) * 1000
