"""The one JSON body of every error, in a response or in an event."""

import math
from typing import Any

import msgspec

from amrikyy.errors import AmrikyyError, Unauthenticated
from amrikyy.web.endpoint import JsonBytes

RETRY_AFTER_S = 5
"""The Retry-After of a 429 or a 503 that has none of its own: clients are told to wait for it."""

MAX_RETRY_AFTER_S = 31 * 86_400
"""The longest Retry-After: a budget may be spent until the end of the month."""

encode = msgspec.json.Encoder().encode


def error_body(error: AmrikyyError, request_id: str | None) -> dict[str, Any]:
    """The body of §2: error, code, message, details and the request's id."""
    return {
        "success": False,
        "error": error.title,
        "code": error.code,
        "message": error.message,
        "details": error.details,
        "requestId": request_id,
    }


def error_response(error: AmrikyyError, request_id: str) -> JsonBytes:
    """The error as an HTTP response."""
    headers: list[tuple[bytes, bytes]] = []
    retry_after_s = error.retry_after_s
    if retry_after_s is None and error.status in (429, 503):
        retry_after_s = RETRY_AFTER_S
    if retry_after_s is not None and math.isfinite(retry_after_s):  # it may come from a provider
        headers.append((b"retry-after", b"%d" % min(max(1, math.ceil(retry_after_s)), MAX_RETRY_AFTER_S)))
    if isinstance(error, Unauthenticated):
        headers.append((b"www-authenticate", b"Bearer"))  # RFC 9110 §11.6.1 wants a challenge with every 401
    return JsonBytes(encode(error_body(error, request_id)), error.status, headers)
