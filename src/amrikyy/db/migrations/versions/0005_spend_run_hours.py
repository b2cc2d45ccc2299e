"""What was spent, and how runs went, hour by hour."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

COUNTS = ("runs", "failed", "cancelled", "cached", "streamed", "input_tokens", "output_tokens")
BUCKETS = (100, 250, 500, 1000, 2000, 4000, 8000, 15_000, 30_000, 60_000, "all")


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "spend",
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
        sa.PrimaryKeyConstraint("run_id", "model", name=op.f("pk_spend")),
    )
    op.create_index(op.f("ix_spend_owner_day"), "spend", ["owner", "day"])
    op.create_index(op.f("ix_spend_day"), "spend", ["day"])
    op.create_table(
        "run_hours",
        sa.Column("agent", sa.String(length=64), nullable=False),
        sa.Column("operation", sa.String(length=64), nullable=False),
        sa.Column("hour", sa.DateTime(timezone=True), nullable=False),
        *(sa.Column(name, sa.Integer(), nullable=False) for name in COUNTS),
        sa.Column("cost_usd", sa.Float(), nullable=False),
        sa.Column("unpriced", sa.Integer(), nullable=False),
        sa.Column("duration_ms", sa.Float(), nullable=False),
        *(sa.Column(f"under_{bound}", sa.Integer(), nullable=False) for bound in BUCKETS),
        sa.PrimaryKeyConstraint("agent", "operation", "hour", name=op.f("pk_run_hours")),
    )


def downgrade() -> None:
    """Undo."""
    op.drop_table("run_hours")
    op.drop_table("spend")
