"""The agent that `adk api_server` serves."""
