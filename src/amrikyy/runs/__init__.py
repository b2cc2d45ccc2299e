"""Runs: the work that the server does for a caller, its events, and how both are stored."""
