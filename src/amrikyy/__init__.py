"""Amrikyy Agent: a server for AI agents."""

__version__ = "2.0.0"
