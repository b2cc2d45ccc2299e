"""What the deployment files say, done: the image's steps replayed, and PM2 at work. `make test-deploy` runs it."""

import asyncio
import os
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.deploy.files import ROOT, assignments, instructions
from tests.process import free_port

pytestmark = [pytest.mark.deploy, pytest.mark.timeout(400)]

PM2 = Path(__file__).parent / "pm2" / "node_modules" / ".bin" / "pm2"
PYTHON = os.environ.get("TEST_IMAGE_PYTHON", sys.executable)
BUILD_TOOLS = ("hatchling", "editables", "packaging", "pathspec", "pluggy", "tomlkit", "trove_classifiers", "pip")
GIVEN = {"MODELS": "offline", "JWT_SECRET": "j" * 40}


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that stands for the image's root, made by the steps of its build, with TEST_IMAGE_PYTHON."""
    root = tmp_path_factory.mktemp("image")
    source = root / "src"
    for folder in (source, root / "opt"):
        folder.mkdir()
    for word, rest in instructions()[0]:
        if word == "COPY":
            *paths, target = rest.split()
            for path in paths:
                into = source / target / (path if target.endswith("./") else "")
                into.parent.mkdir(parents=True, exist_ok=True)
                if (ROOT / path).is_dir():
                    shutil.copytree(ROOT / path, into, ignore=shutil.ignore_patterns("__pycache__"))
                else:
                    shutil.copyfile(ROOT / path, into)
        elif word == "RUN":
            step = re.sub(r"(?<=\s)/(?=opt/|data)", f"{root}/", rest)
            step = re.sub(r"\bpython -m", f"{PYTHON} -m", step)
            bare = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
            done = subprocess.run(
                ["sh", "-c", step], cwd=source, env=bare, capture_output=True, text=True, timeout=300, check=False
            )  # fmt: skip
            assert done.returncode == 0, f"{step}\n{done.stdout}{done.stderr}"
    return root


def environment(image: Path, port: int) -> dict[str, str]:
    """What the image's last stage sets, moved to the folder, and what `docker run` would add."""
    (line,) = (rest for word, rest in instructions()[-1] if word == "ENV")
    declared = {name: value.replace("/opt/", f"{image}/opt/") for name, value in assignments(line).items()}
    declared |= {"HOME": f"{image}/data", "DATA_DIR": f"{image}/data", "HOST": "127.0.0.1"}
    declared["PATH"] = declared["PATH"].replace("$PATH", os.environ["PATH"])
    return {**declared, **GIVEN, "PHASE2_PORT": str(port)}


async def run(*command: str, env: Mapping[str, str], cwd: Path) -> tuple[int, str]:
    """Exit status and output."""
    process = await asyncio.create_subprocess_exec(
        *command, env=env, cwd=cwd, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    async with asyncio.timeout(60):
        output, _ = await process.communicate()
    return process.returncode or 0, output.decode()


async def healthy(program: str, *, env: Mapping[str, str], cwd: Path) -> bool:
    """Whether the health check succeeds within half a minute."""
    for _ in range(30):
        status, _ = await run(program, "health-check", env=env, cwd=cwd)
        if status == 0:
            return True
        await asyncio.sleep(0.5)
    return False


@asynccontextmanager
async def container(image: Path) -> AsyncIterator[tuple[asyncio.subprocess.Process, dict[str, str]]]:
    """The image's entry point with its command, as a process."""
    env = environment(image, free_port())
    program = str(image / "opt/amrikyy/bin/amrikyy")
    server = await asyncio.create_subprocess_exec(
        program, "serve", env=env, cwd=image / "data", stdout=asyncio.subprocess.DEVNULL
    )
    try:
        yield server, env
    finally:
        if server.returncode is None:
            server.kill()
            await server.wait()


def files_below(folder: Path) -> dict[str, int]:
    return {str(path): path.lstat().st_mtime_ns for path in folder.rglob("*")}


async def test_the_image_serves_answers_its_health_check_writes_to_its_volume_only_and_stops(image: Path) -> None:
    before = files_below(image / "opt")
    async with container(image) as (server, env):
        assert await healthy(str(image / "opt/amrikyy/bin/amrikyy"), env=env, cwd=image / "data")
        server.terminate()
        async with asyncio.timeout(10):
            assert await server.wait() == 0
    assert files_below(image / "opt") == before
    assert (image / "data/amrikyy.db").exists()


def test_the_image_has_no_build_tools(image: Path) -> None:
    site_packages = next((image / "opt/amrikyy/lib").glob("python*/site-packages"))
    names = {path.name.partition("-")[0].lower() for path in site_packages.iterdir()}
    assert {"amrikyy_agent", "starlette"} <= names
    assert not names & set(BUILD_TOOLS)
    assert not (image / "opt/amrikyy/bin/pip").exists()


@pytest.fixture
def pm2_home() -> Iterator[Path]:
    """Short, for PM2's sockets are in it."""
    with TemporaryDirectory(prefix="pm2-") as folder:
        yield Path(folder)


@pytest.mark.skipif(not PM2.exists(), reason="PM2 is not installed: npm ci --prefix tests/deploy/pm2")
async def test_pm2_starts_restarts_and_stops_the_server(tmp_path: Path, pm2_home: Path) -> None:
    shutil.copy(ROOT / "ecosystem.config.js", tmp_path)
    (tmp_path / ".venv").symlink_to(sys.prefix)
    (tmp_path / ".env").write_text("".join(f"{name}={value}\n" for name, value in GIVEN.items()))
    env = {**os.environ, "PM2_HOME": str(pm2_home), "PHASE2_PORT": str(free_port()), "HOST": "127.0.0.1"}
    program = str(tmp_path / ".venv/bin/amrikyy")

    async def pm2(*arguments: str) -> str:
        status, output = await run(str(PM2), *arguments, env=env, cwd=tmp_path)
        assert status == 0, output
        return output

    try:
        await pm2("start", "ecosystem.config.js")
        assert await healthy(program, env=env, cwd=tmp_path), await pm2("logs", "--nostream")
        first = (await pm2("pid", "amrikyy-phase2")).strip()
        await pm2("restart", "amrikyy-phase2")
        assert await healthy(program, env=env, cwd=tmp_path)
        assert (await pm2("pid", "amrikyy-phase2")).strip() not in ("", "0", first)
        assert "ready to accept connections" in await pm2("logs", "amrikyy-phase2", "--nostream")
        await pm2("stop", "amrikyy-phase2")
        status, _ = await run(program, "health-check", env=env, cwd=tmp_path)
        assert status == 1
    finally:
        await pm2("kill")
    assert "Environment: production" in (tmp_path / "logs/out.log").read_text()
