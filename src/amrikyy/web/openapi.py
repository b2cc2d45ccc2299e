"""The OpenAPI document, generated from the declared endpoints, so that it contains exactly the routes served."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from amrikyy import __version__
from amrikyy.auth.roles import Permission
from amrikyy.errors import (
    AmrikyyError,
    BodyTooLarge,
    BudgetSpent,
    Forbidden,
    InternalError,
    NotFound,
    RateLimited,
    Unauthenticated,
    Unavailable,
    UnsupportedMediaType,
    ValidationFailed,
)
from amrikyy.web.endpoint import PUBLIC, Endpoint
from amrikyy.web.replies import ErrorBody
from amrikyy.web.schema_names import rename, shorten

Mode = Literal["validation", "serialization"]

REFERENCE = "#/components/schemas/{model}"

DESCRIPTION = """A server for AI agents: JSON answers, token streams, and everything that production needs around them.

Authenticate with `Authorization: Bearer <token>` (from `POST /api/auth/login`) or `x-api-key: <key>`.
Every error has the same body, and `code` is the word to switch on. Times are ISO 8601 in UTC."""

HEADERS = {
    "x-request-id": "The id of this exchange: the caller's own if it was well formed.",
    "server-timing": "Milliseconds by stage.",
    "x-trace-id": "The trace of the request, if it is traced.",
    "ratelimit": "How each limit stands: what remains, and seconds until some of it is free again.",
    "ratelimit-policy": "The limits that the request counts against.",
    "x-run-id": "The run that the request has started, or has asked for again.",
    "x-cache": "What the cache had to do with it: hit, miss, stale, join, similar or bypass.",
    "location": "Where to look up what the request has started.",
    "preference-applied": "`respond-async`, if the request preferred it (RFC 7240): what it started needs no reader.",
    "retry-after": "Seconds until it is worth trying again.",
}
"""The headers of responses, each described once; which response has which is said by `_headers_of`."""

ACCEPTED = 202

NOTHING_STARTED = frozenset(error.status for error in (Unauthenticated, Forbidden, BodyTooLarge, UnsupportedMediaType))
"""The statuses of refusals that come before anything is started."""

PATH_EXAMPLES = {"agent": "travel", "subject": "role:premium", "period": "day"}
"""Of the parameters in paths whose values need not exist on the reader's own server first."""


def openapi(endpoints: Iterable[Endpoint]) -> dict[str, Any]:
    """The OpenAPI 3.1 document as JSON values."""
    shown = [endpoint for endpoint in endpoints if not endpoint.hidden]
    schemas, definitions = _schemas(shown)
    paths: dict[str, dict[str, Any]] = defaultdict(dict)
    for endpoint in shown:
        paths[endpoint.path][endpoint.method.lower()] = _operation(endpoint, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Amrikyy Agent",
            "version": __version__,
            "description": DESCRIPTION,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "tags": [{"name": tag} for tag in dict.fromkeys(endpoint.tag for endpoint in shown)],
        "paths": dict(paths),
        "components": {
            "schemas": definitions,
            "headers": {name: {"description": text, "schema": {"type": "string"}} for name, text in HEADERS.items()},
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
                "apiKey": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            },
        },
        "security": [{"bearer": []}, {"apiKey": []}],
    }


def _schemas(endpoints: list[Endpoint]) -> tuple[dict[tuple[type[BaseModel], Mode], Any], dict[str, Any]]:
    wanted: dict[tuple[type[BaseModel], Mode], None] = {(ErrorBody, "serialization"): None}
    for endpoint in endpoints:
        if endpoint.body is not None:
            wanted[endpoint.body, "validation"] = None
        also = (model for _, model in endpoint.also.values())
        for answer in (endpoint.answer, *also, *endpoint.events.values()):
            if answer is not None:
                wanted[answer, "serialization"] = None
    schemas, definitions = models_json_schema(list(wanted), by_alias=True, ref_template=REFERENCE)
    by_model: dict[Any, Any] = dict(schemas)
    named: dict[str, Any] = definitions.get("$defs", {})
    if new := shorten(list(named)):
        prefix = REFERENCE.format(model="")
        for schema in (*by_model.values(), *named.values()):
            rename(schema, new, prefix)
        named = {new.get(name, name): schema for name, schema in named.items()}
    return by_model, named


