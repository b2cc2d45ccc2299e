"""The fixtures of the identity tests: accounts on each database, with an Argon2 that costs nothing."""

from collections.abc import AsyncIterator, Callable, Iterator

import pytest
from sqlalchemy import event

from amrikyy.auth import Accounts, Authenticator, AuthStore, Passwords, SessionVerifier, Tokens
from amrikyy.db import Database

SECRET = "s" * 40
PASSWORD = "correct horse battery"


class Clock:
    """A monotonic clock that stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s

    def advance(self, seconds: float) -> None:
        self.now_s += seconds


@pytest.fixture
def store(database: Database) -> AuthStore:
    return AuthStore(database)


@pytest.fixture
def tokens() -> Tokens:
    return Tokens(SECRET, access_ttl_s=900, refresh_ttl_s=3600)


@pytest.fixture
def passwords() -> Iterator[Passwords]:
    made = Passwords(time_cost=1, memory_cost_kib=8, parallelism=1)
    yield made
    made.close()


@pytest.fixture
def accounts(store: AuthStore, tokens: Tokens, passwords: Passwords) -> Accounts:
    return Accounts(store, tokens, passwords)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def authenticator(store: AuthStore, tokens: Tokens, clock: Clock) -> AsyncIterator[Authenticator]:
    made = Authenticator(store, SessionVerifier(store, tokens), {}, monotonic=clock)
    yield made
    await made.close()


@pytest.fixture
def queries(database: Database) -> Callable[[], int]:
    """How many SELECTs the database has been asked since the fixture was made."""
    seen: list[str] = []

    @event.listens_for(database.engine.sync_engine, "before_cursor_execute")
    def _see(*arguments: object) -> None:
        statement = str(arguments[2])
        if statement.startswith("SELECT"):
            seen.append(statement)

    return lambda: len(seen)
