"""Logging in, staying logged in, logging out."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import func, select, update

from amrikyy.auth import (
    Accounts,
    Act,
    Authenticator,
    AuthStore,
    Passwords,
    Principal,
    Role,
    SessionVerifier,
    Tokens,
    User,
    generate,
    session_store,
)
from amrikyy.auth.audit import OPERATOR
from amrikyy.auth.user_store import UserChange
from amrikyy.db import Database
from amrikyy.db.tables import refresh_tokens, users
from amrikyy.errors import AmrikyyError, Forbidden, Unauthenticated, Unavailable, ValidationFailed
from tests.auth.conftest import PASSWORD, SECRET


@pytest.fixture
async def user(accounts: Accounts) -> User:
    return await accounts.create_user("Ada@Example.com ", PASSWORD, Role.PREMIUM, name="Ada")


@pytest.fixture
def strict(store: AuthStore, tokens: Tokens) -> Authenticator:
    """An authenticator that asks the database each time."""
    return Authenticator(store, SessionVerifier(store, tokens), {}, fresh_s=-1)


async def who(strict: Authenticator, access_token: str) -> Principal:
    return await strict.authenticate(f"Bearer {access_token}".encode(), None)


async def code_of(attempt: Any) -> str:
    with pytest.raises(AmrikyyError) as caught:
        await attempt
    return caught.value.code


async def test_login_begins_a_session(accounts: Accounts, user: User, strict: Authenticator) -> None:
    login = await accounts.login(" ADA@example.com", PASSWORD)
    assert (login.expires_in, login.user.email) == (900, "ada@example.com")
    principal = await who(strict, login.access_token)
    assert (principal.id, principal.kind, principal.role) == (f"user:{user.id}", "user", Role.PREMIUM)
    assert (principal.name, principal.email) == ("Ada", "ada@example.com")


@pytest.mark.parametrize(
    "email", ["nobody@example.com", "no address", "a\x00b@example.com", "x" * 300 + "@example.com"]
)
async def test_login_fails_alike_for_wrong_passwords_unknown_and_disabled_accounts(
    accounts: Accounts, user: User, email: str
) -> None:
    failures = []
    await accounts.create_user("other@example.com", PASSWORD, Role.USER)
    await accounts.change_user("other@example.com", disabled=True)
    for address, password in ((email, PASSWORD), ("ada@example.com", "wrong"), ("other@example.com", PASSWORD)):
        with pytest.raises(Unauthenticated) as caught:
            await accounts.login(address, password)
        failures.append((caught.value.code, caught.value.message))
    assert failures == [failures[0]] * 3
    assert failures[0][0] == "invalid_login"


async def test_login_takes_equally_long_for_unknown_accounts(
    accounts: Accounts, user: User, passwords: Passwords, monkeypatch: pytest.MonkeyPatch
) -> None:
    verified: list[str] = []
    verify = passwords._verify

    async def spy(password: bytes, stored: str) -> bool:
        verified.append(stored)
        return await verify(password, stored)

    monkeypatch.setattr(passwords, "_verify", spy)
    for email in ("ada@example.com", "nobody@example.com", "no address"):
        assert await code_of(accounts.login(email, "wrong")) == "invalid_login"
    known, *decoys = verified
    assert len(decoys) == 2
    assert known not in decoys
    # The same parameters and lengths: the same work.
    shape = [[len(part) if "=" not in part else part for part in stored.split("$")] for stored in verified]
    assert shape == [shape[0]] * 3


async def test_a_refresh_token_gives_new_tokens_of_the_same_session(
    accounts: Accounts, user: User, strict: Authenticator
) -> None:
    login = await accounts.login(user.email, PASSWORD)
    again = await accounts.refresh(login.refresh_token)
    assert again.refresh_token != login.refresh_token
    first, second = await who(strict, login.access_token), await who(strict, again.access_token)
    assert first.session == second.session


async def test_a_reused_refresh_token_ends_its_family(accounts: Accounts, user: User, strict: Authenticator) -> None:
    login, other = await accounts.login(user.email, PASSWORD), await accounts.login(user.email, PASSWORD)
    again = await accounts.refresh(login.refresh_token)
    assert await code_of(accounts.refresh(login.refresh_token)) == "session_over"
    assert await code_of(accounts.refresh(again.refresh_token)) == "session_over"
    assert await code_of(who(strict, again.access_token)) == "session_over"
    assert (await who(strict, other.access_token)).user_id == user.id


async def test_of_parallel_refreshes_with_one_token_at_most_one_succeeds(accounts: Accounts, user: User) -> None:
    login = await accounts.login(user.email, PASSWORD)
    answers = await asyncio.gather(*(accounts.refresh(login.refresh_token) for _ in range(4)), return_exceptions=True)
    refused = [answer for answer in answers if isinstance(answer, BaseException)]
    assert [getattr(answer, "code", repr(answer)) for answer in refused] == ["session_over"] * 3
    winner = next(answer for answer in answers if not isinstance(answer, BaseException))
    assert await code_of(accounts.refresh(winner.refresh_token)) == "session_over"


async def test_an_unknown_or_expired_refresh_token_is_refused(
    store: AuthStore, passwords: Passwords, user: User
) -> None:
    accounts = Accounts(store, Tokens(SECRET, refresh_ttl_s=-1), passwords)
    login = await accounts.login(user.email, PASSWORD)
    for token in (login.refresh_token, generate.refresh_token(), "", "\x00", "\ud800"):
        assert await code_of(accounts.refresh(token)) == "session_over"


async def test_only_hashes_of_refresh_tokens_are_stored(accounts: Accounts, user: User, database: Database) -> None:
    login = await accounts.login(user.email, PASSWORD)
    async with database.connect() as connection:
        row = (await connection.execute(select(refresh_tokens))).one()
    assert row.token_hash == generate.fingerprint(login.refresh_token)
    assert login.refresh_token not in str(row)


async def test_logging_out_ends_this_session_only(accounts: Accounts, user: User, strict: Authenticator) -> None:
    login, other = await accounts.login(user.email, PASSWORD), await accounts.login(user.email, PASSWORD)
    await accounts.logout(await who(strict, login.access_token))
    assert await code_of(who(strict, login.access_token)) == "session_over"
    assert await code_of(accounts.refresh(login.refresh_token)) == "session_over"
    assert (await accounts.refresh(other.refresh_token)).user.id == user.id


async def test_a_logged_out_token_stays_dead_when_its_refresh_tokens_are_deleted(
    store: AuthStore, passwords: Passwords, user: User, strict: Authenticator
) -> None:
    accounts = Accounts(store, Tokens(SECRET, refresh_ttl_s=-1), passwords)
    login = await accounts.login(user.email, PASSWORD)
    await accounts.logout(await who(strict, login.access_token))
    assert await accounts.delete_expired() == 1
    assert await code_of(who(strict, login.access_token)) == "session_over"


async def test_a_key_has_no_session_to_log_out_of_and_no_password(accounts: Accounts) -> None:
    key = Principal(id="key:1", kind="key", role=Role.ADMIN)
    with pytest.raises(Forbidden):
        await accounts.logout(key)
    with pytest.raises(Forbidden):
        await accounts.change_password(key, PASSWORD, "another password")


async def test_changing_the_password_ends_all_other_logins(
    accounts: Accounts, user: User, strict: Authenticator
) -> None:
    mine, other = await accounts.login(user.email, PASSWORD), await accounts.login(user.email, PASSWORD)
    principal = await who(strict, mine.access_token)
    assert await code_of(accounts.change_password(principal, "wrong", "another password")) == "wrong_password"
    with pytest.raises(ValidationFailed):
        await accounts.change_password(principal, PASSWORD, "short")
    new = await accounts.change_password(principal, PASSWORD, "another password")
    assert (await who(strict, new.access_token)).user_id == user.id
    for old in (mine, other):
        assert await code_of(who(strict, old.access_token)) == "session_over"
        assert await code_of(accounts.refresh(old.refresh_token)) == "session_over"
    assert await code_of(accounts.login(user.email, PASSWORD)) == "invalid_login"
    await accounts.login(user.email, "another password")


async def test_a_login_that_is_overtaken_by_a_change_of_password_fails(
    accounts: Accounts, user: User, passwords: Passwords, store: AuthStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    verify = passwords._verify

    async def slow(password: bytes, stored: str) -> bool:
        right = await verify(password, stored)
        await store.users.set_password(user.id, "another hash", act=Act(OPERATOR, "user.set_password"))
        return right

    monkeypatch.setattr(passwords, "_verify", slow)
    assert await code_of(accounts.login(user.email, PASSWORD)) == "invalid_login"


async def test_a_change_of_password_that_is_overtaken_by_another_one_changes_nothing(
    accounts: Accounts,
    user: User,
    passwords: Passwords,
    strict: Authenticator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    principal = await who(strict, (await accounts.login(user.email, PASSWORD)).access_token)
    verify = passwords._verify

    async def slow(password: bytes, stored: str) -> bool:
        right = await verify(password, stored)
        monkeypatch.setattr(passwords, "_verify", verify)
        await accounts.reset_password(user.id, "the operator's password")
        return right

    monkeypatch.setattr(passwords, "_verify", slow)
    assert await code_of(accounts.change_password(principal, PASSWORD, "an intruder's password")) == "session_over"
    assert await code_of(accounts.login(user.email, "an intruder's password")) == "invalid_login"
    await accounts.login(user.email, "the operator's password")


@pytest.mark.parametrize("ending", ["logout", "set_password", "disable"])
async def test_a_refresh_never_slips_past_the_end_of_its_session(
    accounts: Accounts,
    user: User,
    store: AuthStore,
    strict: Authenticator,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    ending: str,
) -> None:
    login = await accounts.login(user.email, PASSWORD)
    principal = await who(strict, login.access_token)
    rotating = asyncio.Event()
    add = session_store._add

    async def slow(*arguments: Any) -> None:
        await add(*arguments)
        rotating.set()
        await asyncio.sleep(0.1)  # in which the new token is written and not yet to be seen

    monkeypatch.setattr(session_store, "_add", slow)
    refreshing = asyncio.create_task(accounts.refresh(login.refresh_token))
    await rotating.wait()
    if ending == "logout":
        await accounts.logout(principal)
    elif ending == "set_password":
        await store.users.set_password(user.id, "another hash", act=Act(OPERATOR, "user.set_password"))
    else:
        await store.users.change(user.id, UserChange(disabled=True), by=OPERATOR)
    assert await code_of(accounts.refresh((await refreshing).refresh_token)) == "session_over"
    alive = select(func.count()).select_from(refresh_tokens).where(refresh_tokens.c.revoked_at.is_(None))
    async with database.connect() as connection:
        assert await connection.scalar(alive) == 0


async def test_tokens_from_before_the_time_from_which_they_count_are_refused(
    accounts: Accounts, user: User, strict: Authenticator, database: Database
) -> None:
    login = await accounts.login(user.email, PASSWORD)
    moved = update(users).values(sessions_valid_from=datetime.now(UTC))  # by the operator, in SQL
    async with database.begin() as connection:
        await connection.execute(moved)
    assert await code_of(who(strict, login.access_token)) == "session_over"


async def test_an_old_hash_is_replaced_at_the_next_login(
    store: AuthStore, tokens: Tokens, accounts: Accounts, user: User
) -> None:
    stronger = Passwords(time_cost=2, memory_cost_kib=8, parallelism=1)
    login = await Accounts(store, tokens, stronger).login(user.email, PASSWORD)
    changed = await accounts.user(user.id)
    assert changed.password_hash != user.password_hash
    assert not stronger.is_outdated(changed.password_hash)
    await Accounts(store, tokens, stronger).login(user.email, PASSWORD)
    assert (await accounts.refresh(login.refresh_token)).user.id == user.id
    stronger.close()


async def test_a_login_succeeds_when_there_is_no_time_to_replace_its_old_hash(
    store: AuthStore, tokens: Tokens, accounts: Accounts, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    stronger = Passwords(time_cost=2, memory_cost_kib=8, parallelism=1)

    async def busy(password: str) -> str:
        raise Unavailable("Too many logins at the same time.", code="login_busy")

    monkeypatch.setattr(stronger, "hash", busy)
    login = await Accounts(store, tokens, stronger).login(user.email, PASSWORD)
    stronger.close()
    assert (await accounts.refresh(login.refresh_token)).user.password_hash == user.password_hash


async def test_expired_refresh_tokens_are_deleted_in_batches(store: AuthStore, user: User) -> None:
    now = datetime.now(UTC)
    for number in range(7):
        expires_at = now + timedelta(hours=1 if number == 0 else -1)
        assert await store.sessions.begin(user, "family", generate.fingerprint(str(number)), expires_at)
    assert await store.sessions.delete_expired(batch=2) == 6
    assert await store.sessions.delete_expired() == 0
