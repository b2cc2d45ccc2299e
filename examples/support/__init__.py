"""An agent of one's own, with its tests: a package outside of the server's repository looks the same."""
