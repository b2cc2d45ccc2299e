"""What a limiter is asked and what it answers."""

from collections.abc import Coroutine, Sequence
from math import ceil
from typing import Any, Literal, Protocol

import msgspec

from amrikyy.errors import RateLimited, ValidationFailed
from amrikyy.ratelimit.limit import Limit


class Charge(msgspec.Struct, frozen=True, gc=False):
    """One limit that a request counts against.

    Attributes:
        name: the limit's name, as in RATE_LIMITS ("global", "content.generateBlogPost").
        key: the caller or the address. Together with the name, it identifies the counter.
        limit: how much is allowed.
        cost: how much the request counts; a workflow counts an operation as often as it uses it.
        policy: the limit as the header `RateLimit-Policy` has it, written once for all requests of the caller.
    """

    name: str
    key: str
    limit: Limit
    cost: int = 1
    policy: str = ""

    def __post_init__(self) -> None:
        policy = f'"{self.name}";q={self.limit.count};w={self.limit.window_s}'
        msgspec.structs.force_setattr(self, "policy", policy)


class State(msgspec.Struct, frozen=True, gc=False):
    """The state of a limit after a decision.

    Attributes:
        charge: the limit.
        remaining: how much is left now.
        reset_s: seconds until some of what was used is free again; 0 when nothing was used.
    """

    charge: Charge
    remaining: int
    reset_s: float


class Decision(msgspec.Struct, frozen=True):
    """The decision on all charges together: either every one was taken, or none.

    Attributes:
        states: the state of each limit, in the order of the charges.
        refused: the charge whose limit refused; None when the request may go on.
        retry_after_s: seconds after which the same request would pass, if no other comes first.
        taken_at: when the charges were taken, in seconds by the clock that counted them; needed to give them back.
        counted_in: where they were counted.
    """

    states: tuple[State, ...]
    refused: Charge | None = None
    retry_after_s: float = 0.0
    taken_at: float = 0.0
    counted_in: Literal["memory", "redis"] = "memory"


class Limiter(Protocol):
    """Decides several limits at once."""

    @property
    def counts_in(self) -> Literal["memory", "redis"]:
        """Where the next decision is made."""
        ...

    async def decide(self, charges: Sequence[Charge]) -> Decision:
        """Take all charges, or none.

        Raises:
            ValidationFailed: a charge is larger than its whole limit, so that it could never pass.
        """
        ...

    def ask(self, charges: Sequence[Charge]) -> Decision | Coroutine[Any, Any, Decision]:
        """Decide, or begin to: await the coroutine that is returned then. Raises what `decide` raises."""
        ...

    def leaves_time(self, charges: Sequence[Charge]) -> bool:
        """Whether other work may be done while it decides: it has to wait, and will probably not refuse."""
        ...

    async def peek(self, charges: Sequence[Charge]) -> Decision:
        """What `decide` would answer; nothing is taken."""
        ...

    async def refund(self, decision: Decision) -> None:
        """Give back what a decision took; one that refused took nothing."""
        ...


def check_possible(charges: Sequence[Charge]) -> None:
    """Raise for a charge that no waiting would ever allow.

    Raises:
        ValidationFailed: naming the limit.
    """
    for charge in charges:
        if charge.cost > charge.limit.count:
            raise ValidationFailed(
                f"This counts {charge.cost} times against the limit {charge.name} ({charge.limit}), so it can never "
                "pass. Split it into smaller requests.",
                code="exceeds_limit",
                details=[{"limit": charge.name, "policy": str(charge.limit), "cost": charge.cost}],
            )


def refusal(decision: Decision) -> RateLimited:
    """The error for a refused request; its code says which kind of limit refused."""
    assert decision.refused is not None
    charge = decision.refused
    retry_after_s = max(1, ceil(decision.retry_after_s))
    return RateLimited(
        f"The limit {charge.name} allows {charge.limit}. Try again in {retry_after_s} s.",
        code=f"rate_limited_{_kind(charge.name)}",
        details=[{"limit": charge.name, "policy": str(charge.limit), "retryAfterS": retry_after_s}],
        retry_after_s=decision.retry_after_s,
    )


def _kind(name: str) -> str:
    if name in ("global", "admin"):
        return name
    if name.startswith("login."):
        return "login"
    return "operation" if "." in name else "agent"
