"""`/api/usage`: usage of models and its cost."""

import csv
import io
from collections.abc import Sequence
from datetime import date
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field
from starlette.responses import Response

from amrikyy.agents.agent import Request
from amrikyy.auth.roles import Permission
from amrikyy.errors import Forbidden, Unavailable
from amrikyy.spend import UsageGroup
from amrikyy.web.endpoint import Answer, Call, Endpoint
from amrikyy.web.replies import Success, TokenUsage, Wire, dollars

Group = Literal["day", "caller", "agent", "operation", "model"]


def _split(value: object) -> object:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


class UsageQuery(Request):
    """Whose usage, of what, when, and how it is summed up."""

    group_by: Annotated[list[Group], BeforeValidator(_split), Field(max_length=5)] = Field(
        default=["day"], description="Any of day, caller, agent, operation, model, separated by commas."
    )
    since: date | None = Field(default=None, description="The first day, UTC.")
    until: date | None = Field(default=None, description="The last day, UTC.")
    caller: str | None = Field(default=None, max_length=128, description='A principal, like "user:01a2…", or "all".')
    agent: str | None = Field(default=None, max_length=64)
    operation: str | None = Field(default=None, max_length=64)
    model: str | None = Field(default=None, max_length=200)
    format: Literal["json", "csv"] = "json"


class Used(Wire):
    """What a group has used."""

    runs: int = Field(description="Runs that asked a model; answers from the cache and joined runs cost nothing.")
    usage: TokenUsage
    cost_usd: float = Field(description="US dollars, for the calls whose price is known.")
    unpriced: int = Field(description="Entries of the ledger whose price is not known, which the cost leaves out.")


class UsedByGroup(Used):
    """What a group has used."""

    group: dict[str, str]


class UsageReply(Success):
    """What was used."""

    total: Used
    groups: list[UsedByGroup]


async def usage(call: Call) -> Answer:
    """The caller's own usage; with agent:stats, anybody's."""
    query: UsageQuery = call.query
    may_see_all = Permission.AGENT_STATS in call.principal.role.permissions
    if query.caller not in (None, call.principal.id) and not may_see_all:
        raise Forbidden("Usage of others needs the permission agent:stats.",
                        details=[{"permission": "agent:stats", "role": call.principal.role.value}])  # fmt: skip
    caller = None if query.caller == "all" else query.caller or call.principal.id
    await call.runtime.records.flush()
    only = {"agent": query.agent, "operation": query.operation, "model": query.model}
    group_by = list(dict.fromkeys(query.group_by))
    total, groups = await call.runtime.ledger.usage(
        group_by, since=query.since, until=query.until, caller=caller, **only
    )
    if query.format == "csv":
        return _csv(group_by, groups)
    return UsageReply(
        total=Used(**_fields(total)), groups=[UsedByGroup(group=group.keys, **_fields(group)) for group in groups]
    )


def _fields(group: UsageGroup) -> dict[str, object]:
    tokens = TokenUsage(
        prompt_tokens=group.input_tokens,
        completion_tokens=group.output_tokens,
        total_tokens=group.input_tokens + group.output_tokens,
        usage_estimated=group.estimated > 0,
    )
    return {"runs": group.runs, "usage": tokens, "cost_usd": dollars(group.cost_usd), "unpriced": group.unpriced}


def _csv(group_by: Sequence[str], groups: list[UsageGroup]) -> Response:
    text = io.StringIO()
    table = csv.writer(text)
    table.writerow([*group_by, "runs", "promptTokens", "completionTokens", "costUsd", "unpriced"])
    for group in groups:
        keys = [_cell(group.keys[name]) for name in group_by]
        table.writerow(
            [*keys, group.runs, group.input_tokens, group.output_tokens, dollars(group.cost_usd), group.unpriced]
        )
    return Response(text.getvalue(), headers={"content-disposition": 'attachment; filename="usage.csv"'},
                    media_type="text/csv")  # fmt: skip


def _cell(value: str) -> str:
    """The value as a cell that no spreadsheet interprets as a formula."""
    return f"'{value}" if value[:1] in ("=", "+", "-", "@", "\t", "\r") else value


USAGE = [
    Endpoint(method="GET", path="/api/usage", handler=usage, needs=Permission.AGENT_READ, tag="Usage",
             summary="What was used and what it cost", query=UsageQuery, answer=UsageReply,
             other_media_types=("text/csv",),
             errors=(Forbidden, Unavailable),
             description="Your own; with `agent:stats`, that of any `caller`, or of `all`. `format=csv` is a table."),
]  # fmt: skip
