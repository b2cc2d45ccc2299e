"""Connections through a forward proxy: a tunnel that the proxy opens on CONNECT and cannot see into."""

import asyncio
import re
import socket
from base64 import b64encode
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import unquote

from amrikyy.http_client.connection import NotConnected
from amrikyy.http_client.request import Origin
from amrikyy.urls import bracketed, split_url

DEFAULT_PORT = 80
MAX_HEAD = 16_384
"""The most bytes of the proxy's response."""

_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})(?: ([^\r\n]{0,100}))?")


@dataclass(frozen=True, slots=True)
class Proxy:
    """A forward proxy, and the servers that are reached without it."""

    host: str
    port: int
    authorization: bytes = field(default=b"", repr=False)
    direct: tuple[str, ...] = ()

    @classmethod
    def parse(cls, url: str, direct: str | None) -> Self:
        """Read HTTPS_PROXY and NO_PROXY.

        Raises:
            ValueError: the URL is not a proxy's; the message shows no password.
        """
        how = "write it like http://proxy.example.com:3128 or http://user:password@proxy.example.com:3128"
        url = url if "://" in url else f"http://{url}"
        if not url.lower().startswith("http://"):
            raise ValueError(f"HTTPS_PROXY: only a proxy that is itself spoken to over http:// can be used: {how}.")
        try:
            parts = split_url(url)
        except ValueError:
            raise ValueError(f"HTTPS_PROXY is no URL: {how}.") from None
        if parts.path not in ("", "/") or parts.query or parts.fragment:
            raise ValueError(f"HTTPS_PROXY is no URL of a proxy: {how}.")
        authorization = b""
        if parts.username is not None:
            user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            authorization = b"proxy-authorization: Basic " + b64encode(user.encode()) + b"\r\n"
        names = (name.strip().lower().removeprefix("*").removeprefix(".") for name in (direct or "").split(","))
        everyone = (direct or "").strip() == "*"
        without = ("*",) if everyone else tuple(filter(None, names))
        return cls(parts.hostname or "", parts.port or DEFAULT_PORT, authorization, without)

    def is_for(self, origin: Origin) -> bool:
        """Whether this server is reached through the proxy. Only encrypted connections are."""
        if not origin.tls or self.direct == ("*",):
            return False
        host = origin.host.lower()
        return not any(host == name or host.endswith(f".{name}") for name in self.direct)

    async def tunnel(self, origin: Origin) -> socket.socket:
        """Open a connection to the server, through the proxy.

        Raises:
            NotConnected: the proxy cannot be reached, or does not let us through.
            OSError: its name cannot be looked up, or the connection to it was lost.
        """
        loop = asyncio.get_running_loop()
        opened = await self._connected(loop)
        try:
            await self._ask(loop, opened, origin)
        except BaseException:
            opened.close()
            raise
        return opened

    async def _connected(self, loop: asyncio.AbstractEventLoop) -> socket.socket:
        refused: OSError | None = None
        for family, kind, number, _, address in await loop.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM):
            opened = socket.socket(family, kind, number)
            opened.settimeout(0)
            try:
                await loop.sock_connect(opened, address)
            except OSError as error:
                opened.close()
                refused = error
            except BaseException:
                opened.close()
                raise
            else:
                return opened
        why = refused.strerror if refused is not None else "it has no address"
        raise NotConnected(f"the proxy of HTTPS_PROXY cannot be reached: {why}")

    async def _ask(self, loop: asyncio.AbstractEventLoop, opened: socket.socket, origin: Origin) -> None:
        target = f"{bracketed(origin.host)}:{origin.port}".encode()
        await loop.sock_sendall(
            opened, b"CONNECT %s HTTP/1.1\r\nhost: %s\r\n%s\r\n" % (target, target, self.authorization)
        )
        head = b""
        while b"\r\n\r\n" not in head:
            piece = await loop.sock_recv(opened, MAX_HEAD)
            head += piece
            if not piece or len(head) > MAX_HEAD:
                raise NotConnected("the proxy of HTTPS_PROXY gave no answer of a proxy")
        status = _STATUS.match(head)
        if status is None or not head.endswith(b"\r\n\r\n"):
            raise NotConnected("the proxy of HTTPS_PROXY gave no answer of a proxy")
        if not status[1].startswith(b"2"):
            raise NotConnected(f"the proxy of HTTPS_PROXY refused with {status[1].decode()}")
