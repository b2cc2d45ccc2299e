"""Open everything that the settings name, in order."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Protocol, TypeVar

from amrikyy.agents.planner import Planner
from amrikyy.agents.registry import Registry
from amrikyy.agents.runner import Runner
from amrikyy.auth import AuditLog, Directory
from amrikyy.cache import Cache, MemoryCache
from amrikyy.db import Database, encryption_keys, migrate, open_database
from amrikyy.db.failures import advice
from amrikyy.errors import Unavailable
from amrikyy.ratelimit import Limit, Limiter, Limits, LimitTable, MemoryLimiter, Networks, refusal
from amrikyy.runs.idempotency import IdempotencyKeys
from amrikyy.runs.live import LiveRuns
from amrikyy.runs.slots import Slots
from amrikyy.runs.statistics import RunStatistics
from amrikyy.runs.store import RunRecords
from amrikyy.runtime import chores
from amrikyy.runtime.identity import open_identity
from amrikyy.runtime.links import Links, open_links
from amrikyy.runtime.models import open_models, open_second_look
from amrikyy.runtime.runtime import STOPPING, Runtime
from amrikyy.runtime.tracing import open_traces
from amrikyy.runtime.watchdog import Watchdog
from amrikyy.sealing import Sealer
from amrikyy.settings import ConfigurationError, Settings, reveal
from amrikyy.spend import Budgets, Ledger, Sums
from amrikyy.telemetry.metrics import Metrics
from amrikyy.telemetry.spans import Tracer
from amrikyy.workflows.steps import Charge
from amrikyy.workflows.workflows import Bounds, Workflows

if TYPE_CHECKING:
    from amrikyy.runs.shared import SharedRuns


class Closable(Protocol):
    """What has to be closed."""

    async def close(self) -> None:
        """End it."""
        ...


C = TypeVar("C", bound=Closable)


@asynccontextmanager
async def open_runtime(
    settings: Settings, registry: Registry, metrics: Metrics | None = None, tracer: Tracer | None = None
) -> AsyncIterator[Runtime]:
    """Open everything, bring the schema up to date, and close everything at the end.

    Raises:
        ConfigurationError: a setting cannot be used, an encryption key is missing, or the database cannot be reached.
        Unavailable: the database's schema does not fit this program.
    """
    async with AsyncExitStack() as stack:
        metrics = metrics or Metrics()
        stack.callback(metrics.hand_over)  # what is counted while the parts are closed stays, too
        runtime = await _open_all(
            settings, registry, metrics, tracer or Tracer(settings.otel_traces_sampler_arg), stack
        )
        watchdog = Watchdog()
        watchdog.start()
        stack.callback(watchdog.stop)
        chores.start(chores.prepare(registry), "prepare-agents", stack)
        chores.start(chores.upkeep(chores.deletions(runtime)), "upkeep", stack)
        chores.start(chores.sum_up(Sums(runtime.database).add_up), "sum-up", stack)
        chores.start(chores.sample(runtime), "sample-metrics", stack)
        try:
            yield runtime
        finally:
            runtime.not_ready = STOPPING


async def _open_all(
    settings: Settings, registry: Registry, metrics: Metrics, tracer: Tracer, stack: AsyncExitStack
) -> Runtime:
    """Open each part after those that it needs; the stack closes them in the reverse order."""
    sealer = settings.sealer()
    database = await _open_database(settings, stack)
    await encryption_keys.note(database, sealer)
    traces = _closed_by(stack, open_traces(settings, database, metrics))
    tracer.sink = traces.put
    models = _closed_by(stack, open_models(settings, metrics))
    live = LiveRuns(settings.stream_resume_s)
    records = _closed_by(stack, RunRecords(database, sealer, recorded=live.recorded))
    budgets = await _open_budgets(database, metrics, stack)
    links = await open_links(settings, metrics, stack)
    cache = _open_cache(settings, metrics, links, sealer, stack)
    shared_runs = _open_shared_runs(settings, links, live, sealer, stack)
    second_look = open_second_look(settings)
    if second_look is not None:
        _closed_by(stack, second_look)
    limits = await _open_limits(settings, registry, links, stack)
    runner = Runner(
        models,
        cache,
        live,
        records,
        Slots(settings.max_concurrent_streams, settings.max_queued_streams),
        metrics,
        timeout_s=settings.run_timeout_s,
        sharing=shared_runs,
        second_look=second_look,
        traces_content=settings.otel_instrumentation_genai_capture_message_content,
        sealer=sealer,
    )
    _closed_by(stack, runner)
    planner = _open_planner(settings, registry, runner)
    workflows = Workflows(
        database,
        settings.database,
        runner,
        registry,
        planner,
        _charging(limits, metrics),
        budgets,
        metrics,
        tracer,
        Bounds(settings.max_concurrent_workflows, settings.max_workflows_per_caller, settings.max_queued_workflows),
        sealer,
    )
    await _closed_by(stack, workflows).open()
    identity = open_identity(settings, database, stack)
    first_admin = await identity.accounts.ensure_first_admin(
        settings.admin_email, reveal(settings.admin_password), development=settings.app_env == "development"
    )
    return Runtime(
        settings=settings,
        registry=registry,
        metrics=metrics,
        tracer=tracer,
        traces=traces,
        database=database,
        models=models,
        cache=cache,
        live=live,
        records=records,
        ledger=Ledger(database),
        budgets=budgets,
        statistics=RunStatistics(database),
        idempotency=IdempotencyKeys(database, sealer),
        redis=links.limits if links is not None else None,
        shared_runs=shared_runs,
        limits=limits,
        runner=runner,
        planner=planner,
        workflows=workflows,
        accounts=identity.accounts,
        authenticator=identity.authenticator,
        supabase=identity.supabase,
        audit=AuditLog(database),
        first_admin=first_admin,
        has_admin=first_admin is not None or await identity.accounts.has_admin(),
    )


@asynccontextmanager
async def open_accounts_of(settings: Settings) -> AsyncIterator[Directory]:
    """Only the accounts, for the command line."""
    async with AsyncExitStack() as stack:
        database = await _open_database(settings, stack)
        yield open_identity(settings, database, stack).accounts


async def _open_database(settings: Settings, stack: AsyncExitStack) -> Database:
    try:
        database = open_database(settings.database)
    except ValueError as error:
        raise ConfigurationError(str(error)) from None
    _closed_by(stack, database)
    try:
        await migrate.upgrade(database)
    except Unavailable as error:
        raise explained(error, database) from None
    return database


def explained(error: Unavailable, database: Database) -> Exception:
    """The error, with its reason if the database cannot be reached: for whoever configures it, not for callers."""
    if error.code != "database_unavailable" or error.__cause__ is None:
        return error
    where = database.name if database.dialect == "sqlite" else f"at {database.host}"
    return ConfigurationError(f"DATABASE_URL: the database {where} cannot be reached: {advice(error.__cause__)}")


async def _open_budgets(database: Database, metrics: Metrics, stack: AsyncExitStack) -> Budgets:
    budgets = Budgets(
        database,
        on_refused=lambda budget: metrics.budget_refusals.inc(budget.subject.partition(":")[0], budget.period),
    )
    await _closed_by(stack, budgets).start()
    return budgets


def _open_cache(
    settings: Settings, metrics: Metrics, links: Links | None, sealer: Sealer, stack: AsyncExitStack
) -> Cache:
    memory = MemoryCache(settings.cache_max_mb * 1_000_000)
    shared = None
    if links is not None:
        from amrikyy.cache.redis import LISTEN_S, RedisCache
        from amrikyy.redis_link import open_pool

        news = open_pool(links.store.address, timeout_s=2 * LISTEN_S, max_connections=1)
        shared = RedisCache(links.store, news, memory, prefix=settings.redis_prefix, sealer=sealer)
        _closed_by(stack, shared)
    return Cache(memory, shared, metrics.cache_operations.inc)


def _open_shared_runs(
    settings: Settings, links: Links | None, live: LiveRuns, sealer: Sealer, stack: AsyncExitStack
) -> "SharedRuns | None":
    if links is None:
        return None
    from amrikyy.runs.shared import SharedRuns

    shared = SharedRuns(
        links.store,
        prefix=settings.redis_prefix,
        live=live,
        keep_s=settings.stream_resume_s,
        grace_s=settings.stream_grace_s,
        timeout_s=settings.run_timeout_s,
        sealer=sealer,
    )
    return _closed_by(stack, shared)


def _open_planner(settings: Settings, registry: Registry, runner: Runner) -> Planner:
    planner = Planner(registry, runner, home_airport=settings.home_airport)
    if "home_airport" in settings.model_fields_set:  # the default is known to be one, and looking it up takes time
        try:
            planner.check_home()
        except ValueError as error:
            raise ConfigurationError(f"HOME_AIRPORT: {error}") from None
    return planner


async def _open_limits(settings: Settings, registry: Registry, links: Links | None, stack: AsyncExitStack) -> Limits:
    limiter: Limiter = MemoryLimiter()
    if links is not None:
        from amrikyy.ratelimit.failover import FailoverLimiter

        limiter = failing_over = FailoverLimiter(links.limits, prefix=f"{settings.redis_prefix}:limit")
        await _closed_by(stack, failing_over).start()
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


def _charging(limits: Limits, metrics: Metrics) -> Charge:
    """What the planner chooses counts like what a caller chooses."""

    async def charge(owner: str, operation: str) -> None:
        charges = limits.table.operation(owner, operation)
        decision = await limits.limiter.decide(charges) if charges else None
        if decision is not None and decision.refused is not None:
            metrics.limit_hits.inc(decision.refused.name)
            raise refusal(decision)

    return charge


def _closed_by(stack: AsyncExitStack, part: C) -> C:
    """The same, which the stack closes."""
    stack.push_async_callback(part.close)
    return part
