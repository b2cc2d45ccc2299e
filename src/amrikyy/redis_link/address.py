"""Where Redis is, and the credentials to use there."""

import ssl
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from redis.asyncio.connection import SSLConnection, parse_url

TLS_OPTIONS = {"ssl_ca_certs", "ssl_cert_reqs", "ssl_certfile", "ssl_keyfile", "ssl_check_hostname"}
"""Query parameters that a rediss:// URL may have, under redis-py's names."""

MAX_DB = 2**31 - 1
"""The highest number that Redis reads; how many databases there are is for it to say."""

KNOWN = {"host", "port", "path", "db", "username", "password", "connection_class"}


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """A Redis URL, taken apart.

    Attributes:
        path: the path of a unix socket, if it is one; host and port then mean nothing.
        tls: None without TLS.
    """

    url: str
    host: str
    port: int
    path: str | None
    db: int
    username: str | None
    password: str | None
    tls: ssl.SSLContext | None

    @classmethod
    def parse(cls, url: str) -> "RedisAddress":
        """Read redis://user:password@host:6379/0, rediss://… (TLS) or unix:///path?db=0.

        Raises:
            ValueError: the URL has a different form; the message does not repeat it, as it may hold a password.
        """
        try:
            parts: dict[str, Any] = {**parse_url(url)}
            _check_what_is_passed_over(url, parts)
            tls = _tls(parts) if parts.get("connection_class") is SSLConnection else None
        except (ValueError, OSError) as error:
            raise ValueError(f"REDIS_URL: {str(error).removesuffix('.')}.") from None
        if unknown := set(parts) - KNOWN - (TLS_OPTIONS if tls else set()):
            raise ValueError(f"REDIS_URL: unknown options: {', '.join(sorted(unknown))}.")
        return cls(
            url=url,
            host=parts.get("host") or "localhost",
            port=parts.get("port") or 6379,
            path=parts.get("path"),
            db=parts.get("db") or 0,
            username=parts.get("username"),
            password=parts.get("password"),
            tls=tls,
        )

    def __str__(self) -> str:
        """For people: without credentials."""
        return self.path or f"{self.host}:{self.port}"

    def __repr__(self) -> str:
        return f"RedisAddress({self})"


def _check_what_is_passed_over(url: str, parts: dict[str, Any]) -> None:
    """Refuse what redis-py takes for the default, or joins: /abc is 0 there, /1/2 is 12, and port 0 is 6379."""
    given = urlsplit(url)
    path = unquote(given.path).strip("/")
    if given.scheme != "unix" and path and not (path.isascii() and path.isdecimal()):
        raise ValueError("a database is a number, as in redis://localhost:6379/0")
    if not 0 <= (parts.get("db") or 0) <= MAX_DB:
        raise ValueError(f"the number of a database is at least 0, and at most {MAX_DB}")
    if given.port == 0:
        raise ValueError("the port is from 1 to 65535")


def _tls(parts: dict[str, Any]) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=parts.get("ssl_ca_certs"))
    unverified = parts.get("ssl_cert_reqs") in ("none", "optional")
    if unverified or str(parts.get("ssl_check_hostname", "true")).lower() in ("false", "0", "no"):
        context.check_hostname = False
    if unverified:
        context.verify_mode = ssl.CERT_NONE
    if certificate := parts.get("ssl_certfile"):
        context.load_cert_chain(certificate, parts.get("ssl_keyfile"))
    return context
