"""Which address a request is counted for."""

import pytest

from amrikyy.ratelimit.addresses import Networks, client_address, counted_as

PROXIES = Networks("TRUSTED_PROXIES", ["10.0.0.0/8", "::1"])


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("203.0.113.9", "198.51.100.1", "203.0.113.9"),  # nobody vouches for the header
        ("10.0.0.1", None, "10.0.0.1"),
        ("10.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "1.1.1.1, 198.51.100.1", "198.51.100.1"),  # what is left of it is the client's invention
        ("10.0.0.1", "198.51.100.1, 10.1.1.1", "198.51.100.1"),
        ("10.0.0.1", "10.2.2.2, 10.1.1.1", "10.2.2.2"),
        ("10.0.0.1", "nonsense", "10.0.0.1"),
        ("10.0.0.1", "nonsense, 10.1.1.1", "10.1.1.1"),
        ("::1", "2001:db8::1", "2001:db8::1"),
        ("::ffff:10.0.0.1", "198.51.100.1", "198.51.100.1"),
        (None, "198.51.100.1", None),
    ],
)
def test_a_proxy_is_believed_only_when_it_is_trusted(
    peer: str | None, forwarded: str | None, client: str | None
) -> None:
    assert client_address(peer, forwarded, PROXIES) == client


def test_ipv6_is_counted_by_its_network() -> None:
    assert counted_as("2001:db8:1:2:3:4:5:6") == counted_as("2001:db8:1:2:ffff::1") == "2001:db8:1:2::/64"
    assert counted_as("2001:db8:1:3::1") != counted_as("2001:db8:1:2::1")
    assert counted_as("::ffff:198.51.100.1") == counted_as("198.51.100.1") == "198.51.100.1"


def test_ranges_are_ranges() -> None:
    listed = Networks("RATE_LIMIT_WHITELIST", ["127.0.0.1", "10.0.0.0/8", "2001:db8::/32"])
    assert [address in listed for address in ("127.0.0.1", "10.9.9.9", "2001:db8:5::1", "127.0.0.2", "x")] == [
        True, True, True, False, False,
    ]  # fmt: skip
    assert "127.0.0.1" not in Networks("RATE_LIMIT_WHITELIST", [])
    with pytest.raises(ValueError, match=r"RATE_LIMIT_WHITELIST: '10\.0\.0' "):
        Networks("RATE_LIMIT_WHITELIST", ["10.0.0"])
