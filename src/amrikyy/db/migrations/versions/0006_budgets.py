"""Budgets, what their subjects spend, and what is reserved for calls in progress."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "budgets",
        sa.Column("subject", sa.String(length=128), nullable=False),
        sa.Column("period", sa.String(length=8), nullable=False),
        sa.Column("limit_usd", sa.Float(), nullable=True),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("changed_by", sa.String(length=128), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("subject", "period", name=op.f("pk_budgets")),
    )
    op.create_index(op.f("ix_budgets_revision"), "budgets", ["revision"])
    op.create_table(
        "budget_days",
        sa.Column("subject", sa.String(length=128), nullable=False),
        sa.Column("day", sa.String(length=10), nullable=False),
        sa.Column("spent_usd", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("subject", "day", name=op.f("pk_budget_days")),
    )
    op.create_index(op.f("ix_budget_days_day"), "budget_days", ["day"])
    op.create_table(
        "reservations",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("subject", sa.String(length=128), nullable=False),
        sa.Column("amount_usd", sa.Float(), nullable=False),
        sa.Column("holder", sa.String(length=64), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", "subject", name=op.f("pk_reservations")),
    )
    op.create_index(op.f("ix_reservations_holder"), "reservations", ["holder"])
    op.create_index(op.f("ix_reservations_subject"), "reservations", ["subject"])


def downgrade() -> None:
    """Undo."""
    op.drop_table("reservations")
    op.drop_table("budget_days")
    op.drop_table("budgets")
