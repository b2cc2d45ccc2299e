"""The runtime: everything that lives as long as the process, opened in one place and closed in reverse."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import structlog
from pydantic import SecretStr

from amrikyy.agents.registry import Registry
from amrikyy.agents.runner import Runner
from amrikyy.auth import (
    Accounts,
    AuditLog,
    Authenticator,
    AuthStore,
    Directory,
    FirstAdmin,
    Passwords,
    SessionVerifier,
    Tokens,
    TokenVerifier,
    generate,
    parse_env_keys,
)
from amrikyy.auth.supabase import GoTrue, SupabaseAccounts, SupabaseTokens
from amrikyy.cache import Cache, MemoryCache
from amrikyy.db import Database, migrate, open_database
from amrikyy.errors import AmrikyyError, Unavailable
from amrikyy.llm import Deadlines, ModelPrice, Models, ModelsConfig, Retry, open_models
from amrikyy.ratelimit import Limit, Limiter, Limits, LimitTable, MemoryLimiter, Networks
from amrikyy.runs.idempotency import IdempotencyKeys
from amrikyy.runs.live import LiveRuns
from amrikyy.runs.slots import Slots
from amrikyy.runs.statistics import RunStatistics
from amrikyy.runs.store import RunRecords
from amrikyy.settings import ConfigurationError, Settings
from amrikyy.spend import Ledger
from amrikyy.telemetry.metrics import Metrics

if TYPE_CHECKING:
    # Loaded only where there is a Redis: its client takes 7 MB.
    from amrikyy.redis_link import RedisAddress, RedisLink

log = structlog.get_logger(__name__)

PURGE_EVERY_S = 3600

CACHE_DEADLINE_S = 0.1
"""How long an entry of the shared cache may take; asking a model takes longer."""

SAMPLE_EVERY_S = 2.0

CALLS_PER_RUN = 3
"""Calls of a model that a run has open at most, as a travel package does: whoever was let in is not kept waiting."""

STOPPING = "The server is stopping."


@dataclass(slots=True)
class Runtime:
    """What the app, the command line and the tests work with.

    Attributes:
        not_ready: why requests should go elsewhere; None when they are welcome.
        supabase: Supabase Auth, if it keeps the users.
        first_admin: who was made at this start because there was no admin yet.
        has_admin: whether anybody may manage the server; if not, the operator has to make somebody.
    """

    settings: Settings
    registry: Registry
    metrics: Metrics
    database: Database
    models: Models
    cache: Cache
    live: LiveRuns
    records: RunRecords
    ledger: Ledger
    statistics: RunStatistics
    idempotency: IdempotencyKeys
    redis: "RedisLink | None"
    limits: Limits
    runner: Runner
    accounts: Directory
    authenticator: Authenticator
    supabase: GoTrue | None
    audit: AuditLog
    first_admin: FirstAdmin | None
    has_admin: bool
    not_ready: str | None = None
    started: float = field(default_factory=time.monotonic)

    @property
    def uptime_s(self) -> float:
        """Seconds since everything was open."""
        return time.monotonic() - self.started

    @property
    def database_name(self) -> str:
        """For people: what database, without its credentials."""
        if self.database.dialect == "sqlite":
            return f"SQLite ({self.settings.database.removeprefix('sqlite:///')})"
        url = urlsplit(self.settings.database)
        return f"PostgreSQL ({url.hostname}{url.path})"

    @property
    def models_name(self) -> str:
        """For people: which models answer, in the order in which they are asked."""
        if self.models.is_offline:
            return "offline: built in, deterministic, no AI. Set GEMINI_API_KEY (or MODELS) for a real one"
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
        metrics, slots, pool = self.metrics, self.runner.slots, self.database.pool
        metrics.queue_length().set(slots.waiting)
        metrics.slots_taken().set(slots.taken)
        metrics.database_connections("used").set(pool.checkedout())
        metrics.database_connections("idle").set(pool.checkedin())
        for name, breaker in self.models.breakers.items():
            metrics.circuits_open(name.partition(":")[2] or name).set(breaker.state == "open")
        for agent, stats in self.cache.stats.items():
            metrics.cache_hit_rate(agent).set(stats.hit_rate)

    async def drain(self) -> None:
        """Send new work elsewhere, and give what is in progress the time to end well."""
        self.not_ready = STOPPING
        log.info("draining", runs=self.runner.running, timeout_s=self.settings.drain_timeout_s)
        await self.runner.drain(self.settings.drain_timeout_s)
        log.info("drained")

    def features(self) -> list[tuple[str, bool]]:
        """The guide's features, and whether each is on."""
        return [
            ("LangSmith Tracing", False),
            ("SSE Streaming", True),
            ("Multi-Agent Coordination", False),
            ("Agent Management API", True),
            ("RBAC Authentication", True),
            ("Redis Rate Limiting", self.redis is not None),
            ("Prometheus Metrics", True),
        ]


