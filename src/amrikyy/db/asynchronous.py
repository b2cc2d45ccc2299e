"""SQLAlchemy's asynchronous engine without the ORM, which its package would load, too: 6 MB that no query here uses."""

from amrikyy.packages import modules_only

modules_only("sqlalchemy.ext.asyncio")  # DBOS needs more of it

from sqlalchemy.ext.asyncio.engine import AsyncConnection, AsyncEngine, create_async_engine  # noqa: E402 - after that

__all__ = ["AsyncConnection", "AsyncEngine", "create_async_engine"]
