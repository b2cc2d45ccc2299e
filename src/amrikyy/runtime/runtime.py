"""What the app, the command line and the tests work with."""

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import structlog

from amrikyy.agents.planner import Planner
from amrikyy.agents.registry import Registry
from amrikyy.agents.runner import Runner
from amrikyy.auth import AuditLog, Authenticator, Directory, FirstAdmin
from amrikyy.cache import Cache
from amrikyy.db import Database
from amrikyy.llm import Models
from amrikyy.ratelimit import Limits
from amrikyy.runs.idempotency import IdempotencyKeys
from amrikyy.runs.live import LiveRuns
from amrikyy.runs.statistics import RunStatistics
from amrikyy.runs.store import RunRecords
from amrikyy.settings import Settings
from amrikyy.spend import Budgets, Ledger
from amrikyy.telemetry.metrics import Metrics
from amrikyy.telemetry.process import open_files, resident_bytes
from amrikyy.telemetry.spans import Tracer
from amrikyy.traces import Traces
from amrikyy.workflows.workflows import Workflows

if TYPE_CHECKING:
    from amrikyy.auth.supabase import GoTrue
    from amrikyy.redis_link import RedisLink
    from amrikyy.runs.shared import SharedRuns

log = structlog.get_logger(__name__)

STOPPING = "The server is stopping."

SATURATED_LOAD = 0.9
"""The share of its core that the event loop uses when it is saturated."""

SATURATED_LAG_S = 0.1
"""How late it is then at least, also where others take parts of the core: a turn with ten requests takes 3 ms."""

WALKED_A_SAMPLE = 2_000
"""Tasks and descriptors: each is walked over, which takes about a microsecond, and the event loop stands still."""