@asynccontextmanager
async def open_runtime(
    settings: Settings, registry: Registry, metrics: Metrics | None = None
) -> AsyncIterator[Runtime]:
    """Open everything, bring the schema up to date, and close everything at the end.

    Raises:
        ConfigurationError: a setting cannot be used, or the database cannot be reached.
        Unavailable: the database's schema does not fit this program.
    """
    metrics = metrics or Metrics()
    async with AsyncExitStack() as stack:
        database = await _open_database(settings, stack)
        models = await _open_models(settings, metrics)
        stack.push_async_callback(models.close)
        records = RunRecords(database)
        stack.push_async_callback(records.close)
        live = LiveRuns(settings.stream_resume_s)
        slots = Slots(settings.max_concurrent_streams, settings.max_queued_streams)
        cache = await _open_cache(settings, metrics, stack)
        stack.push_async_callback(cache.close)
        runner = Runner(models, cache, live, records, slots, metrics, timeout_s=settings.run_timeout_s)
        idempotency = IdempotencyKeys(database)
        redis = await _open_redis(settings, metrics, stack)
        limits = await _open_limits(settings, registry, redis, stack)
        stack.push_async_callback(runner.close)
        identity = _open_identity(settings, database, stack)
        accounts = identity.accounts
        audit = AuditLog(database)
        first_admin = await accounts.ensure_first_admin(
            settings.admin_email,
            _reveal(settings.admin_password),
            development=settings.app_env == "development",
        )
        preparing = asyncio.get_running_loop().create_task(_prepare(registry), name="prepare-agents")
        stack.push_async_callback(_stop, preparing)
        chores: dict[str, Callable[[], Awaitable[int]]] = {
            "runs": lambda: records.purge(timedelta(days=settings.run_retention_days)),
            "idempotency_keys": idempotency.purge,
            "tokens": accounts.delete_expired,
            "audit_entries": lambda: audit.purge(timedelta(days=settings.audit_retention_days)),
        }
        upkeep = asyncio.get_running_loop().create_task(_upkeep(chores), name="upkeep")
        stack.push_async_callback(_stop, upkeep)
        runtime = Runtime(
            settings=settings,
            registry=registry,
            metrics=metrics,
            database=database,
            models=models,
            cache=cache,
            live=live,
            records=records,
            ledger=Ledger(database),
            statistics=RunStatistics(database),
            idempotency=idempotency,
            redis=redis,
            limits=limits,
            runner=runner,
            accounts=accounts,
            authenticator=identity.authenticator,
            supabase=identity.supabase,
            audit=audit,
            first_admin=first_admin,
            has_admin=first_admin is not None or await accounts.has_admin(),
        )
        sampling = asyncio.get_running_loop().create_task(_sample(runtime), name="sample-metrics")
        stack.push_async_callback(_stop, sampling)
        try:
            yield runtime
        finally:
            runtime.not_ready = STOPPING


@asynccontextmanager
async def open_accounts_of(settings: Settings) -> AsyncIterator[Directory]:
    """Only the accounts, for the command line."""
    async with AsyncExitStack() as stack:
        database = await _open_database(settings, stack)
        yield _open_identity(settings, database, stack).accounts


