"""The upper bound: an ASGI app that only answers with fixed bytes, on uvicorn as our server configures it."""

import asyncio
import sys
from typing import Any

import uvicorn

BODY = b'{"success":true,"agent":"travel","operation":"searchFlights"}' + b" " * 240
EVENT = b'id: run_0123456789abcdef0123456789abcdef:100\nevent: token\ndata: {"chunk":" token"}\n\n'
END = b"event: complete\ndata: {}\n\n"
TOKENS = 200
PACE_HEADER = b"x-tokens-per-s"


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answer /api/stream/* with a stream, at the pace that a header asks for, and all else with 300 bytes of JSON."""
    message = await receive()
    while message.get("more_body"):
        message = await receive()
    if not scope["path"].startswith("/api/stream"):
        length = (b"content-length", b"%d" % len(BODY))
        headers = [(b"content-type", b"application/json"), length]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": BODY})
        return
    tokens_per_s = next((float(value) for name, value in scope["headers"] if name == PACE_HEADER), 0.0)
    headers = [(b"content-type", b"text/event-stream")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for _ in range(TOKENS):
        await send({"type": "http.response.body", "body": EVENT, "more_body": True})
        if tokens_per_s:
            await asyncio.sleep(1 / tokens_per_s)
    await send({"type": "http.response.body", "body": END})


if __name__ == "__main__":
    uvicorn.run(
        app, host="127.0.0.1", port=int(sys.argv[1]), loop="uvloop", http="httptools", ws="none", lifespan="off",
        log_config=None, access_log=False, server_header=False, proxy_headers=False, timeout_keep_alive=75,
    )  # fmt: skip
