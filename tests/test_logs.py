"""Logs never show what a function was working on."""

import errno
import io
import json
from datetime import UTC, datetime
from typing import Any

import pytest
import structlog

from amrikyy.runs.events import Event
from amrikyy.runs.run import Run
from amrikyy.telemetry import logs
from amrikyy.telemetry.logs import FLUSH_AT, AccessLog, configure_logs
from amrikyy.web.endpoint import Call
from amrikyy.web.exchange import Exchange


@pytest.mark.parametrize("as_json", [True, False])
def test_a_traceback_has_no_local_variables(as_json: bool) -> None:
    output = io.StringIO()
    before = structlog.get_config()
    configure_logs(json=as_json, stream=output)
    try:
        prompt = "my secret " + "prompt"
        try:
            raise ZeroDivisionError(f"{len(prompt)} characters")
        except ZeroDivisionError:
            structlog.get_logger().exception("failed")
    finally:
        structlog.configure(**before)
    logged = output.getvalue()
    assert "ZeroDivisionError" in logged
    assert "test_a_traceback_has_no_local_variables" in logged
    assert "my secret prompt" not in logged
    if as_json:
        assert json.loads(logged)["event"] == "failed"


@pytest.mark.parametrize("now_ms", [0, 999, 1_000, 1_796_000_000_007, 1_796_000_000_999, 1_796_000_001_000])
def test_a_time_is_said_in_utc_to_the_millisecond(now_ms: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "time_ns", lambda: now_ms * 1_000_000 + 999_999)
    assert logs.timestamp() == datetime.fromtimestamp(now_ms / 1000, UTC).isoformat(timespec="milliseconds")


def test_a_line_is_one_write_so_that_those_of_several_workers_do_not_mix() -> None:
    writes: list[str] = []

    class Recorder(io.StringIO):
        def write(self, text: str) -> int:
            writes.append(text)
            return len(text)

    before = structlog.get_config()
    configure_logs(json=True, stream=Recorder())
    try:
        structlog.get_logger().warning("redis_down", reason="gone")
    finally:
        structlog.configure(**before)
    assert [text.count("\n") for text in writes] == [1]
    line = json.loads(writes[0])
    assert line["event"] == "redis_down"
    assert datetime.fromisoformat(line["time"]).tzinfo is not None, "as access lines have it"


class FullDisk(io.StringIO):
    """A file on a disk without room, for as long as it is."""

    full = True

    def write(self, text: str) -> int:
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(text)


@pytest.mark.parametrize("as_json", [True, False])
def test_a_full_disk_under_the_log_costs_lines_and_not_the_task_that_writes_them(as_json: bool) -> None:
    output = FullDisk()
    before = structlog.get_config()
    configure_logs(json=as_json, stream=output)
    try:
        structlog.get_logger().error("runs_cannot_be_recorded")
        output.full = False
        structlog.get_logger().error("and_again")
    finally:
        structlog.configure(**before)
    assert "and_again" in output.getvalue()
    assert "runs_cannot" not in output.getvalue()


async def test_a_full_disk_under_the_access_log_breaks_no_request() -> None:
    output = FullDisk()
    access_log = AccessLog(json=True, stream=output)
    for number in range(FLUSH_AT):
        access_log.write({"number": number})
    output.full = False
    access_log.write({"number": "later"})
    access_log.flush()
    assert output.getvalue() == '{"number":"later"}\n'


def test_what_a_log_shows_of_a_request_and_a_run_is_no_credential_and_no_prompt() -> None:
    nothing: Any = None
    headers = [(b"x-api-key", b"api_hidden")]
    exchange = Exchange(nothing, dict(headers), "req_1")
    call = Call({"headers": headers}, nothing, nothing, {}, exchange, nothing, nothing, body={"topic": "hidden"})
    run = Run(owner="user:ana", agent="content", operation="generateBlogPost", request=b"hidden", deadline_s=1)
    run.execution.append(Event("token", "hidden"))
    for each in (exchange, call, run, run.execution):
        assert type(each).__name__ in repr(each)
        assert "hidden" not in repr(each)
