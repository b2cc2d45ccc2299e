"""`/api/auth`: logging in and out, refreshing tokens, changing the password, and identifying the caller."""

from pydantic import ConfigDict, Field, SecretStr

from amrikyy.agents.agent import Request
from amrikyy.auth import Actor, Login, User
from amrikyy.errors import Forbidden, RateLimited, Unauthenticated, Unavailable
from amrikyy.web.endpoint import ANY_CALLER, PUBLIC, Answer, Call, Endpoint
from amrikyy.web.fields import NewPassword
from amrikyy.web.limits import GuessGuard
from amrikyy.web.replies import Success, Wire


class Credentials(Request):
    """The address and the password of the user who logs in."""

    model_config = ConfigDict(str_strip_whitespace=False)  # a password may begin or end with a space

    email: str = Field(min_length=3, max_length=254, examples=["user@example.com"])
    password: SecretStr = Field(min_length=1, max_length=256, examples=["a long password"])


class RefreshToken(Request):
    """The refresh token of the login."""

    refresh_token: SecretStr = Field(min_length=1, max_length=256, examples=["the login's refreshToken"])


class PasswordChange(Request):
    """The old password and the new one."""

    model_config = ConfigDict(str_strip_whitespace=False)

    current_password: SecretStr = Field(min_length=1, max_length=256, examples=["a long password"])
    new_password: NewPassword = Field(examples=["an even longer password"])


class PasswordFromReset(Request):
    """A one-time token from an administrator, and the new password."""

    model_config = ConfigDict(str_strip_whitespace=False)

    token: SecretStr = Field(min_length=1, max_length=256, examples=["the token of the one-time link"])
    new_password: NewPassword = Field(examples=["an even longer password"])


class UserInfo(Wire):
    """A user, as the user may see it."""

    id: str
    email: str
    name: str | None
    role: str
    permissions: list[str]


class LoginReply(Success):
    """The access token goes into `Authorization: Bearer`; the refresh token is good for the next pair, once."""

    token: str
    refresh_token: str
    expires_in: int = Field(description="Seconds until the access token expires.")
    user: UserInfo


class Me(Success):
    """The user or key that the credential belongs to."""

    id: str = Field(description="The owner of the runs that this credential starts.")
    kind: str = Field(description='"user" or "key".')
    user_id: str | None = Field(description="The user's id; null for a key.")
    name: str | None
    email: str | None
    role: str
    permissions: list[str]


class Done(Success):
    """The request has been carried out."""

    message: str


async def login(call: Call) -> Answer:
    """Exchange e-mail address and password for tokens."""
    body: Credentials = call.body
    async with GuessGuard(call, body.email):
        return _reply(await call.runtime.accounts.login(body.email, body.password.get_secret_value()))


async def refresh(call: Call) -> Answer:
    """Exchange a refresh token for new tokens."""
    body: RefreshToken = call.body
    return _reply(await call.runtime.accounts.refresh(body.refresh_token.get_secret_value()))


async def logout(call: Call) -> Answer:
    """End the session that the access token belongs to."""
    token = (call.header(b"authorization") or "").partition(" ")[2].strip()
    await call.runtime.accounts.logout(call.principal, token)
    return Done(message="You are logged out.")


async def change_password(call: Call) -> Answer:
    """Change the password, answering with new tokens; all other sessions end."""
    body: PasswordChange = call.body
    current, new = body.current_password.get_secret_value(), body.new_password.get_secret_value()
    async with GuessGuard(call, call.principal.email):
        return _reply(await call.runtime.accounts.change_password(call.principal, current, new, by=call.actor))


async def redeem_reset(call: Call) -> Answer:
    """Set a password with a one-time token."""
    body: PasswordFromReset = call.body
    where = Actor("", request_id=call.exchange.request_id, address=call.address)
    token, password = body.token.get_secret_value(), body.new_password.get_secret_value()
    async with GuessGuard(call, None):
        await call.runtime.accounts.redeem_reset(token, password, by=where)
    return Done(message="The password is set. Log in with it.")


async def me(call: Call) -> Answer:
    """Describe the caller that the credential belongs to."""
    principal = call.principal
    return Me(
        id=principal.id,
        kind=principal.kind,
        user_id=principal.user_id,
        name=principal.name,
        email=principal.email,
        role=principal.role.value,
        permissions=sorted(permission.value for permission in principal.role.permissions),
    )


def _reply(tokens: Login) -> LoginReply:
    return LoginReply(
        token=tokens.access_token,
        refresh_token=tokens.refresh_token,
        expires_in=tokens.expires_in,
        user=_info(tokens.user),
    )


def _info(user: User) -> UserInfo:
    return UserInfo(
        id=user.id,
        email=user.email,
        name=user.name,
        role=user.role.value,
        permissions=sorted(permission.value for permission in user.role.permissions),
    )


AUTH = [
    Endpoint(method="POST", path="/api/auth/login", handler=login, needs=PUBLIC, tag="Identity", summary="Log in",
             body=Credentials, answer=LoginReply, errors=(Unauthenticated, RateLimited, Unavailable)),
    Endpoint(method="POST", path="/api/auth/refresh", handler=refresh, needs=PUBLIC, tag="Identity",
             summary="Get new tokens", body=RefreshToken, answer=LoginReply, errors=(Unauthenticated, Unavailable),
             description="A refresh token works once. Using one again ends every session that came from its login."),
    Endpoint(method="POST", path="/api/auth/logout", handler=logout, needs=ANY_CALLER, tag="Identity",
             summary="Log out", answer=Done, errors=(Forbidden,)),
    Endpoint(method="POST", path="/api/auth/password", handler=change_password, needs=ANY_CALLER, tag="Identity",
             summary="Change one's password", body=PasswordChange, answer=LoginReply,
             errors=(Forbidden, Unauthenticated),
             description="All sessions end, on every device; the answer begins a new one."),
    Endpoint(method="POST", path="/api/auth/password/reset", handler=redeem_reset, needs=PUBLIC, tag="Identity",
             summary="Set a password with a one-time token", body=PasswordFromReset, answer=Done,
             errors=(Unauthenticated, RateLimited, Unavailable)),
    Endpoint(method="GET", path="/api/auth/me", handler=me, needs=ANY_CALLER, tag="Identity",
             summary="Who the credential belongs to", answer=Me),
]  # fmt: skip
