"""An agent whose author has made mistakes, each of which may fail its own run and nothing else."""

import math
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, Field

from amrikyy.agents import Agent, Request, Result, RunContext, hours
from amrikyy.errors import NotFound, RateLimited, Unavailable

faulty = Agent("faulty", "Makes mistakes.")

HALF = "\ud83d"
"""Half of an emoji."""


class Wanted(Request):
    how: str = ""


class Said(Result):
    text: str
    more: Any = None


@faulty.operation()
async def interrupt(wanted: Wanted, run: RunContext) -> Said:
    """Raise what Ctrl-C raises."""
    raise KeyboardInterrupt


@faulty.operation()
async def leave(wanted: Wanted, run: RunContext) -> Said:
    """Raise what Python raises in a generator that is closed."""
    raise GeneratorExit


@faulty.operation(sample=lambda wanted: f"One {HALF}")
async def garble(wanted: Wanted, run: RunContext) -> str:
    """Let half of an emoji out, in each way there is."""
    text = f"Hello {HALF}"
    match wanted.how:
        case "say":
            run.say(text)
        case "progress":
            run.progress(0.5, text)
        case "write":
            await run.write(prompt="Write", expected_words=1, message="Writing")
        case "message":
            await run.generate(Said, prompt="Write", message=text)
        case "show":
            run.show({"text": text})
        case "charge":
            await run.charge(f"acme:{HALF}", input_tokens=1, output_tokens=1, cost_usd=0.0)
        case "error":
            raise NotFound(text)
        case "details":
            raise NotFound("No.", details=[{"field": text}])
    return text


@faulty.operation()
async def garble_result(wanted: Wanted, run: RunContext) -> Said:
    """Return half of an emoji."""
    return Said(text="One", more=[HALF])


async def answer_later() -> Said:
    return Said(text="Later")


SAMPLES = {"dict": {"text": "One"}, "another": Wanted(how="One"), "nothing": None, "unready": answer_later}


def sample(wanted: Wanted) -> Any:
    made = SAMPLES[wanted.how]
    return made() if callable(made) else made


@faulty.operation(sample=sample)
async def show_sample(wanted: Wanted, run: RunContext) -> Said:
    """Ask the offline model, whose answer is no such thing."""
    return await run.generate(Said, prompt="Say something")


@faulty.operation()
async def quote_error(wanted: Wanted, run: RunContext) -> Said:
    """Raise an error whose message is no text, or whose delay is no number."""
    wrong: Any = "soon" if wanted.how == "delay" else ValueError("not a text")
    raise Unavailable("Busy.", retry_after_s=wrong) if wanted.how == "delay" else NotFound(wrong)


@faulty.operation()
async def refuse(wanted: Wanted, run: RunContext) -> Said:
    """Refuse, and say when to come back only if asked for."""
    retry_after_s = 42 if wanted.how == "later" else None
    if wanted.how == "unavailable":
        raise Unavailable("Closed.")
    raise RateLimited("Too often.", retry_after_s=retry_after_s)


class Share(BaseModel):
    """A part that is no `Result`."""

    share: float | None = None


@dataclass
class Sum:
    total: float


class Average(Result):
    average: float = 0.0
    shares: list[Share] = Field(default_factory=list)
    total: Sum | None = None
    more: Any = None


NAN = float("nan")


@faulty.operation(cache_for=hours(1))
async def divide(wanted: Wanted, run: RunContext) -> Average:
    """Divide by zero as numpy does it, in each place where a number can be."""
    match wanted.how:
        case "field":
            return Average(average=NAN)
        case "infinite":
            return Average(average=-math.inf)
        case "set later":
            average = Average()
            average.average = NAN
            return average
        case "part":
            return Average(shares=[Share(share=NAN)])
        case "dataclass":
            return Average(total=Sum(NAN))
        case "anything":
            return Average(more={"shares": [Share(share=NAN)]})
        case "call":
            return await run.call(divide, Wanted(how="field"))
    return Average(shares=[Share()], more=["NaN", "Infinity", None])


@faulty.operation(cache_for=hours(1))
async def answer(wanted: Wanted, run: RunContext) -> Said:
    """Make no mistake."""
    return Said(text="Fine")
