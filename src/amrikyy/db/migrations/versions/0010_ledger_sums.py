"""Sums of the ledger; fewer indexes of runs and of the ledger."""

from collections.abc import Iterable

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

KEYS = ("owner", "day", "agent", "operation", "model")
ENTRY = ("run_id", "model", "owner", "agent", "operation", "day", "input_tokens", "output_tokens", "cost_usd",
         "usage_estimated")  # fmt: skip
RARE = "status <> 'completed'"
RUNS_BEFORE: list[tuple[str, ...]] = [("status", "id"), ("parent_id",), ("started_at",)]
RUNS: dict[tuple[str, ...], str] = {
    ("status", "id"): RARE,
    ("owner", "status", "id"): RARE,
    ("agent", "operation", "status", "id"): RARE,
    ("parent_id", "id"): "parent_id IS NOT NULL",
}
SPEND_BEFORE: list[tuple[str, ...]] = [("owner", "day"), ("day",)]

# A trigger, so that every change of an entry that is in the sums corrects them, even one by the previous version of the
# program, which still runs beside this one during a rolling update. A new entry costs nothing.
CORRECTION = """
    UPDATE spend_days SET
        input_tokens = input_tokens + NEW.input_tokens - OLD.input_tokens,
        output_tokens = output_tokens + NEW.output_tokens - OLD.output_tokens,
        cost_usd = cost_usd + coalesce(NEW.cost_usd, 0) - coalesce(OLD.cost_usd, 0),
        unpriced = unpriced + CASE WHEN NEW.cost_usd IS NULL THEN 1 ELSE 0 END
            - CASE WHEN OLD.cost_usd IS NULL THEN 1 ELSE 0 END,
        estimated = estimated + CASE WHEN NEW.usage_estimated THEN 1 ELSE 0 END
            - CASE WHEN OLD.usage_estimated THEN 1 ELSE 0 END
    WHERE owner IN (OLD.owner, '*') AND day = OLD.day AND agent = OLD.agent AND operation = OLD.operation
        AND model = OLD.model;
"""

# A transaction that sums up holds a lock on the row of spend_summed: it has seen the change, or is waited for here.
FUNCTION = """
CREATE FUNCTION correct_spend_days() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    summed bigint;
BEGIN
    SELECT through INTO summed FROM spend_summed FOR UPDATE;
    IF NEW.number <= summed THEN %s END IF;
    RETURN NULL;
END $$
"""
TRIGGER = """
CREATE TRIGGER spend_corrected AFTER UPDATE OF input_tokens, output_tokens, cost_usd, usage_estimated ON spend
FOR EACH ROW EXECUTE FUNCTION correct_spend_days()
"""
SQLITE_TRIGGER = """
CREATE TRIGGER spend_corrected AFTER UPDATE OF input_tokens, output_tokens, cost_usd, usage_estimated ON spend
WHEN NEW.number <= (SELECT through FROM spend_summed)
BEGIN %s END
"""


def upgrade() -> None:
    """Apply."""
    _drop_indexes("runs", RUNS_BEFORE)
    for columns, where in RUNS.items():
        only = sa.text(where)
        op.create_index(_name("runs", columns), "runs", list(columns), sqlite_where=only, postgresql_where=only)
    op.create_table(
        "spend_days",
        sa.Column("owner", sa.String(length=128), nullable=False),
        sa.Column("day", sa.String(length=10), nullable=False),
        sa.Column("agent", sa.String(length=64), nullable=False),
        sa.Column("operation", sa.String(length=64), nullable=False),
        sa.Column("model", sa.String(length=200), nullable=False),
        *(
            sa.Column(name, sa.BigInteger(), nullable=False)
            for name in ("entries", "runs", "input_tokens", "output_tokens")
        ),
        sa.Column("cost_usd", sa.Float(), nullable=False),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in ("unpriced", "estimated")),
        sa.PrimaryKeyConstraint(*KEYS, name="pk_spend_days"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_spend_days_day", "spend_days", ["day"])
    op.create_table(
        "spend_summed",
        sa.Column("id", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("through", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_spend_summed"),
    )
    op.execute("INSERT INTO spend_summed (id, through) VALUES (1, 0)")
    _drop_indexes("spend", SPEND_BEFORE)
    if op.get_bind().dialect.name == "sqlite":
        number = sa.Column("number", sa.Integer(), nullable=False)
        _make_anew(number, sa.PrimaryKeyConstraint("number", name="pk_spend"))
    else:
        op.drop_constraint("pk_spend", "spend")
        op.execute("ALTER TABLE spend ADD COLUMN number BIGSERIAL CONSTRAINT pk_spend PRIMARY KEY")
        op.execute(FUNCTION % CORRECTION)
    op.create_index("ix_spend_run_id_model", "spend", ["run_id", "model"], unique=True)
    op.execute(SQLITE_TRIGGER % CORRECTION if op.get_bind().dialect.name == "sqlite" else TRIGGER)


def downgrade() -> None:
    """Undo."""
    op.drop_index("ix_spend_run_id_model", "spend")
    if op.get_bind().dialect.name == "sqlite":
        _make_anew(sa.PrimaryKeyConstraint("run_id", "model", name="pk_spend"))  # which drops the trigger, too
    else:
        op.execute("DROP TRIGGER spend_corrected ON spend")
        op.execute("DROP FUNCTION correct_spend_days()")
        op.drop_column("spend", "number")
        op.create_primary_key("pk_spend", "spend", ["run_id", "model"])
    _create_indexes("spend", SPEND_BEFORE)
    op.drop_table("spend_summed")
    op.drop_table("spend_days")
    _drop_indexes("runs", RUNS)
    _create_indexes("runs", RUNS_BEFORE)


def _name(table: str, columns: tuple[str, ...]) -> str:
    return f"ix_{table}_{'_'.join(columns)}"


def _create_indexes(table: str, indexes: Iterable[tuple[str, ...]]) -> None:
    for columns in indexes:
        op.create_index(_name(table, columns), table, list(columns))


def _drop_indexes(table: str, indexes: Iterable[tuple[str, ...]]) -> None:
    for columns in indexes:
        op.drop_index(_name(table, columns), table)


def _make_anew(*first: sa.schema.SchemaItem) -> None:
    """Rebuild the table, because SQLite cannot change a primary key. Entries keep their order."""
    op.create_table(
        "spend_new",
        *first,
        sa.Column("run_id", sa.String(length=64), nullable=False),
        sa.Column("model", sa.String(length=200), nullable=False),
        sa.Column("owner", sa.String(length=128), nullable=False),
        sa.Column("agent", sa.String(length=64), nullable=False),
        sa.Column("operation", sa.String(length=64), nullable=False),
        sa.Column("day", sa.String(length=10), nullable=False),
        sa.Column("input_tokens", sa.Integer(), nullable=False),
        sa.Column("output_tokens", sa.Integer(), nullable=False),
        sa.Column("cost_usd", sa.Float(), nullable=True),
        sa.Column("usage_estimated", sa.Boolean(), nullable=False),
    )
    columns = ", ".join(ENTRY)
    op.execute(f"INSERT INTO spend_new ({columns}) SELECT {columns} FROM spend ORDER BY rowid")  # noqa: S608 - our own names
    op.drop_table("spend")
    op.rename_table("spend_new", "spend")
