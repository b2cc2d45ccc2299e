"""Going out through a proxy: a real one, and a server with TLS behind it."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from amrikyy.http_client import HttpClient, NotConnected, Proxy
from amrikyy.http_client.request import Origin

PATIENCE_S = 5


@dataclass
class Way:
    """A proxy, and what it was asked for."""

    port: int = 0
    answer: bytes = b"HTTP/1.1 200 Connection established\r\n\r\n"
    asked: list[bytes] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.asked.append(head := await reader.readuntil(b"\r\n\r\n"))
        writer.write(self.answer)
        if b" 200 " not in self.answer:
            writer.close()
            return
        host, _, port = head.split()[1].rpartition(b":")
        there, back = await asyncio.open_connection(host.decode(), int(port))
        await asyncio.gather(_pour(reader, back), _pour(there, writer))


async def _pour(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while piece := await source.read(65536):
        sink.write(piece)
    sink.close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    names = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(1).not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
        .add_extension(names, critical=False).sign(key, hashes.SHA256())
    )  # fmt: skip
    file = tmp_path_factory.mktemp("tls") / "server.pem"
    unencrypted = serialization.NoEncryption()
    file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, unencrypted)
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return file


@pytest.fixture
async def way() -> AsyncIterator[Way]:
    proxy = Way()
    async with await asyncio.start_server(proxy.serve, "127.0.0.1", 0) as server:
        proxy.port = server.sockets[0].getsockname()[1]
        yield proxy


@asynccontextmanager
async def answering(tls: ssl.SSLContext | None) -> AsyncIterator[int]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0, ssl=tls) as server:
        yield server.sockets[0].getsockname()[1]


async def fetch(url: str, certificate: Path, proxy: Proxy) -> bytes:
    http = HttpClient(tls=ssl.create_default_context(cafile=str(certificate)), proxy=proxy)
    try:
        reply = await http.fetch("GET", url, max_body=1000, connect_s=PATIENCE_S, timeout_s=PATIENCE_S)
    finally:
        await http.close()
    return reply.body


async def test_a_server_is_reached_through_the_proxy_which_sees_its_name_alone(way: Way, certificate: Path) -> None:
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate)
    proxy = Proxy.parse(f"http://ana:p%40ss@127.0.0.1:{way.port}", None)
    async with answering(tls) as port:
        assert await fetch(f"https://127.0.0.1:{port}/secret", certificate, proxy) == b"hi"
        head = f"CONNECT 127.0.0.1:{port} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\n"
        assert way.asked == [f"{head}proxy-authorization: Basic YW5hOnBAc3M=\r\n\r\n".encode()]

        direct = Proxy.parse(f"http://127.0.0.1:{way.port}", "example.com, 127.0.0.1")
        assert await fetch(f"https://127.0.0.1:{port}/", certificate, direct) == b"hi"
    async with answering(None) as port:
        assert await fetch(f"http://127.0.0.1:{port}/", certificate, proxy) == b"hi"
    assert len(way.asked) == 1


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "refused with 407"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "gave no answer of a proxy"),
        (b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 5000, "gave no answer of a proxy"),
    ],
)
async def test_a_proxy_that_refuses_is_named(way: Way, certificate: Path, answer: bytes, why: str) -> None:
    way.answer = answer.replace(b" 200 ", b" 2OO ") if b"x: y" not in answer else answer
    with pytest.raises(NotConnected, match=f"the proxy of HTTPS_PROXY {why}"):
        await fetch("https://127.0.0.1:9/", certificate, Proxy.parse(f"127.0.0.1:{way.port}", None))


async def test_a_proxy_that_is_not_there_is_not_connected(certificate: Path) -> None:
    with pytest.raises(NotConnected, match="the proxy of HTTPS_PROXY cannot be reached"):
        await fetch("https://127.0.0.1:9/", certificate, Proxy.parse("http://127.0.0.1:9", None))


@pytest.mark.parametrize(
    ("direct", "host", "through"),
    [
        (None, "api.example.com", True),
        ("example.com", "api.example.com", False),
        (".example.com", "API.example.com", False),
        ("*.example.com", "api.example.com", False),
        ("example.com", "badexample.com", True),
        ("*", "api.example.com", False),
    ],
)
def test_hosts_and_domains_are_reached_without_it(direct: str | None, host: str, through: bool) -> None:
    assert Proxy.parse("http://proxy:3128", direct).is_for(Origin(host, 443, tls=True)) is through


@pytest.mark.parametrize(
    "url", ["https://u:hunter2@proxy:1", "socks5://u:hunter2@p", "http://", "http://p:x", "http://p..x", "http://p/x"]
)
def test_what_is_no_proxy_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ValueError, match=r"^HTTPS_PROXY") as caught:
        Proxy.parse(url, None)
    assert "hunter2" not in str(caught.value)
