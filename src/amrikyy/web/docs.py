"""`/api/openapi.json`, and `/api/docs`: the same document as a page for people."""

import asyncio
import json
import re
from datetime import UTC, date, datetime
from functools import cache, lru_cache
from typing import Any

from starlette.responses import Response

from amrikyy.web.endpoint import PUBLIC, Answer, Call, Endpoint

DEFAULT_SERVER = "http://localhost:3001"
"""The server in the examples, unless the request's Host header names it."""

_HOST = re.compile(r"[A-Za-z0-9.\-]{1,253}(:\d{1,5})?|\[[0-9a-f:]+\](:\d{1,5})?")


def docs_endpoints(endpoints: list[Endpoint]) -> list[Endpoint]:
    """The two routes. They are rendered on demand from all endpoints, including these two: the document once, the page
    once a day, for the dates in its examples."""

    @cache
    def described() -> dict[str, Any]:
        from amrikyy.web.openapi import openapi  # imported late: only these requests need it

        return openapi([*endpoints, *own])

    @cache
    def as_json() -> bytes:
        return json.dumps(described(), ensure_ascii=False).encode()

    @lru_cache(maxsize=1)
    def as_page(today: date) -> bytes:
        from amrikyy.web.docs_page import render

        return render(described(), today).encode()

    async def document(_: Call) -> Answer:
        return Response(await asyncio.to_thread(as_json), media_type="application/json")

    async def page(call: Call) -> Answer:
        host = call.header(b"host") or ""
        page_bytes = await asyncio.to_thread(as_page, datetime.now(UTC).date())
        here = f"{call.scope['scheme']}://{host}" if _HOST.fullmatch(host) else DEFAULT_SERVER
        return Response(page_bytes.replace(DEFAULT_SERVER.encode(), here.encode()), media_type="text/html")

    own = [
        Endpoint(method="GET", path="/api/openapi.json", handler=document, needs=PUBLIC, tag="Documentation",
                 summary="This API as an OpenAPI document"),
        Endpoint(method="GET", path="/api/docs", handler=page, needs=PUBLIC, tag="Documentation",
                 summary="This API as a page", media_type="text/html"),
    ]  # fmt: skip
    return own
