"""Charges requests against rate limits, and reports the limits in response headers."""

from collections.abc import Awaitable, Callable, Sequence
from hashlib import sha256

from amrikyy.errors import RateLimited, Unauthenticated
from amrikyy.ratelimit import Charge, Decision, refusal
from amrikyy.ratelimit.addresses import counted_as
from amrikyy.web.endpoint import Call


async def charge_request(call: Call, meanwhile: Callable[[], Awaitable[None]] | None = None) -> Decision | None:
    """Charge an admitted request against every limit that it is subject to: all of them, or none.

    Resuming a stream and repeating a request with its Idempotency-Key start nothing, and count only as requests.

    Args:
        call: the request.
        meanwhile: run while Redis decides, if it does; must neither wait nor raise.

    Raises:
        RateLimited: a limit refused; the error says which, and when to try again.
    """
    endpoint = call.endpoint
    if endpoint.unlimited or not is_limited(call):
        return None
    names = endpoint.limits_of_any if endpoint.has_limits and call.starts_nothing else endpoint.limits
    return await charge(call, call.runtime.limits.table.charges(counted_caller(call), names), meanwhile)


async def charge_names(call: Call, *names: str) -> None:
    """Charge a request against further limits, once it is known what it runs.

    Raises:
        RateLimited: nothing was taken.
    """
    if is_limited(call):
        await charge(call, call.runtime.limits.table.charges(counted_caller(call), names))


def is_limited(call: Call) -> bool:
    """Whether the request counts at all: those from addresses in RATE_LIMIT_WHITELIST do not."""
    whitelist = call.runtime.limits.whitelist
    return whitelist.is_empty or (call.address or "") not in whitelist


async def charge(
    call: Call, charges: Sequence[Charge], meanwhile: Callable[[], Awaitable[None]] | None = None
) -> Decision | None:
    """Apply the charges, and add the state of the limits to the response's headers. `meanwhile`: see `charge_request`.

    Raises:
        RateLimited: nothing was taken.
    """
    if not charges:
        return None
    limiter = call.runtime.limits.limiter
    asked = limiter.ask(charges)
    if meanwhile is not None and limiter.leaves_time(charges):
        await meanwhile()
    decision = asked if isinstance(asked, Decision) else await asked
    call.exchange.extra_headers += _headers(decision)
    if decision.refused is not None:
        raise _refusal_of(call, decision)
    return decision


def _refusal_of(call: Call, decision: Decision) -> RateLimited:
    """The error for a refusal, which is also counted in the metrics."""
    assert decision.refused is not None
    call.runtime.metrics.limit_hits.inc(decision.refused.name)
    return refusal(decision)


class GuessGuard:
    """Slows down guessing: an attempt counts against the address and the account, and is refunded unless it was wrong.

    Used as a context manager around the attempt. The account need not exist, and its name is not stored.

    Raises:
        RateLimited: on entering, if there were too many wrong attempts.
    """

    def __init__(self, call: Call, account: str | None) -> None:
        self._call = call
        self._limiter = call.runtime.limits.limiter
        table = call.runtime.limits.table
        self._charges = table.charges(counted_as(call.address or "unknown"), ("login.address",))
        if account is not None:
            hashed = sha256(account.strip().lower().encode(errors="replace")).hexdigest()[:32]
            self._charges += table.charges(hashed, ("login.account",))
        self._decision: Decision | None = None

    async def __aenter__(self) -> None:
        self._decision = await self._limiter.decide(self._charges)
        if self._decision.refused is not None:
            raise _refusal_of(self._call, self._decision)

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        is_wrong = isinstance(error, Unauthenticated) or getattr(error, "code", "") == "wrong_password"
        if not is_wrong and self._decision is not None:
            await self._limiter.refund(self._decision)


def counted_caller(call: Call) -> str:
    """Whose limits a request counts against: the caller's, or the address's if there is no caller."""
    principal = call.exchange.principal
    return principal.id if principal is not None else f"address:{counted_as(call.address or 'unknown')}"


def _headers(decision: Decision) -> list[tuple[bytes, bytes]]:
    """RateLimit and RateLimit-Policy (draft-ietf-httpapi-ratelimit-headers-10)."""
    left, policy = [], []
    for state in decision.states:
        charge = state.charge
        left.append(f'"{charge.name}";r={state.remaining};t={max(0, round(state.reset_s))}')
        policy.append(charge.policy)
    return [(b"ratelimit", ", ".join(left).encode()), (b"ratelimit-policy", ", ".join(policy).encode())]
