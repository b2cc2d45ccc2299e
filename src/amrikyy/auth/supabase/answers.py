"""What GoTrue says, in this server's words: its users, and its refusals."""

import structlog

from amrikyy.auth.store import User
from amrikyy.auth.supabase.gotrue import Refused, RemoteUser
from amrikyy.auth.supabase.tokens import name_of, role_of
from amrikyy.auth.user_store import NO_PASSWORD
from amrikyy.errors import AmrikyyError, Forbidden, NotFound, Unauthenticated, ValidationFailed

log = structlog.get_logger(__name__)

WRONG_LOGIN = frozenset(
    {"", "invalid_credentials", "invalid_grant", "user_not_found", "user_banned", "validation_failed"}
)
_WEAK = frozenset({"weak_password", "same_password", "validation_failed"})


def user_of(remote: RemoteUser) -> User:
    """A user of GoTrue's as one of this server's."""
    changed_at = remote.updated_at or remote.created_at
    return User(
        id=remote.id,
        email=remote.email or "",
        name=name_of(remote),
        role=role_of(remote),
        password_hash=NO_PASSWORD,
        disabled_at=changed_at if remote.banned else None,  # Supabase says until when, not since when
        sessions_valid_from=remote.created_at,
        created_at=remote.created_at,
    )


def login_refused(refusal: Refused) -> AmrikyyError:
    """What a refusal of a login means."""
    if refusal.code in WRONG_LOGIN:
        return wrong_login()
    if refusal.code == "email_not_confirmed":
        return Unauthenticated(
            "The e-mail address is not confirmed yet. Follow the link that was sent to it.", code="email_not_confirmed"
        )
    log.warning("supabase_login_refused", code=refusal.code)
    return Unauthenticated(
        f"Supabase Auth does not allow this login ({refusal.code[:60]}); log in with its own client.",
        code="login_refused",
    )


def password_refused(refusal: Refused, field: str) -> AmrikyyError:
    """What a refusal to store something means, most likely that of a password."""
    if refusal.code in _WEAK:
        message = refusal.message or "Supabase does not accept it"
        return ValidationFailed(
            f"Supabase Auth does not accept this: {message}",
            details=[{"field": field, "message": message, "type": refusal.code}],
        )
    log.warning("supabase_change_refused", code=refusal.code, status=refusal.status)
    return Forbidden(f"Supabase Auth does not allow this ({refusal.code[:60]}).", code="change_refused")


def wrong_login() -> Unauthenticated:
    """The same error whether there is no such account, it is disabled, or the password is wrong."""
    return Unauthenticated("The e-mail address or the password is wrong.", code="invalid_login")


def session_over() -> Unauthenticated:
    """The error for a session that cannot continue."""
    return Unauthenticated("This session is over. Log in again with POST /api/auth/login.", code="session_over")


def not_found(who: str) -> NotFound:
    """The error for a user who does not exist."""
    return NotFound(f"There is no user {who[:254]}.", code="user_not_found")
