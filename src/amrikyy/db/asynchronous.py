"""SQLAlchemy's asynchronous engine without its ORM: 6 MB that its package loads beside it, and no query here uses."""

from amrikyy.packages import modules_only

modules_only("sqlalchemy.ext.asyncio")  # DBOS asks more of it

from sqlalchemy.ext.asyncio.engine import AsyncConnection, AsyncEngine, create_async_engine  # noqa: E402 - after that

__all__ = ["AsyncConnection", "AsyncEngine", "create_async_engine"]
