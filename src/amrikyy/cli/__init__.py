"""The command line. Heavy imports happen inside the commands, so that help is shown at once."""

import io
import sys
from typing import Annotated

import typer

from amrikyy import __version__
from amrikyy.cli import accounts, database, health, operations, secrets, serve
from amrikyy.cli.output import stop_on_errors

app = typer.Typer(
    name="amrikyy",
    help="A server for AI agents: JSON, token streams and workflows, with all that production needs around them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"max_content_width": 110},  # as wide as the terminal up to there: 80 cuts half the lines short
)
app.command("serve")(serve.serve)
app.command("dev")(serve.dev)
app.command(
    "run", context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
)(operations.run)
app.command("health-check")(health.health_check)
app.command("secrets")(secrets.secrets)
app.add_typer(accounts.users, name="users")
app.add_typer(accounts.keys, name="keys")
app.add_typer(database.database, name="db")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"amrikyy {__version__}")
        raise typer.Exit


@app.callback()
def root(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Settings come from the environment and from .env; README.md lists them."""


def main() -> None:
    """Run the command line."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # not every terminal knows the signs that we write, but all know ?
    with stop_on_errors():
        app()
