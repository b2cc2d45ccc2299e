"""URLs of servers: taken apart, and refused if nothing could ever connect to what they name."""

import re
from urllib.parse import SplitResult, urlsplit

NOT_A_URL = (
    "not a URL of a server: write it like https://example.com/path or http://localhost:8080, with a port, if any, from "
    "1 to 65535"
)

_DROPPED = re.compile(r"[\x00-\x1f\x7f]")
"""`urlsplit` drops some of these without a word."""


def split_url(url: str) -> SplitResult:
    """Take apart an http or https URL. Its host can be looked up, and its port exists.

    Raises:
        ValueError: it is none; the message does not repeat it, as it may hold a password.
    """
    try:
        parts = urlsplit(url)
        encode_host(parts.hostname or "")
        sound = parts.scheme in ("http", "https") and parts.port != 0 and not _DROPPED.search(url)
    except ValueError:
        sound = False
    if not sound:
        raise ValueError(NOT_A_URL)
    return parts


def encode_host(host: str) -> str:
    """The name of a host as it is looked up, in ASCII.

    Raises:
        ValueError: there is none, or a part of it is empty, too long or not in one piece: no look-up even begins.
    """
    if re.search(r"\s", host):
        raise ValueError("there is a space in the host's name")
    if not host.isascii():
        return host.encode("idna").decode()
    if not all(0 < len(part) < 64 for part in host.removesuffix(".").split(".")):  # as the codec, which loads tables
        raise ValueError("a part of the host's name is empty or too long")
    return host


def bracketed(host: str) -> str:
    """The host as URLs have it: an IPv6 address is in brackets."""
    return f"[{host}]" if ":" in host else host