@dataclass(slots=True)
class Runtime:
    """Everything that is open.

    Attributes:
        counted_cpu_s: CPU time of this process that is in the metrics.
        samples_without_lists: how many samples yet leave out what takes time to count.
        loop_lag_s: how late the event loop was when it was last measured.
        loop_load: the share of its core that it used until then, 0 to 1.
        on_sample: called with it every two seconds, when it has been measured.
        not_ready: why requests should go elsewhere; None when they are welcome.
        supabase: Supabase Auth, if it keeps the users.
        first_admin: who was made at this start because there was no admin yet.
        has_admin: whether anybody may manage the server; if not, the operator has to make somebody.
    """

    settings: Settings
    registry: Registry
    metrics: Metrics
    tracer: Tracer
    traces: Traces
    database: Database
    models: Models
    cache: Cache
    live: LiveRuns
    records: RunRecords
    ledger: Ledger
    budgets: Budgets
    statistics: RunStatistics
    idempotency: IdempotencyKeys
    redis: "RedisLink | None"
    shared_runs: "SharedRuns | None"
    limits: Limits
    runner: Runner
    planner: Planner
    workflows: Workflows
    accounts: Directory
    authenticator: Authenticator
    supabase: "GoTrue | None"
    audit: AuditLog
    first_admin: FirstAdmin | None
    has_admin: bool
    not_ready: str | None = None
    started: float = field(default_factory=time.monotonic)
    counted_cpu_s: float = 0.0
    loop_lag_s: float = 0.0
    loop_load: float = 0.0
    on_sample: "Callable[[Runtime], None] | None" = None
    samples_without_lists: int = 0

    @property
    def is_saturated(self) -> bool:
        """Whether there is more work than the core can do, so that even looking something up delays all others."""
        return self.loop_load > SATURATED_LOAD or self.loop_lag_s > SATURATED_LAG_S

    @property
    def uptime_s(self) -> float:
        """Seconds since everything was open."""
        return time.monotonic() - self.started

    @property
    def database_name(self) -> str:
        """For people: what database, without its credentials, and whether content is encrypted there."""
        key = self.settings.sealer().key_id
        encrypted = f", encrypted with the key {key}" if key is not None else ""
        if self.database.dialect == "sqlite":
            return f"SQLite ({self.database.name}){encrypted}"
        return f"PostgreSQL ({self.database.host}/{self.database.name}){encrypted}"

    @property
    def models_name(self) -> str:
        """For people: which models answer, in the order in which they are asked."""
        if self.models.is_offline:
            return "offline: built in, deterministic, not an AI. Set GEMINI_API_KEY (or MODELS) for a real one"
        names = [client.name for client in self.models.clients]
        if self.settings.models is None and len(names) == 2:
            return f"{names[0]}, and {names[1]} for what is hard"  # by operation, no chain
        return ", then ".join(names)

    @property
    def users_name(self) -> str:
        """For people: whose users log in."""
        if self.supabase is None:
            return "in the database"
        administered = "" if self.supabase.administers else ", not administered here (no SUPABASE_SERVICE_ROLE_KEY)"
        return f"Supabase Auth ({urlsplit(self.supabase.issuer).netloc}){administered}"

    @property
    def limits_name(self) -> str:
        """For people: where limits are counted."""
        if self.redis is None:
            return "in memory"
        away = "" if self.redis.state.is_up else ", which is away: in memory until it is back"
        return f"in Redis ({self.redis.address}){away}"

    def sample(self) -> None:
        """Write into gauges what is true now; others are written when something happens."""
        metrics, slots = self.metrics, self.runner.slots
        if self.on_sample is not None:
            self.on_sample(self)
        metrics.loop_lag().set(self.loop_lag_s)
        metrics.queue_length().set(slots.waiting)
        metrics.slots_taken().set(slots.taken)
        metrics.slots().set(slots.size)
        metrics.unrecorded().set(self.records.waiting)
        metrics.database_up().set(self.database.takes_writes and not self.records.failing)
        if self.redis is not None:
            metrics.redis_up().set(self.limits.limiter.counts_in == "redis")
        metrics.memory_bytes().set(resident_bytes())
        self._sample_long_lists()
        cpu_s, self.counted_cpu_s = self.counted_cpu_s, time.process_time()
        metrics.cpu_seconds.inc(by=self.counted_cpu_s - cpu_s)
        for owner, pool in (("server", self.database.pool), ("workflows", self.workflows.pool)):
            if pool is not None:
                metrics.database_connections(owner, "used").set(pool.checkedout())
                metrics.database_connections(owner, "idle").set(pool.checkedin())
        for name, breaker in self.models.breakers.items():
            metrics.circuits_open(name.partition(":")[2] or name).set(breaker.state == "open")
        for agent, stats in self.cache.stats.items():
            metrics.cache_hit_rate(agent).set(stats.hit_rate)
        metrics.hand_over()

    def _sample_long_lists(self) -> None:
        if self.samples_without_lists:
            self.samples_without_lists -= 1
            return
        tasks, files = len(asyncio.all_tasks()), open_files()
        self.metrics.tasks().set(tasks)
        self.metrics.file_descriptors().set(files)
        self.samples_without_lists = (tasks if math.isnan(files) else tasks + int(files)) // WALKED_A_SAMPLE

    async def drain(self) -> None:
        """Send new work elsewhere, and give what is in progress the time to end well."""
        self.not_ready = STOPPING
        log.info("draining", runs=self.runner.running, timeout_s=self.settings.drain_timeout_s)
        self.workflows.drain()
        await self.runner.drain(self.settings.drain_timeout_s)
        if self.shared_runs is not None:
            self.shared_runs.send_on()
        log.info("drained")

    def features(self) -> list[tuple[str, bool]]:
        """The guide's features, and whether each is on."""
        return [
            ("LangSmith Tracing", self.settings.langsmith_api_key is not None),
            ("SSE Streaming", True),
            ("Multi-Agent Coordination", True),
            ("Agent Management API", True),
            ("RBAC Authentication", True),
            ("Redis Rate Limiting", self.redis is not None),
            ("Prometheus Metrics", True),
        ]
