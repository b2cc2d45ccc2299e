"""What names, e-mail addresses and ids of accounts may look like."""

import re

from amrikyy.errors import ValidationFailed

MAX_NAME = 200

_CONTROL = r"\x00-\x1f\x7f\ud800-\udfff"
"""PostgreSQL stores no NUL, no database half a character, and no list shows either."""

_EMAIL = re.compile(rf"[^@\s,;<>{_CONTROL}]{{1,64}}@[^@\s,;<>{_CONTROL}]{{1,185}}")
_NAME = re.compile(rf"[^{_CONTROL}]{{1,{MAX_NAME}}}")
_ID = re.compile(r"[0-9a-f]{32}")


def normal_email(text: str) -> str | None:
    """The address as it is stored, in lower case; None if it is not an address, and so nobody's."""
    address = text.strip().lower()
    return address if _EMAIL.fullmatch(address) else None


def check_email(text: str, field: str = "email") -> str:
    """The address as it is stored.

    Raises:
        ValidationFailed: it is not an address.
    """
    address = normal_email(text)
    if address is None:
        raise _wrong(field, "Not an e-mail address", "email")
    return address


def check_name(text: str, field: str = "name") -> str:
    """A name without the spaces around it.

    Raises:
        ValidationFailed: it is empty, too long, or holds control characters.
    """
    name = text.strip()
    if not _NAME.fullmatch(name):
        raise _wrong(field, f"A name must have 1 to {MAX_NAME} characters, none of them a control character", "name")
    return name


def is_id(text: str) -> bool:
    """Whether it has the form of the ids that this server makes; nothing else need be looked up."""
    return _ID.fullmatch(text) is not None


def _wrong(field: str, message: str, kind: str) -> ValidationFailed:
    return ValidationFailed(f"{message}.", details=[{"field": field, "message": message, "type": kind}])
