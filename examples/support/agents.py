"""A support desk: an object, a text, a text from a library of one's own, and an operation made of others."""

import asyncio

from pydantic import Field

from amrikyy.agents import Agent, Request, Result, RunContext, hours
from amrikyy.errors import NotFound
from support.orders import find_order, label_of

support = Agent("support", "Answers customers.", limit="60/minute", capabilities=("support",))


class OrderNotFound(NotFound):
    """A 404 with a code of our own, for clients to switch on."""

    code = "order_not_found"
    title = "Order not found"


class Question(Request):
    text: str = Field(min_length=3, max_length=2000)


class Answer(Result):
    answer: str = Field(description="Two or three friendly sentences.")
    needs_a_person: bool = Field(description="Whether a colleague should take over.")


class OrderNumber(Request):
    order: str = Field(pattern=r"^[A-Z]-\d{4}$", examples=["A-1001"])


class OrderState(Result):
    order: str
    state: str
    label: str


class Case(Request):
    text: str = Field(min_length=3, max_length=2000)
    order: str = Field(pattern=r"^[A-Z]-\d{4}$", examples=["A-1001"])


class Handled(Result):
    state: str
    answer: str
    needs_a_person: bool


@support.operation(limit="20/minute", cache_for=hours(1), words=("help", "complain"))
async def answer_question(question: Question, run: RunContext) -> Answer:
    """Answer a customer's question."""
    return await run.generate(Answer, system="You are a friendly support agent.", prompt=f"Question: {question.text}")


@support.operation()
async def write_letter(question: Question, run: RunContext) -> str:
    """Write a letter to a customer."""
    run.say("# Your question\n\n")
    text = await run.write(prompt=f"Write a letter that answers: {question.text}", expected_words=150)
    return f"# Your question\n\n{text}"


@support.operation(raises=(OrderNotFound,))
async def track_order(wanted: OrderNumber, run: RunContext) -> OrderState:
    """Say where an order of the caller's is."""
    order = await find_order(wanted.order, owner=run.owner)
    if order is None:
        raise OrderNotFound(f"There is no order {wanted.order} of yours. Look it up in your account.")
    label = await asyncio.to_thread(label_of, order)
    return OrderState(order=order.number, state=order.state, label=label)


@support.operation(raises=(OrderNotFound,))
async def handle_case(case: Case, run: RunContext) -> Handled:
    """Look up the order and answer the question, side by side."""
    tracked, answered = await asyncio.gather(
        run.call(track_order, OrderNumber(order=case.order)), run.call(answer_question, Question(text=case.text))
    )
    return Handled(state=tracked.state, answer=answered.answer, needs_a_person=answered.needs_a_person)


@support.operation()
async def sort_question(question: Question, run: RunContext) -> Answer:
    """Stream an object that a library of one's own fills."""
    answer = ""
    for piece in await own_library(question.text):
        answer += piece
        run.show({"answer": answer})
    return Answer(answer=answer, needs_a_person=False)


async def own_library(prompt: str) -> list[str]:
    """Stands for the client of a provider or of a framework, which calls models by itself."""
    return [f"You said: {prompt}.", " We will see to it."]


@support.operation()
async def reply_with_own_library(question: Question, run: RunContext) -> str:
    """Stream what a library of one's own makes, and account for it."""
    pieces = await own_library(question.text)
    for done, piece in enumerate(pieces, 1):
        run.say(piece)
        run.progress(done / len(pieces), "Writing")
    await run.charge("anthropic:claude-sonnet-4-5", input_tokens=12, output_tokens=9)
    return "".join(pieces)
