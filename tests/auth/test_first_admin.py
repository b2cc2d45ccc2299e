"""The first admin."""

import asyncio

import pytest

from amrikyy.auth import Accounts, AuthStore, FirstAdmin, Passwords, Role, Tokens
from amrikyy.db import open_database
from amrikyy.errors import ValidationFailed
from tests.auth.conftest import PASSWORD, SECRET


async def test_the_first_admin_is_the_one_that_the_settings_name(accounts: Accounts) -> None:
    made = await accounts.ensure_first_admin("Boss@example.com", PASSWORD, development=False)
    assert made == FirstAdmin("boss@example.com", None)
    assert (await accounts.login("boss@example.com", PASSWORD)).user.role is Role.ADMIN
    assert await accounts.ensure_first_admin("other@example.com", PASSWORD, development=False) is None


async def test_development_makes_an_admin_with_a_password_that_is_told_once(accounts: Accounts) -> None:
    made = await accounts.ensure_first_admin(None, None, development=True)
    assert made is not None
    assert made.email == "admin@example.com"
    assert made.password is not None
    await accounts.login(made.email, made.password)
    assert await accounts.ensure_first_admin(None, None, development=True) is None


async def test_production_without_the_settings_makes_nobody(accounts: Accounts) -> None:
    assert await accounts.ensure_first_admin(None, None, development=False) is None
    assert [user async for user in accounts.each_user()] == []


async def test_a_disabled_admin_is_not_made_again(accounts: Accounts) -> None:
    await accounts.create_user("other@example.com", PASSWORD, Role.ADMIN)
    made = await accounts.create_user("boss@example.com", PASSWORD, Role.ADMIN)
    await accounts.change_user(made.id, disabled=True)
    assert await accounts.ensure_first_admin("boss@example.com", PASSWORD, development=False) is None


async def test_a_user_does_not_become_admin_because_a_setting_has_its_address(accounts: Accounts) -> None:
    await accounts.create_user("ada@example.com", PASSWORD, Role.USER)
    assert await accounts.ensure_first_admin("ada@example.com", "another password", development=False) is None
    assert (await accounts.login("ada@example.com", PASSWORD)).user.role is Role.USER


@pytest.mark.parametrize(
    ("email", "password", "variable"), [("boss", PASSWORD, "ADMIN_EMAIL"), ("b@x.com", "short", "ADMIN_PASSWORD")]
)
async def test_a_wrong_setting_is_named(accounts: Accounts, email: str, password: str, variable: str) -> None:
    with pytest.raises(ValidationFailed) as caught:
        await accounts.ensure_first_admin(email, password, development=False)
    assert caught.value.details[0]["field"] == variable


async def test_of_processes_that_start_at_the_same_time_one_makes_the_admin(
    database_url: str, passwords: Passwords
) -> None:
    databases = [open_database(database_url) for _ in range(4)]
    every = [Accounts(AuthStore(database), Tokens(SECRET), passwords) for database in databases]
    made = await asyncio.gather(
        *(
            accounts.ensure_first_admin(f"admin{number}@example.com", PASSWORD, development=False)
            for number, accounts in enumerate(every)
        )
    )
    assert len([admin for admin in made if admin is not None]) == 1
    assert len([user async for user in every[0].each_user()]) == 1
    for database in databases:
        await database.close()
