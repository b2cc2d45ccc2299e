"""Our server beside others that serve agents or models, each in an environment of its own: `python -m bench.peers`."""
