"""The agent's tests: no server, no network, no model."""

import pytest

from amrikyy.errors import ModelOverloaded, ValidationFailed
from amrikyy.testing import try_out
from support.agents import (
    Answer,
    OrderNotFound,
    answer_question,
    handle_case,
    reply_with_own_library,
    track_order,
    write_letter,
)


async def test_the_question_reaches_the_model_and_its_answer_the_customer() -> None:
    answer = Answer(answer="It is on its way.", needs_a_person=False)
    tried = await try_out(answer_question, {"text": "Where is my parcel?"}, answers=[answer])
    assert tried.result == answer
    assert "Where is my parcel?" in tried.asked[0].prompt
    assert tried.partials[-1] == {"answer": "It is on its way.", "needsAPerson": False}


async def test_a_question_that_says_nothing_is_refused() -> None:
    with pytest.raises(ValidationFailed):
        await try_out(answer_question, {"text": "?"})


async def test_a_letter_is_streamed_under_its_heading() -> None:
    tried = await try_out(write_letter, {"text": "Where is my parcel?"}, answers=["It left on Monday."])
    assert "".join(tried.tokens) == tried.result.text
    assert tried.result.title == "Your question"


async def test_a_failure_of_the_model_is_the_failure_of_the_run() -> None:
    tried = await try_out(write_letter, {"text": "Where?"}, answers=[ModelOverloaded("Too busy.", model="test:x")])
    assert tried.error is not None
    assert tried.error.code == "model_overloaded"


async def test_nobody_sees_the_order_of_another() -> None:
    assert (await try_out(track_order, {"order": "A-1001"})).result.label == "[A-1001]"
    tried = await try_out(track_order, {"order": "A-1001"}, owner="user:stranger")
    assert isinstance(tried.error, OrderNotFound)


async def test_a_case_is_the_order_and_the_answer() -> None:
    answer = Answer(answer="Sorry!", needs_a_person=True)
    tried = await try_out(handle_case, {"text": "It is late.", "order": "A-1001"}, answers=[answer])
    assert tried.result.state == "It left the warehouse on Monday."
    assert tried.result.needs_a_person


async def test_what_the_own_library_used_is_counted() -> None:
    tried = await try_out(reply_with_own_library, {"text": "Hello"})
    assert tried.result.text == "You said: Hello. We will see to it."
    assert tried.tokens_used == 21
    assert tried.cost_usd