async def _open_database(settings: Settings, stack: AsyncExitStack) -> Database:
    try:
        database = open_database(settings.database)
    except ValueError as error:
        raise ConfigurationError(str(error)) from None
    stack.push_async_callback(database.close)
    try:
        await migrate.upgrade(database)
    except Unavailable as error:
        if error.code != "database_unavailable":
            raise
        url = urlsplit(settings.database)
        where = f"at {url.hostname}:{url.port or 5432}" if url.hostname else settings.database
        raise ConfigurationError(f"DATABASE_URL: the database {where} cannot be reached: {error.__cause__}.") from None
    return database


@dataclass(frozen=True, slots=True)
class _Identity:
    accounts: Directory
    authenticator: Authenticator
    supabase: GoTrue | None


def _open_identity(settings: Settings, database: Database, stack: AsyncExitStack) -> _Identity:
    store = AuthStore(database)
    try:
        env_keys = parse_env_keys(_reveal(settings.valid_api_keys) or "")
    except ValueError as error:
        raise ConfigurationError(str(error)) from None
    supabase: GoTrue | None = None
    accounts: Directory
    verifier: TokenVerifier
    if settings.supabase_url:
        service_role_key = _reveal(settings.supabase_service_role_key)
        supabase = GoTrue(settings.supabase_url, _reveal(settings.supabase_anon_key) or "", service_role_key)
        stack.push_async_callback(supabase.close)
        verifier = supabase_tokens = SupabaseTokens(supabase, _reveal(settings.supabase_jwt_secret))
        stack.push_async_callback(supabase_tokens.close)
        accounts = SupabaseAccounts(store, supabase, supabase_tokens)
    else:
        tokens = Tokens(_jwt_secret(settings), settings.access_token_ttl_s, settings.refresh_token_ttl_s)
        passwords = Passwords()
        stack.callback(passwords.close)
        accounts, verifier = Accounts(store, tokens, passwords), SessionVerifier(store, tokens)
    authenticator = Authenticator(store, verifier, env_keys)
    stack.push_async_callback(authenticator.close)
    return _Identity(accounts, authenticator, supabase)


def _jwt_secret(settings: Settings) -> str:
    """The configured secret; in development one is made at the first start and kept, so that tokens outlive it."""
    if settings.jwt_secret is not None:
        return settings.jwt_secret.get_secret_value()
    path = settings.data_dir / "jwt_secret"
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        secret = generate.jwt_secret()
        with suppress(FileExistsError):  # another process was faster: its secret holds
            path.touch(mode=0o600, exist_ok=False)
            path.write_text(secret)
        log.warning("jwt_secret_made", path=str(path), hint="production needs JWT_SECRET; `amrikyy secrets` makes one")
        return path.read_text().strip()


async def _open_redis(settings: Settings, metrics: Metrics, stack: AsyncExitStack) -> "RedisLink | None":
    """The link, whether Redis answers now or not: it is looked for in the background."""
    if settings.redis is None:
        return None
    from amrikyy.ratelimit.redis import SCRIPTS
    from amrikyy.redis_link import RedisLink

    link = RedisLink(_redis_address(settings.redis), scripts=SCRIPTS)
    stack.push_async_callback(link.close)
    await link.start()
    metrics.redis_up().set(link.state.is_up)
    link.watch(lambda state: metrics.redis_up().set(state.is_up))
    return link


async def _open_cache(settings: Settings, metrics: Metrics, stack: AsyncExitStack) -> Cache:
    memory = MemoryCache(settings.cache_max_mb * 1_000_000)
    shared = None
    if settings.redis is not None:
        from amrikyy.cache.redis import LISTEN_S, RedisCache
        from amrikyy.redis_link import RedisLink, open_pool

        address = _redis_address(settings.redis)
        link = RedisLink(address, deadline_s=CACHE_DEADLINE_S)
        stack.push_async_callback(link.close)
        await link.start()
        news = open_pool(address, timeout_s=2 * LISTEN_S, max_connections=1)
        shared = RedisCache(link, news, memory, prefix=settings.redis_prefix)
        stack.push_async_callback(shared.close)
    return Cache(memory, shared, lambda agent, result, times: metrics.cache_operations(agent, result).inc(times))


