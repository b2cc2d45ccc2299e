"""Our own HTTP/1.1 client, for what this server does all day: it passes a response on as it arrives.

A model call through it costs a third of what the usual client takes, and a token half (docs/decisions/0009).
"""

from amrikyy.http_client.client import Collector, HttpClient, Reply
from amrikyy.http_client.connection import (
    BrokenOff,
    ConnectTimeout,
    Head,
    HttpFailure,
    NotConnected,
    Receiver,
    TooLarge,
)
from amrikyy.http_client.patience import Patience
from amrikyy.http_client.proxy import Proxy
from amrikyy.http_client.request import encode_headers

__all__ = [
    "BrokenOff", "Collector", "ConnectTimeout", "Head", "HttpClient", "HttpFailure", "NotConnected", "Patience",
    "Proxy", "Receiver", "Reply", "TooLarge", "encode_headers",
]  # fmt: skip
