"""Kills and stops parts of a running service, and checks afterwards that no promise was broken."""
