"""API keys: their form, and those of VALID_API_KEYS."""

import hmac
import re
from collections.abc import Mapping

from amrikyy.auth.generate import fingerprint
from amrikyy.auth.roles import Role

VISIBLE = 8
"""Characters at the start of a key by which people recognise it."""

_FORM = re.compile(rb"api_[0-9a-f]{32}")


def looks_like_key(text: bytes) -> bool:
    """Whether it has the form of the keys that this server makes: "api_" and 32 hex digits."""
    return _FORM.fullmatch(text) is not None


def parse_env_keys(text: str) -> dict[str, Role]:
    """Read VALID_API_KEYS: keys separated by commas, each with the role user or the one after its colon.

    Returns:
        roles by SHA-256 of the key.

    Raises:
        ValueError: naming the variable and the entry's number, never the key.
    """
    roles: dict[str, Role] = {}
    for number, entry in enumerate(text.split(","), start=1):
        if not entry.strip():
            continue
        key, _, name = (part.strip() for part in entry.partition(":"))
        if not key:
            raise ValueError(f"VALID_API_KEYS: entry {number} has a role but no key.")
        try:
            role = Role(name.lower() or "user")
        except ValueError:
            raise ValueError(f"VALID_API_KEYS: the role of entry {number} is not one of {', '.join(Role)}.") from None
        hashed = fingerprint(key)
        if roles.setdefault(hashed, role) is not role:
            raise ValueError(f"VALID_API_KEYS: entry {number} repeats a key with another role.")
    return roles


def find_env_key(hashed: str, env_keys: Mapping[str, Role]) -> Role | None:
    """The role of a key from VALID_API_KEYS, by its hash. All are compared, each in constant time."""
    found = [role for known, role in env_keys.items() if hmac.compare_digest(known, hashed)]
    return found[0] if found else None
