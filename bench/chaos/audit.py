"""After the run: what clients were told is compared with what the server has kept, promise by promise."""

import asyncio
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from bench.chaos.book import HUNG, Accepted, Book, Exchange, Told
from bench.chaos.client import DEADLINE_S, Client
from bench.chaos.faults import Fault
from bench.chaos.model import ModelCall
from bench.chaos.stage import LIMIT, LIMIT_WINDOW_S, WORKERS

SLACK_S = 1.0
"""For how many seconds after the service has recovered an answer may still be due to the fault."""

LOST_BEFORE_KILL_S = 0.25
"""Decision 0004: a process that is killed loses the records of its last 50 ms, and what was being written then."""

WORKFLOWS_END_WITHIN_S = 90.0
ENDED = ("completed", "failed", "cancelled")
A_NANODOLLAR = 1e-9

ENTRIES_BY_DAY = """
SELECT day, count(*) AS entries, sum(input_tokens + output_tokens)::bigint AS tokens,
    round(sum(cost_usd)::numeric, 9) AS cost_usd
FROM spend, spend_summed WHERE number <= through GROUP BY day ORDER BY day
"""
SUMS_BY_DAY = """
SELECT day, sum(entries)::bigint AS entries, sum(input_tokens + output_tokens)::bigint AS tokens,
    round(sum(cost_usd)::numeric, 9) AS cost_usd
FROM spend_days WHERE (owner = '*') = $1 GROUP BY day ORDER BY day
"""


@dataclass
class Finding:
    """A promise: how much was checked, what broke it, and which exceptions were allowed."""

    promise: str
    checked: int = 0
    broken: list[str] = field(default_factory=list)
    allowed: Counter[str] = field(default_factory=Counter)


def excused(exchange: Exchange, faults: Sequence[Fault]) -> bool:
    """Whether a fault during the request allows its outcome."""
    if exchange.code in ("run_gone", "run_lost"):  # what has become of the run is told whenever it is asked for
        before = [fault for fault in faults if exchange.run_began_at <= fault.acted_at + SLACK_S]
        return any(fault.kind.forgets or exchange.code in fault.kind.allows for fault in before)
    return any(
        exchange.code in fault.kind.allows
        for fault in faults
        if exchange.began_at <= max(fault.over_at, fault.acted_at + fault.kind.lingers_s) + SLACK_S
        and exchange.ended_at >= fault.began_at
    )


def check_answers(book: Book, faults: Sequence[Fault]) -> Iterator[Finding]:
    """Check that no request hangs, and that each error is one that a fault allows."""
    hanging = Finding(f"Every request is answered within {DEADLINE_S:g} s", len(book.exchanges))
    errors = Finding("Errors reach clients only during a fault, and only those that it allows")
    polite = Finding("Every 503 and 429 says when to come again")
    for each in book.exchanges:
        if each.code is None:
            continue
        what = f"{each.errand}: {each.status} {each.code} {each.ended_at - each.began_at:.2f} s {each.said}"
        if each.code == HUNG:
            hanging.broken.append(what)
            continue
        if each.status in (503, 429) and not each.streamed:
            polite.checked += 1
            if not each.retry_after:
                polite.broken.append(what)
        if each.errand == "limited calls" and each.status == 429:
            continue
        errors.checked += 1
        if excused(each, faults):
            errors.allowed[f"{each.status if not each.streamed else 'event'} {each.code}"] += 1
        else:
            near = min(faults, key=lambda fault: abs(fault.began_at - each.began_at), default=None)
            after = f"; {each.began_at - near.began_at:+.2f} s from «{near.kind.name}»" if near else ""
            errors.broken.append(what + after)
    yield from (hanging, errors, polite)


