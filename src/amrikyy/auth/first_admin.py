"""The first admin: somebody must be able to log in to a server that has just been installed."""

from dataclasses import dataclass

from amrikyy.auth import generate
from amrikyy.auth.audit import SYSTEM, Act
from amrikyy.auth.fields import check_email
from amrikyy.auth.passwords import Passwords, check_password
from amrikyy.auth.roles import Role
from amrikyy.auth.store import AuthStore
from amrikyy.errors import Conflict

DEFAULT_ADMIN = "admin@example.com"
"""The address of the admin that is created in development; the domain is reserved for examples (RFC 2606)."""


@dataclass(frozen=True, slots=True)
class FirstAdmin:
    """The admin that was created because there was none; `password` only if that was generated as well."""

    email: str
    password: str | None


async def ensure_first_admin(
    store: AuthStore, passwords: Passwords, email: str | None, password: str | None, *, development: bool
) -> FirstAdmin | None:
    """Make an admin if there is none: the given one, or in development one with a new password.

    Of several processes that start at the same time, one makes it.

    Returns:
        who was made, or None.

    Raises:
        ValidationFailed: the given address or password is not acceptable; the fields are the variables' names.
    """
    given = bool(email and password)
    if not (given or development) or await store.users.count_admins():
        return None
    made = None if given else generate.password()
    address = check_email(email, "ADMIN_EMAIL") if given and email else DEFAULT_ADMIN
    chosen = made or password or ""
    check_password(chosen, "ADMIN_PASSWORD")
    hashed = await passwords.hash(chosen)
    try:
        user_id = generate.identifier()
        act = Act(SYSTEM, "user.create", user_id, {"email": address, "role": Role.ADMIN.value, "first": True})
        user = await store.users.add(user_id, address, None, hashed, Role.ADMIN, act=act, if_no_admin=True)
    except Conflict:
        return None  # the address belongs to somebody who is no admin, and is not made one by a setting
    return FirstAdmin(address, made) if user is not None else None
