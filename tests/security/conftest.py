"""What attackers need: somebody to log in as, and a socket to write raw bytes to."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from urllib.parse import urlsplit

import pytest

from tests.serving import MakeSettings, Served, serve

ADMIN = "admin@example.com"
PASSWORD = "correct horse battery"

Raw = Callable[[bytes], Awaitable[bytes]]


@pytest.fixture
async def with_admin(make_settings: MakeSettings) -> AsyncIterator[Served]:
    """A server with a first admin; hashing the password takes a while, so only who logs in asks for it."""
    async with serve(make_settings(admin_email=ADMIN, admin_password=PASSWORD)) as served:
        yield served


@pytest.fixture
def raw(server: Served) -> Raw:
    """Sends bytes as they are; returns what comes until the server closes or falls silent for a second."""

    async def send(data: bytes) -> bytes:
        url = urlsplit(server.url)
        reader, writer = await asyncio.open_connection(url.hostname, url.port)
        said = b""
        try:
            writer.write(data)
            while more := await asyncio.wait_for(reader.read(65536), 1):
                said += more
        except (TimeoutError, ConnectionError):
            pass
        finally:
            writer.close()
        return said

    return send
