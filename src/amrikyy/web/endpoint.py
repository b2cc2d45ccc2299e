"""How a route is declared, and how a request finds it.

One declaration gives the route, who may use it, the type of its body, and its entry in the OpenAPI
document, so that none of them can be forgotten or contradict another.
"""

import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec
from pydantic import BaseModel
from starlette.types import ASGIApp, Receive, Scope, Send

from amrikyy.auth.audit import Actor
from amrikyy.auth.principal import Principal
from amrikyy.auth.roles import Permission
from amrikyy.errors import AmrikyyError, MethodNotAllowed, NotFound
from amrikyy.runs.idempotency import Claim
from amrikyy.web.exchange import Exchange, exchange_of

if TYPE_CHECKING:
    from amrikyy.agents.reuse import Ahead
    from amrikyy.runtime import Runtime

PUBLIC: Final = "public"
"""Anybody may use the route, without a credential. Stated, never the default."""

ANY_CALLER: Final = "any caller"
"""Any caller with a valid credential may use the route, whatever the role."""

Needs = Permission | Literal["public", "any caller"]

ADMINISTRATION = frozenset({Permission.AGENT_MANAGE, Permission.CACHE_MANAGE})
"""Routes that need one of these permissions also count against the limit `admin`."""


class Call(msgspec.Struct, eq=False):
    """One admitted request, as a handler sees it.

    Attributes:
        principal: the authenticated caller; None in spite of its type on public routes, which are for anybody.
        starts_nothing: it only asks for an existing run: it resumes a stream, or repeats a keyed request.
    """

    scope: Scope
    receive: Receive
    endpoint: "Endpoint"
    params: Mapping[str, str]
    exchange: Exchange
    principal: Principal
    runtime: "Runtime"
    ahead: "Ahead | None" = None
    body: Any = None
    query: Any = None
    claim: Claim | None = None
    starts_nothing: bool = False

    __repr__ = object.__repr__  # the scope has the caller's credential

    @property
    def address(self) -> str | None:
        """The client's address, as reported by trusted proxies."""
        return self.exchange.address

    @property
    def actor(self) -> Actor:
        """The caller, for the audit log."""
        return Actor.of(self.principal, self.exchange.request_id, self.address)

    def header(self, name: bytes) -> str | None:
        """The value of a header by its lower-case name; the first if there are several."""
        value = self.exchange.headers.get(name)
        return None if value is None else str(value, "latin-1")


class JsonBytes(msgspec.Struct, eq=False):
    """A JSON response whose body is encoded already; an ASGI application, like every response.

    Attributes:
        body: the JSON.
        status: the status code.
        headers: further headers.
    """

    body: bytes
    status: int = 200
    headers: Sequence[tuple[bytes, bytes]] = ()

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        """Send the response."""
        length = b"%d" % len(self.body)
        headers = [(b"content-type", b"application/json"), (b"content-length", length), *self.headers]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self.body})


