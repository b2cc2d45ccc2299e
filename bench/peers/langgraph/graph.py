"""A graph of one node that asks the local model server."""

import os

from langchain_openai import ChatOpenAI
from langgraph.graph import START, MessagesState, StateGraph

model = ChatOpenAI(model="bench", api_key="bench", base_url=os.environ["MODEL_URL"], stream_usage=True)


async def write(state: MessagesState) -> MessagesState:
    """Ask the model."""
    return {"messages": [await model.ainvoke(state["messages"])]}


graph = StateGraph(MessagesState).add_node("write", write).add_edge(START, "write").compile()
