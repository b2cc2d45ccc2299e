"""Admission: checks the caller's permission, then that there is room, then the limits, and only then the body.

No error of a body is reported before the checks ahead of it have passed; one that has arrived is read while Redis
decides on the limits."""

import asyncio
import re
import time
from typing import Any
from urllib.parse import parse_qsl

from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect
from starlette.types import Receive

from amrikyy.auth.roles import Permission
from amrikyy.errors import (
    AmrikyyError,
    BodyTooLarge,
    Forbidden,
    UnsupportedMediaType,
    ValidationFailed,
)
from amrikyy.ratelimit import Decision
from amrikyy.spend import Allowance
from amrikyy.web.connection import CONNECTION, Connection
from amrikyy.web.endpoint import Call
from amrikyy.web.exact import check_numbers, inexact
from amrikyy.web.idempotency import claim_of
from amrikyy.web.launch import allowance_of
from amrikyy.web.limits import charge_request

MAX_BODY = 1_000_000
"""In bytes. The largest request that an operation accepts is some tens of kilobytes."""

BODY_TIMEOUT_S = 30
"""How long a body may take to arrive; a slower one only occupies a connection."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


async def admit(call: Call) -> None:
    """Check the permission, that there is room, and the limits; then read and validate the query and the body.

    Raises:
        Forbidden: the caller's role lacks the permission.
        Unavailable: the server is stopping, or full; nothing was counted.
        RateLimited: a limit refused; nothing was counted.
        BudgetSpent: nothing is left of the caller's budget; nothing was counted.
        ValidationFailed, BodyTooLarge, UnsupportedMediaType: the request is wrong.
    """
    endpoint, headers = call.endpoint, call.exchange.headers
    if isinstance(endpoint.needs, Permission):
        role = call.principal.role
        if endpoint.needs not in role.permissions:
            raise Forbidden(
                f"This needs the permission {endpoint.needs.value}, which the role {role.value} lacks.",
                details=[{"permission": endpoint.needs.value, "role": role.value}],
            )
    has_key = b"idempotency-key" in headers
    if has_key and endpoint.has_limits:
        call.claim = await claim_of(call)
    call.starts_nothing = call.claim is not None or (endpoint.streams and bool(headers.get(b"last-event-id")))
    # A route without limits of its own looks up a key after its body.
    begins = endpoint.starts_runs and not call.starts_nothing and (endpoint.has_limits or not has_key)
    if begins:  # first of all, so that refusing costs little
        call.runtime.runner.check_open()
        if endpoint.check_room is not None:
            endpoint.check_room(call)
    early = EarlyBody(call) if endpoint.looks_ahead is not None and _may_look_ahead(call) else None
    began = time.perf_counter()
    decision = await charge_request(call, early.read if early is not None else None)
    call.exchange.timings.append(("limit", (time.perf_counter() - began) * 1000))
    if begins and (allowance := allowance_of(call)) is not None:
        await _check_budget(call, allowance, decision)
    if endpoint.query is not None:
        call.query = _validated(endpoint.query, dict(parse_qsl(call.scope["query_string"].decode("latin-1"))))
    if endpoint.body is not None:
        if early is not None and early.is_read:
            call.body = early.body
        else:
            call.body = _read_as(endpoint.body, await _read_body(call))


def _may_look_ahead(call: Call) -> bool:
    """Whether the request can be prepared while its limits are decided: it starts a run, and has arrived completely."""
    if call.runtime.runner.is_alone:
        return False
    connection: Connection | None = call.scope.get(CONNECTION)
    has_whole_body = connection is not None and connection.has_whole_body
    return has_whole_body and not call.starts_nothing and b"idempotency-key" not in call.exchange.headers


class EarlyBody:
    """A body that is read while the limits are decided; its errors are only reported once these have let it pass."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._read: BaseModel | Exception | None = None

    async def read(self) -> None:
        """Read and validate the body, and look ahead with it. It has arrived, so that this does not wait."""
        endpoint = self._call.endpoint
        assert endpoint.body is not None
        assert endpoint.looks_ahead is not None
        try:
            self._read = _read_as(endpoint.body, await _read_body(self._call))
        except (AmrikyyError, ClientDisconnect) as error:
            self._read = error
        else:
            endpoint.looks_ahead(self._call, self._read)

    @property
    def is_read(self) -> bool:
        """Whether there was time to read it."""
        return self._read is not None

    @property
    def body(self) -> BaseModel:
        """The validated body.

        Raises:
            ValidationFailed, BodyTooLarge, UnsupportedMediaType: it is invalid.
        """
        if isinstance(self._read, Exception):
            raise self._read
        assert self._read is not None
        return self._read


async def _check_budget(call: Call, allowance: Allowance, decision: Decision | None) -> None:
    """Refuse callers without a budget left. The cost of a run is reserved call by call, once it is known."""
    try:
        await allowance.check()
    except AmrikyyError:
        if decision is not None:  # a refused request uses up no limit
            await call.runtime.limits.limiter.refund(decision)
        raise


def _read_as(model: type[BaseModel], body: bytes) -> Any:
    """The validated body; an empty one is an object without fields."""
    body = body or b"{}"
    check_numbers(body)
    wrong = inexact(model, body)
    try:
        read = model.__pydantic_validator__.validate_json(body, by_alias=True, by_name=False)
    except ValidationError as error:
        raise ValidationFailed.from_pydantic(error, model, also=wrong) from None
    if wrong:
        raise ValidationFailed.of(wrong)
    return read


def _validated(model: type[BaseModel], values: dict[str, str]) -> BaseModel:
    # Nothing that can be searched for contains a control character, and PostgreSQL fails on a NUL.
    if strange := [name[:64] for name, value in values.items() if _CONTROL.search(value)]:
        details = [
            {"field": name, "message": "Contains a control character", "type": "control_character"} for name in strange
        ]
        raise ValidationFailed("The query contains a control character; send it again without it.", details=details)
    try:
        return model.model_validate(values, by_alias=True, by_name=False)
    except ValidationError as error:
        raise ValidationFailed.from_pydantic(error, model, where="query parameters") from None


async def _read_body(call: Call) -> bytes:
    headers = call.exchange.headers
    if headers.get(b"content-encoding", b"identity") != b"identity":
        raise UnsupportedMediaType("Send the body as it is, without Content-Encoding.")
    length = headers.get(b"content-length")
    if length is not None and (not length.isdigit() or int(length) > MAX_BODY):
        raise _too_large()
    connection: Connection | None = call.scope.get(CONNECTION)
    body = connection.take_body(call.scope) if connection is not None else None
    if body is None:
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                body = await _received(call.receive)
        except TimeoutError:
            raise ValidationFailed(f"The body did not arrive within {BODY_TIMEOUT_S} s.", code="body_timeout") from None
    if len(body) > MAX_BODY:
        raise _too_large()
    content_type = headers.get(b"content-type", b"")
    if content_type != b"application/json" and body and not _is_json(content_type):
        raise UnsupportedMediaType("Send the body as JSON, with the header Content-Type: application/json.")
    return body


def _too_large() -> BodyTooLarge:
    return BodyTooLarge(f"The body may have at most {MAX_BODY} bytes.")


async def _received(receive: Receive) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        body += message.get("body", b"")
        if len(body) > MAX_BODY or not message.get("more_body", False):
            return bytes(body)


def _is_json(content_type: bytes) -> bool:
    media_type = content_type.partition(b";")[0].strip().lower()
    return media_type == b"application/json" or media_type.endswith(b"+json")
