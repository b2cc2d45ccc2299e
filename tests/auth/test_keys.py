"""API keys: those that are made, and those of VALID_API_KEYS."""

import re
import time

import pytest

from amrikyy.auth import Role, generate, parse_env_keys
from amrikyy.auth.keys import find_env_key, looks_like_key


def test_a_made_key_has_the_guides_form_and_no_two_are_alike() -> None:
    made = {generate.api_key() for _ in range(100)}
    assert len(made) == 100
    assert all(re.fullmatch(r"api_[0-9a-f]{32}", key) and looks_like_key(key.encode()) for key in made)


@pytest.mark.parametrize("text", [b"", b"api_", b"api_" + b"1" * 31, b"api_" + b"1" * 33, b"api_" + b"G" * 32])
def test_nothing_else_looks_like_a_key(text: bytes) -> None:
    assert not looks_like_key(text)


def test_secrets_are_256_bits_as_64_hex_digits() -> None:
    assert re.fullmatch(r"[0-9a-f]{64}", generate.jwt_secret())
    assert re.fullmatch(r"[0-9a-f]{64}", generate.encryption_key())


def test_identifiers_sort_by_time() -> None:
    made = []
    for _ in range(100):
        made.append(generate.identifier())
        time.sleep(0.00001)  # far less than the millisecond in which several acts may fall
    assert re.fullmatch(r"[0-9a-f]{32}", made[0])
    assert made == sorted(made)


def test_valid_api_keys_gives_each_key_the_role_user_or_the_one_after_its_colon() -> None:
    keys = parse_env_keys(" key1, key2:premium ,,key3:ADMIN,key4:")
    found = [find_env_key(generate.fingerprint(name), keys) for name in ("key1", "key2", "key3", "key4", "key5", "")]
    assert found == [Role.USER, Role.PREMIUM, Role.ADMIN, Role.USER, None, None]


@pytest.mark.parametrize("text", ["fine,s3cret:emperor", "fine,:premium", "s3cret:user,s3cret:admin", ":"])
def test_a_wrong_entry_of_valid_api_keys_is_named_without_the_key(text: str) -> None:
    with pytest.raises(ValueError, match=r"VALID_API_KEYS: .*entry [12]") as caught:
        parse_env_keys(text)
    assert "s3cret" not in str(caught.value)


def test_no_keys_are_no_keys() -> None:
    assert parse_env_keys("") == {}
