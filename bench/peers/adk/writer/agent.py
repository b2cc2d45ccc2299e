"""One agent on Gemini; GOOGLE_GEMINI_BASE_URL says where that is."""

from google.adk.agents import Agent

root_agent = Agent(name="writer", model="gemini-2.0-flash-exp", instruction="Write what is asked for.")
