"""An agent whose operation only waits, to measure everything around an operation."""

import asyncio

from amrikyy.agents import Agent, Request, Result, RunContext

agent = Agent("bench", "Does nothing.")


class Pause(Request):
    """How long to wait."""

    seconds: float = 0


class Done(Result):
    """How long the wait was."""

    seconds: float


@agent.operation()
async def pause(request: Pause, run: RunContext) -> Done:
    """Wait."""
    if request.seconds:
        await asyncio.sleep(request.seconds)
    return Done(seconds=request.seconds)
