"""The directory of users that Supabase Auth keeps."""

import re
from collections.abc import Awaitable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

from amrikyy.auth.audit import OPERATOR, Act, Actor
from amrikyy.auth.directory import PasswordReset, wrong_cursor
from amrikyy.auth.fields import check_email, check_name, normal_email
from amrikyy.auth.first_admin import FirstAdmin
from amrikyy.auth.passwords import check_password
from amrikyy.auth.roles import Role
from amrikyy.auth.store import User
from amrikyy.auth.supabase.answers import not_found, password_refused, user_of
from amrikyy.auth.supabase.gotrue import FOREVER, Refused
from amrikyy.auth.supabase.sessions import SupabaseSessions
from amrikyy.errors import Conflict, Forbidden

T = TypeVar("T")

RESET_TTL = timedelta(hours=1)
"""How long a recovery token is good unless the project says otherwise."""

MAX_LOOKED_THROUGH = 20_000
"""Users among whom another admin is looked for, the newest first; a page of 200 takes some tens of milliseconds."""

_CURSOR = re.compile(r"([1-9]\d{0,8})\.([1-9]\d?|1\d\d|200)", re.ASCII)


class SupabaseAccounts(SupabaseSessions):
    """Users, passwords and sessions are Supabase Auth's; roles are in its `app_metadata.role`; API keys are here.

    Whatever changes somebody else needs SUPABASE_SERVICE_ROLE_KEY, and is refused without it. It is written into the
    audit log before Supabase is asked, so an act that failed there stands in the log as well. The last admin stays:
    Supabase knows of none, so its users are looked through for another one. Two who are demoted at the same moment
    are not noticed; whoever has Supabase's dashboard makes an admin there.
    """

    async def create_user(
        self, email: str, password: str | None, role: Role, *, name: str | None = None, by: Actor = OPERATOR
    ) -> User:
        """Create a user, whose address counts as confirmed; without a password it has one that nobody knows.

        Raises:
            ValidationFailed: the address, the name or the password is not acceptable.
            Forbidden: the role is higher than `by`'s own, or this server may not administer.
            Conflict: the address is taken.
        """
        address = check_email(email)
        attributes: dict[str, Any] = {"email": address, "email_confirm": True, "app_metadata": {"role": role.value}}
        if name:
            attributes["user_metadata"] = {"name": check_name(name)}
        if password is not None:
            check_password(password)
            attributes["password"] = password
        self._check_may_administer()
        act = Act(by, "user.create", details={"email": address, "role": role.value})
        await self._check_rank(act, role)
        await self._store.audit.record(act)
        try:
            return user_of(await self._gotrue.create(attributes))
        except Refused as refusal:
            if refusal.code in ("email_exists", "user_already_exists") or (refusal.status == 422 and not refusal.code):
                raise Conflict(
                    f"There is already a user with the e-mail address {address}.", code="user_exists"
                ) from None
            raise password_refused(refusal, "password") from None

    async def user(self, who: str) -> User:
        """The user with that id or e-mail address. Raises NotFound."""
        self._check_may_administer()
        address = normal_email(who)
        if address is not None:
            number = 1
            while found := await self._known(who, self._gotrue.page(number, 100, containing=address)):
                for user in found:
                    if (user.email or "").lower() == address:
                        return user_of(user)
                number += 1
                if len(found) < 100 or number > 10:  # a longer list is that of a server which ignores the filter
                    break
        elif _is_uuid(who):
            return user_of(await self._known(who, self._gotrue.get(who)))
        raise not_found(who)

    async def user_page(self, cursor: str | None, limit: int) -> tuple[list[User], str | None]:
        """A page of users, newest first, and the cursor of the next one; None on the last.

        A cursor holds the size of the first page too, which counts for all that follow it.

        Raises:
            ValidationFailed: the cursor is none of ours.
        """
        self._check_may_administer()
        number, size = 1, limit
        if cursor is not None:
            match = _CURSOR.fullmatch(cursor)
            if match is None:
                raise wrong_cursor()
            number, size = int(match[1]), int(match[2])
        found = await self._known("on this page", self._gotrue.page(number, size))
        return [user_of(user) for user in found], f"{number + 1}.{size}" if len(found) >= size else None

    async def change_user(
        self,
        who: str,
        *,
        role: Role | None = None,
        name: str | None = None,
        disabled: bool | None = None,
        by: Actor = OPERATOR,
    ) -> User:
        """Change what is given, all of it or nothing; it counts within seconds, also for tokens already issued.

        The sessions of a disabled user rest until it is enabled. Keys that it made go on. A name the user itself may
        change again. Disabling, like a higher role, voids what `offer_reset` gave out.

        Raises:
            NotFound: there is no such user.
            Forbidden: the role, or the user's present one, is higher than `by`'s own.
            ValidationFailed: the name is not acceptable.
            Conflict: it is the last admin, as far as can be seen.
        """
        wanted: dict[str, Any] = {}
        if role is not None:
            wanted["app_metadata"] = {"role": role.value}
        if name is not None:
            wanted["user_metadata"] = {"name": check_name(name)}
        if disabled is not None:
            wanted["ban_duration"] = FOREVER if disabled else "none"
        user = await self.user(who)
        given = {"role": role, "name": name, "disabled": disabled}
        act = Act(by, "user.change", user.id, {field: value for field, value in given.items() if value is not None})
        await self._check_rank(act, user.role)
        if role is not None:
            await self._check_rank(act, role)
        if disabled or (role is not None and not Role.ADMIN.at_most(role)):
            await self._keep_an_admin(user, by)
        voids = bool(disabled) or (role is not None and not role.at_most(user.role))
        return await self._update(user, wanted, act, voids_resets=voids)

    async def reset_password(self, who: str, password: str, *, by: Actor = OPERATOR) -> None:
        """Set a password and end all sessions.

        Raises:
            NotFound: there is no such user.
            Forbidden: the user's role is higher than `by`'s own.
            ValidationFailed: the password is not acceptable.
        """
        check_password(password)
        user = await self.user(who)
        act = Act(by, "user.set_password", user.id)
        await self._check_rank(act, user.role)
        await self._update(user, {"password": password}, act)

    async def offer_reset(self, who: str, *, by: Actor = OPERATOR) -> PasswordReset:
        """A token with which somebody may set the user's password, once. Tokens offered before are void.

        Raises:
            NotFound: there is no such user.
            Conflict: it has no e-mail address.
            Forbidden: the user's role is higher than `by`'s own.
        """
        user = await self.user(who)
        act = Act(by, "user.offer_reset", user.id)
        await self._check_rank(act, user.role)
        if not user.email:
            raise Conflict("This user has no e-mail address, and so no password.", code="no_password")
        await self._store.audit.record(act)
        token = await self._known(who, self._gotrue.recovery_token(user.email))
        return PasswordReset(token, datetime.now(UTC) + RESET_TTL)

    async def ensure_first_admin(
        self, email: str | None, password: str | None, *, development: bool
    ) -> FirstAdmin | None:
        """Nobody is made: the first admin is a user of the project whose `app_metadata.role` says so."""
        return None

    async def has_admin(self) -> bool:
        """Taken to be so: who is one is seen to in Supabase's dashboard."""
        return True

    async def _keep_an_admin(self, user: User, by: Actor) -> None:
        if not _is_active_admin(user):
            return
        if by.id.startswith("user:") and by.id != f"user:{user.id}" and by.role and Role.ADMIN.at_most(by.role):
            return  # there is whoever asks
        looked_through = 0
        async for other in self.each_user():
            if other.id != user.id and _is_active_admin(other):
                return
            looked_through += 1
            if looked_through >= MAX_LOOKED_THROUGH:
                raise Conflict(
                    f"There is no other admin among the newest {looked_through} users. If there is one, have them do "
                    "this, or use Supabase's dashboard.",
                    code="last_admin",
                )
        raise Conflict("This is the last admin. Make somebody else an admin first.", code="last_admin")

    async def _update(self, user: User, attributes: dict[str, Any], act: Act, *, voids_resets: bool = False) -> User:
        await self._store.audit.record(act)
        if voids_resets and user.email:
            await self._known(user.id, self._gotrue.recovery_token(user.email))  # the newest, which nobody sees, counts
        return user_of(await self._known(user.id, self._gotrue.update(user.id, attributes)))

    async def _known(self, who: str, asking: Awaitable[T]) -> T:
        try:
            return await asking
        except Refused as refusal:
            if refusal.status == 404:
                raise not_found(who) from None
            raise password_refused(refusal, "password") from None

    def _check_may_administer(self) -> None:
        if not self._gotrue.administers:
            raise Forbidden(
                "Supabase Auth keeps the users, and this server cannot administer them without "
                "SUPABASE_SERVICE_ROLE_KEY.",
                code="users_elsewhere",
            )


def _is_active_admin(user: User) -> bool:
    return Role.ADMIN.at_most(user.role) and user.disabled_at is None


def _is_uuid(text: str) -> bool:
    try:
        return str(UUID(text)) == text.lower()
    except ValueError:
        return False
