"""The agents that ship with the server: each is complete in one file or one small package."""
