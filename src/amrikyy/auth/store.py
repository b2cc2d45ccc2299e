"""Everything that identity keeps in the database."""

from amrikyy.auth.audit import AuditLog
from amrikyy.auth.key_store import ApiKey, KeyStore
from amrikyy.auth.session_store import Session, SessionStore
from amrikyy.auth.user_store import User, UserStore
from amrikyy.db.engine import Database

__all__ = ["ApiKey", "AuthStore", "Session", "User"]


class AuthStore:
    """The tables of identity; the only SQL of this package is in their modules."""

    def __init__(self, database: Database) -> None:
        self.users = UserStore(database)
        self.keys = KeyStore(database)
        self.sessions = SessionStore(database)
        self.audit = AuditLog(database)
