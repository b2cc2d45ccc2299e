"""Runs: what the server does for a caller, event by event, and where that is kept."""
