"""Users and keys: what may be done with them, and by whom."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from amrikyy.auth import Accounts, Actor, AuthStore, Role, User, generate
from amrikyy.auth.audit import OPERATOR
from amrikyy.auth.user_store import UserChange
from amrikyy.errors import Conflict, Forbidden, NotFound, Unauthenticated, ValidationFailed
from tests.auth.conftest import PASSWORD

ADMIN = Actor("user:admin", role=Role.ADMIN)


async def test_an_e_mail_address_belongs_to_one_user_whatever_its_letters_case(accounts: Accounts) -> None:
    user = await accounts.create_user("Ada@Example.com", PASSWORD, Role.USER, name="  Ada ")
    assert (user.email, user.name, user.role) == ("ada@example.com", "Ada", Role.USER)
    with pytest.raises(Conflict) as caught:
        await accounts.create_user("ADA@example.com", PASSWORD, Role.USER)
    assert caught.value.code == "user_exists"


@pytest.mark.parametrize(
    ("email", "password", "name", "field"),
    [("no address", PASSWORD, None, "email"), ("a\x00@example.com", PASSWORD, None, "email"),
     ("x" * 65 + "@example.com", PASSWORD, None, "email"), ("a@example.com", "short", None, "password"),
     ("a@example.com", PASSWORD, "a\x00b", "name"), ("a@example.com", PASSWORD, "x" * 201, "name")],
)  # fmt: skip
async def test_what_is_wrong_with_a_new_user_is_named(
    accounts: Accounts, email: str, password: str, name: str | None, field: str
) -> None:
    with pytest.raises(ValidationFailed) as caught:
        await accounts.create_user(email, password, Role.USER, name=name)
    assert [detail["field"] for detail in caught.value.details] == [field]


async def test_users_are_found_by_id_and_by_address(accounts: Accounts) -> None:
    user = await accounts.create_user("ada@example.com", PASSWORD, Role.USER)
    assert await accounts.user(user.id) == await accounts.user("Ada@example.com") == user
    for who in ("nobody@example.com", generate.identifier(), "\x00", ""):
        with pytest.raises(NotFound):
            await accounts.user(who)


async def test_users_are_listed_a_page_at_a_time(accounts: Accounts) -> None:
    for name in "cadbe":
        await accounts.create_user(f"{name}@example.com", PASSWORD, Role.USER)
    first, cursor = await accounts.user_page(None, 2)
    rest, end = await accounts.user_page(cursor, 3)
    assert [user.email[0] for user in first] == ["a", "b"]
    assert [user.email[0] for user in rest] == ["c", "d", "e"]
    assert end is None, "nobody is left for another page"
    assert [user.email[0] async for user in accounts.each_user()] == list("abcde")


async def test_nobody_gives_a_role_above_its_own_or_changes_a_user_who_has_one(accounts: Accounts) -> None:
    boss = await accounts.create_user("boss@example.com", PASSWORD, Role.INTERNAL)
    user = await accounts.create_user("user@example.com", PASSWORD, Role.USER, by=ADMIN)
    attempts = [
        accounts.create_user("x@example.com", PASSWORD, Role.INTERNAL, by=ADMIN),
        accounts.change_user(user.id, role=Role.INTERNAL, by=ADMIN),
        accounts.change_user(boss.id, role=Role.USER, by=ADMIN),
        accounts.change_user(boss.id, disabled=True, by=ADMIN),
        accounts.reset_password(boss.id, "another password", by=ADMIN),
        accounts.create_key("x", Role.INTERNAL, by=ADMIN),
    ]
    for attempt in attempts:
        with pytest.raises(Forbidden) as caught:
            await attempt
        assert caught.value.code == "role_too_high"
    assert (await accounts.change_user(user.id, role=Role.ADMIN, by=ADMIN)).role is Role.ADMIN


async def test_the_last_admin_can_be_neither_demoted_nor_disabled(accounts: Accounts) -> None:
    first = await accounts.create_user("first@example.com", PASSWORD, Role.ADMIN)
    with pytest.raises(Conflict):
        await accounts.change_user(first.id, role=Role.USER)
    with pytest.raises(Conflict):
        await accounts.change_user(first.id, disabled=True)
    assert (await accounts.change_user(first.id, role=Role.INTERNAL)).role is Role.INTERNAL
    second = await accounts.create_user("second@example.com", PASSWORD, Role.ADMIN)
    answers = await asyncio.gather(
        accounts.change_user(first.id, disabled=True),
        accounts.change_user(second.id, role=Role.USER),
        return_exceptions=True,
    )
    assert sorted(isinstance(answer, Conflict) for answer in answers) == [False, True]


async def test_an_admin_who_has_yet_to_set_a_password_does_not_count(accounts: Accounts) -> None:
    admin = await accounts.create_user("first@example.com", PASSWORD, Role.ADMIN)
    invited = await accounts.create_user("second@example.com", None, Role.ADMIN)
    with pytest.raises(Conflict):
        await accounts.change_user(admin.id, disabled=True)
    link = await accounts.offer_reset(invited.id)
    await accounts.redeem_reset(link.token, PASSWORD)
    assert (await accounts.change_user(admin.id, disabled=True)).disabled_at is not None


async def test_a_user_is_changed_wholly_or_not_at_all(accounts: Accounts) -> None:
    user = await accounts.create_user("ada@example.com", PASSWORD, Role.USER)
    admin = await accounts.create_user("admin@example.com", PASSWORD, Role.ADMIN)
    with pytest.raises(Forbidden):
        await accounts.change_user(user.id, role=Role.INTERNAL, name="Ada", disabled=True, by=ADMIN)
    with pytest.raises(ValidationFailed):
        await accounts.change_user(user.id, role=Role.PREMIUM, name="a\x00")
    with pytest.raises(Conflict):
        await accounts.change_user(admin.id, name="Boss", disabled=True)
    assert [each async for each in accounts.each_user()] == [user, admin]


async def test_rank_is_checked_as_it_is_when_the_change_is_made(
    accounts: Accounts, store: AuthStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = await accounts.create_user("ada@example.com", PASSWORD, Role.USER)
    await store.users.change(user.id, UserChange(role=Role.INTERNAL), by=OPERATOR)

    async def outdated(who: str) -> User:
        return user  # as it was read before somebody else promoted it

    monkeypatch.setattr(accounts, "user", outdated)
    for attempt in (accounts.change_user(user.id, disabled=True, by=ADMIN), accounts.offer_reset(user.id, by=ADMIN)):
        with pytest.raises(Forbidden):
            await attempt


@pytest.mark.parametrize("change", [{"role": Role.ADMIN}, {"disabled": True}])
async def test_a_link_does_not_lead_into_what_its_maker_could_not_touch(
    accounts: Accounts, change: dict[str, Any]
) -> None:
    user = await accounts.create_user("ada@example.com", None, Role.USER)
    link = await accounts.offer_reset(user.id)
    await accounts.change_user(user.id, **change)
    await accounts.change_user(user.id, role=Role.USER, disabled=False)
    with pytest.raises(Unauthenticated):
        await accounts.redeem_reset(link.token, PASSWORD)


async def test_of_two_who_redeem_a_link_at_once_one_succeeds(accounts: Accounts) -> None:
    user = await accounts.create_user("ada@example.com", None, Role.USER)
    link = await accounts.offer_reset(user.id)
    answers = await asyncio.gather(
        *(accounts.redeem_reset(link.token, f"password of {number}") for number in "ab"), return_exceptions=True
    )
    assert sorted(isinstance(answer, Unauthenticated) for answer in answers) == [False, True]


async def test_a_disabled_user_can_be_let_in_again(accounts: Accounts) -> None:
    user = await accounts.create_user("ada@example.com", PASSWORD, Role.USER)
    assert (await accounts.change_user(user.email, disabled=True)).disabled_at is not None
    assert (await accounts.change_user(user.email, disabled=False)).disabled_at is None
    await accounts.login(user.email, PASSWORD)


async def test_a_key_is_shown_once_and_stored_hashed(accounts: Accounts, store: AuthStore) -> None:
    expires_at = datetime.now(UTC) + timedelta(days=1)
    made = await accounts.create_key(" deploy ", Role.PREMIUM, by=ADMIN, expires_at=expires_at)
    (listed,) = await accounts.keys()
    assert listed == made.info == await store.keys.by_hash(generate.fingerprint(made.key))
    assert (listed.name, listed.role, listed.created_by) == ("deploy", Role.PREMIUM, "user:admin")
    assert (listed.expires_at, listed.prefix) == (expires_at, made.key[:8])
    assert made.key not in str(listed)


async def test_a_key_needs_a_name_and_a_future(accounts: Accounts) -> None:
    with pytest.raises(ValidationFailed) as caught:
        await accounts.create_key("  ", Role.USER)
    assert caught.value.details[0]["field"] == "name"
    with pytest.raises(ValidationFailed) as caught:
        await accounts.create_key("old", Role.USER, expires_at=datetime.now(UTC))
    assert caught.value.details[0]["field"] == "expiresAt"


async def test_keys_are_listed_a_page_at_a_time_and_revoked_once(accounts: Accounts) -> None:
    made = [(await accounts.create_key(f"key {number}", Role.USER)).info for number in range(5)]
    ids = sorted(info.id for info in made)
    first = await accounts.keys(limit=3)
    assert [key.id for key in first + await accounts.keys(after=first[-1].id)] == ids
    assert [key.id async for key in accounts.each_key()] == ids
    await accounts.revoke_key(ids[0])
    assert (await accounts.keys(limit=1))[0].revoked_at is not None
    for unknown in (ids[0], generate.identifier(), "\x00", ""):
        with pytest.raises(NotFound):
            await accounts.revoke_key(unknown)


async def test_the_last_use_of_a_key_is_noted_at_most_once_a_minute(accounts: Accounts, store: AuthStore) -> None:
    info = (await accounts.create_key("x", Role.USER)).info
    await store.keys.touch(info)
    first = (await accounts.keys())[0].last_used_at
    assert first is not None
    await store.keys.touch(info)  # another replica, which does not know yet
    assert (await accounts.keys())[0].last_used_at == first
