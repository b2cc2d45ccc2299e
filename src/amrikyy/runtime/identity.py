"""Identity: the accounts of the database or of Supabase, and what verifies their tokens and keys."""

from collections.abc import Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING

import structlog

from amrikyy.auth import (
    Accounts,
    Authenticator,
    AuthStore,
    Directory,
    Passwords,
    Role,
    SessionVerifier,
    Tokens,
    generate,
    parse_env_keys,
)
from amrikyy.db import Database
from amrikyy.runtime.proxy import proxy_of
from amrikyy.settings import MIN_JWT_SECRET, ConfigurationError, Settings, reveal

if TYPE_CHECKING:
    from amrikyy.auth.supabase import GoTrue

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Identity:
    """The accounts, and what recognises callers by their credentials; `supabase` is set if it keeps the users."""

    accounts: Directory
    authenticator: Authenticator
    supabase: "GoTrue | None"


def open_identity(settings: Settings, database: Database, stack: AsyncExitStack) -> Identity:
    """Open what the settings name.

    Raises:
        ConfigurationError: VALID_API_KEYS cannot be read, or there is no sound JWT_SECRET.
    """
    store = AuthStore(database)
    try:
        env_keys = parse_env_keys(reveal(settings.valid_api_keys) or "")
    except ValueError as error:
        raise ConfigurationError(str(error)) from None
    if settings.supabase_url:
        return _open_supabase(settings.supabase_url, settings, store, env_keys, stack)
    try:
        tokens = Tokens(_jwt_secret(settings), settings.access_token_ttl_s, settings.refresh_token_ttl_s)
    except ValueError as error:  # the commands for users and keys do without the checks of a server's start
        raise ConfigurationError(str(error)) from None
    passwords = Passwords()
    stack.callback(passwords.close)
    authenticator = Authenticator(store, SessionVerifier(store, tokens), env_keys)
    stack.push_async_callback(authenticator.close)
    return Identity(Accounts(store, tokens, passwords), authenticator, supabase=None)


def _open_supabase(
    url: str, settings: Settings, store: AuthStore, env_keys: Mapping[str, Role], stack: AsyncExitStack
) -> Identity:
    # Loaded only where Supabase keeps the users: with the cryptography of its tokens it takes 10 MB.
    from amrikyy.auth.supabase import GoTrue, SupabaseAccounts, SupabaseTokens

    anon_key, service_role_key = reveal(settings.supabase_anon_key), reveal(settings.supabase_service_role_key)
    supabase = GoTrue(url, anon_key or "", service_role_key, proxy=proxy_of(settings))
    stack.push_async_callback(supabase.close)
    tokens = SupabaseTokens(supabase, reveal(settings.supabase_jwt_secret))
    stack.push_async_callback(tokens.close)
    authenticator = Authenticator(store, tokens, env_keys)
    stack.push_async_callback(authenticator.close)
    return Identity(SupabaseAccounts(store, supabase, tokens), authenticator, supabase)


def _jwt_secret(settings: Settings) -> str:
    """The configured secret; in development one is made at the first start and kept, so that tokens outlive it."""
    if settings.jwt_secret is not None:
        return settings.jwt_secret.get_secret_value()
    path = settings.data_dir / "jwt_secret"
    try:
        secret = _kept_secret(path)
    except OSError as error:
        raise ConfigurationError(
            f"DATA_DIR: {path} can be neither read nor made: {error.strerror}. Let this user read and write in that "
            "folder, or set JWT_SECRET."
        ) from None
    if len(secret) < MIN_JWT_SECRET:
        raise ConfigurationError(
            f"DATA_DIR: the secret in {path} is shorter than {MIN_JWT_SECRET} characters. Delete the file, and another "
            "is made, with which users log in again; or set JWT_SECRET."
        )
    return secret


def _kept_secret(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace").strip()
    except FileNotFoundError:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write_whole(path, generate.jwt_secret())
        log.warning(
            "jwt_secret_made", path=str(path), hint="production needs JWT_SECRET; `amrikyy secrets` generates one"
        )
        return path.read_text("utf-8").strip()


def _write_whole(path: Path, secret: str) -> None:
    """Write a file for this user only, unless another process was faster; nobody ever finds a part of it."""
    with NamedTemporaryFile("w", dir=path.parent) as file:  # for this user only
        file.write(secret)
        file.flush()
        with suppress(FileExistsError):
            path.hardlink_to(file.name)
