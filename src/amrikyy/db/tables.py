"""The tables. A change here needs a new revision in `migrations/versions`; a test compares the two."""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    text,
)

from amrikyy.db.moment import Moment

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)


SEALED: dict[Any, Any] = {"sealed": True}
"""The `info` of a column that holds content: text or bytes that `db.sealed` encrypts if there is an ENCRYPTION_KEY."""


def _id(name: str = "id") -> Column[Any]:
    return Column(name, String(64), primary_key=True)


RARE = "status <> 'completed'"
"""The condition of the partial indexes on runs. A query must contain the same condition to use one of them."""


def _partial(*columns: str, where: str) -> Index:
    # PostgreSQL's condition is only in the migrations: here it would load that dialect, 2 MB, also for SQLite.
    return Index(None, *columns, sqlite_where=text(where))


users = Table(
    "users",
    metadata,
    _id(),
    Column("email", String(254), nullable=False, unique=True),  # lower case
    Column("name", String(200)),
    Column("password_hash", String(255), nullable=False),
    Column("role", String(16), nullable=False),
    Column("disabled_at", Moment),
    Column("sessions_valid_from", Moment, nullable=False),  # tokens issued before it are invalid
    Column("created_at", Moment, nullable=False),
    Column("updated_at", Moment, nullable=False),
)

api_keys = Table(
    "api_keys",
    metadata,
    _id(),
    Column("name", String(200), nullable=False),
    Column("prefix", String(16), nullable=False),  # enough for a person to recognise it
    Column("key_hash", String(64), nullable=False, unique=True),  # SHA-256, hex
    Column("role", String(16), nullable=False),
    Column("created_by", String(64)),
    Column("created_at", Moment, nullable=False),
    Column("expires_at", Moment),
    Column("revoked_at", Moment),
    Column("last_used_at", Moment),
)

