"""Identity: who asks, and what they may do."""

from amrikyy.auth import generate
from amrikyy.auth.audit import Act, Actor, AuditEntry, AuditLog
from amrikyy.auth.authenticator import Authenticator
from amrikyy.auth.directory import Directory, Login, NewKey, PasswordReset
from amrikyy.auth.first_admin import FirstAdmin
from amrikyy.auth.keys import parse_env_keys
from amrikyy.auth.passwords import Passwords
from amrikyy.auth.principal import Principal
from amrikyy.auth.roles import Permission, Role
from amrikyy.auth.service import Accounts
from amrikyy.auth.store import ApiKey, AuthStore, User
from amrikyy.auth.tokens import Tokens
from amrikyy.auth.verifier import SessionVerifier, TokenVerifier

__all__ = [
    "Accounts",
    "Act",
    "Actor",
    "ApiKey",
    "AuditEntry",
    "AuditLog",
    "AuthStore",
    "Authenticator",
    "Directory",
    "FirstAdmin",
    "Login",
    "NewKey",
    "PasswordReset",
    "Passwords",
    "Permission",
    "Principal",
    "Role",
    "SessionVerifier",
    "TokenVerifier",
    "Tokens",
    "User",
    "generate",
    "parse_env_keys",
]
