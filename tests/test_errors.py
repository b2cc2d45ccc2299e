"""The tree of errors."""

import json

import pytest

from amrikyy.errors import AmrikyyError, ModelRateLimited, NotFound, RunCancelled, ValidationFailed, error_of


@pytest.mark.parametrize(
    "error",
    [
        ModelRateLimited("Slow down.", model="gemini:x", retry_after_s=7.5),
        NotFound("No such run.", code="run_not_found"),
        ValidationFailed("Wrong.", details=[{"field": "topic"}]),
        RunCancelled("Stopped."),
    ],
)
def test_an_error_is_read_back_from_its_record_with_all_that_its_answer_says(error: AmrikyyError) -> None:
    read = error_of(json.loads(json.dumps(error.record)))
    assert read.record == error.record
    assert str(read) == str(error)
    assert isinstance(read, RunCancelled) == isinstance(error, RunCancelled), "which is a status of its own"
