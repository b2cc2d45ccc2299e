"""Agno's AgentOS with one agent on the local model server. It reads OS_SECURITY_KEY by itself."""

import os

from agno.agent import Agent
from agno.models.openai.like import OpenAILike
from agno.os import AgentOS

model = OpenAILike(id="bench", api_key="bench", base_url=os.environ["MODEL_URL"])
app = AgentOS(agents=[Agent(id="writer", model=model, telemetry=False)], telemetry=False).get_app()
