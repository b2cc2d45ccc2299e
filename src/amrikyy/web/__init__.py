"""HTTP: the only package, besides app.py, that knows about requests."""
