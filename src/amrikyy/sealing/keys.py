"""Parses keys from settings, and derives their ids."""

import hmac
import re

KEY_BYTES = 32


def key_bytes(text: str) -> bytes:
    """The 256-bit key that 64 hex digits, or 32 characters, represent.

    Raises:
        ValueError: it is neither.
    """
    key = bytes.fromhex(text) if re.fullmatch(r"[0-9a-fA-F]{64}", text) else text.encode()
    if len(key) != KEY_BYTES:
        raise ValueError("must be 64 hex digits or 32 characters; `amrikyy secrets` generates one")
    return key


def key_id(key: bytes) -> str:
    """A key's id in sealed values, logs and messages: 8 hex digits, which do not reveal the key."""
    return hmac.digest(key, b"id", "sha256")[:4].hex()
