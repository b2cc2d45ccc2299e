"""Several worker processes under one supervisor, as an operator runs them."""

import asyncio
import errno
import fcntl
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from amrikyy.cli.metrics_folder import metrics_folder
from amrikyy.cli.output import Failure
from amrikyy.cli.supervisor import FIRST_PAUSE_S, STEADY_S, Supervisor, Worker
from tests.process import server_process
from tests.serving import KEYS

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals")


def children(process: int) -> set[int]:
    return {int(pid) for pid in Path(f"/proc/{process}/task/{process}/children").read_text().split()}


def lives(process: int) -> bool:
    """Whether it has not ended: a zombie, which nobody has waited for, has, and holds no file any more."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


async def ready(log: Path, times: int) -> None:
    async with asyncio.timeout(40):
        while log.read_text().count("worker_ready") < times:
            await asyncio.sleep(0.05)


async def ask(url: str) -> int:
    """A call on a connection of its own, so that any worker may have it."""
    async with aiohttp.ClientSession() as http, http.get(f"{url}/api/health") as reply:
        return reply.status


async def call_on_one_connection(url: str, until_gone: set[int], supervisor: int) -> set[int]:
    """Start runs on a connection that is kept open as long as the server likes. A POST is not sent a second time."""
    statuses = set()
    async with aiohttp.ClientSession(headers={"x-api-key": KEYS["premium"]}) as http:
        while children(supervisor) & until_gone:
            body = {"origin": "JFK", "destination": "LHR", "date": "2100-01-01"}
            async with http.post(f"{url}/api/agents/travel/searchFlights", json=body) as reply:
                statuses.add(reply.status)
            await asyncio.sleep(0.01)
    return statuses


async def test_a_dead_worker_is_replaced_and_a_stop_ends_them_all(tmp_path: Path, redis_url: str) -> None:
    async with server_process(tmp_path, WEB_CONCURRENCY="2", REDIS_URL=redis_url) as (server, url):
        log = tmp_path / "server.log"
        await ready(log, 2)
        first = children(server.pid)
        assert len(first) == 2
        dead = min(first)
        os.kill(dead, signal.SIGKILL)
        await ready(log, 3)
        assert len(children(server.pid)) == 2
        assert dead not in children(server.pid)
        assert await ask(url) == 200
        server.send_signal(signal.SIGTERM)
        async with asyncio.timeout(20):
            assert await server.wait() == 0
        assert log.read_text().count("Server Started") == 1


async def test_a_rolling_restart_replaces_every_worker_and_refuses_nobody(tmp_path: Path, redis_url: str) -> None:
    async with server_process(tmp_path, WEB_CONCURRENCY="2", REDIS_URL=redis_url) as (server, url):
        await ready(tmp_path / "server.log", 2)
        before = children(server.pid)
        kept = [asyncio.create_task(call_on_one_connection(url, before, server.pid)) for _ in range(6)]
        await asyncio.sleep(0.5)
        server.send_signal(signal.SIGHUP)
        answered = 0
        async with asyncio.timeout(40):
            while children(server.pid) & before:
                assert await ask(url) == 200
                answered += 1
            assert set().union(*await asyncio.gather(*kept)) == {200}
        assert answered > 0
        assert len(children(server.pid)) == 2


async def test_no_worker_outlives_a_killed_supervisor_and_the_next_one_tidies_up(
    tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = tmp_path / "tmp"
    counts.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(counts))
    async with server_process(tmp_path, WEB_CONCURRENCY="2", REDIS_URL=redis_url, TMPDIR=str(counts)) as (server, _):
        await ready(tmp_path / "server.log", 2)
        orphans = children(server.pid)
        (kept,) = counts.iterdir()
        for pid in orphans:
            assert kept in {each.readlink() for each in Path(f"/proc/{pid}/fd").iterdir()}, "it keeps it, too"
        server.kill()
        async with asyncio.timeout(20):
            while any(map(lives, orphans)):
                await asyncio.sleep(0.05)
    assert list(counts.iterdir()) == [kept]
    with metrics_folder() as (folder, _):
        assert list(counts.iterdir()) == [folder]
    assert list(counts.iterdir()) == []


def test_a_folder_that_somebody_keeps_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    killed = tmp_path / "amrikyy-workers-killed"
    killed.mkdir()
    worker = os.open(killed, os.O_RDONLY)
    fcntl.flock(worker, fcntl.LOCK_EX)
    with metrics_folder():
        assert killed.is_dir()
    os.close(worker)
    with metrics_folder():
        assert not killed.exists()


def test_no_place_for_a_folder_is_said_in_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    with pytest.raises(Failure, match=r"^TMPDIR: .* cannot be made: No such file or directory\.$"), metrics_folder():
        pass


def test_nothing_else_is_removed_with_a_folder_for_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "file").touch()
    (tmp_path / "amrikyy-workers-link").symlink_to(elsewhere)
    (tmp_path / "amrikyy-workers-file").touch()
    with metrics_folder() as (first, _), metrics_folder() as (second, _):
        assert first != second
        assert first.is_dir(), "its supervisor lives"
        assert first.stat().st_mode & 0o077 == 0
    left = {each.name for each in tmp_path.iterdir()}
    assert left == {"elsewhere", "amrikyy-workers-link", "amrikyy-workers-file"}
    assert (elsewhere / "file").exists()


async def test_metrics_are_the_sum_over_workers_and_begin_anew_in_all(tmp_path: Path, redis_url: str) -> None:
    async with server_process(
        tmp_path, WEB_CONCURRENCY="2", REDIS_URL=redis_url, METRICS_PUBLIC="true"
    ) as (server, url):  # fmt: skip
        await ready(tmp_path / "server.log", 2)
        for _ in range(40):
            assert await ask(url) == 200
        async with asyncio.timeout(10):  # each tells the others every two seconds
            while {await counted(url) for _ in range(8)} != {40.0}:
                await asyncio.sleep(0.1)

        victim = min(children(server.pid))
        os.kill(victim, signal.SIGKILL)  # what it has counted stays
        await ready(tmp_path / "server.log", 3)
        assert await counted(url) == 40.0

        async with (
            aiohttp.ClientSession(headers={"x-api-key": KEYS["admin"]}) as http,
            http.post(f"{url}/api/metrics/reset") as reply,
        ):
            assert reply.status == 200
        async with asyncio.timeout(5):
            while await counted(url):
                await asyncio.sleep(0.05)
        assert {await counted(url) for _ in range(8)} == {0.0}, "of all workers, also of the one that is no more"


async def counted(url: str) -> float:
    """How many requests for the health all workers have counted."""
    async with aiohttp.ClientSession() as http, http.get(f"{url}/api/metrics") as reply:
        lines = (await reply.text()).splitlines()
    wanted = (line for line in lines if line.startswith("http_requests_total") and '"/api/health"' in line)
    return sum(float(line.split()[-1]) for line in wanted)


def test_workers_that_had_served_are_replaced_at_once_however_often_they_die() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening, tempfile.TemporaryDirectory() as folder:
        supervisor = Supervisor(listening, 2, 1)
        supervisor._metrics = folder

        def pauses(lived_s: float) -> list[float]:
            return [round(pause_after(supervisor, lived_s), 1) for _ in range(6)]

        assert pauses(STEADY_S + 1) == [FIRST_PAUSE_S] * 6
        assert pauses(0) == [0.5, 1.0, 2.0, 4.0, 5.0, 5.0]
        assert pauses(STEADY_S + 1) == [FIRST_PAUSE_S] * 6


def pause_after(supervisor: Supervisor, lived_s: float) -> float:
    """How long the supervisor waits after the death of a worker."""
    link, other = socket.socketpair()
    other.close()
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    supervisor._workers.append(Worker(process, link, began=time.monotonic() - lived_s))
    supervisor._bury()
    return supervisor._not_before - time.monotonic()


@pytest.fixture
def supervisor() -> Iterator[Supervisor]:
    with socket.create_server(("127.0.0.1", 0)) as listening, tempfile.TemporaryDirectory() as folder:
        supervisor = Supervisor(listening, 2, 1)
        supervisor._metrics = folder
        yield supervisor


def test_a_worker_that_dies_before_it_has_read_what_it_was_told_takes_nobody_along(supervisor: Supervisor) -> None:
    link, other = socket.socketpair()
    with subprocess.Popen([sys.executable, "-c", ""]) as process, link:
        worker = Worker(process, link)
        supervisor._workers.append(worker)
        supervisor._reset_metrics()
        other.close()  # unread: whoever reads at the other end gets an error, not the end
        supervisor._hear(worker)
        assert worker.deaf


def test_where_there_is_no_room_for_another_worker_those_that_serve_go_on(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[float] = []

    def full(*_: object, **__: object) -> None:
        tried.append(time.monotonic())
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    monkeypatch.setattr(subprocess, "Popen", full)
    open_files = len(list(Path("/proc/self/fd").iterdir()))
    supervisor._started = True
    supervisor._replenish()
    assert len(tried) == 1, "of the two that are missing one is tried, and then there is a pause"
    supervisor._replenish()
    assert len(tried) == 1
    supervisor._not_before = 0.0
    supervisor._replenish()
    assert len(tried) == 2
    assert supervisor._not_before > time.monotonic() + FIRST_PAUSE_S, "it waits longer each time"
    assert len(list(Path("/proc/self/fd").iterdir())) == open_files


def test_a_first_worker_that_cannot_be_made_is_said_in_a_line(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    monkeypatch.setattr(subprocess, "Popen", full)
    wake, woken = socket.socketpair()
    with wake, woken, pytest.raises(Failure, match=r"no room for a worker process: Cannot allocate memory\.$"):
        supervisor._supervise(wake)


@pytest.mark.parametrize(("program", "explained"), [("exit(1)", True), ("import os; os.kill(os.getpid(), 9)", False)])
def test_a_first_worker_that_ends_is_the_end_and_is_explained_if_it_could_not_do_so(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch, program: str, *, explained: bool
) -> None:
    started: list[Worker] = []

    def start(*, greets: bool = False) -> Worker:
        link, other = socket.socketpair()
        other.close()
        started.append(Worker(subprocess.Popen([sys.executable, "-c", program]), link))
        supervisor._workers.append(started[-1])
        return started[-1]

    monkeypatch.setattr(supervisor, "_start_worker", start)
    wake, woken = socket.socketpair()
    with wake, woken:
        if explained:
            assert supervisor._supervise(wake) == 1
        else:
            with pytest.raises(Failure, match=r"^The first worker was ended before it was ready"):
                supervisor._supervise(wake)
    (first,) = started
    first.link.close()