def _redis_address(url: str) -> "RedisAddress":
    from amrikyy.redis_link import RedisAddress

    try:
        return RedisAddress.parse(url)
    except ValueError as error:
        raise ConfigurationError(str(error)) from None


async def _open_limits(
    settings: Settings, registry: Registry, redis: "RedisLink | None", stack: AsyncExitStack
) -> Limits:
    limiter: Limiter = MemoryLimiter()
    if redis is not None:
        from amrikyy.ratelimit.failover import FailoverLimiter

        limiter = FailoverLimiter(redis, prefix=f"{settings.redis_prefix}:limit")
        stack.push_async_callback(limiter.close)
        await limiter.start()
    declared: dict[str, Limit | None] = {agent.name: agent.limit for agent in registry}
    declared |= {operation.key: operation.limit for operation in registry.operations()}
    try:
        return Limits(
            LimitTable(declared, settings.rate_limits),
            limiter,
            Networks("RATE_LIMIT_WHITELIST", settings.rate_limit_whitelist),
            Networks("TRUSTED_PROXIES", settings.trusted_proxies),
        )
    except ValueError as error:
        raise ConfigurationError(str(error)) from None


async def _open_models(settings: Settings, metrics: Metrics) -> Models:
    def observe(model: str, agent: str, seconds: float, status: str) -> None:
        metrics.model_calls(model, agent, status).inc()
        metrics.model_seconds(model).observe(seconds)

    config = ModelsConfig(
        models=settings.models,
        gemini_api_key=_reveal(settings.gemini_api_key),
        gemini_model=settings.gemini_model,
        gemini_pro_model=settings.gemini_pro_model,
        gemini_base_url=settings.gemini_base_url,
        openai_api_key=_reveal(settings.openai_api_key),
        openai_base_url=settings.openai_base_url,
        ollama_base_url=settings.ollama_base_url,
        offline_tokens_per_s=settings.offline_tokens_per_s,
        prices={
            name: ModelPrice(input=price.input, output=price.output) for name, price in settings.model_prices.items()
        },
        deadlines=Deadlines(
            connect_s=settings.model_connect_timeout_s,
            first_token_s=settings.model_first_token_timeout_s,
            token_gap_s=settings.model_token_timeout_s,
            total_s=settings.model_timeout_s,
        ),
        retry=Retry(attempts=settings.model_attempts),
        allow_offline_default=not settings.production,
        max_connections=settings.max_concurrent_streams * CALLS_PER_RUN,
    )
    try:
        return open_models(config, observe)
    except ValueError as error:
        raise ConfigurationError(str(error)) from None


def _reveal(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret else None


async def _prepare(registry: Registry) -> None:
    """Load what the agents need, off the event loop, so that the first request does not wait for it."""
    for agent in registry:
        if agent.prepare is not None:
            try:
                await asyncio.to_thread(agent.prepare)
            except Exception:
                log.exception("agent_not_prepared", agent=agent.name)


async def _upkeep(chores: Mapping[str, Callable[[], Awaitable[int]]]) -> None:
    """Delete what is too old, every hour. A chore that fails does not keep the others from being done."""
    while True:
        await asyncio.sleep(PURGE_EVERY_S)
        deleted: dict[str, int] = {}
        for name, chore in chores.items():
            try:
                deleted[name] = await chore()
            except AmrikyyError as error:
                log.error("upkeep_failed", chore=name, reason=error.message)
        log.info("upkeep_done", **deleted)


async def _sample(runtime: Runtime) -> None:
    """Measure how late the event loop is, and write down how things are."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + SAMPLE_EVERY_S
        await asyncio.sleep(SAMPLE_EVERY_S)
        runtime.metrics.loop_lag().set(max(0.0, loop.time() - due))
        runtime.sample()


async def _stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
