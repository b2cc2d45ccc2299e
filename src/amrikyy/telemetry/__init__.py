"""Logs, metrics and spans, and how their times are written."""
