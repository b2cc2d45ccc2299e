"""Open everything that the settings name, in order."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from amrikyy.agents.planner import Planner
from amrikyy.agents.registry import Registry
from amrikyy.agents.runner import Runner
from amrikyy.agents.second_look import SecondLook
from amrikyy.auth import AuditLog, Directory
from amrikyy.cache import Cache, MemoryCache
from amrikyy.db import Database, encryption_keys, migrate, open_database
from amrikyy.errors import Unavailable
from amrikyy.http_client import HttpClient
from amrikyy.llm import Deadlines, ModelPrice, Models, ModelsConfig, Retry, open_models
from amrikyy.llm.embeddings import Embedder
from amrikyy.llm.prices import Prices
from amrikyy.ratelimit import Limit, Limiter, Limits, LimitTable, MemoryLimiter, Networks, refusal
from amrikyy.runs.idempotency import IdempotencyKeys
from amrikyy.runs.live import LiveRuns
from amrikyy.runs.slots import Slots
from amrikyy.runs.statistics import RunStatistics
from amrikyy.runs.store import RunRecords
from amrikyy.runtime import chores
from amrikyy.runtime.identity import open_identity
from amrikyy.runtime.runtime import STOPPING, Runtime
from amrikyy.runtime.tracing import open_traces
from amrikyy.sealing import Sealer
from amrikyy.settings import ConfigurationError, Settings, reveal
from amrikyy.spend import Budgets, Ledger
from amrikyy.telemetry.metrics import Metrics
from amrikyy.telemetry.spans import Tracer
from amrikyy.workflows.steps import Charge
from amrikyy.workflows.workflows import Bounds, Workflows

if TYPE_CHECKING:
    # Loaded only where there is a Redis: its client takes 7 MB.
    from amrikyy.redis_link import RedisAddress, RedisLink
    from amrikyy.runs.shared import SharedRuns

STORE_DEADLINE_S = 0.5
"""How long it may take to find a result, to learn who executes a request, or to store events: another call of a model
takes longer."""

CALLS_PER_RUN = 3
"""Calls of a model that a run has open at most, as a travel package does: whoever was let in is not kept waiting."""


@asynccontextmanager
async def open_runtime(
    settings: Settings, registry: Registry, metrics: Metrics | None = None, tracer: Tracer | None = None
) -> AsyncIterator[Runtime]:
    """Open everything, bring the schema up to date, and close everything at the end.

    Raises:
        ConfigurationError: a setting cannot be used, an encryption key is missing, or the database cannot be reached.
        Unavailable: the database's schema does not fit this program.
    """
    metrics = metrics or Metrics()
    tracer = tracer or Tracer(settings.otel_traces_sampler_arg)
    async with AsyncExitStack() as stack:
        database = await _open_database(settings, stack)
        sealer = settings.sealer()
        await encryption_keys.note(database, sealer)
        traces = open_traces(settings, database, metrics)
        stack.push_async_callback(traces.close)
        tracer.sink = traces.put
        models = await _open_models(settings, metrics)
        stack.push_async_callback(models.close)
        records = RunRecords(database, sealer)
        stack.push_async_callback(records.close)
        budgets = Budgets(
            database,
            on_refused=lambda budget: metrics.budget_refusals(budget.subject.partition(":")[0], budget.period).inc(),
        )
        stack.push_async_callback(budgets.close)
        await budgets.start()
        live = LiveRuns(settings.stream_resume_s)
        slots = Slots(settings.max_concurrent_streams, settings.max_queued_streams)
        store = await _open_store(settings, metrics, stack)
        cache = await _open_cache(settings, metrics, store, sealer, stack)
        shared_runs = _open_shared_runs(settings, store, live, sealer, stack)
        second_look = _open_second_look(settings)
        if second_look is not None:
            stack.push_async_callback(second_look.close)
        runner = Runner(
            models,
            cache,
            live,
            records,
            slots,
            metrics,
            timeout_s=settings.run_timeout_s,
            sharing=shared_runs,
            second_look=second_look,
            traces_content=settings.otel_instrumentation_genai_capture_message_content,
            sealer=sealer,
        )
        idempotency = IdempotencyKeys(database, sealer)
        redis = await _open_redis(settings, metrics, store, stack)
        limits = await _open_limits(settings, registry, redis, stack)
        stack.push_async_callback(runner.close)
        planner = Planner(registry, runner, home_airport=settings.home_airport)
        if "home_airport" in settings.model_fields_set:  # the default is known to be one, and looking it up takes time
            try:
                planner.check_home()
            except ValueError as error:
                raise ConfigurationError(f"HOME_AIRPORT: {error}") from None
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
        stack.push_async_callback(workflows.close)
        await workflows.open()
        identity = open_identity(settings, database, stack)
        accounts = identity.accounts
        audit = AuditLog(database)
        first_admin = await accounts.ensure_first_admin(
            settings.admin_email,
            reveal(settings.admin_password),
            development=settings.app_env == "development",
        )
        chores.start(chores.prepare(registry), "prepare-agents", stack)
        deletions: dict[str, Callable[[], Awaitable[int]]] = {
            "runs": lambda: records.purge(timedelta(days=settings.run_retention_days)),
            "workflows": lambda: workflows.purge(timedelta(days=settings.run_retention_days)),
            "traces": lambda: traces.store.purge(timedelta(days=settings.trace_retention_days)),
            "idempotency_keys": idempotency.purge,
            "tokens": accounts.delete_expired,
            "budgets": budgets.purge,
            "audit_entries": lambda: audit.purge(timedelta(days=settings.audit_retention_days)),
        }
        chores.start(chores.upkeep(deletions), "upkeep", stack)
        runtime = Runtime(
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
            idempotency=idempotency,
            redis=redis,
            shared_runs=shared_runs,
            limits=limits,
            runner=runner,
            planner=planner,
            workflows=workflows,
            accounts=accounts,
            authenticator=identity.authenticator,
            supabase=identity.supabase,
            audit=audit,
            first_admin=first_admin,
            has_admin=first_admin is not None or await accounts.has_admin(),
        )
        chores.start(chores.sample(runtime), "sample-metrics", stack)
        try:
            yield runtime
        finally:
            runtime.not_ready = STOPPING


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
    stack.push_async_callback(database.close)
    try:
        await migrate.upgrade(database)
    except Unavailable as error:
        if error.code != "database_unavailable":
            raise
        where = database.name if database.dialect == "sqlite" else f"at {database.host}"
        reason = getattr(error.__cause__, "orig", None) or error.__cause__  # without SQLAlchemy's "Background on this"
        raise ConfigurationError(f"DATABASE_URL: the database {where} cannot be reached: {reason}.") from None
    return database


async def _open_redis(
    settings: Settings, metrics: Metrics, store: "RedisLink | None", stack: AsyncExitStack
) -> "RedisLink | None":
    """The link of the limits, whether Redis answers now or not: it is looked for in the background."""
    if settings.redis is None:
        metrics.redis_up().set(float("nan"))  # it is not away: there is none
        return None
    from amrikyy.ratelimit.redis import SCRIPTS
    from amrikyy.redis_link import RedisLink

    link = RedisLink(_redis_address(settings.redis), scripts=SCRIPTS, deadline_s=settings.redis_timeout_ms / 1000)
    stack.push_async_callback(link.close)
    await link.start()
    metrics.redis_up().set(link.state.is_up)
    link.watch(lambda state: metrics.redis_up().set(state.is_up))
    if store is not None:
        link.watch(lambda state: None if state.is_up else store.doubt())
    return link


async def _open_store(settings: Settings, metrics: Metrics, stack: AsyncExitStack) -> "RedisLink | None":
    """The link of cache and runs: what is sent on it comes in order, and does not hold up a decision about limits."""
    if settings.redis is None:
        metrics.runs_shared().set(float("nan"))  # as redis_up
        return None
    from amrikyy.redis_link import RedisLink
    from amrikyy.runs.shared import SCRIPTS

    link = RedisLink(
        _redis_address(settings.redis),
        scripts=SCRIPTS,
        deadline_s=max(STORE_DEADLINE_S, settings.redis_timeout_ms / 1000),
    )
    stack.push_async_callback(link.close)
    await link.start()
    metrics.runs_shared().set(link.state.is_up)
    link.watch(lambda state: metrics.runs_shared().set(state.is_up))
    return link


async def _open_cache(
    settings: Settings, metrics: Metrics, link: "RedisLink | None", sealer: Sealer, stack: AsyncExitStack
) -> Cache:
    memory = MemoryCache(settings.cache_max_mb * 1_000_000)
    shared = None
    if link is not None:
        from amrikyy.cache.redis import LISTEN_S, RedisCache
        from amrikyy.redis_link import open_pool

        news = open_pool(link.address, timeout_s=2 * LISTEN_S, max_connections=1)
        shared = RedisCache(link, news, memory, prefix=settings.redis_prefix, sealer=sealer)
        stack.push_async_callback(shared.close)
    return Cache(memory, shared, lambda agent, result, times: metrics.cache_operations(agent, result).inc(times))


def _open_shared_runs(
    settings: Settings, link: "RedisLink | None", live: LiveRuns, sealer: Sealer, stack: AsyncExitStack
) -> "SharedRuns | None":
    if link is None:
        return None
    from amrikyy.runs.shared import SharedRuns

    shared = SharedRuns(
        link,
        prefix=settings.redis_prefix,
        live=live,
        keep_s=settings.stream_resume_s,
        grace_s=settings.stream_grace_s,
        timeout_s=settings.run_timeout_s,
        sealer=sealer,
    )
    stack.push_async_callback(shared.close)
    return shared


def _open_second_look(settings: Settings) -> SecondLook | None:
    """What finds results of similar requests; None unless CACHE_SIMILARITY says how alike they must be."""
    if settings.cache_similarity is None:
        if settings.embeddings_model is not None:
            raise ConfigurationError("EMBEDDINGS_MODEL serves nothing without CACHE_SIMILARITY (for example 0.95).")
        return None
    if settings.embeddings_model is None:
        return SecondLook(settings.cache_similarity, None)
    provider, _, model = settings.embeddings_model.partition(":")
    servers = {
        "gemini": (settings.gemini_base_url, settings.gemini_api_key),
        "openai": (settings.openai_base_url, settings.openai_api_key),
        "ollama": (settings.ollama_base_url, None),
    }
    if provider not in servers or not model:
        raise ConfigurationError(
            "EMBEDDINGS_MODEL names no model; write provider:model, for example openai:text-embedding-3-small, "
            "gemini:gemini-embedding-001 or ollama:nomic-embed-text."
        )
    base_url, key = servers[provider]
    prices = Prices(_prices(settings))
    embedder = Embedder(provider, model, base_url=base_url, api_key=reveal(key), http=HttpClient(), prices=prices)
    return SecondLook(settings.cache_similarity, embedder)


def _prices(settings: Settings) -> dict[str, ModelPrice]:
    return {name: ModelPrice(input=price.input, output=price.output) for name, price in settings.model_prices.items()}


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


def _charging(limits: Limits, metrics: Metrics) -> Charge:
    """What the planner chooses counts like what a caller chooses."""

    async def charge(owner: str, operation: str) -> None:
        decision = await limits.limiter.decide(limits.table.operation(owner, operation))
        if decision.refused is not None:
            metrics.limit_hits(decision.refused.name).inc()
            raise refusal(decision)

    return charge


async def _open_models(settings: Settings, metrics: Metrics) -> Models:
    def observe(model: str, agent: str, seconds: float, status: str) -> None:
        metrics.model_calls(model, agent, status).inc()
        metrics.model_seconds(model).observe(seconds)

    config = ModelsConfig(
        models=settings.models,
        gemini_api_key=reveal(settings.gemini_api_key),
        gemini_model=settings.gemini_model,
        gemini_pro_model=settings.gemini_pro_model,
        gemini_base_url=settings.gemini_base_url,
        openai_api_key=reveal(settings.openai_api_key),
        openai_base_url=settings.openai_base_url,
        ollama_base_url=settings.ollama_base_url,
        offline_tokens_per_s=settings.offline_tokens_per_s,
        prices=_prices(settings),
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
