"""Secrets and identifiers, made from the operating system's randomness."""

import hashlib
import secrets
import time


def jwt_secret() -> str:
    """256 bits as 64 hex digits."""
    return secrets.token_hex(32)


def encryption_key() -> str:
    """256 bits as 64 hex digits, for AES-256-GCM."""
    return secrets.token_hex(32)


def api_key() -> str:
    """The guide's form: "api_" and 128 random bits as 32 hex digits."""
    return f"api_{secrets.token_hex(16)}"


def refresh_token() -> str:
    """256 random bits."""
    return f"ref_{secrets.token_urlsafe(32)}"


def reset_token() -> str:
    """256 random bits."""
    return f"rst_{secrets.token_urlsafe(32)}"


def password() -> str:
    """96 random bits in 16 characters that a person can type."""
    return secrets.token_urlsafe(12)


def identifier() -> str:
    """32 hex digits that sort by time: 48 bits of milliseconds, 12 of their fraction, 68 random. Not a secret."""
    return f"{time.time_ns() * 4096 // 1_000_000:015x}{secrets.randbits(68):017x}"


def fingerprint(secret: str | bytes) -> str:
    """SHA-256 as hex. Enough for secrets of 128 random bits and more; passwords need Argon2."""
    return hashlib.sha256(secret.encode(errors="replace") if isinstance(secret, str) else secret).hexdigest()
