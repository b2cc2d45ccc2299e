"""A Redis URL says where, who and how, and is never repeated: it may hold a password."""

import ssl

import pytest

from amrikyy.redis_link import RedisAddress


def test_a_url_is_taken_apart() -> None:
    address = RedisAddress.parse("redis://ana:p%40ss@redis.example:7000/3")
    assert (address.host, address.port, address.db, address.path) == ("redis.example", 7000, 3, None)
    assert (address.username, address.password, address.tls) == ("ana", "p@ss", None)
    assert str(address) == "redis.example:7000"
    assert "p@ss" not in repr(address)
    assert "p%40ss" not in repr(address)


def test_what_a_url_leaves_out_is_the_usual() -> None:
    address = RedisAddress.parse("redis://")
    assert (address.host, address.port, address.db, address.password) == ("localhost", 6379, 0, None)


def test_a_unix_socket_has_a_path() -> None:
    address = RedisAddress.parse("unix://:secret@/run/redis.sock?db=2")
    assert (address.path, address.db, address.password) == ("/run/redis.sock", 2, "secret")
    assert str(address) == "/run/redis.sock"


def test_tls_is_verified_unless_the_url_says_otherwise() -> None:
    verified = RedisAddress.parse("rediss://redis.example").tls
    assert verified is not None
    assert verified.verify_mode is ssl.CERT_REQUIRED
    assert verified.check_hostname
    unverified = RedisAddress.parse("rediss://redis.example?ssl_cert_reqs=none").tls
    assert unverified is not None
    assert unverified.verify_mode is ssl.CERT_NONE


@pytest.mark.parametrize(
    "url",
    [
        "http://:secret@redis.example",
        "redis://:secret@redis.example:port",
        "redis://:secret@redis.example:0",
        "redis://:secret@redis.example/cache",
        "redis://:secret@redis.example/1/2",
        "redis://:secret@redis.example?db=-1",
        "redis://:secret@redis.example?db=cache",
        "redis://:secret@redis.example?colour=blue",
        "redis://:secret@redis.example?ssl_cert_reqs=none",
        "rediss://:secret@redis.example?ssl_ca_certs=/nowhere/ca.pem",
    ],
)
def test_a_wrong_url_is_one_line_without_its_password(url: str) -> None:
    with pytest.raises(ValueError, match=r"^REDIS_URL: [^\n]+[^.]\.$") as wrong:
        RedisAddress.parse(url)
    assert "secret" not in str(wrong.value)
