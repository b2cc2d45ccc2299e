"""Durable runs of several operations: sequential, parallel, hierarchical, and by name."""
