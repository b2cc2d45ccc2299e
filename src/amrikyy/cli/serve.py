"""`amrikyy serve` and `amrikyy dev`."""

import errno
import gc
import os
import signal
import socket
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from amrikyy.cli.loading import leave_out_unused, look_up_prices
from amrikyy.cli.output import fail, load_settings, show_note, stop_on_errors_in_log

if TYPE_CHECKING:
    import asyncio

    from uvicorn.config import Config
    from uvicorn.server import Server

    from amrikyy.app import Application
    from amrikyy.runtime import Runtime
    from amrikyy.settings import Settings
    from amrikyy.telemetry.metrics import Metrics

RULE = "=" * 60

GC_THRESHOLDS = (10_000, 20, 50)
"""The garbage collector's thresholds: new objects before a collection, and collections before one of older objects."""

GC_SATURATED = (200_000, 20, 50)
"""The same while the core is saturated. Thousands of requests are in progress then, and a quarter of all CPU went into
going over them again and again, for nothing. What is seldom takes longer, a tenth of a second, which only shows where
callers do not wait for longer than that anyway."""

LINGERS_S = 0.5
"""How long a worker that is being replaced still answers on its open connections; the others take the new ones."""

BACKLOG = 4096
"""Connections that may wait to be accepted; Linux allows no more by default (net.core.somaxconn)."""

LAST_WORDS_S = 5
"""How long clients may take, after the last run has ended, to receive what was sent to them."""


