"""Seals values with AES-256-GCM, each bound to the place where it is stored."""

import hashlib
import hmac
import os
from binascii import Error as NotBase64
from binascii import a2b_base64, b2a_base64
from collections.abc import Sequence
from typing import AnyStr

import structlog

from amrikyy.errors import Undecryptable
from amrikyy.sealing.keys import key_id

log = structlog.get_logger(__name__)

NONCE_BYTES = 12
TEXT_MARK = "sealed:"
"""The prefix of a sealed text: `sealed:<key id>:<base64 of nonce and ciphertext>`. No JSON begins like this."""

BYTES_MARK = b"\xc1\x01"
"""The prefix of sealed bytes, before the key's id, nonce and ciphertext. Neither MessagePack nor UTF-8 uses 0xC1."""


class Sealer:
    """Seals values that are written, and unseals those that are read.

    Without keys, values stay as they are. With keys, an unsealed value is read as it is: it was stored before.

    Each value is encrypted with a key for its place, derived from the configured key with HMAC-SHA-256. So a value
    that was moved to another place cannot be read there, and no number of values exhausts the 2^32 random nonces that
    are safe with one key.

    Args:
        key: 32 bytes, to seal with; None: values are written in the clear.
        fallbacks: further keys that stored values may be sealed with.

    Attributes:
        key_id: the id of `key`; None if there is none.
        key_ids: the ids of all keys that can unseal.
        mark: the prefix of every text that is sealed with `key`; empty if there is no key.
        bytes_mark: the same for bytes.
    """

    def __init__(self, key: bytes | None = None, fallbacks: Sequence[bytes] = ()) -> None:
        self._key = key
        self._keys = {key_id(each): each for each in (*fallbacks, key) if each is not None}
        self.key_id = None if key is None else key_id(key)
        self.key_ids = frozenset(self._keys)
        self.mark = f"{TEXT_MARK}{self.key_id}:" if key is not None else ""
        self.bytes_mark = BYTES_MARK + bytes.fromhex(key_id(key)) if key is not None else b""
        if self._keys:
            from cryptography.exceptions import InvalidTag  # imported only if there is a key
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM

            self._cipher, self._refused = AESGCM, InvalidTag

    def seal(self, value: AnyStr, *place: str | int) -> AnyStr:
        """The value as it is to be stored, in the same type.

        Args:
            value: JSON, or bytes of MessagePack: nothing that could be mistaken for a sealed value.
            place: where it is stored, for example "runs.request" and the run's id.
        """
        if self._key is None:
            return value
        if isinstance(value, str):
            sealed = self._encrypt(self._key, value.encode(), place)
            return self.mark + b2a_base64(sealed, newline=False).decode()
        return self.bytes_mark + self._encrypt(self._key, value, place)

    def unseal(self, value: AnyStr, *place: str | int) -> AnyStr:
        """The value that was sealed for this place; one that is not sealed is returned as it is.

        Raises:
            Undecryptable: its key is missing, or it was sealed for another place, or changed.
        """
        if isinstance(value, str):
            if not value.startswith(TEXT_MARK):
                return value
            name, _, encoded = value.removeprefix(TEXT_MARK).partition(":")
            try:
                sealed = a2b_base64(encoded, strict_mode=True)
            except NotBase64:
                sealed = b""
            return self._decrypt(name, sealed, place).decode()
        if not value.startswith(BYTES_MARK):
            return value
        start = len(BYTES_MARK)
        return self._decrypt(value[start : start + 4].hex(), value[start + 4 :], place)

    def fingerprint(self, content: bytes) -> str:
        """64 hex digits that identify content, and from which it cannot be guessed.

        Without a key it is SHA-256, with which a guess at the content can be verified.
        """
        return hashlib.sha256(content).hexdigest() if self._key is None else _fingerprint(self._key, content)

    def fingerprints(self, content: bytes) -> frozenset[str]:
        """All fingerprints that the content may have been stored with: by any of the keys, or without one."""
        return frozenset(_fingerprint(key, content) for key in (None, *self._keys.values()))

    def _encrypt(self, key: bytes, value: bytes, place: Sequence[str | int]) -> bytes:
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._cipher(_place_key(key, place)).encrypt(nonce, value, None)

    def _decrypt(self, name: str, sealed: bytes, place: Sequence[str | int]) -> bytes:
        key = self._keys.get(name)
        if key is None:
            log.error("value_not_decrypted", place=place, key=name[:8], reason="the key is not configured")
            raise Undecryptable
        try:
            return self._cipher(_place_key(key, place)).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], None)
        except (self._refused, ValueError):
            log.error("value_not_decrypted", place=place, key=name, reason="it was moved, damaged or changed")
            raise Undecryptable from None


def _place_key(key: bytes, place: Sequence[str | int]) -> bytes:
    return hmac.digest(key, b"place\0" + "\0".join(map(str, place)).encode(), "sha256")


def _fingerprint(key: bytes | None, content: bytes) -> str:
    if key is None:
        return hashlib.sha256(content).hexdigest()
    return hmac.digest(key, b"fingerprint\0" + content, "sha256").hex()


PLAIN = Sealer()
"""Leaves everything as it is."""