def _operation(endpoint: Endpoint, schemas: dict[tuple[type[BaseModel], Mode], Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": _operation_id(endpoint),
        "tags": [endpoint.tag],
        "summary": endpoint.summary.rstrip("."),
        "description": _description(endpoint),
        "responses": _responses(endpoint, schemas),
    }
    if parameters := [*_path_parameters(endpoint), *_query_parameters(endpoint), *_headers(endpoint)]:
        operation["parameters"] = parameters
    if endpoint.body is not None:
        schema = schemas[endpoint.body, "validation"]
        operation["requestBody"] = {
            "required": any(field.is_required() for field in endpoint.body.model_fields.values()),
            "content": {"application/json": {"schema": schema} | _example(endpoint)},
        }
    if endpoint.needs == PUBLIC:
        operation["security"] = []
    return operation


def _example(endpoint: Endpoint) -> dict[str, Any]:
    return {"example": dict(endpoint.example)} if endpoint.example is not None else {}


def _operation_id(endpoint: Endpoint) -> str:
    words = endpoint.path.removeprefix("/api").replace("{", "").replace("}", "").strip("/").split("/")
    return "-".join([endpoint.method.lower(), *filter(None, words)])


def _description(endpoint: Endpoint) -> str:
    match endpoint.needs:
        case Permission() as permission:
            needs = f"Needs the permission `{permission.value}`."
        case "public":
            needs = ""
        case _:
            needs = "Needs a valid credential."
    return f"{endpoint.description}\n\n{needs}".strip()


def _responses(endpoint: Endpoint, schemas: dict[tuple[type[BaseModel], Mode], Any]) -> dict[str, Any]:
    if endpoint.answer is not None:
        content: dict[str, Any] = {"schema": schemas[endpoint.answer, "serialization"]}
    elif endpoint.events:
        content = {"schema": _event_schema(endpoint.events, schemas)}
    else:
        content = {"schema": {"type": "object" if endpoint.media_type == "application/json" else "string"}}
    responses: dict[str, Any] = {
        str(endpoint.status): {
            "description": "Success",
            "headers": _headers_of(endpoint, endpoint.status),
            "content": {endpoint.media_type: content}
            | {media_type: {"schema": {"type": "string"}} for media_type in endpoint.other_media_types},
        }
    }
    for status, (meaning, model) in endpoint.also.items():
        responses[str(status)] = {"description": meaning, "headers": _headers_of(endpoint, status)}
        if model is not None:
            responses[str(status)]["content"] = {"application/json": {"schema": schemas[model, "serialization"]}}
    by_status: dict[int, list[type[AmrikyyError]]] = defaultdict(list)
    for error in _errors(endpoint):
        by_status[error.status].append(error)
    for status, errors in sorted(by_status.items()):
        described = "; ".join(_codes(error) for error in errors)
        responses[str(status)] = {
            "description": described,
            "headers": _headers_of(endpoint, status),
            "content": {"application/json": {"schema": schemas[ErrorBody, "serialization"]}},
        }
    return responses


def _headers_of(endpoint: Endpoint, status: int) -> dict[str, Any]:
    """The headers that a response may have."""
    names = ["x-request-id", "server-timing"]
    if not endpoint.unlimited:
        names += ["x-trace-id", "ratelimit", "ratelimit-policy"]
    if endpoint.starts_runs and status not in NOTHING_STARTED:
        names += ["x-run-id", "x-cache"]
        if status == ACCEPTED or endpoint.locates:
            names.append("location")
        if status == ACCEPTED or (endpoint.streams and status == endpoint.status):
            names.append("preference-applied")
    if status in (RateLimited.status, Unavailable.status):
        names.append("retry-after")
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _event_schema(events: Mapping[str, type[BaseModel]], schemas: dict[tuple[type[BaseModel], Mode], Any]) -> Any:
    """The schema of one event of a stream: `data` is JSON whose schema depends on `event`."""

    def described(name: str, model: type[BaseModel]) -> dict[str, Any]:
        data = {"type": "string", "contentMediaType": "application/json",
                "contentSchema": schemas[model, "serialization"]}  # fmt: skip
        known = {} if name == "reconnect" else {"required": ["id"]}
        return {"properties": {"event": {"const": name}, "data": data}, **known}

    return {
        "type": "object",
        "required": ["event", "data"],
        "properties": {
            "id": {"type": "string", "pattern": r"^(run|wf)_[0-9a-f]+:\d+$"},
            "event": {"enum": list(events)},
            "data": {"type": "string"},
        },
        "oneOf": [described(name, model) for name, model in events.items()],
    }


def _errors(endpoint: Endpoint) -> list[type[AmrikyyError]]:
    errors: list[type[AmrikyyError]] = []
    if endpoint.needs != PUBLIC:
        errors += [Unauthenticated, Unavailable]
    if isinstance(endpoint.needs, Permission):
        errors.append(Forbidden)
    if not endpoint.unlimited:
        errors.append(RateLimited)
    if endpoint.operation is not None:
        errors.append(BudgetSpent)
    if endpoint.query is not None or endpoint.body is not None:
        errors.append(ValidationFailed)
    if endpoint.body is not None:
        errors += [BodyTooLarge, UnsupportedMediaType]
    if "{" in endpoint.path:
        errors.append(NotFound)
    return list(dict.fromkeys([*errors, *endpoint.errors, InternalError]))


def _codes(error: type[AmrikyyError]) -> str:
    meaning = (error.__doc__ or "").strip().partition("\n")[0].rstrip(".")
    own = error.__dict__.get("codes", ())
    exact = f" (more exactly {', '.join(f'`{code}`' for code in own)})" if own else ""
    return f"`{error.code}`: {meaning}{exact}"


def _path_parameters(endpoint: Endpoint) -> list[dict[str, Any]]:
    names = [part[1:-1] for part in endpoint.path.split("/") if part.startswith("{")]
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        | ({"example": PATH_EXAMPLES[name]} if name in PATH_EXAMPLES else {})
        for name in names
    ]


def _query_parameters(endpoint: Endpoint) -> list[dict[str, Any]]:
    if endpoint.query is None:
        return []
    schema = endpoint.query.model_json_schema(by_alias=True)
    required = schema.get("required", ())
    return [
        {"name": name, "in": "query", "required": name in required, "schema": _without_null(property_)}
        for name, property_ in schema.get("properties", {}).items()
    ]


def _headers(endpoint: Endpoint) -> list[dict[str, Any]]:
    return [
        {
            "name": header.name,
            "in": "header",
            "required": False,
            "description": header.description,
            "schema": {"type": "string"} | ({"pattern": header.pattern} if header.pattern else {}),
        }
        for header in endpoint.headers
    ]


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """Drop null from a parameter's schema: a query parameter can be left out, but not be null."""
    options = [option for option in schema.get("anyOf", ()) if option != {"type": "null"}]
    rest = {
        key: value for key, value in schema.items() if key not in ("anyOf", "title", "default") or value is not None
    }
    rest.pop("anyOf", None)
    return rest | options[0] if len(options) == 1 else schema
