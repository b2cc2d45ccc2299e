"""Keeps a server busy for long, with clients of every kind, and looks whether anything in it grows."""
