"""`/api/auth/users`: the users, for administrators."""

from datetime import datetime

from pydantic import ConfigDict, Field, model_validator

from amrikyy.agents.agent import Request
from amrikyy.auth import PasswordReset, User
from amrikyy.auth.roles import Permission, Role
from amrikyy.errors import Conflict, Forbidden, NotFound
from amrikyy.web.endpoint import Answer, Call, Endpoint
from amrikyy.web.fields import DisplayName, Email, NewPassword
from amrikyy.web.paging import NextCursor, page_cursor, page_limit
from amrikyy.web.replies import Success, Wire


class UserRecord(Wire):
    """A user, as an administrator sees it."""

    id: str
    email: str
    name: str | None
    role: Role
    disabled: bool
    created_at: datetime


class ResetLink(Wire):
    """A token with which the user sets a password, once: `POST /api/auth/password/reset`. It is shown only here."""

    token: str
    expires_at: datetime
    url: str | None = Field(description="PASSWORD_RESET_URL with the token behind #, if the server has one.")


class UserReply(Success):
    """One user."""

    user: UserRecord


class NewUserReply(UserReply):
    """A new user, and how to set the password if none was given."""

    reset: ResetLink | None


class ResetReply(Success):
    """How the user sets a new password."""

    reset: ResetLink


class UserPage(Success):
    """A page of users, by e-mail address; those of Supabase Auth, newest first."""

    count: int
    users: list[UserRecord]
    next_cursor: NextCursor


class UserQuery(Request):
    """Which page to list."""

    cursor: str | None = page_cursor(max_length=254)
    limit: int = page_limit()


class NewUser(Request):
    """Who is to be created."""

    model_config = ConfigDict(str_strip_whitespace=False)

    email: Email = Field(examples=["ana@example.com"])
    name: DisplayName | None = None
    role: Role = Field(default=Role.USER, description="No higher than your own.")
    password: NewPassword | None = Field(
        default=None,
        description="At least 10 characters. Without it, the answer has a one-time token to set one.",
    )


class UserChange(Request):
    """What is to change. Fields that are left out stay as they are."""

    role: Role | None = Field(default=None, description="No higher than your own.", examples=["premium"])
    name: DisplayName | None = None
    disabled: bool | None = Field(default=None, description="Disabling ends all sessions.")

    @model_validator(mode="after")
    def _says_something(self) -> "UserChange":
        if self.role is None and self.name is None and self.disabled is None:
            raise ValueError("Say what is to change: role, name or disabled")
        return self


async def list_users(call: Call) -> Answer:
    """All users."""
    query: UserQuery = call.query
    page, next_cursor = await call.runtime.accounts.user_page(query.cursor, query.limit)
    return UserPage(
        count=len(page),
        users=[_record(user) for user in page],
        next_cursor=next_cursor,
    )


async def create_user(call: Call) -> Answer:
    """Create a user."""
    body: NewUser = call.body
    accounts, by = call.runtime.accounts, call.actor
    if body.password is None:
        user, reset = await accounts.invite_user(body.email, body.role, name=body.name, by=by)
        return NewUserReply(user=_record(user), reset=_link(call, reset))
    password = body.password.get_secret_value()
    user = await accounts.create_user(body.email, password, body.role, name=body.name, by=by)
    return NewUserReply(user=_record(user), reset=None)


async def get_user(call: Call) -> Answer:
    """One user."""
    return UserReply(user=_record(await call.runtime.accounts.user(call.params["userId"])))


async def change_user(call: Call) -> Answer:
    """Change a user."""
    body: UserChange = call.body
    user = await call.runtime.accounts.change_user(
        call.params["userId"], role=body.role, name=body.name, disabled=body.disabled, by=call.actor
    )
    return UserReply(user=_record(user))


async def offer_reset(call: Call) -> Answer:
    """Create a one-time token with which the user sets a new password."""
    reset = await call.runtime.accounts.offer_reset(call.params["userId"], by=call.actor)
    return ResetReply(reset=_link(call, reset))


def _record(user: User) -> UserRecord:
    return UserRecord(
        id=user.id,
        email=user.email,
        name=user.name,
        role=user.role,
        disabled=user.disabled_at is not None,
        created_at=user.created_at,
    )


def _link(call: Call, reset: PasswordReset) -> ResetLink:
    page = call.runtime.settings.password_reset_url
    # Behind # it reaches the page, but no server's log.
    url = f"{page}#{reset.token}" if page else None
    return ResetLink(token=reset.token, expires_at=reset.expires_at, url=url)


USERS = [
    Endpoint(method="GET", path="/api/auth/users", handler=list_users, needs=Permission.AGENT_MANAGE, tag="Users",
             summary="List users", query=UserQuery, answer=UserPage),
    Endpoint(method="POST", path="/api/auth/users", handler=create_user, needs=Permission.AGENT_MANAGE, tag="Users",
             summary="Create a user", body=NewUser, answer=NewUserReply, status=201, errors=(Conflict, Forbidden)),
    Endpoint(method="GET", path="/api/auth/users/{userId}", handler=get_user, needs=Permission.AGENT_MANAGE,
             tag="Users", summary="Look up a user", answer=UserReply, errors=(NotFound,)),
    Endpoint(method="PATCH", path="/api/auth/users/{userId}", handler=change_user, needs=Permission.AGENT_MANAGE,
             tag="Users", summary="Change a user's role or name, or lock the user out", body=UserChange,
             answer=UserReply, errors=(NotFound, Conflict, Forbidden),
             description="All of it or nothing, within seconds, also for tokens already issued. Keys that the user "
                         "created keep working: list them with `createdBy`, and revoke those that should not."),
    Endpoint(method="POST", path="/api/auth/users/{userId}/password-reset", handler=offer_reset,
             needs=Permission.AGENT_MANAGE, tag="Users", summary="Make a one-time link to set a password",
             answer=ResetReply, errors=(NotFound, Forbidden),
             description="It works once, until `expiresAt`. A newer one, a new password, a higher role and "
                         "disabling the user void it."),
]  # fmt: skip
