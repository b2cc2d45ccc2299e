"""What the operating system reports about this process."""

import os
import resource
import sys


def resident_bytes() -> int:
    """The resident memory of the process; where the system does not report it, the peak."""
    try:
        with open("/proc/self/statm", "rb") as statm:  # noqa: PTH123 - the kernel answers from memory
            return int(statm.read().split()[1]) * resource.getpagesize()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def open_files() -> float:
    """Open file descriptors; NaN where the system does not report them."""
    try:
        return len(os.listdir("/proc/self/fd")) - 1  # noqa: PTH208 - names only; minus the descriptor that lists them
    except OSError:
        return float("nan")
