"""Keeps a server busy for a long time, with clients of every kind, and checks whether anything in it grows."""
