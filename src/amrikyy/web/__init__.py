"""HTTP: the only package, with app.py, that knows what a request is."""
