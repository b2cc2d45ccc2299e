"""Password hashes."""

import asyncio

import pytest

from amrikyy.auth import Passwords
from amrikyy.auth.passwords import MAX_WAITING, check_password
from amrikyy.errors import Unavailable, ValidationFailed


async def test_a_password_is_verified_against_its_argon2id_hash(passwords: Passwords) -> None:
    stored = await passwords.hash("a long password")
    assert stored.startswith("$argon2id$")
    assert await passwords.verify("a long password", stored)
    assert not await passwords.verify("a long passwore", stored)


async def test_without_an_account_or_with_an_unreadable_hash_the_answer_is_no(passwords: Passwords) -> None:
    assert not await passwords.verify("anything", None)
    assert not await passwords.verify("anything", "")
    assert not await passwords.verify("anything", "plain text")


async def test_letters_composed_another_way_are_the_same_password(passwords: Passwords) -> None:
    assert await passwords.verify("cafe\u0301 au lait", await passwords.hash("caf\u00e9 au lait"))


async def test_a_hash_costs_what_rfc_9106_recommends(cheap_passwords: dict[str, int]) -> None:
    real = Passwords(**cheap_passwords)
    assert (await real.hash("a long password")).startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    real.close()


async def test_a_hash_with_other_parameters_is_outdated(passwords: Passwords) -> None:
    other = Passwords(time_cost=2, memory_cost_kib=8, parallelism=1)
    stored = await passwords.hash("a long password")
    assert not passwords.is_outdated(stored)
    assert other.is_outdated(stored)
    assert await other.verify("a long password", stored)
    other.close()


async def test_too_many_logins_at_once_are_told_so_instead_of_waiting() -> None:
    passwords = Passwords(time_cost=1, memory_cost_kib=8, parallelism=1)
    answers = await asyncio.gather(
        *(passwords.verify("x", None) for _ in range(MAX_WAITING + 1)), return_exceptions=True
    )
    refused = [answer for answer in answers if isinstance(answer, Unavailable)]
    assert len(refused) == 1
    assert (refused[0].code, refused[0].retry_after_s) == ("login_busy", 5)
    assert not await passwords.verify("x", None)
    passwords.close()


@pytest.mark.parametrize("password", ["", "too short", "x" * 257, "ä" * 129])
def test_too_short_and_too_long_passwords_are_refused_by_name(password: str) -> None:
    with pytest.raises(ValidationFailed) as caught:
        check_password(password)
    assert [detail["field"] for detail in caught.value.details] == ["password"]


@pytest.mark.parametrize("password", ["ten chars.", "x" * 256, "ä" * 128])
def test_passwords_from_10_characters_to_256_bytes_are_accepted(password: str) -> None:
    check_password(password)
