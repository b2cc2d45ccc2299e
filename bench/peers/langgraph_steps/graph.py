"""Three steps that do nothing, one after the other."""

from typing import TypedDict

from langgraph.graph import START, StateGraph


class State(TypedDict):
    """What flows through the graph."""

    seconds: float


async def pause(state: State) -> State:
    """Return the state unchanged."""
    return {"seconds": state["seconds"]}


builder = StateGraph(State).add_node("first", pause).add_node("second", pause).add_node("third", pause)
graph = builder.add_edge(START, "first").add_edge("first", "second").add_edge("second", "third").compile()
