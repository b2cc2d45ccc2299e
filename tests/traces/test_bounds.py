"""However much somebody puts into traces, they take a bounded amount of memory, and can be read."""

import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from typing import Any

import pytest
from pydantic import TypeAdapter
from sqlalchemy import event

from amrikyy.db import Database, open_database
from amrikyy.errors import Unavailable
from amrikyy.telemetry.metrics import Metrics
from amrikyy.telemetry.spans import Clean, Description, Tracer
from amrikyy.traces import Redactor, SpanRecord, Traces, TraceStore, recorder, store
from amrikyy.traces.segment import Segment
from amrikyy.web.traces import MAX_DEPTH, TraceSpan, tree

TRACE = "0af7651916cd43dd8448eb211c80319c"


def describe(content: str, _: Clean | None) -> Description:
    return Description("POST /", "server", {"gen_ai.agent.name": "content", "said": content})


def trace(tracer: Tracer, content: str) -> None:
    span = tracer.begin(f"00-{TRACE}-b7ad6b7169203331-01".encode())
    assert span is not None
    span.end(describe, content)


class AwayStore(TraceStore):
    """Of a database that cannot be reached, until it is back."""

    away = True

    async def write(self, batch: Sequence[Segment]) -> None:
        if self.away:
            raise Unavailable("The database is away.")
        await super().write(batch)


async def test_what_waits_for_the_database_is_bounded_in_bytes_too(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "MAX_DESCRIBED_BYTES", 10_000)
    away, metrics, tracer = AwayStore(database, max_segments=100), Metrics(), Tracer(1)
    traces = Traces(away, [], metrics, Redactor())
    tracer.sink = traces.put
    for number in range(10):
        trace(tracer, f"{number} " * 1500)
    with pytest.raises(Unavailable):
        await traces.flush()
    assert (traces.waiting, metrics.traces_lost.value("database")) == (3, 7)
    away.away = False
    await traces.flush()
    for number in range(3):  # there is room again
        trace(tracer, f"{number} " * 1500)
    await traces.close()
    assert metrics.traces_lost.value("database") == 7
    assert metrics.traces_delivered.value("database") == 6


async def test_of_a_trace_that_holds_too_much_the_beginning_is_read(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, tracer = TraceStore(database, max_segments=100), Tracer(1)
    traces = Traces(kept, [], Metrics(), Redactor())
    tracer.sink = traces.put
    for number in range(10):
        trace(tracer, f"{number} " * 1500)
    await traces.close()

    async def read() -> list[str]:
        summary, spans = await kept.get(TRACE, "content")
        assert summary.id == TRACE
        return [str(span.attributes["said"])[0] for span in spans]

    assert await read() == list("0123456789")
    monkeypatch.setattr(store, "MAX_BYTES", 10_000)
    assert await read() == ["0", "1", "2"]
    monkeypatch.setattr(store, "MAX_BYTES", 1)
    assert await read() == ["0"]
    monkeypatch.setattr(store, "MAX_BYTES", 1_000_000)
    monkeypatch.setattr(store, "MAX_SPANS", 4)
    assert await read() == ["0", "1", "2", "3"]


async def test_the_newest_traces_are_found_behind_one_with_very_many_parts(database: Database) -> None:
    kept = TraceStore(database, max_segments=1000)

    def part(trace_id: int, agent: str = "content") -> Segment:
        return Segment(f"{trace_id:032x}", agent, "blog", None, "completed", 1000, 2000, 1, 1, 0.0, True, b"\x90")

    await kept.write([part(1), part(2), part(3, "travel"), part(2), part(1)])
    await kept.write([part(4) for _ in range(60)])
    found = await kept.page("content", 3)
    assert [(int(trace.id, 16), trace.input_tokens) for trace in found] == [(4, 60), (1, 2), (2, 2)]
    assert [int(trace.id, 16) for trace in await kept.page("content", 2)] == [4, 1]
    assert [int(trace.id, 16) for trace in await kept.page("travel", 100)] == [3]


async def test_a_list_of_traces_reads_what_it_shows(sqlite_url: str) -> None:
    database = open_database(sqlite_url)
    asked: list[tuple[str, Any]] = []
    event.listen(database.engine.sync_engine, "before_cursor_execute", lambda *given: asked.append(given[2:4]))
    kept = TraceStore(database, max_segments=1000)
    await kept.write([Segment(TRACE, "content", "blog", None, "completed", 1000, 2000, 1, 1, 0.0, True, b"\x90")])
    asked.clear()
    assert len(await kept.page("content", 10)) == 1
    with closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))) as connection:
        plans = [
            [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)]
            for statement, parameters in asked
        ]
    newest, parts = plans
    assert newest == ["SEARCH trace_segments USING INDEX ix_trace_segments_agent_id (agent=?)"]
    assert parts == ["SEARCH trace_segments USING INDEX ix_trace_segments_trace_id (trace_id=?)"]
    await database.close()


def spans_of(parents: dict[int, int]) -> list[SpanRecord]:
    return [
        SpanRecord(f"{each:016x}", f"{parent:016x}" if parent else None, "span", "internal", each, each, {}, None, "")
        for each, parent in parents.items()
    ]


def shape(spans: list[dict[str, Any]]) -> dict[int, Any]:
    return {int(span["id"], 16): shape(span["children"]) for span in spans}


def shown(parents: dict[int, int]) -> list[dict[str, Any]]:
    written = TypeAdapter(list[TraceSpan]).dump_json(tree(spans_of(parents)), by_alias=True)
    found: list[dict[str, Any]] = json.loads(written)
    return found


@pytest.mark.parametrize(
    ("parents", "expected"),
    [
        ({1: 0, 2: 1, 3: 1, 4: 3}, {1: {2: {}, 3: {4: {}}}}),
        ({1: 99, 2: 1}, {1: {2: {}}}),
        ({1: 1}, {1: {}}),
        ({1: 3, 2: 1, 3: 2, 4: 3}, {1: {2: {3: {4: {}}}}}),
        ({2: 3, 3: 0}, {3: {2: {}}}),
    ],
)
def test_spans_are_a_tree_whatever_they_call_their_parents(parents: dict[int, int], expected: object) -> None:
    assert shape(shown(parents)) == expected


def test_a_chain_without_end_is_cut_into_trees_that_can_be_written() -> None:
    top = shown({number: number - 1 for number in range(1, 5001)})
    assert len(top) == 5000 // MAX_DEPTH
    count, waiting = 0, list(top)
    while waiting:
        span = waiting.pop()
        count += 1
        waiting += span["children"]
    assert count == 5000
