"""The command line, as a person uses it: real processes."""

import json
import os
import re
import resource
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest

from amrikyy.cli.serve import dev, raise_descriptor_limit


def amrikyy(
    folder: Path, *arguments: str, stdin: str | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a command in an empty folder and an empty environment."""
    return subprocess.run(
        [sys.executable, "-m", "amrikyy", *arguments],
        cwd=folder, env=_environment(environment), input=stdin, capture_output=True, text=True, timeout=30,
    )  # fmt: skip


def _environment(extra: dict[str, str]) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return kept | {"OFFLINE_TOKENS_PER_S": "0", "NO_COLOR": "1"} | extra


def test_help_comes_at_once_and_loads_nothing_heavy(tmp_path: Path) -> None:
    shown = amrikyy(tmp_path, "--help")
    assert shown.returncode == 0
    for command in ("serve", "dev", "run", "health-check", "users", "keys", "secrets", "db"):
        assert re.search(rf"^\s*{command}\s+\S", shown.stdout, re.MULTILINE), command
    loaded = "import amrikyy.cli, sys; print(*sorted(m.split('.')[0] for m in sys.modules))"
    modules = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True).stdout.split()
    assert not {"pydantic", "sqlalchemy", "aiohttp", "uvicorn", "starlette", "structlog"} & set(modules)


def test_an_operation_streams_to_the_terminal_and_leaves_a_pipe_the_text_alone(tmp_path: Path) -> None:
    done = amrikyy(tmp_path, "run", "content", "generateBlogPost", "--topic", "AI in Travel", "--length", "short")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("# ")
    assert re.search(r"offline · \d+ tokens · \$0\.0000 · .* · run_", done.stderr)


def test_an_operation_of_data_prints_json_and_lists_take_commas(tmp_path: Path) -> None:
    arguments = ("--destination", "Rome", "--duration=2", "--budget", "900", "--interests", "food,art")
    done = amrikyy(tmp_path, "run", "travel", "generateItinerary", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["days"]) == 2


def test_wrong_fields_are_named(tmp_path: Path) -> None:
    done = amrikyy(tmp_path, "run", "content", "generateBlogPost", "--topic", "x", "--tone", "angry")
    assert done.returncode == 1
    assert "topic:" in done.stderr
    assert "tone:" in done.stderr
    assert "Traceback" not in done.stderr
    assert "There is no field --colour" in amrikyy(tmp_path, "run", "travel", "searchHotels", "--colour", "x").stderr
    assert "has no operation" in amrikyy(tmp_path, "run", "travel", "fly").stderr
    assert "There is no agent" in amrikyy(tmp_path, "run", "nobody", "fly").stderr


def test_run_explains_agents_and_operations(tmp_path: Path) -> None:
    assert "searchFlights" in amrikyy(tmp_path, "run").stdout
    shown = amrikyy(tmp_path, "run", "travel", "searchFlights", "--help").stdout
    assert re.search(r"--origin\s+string\s+required", shown)
    assert re.search(r"--passengers\s+integer\s+default 1", shown)
    assert re.search(r"--returnDate\s+string\s+optional", shown)
    assert re.search(r"--class\s+economy \| premium .*\n\s+default", shown)
    shown = amrikyy(tmp_path, "run", "content", "generateSocialPosts", "--help").stdout
    assert re.search(r"--platforms\s+list of twitter \| .*\n\s+required", shown)


def test_a_file_that_is_no_database_is_said_to_be_none_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("No database. " * 500)
    refused = amrikyy(tmp_path, "serve", DATABASE_URL="sqlite:///notes.txt", PHASE2_PORT=str(free_port()))
    assert refused.returncode == 1
    assert refused.stderr.rstrip().endswith("cannot be reached: file is not a database.")


def test_a_port_that_there_is_not_is_named(tmp_path: Path) -> None:
    refused = amrikyy(tmp_path, "serve", "--port", "70000")
    assert refused.returncode == 2
    assert "'--port': Input should be less than or equal to 65535" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_secrets_are_long_enough_and_never_the_same(tmp_path: Path) -> None:
    first, second = (dict(line.split("=") for line in amrikyy(tmp_path, "secrets").stdout.split()) for _ in range(2))
    assert re.fullmatch(r"[0-9a-f]{64}", first["JWT_SECRET"])
    assert re.fullmatch(r"[0-9a-f]{64}", first["ENCRYPTION_KEY"])
    assert re.fullmatch(r"api_[0-9a-f]{32}", first["VALID_API_KEYS"])
    assert not set(first.values()) & set(second.values())


def test_users_are_created_listed_promoted_and_disabled(tmp_path: Path) -> None:
    made = amrikyy(
        tmp_path, "users", "create", "Ana@Example.com", "--role", "premium", stdin="long enough\nlong enough\n"
    )
    assert "Created ana@example.com (premium)" in made.stdout, made.stderr
    assert (
        "already a user" in amrikyy(tmp_path, "users", "create", "ana@example.com", "--password", "long enough").stderr
    )
    assert "ana@example.com is now admin" in amrikyy(tmp_path, "users", "set-role", "ana@example.com", "admin").stdout
    assert "last admin" in amrikyy(tmp_path, "users", "disable", "ana@example.com").stderr
    second = ("users", "create", "bo@example.com", "--role", "admin", "--password", "long enough")
    assert amrikyy(tmp_path, *second).returncode == 0
    assert amrikyy(tmp_path, "users", "disable", "ana@example.com").returncode == 0
    listed = amrikyy(tmp_path, "users", "list", COLUMNS="200").stdout
    assert re.search(r"ana@example.com\s+admin\s+disabled", listed)
    assert "is not a role" in amrikyy(tmp_path, "users", "set-role", "ana@example.com", "king").stderr
    assert "at least 10" in amrikyy(tmp_path, "users", "create", "b@example.com", "--password", "short").stderr
    assert "no user" in amrikyy(tmp_path, "users", "enable", "nobody@example.com").stderr


def test_keys_are_shown_once_listed_without_themselves_and_revoked(tmp_path: Path) -> None:
    made = amrikyy(tmp_path, "keys", "create", "mobile app", "--role", "premium", "--days", "90")
    key = made.stdout.strip()
    assert re.fullmatch(r"api_[0-9a-f]{32}", key)
    listed = amrikyy(tmp_path, "keys", "list", COLUMNS="250").stdout
    assert key not in listed
    key_id = re.search(r"mobile app\s+api_\S+\s+premium\s+active.*\s([0-9a-f]{32})\s", listed)
    assert key_id is not None, listed
    assert amrikyy(tmp_path, "keys", "revoke", key_id[1]).returncode == 0
    assert "revoked" in amrikyy(tmp_path, "keys", "list", COLUMNS="250").stdout
    assert amrikyy(tmp_path, "keys", "revoke", key_id[1]).returncode == 1
    with closing(sqlite3.connect(tmp_path / "data" / "amrikyy.db")) as database:
        acts = database.execute("SELECT actor, action, target FROM audit_log ORDER BY id").fetchall()
    assert acts == [("operator", action, key_id[1]) for action in ("key.create", "key.revoke")]


def test_a_key_lasts_no_longer_than_there_are_dates(tmp_path: Path) -> None:
    refused = amrikyy(tmp_path, "keys", "create", "mobile app", "--days", "3000000")
    assert refused.returncode == 2
    assert "'--days'" in refused.stderr
    assert "36500" in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize("command", [("serve",), ("users", "list"), ("keys", "create", "mobile app")])
@pytest.mark.parametrize(
    ("environment", "line"),
    [
        ({}, "DATA_DIR: the secret in data/jwt_secret is shorter than 32 characters. Delete the file"),
        ({"JWT_SECRET": "short"}, "JWT_SECRET is shorter than 32"),
    ],
)
def test_a_secret_that_cannot_be_used_is_said_in_a_line_by_every_command(
    tmp_path: Path, command: tuple[str, ...], environment: dict[str, str], line: str
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "jwt_secret").write_text("short")
    refused = amrikyy(tmp_path, *command, PHASE2_PORT=str(free_port()), **environment)
    assert refused.returncode == 1
    assert line in refused.stderr
    assert "Traceback" not in refused.stderr


def test_the_schema_is_upgraded_once(tmp_path: Path) -> None:
    assert amrikyy(tmp_path, "db", "current").returncode == 1
    assert "Upgraded from nothing" in amrikyy(tmp_path, "db", "upgrade").stdout
    assert "The schema is at" in amrikyy(tmp_path, "db", "upgrade").stdout
    assert amrikyy(tmp_path, "db", "current").returncode == 0


@pytest.mark.parametrize("command", ["current", "check", "upgrade"])
def test_the_database_of_a_newer_program_is_not_to_be_upgraded(tmp_path: Path, command: str, sqlite_url: str) -> None:
    file = sqlite_url.removeprefix("sqlite:///")
    with closing(sqlite3.connect(file)) as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
        database.commit()
    refused = amrikyy(tmp_path, "db", command, DATABASE_URL=sqlite_url)
    assert refused.returncode == 1
    assert "at 9999, which this program does not know: a newer version created it" in refused.stderr
    assert "db upgrade" not in refused.stderr


@pytest.mark.parametrize("command", [("check",), ("current",), ("backup", "b.dump"), ("reseal",), ("upgrade",)])
def test_why_a_database_cannot_be_reached_is_said_by_every_command(tmp_path: Path, command: tuple[str, ...]) -> None:
    url = f"postgresql://somebody:hunter2@127.0.0.1:{free_port()}/x"
    refused = amrikyy(tmp_path, "db", *command, DATABASE_URL=url)
    assert refused.returncode == 1
    last = refused.stderr.rstrip().splitlines()[-1]
    assert last.startswith(f"  DATABASE_URL: the database at {url.split('@')[1].split('/')[0]} cannot be reached: ")
    assert last.endswith("Is it running, and are the host and the port right?")
    assert not {"Traceback", "hunter2"} & set(re.findall(r"\w+", refused.stderr))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "command", [("check",), ("current",), ("backup", "b.db"), ("reseal",), ("sum-up",), ("forget-key", "5cd91529")]
)
def test_looking_after_a_database_in_the_wrong_folder_makes_none(tmp_path: Path, command: tuple[str, ...]) -> None:
    done = amrikyy(tmp_path, "db", *command)
    assert done.returncode == 1
    assert f"there is no database at {tmp_path}/data/amrikyy.db" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_backup_that_is_terminated_leaves_nothing_and_nobody_else_could_read_it(
    tmp_path: Path, postgresql_url: str
) -> None:
    tool = tmp_path / "pg_dump"
    tool.write_text(
        "#!/bin/sh\n"
        'for each in "$@"; do case "$each" in --file=*) file="${each#--file=}";; esac; done\n'
        'echo secret > "$file"; stat -c %a "$file" > mode; echo $$ > pid\n'
        "exec sleep 60\n"
    )
    tool.chmod(0o700)
    environment = _environment({"PATH": f"{tmp_path}:{os.environ['PATH']}", "DATABASE_URL": postgresql_url})
    command = [sys.executable, "-m", "amrikyy", "db", "backup", "copy.dump"]
    with subprocess.Popen(command, cwd=tmp_path, env=environment, umask=0o022, stderr=subprocess.DEVNULL) as backup:
        until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text() != "")
        assert not (tmp_path / "copy.dump").exists()
        backup.terminate()
        assert backup.wait(timeout=10) != 0
    assert {each.name for each in tmp_path.iterdir()} == {"pg_dump", "mode", "pid"}
    assert (tmp_path / "mode").read_text() == "600\n"
    until(lambda: not Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}").exists())  # it is killed, too


def test_a_folder_is_no_name_for_a_backup_and_no_backup(tmp_path: Path, sqlite_url: str) -> None:
    for command, reason in (
        ("backup", "data is a folder. Name a new file in it."),
        ("restore", "There is no file data."),
    ):
        (tmp_path / "data").mkdir(exist_ok=True)
        refused = amrikyy(tmp_path, "db", command, "data", DATABASE_URL=sqlite_url)
        assert (refused.returncode, refused.stderr) == (1, f"{reason}\n")


def test_a_backup_is_restored_and_what_was_there_is_kept(tmp_path: Path, sqlite_url: str) -> None:
    def ask(*command: str) -> subprocess.CompletedProcess[str]:
        return amrikyy(tmp_path, *command, DATABASE_URL=sqlite_url)

    assert ask("db", "backup", "backup.db").returncode == 0
    assert ask("keys", "create", "made since").returncode == 0
    done = ask("db", "restore", "backup.db")
    assert (done.returncode, done.stderr) == (0, "")
    assert "test.db is now as backup.db has it" in done.stdout
    assert "made since" not in ask("keys", "list").stdout
    former = re.search(r"What it was is in (\S+):", done.stdout)
    assert former is not None
    assert "made since" in amrikyy(tmp_path, "keys", "list", DATABASE_URL=f"sqlite:///{former[1]}").stdout
    assert "There is no file" in ask("db", "restore", "nowhere.db").stderr


def test_an_account_in_a_database_that_nobody_had_is_said_to_be_in_a_new_one(tmp_path: Path) -> None:
    new = amrikyy(tmp_path, "keys", "create", "mobile app")
    assert f"there was no database at {tmp_path}/data/amrikyy.db; it is new" in new.stderr
    assert "it is new" not in amrikyy(tmp_path, "keys", "create", "another").stderr


def test_sums_that_are_not_those_of_the_ledger_are_found_and_made_anew(tmp_path: Path, sqlite_url: str) -> None:
    def change(statement: str) -> None:
        with closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))) as database, database:
            database.execute(statement)

    change("INSERT INTO spend VALUES (1, 'run_1', 'offline', 'user:1', 'content', 'blog', '2026-11-29', 3, 4, 0.5, 0)")
    assert "added up" in amrikyy(tmp_path, "db", "sum-up", DATABASE_URL=sqlite_url).stdout
    change("UPDATE spend_days SET cost_usd = 0.4 WHERE owner = '*'")
    wrong = amrikyy(tmp_path, "db", "check", DATABASE_URL=sqlite_url)
    assert wrong.returncode == 1
    assert wrong.stderr.strip() == "The sums of 2026-11-29 are not those of the ledger: run `amrikyy db sum-up`."
    assert amrikyy(tmp_path, "db", "sum-up", DATABASE_URL=sqlite_url).returncode == 0
    assert "is sound" in amrikyy(tmp_path, "db", "check", DATABASE_URL=sqlite_url).stdout


@pytest.mark.parametrize(
    ("environment", "line"),
    [
        ({"PHASE2_PORT": "abc"}, "PHASE2_PORT"),
        ({"APP_ENV": "production"}, "JWT_SECRET is not set"),
        ({"MODELS": "acme:x"}, "names no known provider"),
        ({"MODELS": "gemini:x,offline", "GEMINI_API_KEY": "k"}, "offline model serves alone"),
        ({"AGENTS": "no_such_module"}, "no_such_module"),
        ({"WEB_CONCURRENCY": "2"}, "several worker processes need Redis"),
        ({"DATABASE_URL": "mysql://u:hunter2@h/x"}, "DATABASE_URL"),
        (
            {"DATABASE_URL": "postgresql://u:hunter2@127.0.0.1:9/x"},
            "DATABASE_URL: the database at 127.0.0.1:9 cannot be reached",
        ),
        ({"DATABASE_URL": "postgresql://u:hunter2/x@127.0.0.1:9/x"}, "the database at 127.0.0.1:9 cannot"),
        ({"DATABASE_URL": "postgresql://u:hunter2@:9/x"}, "the database at localhost:9 cannot be reached"),
    ],
)
def test_what_is_wrong_is_said_in_plain_lines_and_nothing_starts(
    tmp_path: Path, environment: dict[str, str], line: str
) -> None:
    port = {"PHASE2_PORT": str(free_port())} | environment
    done = amrikyy(tmp_path, "serve", **port)
    assert done.returncode != 0
    assert line in done.stderr, done.stderr
    assert "Traceback" not in done.stderr
    assert "hunter2" not in done.stderr
    assert "ready to accept" not in done.stdout


MISTAKEN_AGENT = """from amrikyy.agents import Agent, Request, Result, RunContext
shop = Agent("shop", "Sells.")
@shop.operation(cache_for=3600)
async def sell(wanted: Request, run: RunContext) -> Result: ...
"""


@pytest.mark.parametrize("command", [("serve",), ("run",), ("run", "shop", "sell")])
def test_a_mistake_in_an_agent_is_one_line_with_the_operation_the_mistake_and_its_place(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    (tmp_path / "shop_agents.py").write_text(MISTAKEN_AGENT)
    environment = {"AGENTS": "shop_agents", "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    done = amrikyy(tmp_path, *command, PHASE2_PORT=str(free_port()), **environment)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "AGENTS names 'shop_agents', which cannot be imported: TypeError: shop_agents.sell: cache_for=3600 is no "
        f"duration; write minutes(5), hours(1) or days(7) ({tmp_path / 'shop_agents.py'}, line 3)"
    )
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("environment", "file", "reason"),
    [
        ({"PHASE2_PORT": "abc"}, b"", "PHASE2_PORT: input should be a valid integer"),
        ({}, b"JWT_SECRET hunter2", ".env, line 1: write it like NAME=value."),
        ({}, b"# Jos\xe9", ".env, line 1: not in UTF-8."),
        ({"JWT_SECRET": ""}, b"", "JWT_SECRET is not set"),
        ({"AGENTS": "no_such_module"}, b"", "AGENTS names 'no_such_module'"),
        ({"WEB_CONCURRENCY": "2"}, b"", "WEB_CONCURRENCY is greater than 1"),
        ({"WEB_CONCURRENCY": "2", "REDIS_URL": "redis://localhost:9", "AGENTS": "no_such_module"}, b"", "AGENTS names"),
        ({"DATABASE_URL": "postgresql://u:hunter2@127.0.0.1:9/x"}, b"", "DATABASE_URL: the database at 127.0.0.1:9"),
    ],
)
def test_in_production_the_last_line_of_the_log_says_why_nothing_started(
    tmp_path: Path, environment: dict[str, str], file: bytes, reason: str
) -> None:
    (tmp_path / ".env").write_bytes(file)
    sound = {"APP_ENV": "production", "MODELS": "offline", "JWT_SECRET": "s" * 40, "PHASE2_PORT": str(free_port())}
    done = amrikyy(tmp_path, "serve", **sound | environment)
    assert done.returncode == 1
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert [line["event"] for line in lines].count("server_not_started") == 1
    assert lines[-1]["event"] == "server_not_started"
    assert lines[-1]["reason"].startswith(reason)
    assert "hunter2" not in done.stderr


def test_what_is_worth_a_note_is_a_line_of_the_log_in_production(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = {"HOST": "127.0.0.1", "PHASE2_PORT": str(taken.getsockname()[1])}
        production = {"APP_ENV": "production", "MODELS": "offline", "JWT_SECRET": "s" * 40}
        busy = amrikyy(tmp_path, "serve", **address, **production)
    assert [json.loads(line)["event"] for line in busy.stderr.splitlines()] == ["server_not_started"]
    given = {"PHASE2_PORT": str(free_port()), "JWT_SECRT": "x", "AGENTS": "no_such_module"}
    note = "JWT_SECRT is set, and is no setting of this server. Is JWT_SECRET meant?"
    first = json.loads(amrikyy(tmp_path, "serve", **given, **production).stderr.splitlines()[0])
    assert (first["event"], first["level"], first["note"]) == ("start_note", "warning", note)
    assert amrikyy(tmp_path, "serve", **given).stderr.startswith(f"Note: {note}\n")


def test_an_option_is_checked_as_the_variable_is(tmp_path: Path) -> None:
    refused = amrikyy(tmp_path, "serve", "--host", "http://localhost")
    assert refused.returncode == 1
    assert "HOST: write a host alone" in refused.stderr


@pytest.mark.parametrize(("given", "expected"), [("", "development"), ("test", "test")])
def test_development_is_what_dev_is_for_unless_it_is_told_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str, expected: str
) -> None:
    started: list[str] = []
    watchfiles = SimpleNamespace(run_process=lambda *_, **__: started.append(os.environ["APP_ENV"]))
    monkeypatch.setitem(sys.modules, "watchfiles", watchfiles)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("APP_ENV", given)
    (tmp_path / ".env").write_text("APP_ENV=production\n")
    dev()
    assert started == [expected]


def test_the_server_starts_prints_its_banner_and_stops_when_told(tmp_path: Path) -> None:
    port = free_port()
    with started(tmp_path, port) as server:
        banner = read_until(server, "ready to accept connections")
        for route in ("health", "metrics", "docs"):
            assert re.search(rf"^\w+: http://127\.0\.0\.1:{port}/api/{route}$", banner, re.MULTILINE)
        assert "offline: built in" in banner
        assert "SQLite (data/amrikyy.db)" in banner
        password = re.search(r"admin@example.com  password: (\S+)", banner)
        assert password is not None
        body = json.dumps({"email": "admin@example.com", "password": password[1]}).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/api/auth/login", body, {"content-type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=5) as reply:
            assert json.load(reply)["token"]
        checked = amrikyy(tmp_path, "health-check", PHASE2_PORT=str(port), HTTP_PROXY="http://127.0.0.1:9")
        assert (checked.returncode, checked.stdout.split()[0]) == (0, "healthy")

        second = amrikyy(tmp_path, "serve", PHASE2_PORT=str(port))
        assert second.returncode == 1
        assert second.stderr.strip().startswith(f"Port {port} is in use")
        assert len(second.stderr.strip().splitlines()) == 1

        server.send_signal(signal.SIGTERM)
        assert server.wait(timeout=10) in (0, -signal.SIGTERM, 128 + signal.SIGTERM)
    elsewhere = {"HOST": "127.0.0.2", "PHASE2_PORT": str(port)}
    with started(tmp_path, port, **elsewhere) as again:
        banner = read_until(again, "ready to accept connections")
        assert "password:" not in banner
        assert amrikyy(tmp_path, "health-check", **elsewhere).returncode == 0
        again.send_signal(signal.SIGINT)
        again.wait(timeout=10)
    assert (tmp_path / "data" / "jwt_secret").stat().st_mode & 0o077 == 0
    assert amrikyy(tmp_path, "health-check", PHASE2_PORT=str(port)).returncode == 1


@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "latin-1"},
        {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "POSIX"},
    ],
)
def test_a_terminal_that_does_not_know_our_signs_stops_no_start(tmp_path: Path, environment: dict[str, str]) -> None:
    with started(tmp_path, free_port(), **environment) as server:
        banner = read_until(server, "ready to accept connections")
        server.send_signal(signal.SIGTERM)
        server.wait(timeout=10)
    assert "? Amrikyy Agent Phase 2 Server Started\n" in banner


def started(folder: Path, port: int, **environment: str) -> subprocess.Popen[str]:
    given = _environment({"PHASE2_PORT": str(port)} | environment)
    return subprocess.Popen(
        [sys.executable, "-m", "amrikyy", "serve"],
        cwd=folder, env=given, text=True, errors="replace",
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def read_until(server: subprocess.Popen[str], end: str) -> str:
    assert server.stdout is not None
    lines: list[str] = []
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        line = server.stdout.readline()
        lines.append(line)
        if end in line:
            return "".join(lines)
        if not line and server.poll() is not None:
            break
    raise AssertionError("".join(lines))


def until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_the_server_may_open_as_many_descriptors_as_the_system_lets_it() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1] - 1, before[1]))
    try:
        raise_descriptor_limit()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (before[1], before[1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
