"""`amrikyy users` and `amrikyy keys`: the operator's access to accounts, directly in the database."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from amrikyy.cli.output import fail, open_accounts

if TYPE_CHECKING:
    from amrikyy.auth import Directory, Role

users = typer.Typer(help="Create, list and change users.", no_args_is_help=True)
keys = typer.Typer(help="Create, list and revoke API keys.", no_args_is_help=True)

MAX_KEY_DAYS = 36_500
"""A century, so that the day on which a key expires is one that there is. The default is never."""

ROLES = "user, premium, admin or internal"
Email = Annotated[str, typer.Argument(help="The user's e-mail address.")]


def _do(work: "Callable[[Directory], Awaitable[Any]]") -> Any:
    async def go() -> Any:
        async with open_accounts() as accounts:
            return await work(accounts)

    return asyncio.run(go())


def _ask_password(prompt: str) -> str:
    """Ask for the password at the terminal, twice; from a pipe, read its first line."""
    if sys.stdin.isatty():
        return str(typer.prompt(prompt, hide_input=True, confirmation_prompt=True))
    return sys.stdin.readline().rstrip("\r\n") or fail("Give --password, or the password as the first line of input.")


def _role(name: str) -> "Role":
    from amrikyy.auth import Role

    try:
        return Role(name.lower())
    except ValueError:
        fail(f"{name!r} is not a role; use {ROLES}.")


def _table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    from rich.console import Console
    from rich.table import Table

    if not rows:
        typer.echo(f"No {title.lower()}.")
        return
    table = Table(box=None, pad_edge=False)
    for column in columns:
        # An id is there to be copied, so that the others give way.
        table.add_column(column, no_wrap=column == "Id", min_width=32 if column == "Id" else None, overflow="fold")
    for row in rows:
        table.add_row(*row)
    console = Console()
    if not console.is_terminal:
        console.width = 1000  # a program reads it
    console.print(table)


def _day(moment: datetime | None) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M") if moment else "-"


@users.command("create")
def create_user(
    email: Email,
    role: Annotated[str, typer.Option(help=f"{ROLES}.")] = "user",
    name: Annotated[str | None, typer.Option(help="The user's name.")] = None,
    password: Annotated[
        str | None,
        typer.Option(help="Asked for, or read from a pipe, if not given: that keeps it out of the shell's history."),
    ] = None,
) -> None:
    """Create a user."""
    chosen_role = _role(role)
    chosen = password or _ask_password("Password")
    user = _do(lambda accounts: accounts.create_user(email, chosen, chosen_role, name=name))
    typer.echo(f"Created {user.email} ({user.role.value}), id {user.id}.")


@users.command("list")
def list_users() -> None:
    """List all users."""

    async def every(accounts: "Directory") -> list[list[str]]:
        return [
            [user.email, user.role.value, "disabled" if user.disabled_at else "active", _day(user.created_at), user.id]
            async for user in accounts.each_user()
        ]

    _table("Users", ["E-mail", "Role", "State", "Created (UTC)", "Id"], _do(every))


@users.command("set-role")
def set_role(email: Email, role: Annotated[str, typer.Argument(help=f"{ROLES}.")]) -> None:
    """Give a user another role. It takes effect within seconds, even for tokens already issued."""
    chosen_role = _role(role)
    user = _do(lambda accounts: accounts.change_user(email, role=chosen_role))
    typer.echo(f"{user.email} is now {user.role.value}.")


@users.command("disable")
def disable(email: Email) -> None:
    """Lock a user out. Open sessions end within seconds."""
    _do(lambda accounts: accounts.change_user(email, disabled=True))
    typer.echo(f"{email} is disabled.")


@users.command("enable")
def enable(email: Email) -> None:
    """Let a disabled user in again."""
    _do(lambda accounts: accounts.change_user(email, disabled=False))
    typer.echo(f"{email} is enabled.")


@users.command("reset-password")
def reset_password(
    email: Email,
    password: Annotated[
        str | None,
        typer.Option(help="Asked for, or read from a pipe, if not given: that keeps it out of the shell's history."),
    ] = None,
) -> None:
    """Set a new password. All of the user's sessions end."""
    chosen = password or _ask_password("New password")
    _do(lambda accounts: accounts.reset_password(email, chosen))
    typer.echo(f"{email} has a new password, and all sessions have ended.")


@keys.command("create")
def create_key(
    name: Annotated[str, typer.Argument(help="What the key is for.")],
    role: Annotated[str, typer.Option(help=f"{ROLES}.")] = "user",
    days: Annotated[
        int | None, typer.Option(min=1, max=MAX_KEY_DAYS, help="Days until it expires; by default it never does.")
    ] = None,
) -> None:
    """Create an API key. It is shown only now; only its hash is stored."""
    chosen_role = _role(role)
    expires_at = datetime.now(UTC) + timedelta(days=days) if days else None
    made = _do(lambda accounts: accounts.create_key(name, chosen_role, expires_at=expires_at))
    typer.echo(made.key)
    typer.secho(f"Key {made.info.id} ({made.info.role.value}): keep it now, it is not shown again.", dim=True, err=True)


@keys.command("list")
def list_keys() -> None:
    """List all API keys; never the keys themselves."""

    async def every(accounts: "Directory") -> list[list[str]]:
        now = datetime.now(UTC)
        return [
            [
                key.name,
                f"{key.prefix}…",
                key.role.value,
                "revoked" if key.revoked_at else "expired" if key.expires_at and key.expires_at <= now else "active",
                _day(key.expires_at),
                _day(key.last_used_at),
                key.id,
            ]
            async for key in accounts.each_key()
        ]

    _table("Keys", ["Name", "Key", "Role", "State", "Expires", "Last used", "Id"], _do(every))


@keys.command("revoke")
def revoke_key(key_id: Annotated[str, typer.Argument(metavar="ID", help="From `amrikyy keys list`.")]) -> None:
    """Revoke an API key. It stops working within seconds."""
    _do(lambda accounts: accounts.revoke_key(key_id))
    typer.echo(f"Key {key_id} is revoked.")
