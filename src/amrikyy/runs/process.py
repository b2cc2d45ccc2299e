"""What one process is called among all that share a database, and whether one of this machine is gone."""

import os
import secrets
from pathlib import Path
from socket import gethostname
from uuid import getnode


def _machine() -> str:
    """Where process ids can be compared: on this boot of this machine, and in this container."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}.{Path('/proc/self/ns/pid').stat().st_ino}"
    except OSError:  # not Linux, where there are no containers without a kernel of their own either
        return f"{gethostname()}.{getnode():x}"


MACHINE = _machine()


def new_process_id() -> str:
    """What no other process is called, now or later."""
    return f"{MACHINE}:{os.getpid()}:{secrets.token_hex(8)}"


def is_gone(process_id: str) -> bool:
    """Whether a process of this machine no longer exists. False for those elsewhere, of which nothing is known."""
    machine, _, rest = process_id.partition(":")
    pid = rest.partition(":")[0]
    if machine != MACHINE or not pid.isdecimal():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass  # another user's
    return False