async def check_runs(
    database: asyncpg.Connection, book: Book, faults: Sequence[Fault], killed_at: Sequence[float]
) -> Iterator[Finding]:
    """Check that every run that a client knows of, and its cost, is recorded as the client was told."""
    ids = list(book.runs)
    rows = {row["id"]: row for row in await database.fetch("SELECT * FROM runs WHERE id = ANY($1)", ids)}
    spent: dict[str, list[Any]] = defaultdict(list)
    for row in await database.fetch("SELECT * FROM spend WHERE run_id = ANY($1)", ids):
        spent[row["run_id"]].append(row)
    kept = Finding("Every run that a client was told of is in the run log, as the client was told", len(ids))
    promised = Finding("No run is lost that was accepted (202) or has an Idempotency-Key")
    ledger = Finding("The ledger has what clients were told that their runs cost, once")
    for run_id, told in book.runs.items():
        row = rows.get(run_id)
        target = promised if told.promised else kept
        promised.checked += told.promised
        if (wrong := _difference(told, row)) is not None:
            if not told.promised and row is not None and _told_by_another(told, killed_at):
                kept.allowed[f"{wrong}: its end came from Redis after its process was killed"] += 1
            elif not told.promised and _lost_with_its_process(told, faults, killed_at):
                kept.allowed[f"{wrong}, told in the last {LOST_BEFORE_KILL_S:g} s before a kill"] += 1
            else:
                target.broken.append(
                    f"{run_id} ({told.errand}): {wrong}; {_when(told.told_at or told.seen_at, faults)}"
                )
            continue
        if told.status == "completed" and told.tokens is not None:
            ledger.checked += 1
            entries = spent.get(run_id, [])
            tokens = sum(entry["input_tokens"] + entry["output_tokens"] for entry in entries)
            cost = sum(entry["cost_usd"] or 0.0 for entry in entries)
            owed, owed_cost = (told.tokens, told.cost_usd or 0.0) if told.own else (0, 0.0)
            if tokens != owed or abs(cost - owed_cost) > A_NANODOLLAR:
                ledger.broken.append(
                    f"{run_id} ({told.errand}): {tokens} tokens, ${cost:.8f}; told {owed}, ${owed_cost:.8f}"
                )
    hours = Finding("The hourly sums count each run once", 1)
    ended = "SELECT agent, count(*) FROM runs WHERE status IN ('completed', 'failed', 'cancelled') GROUP BY agent"
    recorded = {row[0]: row[1] for row in await database.fetch(ended)}
    counted = {row[0]: row[1] for row in await database.fetch("SELECT agent, sum(runs) FROM run_hours GROUP BY agent")}
    if recorded != counted:
        hours.broken.append(f"ended runs in the log {recorded}, in the hourly sums {counted}")
    return iter((kept, promised, ledger, hours, await _check_sums(database)))


async def _check_sums(database: asyncpg.Connection) -> Finding:
    sums = Finding("The ledger's sums are those of its entries", 1)
    async with database.transaction(isolation="repeatable_read", readonly=True):
        entries = await database.fetch(ENTRIES_BY_DAY)
        for whose in (True, False):
            found = await database.fetch(SUMS_BY_DAY, whose)
            if found != entries:
                callers = "all callers together" if whose else "callers"
                sums.broken.append(f"of {callers}: {found}; the ledger has {entries}")
    return sums


def _difference(told: Told, row: Any) -> str | None:
    """How the record of a run differs from what its client was told; None if it does not."""
    if row is None:
        return "not recorded"
    if told.status == "completed":
        if row["status"] != "completed":
            return f"told completed, recorded as {row['status']}"
        if told.text is not None and json.loads(row["result"])["text"] != told.text:
            return "recorded with another result"
    return None


def _lost_with_its_process(told: Told, faults: Sequence[Fault], killed_at: Sequence[float]) -> bool:
    """Whether a process was killed just after the run was seen or told; without a database, records wait for it."""
    times = [at for at in (told.seen_at, told.told_at) if at is not None]
    if any(killed - LOST_BEFORE_KILL_S <= at <= killed + LOST_BEFORE_KILL_S for killed in killed_at for at in times):
        return True
    return any(
        fault.began_at - LOST_BEFORE_KILL_S <= at <= fault.acted_at
        for fault in faults
        if fault.kind.kills and fault.kind.database_away
        for at in times
    )


def _told_by_another(told: Told, killed_at: Sequence[float]) -> bool:
    return told.told_at is not None and any(told.seen_at <= killed <= told.told_at for killed in killed_at)


async def check_workflows(
    database: asyncpg.Connection, book: Book, faults: Sequence[Fault], calls: Sequence[ModelCall]
) -> Iterator[Finding]:
    """Check that every accepted workflow ends, and that no finished step was run again."""
    ids = list(book.workflows)
    rows: dict[str, Any] = {}
    for _ in range(int(WORKFLOWS_END_WITHIN_S)):
        found = await database.fetch("SELECT id, status, error FROM workflows WHERE id = ANY($1)", ids)
        rows = {row["id"]: row for row in found}
        if all(row["status"] in ENDED for row in rows.values()):
            break
        await asyncio.sleep(1)
    ends = Finding(f"Every accepted workflow ends within {WORKFLOWS_END_WITHIN_S:g} s of the last fault", len(ids))
    events = Finding("Its events are numbered without a gap, and each step ends once")
    once = Finding("A finished step is not run again")
    finished: dict[str, dict[str, float]] = defaultdict(dict)
    numbers: dict[str, list[int]] = defaultdict(list)
    ended_paths: dict[str, Counter[str]] = defaultdict(Counter)
    query = "SELECT * FROM workflow_events WHERE workflow_id = ANY($1) ORDER BY workflow_id, number"
    for event in await database.fetch(query, ids):
        numbers[event["workflow_id"]].append(event["number"])
        if event["kind"] in ("step_completed", "step_failed"):
            ended_paths[event["workflow_id"]][event["path"]] += 1
            finished[event["workflow_id"]][event["path"]] = event["at"].timestamp()
    by_mark: dict[str, list[ModelCall]] = defaultdict(list)
    for call in calls:
        by_mark[call.mark].append(call)
    replaced = {accepted.instead_of for accepted in book.workflows.values()}
    for workflow_id, accepted in book.workflows.items():
        row = rows.get(workflow_id)
        before = accepted.instead_of and rows.get(accepted.instead_of)
        if before and not (before["error"] and json.loads(before["error"]).get("status", 0) >= 500):
            ends.broken.append(f"{workflow_id}: its key stood for {before['id']}, which is {before['status']}")
        if row is None or row["status"] not in ENDED:
            ends.broken.append(
                f"{workflow_id}: {row['status'] if row else 'not recorded'}; {_when(accepted.told_at, faults)}"
            )
            continue
        if row["status"] != "completed":
            code = (json.loads(row["error"]) if row["error"] else {}).get("code")
            if any(code in fault.kind.allows for fault in faults):
                ends.allowed[f"ended with {code}"] += 1
            else:
                ends.broken.append(f"{workflow_id}: {row['status']}, {row['error']}")
        events.checked += 1
        if numbers[workflow_id] != list(range(1, len(numbers[workflow_id]) + 1)):
            events.broken.append(f"{workflow_id}: numbers {numbers[workflow_id]}")
        events.broken += [
            f"{workflow_id}: {path} ended {n} times" for path, n in ended_paths[workflow_id].items() if n > 1
        ]
        if workflow_id in replaced or accepted.instead_of:
            continue  # two workflows share these marks
        _check_steps(once, accepted, sorted(finished[workflow_id].items()), by_mark, faults)
    return iter((ends, events, once))