def serve(
    port: Annotated[
        int | None, typer.Option(help="Port to listen on; PHASE2_PORT otherwise.", min=1, max=65535)
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on; HOST otherwise.")] = None,
    workers: Annotated[int | None, typer.Option(help="Worker processes; WEB_CONCURRENCY otherwise.", min=1)] = None,
) -> None:
    """Start the server."""
    with stop_on_errors_in_log():
        exit_code = _run(phase2_port=port, host=host, web_concurrency=workers)
    raise typer.Exit(exit_code)


def _run(**options: Any) -> int:
    """Serve until told to stop, or keep workers that do. Returns the exit code."""
    began = time.perf_counter()
    # The collector need not look as often as its default (700) has it, neither at what is loaded (a tenth of the start)
    # nor at what requests make (an eighth of a call's CPU, a quarter of a token's).
    gc.set_threshold(*GC_THRESHOLDS)
    leave_out_unused()
    import structlog

    from amrikyy.settings import misspelt

    settings = load_settings(**options)
    notes = [*settings.check(), *misspelt()]
    raise_descriptor_limit()
    listening, link, greets = _inherited() or (_listen(settings.bind_host, settings.phase2_port), None, True)
    if greets:
        for note in notes:
            if settings.production:
                structlog.get_logger(__name__).warning("start_note", note=note)
            else:
                show_note(note)
    if settings.web_concurrency > 1 and link is None:
        from amrikyy.cli.supervisor import Supervisor

        grace_s = settings.drain_timeout_s + 2 * LAST_WORDS_S
        return Supervisor(listening, settings.web_concurrency, grace_s).run()

    look_up_prices(settings)

    import asyncio

    from amrikyy.app import create_app
    from amrikyy.web.server import Server

    def get_ready(runtime: "Runtime") -> None:
        # What is loaded now stays for good, so the collector need not walk it again and again; what an upgrade of the
        # database has left behind goes.
        gc.collect()
        gc.freeze()
        runtime.on_sample = _set_collector
        if greets:
            _print_banner(runtime, time.perf_counter() - began)

    try:
        app = create_app(settings, on_ready=get_ready)
    except ValueError as error:
        fail(str(error))
    config = uvicorn_config(app, settings)
    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        server = Server(config, app.drain, lingers_s=LINGERS_S if link is not None else 0.0)
        runner.run(_serve(app, server, listening, link))
    return 0


def _set_collector(runtime: "Runtime") -> None:
    thresholds = GC_SATURATED if runtime.is_saturated else GC_THRESHOLDS
    if gc.get_threshold() != thresholds:
        gc.set_threshold(*thresholds)


async def _serve(app: "Application", server: "Server", listening: socket.socket, link: socket.socket | None) -> None:
    """Open everything, serve until a signal, close everything. If something cannot be opened, the error says so."""
    import asyncio

    async with app.lifespan():
        stopping = [signal.SIGTERM, signal.SIGINT]
        if sys.platform != "win32" and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as `nohup` has it
            stopping.append(signal.SIGHUP)
        before = {each: signal.getsignal(each) for each in stopping}

        def stop(*_: object) -> None:
            server.should_exit = True

        for each in stopping:
            # Holds until uvicorn listens for signals, and again when it has stopped: then it raises the signal once
            # more, and what is open must still be closed.
            signal.signal(each, stop)
        if link is not None:
            _join(server, link, app.metrics)
        try:
            await server.serve(sockets=[listening])
        finally:
            for each in stopping:
                signal.signal(each, before[each])
    _leave_behind(set(asyncio.all_tasks()) - {asyncio.current_task()})


def _leave_behind(tasks: "set[asyncio.Task[Any]]") -> None:
    """End the process if there is still a run that ignores its cancellation: asyncio would wait for it forever."""
    import structlog

    names = sorted(task.get_name() for task in tasks if not task.done())
    if any(name.startswith("run_") for name in names):
        structlog.get_logger(__name__).error("left_behind", tasks=names)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def _join(server: "Server", link: socket.socket, metrics: "Metrics") -> None:
    """Tell the supervisor that this worker is ready, follow its instructions, and stop when it is gone."""
    import asyncio

    from amrikyy.cli.supervisor import READY, RESET

    loop = asyncio.get_running_loop()

    def heard() -> None:
        if link.recv(1) == RESET:
            metrics.zero()
        else:
            loop.remove_reader(link)
            server.should_exit = True

    loop.add_reader(link, heard)
    metrics.tell_workers = lambda: _send(link, RESET)
    link.send(READY)


def _send(link: socket.socket, word: bytes) -> None:
    with suppress(OSError):  # the supervisor is gone, and this worker about to stop
        link.send(word)


def _inherited() -> tuple[socket.socket, socket.socket, bool] | None:
    """What the supervisor passed to this worker: the listening socket, the link to itself, and whether to greet."""
    from amrikyy.cli.supervisor import WORKER

    given = os.environ.pop(WORKER, None)
    if given is None:
        return None
    listening, link, greets = (int(number) for number in given.split(","))
    return socket.socket(fileno=listening), socket.socket(fileno=link), bool(greets)


def uvicorn_config(app: "Application", settings: "Settings") -> "Config":
    """The configuration with which uvicorn runs the application, in the tests too."""
    from uvicorn.config import Config

    from amrikyy.web.protocol import Protocol

    return Config(
        app.http,
        backlog=BACKLOG,
        loop="uvloop" if sys.platform != "win32" else "asyncio",
        http=Protocol,
        ws="none",
        lifespan="off",  # `_serve` holds it, and raises what uvicorn would only log
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=int(settings.drain_timeout_s) + LAST_WORDS_S,
        timeout_keep_alive=75,  # longer than load balancers keep an idle connection (60 s is common)
    )


def dev() -> None:
    """Start the server, and start it again whenever a file of the project changes."""
    try:
        import watchfiles
    except ImportError:
        fail("`amrikyy dev` needs watchfiles: `pip install watchfiles`, or `make dev`, which installs it.")
    os.environ["APP_ENV"] = os.environ.get("APP_ENV") or "development"
    own = (Path("src"), Path(".env"), Path(__file__).parents[1], *_folders_of(load_settings().agents))
    watched = {path.resolve() for path in own if path.exists()}
    watchfiles.run_process(*watched, target=f"{sys.executable} -m amrikyy serve", target_type="command")


def _folders_of(modules: Iterable[str]) -> Iterator[Path]:
    """The folders of these modules' packages, without importing them. The server reports any that cannot be found."""
    for name in modules:
        package = name.partition(".")[0]
        with suppress(ImportError, ValueError):
            spec = find_spec(package)
            if spec is not None and spec.submodule_search_locations:
                yield from map(Path, spec.submodule_search_locations)
            elif spec is not None and spec.origin is not None:
                yield Path(spec.origin)


def raise_descriptor_limit() -> None:
    """Let this process, and its workers, open as many descriptors as the system lets it.

    A login shell gives 1,024, for programs that use `select`; a stream takes two.
    """
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with suppress(ValueError, OSError):  # macOS refuses what is not really finite
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _listen(host: str, port: int) -> socket.socket:
    """Bind before anything is opened: a port in use is then one line of output, and no half-started server."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        if error.errno == errno.EADDRINUSE:
            fail(
                f"Port {port} is in use on {host}. Stop what uses it, or take another: PHASE2_PORT={port + 1} make run"
            )
        fail(f"Cannot listen on {host}:{port}: {error.strerror}. Check HOST and PHASE2_PORT.")
    listening.set_inheritable(True)
    return listening


def _print_banner(runtime: "Runtime", started_s: float) -> None:
    settings = runtime.settings
    base = settings.url
    features = "\n".join(
        f"  {'✓' if on else '·'} {name}{'' if on else ' (not configured)'}" for name, on in runtime.features()
    )
    print(  # the banner is for a person at a terminal; logs go to stderr
        f"{RULE}\n🚀 Amrikyy Agent Phase 2 Server Started\n{RULE}\n"
        f"Environment: {settings.app_env}\n"
        f"Server: {base}\n"
        f"Health: {base}/api/health\n"
        f"Metrics: {base}/api/metrics\n"
        f"Docs: {base}/api/docs\n"
        f"Uptime: {started_s:.2f}s\n{RULE}\n"
        f"Agents: {', '.join(f'{agent.name} ({len(agent.operations)})' for agent in runtime.registry)}\n"
        f"Model: {runtime.models_name}\n"
        f"Database: {runtime.database_name}\n"
        f"Users: {runtime.users_name}\n"
        f"Limits: {runtime.limits_name}\n"
        f"Log in: POST {base}/api/auth/login{_first_admin(runtime)}\n{RULE}\n"
        f"Phase 2 Features:\n{features}\n{RULE}\n"
        "✅ Server ready to accept connections",
        flush=True,
    )


def _first_admin(runtime: "Runtime") -> str:
    if runtime.supabase is not None:
        return (
            '\n        An admin is a user of Supabase Auth with "role": "admin" in its app_metadata; none is made here.'
        )
    if not runtime.has_admin:
        return (
            "\n        Nobody can yet: set ADMIN_EMAIL and ADMIN_PASSWORD, or run `amrikyy users create --role admin`."
        )
    admin = runtime.first_admin
    if admin is None:
        return ""
    if admin.password is None:
        return f"\n        The first admin was made from ADMIN_EMAIL: {admin.email}"
    return (
        f"\n        The first admin was made: {admin.email}  password: {admin.password}"
        "\n        It is shown this once; `amrikyy users reset-password` makes another."
    )
