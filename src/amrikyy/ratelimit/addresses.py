"""The client's address, behind trusted proxies, and the address that it is counted under."""

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address

IPV6_PREFIX = 64
"""Bits. Whoever has one IPv6 address usually has the whole /64 (RFC 6177), and could use a new one each time."""

MAX_HOPS = 20
"""The most entries of X-Forwarded-For that are looked at."""


class Networks:
    """A set of addresses and CIDR ranges.

    Args:
        variable: the variable that configures them, for the message.
        entries: "10.0.0.1", "10.0.0.0/8", "::1".

    Raises:
        ValueError: an entry is neither an address nor a range.
    """

    def __init__(self, variable: str, entries: Iterable[str]) -> None:
        self._networks: list[Network] = []
        for entry in entries:
            try:
                self._networks.append(ip_network(entry, strict=False))
            except ValueError:
                raise ValueError(f"{variable}: {entry!r} is neither an address nor a range like 10.0.0.0/8.") from None
        self._contains = lru_cache(maxsize=4096)(self._look_up)
        self.is_empty = not self._networks

    def __contains__(self, address: str) -> bool:
        return not self.is_empty and self._contains(address)

    def _look_up(self, address: str) -> bool:
        parsed = _parse(address)
        return parsed is not None and any(parsed in network for network in self._networks)


def client_address(peer: str | None, forwarded_for: str | None, trusted: Networks) -> str | None:
    """The address of the client: the last one in X-Forwarded-For that is not a trusted proxy's.

    Anything to the left of it may be forged.

    Args:
        peer: the address at the other end of the connection.
        forwarded_for: the whole header; believed only if `peer` is trusted.
        trusted: TRUSTED_PROXIES.
    """
    if peer is None or not forwarded_for or peer not in trusted:
        return peer
    address = peer
    for hop in reversed(forwarded_for.rsplit(",", MAX_HOPS)):
        parsed = _parse(hop.strip())
        if parsed is None:
            return address
        address = str(parsed)
        if address not in trusted:
            return address
    return address


@lru_cache(maxsize=4096)
def counted_as(address: str) -> str:
    """What an address is counted as: an IPv6 address as its /64."""
    parsed = _parse(address)
    if isinstance(parsed, IPv6Address):
        return str(ip_network((parsed, IPV6_PREFIX), strict=False))
    return str(parsed) if parsed is not None else address


def _parse(text: str) -> Address | None:
    try:
        address = ip_address(text.partition("%")[0].strip("[]"))
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
