"""`amrikyy health-check`."""

import json
from typing import Annotated

import typer

from amrikyy.cli.output import fail, load_settings


def health_check(
    url: Annotated[
        str | None, typer.Option(help="The server; by default the one that HOST and PHASE2_PORT describe.")
    ] = None,
    timeout_s: Annotated[float, typer.Option(help="Seconds to wait for the answer.")] = 5.0,
) -> None:
    """Show the health of a running server. Exits with 0 if it is healthy or degraded, else with 1."""
    from urllib.error import HTTPError, URLError
    from urllib.request import ProxyHandler, build_opener

    base = url or load_settings().local_url
    if not base.startswith(("http://", "https://")):
        fail(f"{base} is not a URL: write it like http://localhost:3001")
    try:
        try:
            direct = build_opener(ProxyHandler({}))  # a proxy for what goes out knows no server of ours
            with direct.open(f"{base.rstrip('/')}/api/health", timeout=timeout_s) as response:
                body = json.load(response)
        except HTTPError as error:
            body = json.load(error)
        word = body["status"]
        components = body["components"]
    except (URLError, TimeoutError, ValueError, KeyError, TypeError, ConnectionError) as error:
        reason = getattr(error, "reason", None) or error
        fail(
            f"No healthy answer from {base}/api/health: {reason}. Is the server running there? "
            "`amrikyy serve` starts one, and --url names another."
        )
    color = {"healthy": typer.colors.GREEN, "degraded": typer.colors.YELLOW}.get(word, typer.colors.RED)
    typer.secho(f"{word}  (up {body['uptime']} s)", fg=color)
    width = max(map(len, components), default=0)
    for name, component in components.items():
        typer.echo(f"  {name:<{width}} {component['status']:<15} {component.get('message', '')}".rstrip())
    if word not in ("healthy", "degraded"):
        raise typer.Exit(1)
