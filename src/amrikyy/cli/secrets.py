"""`amrikyy secrets`."""

import typer


def secrets() -> None:
    """Generate a JWT secret, an encryption key and an API key, ready to be put into .env."""
    from amrikyy.auth import generate

    typer.echo(f"JWT_SECRET={generate.jwt_secret()}")
    typer.echo(f"ENCRYPTION_KEY={generate.encryption_key()}")
    typer.echo(f"VALID_API_KEYS={generate.api_key()}")
