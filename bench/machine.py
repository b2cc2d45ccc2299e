"""The machine and the versions that the figures are from."""

import json
import os
import platform
import subprocess
import sys
import sysconfig
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

LIBRARIES = ("uvicorn", "uvloop", "httptools", "starlette", "pydantic", "msgspec", "SQLAlchemy")


def machine() -> dict[str, str]:
    """Processor, cores, versions and the commit."""
    return {
        "measured": _now(),
        "cpu": _cpu(),
        "cores": str(os.cpu_count()),
        "system": f"{platform.system()} {platform.release()}",
        "python": _python(),
        "node": _said("node", "--version"),
        "express": installed("express"),
        "commit": _said("git", "describe", "--always", "--dirty", "--exclude", "*"),
        "libraries": ", ".join(f"{name} {version(name)}" for name in LIBRARIES),
    }


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")


def _python() -> str:
    """The version, and how it was built: without profile-guided optimisation everything takes a tenth longer."""
    if sys.base_prefix == "/usr":  # whose options do not say how it was optimised; Debian's and Ubuntu's builds are
        built = "the system's own build"
    elif "--enable-optimizations" in str(sysconfig.get_config_var("CONFIG_ARGS")):
        built = "configured with --enable-optimizations"
    else:
        built = "configured without --enable-optimizations"
    return f"{platform.python_version()}, {built}"


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def installed(package: str) -> str:
    """The version of a package of the Express server."""
    manifest = Path(__file__).parent / "peers/express/node_modules" / package / "package.json"
    return str(json.loads(manifest.read_text())["version"]) if manifest.exists() else "not installed"


def _said(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)  # noqa: S603 - our own
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return done.stdout.strip()
