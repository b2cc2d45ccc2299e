"""Logs never show what a function was working on."""

import io
import json

import pytest
import structlog

from amrikyy.telemetry.logs import configure_logs


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
