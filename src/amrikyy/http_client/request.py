"""A request as the bytes that are sent."""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote

from amrikyy.urls import bracketed, encode_host, split_url

_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")

_KEPT = "!#$%&'()*+,/:;=?@[]~-._"
"""Characters that need no quoting in a path and query (RFC 3986 §3.3, §3.4); "%" is one, so quoted text stays as is."""


class Origin(NamedTuple):
    """The server to connect to."""

    host: str
    port: int
    tls: bool


def encode_headers(headers: Mapping[str, str]) -> bytes:
    """Encode headers as header lines.

    Raises:
        ValueError: one has characters that could end the line; the message does not repeat it, as it may be a secret.
    """
    for name, value in headers.items():
        if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
            raise ValueError(f"the header {name[:64]!r} has characters in it that none may have")
    return "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode("latin-1")


def encode_request(method: str, url: str, headers: bytes, body: bytes | None) -> tuple[Origin, bytes]:
    """The server to send it to, and the bytes to send.

    Raises:
        ValueError: the URL is not an http or https one of a server.
    """
    origin, host, target = _parts(url)
    lines = [method.encode(), b" ", target, b" HTTP/1.1\r\n", host, headers]
    if body is not None:
        lines += b"content-length: ", str(len(body)).encode(), b"\r\n\r\n", body
    else:
        lines.append(b"\r\n")
    return origin, b"".join(lines)


@lru_cache(maxsize=256)
def _parts(url: str) -> tuple[Origin, bytes, bytes]:
    parts = split_url(url)
    tls = parts.scheme == "https"
    host = encode_host(parts.hostname or "")
    shown = bracketed(host)
    if parts.port is not None:
        shown = f"{shown}:{parts.port}"
    target = quote(parts.path or "/", safe=_KEPT + "%") + (
        f"?{quote(parts.query, safe=_KEPT + '%')}" if parts.query else ""
    )
    return Origin(host, parts.port or (443 if tls else 80), tls), f"host: {shown}\r\n".encode(), target.encode()