def _check_steps(
    once: Finding, accepted: Accepted, finished: list[tuple[str, float]], by_mark: dict[str, list[ModelCall]],
    faults: Sequence[Fault],
) -> None:  # fmt: skip
    for path, ended_at in finished:
        once.checked += 1
        calls = by_mark[accepted.marks[int(path.rpartition(".")[2])]]
        again = [call for call in calls if call.began_at > ended_at]
        where = f"{accepted.workflow_id} {path}"
        if again:
            once.broken.append(f"{where}: recorded at {ended_at:.3f}, asked again at {again[0].began_at:.3f}")
        for call in calls[:-1]:
            if call.ended_at is None or any(_during(faults, call.began_at, call.ended_at + LOST_BEFORE_KILL_S)):
                once.allowed["the call in flight at a fault was made again (decision 0012)"] += 1
            elif not again:
                once.broken.append(f"{where}: asked for {len(calls)} times with no fault in between")
                break


async def check_keys(book: Book, clients: Callable[[str], Client]) -> Iterator[Finding]:
    """Check that every key that was handed out works, and none that was revoked."""
    known = Finding("Every API key that was handed out works", len(book.keys))
    revoked = Finding("No API key works that was revoked", len(book.revoked))
    for key_id, key in book.keys.items():
        reply = await clients(key).ask("after the run", "GET", "/api/agents/list")
        if reply.status != 200:
            known.broken.append(f"{key_id}: {reply.status} {reply.body}")
    for key_id, (key, at) in book.revoked.items():
        reply = await clients(key).ask("after the run", "GET", "/api/agents/list")
        if reply.status != 401:
            revoked.broken.append(f"{key_id}: {reply.status}, revoked at {at:.2f}")
    return iter((known, revoked))


def check_limit(book: Book, faults: Sequence[Fault], away_at: Sequence[float]) -> Iterator[Finding]:
    """Check that no window admits more than the limit, except where Redis was away in it (decision 0008).

    Args:
        book: has the requests that were admitted.
        faults: those that happened.
        away_at: when a worker logged that Redis was away; on a busy machine, Redis may only have been late.
    """
    finding = Finding(f"No more than {LIMIT} in any {LIMIT_WINDOW_S} s; where Redis was away twice that, or thrice")
    admitted = sorted(book.admitted)
    highest: Counter[str] = Counter()
    for began, _ in admitted:
        ends = began + LIMIT_WINDOW_S
        inside = sum(1 for first, last in admitted if first >= began and last <= ends)
        during = [fault for fault in _during(faults, began, ends) if fault.kind.redis_away]
        # A worker that starts while Redis is away knows of no other, and allows the whole limit by itself.
        begun = sum(WORKERS if fault.kind.kills else 0 for fault in during)
        is_away = bool(during) or any(began - LIMIT_WINDOW_S <= at <= ends for at in away_at)
        lost = any(fault.kind.forgets for fault in during)  # Redis has forgotten what it allowed
        bound = LIMIT * (1 + is_away + lost + begun)
        finding.checked += 1
        where = "in part without Redis" if is_away else "with Redis"
        highest[where] = max(highest[where], inside)
        if inside > bound:
            finding.broken.append(
                f"{inside} in the window from {began:.2f}, where {bound} is the bound; {_when(began, faults)}"
            )
    for where, most in highest.items():
        finding.allowed[f"the most in a window {where}: {most}"] = 1
    yield finding


def _during(faults: Sequence[Fault], began: float, ended: float) -> list[Fault]:
    return [fault for fault in faults if began <= fault.over_at + SLACK_S and ended >= fault.began_at]


def _when(at: float, faults: Sequence[Fault]) -> str:
    near = min(faults, key=lambda fault: abs(fault.began_at - at), default=None)
    return f"{at - near.began_at:+.2f} s from «{near.kind.name}»" if near else f"at {at:.2f}"
