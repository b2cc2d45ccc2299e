"""The headers of every response."""

SECURITY_HEADERS: list[tuple[bytes, bytes]] = [
    # The headers that Helmet 8 sets by default, with the policy narrowed to what an API and its docs page need.
    (b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'; img-src 'self' data:; "
     b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"origin-agent-cluster", b"?1"),
    (b"referrer-policy", b"no-referrer"),
    (b"strict-transport-security", b"max-age=31536000; includeSubDomains"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-dns-prefetch-control", b"off"),
    (b"x-download-options", b"noopen"),
    (b"x-frame-options", b"SAMEORIGIN"),
    (b"x-permitted-cross-domain-policies", b"none"),
    (b"x-xss-protection", b"0"),
]  # fmt: skip
"""Sent by `web.protocol`; with another server, the application's outermost layer adds them."""

NOT_STORED = (b"cache-control", b"no-store")
"""Responses contain tokens, keys and private data, and shared caches do not treat `x-api-key` as a credential."""


class Written:
    """Encodes a server's default headers and `SECURITY_HEADERS`, cached for a second: the server builds a new list with
    each new date."""

    __slots__ = ("_block", "_of")

    def __init__(self) -> None:
        self._of: list[tuple[bytes, bytes]] = []
        self._block = write(SECURITY_HEADERS)

    def __call__(self, of_server: list[tuple[bytes, bytes]]) -> bytes:
        """The encoded header lines."""
        if of_server is not self._of:
            self._block = write([*of_server, *SECURITY_HEADERS])
            self._of = of_server
        return self._block


def write(headers: list[tuple[bytes, bytes]]) -> bytes:
    """Encode headers as lines."""
    return b"\r\n".join([*map(b": ".join, headers), b""])
