"""Alembic's environment: it runs on the connection that it is given, in that connection's transaction."""

from typing import Any, Literal

from alembic import context

from amrikyy.db.moment import Moment
from amrikyy.db.tables import metadata


def _render(kind: str, item: Any, _: Any) -> str | Literal[False]:
    """A revision must not depend on our types, which may change after it was written."""
    return "sa.DateTime(timezone=True)" if kind == "type" and isinstance(item, Moment) else False


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_item=_render,
    render_as_batch=True,  # SQLite alters a table by rebuilding it
    transaction_per_migration=False,
)
context.run_migrations()
