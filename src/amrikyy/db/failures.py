"""Distinguishes a database that is unavailable from a bug of our own."""

import sqlite3
from socket import gaierror

from sqlalchemy.exc import DBAPIError, InterfaceError
from sqlalchemy.exc import TimeoutError as PoolTimeout

_SQLSTATES = (
    "08",  # the connection broke
    "25006",  # read-only: a replica, or a primary that was demoted
    "28",  # the login was refused
    "3D",  # there is no such database
    "40",  # the transaction was rolled back because of another one; it may be retried
    "53",  # out of connections, memory or disk
    "57",  # shutting down, starting up, or the statement timed out
    "58",  # a system error of the server
)
"""Classes and codes of PostgreSQL's appendix A whose cause is not the statement."""

_SQLITE = ("BUSY", "LOCKED", "CANTOPEN", "IOERR", "FULL", "READONLY", "CORRUPT", "NOTADB", "PROTOCOL", "NOMEM")
"""SQLite's result codes, without the prefix; sqlite3 raises OperationalError for a wrong table name as well."""

_CURES = {
    "28P01": "Correct the user or the password.",
    "28000": "Correct the user, or let the server's pg_hba.conf admit it.",
    "3D000": "Correct its name, or make it with `createdb`.",
}
"""By PostgreSQL's codes, for whoever configures the connection."""

_NOT_FOUND = (ConnectionRefusedError, TimeoutError, gaierror, OSError)
"""These alone, not what is derived from them: a plain OSError is that of several addresses, or of the way there."""


def is_unavailable(error: BaseException) -> bool:
    """Whether the error means that the database cannot be reached or used, whatever the statement was."""
    # OSError includes ConnectionError, TimeoutError, and those of name resolution and TLS.
    if isinstance(error, (PoolTimeout, OSError)):
        return True
    if not isinstance(error, DBAPIError):
        return _is_sqlites(error)
    if error.connection_invalidated:
        return True
    if isinstance(error, InterfaceError):
        # asyncpg's error for a value of the wrong type, which is a bug of ours.
        return type(getattr(error.orig, "__cause__", None)).__name__ != "DataError"
    sqlstate = getattr(error.orig, "sqlstate", None)
    if isinstance(sqlstate, str):
        return sqlstate.startswith(_SQLSTATES)
    return _is_sqlites(error.orig)


def is_damaged(error: BaseException) -> bool:
    """Whether SQLite says that the file is damaged, or no database at all, in this error or in one that led to it."""
    known: BaseException | None = error
    while known is not None:
        cause = known.orig if isinstance(known, DBAPIError) else known
        if getattr(cause, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            return True
        known = known.__cause__ or known.__context__
    return False


def reason(error: BaseException) -> str:
    """The cause in one line for the log, without the statement and its parameters."""
    cause = _cause(error)
    lines = str(cause).splitlines()
    return f"{type(cause).__name__}: {lines[0] if lines else 'no message'}"[:300]


def advice(error: BaseException) -> str:
    """The cause, and what to do if it does not say that itself, in sentences for whoever configures the connection."""
    cause = _cause(error)
    said = str(cause) or "it does not answer in time"
    if type(cause) in _NOT_FOUND:
        return f"{said}. Is it running, and are the host and the port right?"
    return f"{said}. {_CURES.get(getattr(cause, 'sqlstate', ''), '')}".rstrip()


def _cause(error: BaseException) -> BaseException:
    """The driver's error: SQLAlchemy's adds the statement, and a link to its own documentation."""
    return error.orig if isinstance(error, DBAPIError) and error.orig is not None else error


def _is_sqlites(error: BaseException | None) -> bool:
    name = getattr(error, "sqlite_errorname", None)
    return isinstance(name, str) and name.removeprefix("SQLITE_").startswith(_SQLITE)