Answer = ASGIApp | BaseModel
Handler = Callable[[Call], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class Header:
    """A request header that a route reads, for the documentation."""

    name: str
    description: str
    pattern: str | None = None


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """One method of one path.

    Attributes:
        path: a template; its parameters are camelCase, as in the documentation ("/api/runs/{runId}").
        needs: the permission, or PUBLIC, or ANY_CALLER.
        body: the model of the JSON body, which is read only after everything else has been checked.
        example: a body, for the documentation, where the model's own example would not do.
        query: the model of the query string.
        answer: the model of a success, for the documentation; the handler returns one, or a response of its own.
        status: the status of a success.
        media_type: the media type of a success.
        other_media_types: further media types in which the same is available.
        events: for a stream, the model of each event by its name.
        headers: request headers that the handler reads.
        operation: the `agent.operation` that the request runs, whose limits it counts against.
        limit: another limit that it counts against, if the operation is not known before the body.
        unlimited: requests count against no limit (probes).
        or_lately: a credential that was good within the last hour may be used if it cannot be checked now.
        looks_ahead: called with the body, if it has arrived and is valid, while the limits are decided.
        check_room: raises Unavailable if there is no room for what the request would start, whatever its body.
        locates: every answer about what the request has started says in `Location` where it is.
        also: further answers by status, each with its meaning and the model of its body.
        errors: the errors that a caller must expect beyond those that the other attributes imply.
        hidden: left out of the documentation (it only exists to explain a mistake).
    """

    method: str
    path: str
    handler: Handler
    needs: Needs
    tag: str
    summary: str
    description: str = ""
    body: type[BaseModel] | None = None
    example: Mapping[str, Any] | None = None
    query: type[BaseModel] | None = None
    answer: type[BaseModel] | None = None
    status: int = 200
    media_type: str = "application/json"
    other_media_types: tuple[str, ...] = ()
    events: Mapping[str, type[BaseModel]] = field(default_factory=dict)
    headers: tuple[Header, ...] = ()
    operation: str | None = None
    limit: str | None = None
    unlimited: bool = False
    or_lately: bool = False
    looks_ahead: Callable[[Call, Any], None] | None = None
    check_room: Callable[[Call], None] | None = None
    locates: bool = False
    also: Mapping[int, tuple[str, type[BaseModel] | None]] = field(default_factory=dict)
    errors: tuple[type[AmrikyyError], ...] = field(default=())
    hidden: bool = False

    @cached_property
    def has_limits(self) -> bool:
        """Whether it counts against the limits of an agent or operation before its body is known."""
        return self.operation is not None or self.limit is not None

    @cached_property
    def streams(self) -> bool:
        """Whether a success is a stream of events."""
        return self.media_type == "text/event-stream"

    @cached_property
    def limits_of_any(self) -> tuple[str, ...]:
        """The limits that any request counts against, whatever it starts."""
        return ("global", "admin") if self.needs in ADMINISTRATION else ("global",)

    @cached_property
    def limits(self) -> tuple[str, ...]:
        """`limits_of_any`, and the limits of what it runs: the agent's and operation's, or the one in `limit`."""
        of_operation = (self.operation.partition(".")[0], self.operation) if self.operation is not None else ()
        return (*self.limits_of_any, *of_operation, *((self.limit,) if self.limit is not None else ()))

    @cached_property
    def starts_runs(self) -> bool:
        """Whether its body says what to run."""
        return self.body is not None and self.needs in (Permission.AGENT_EXECUTE, Permission.AGENT_STREAMING)


_NOWHERE: Mapping[str, Endpoint] = MappingProxyType({})
_NO_PARAMS: Mapping[str, str] = MappingProxyType({})


class Routes:
    """Finds the endpoint of a request and answers with what its handler returns.

    Paths without parameters, which nearly all are (each operation has its own), are looked up in a dictionary.
    """

    def __init__(self, endpoints: list[Endpoint], admit: Callable[[Call], Awaitable[None]]) -> None:
        self.endpoints = endpoints
        self._admit = admit
        self._static: dict[str, dict[str, Endpoint]] = {}
        templates: dict[str, dict[str, Endpoint]] = {}
        for endpoint in endpoints:
            table = templates if "{" in endpoint.path else self._static
            methods = table.setdefault(endpoint.path, {})
            if endpoint.method in methods:
                raise ValueError(f"two endpoints for {endpoint.method} {endpoint.path}")
            methods[endpoint.method] = endpoint
            # A HEAD on a stream would wait for the end of a run, only to send nothing.
            if endpoint.method == "GET" and not endpoint.streams:
                methods["HEAD"] = endpoint
        by_parameters = sorted(templates.items(), key=lambda item: item[0].count("{"))
        self._templates = [(_compile(path), methods) for path, methods in by_parameters]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one HTTP request."""
        endpoint, params = self._find(scope)
        exchange: Any = scope["exchange"]
        call = Call(scope, receive, endpoint, params, exchange, exchange.principal, exchange.runtime)
        exchange.route = endpoint.path
        exchange.operation = endpoint.operation
        if exchange.span is not None:
            exchange.traced = endpoint.operation is not None or (exchange.span.keeps_all and not endpoint.unlimited)
        try:
            await self._admit(call)
            answer = await endpoint.handler(call)
        finally:
            if call.ahead is not None:  # the request was refused, or starts nothing
                call.ahead.asked.abandon()
        if isinstance(answer, BaseModel):
            body = answer.__pydantic_serializer__.to_json(answer, by_alias=True)
            answer = JsonBytes(body, endpoint.status)
        await answer(scope, receive, send)

    def _find(self, scope: Scope) -> tuple[Endpoint, Mapping[str, str]]:
        path, method = scope["path"], scope["method"]
        if endpoint := self._static.get(path, _NOWHERE).get(method):
            return endpoint, _NO_PARAMS
        allowed: set[str] = set()
        for methods, params in self._matches(path):
            if endpoint := methods.get(method):
                return endpoint, params
            allowed.update(methods)
        if not allowed:
            raise NotFound("There is nothing at this path; /api/docs lists what there is.", code="no_such_path")
        names = ", ".join(sorted(allowed))
        exchange_of(scope).extra_headers.append((b"allow", names.encode()))
        raise MethodNotAllowed(f"This path supports {names}, not {method[:16]}.")

    def _matches(self, path: str) -> Iterator[tuple[dict[str, Endpoint], Mapping[str, str]]]:
        """The endpoints at a path: those with exactly this path, else every template that fits, most specific first."""
        if methods := self._static.get(path):
            yield methods, _NO_PARAMS
            return
        for pattern, methods in self._templates:
            if match := pattern.fullmatch(path):
                yield methods, match.groupdict()


def _compile(template: str) -> re.Pattern[str]:
    parts = re.split(r"\{(\w+)\}", template)
    # No control characters: no name contains one, and PostgreSQL fails on a NUL.
    pattern = "".join(
        f"(?P<{part}>[^/\\x00-\\x1f\\x7f]+)" if index % 2 else re.escape(part) for index, part in enumerate(parts)
    )
    return re.compile(pattern)
