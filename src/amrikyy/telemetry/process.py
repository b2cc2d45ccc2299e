"""What the operating system says about this process."""

import os
import resource
import sys


def resident_bytes() -> int:
    """Memory that the process occupies now; where the system does not tell, the most that it ever did."""
    try:
        with open("/proc/self/statm", "rb") as statm:  # noqa: PTH123 - the kernel answers from memory
            return int(statm.read().split()[1]) * resource.getpagesize()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def open_files() -> float:
    """Descriptors in use; NaN where the system does not tell."""
    try:
        return len(os.listdir("/proc/self/fd")) - 1  # noqa: PTH208 - names only; and without the one that reads them
    except OSError:
        return float("nan")
