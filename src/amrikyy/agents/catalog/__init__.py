"""The agents that ship with the server: one file or one small package is one agent, complete."""
