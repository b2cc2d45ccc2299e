"""An agent whose operation takes as long as it is told, for what comes around it."""

import asyncio

from amrikyy.agents import Agent, Request, Result, RunContext

agent = Agent("bench", "Does nothing.")


class Pause(Request):
    """How long."""

    seconds: float = 0


class Done(Result):
    """It is over."""

    seconds: float


@agent.operation()
async def pause(request: Pause, run: RunContext) -> Done:
    """Wait."""
    if request.seconds:
        await asyncio.sleep(request.seconds)
    return Done(seconds=request.seconds)