refresh_tokens = Table(
    "refresh_tokens",
    metadata,
    Column("token_hash", String(64), primary_key=True),
    Column("family", String(64), nullable=False, index=True),  # one login, and all tokens refreshed from it
    Column("user_id", String(64), ForeignKey("users.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("issued_at", Moment, nullable=False),
    Column("expires_at", Moment, nullable=False, index=True),
    Column("used_at", Moment),
    Column("revoked_at", Moment),
)

password_resets = Table(
    "password_resets",
    metadata,
    Column("token_hash", String(64), primary_key=True),
    Column("user_id", String(64), ForeignKey("users.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("expires_at", Moment, nullable=False, index=True),
)

audit_log = Table(
    "audit_log",
    metadata,
    _id(),  # sorts by time
    Column("at", Moment, nullable=False, index=True),
    Column("actor", String(128), nullable=False),
    Column("actor_name", String(254)),
    Column("actor_role", String(16)),
    Column("action", String(64), nullable=False),
    Column("target", String(254)),
    Column("outcome", String(16), nullable=False, server_default="done"),
    Column("details", Text, nullable=False),  # JSON
    Column("request_id", String(64)),
    Column("address", String(64)),
    Index(None, "actor", "id"),
    Index(None, "action", "id"),
    Index(None, "target", "id"),
    Index(None, "outcome", "id"),
)

runs = Table(
    "runs",
    metadata,
    _id(),  # sorts by time
    Column("owner", String(128), nullable=False),
    Column("agent", String(64), nullable=False),
    Column("operation", String(64), nullable=False),
    Column("status", String(16), nullable=False),
    Column("request", Text, info=SEALED),
    Column("result", Text, info=SEALED),
    Column("error", Text, info=SEALED),
    Column("model", String(200)),
    Column("input_tokens", Integer, nullable=False),
    Column("output_tokens", Integer, nullable=False),
    Column("usage_estimated", Boolean, nullable=False),
    Column("cost_usd", Float),
    Column("cached", Boolean, nullable=False),
    Column("events", Integer, nullable=False),
    Column("parent_id", String(64)),
    Column("instance", String(200), nullable=False),
    Column("started_at", Moment, nullable=False),
    Column("deadline_at", Moment, nullable=False),
    Column("finished_at", Moment),
    Column("duration_ms", Float),
    # Pages are read by id, newest first, and ids sort by time.
    Index(None, "owner", "id"),
    Index(None, "agent", "operation", "id"),
    # The status of most runs needs no entry: those are found among all runs.
    _partial("status", "id", where=RARE),
    _partial("owner", "status", "id", where=RARE),
    _partial("agent", "operation", "status", "id", where=RARE),
    _partial("parent_id", "id", where="parent_id IS NOT NULL"),
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("key_hash", String(64), primary_key=True),  # of caller, route and key
    Column("body_hash", String(64), nullable=False),
    Column("run_id", String(64), nullable=False),
    Column("created_at", Moment, nullable=False, index=True),
)

spend = Table(
    "spend",
    metadata,
    # In the order in which entries are written, which tells which of them are in the sums.
    Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("run_id", String(64), nullable=False),
    Column("model", String(200), nullable=False),
    Column("owner", String(128), nullable=False),
    Column("agent", String(64), nullable=False),
    Column("operation", String(64), nullable=False),
    Column("day", String(10), nullable=False),  # UTC, YYYY-MM-DD
    Column("input_tokens", Integer, nullable=False),
    Column("output_tokens", Integer, nullable=False),
    Column("cost_usd", Float),  # null: the price is not known
    Column("usage_estimated", Boolean, nullable=False),
    Index(None, "run_id", "model", unique=True),  # an entry that is written twice is counted once
)

spend_days = Table(
    "spend_days",
    metadata,
    Column("owner", String(128), primary_key=True),  # or "*": all owners together
    Column("day", String(10), primary_key=True),
    Column("agent", String(64), primary_key=True),
    Column("operation", String(64), primary_key=True),
    Column("model", String(200), primary_key=True),
    Column("entries", BigInteger, nullable=False),
    Column("runs", BigInteger, nullable=False),  # entries that are the first of their runs
    Column("input_tokens", BigInteger, nullable=False),
    Column("output_tokens", BigInteger, nullable=False),
    Column("cost_usd", Float, nullable=False),
    Column("unpriced", BigInteger, nullable=False),
    Column("estimated", BigInteger, nullable=False),
    Index(None, "day"),
    sqlite_with_rowid=False,
)

spend_summed = Table(
    "spend_summed",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),  # always 1: there is only one row
    Column("through", BigInteger, nullable=False),  # entries up to this number are in the sums; a trigger corrects them
)

budgets = Table(
    "budgets",
    metadata,
    Column("subject", String(128), primary_key=True),  # "key:…", "user:…", "envkey:…" or "role:…"
    Column("period", String(8), primary_key=True),  # "day" or "month"
    Column("limit_usd", Float),  # null: it was removed; the row stays, so that every process learns of it
    Column("revision", Integer, nullable=False, index=True),  # grows with every change of any budget
    Column("changed_by", String(128), nullable=False),
    Column("changed_at", Moment, nullable=False),
)

budget_days = Table(
    "budget_days",
    metadata,
    Column("subject", String(128), primary_key=True),
    Column("day", String(10), primary_key=True),  # UTC, YYYY-MM-DD
    Column("spent_usd", Float, nullable=False),
    Index(None, "day"),
)

reservations = Table(
    "reservations",
    metadata,
    _id(),
    Column("subject", String(128), primary_key=True),
    Column("amount_usd", Float, nullable=False),
    Column("holder", String(64), nullable=False, index=True),  # the process that renews it
    Column("expires_at", Moment, nullable=False),
    Index(None, "subject"),
)

LATENCY_MS = (100, 250, 500, 1000, 2000, 4000, 8000, 15_000, 30_000, 60_000)
"""Upper bounds of the buckets that latencies of runs are counted in; the last bucket has no bound."""

run_hours = Table(
    "run_hours",
    metadata,
    Column("agent", String(64), primary_key=True),
    Column("operation", String(64), primary_key=True),
    Column("hour", Moment, primary_key=True),
    Column("runs", Integer, nullable=False),
    Column("failed", Integer, nullable=False),  # by our faults and the models', not by the callers'
    Column("cancelled", Integer, nullable=False),
    Column("cached", Integer, nullable=False),  # answered from the cache, or by another run's execution
    Column("streamed", Integer, nullable=False),
    Column("input_tokens", Integer, nullable=False),
    Column("output_tokens", Integer, nullable=False),
    Column("cost_usd", Float, nullable=False),
    Column("unpriced", Integer, nullable=False),
    Column("duration_ms", Float, nullable=False),
    *(Column(f"under_{bound}", Integer, nullable=False) for bound in (*LATENCY_MS, "all")),
)

workflows = Table(
    "workflows",
    metadata,
    _id(),  # sorts by time
    Column("owner", String(128), nullable=False),
    Column("name", String(64)),
    Column("strategy", String(16), nullable=False),
    Column("status", String(16), nullable=False),
    Column("tree", Text, nullable=False, info=SEALED),  # JSON, as are input, options, result and error
    Column("input", Text, nullable=False, info=SEALED),
    Column("options", Text, nullable=False, info=SEALED),
    Column("result", Text, info=SEALED),
    Column("error", Text, info=SEALED),
    Column("total", Integer, nullable=False),  # steps
    Column("done", Integer, nullable=False),
    Column("events", Integer, nullable=False),
    Column("cost_usd", Float),  # null: the price of a step is not known
    Column("epoch", Integer, nullable=False),  # how often a process has begun to work on it; only the last may go on
    Column("process", String(200), nullable=False),
    Column("role", String(16), nullable=False),  # of the owner, for budgets
    Column("limited", Boolean, nullable=False),
    Column("traceparent", String(55)),  # of the request that started it; null: it is not traced
    Column("cancel_requested", Boolean, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("started_at", Moment),
    Column("finished_at", Moment),
    Column("duration_ms", Float),
    Index(None, "owner", "id"),
    Index(None, "strategy", "id"),
    Index(None, "status", "process"),
    Index(None, "created_at"),
)

trace_segments = Table(
    "trace_segments",
    metadata,
    _id(),  # sorts by time
    Column("trace_id", String(32), nullable=False),
    Column("agent", String(64)),  # null: a workflow's own segment, or a request that belongs to no agent
    Column("operation", String(64)),
    Column("model", String(200)),
    Column("status", String(16), nullable=False),
    Column("began_us", BigInteger, nullable=False),  # since 1970; a Moment would cost more than all the rest of a row
    Column("ended_us", BigInteger, nullable=False),
    Column("input_tokens", Integer, nullable=False),
    Column("output_tokens", Integer, nullable=False),
    Column("cost_usd", Float),  # null: the price is not known
    Column("spans", LargeBinary, nullable=False, info=SEALED),  # MessagePack
    Index(None, "agent", "id"),
    Index(None, "trace_id"),
)

workflow_events = Table(
    "workflow_events",
    metadata,
    Column("workflow_id", String(64), ForeignKey("workflows.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True),  # from 1, without gaps
    Column("kind", String(16), nullable=False),
    Column("path", String(200), nullable=False),  # of the step that it is about, or empty
    Column("data", Text, nullable=False, info=SEALED),  # MessagePack
    Column("at", Moment, nullable=False),
    Index(None, "workflow_id", "kind", "path", unique=True),  # no event happens twice
)

workflow_definitions = Table(
    "workflow_definitions",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("version", Integer, primary_key=True),  # the highest one is in force
    Column("definition", Text, info=SEALED),  # JSON; null: deleted
    Column("saved_by", String(128), nullable=False),
    Column("saved_at", Moment, nullable=False),
)

workflow_counts = Table(
    "workflow_counts",
    metadata,
    Column("kind", String(16), primary_key=True),  # strategy or agent
    Column("name", String(64), primary_key=True),
    Column("completed", Integer, nullable=False),
    Column("failed", Integer, nullable=False),
    Column("cancelled", Integer, nullable=False),
    Column("duration_ms", Float, nullable=False),
    Column("cost_usd", Float, nullable=False),
)

workflow_processes = Table(
    "workflow_processes",
    metadata,
    Column("id", String(200), primary_key=True),
    Column("beats", Integer, nullable=False),  # a counter that stops with the process; no time, as clocks differ
)

encryption_keys = Table(
    "encryption_keys",
    metadata,
    Column(
        "id", String(8), primary_key=True
    ),  # of a key that values may be sealed with; the key cannot be derived from it
    Column("noted_at", Moment, nullable=False),
)
