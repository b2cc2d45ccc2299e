"""Which state the machine is in: the speed of shared hosts changes by a factor of 1.7 within seconds."""

import time

from bench.processes import SERVER_CORE, on

ROUNDS = 120_000

SAME_STATE = 1.2
"""Calibrations that differ by a smaller factor belong to the same state; the states seen differ by 1.6 or more."""


def calibrate() -> float:
    """CPU milliseconds that a fixed loop takes on the server's core now; the faster of two tries."""
    with on(SERVER_CORE):
        return min(_spin_ms(), _spin_ms())


def _spin_ms() -> float:
    began = time.thread_time()
    total = 0
    for number in range(ROUNDS):
        total += number & 7
    return (time.thread_time() - began) * 1000
