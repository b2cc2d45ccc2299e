"""The systemd unit, by systemd's own judgement, and PM2's file, as Node reads it."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from amrikyy.cli.serve import LAST_WORDS_S
from tests.deploy.files import ROOT, load, variables

UNIT = ROOT / "deploy/systemd/amrikyy.service"
MOST_EXPOSED = 15
"""Tenths: systemd calls up to 4.5 safe; the network and the system's root are what is left."""

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", "--no-pager", *arguments], capture_output=True, text=True, timeout=30, check=False
    )


@needs_systemd
def test_the_unit_says_nothing_that_systemd_does_not_know(tmp_path: Path) -> None:
    program = tmp_path / "amrikyy"
    program.touch(mode=0o755)
    copy = tmp_path / "amrikyy.service"
    copy.write_text(UNIT.read_text().replace("/opt/amrikyy/bin/amrikyy", str(program)))
    done = analyze("verify", "--man=no", str(copy))
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@needs_systemd
def test_the_unit_is_exposed_to_little() -> None:
    done = analyze("security", "--offline=true", f"--threshold={MOST_EXPOSED}", str(UNIT))
    assert done.returncode == 0, done.stdout


def pm2_app(folder: Path, **environment: str) -> dict[str, Any]:
    """What PM2 reads in a folder that has the file."""
    shutil.copy(ROOT / "ecosystem.config.js", folder)
    done = subprocess.run(
        ["node", "-p", "JSON.stringify(require('./ecosystem.config.js').apps[0])"],
        cwd=folder, env={"PATH": os.environ["PATH"], **environment},
        capture_output=True, text=True, timeout=30, check=True,
    )  # fmt: skip
    app: dict[str, Any] = json.loads(done.stdout)
    return app


@needs_node
def test_a_process_may_have_as_much_memory_with_pm2_and_systemd_as_with_compose(tmp_path: Path) -> None:
    most = load("compose.yaml")["services"]["server"]["mem_limit"].upper()
    assert pm2_app(tmp_path)["max_memory_restart"] == most
    assert f"\nMemoryMax={most}\n" in UNIT.read_text()


def test_systemd_waits_until_the_last_run_has_ended() -> None:
    stop = re.search(r"^TimeoutStopSec=(\d+)$", UNIT.read_text(), re.MULTILINE)
    assert stop is not None
    assert int(stop[1]) > int(variables("deploy/env.example")["DRAIN_TIMEOUT_S"]) + LAST_WORDS_S


@needs_node
@pytest.mark.parametrize(
    ("dotenv", "environment", "drain_s"),
    [(None, {}, 30), ("A=1\nDRAIN_TIMEOUT_S=120\n", {}, 120), ("DRAIN_TIMEOUT_S=\n9\n", {}, 30),
     ("export DRAIN_TIMEOUT_S = '60'\n", {}, 60), ("DRAIN_TIMEOUT_S=30\nDRAIN_TIMEOUT_S=90\n", {}, 90),
     ("DRAIN_TIMEOUT_S=120\n", {"DRAIN_TIMEOUT_S": "7.5"}, 7.5)],
    ids=["unset", "in .env", "empty", "quoted", "twice", "in the environment"],
)  # fmt: skip
def test_pm2_waits_as_long_as_the_server_and_leaves_it_its_setting(
    tmp_path: Path, dotenv: str | None, environment: dict[str, str], drain_s: float
) -> None:
    if dotenv is not None:
        (tmp_path / ".env").write_text(dotenv)
    app = pm2_app(tmp_path, **environment)
    assert app["kill_timeout"] > (drain_s + LAST_WORDS_S) * 1000
    assert "DRAIN_TIMEOUT_S" not in app["env"], "it would win over .env"


def test_systemd_never_gives_up_on_a_server_whose_database_is_away() -> None:
    unit = UNIT.read_text()
    assert re.search(r"^StartLimitIntervalSec=0$", unit, re.MULTILINE)
    assert re.search(r"^Restart=on-failure$", unit, re.MULTILINE)
