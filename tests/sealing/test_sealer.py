"""Sealed values: for one place, readable with any key that is given, and never garbage."""

import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amrikyy.errors import Undecryptable
from amrikyy.sealing import PLAIN, Sealer, key_bytes, key_id

KEY, OTHER = bytes(range(32)), b"o" * 32
PLACE = ("runs.request", "run_1")


@given(st.text() | st.binary())
def test_what_was_sealed_is_read_again_whatever_it_is(value: Any) -> None:
    sealer = Sealer(KEY)
    sealed = sealer.seal(value, *PLACE)
    assert type(sealed) is type(value)
    assert sealer.unseal(sealed, *PLACE) == value


def test_what_was_sealed_can_be_read_for_ever() -> None:
    text = "sealed:8adc89f9:3IyroqpfYmrdlP9v9+kmacPp4Qx4KtY3Yj4HE+N4lijbSoZm"
    assert Sealer(KEY).unseal(text, *PLACE) == "a prompt"
    stored = bytes.fromhex("c1018adc89f9818326fdcd1d9798421feff5d778985444dfc1b0c013877485f330ef50d647d39d5f6b57")
    assert Sealer(KEY).unseal(stored, *PLACE) == b"a prompt"
    assert Sealer(KEY).fingerprint(b"x") == "646520f36931604b6226a0fc2b376d46d88ca823fb596f3578a5a7a64cc84fa3"


def test_no_value_is_sealed_twice_in_the_same_way() -> None:
    assert len({Sealer(KEY).seal("the same", *PLACE) for _ in range(100)}) == 100


@pytest.mark.parametrize("place", [("runs.result", "run_1"), ("runs.request", "run_2"), ("runs.request",), ("run_1",)])
@pytest.mark.parametrize("value", ["text", b"bytes"])
def test_a_value_in_another_place_is_refused(place: tuple[str, ...], value: Any) -> None:
    sealer = Sealer(KEY)
    with pytest.raises(Undecryptable):
        sealer.unseal(sealer.seal(value, *PLACE), *place)


def test_a_value_that_was_changed_is_refused_whichever_byte_it_was() -> None:
    sealer = Sealer(KEY, [OTHER])
    sealed = sealer.seal(b"a prompt", *PLACE)
    for at in range(2, len(sealed)):
        with pytest.raises(Undecryptable):
            sealer.unseal(sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :], *PLACE)
        with pytest.raises(Undecryptable):
            sealer.unseal(sealed[:at], *PLACE)


@pytest.mark.parametrize("rest", ["", ":", ":!", ":AAAA", ":AAA", ":" + "A" * 40])
def test_what_only_begins_like_a_sealed_text_is_refused(rest: str) -> None:
    with pytest.raises(Undecryptable):
        Sealer(KEY).unseal(f"sealed:{key_id(KEY)}{rest}", *PLACE)


def test_a_value_whose_key_is_not_there_is_refused() -> None:
    sealed = Sealer(OTHER).seal("a prompt", *PLACE)
    for sealer in (PLAIN, Sealer(KEY)):
        with pytest.raises(Undecryptable) as caught:
            sealer.unseal(sealed, *PLACE)
        assert caught.value.status == 500


def test_without_a_key_everything_stays_as_it_is() -> None:
    assert PLAIN.seal('{"a": 1}', *PLACE) == '{"a": 1}'
    assert PLAIN.unseal(b"\x93", *PLACE) == b"\x93"


def test_what_was_written_before_there_was_a_key_is_read_with_one() -> None:
    assert Sealer(KEY).unseal('{"a": 1}', *PLACE) == '{"a": 1}'
    assert Sealer(KEY).unseal(b"\x93\x01\x02\x03", *PLACE) == b"\x93\x01\x02\x03"


def test_a_fallback_reads_and_never_writes() -> None:
    before, during = Sealer(OTHER), Sealer(KEY, [OTHER])
    assert during.unseal(before.seal("old", *PLACE), *PLACE) == "old"
    assert Sealer(KEY).unseal(during.seal("new", *PLACE), *PLACE) == "new"
    leaving = Sealer(None, [KEY])
    assert leaving.unseal(Sealer(KEY).seal("old", *PLACE), *PLACE) == "old"
    assert leaving.seal("new", *PLACE) == "new"


def test_a_fingerprint_is_found_again_under_any_key_and_cannot_be_computed_without_one() -> None:
    assert PLAIN.fingerprint(b"x") in PLAIN.fingerprints(b"x")
    assert Sealer(KEY).fingerprint(b"x") not in PLAIN.fingerprints(b"x") | Sealer(OTHER).fingerprints(b"x")
    assert {PLAIN.fingerprint(b"x"), Sealer(OTHER).fingerprint(b"x")} <= Sealer(KEY, [OTHER]).fingerprints(b"x")


def test_a_key_is_64_hex_digits_or_32_characters() -> None:
    assert key_bytes("00" * 16 + "fF" * 16) == bytes(16) + b"\xff" * 16
    assert key_bytes("k" * 32) == b"k" * 32
    for wrong in ("", "k" * 31, "ä" * 32, "g" * 64):
        with pytest.raises(ValueError, match="64 hex digits or 32 characters"):
            key_bytes(wrong)


def test_where_there_is_no_key_nothing_of_the_cipher_is_loaded() -> None:
    program = "import sys, amrikyy.sealing; sys.exit(any(name.startswith('cryptography') for name in sys.modules))"
    subprocess.run([sys.executable, "-c", program], check=True)
