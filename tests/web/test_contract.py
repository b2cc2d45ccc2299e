"""Requests made from the OpenAPI document, good and bad: no 500, and no answer that the document does not describe."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings

from amrikyy.agents.registry import load_registry
from amrikyy.app import endpoints_of
from amrikyy.web.openapi import openapi
from tests.process import server_process
from tests.serving import KEYS

# A run that is gone is looked for before the body is read against it: 410 is a refusal, too.
REFUSALS = ["400", "401", "403", "404", "405", "406", "409", "410", "415", "422", "428", "429", "5xx"]
config = schemathesis.Config.from_dict({"checks": {"negative_data_rejection": {"expected-statuses": REFUSALS}}})
schema = schemathesis.openapi.from_dict(openapi(endpoints_of(load_registry())), config=config)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server process for all of them; requests are made by a library that blocks."""
    folder: Path = tmp_path_factory.mktemp("contract")
    started: Future[str] = Future()
    stop = threading.Event()

    async def serve() -> None:
        try:
            environment = {"OFFLINE_TOKENS_PER_S": "0", "STREAM_GRACE_S": "0", "RUN_TIMEOUT_S": "10"}
            async with server_process(folder, **environment) as (_, url):
                started.set_result(url)
                await asyncio.to_thread(stop.wait)
        except BaseException as error:
            if not started.done():
                started.set_exception(error)
            raise

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    try:
        yield started.result(timeout=40)
    finally:
        stop.set()
        thread.join()


@schema.parametrize()
@settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_every_answer_is_as_documented(case: Any, url: str) -> None:
    case.call_and_validate(
        base_url=url,
        headers={"x-api-key": KEYS["admin"]},
        timeout=20,
        # A schema cannot say "today or later", or "after the field before".
        excluded_checks=[schemathesis.checks.positive_data_acceptance],
    )
