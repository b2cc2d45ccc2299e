"""Traces, and which trace a workflow belongs to."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "trace_segments",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("trace_id", sa.String(length=32), nullable=False),
        sa.Column("agent", sa.String(length=64), nullable=True),
        sa.Column("operation", sa.String(length=64), nullable=True),
        sa.Column("model", sa.String(length=200), nullable=True),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("began_us", sa.BigInteger(), nullable=False),
        sa.Column("ended_us", sa.BigInteger(), nullable=False),
        sa.Column("input_tokens", sa.Integer(), nullable=False),
        sa.Column("output_tokens", sa.Integer(), nullable=False),
        sa.Column("cost_usd", sa.Float(), nullable=True),
        sa.Column("spans", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_trace_segments"),
    )
    op.create_index("ix_trace_segments_agent_id", "trace_segments", ["agent", "id"])
    op.create_index("ix_trace_segments_trace_id", "trace_segments", ["trace_id"])
    op.add_column("workflows", sa.Column("traceparent", sa.String(length=55), nullable=True))


def downgrade() -> None:
    """Undo."""
    op.drop_column("workflows", "traceparent")
    op.drop_table("trace_segments")
