"""Measurements of the running server, beside a bare ASGI app, as ratios of one run."""
