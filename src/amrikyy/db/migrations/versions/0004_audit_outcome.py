"""The outcome of acts in the audit log."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    outcome = sa.Column("outcome", sa.String(length=16), nullable=False, server_default="done")
    op.add_column("audit_log", outcome)
    op.create_index(op.f("ix_audit_log_outcome_id"), "audit_log", ["outcome", "id"])


def downgrade() -> None:
    """Undo."""
    op.drop_index(op.f("ix_audit_log_outcome_id"), "audit_log")
    op.drop_column("audit_log", "outcome")
