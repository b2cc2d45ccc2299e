"""`/api/budgets`: what callers may spend, for administrators, and for the callers themselves."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from amrikyy.agents.agent import Request
from amrikyy.auth.audit import Act, note
from amrikyy.auth.roles import Permission, Role
from amrikyy.errors import NotFound, Unavailable, ValidationFailed
from amrikyy.spend import Period, Standing
from amrikyy.web.endpoint import Answer, Call, Endpoint
from amrikyy.web.paging import NextCursor, page_cursor, page_limit
from amrikyy.web.replies import Success, Wire, dollars

Subject = Annotated[
    str,
    Field(
        max_length=128,
        pattern=rf"^((user|key):[!-~]+|envkey:[0-9a-f]{{12}}|role:({'|'.join(Role)}))$",
        description="A principal (`user:…`, `key:…`, `envkey:…`), or `role:` and a role, which its callers share.",
        examples=["role:premium", "user:ana@example.com"],
    ),
]


class BudgetRecord(Wire):
    """A budget, and what is left of it."""

    subject: str
    period: Literal["day", "month"]
    limit_usd: float
    spent_usd: float = Field(description="US dollars spent in this period.")
    reserved_usd: float = Field(description="The most that calls in progress may still cost, in US dollars.")
    left_usd: float
    resets_at: datetime = Field(description="When the next period begins.")


class BudgetReply(Success):
    """A budget."""

    budget: BudgetRecord


class BudgetPage(Success):
    """A page of budgets, by subject."""

    count: int
    budgets: list[BudgetRecord]
    next_cursor: NextCursor


class OwnBudgets(Success):
    """The budgets that the caller's own calls count against; empty if nothing limits them."""

    budgets: list[BudgetRecord]


class BudgetQuery(Request):
    """Which page to list."""

    cursor: str | None = page_cursor(max_length=128)
    limit: int = page_limit("Of subjects.")


class BudgetRequest(Request):
    """What a subject may spend in each period."""

    subject: Subject
    period: Literal["day", "month"] = Field(description="A calendar day or month, UTC.")
    limit_usd: float = Field(ge=0, le=1_000_000_000, allow_inf_nan=False, examples=[5])


class BudgetRemoved(Success):
    """The budget has been removed."""

    subject: str
    period: str
    message: str


async def list_budgets(call: Call) -> Answer:
    """All budgets."""
    query: BudgetQuery = call.query
    standings = await call.runtime.budgets.page(query.cursor or "", query.limit + 1)
    subjects = list(dict.fromkeys(standing.subject for standing in standings))[: query.limit]
    page = [standing for standing in standings if standing.subject in subjects]
    more = len(page) < len(standings)
    return BudgetPage(
        count=len(page), budgets=[_record(each) for each in page], next_cursor=subjects[-1] if more else None
    )


async def own_budgets(call: Call) -> Answer:
    """What is left of the budgets that apply to the caller."""
    own = (call.principal.id, f"role:{call.principal.role.value}")
    return OwnBudgets(budgets=[_record(each) for each in await call.runtime.budgets.standings(own)])


async def set_budget(call: Call) -> Answer:
    """Set a budget."""
    body: BudgetRequest = call.body
    runtime = call.runtime
    subject = await _subject(call, body.subject)
    if unpriced := runtime.models.unpriced():
        names = ", ".join(unpriced)
        raise ValidationFailed(
            f"The price of {names} is not known, so a budget could not be enforced. Set MODEL_PRICES.",
            code="price_unknown",
        )
    await runtime.records.flush()  # earlier spending is counted from the ledger
    act = Act(call.actor, "budget.set", subject, {"period": body.period, "limitUsd": body.limit_usd})
    standing = await runtime.budgets.put(
        subject, body.period, body.limit_usd, by=call.principal.id, noting=lambda written: note(written, act)
    )
    return BudgetReply(budget=_record(standing))


async def remove_budget(call: Call) -> Answer:
    """Remove a budget."""
    subject, given = call.params["subject"], call.params["period"]
    period: Period | None = "day" if given == "day" else "month" if given == "month" else None
    act = Act(call.actor, "budget.remove", subject[:128], {"period": given[:8]})
    if period is None or not await call.runtime.budgets.remove(
        subject, period, by=call.principal.id, noting=lambda written: note(written, act)
    ):
        raise NotFound("There is no such budget; GET /api/budgets lists them.", code="budget_not_found")
    return BudgetRemoved(
        subject=subject, period=period, message="The budget was removed; other processes follow within seconds."
    )


async def _subject(call: Call, given: str) -> str:
    """The canonical subject. A user may be given by e-mail address; a subject that does not exist is refused."""
    kind, _, name = given.partition(":")
    accounts = call.runtime.accounts
    if kind == "key" and await accounts.key(name) is None:
        raise NotFound("There is no such key.", code="key_not_found")
    return f"user:{(await accounts.user(name)).id}" if kind == "user" else given


def _record(standing: Standing) -> BudgetRecord:
    return BudgetRecord(
        subject=standing.subject,
        period=standing.period,
        limit_usd=standing.limit_usd,
        spent_usd=dollars(standing.spent_usd),
        reserved_usd=dollars(standing.reserved_usd),
        left_usd=dollars(standing.left_usd),
        resets_at=standing.resets_at,
    )


BUDGETS = [
    Endpoint(method="GET", path="/api/budgets", handler=list_budgets, needs=Permission.AGENT_MANAGE, tag="Budgets",
             summary="List budgets, and how they stand", query=BudgetQuery, answer=BudgetPage, errors=(Unavailable,)),
    Endpoint(method="POST", path="/api/budgets", handler=set_budget, needs=Permission.AGENT_MANAGE, tag="Budgets",
             summary="Set what a key, a user or a role may spend", body=BudgetRequest, answer=BudgetReply,
             errors=(NotFound, Unavailable),
             description="Each call of a model is reserved at the most that it may cost, and settled at what it did "
             "cost. What is not covered is a 402; a stream that reaches the end of a budget ends with `error`, "
             "budget_spent. A role's budget counts from when it is set, others from the start of the period."),
    Endpoint(method="GET", path="/api/budgets/mine", handler=own_budgets, needs=Permission.AGENT_READ, tag="Budgets",
             summary="What is left of one's own budgets", answer=OwnBudgets, errors=(Unavailable,)),
    Endpoint(method="DELETE", path="/api/budgets/{subject}/{period}", handler=remove_budget,
             needs=Permission.AGENT_MANAGE, tag="Budgets", summary="Remove a budget", answer=BudgetRemoved,
             errors=(NotFound, Unavailable)),
]  # fmt: skip
