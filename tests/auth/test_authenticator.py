"""From the two headers to a principal."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from amrikyy.auth import (
    Accounts,
    Authenticator,
    AuthStore,
    Permission,
    Principal,
    Role,
    SessionVerifier,
    Tokens,
    User,
    generate,
)
from amrikyy.auth.authenticator import FRESH_S, LATELY_S
from amrikyy.db import Database, open_database
from amrikyy.db.tables import api_keys
from amrikyy.errors import Unauthenticated, Unavailable
from tests.auth.conftest import PASSWORD, SECRET, Clock


@pytest.fixture
async def user(accounts: Accounts) -> User:
    return await accounts.create_user("ada@example.com", PASSWORD, Role.PREMIUM)


async def bearer(accounts: Accounts) -> bytes:
    return f"Bearer {(await accounts.login('ada@example.com', PASSWORD)).access_token}".encode()


async def refusal(attempt: Coroutine[Any, Any, Principal]) -> str:
    with pytest.raises(Unauthenticated) as caught:
        await attempt
    return caught.value.code


@pytest.mark.parametrize(
    ("authorization", "api_key", "code"),
    [
        (None, None, "missing_credential"),
        (b"", None, "missing_credential"),
        (None, b"", "missing_credential"),
        (b"Bearer x", b"x", "ambiguous_credentials"),
        (b"Bearer", None, "malformed_authorization"),
        (b"Bearer  ", None, "malformed_authorization"),
        (b"Basic dTpw", None, "malformed_authorization"),
        (b"Bearer api_" + b"1" * 32, None, "malformed_authorization"),
        (b"Bearer \xff\xfe", None, "invalid_token"),
        (b"bearer a.b.c", None, "invalid_token"),
        (None, b"\xff\x00", "invalid_api_key"),
        (None, b"api_" + b"0" * 32, "invalid_api_key"),
        (None, b"x" * 9000, "invalid_credential"),
    ],
)
async def test_a_bad_credential_is_refused_with_a_code_of_its_own(
    authenticator: Authenticator, authorization: bytes | None, api_key: bytes | None, code: str
) -> None:
    assert authenticator.cached(authorization, api_key) is None
    assert await refusal(authenticator.authenticate(authorization, api_key)) == code


async def test_a_key_is_its_owner_until_it_is_revoked(accounts: Accounts, authenticator: Authenticator) -> None:
    made = await accounts.create_key("deploy", Role.PREMIUM)
    principal = await authenticator.authenticate(None, made.key.encode())
    assert (principal.id, principal.kind, principal.name) == (f"key:{made.info.id}", "key", "deploy")
    assert Permission.AGENT_STREAMING in principal.role.permissions
    assert authenticator.cached(None, made.key.encode()) is principal


async def test_a_revoked_key_stops_working_within_seconds(
    accounts: Accounts, authenticator: Authenticator, clock: Clock
) -> None:
    made = await accounts.create_key("deploy", Role.USER)
    key = made.key.encode()
    await authenticator.authenticate(None, key)
    await accounts.revoke_key(made.info.id)
    clock.advance(FRESH_S)
    assert authenticator.cached(None, key) is not None
    clock.advance(0.01)
    assert authenticator.cached(None, key) is None
    assert await refusal(authenticator.authenticate(None, key)) == "invalid_api_key"


async def test_an_answer_is_as_old_as_its_question(
    accounts: Accounts, store: AuthStore, authenticator: Authenticator, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = (await accounts.create_key("deploy", Role.USER)).key.encode()
    by_hash = store.keys.by_hash

    async def slow(key_hash: str) -> object:
        found = await by_hash(key_hash)
        clock.advance(FRESH_S + 0.01)  # in which it may have been revoked
        return found

    monkeypatch.setattr(store.keys, "by_hash", slow)
    await authenticator.authenticate(None, key)
    assert authenticator.cached(None, key) is None


async def test_wrong_expired_and_revoked_keys_are_not_told_apart(
    accounts: Accounts, authenticator: Authenticator, database: Database
) -> None:
    expired, revoked = await accounts.create_key("a", Role.USER), await accounts.create_key("b", Role.USER)
    await accounts.revoke_key(revoked.info.id)
    past = datetime.now(UTC) - timedelta(seconds=1)
    async with database.begin() as connection:
        await connection.execute(update(api_keys).where(api_keys.c.id == expired.info.id).values(expires_at=past))
    answers = []
    for key in (generate.api_key(), expired.key, revoked.key):
        with pytest.raises(Unauthenticated) as caught:
            await authenticator.authenticate(None, key.encode())
        answers.append((caught.value.code, caught.value.message))
    assert answers == [answers[0]] * 3


async def test_who_was_known_lately_is_enough_where_that_is_allowed_and_nothing_can_be_checked(
    accounts: Accounts, authenticator: Authenticator, store: AuthStore, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    created, other = await accounts.create_key("prometheus", Role.ADMIN), await accounts.create_key("b", Role.ADMIN)
    key, never_used = created.key.encode(), other.key.encode()

    async def is_away(_: str) -> None:
        raise Unavailable("The database is away.")

    async def hangs(_: str) -> None:
        await asyncio.sleep(30)

    known = await authenticator.authenticate(None, key, or_lately=True)
    await authenticator.authenticate(None, never_used)  # elsewhere, which does not count
    for by_hash in (is_away, hangs):
        with monkeypatch.context() as away:
            away.setattr(store.keys, "by_hash", by_hash)
            away.setattr("amrikyy.auth.authenticator.CHECKED_WITHIN_S", 0.05)
            clock.advance(FRESH_S + 1)
            assert authenticator.cached(None, key) is None
            assert await authenticator.authenticate(None, key, or_lately=True) == known
            checks = list(authenticator._checking.values())
            for check in checks:
                check.cancel()
            await asyncio.gather(*checks, return_exceptions=True)
    monkeypatch.setattr(store.keys, "by_hash", is_away)
    for credential, or_lately in ((key, False), (never_used, True)):
        with pytest.raises(Unavailable):
            await authenticator.authenticate(None, credential, or_lately=or_lately)
    clock.advance(LATELY_S)
    with pytest.raises(Unavailable):
        await authenticator.authenticate(None, key, or_lately=True)


async def test_a_key_that_was_refused_was_not_known_lately(
    accounts: Accounts, authenticator: Authenticator, store: AuthStore, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    created = await accounts.create_key("prometheus", Role.ADMIN)
    key = created.key.encode()
    await authenticator.authenticate(None, key, or_lately=True)
    await accounts.revoke_key(created.info.id)
    clock.advance(FRESH_S + 1)
    assert await refusal(authenticator.authenticate(None, key, or_lately=True)) == "invalid_api_key"

    async def is_away(_: str) -> None:
        raise Unavailable("The database is away.")

    monkeypatch.setattr(store.keys, "by_hash", is_away)
    clock.advance(FRESH_S + 1)
    with pytest.raises(Unavailable):
        await authenticator.authenticate(None, key, or_lately=True)


async def test_a_remembered_key_expires_on_time(accounts: Accounts, authenticator: Authenticator) -> None:
    expires_at = datetime.now(UTC) + timedelta(seconds=2)
    key = (await accounts.create_key("short", Role.USER, expires_at=expires_at)).key.encode()
    await authenticator.authenticate(None, key)
    assert authenticator.cached(None, key) is not None
    await asyncio.sleep(expires_at.timestamp() - time.time() + 0.01)
    assert authenticator.cached(None, key) is None
    assert await refusal(authenticator.authenticate(None, key)) == "invalid_api_key"


async def test_a_demoted_user_loses_permissions(
    accounts: Accounts, authenticator: Authenticator, clock: Clock, user: User
) -> None:
    token = await bearer(accounts)
    assert Permission.AGENT_STREAMING in (await authenticator.authenticate(token, None)).role.permissions
    await accounts.change_user(user.id, role=Role.USER)
    clock.advance(FRESH_S + 0.01)
    assert authenticator.cached(token, None) is None
    assert Permission.AGENT_STREAMING not in (await authenticator.authenticate(token, None)).role.permissions


async def test_a_disabled_user_is_out_within_seconds(
    accounts: Accounts, authenticator: Authenticator, clock: Clock, user: User
) -> None:
    token = await bearer(accounts)
    await authenticator.authenticate(token, None)
    await accounts.change_user(user.id, disabled=True)
    clock.advance(FRESH_S + 0.01)
    assert await refusal(authenticator.authenticate(token, None)) == "account_disabled"
    await accounts.change_user(user.id, disabled=False)
    clock.advance(FRESH_S + 0.01)
    assert await refusal(authenticator.authenticate(token, None)) == "session_over"


async def test_a_token_of_a_user_who_is_gone_or_of_another_users_session_is_refused(
    accounts: Accounts, authenticator: Authenticator, tokens: Tokens, user: User
) -> None:
    other = await accounts.create_user("other@example.com", PASSWORD, Role.ADMIN)
    session = tokens.verify((await accounts.login(user.email, PASSWORD)).access_token).session
    for user_id in ("gone", other.id):
        token = f"Bearer {tokens.issue(user_id, session)}".encode()
        assert await refusal(authenticator.authenticate(token, None)) == "session_over"


async def test_an_expired_token_is_refused_although_it_was_remembered(
    store: AuthStore, accounts: Accounts, user: User, passwords: Any, clock: Clock
) -> None:
    tokens = Tokens(SECRET, access_ttl_s=-4)  # expired, and within what two clocks may differ
    login = await Accounts(store, tokens, passwords).login(user.email, PASSWORD)
    authenticator = Authenticator(store, SessionVerifier(store, tokens), {}, monotonic=clock)
    token = f"Bearer {login.access_token}".encode()
    await authenticator.authenticate(token, None)
    assert authenticator.cached(token, None) is None


async def test_many_checks_of_one_credential_share_one_query_and_later_ones_need_none(
    accounts: Accounts, authenticator: Authenticator, clock: Clock, user: User, queries: Callable[[], int]
) -> None:
    token = await bearer(accounts)
    before = queries()
    principals = await asyncio.gather(*(authenticator.authenticate(token, None) for _ in range(50)))
    assert queries() == before + 1
    assert {principal.id for principal in principals} == {f"user:{user.id}"}
    assert authenticator.cached(token, None) == principals[0]
    assert queries() == before + 1


async def test_whoever_leaves_while_waiting_takes_nobody_along(
    accounts: Accounts, authenticator: Authenticator, user: User
) -> None:
    token = await bearer(accounts)
    first = asyncio.create_task(authenticator.authenticate(token, None))
    second = asyncio.create_task(authenticator.authenticate(token, None))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).user_id == user.id


async def test_nonsense_and_repeated_bad_keys_cost_the_database_nothing(
    authenticator: Authenticator, clock: Clock, queries: Callable[[], int]
) -> None:
    for number in range(100):
        assert await refusal(authenticator.authenticate(None, b"nonsense %d" % number)) == "invalid_api_key"
    assert queries() == 0
    for _ in range(100):
        assert await refusal(authenticator.authenticate(None, b"api_" + b"0" * 32)) == "invalid_api_key"
    assert queries() == 1
    clock.advance(FRESH_S + 0.01)
    await refusal(authenticator.authenticate(None, b"api_" + b"0" * 32))
    assert queries() == 2


async def test_memory_is_bounded_and_a_flood_of_bad_keys_does_not_push_out_good_ones(
    accounts: Accounts, store: AuthStore, tokens: Tokens
) -> None:
    authenticator = Authenticator(store, SessionVerifier(store, tokens), {}, capacity=2)
    keys = [(await accounts.create_key(f"{number}", Role.USER)).key.encode() for number in range(3)]
    for key in keys[:2]:
        await authenticator.authenticate(None, key)
    assert authenticator.cached(None, keys[0]) is not None  # so the other one was used longest ago
    await authenticator.authenticate(None, keys[2])
    for number in range(10):
        await refusal(authenticator.authenticate(None, b"bad %d" % number))
    assert [authenticator.cached(None, key) is not None for key in keys] == [True, False, True]
    await authenticator.close()


async def test_keys_of_the_environment_work_without_the_database(tmp_path: Path, tokens: Tokens) -> None:
    database = open_database("postgresql://nobody@127.0.0.1:9/nothing")
    env_keys = {generate.fingerprint("key1"): Role.ADMIN, generate.fingerprint("schlüssel"): Role.USER}
    authenticator = Authenticator(AuthStore(database), SessionVerifier(AuthStore(database), tokens), env_keys)
    principal = await authenticator.authenticate(None, b"key1")
    assert (principal.id, principal.role) == (f"envkey:{generate.fingerprint('key1')[:12]}", Role.ADMIN)
    assert (await authenticator.authenticate(None, "schlüssel".encode())).role is Role.USER
    assert await refusal(authenticator.authenticate(None, b"key2")) == "invalid_api_key"
    await database.close()


async def test_using_a_key_is_noted_without_making_the_caller_wait(
    accounts: Accounts, authenticator: Authenticator, store: AuthStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await accounts.create_key("deploy", Role.USER)
    await authenticator.authenticate(None, made.key.encode())
    await authenticator.close()
    assert (await accounts.keys())[0].last_used_at is not None

    async def fail(_: object) -> None:
        raise Unavailable("read-only", code="database_unavailable")

    monkeypatch.setattr(store.keys, "touch", fail)
    other = Authenticator(store, SessionVerifier(store, Tokens(SECRET)), {})
    assert (await other.authenticate(None, made.key.encode())).name == "deploy"
    await other.close()


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
async def test_database_down_is_503_not_401(dialect: str, tmp_path: Path, tokens: Tokens, passwords: Any) -> None:
    (tmp_path / "broken.db").write_bytes(b"this is not a database" * 100)
    url = f"sqlite:///{tmp_path}/broken.db" if dialect == "sqlite" else "postgresql://nobody@127.0.0.1:9/nothing"
    database = open_database(url)
    store = AuthStore(database)
    accounts, authenticator = (
        Accounts(store, tokens, passwords),
        Authenticator(store, SessionVerifier(store, tokens), {}),
    )
    attempts: list[Coroutine[Any, Any, object]] = [
        authenticator.authenticate(None, generate.api_key().encode()),
        authenticator.authenticate(f"Bearer {tokens.issue('u', 's')}".encode(), None),
        accounts.login("ada@example.com", PASSWORD),
        accounts.refresh(generate.refresh_token()),
    ]
    for attempt in attempts:
        with pytest.raises(Unavailable) as caught:
            await attempt
        assert (caught.value.status, caught.value.code) == (503, "database_unavailable")
    await database.close()
