"""The limit: an ASGI app that does nothing but answer the same bytes, on the same server."""

from typing import Any

BODY = b'{"success":true,"agent":"travel","operation":"searchFlights"}' + b" " * 240
TOKENS = 200
EVENT = b'id: run_0123456789abcdef:10\nevent: token\ndata: {"chunk":" token"}\n\n'


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answer a stream to POST /stream, and 300 bytes of JSON to everything else."""
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    streams = scope["path"] == "/stream"
    if scope["method"] == "POST":
        await receive()
    content_type = b"text/event-stream" if streams else b"application/json"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", content_type)]})
    if streams:
        for _ in range(TOKENS):
            await send({"type": "http.response.body", "body": EVENT, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
    else:
        await send({"type": "http.response.body", "body": BODY})
