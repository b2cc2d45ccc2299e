"""Requests as spans, by OpenTelemetry's conventions for HTTP servers."""

import re

from amrikyy.telemetry.metrics import METHODS
from amrikyy.telemetry.spans import Clean, Description, Value
from amrikyy.web.exchange import Exchange

_STAGES = {stage: f"amrikyy.{stage}_ms" for stage in ("auth", "limit", "cache", "plan", "model")}

_OURS = re.compile(r"req_[0-9a-f]{24}")


def describe_exchange(answered: tuple[str, Exchange], _clean: Clean | None) -> Description:
    """The span of a request, from its method and its exchange."""
    method, exchange = answered
    method = method if method in METHODS else "_OTHER"
    agent, _, operation = (exchange.operation or "").partition(".")
    attributes: dict[str, Value | None] = {
        "http.request.method": method,
        "http.route": exchange.route,
        "http.response.status_code": exchange.status,
        "gen_ai.agent.name": agent or None,
        "amrikyy.operation": operation or None,
        # A caller's own id may be anything, and so is redacted, which costs as much as all the rest.
        "amrikyy.request.id" if _OURS.fullmatch(exchange.request_id) else "http.request.header.x-request-id": (
            exchange.request_id
        ),
        "user.id": exchange.principal.id if exchange.principal is not None else None,
    }
    for stage, duration_ms in exchange.timings:
        attributes[_STAGES.get(stage, stage)] = round(duration_ms, 3)
    error = None
    if exchange.status is None:
        error = "left"  # the client disconnected before there was an answer
    elif exchange.status >= 500:
        error = str(exchange.status)
    return Description(f"{method} {exchange.route}", "server", attributes, error)
