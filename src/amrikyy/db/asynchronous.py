"""SQLAlchemy's asynchronous engine without its ORM: 6 MB that its package loads beside it, and no query here uses."""

import sys
from importlib import import_module
from importlib.util import find_spec, module_from_spec
from typing import Any

_PACKAGE = "sqlalchemy.ext.asyncio"


def _load_engine() -> None:
    """Load the module of the engine, and leave its package to be run when more is asked of it; DBOS does."""
    spec = find_spec(_PACKAGE)
    if _PACKAGE in sys.modules or spec is None or spec.loader is None:
        return
    run, package = spec.loader.exec_module, module_from_spec(spec)

    def getattr_of_package(name: str) -> Any:
        del vars(package)["__getattr__"]
        run(package)
        return getattr(package, name)

    sys.modules[_PACKAGE] = package
    import_module(f"{_PACKAGE}.engine")
    vars(package)["__getattr__"] = getattr_of_package  # PEP 562


_load_engine()

from sqlalchemy.ext.asyncio.engine import AsyncConnection, AsyncEngine, create_async_engine  # noqa: E402 - of what was loaded

__all__ = ["AsyncConnection", "AsyncEngine", "create_async_engine"]
