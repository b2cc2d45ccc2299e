"""Idempotency-Key: of all copies of a request one starts something, and the others find what it has started."""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from amrikyy.errors import AmrikyyError, BudgetSpent, HandedOver, NotFound, RunCancelled
from amrikyy.runs.idempotency import Claim, framed, hash_of
from amrikyy.web.endpoint import Call

T = TypeVar("T")

KEY = re.compile(r"[\x21-\x7e]{1,255}")

RECORDED_WITHIN = timedelta(seconds=10)
"""By then what a key was claimed for is recorded: a run within some 100 ms, a workflow once its engine is open."""

LOOK_AGAIN_S = 0.05

_TRIED_AGAIN = frozenset({RunCancelled.code, BudgetSpent.code})


async def claim_of(call: Call) -> Claim | None:
    """The existing claim of the request's Idempotency-Key, if there is one."""
    key = call.header(b"idempotency-key")
    return await call.runtime.idempotency.find(_hash_of_key(call, key)) if key and KEY.fullmatch(key) else None


async def once(
    call: Call,
    key: str,
    claim: Claim | None,
    *,
    new_id: Callable[[], str],
    find: Callable[[str], Awaitable[T | None]],
    start: Callable[[str], Awaitable[T]],
) -> T:
    """Start what the request asks for, or find what an earlier copy of it has started.

    A copy is known by its body alone, as it was sent: what the body refers to may have changed meanwhile.

    Args:
        call: the request.
        key: its Idempotency-Key, which is separate for each caller and route.
        claim: of the key, as far as is known.
        new_id: makes the id of what it starts.
        find: finds what was started under an id. None if its outcome is not kept; NotFound if it is not recorded yet.
        start: starts it under an id.

    Raises:
        Conflict: the key was used with another body before.
        Unavailable: the database cannot be reached.
    """
    keys, key_hash = call.runtime.idempotency, _hash_of_key(call, key)
    body = framed(json.dumps(call.body.model_dump(mode="json"), sort_keys=True))
    while True:
        if claim is not None:
            keys.check(claim, body)
            found = await _found(call, key_hash, claim, find)
            if found is not None:
                return found
        started = new_id()
        if await keys.claim(key_hash, body, started, instead_of=claim.run_id if claim else None):
            break
        claim = await keys.find(key_hash)
    try:
        return await start(started)
    except BaseException:
        await keys.release(key_hash, started)
        raise


def is_kept(error: AmrikyyError | None) -> bool:
    """Whether a repetition gets this outcome again instead of a new attempt; also while a run goes on elsewhere."""
    if error is None or isinstance(error, HandedOver):
        return True
    return error.status < 500 and error.code not in _TRIED_AGAIN  # by its code: a recorded error's class is not known


def _hash_of_key(call: Call, key: str) -> str:
    return hash_of(call.principal.id, f"{call.endpoint.method} {call.endpoint.path}", key)


async def _found(call: Call, key_hash: str, claim: Claim, find: Callable[[str], Awaitable[T | None]]) -> T | None:
    """What a key was claimed for; None if that is to be started anew."""
    while True:
        try:
            return await find(claim.run_id)
        except NotFound:
            is_late = datetime.now(UTC) - claim.created_at > RECORDED_WITHIN  # whoever claimed the key has died
            if is_late or await call.runtime.idempotency.find(key_hash) != claim:  # or was refused, and released it
                return None
            await asyncio.sleep(LOOK_AGAIN_S)
