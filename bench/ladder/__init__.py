"""Where our server's limits are, and what grows with what: `python -m bench.ladder`."""
