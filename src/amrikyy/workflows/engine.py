"""What makes workflows durable: DBOS, and everything that has to be known about it.

DBOS is one per process by nature, works with threads, and changes the event loop that it is called from. So it lives
on a loop and in a thread of its own; the work of a workflow and of its steps is done on the server's loop.
"""

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any, TypeVar

import sqlalchemy as sa
from dbos import DBOS, DBOSConfig, Serializer, SetWorkflowID
from sqlalchemy import event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.pool import QueuePool

from amrikyy.db.urls import beside, libpq_url, sqlite_file
from amrikyy.workflows.engine_file import EngineFile

T = TypeVar("T")
Body = Callable[[str], Awaitable[None]]

FORMAT = "1"
"""The version of what workflows record. It changes when a program cannot go on with what an older one has begun: the
workflows of one version are not taken over by another."""

SCHEMA = "workflows"
CONNECTIONS = 3
"""DBOS holds one as a lock while its migrations or chores use another; the third starts workflows meanwhile."""

THREADS = 8
OPEN_TIMEOUT_S = 60
CLOSE_TIMEOUT_S = 10
LOCK_TIMEOUT_MS = 30_000
DO_TIMEOUT_S = 40
"""For one request to DBOS: longer than a lock is waited for, and than it takes to notice that a database is gone."""

_NOTICE_LOSS = {
    "connect_timeout": 5, "tcp_user_timeout": 15_000, "keepalives_idle": 5, "keepalives_interval": 5,
    "keepalives_count": 3,
}  # fmt: skip
"""libpq's settings: a database whose machine is gone says nothing, and the operating system would wait for hours."""


class Engine:
    """Runs the body of each workflow that is started, here or, after this process has died, in another one.

    Args:
        database_url: the server's; PostgreSQL is shared, in a schema of its own, and beside an SQLite file there is a
            second one.
        process: the id of this process, which no other one ever has: DBOS takes two of the same id for one.
        file: is told how uses of that second one went.
        body: does a workflow's work on the server's loop, given its id. It returns when the workflow has ended
            and this is recorded; it raises CancelledError to leave the workflow to whoever comes next.
    """

    def __init__(self, database_url: str, file: EngineFile, process: str, body: Body) -> None:
        self._database = _engine(make_url(database_url))
        self._file = file
        self._process = process
        self._body = body
        self._home = asyncio.get_running_loop()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="workflows", daemon=True)
        self._run: Callable[[str], Coroutine[Any, Any, None]] | None = None

    @property
    def pool(self) -> QueuePool:
        """Its connections, for metrics."""
        pool = self._database.pool
        assert isinstance(pool, QueuePool)
        return pool

    async def open(self) -> None:
        """Bring DBOS's own tables up to date, and be ready to start workflows.

        Raises:
            Unavailable: its file is damaged.
        """
        self._thread.start()
        with self._file.used():
            async with asyncio.timeout(OPEN_TIMEOUT_S):
                await self._there(self._launch())

    async def start(self, workflow_id: str) -> None:
        """Begin a workflow. From here on it is finished, by this process or by another one."""

        async def begin() -> None:
            assert self._run is not None
            with SetWorkflowID(workflow_id):
                await DBOS.start_workflow_async(self._run, workflow_id)

        await self._in_time(begin())

    async def take_over(self, workflow_id: str) -> None:
        """Go on, here, with the workflow of a process that has died, or begin it if it had not begun.

        That it has not ended is for the workflows' own record to say: DBOS's may be lost, or be of another moment after
        a backup was restored. DBOS would resume it by way of a queue that every process reads, and a workflow that two
        take up asks its models twice.
        """
        await self.delete([workflow_id])
        await self.start(workflow_id)

    async def delete(self, workflow_ids: Sequence[str]) -> None:
        """Forget what DBOS knows of workflows."""

        async def forget() -> None:
            await DBOS.delete_workflows_async(list(workflow_ids))

        await self._in_time(forget())

    async def close(self) -> None:
        """Stop. Workflows that have not ended stay for another process, or the next start."""
        if self._thread.is_alive():
            with suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_TIMEOUT_S):
                    await self._there(_cancel_all())
                    await asyncio.to_thread(DBOS.destroy, destroy_registry=True)
            self._loop.call_soon_threadsafe(self._loop.stop)
            await asyncio.to_thread(self._thread.join, CLOSE_TIMEOUT_S)
        if not self._loop.is_running():
            self._loop.close()
        self._database.dispose()

    async def _launch(self) -> None:
        config: DBOSConfig = {
            "name": "amrikyy",
            "system_database_url": self._database.url.render_as_string(hide_password=False),
            "system_database_engine": self._database,
            "dbos_system_schema": SCHEMA,
            "executor_id": self._process,
            "application_version": FORMAT,
            "serializer": _JsonSerializer(),
            "use_listen_notify": False,  # poolers do not pass notifications on, and nothing here waits for one
            "max_executor_threads": THREADS,
            "enable_otlp": False,
            "log_level": "CRITICAL",  # cancellation and take-over are errors to it, with tracebacks
        }
        DBOS(config=config)

        @DBOS.workflow(name="workflow", max_recovery_attempts=None)
        async def run(workflow_id: str) -> None:
            await self._here(self._body(workflow_id))

        self._run = run
        DBOS.launch()  # blocks this loop, on which nothing else happens yet

    async def _in_time(self, work: Coroutine[Any, Any, None]) -> None:
        """Raises TimeoutError when it takes too long, Unavailable when the file is damaged."""
        with self._file.used():
            async with asyncio.timeout(DO_TIMEOUT_S):
                await self._there(work)

    async def _there(self, work: Coroutine[Any, Any, T]) -> T:
        """Do it on DBOS's loop. Context variables go along, and with them the workflow that is being run."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))

    async def _here(self, work: Awaitable[T]) -> T:
        """Do it on the server's loop."""

        async def awaiting() -> T:
            return await work

        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(awaiting(), self._home))


class _JsonSerializer(Serializer):
    """JSON: what comes out of a database is never unpickled."""

    def name(self) -> str:
        return "json"

    def serialize(self, data: Any) -> str:
        # The text of an error could quote what went in; who wants it finds it in the log.
        return json.dumps({"error": type(data).__name__} if isinstance(data, BaseException) else data)

    def deserialize(self, serialized_data: str) -> Any:
        return json.loads(serialized_data)


async def _cancel_all() -> None:
    tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _engine(url: URL) -> sa.Engine:
    file = sqlite_file(url)
    if file is None:
        return sa.create_engine(
            libpq_url(url),
            pool_size=CONNECTIONS,
            max_overflow=0,
            pool_pre_ping=True,
            hide_parameters=True,
            connect_args={"prepare_threshold": None, **_NOTICE_LOSS},  # a pooler has nothing prepared
        )
    path = beside(file)
    path.touch(mode=0o600)
    engine = sa.create_engine(
        URL.create("sqlite", database=str(path)), pool_size=CONNECTIONS, max_overflow=0, hide_parameters=True
    )

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _: object) -> None:
        connection.isolation_level = "IMMEDIATE"  # as DBOS opens it, but for the write-ahead log: four times faster
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", f"busy_timeout={LOCK_TIMEOUT_MS}", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    return engine
