"""`amrikyy run`: an operation from the terminal, streamed, through the same runner as over HTTP."""

import asyncio
import json
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from amrikyy.cli.output import fail, load_settings

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

    from amrikyy.agents.agent import Operation
    from amrikyy.agents.registry import Registry
    from amrikyy.runs.run import Run

OWNER = "cli"
"""The owner of these runs in the run log."""

KIND_WIDTH = 14
"""Width of the column for a field's type; a longer one has a line of its own."""


def run(
    context: typer.Context,
    agent: Annotated[str | None, typer.Argument(help="The agent's name, for example travel.")] = None,
    operation: Annotated[str | None, typer.Argument(help="Its operation, for example searchFlights.")] = None,
) -> None:
    """Run an operation: amrikyy run travel searchFlights --origin JFK --destination LHR --date 2027-05-01."""
    from amrikyy.agents.registry import load_registry

    settings = load_settings()
    try:
        registry = load_registry(settings.agents)
    except ValueError as error:
        fail(str(error))
    extra = list(context.args)
    wants_help = "--help" in (agent, operation, *extra)
    as_json = "--json" in extra
    words = [word for word in (agent, operation) if word and not word.startswith("-")]
    if len(words) < 2:
        _explain_agents(registry, words)
        return
    chosen = registry[words[0]][words[1]]
    if wants_help:
        _explain_operation(chosen)
        return
    request = _parse(chosen, [word for word in extra if word != "--json"])
    ended_well = asyncio.run(_run(registry, chosen, request, as_json=as_json))
    if not ended_well:
        raise typer.Exit(1)


async def _run(registry: "Registry", operation: "Operation[Any, Any]", request: Any, *, as_json: bool) -> bool:
    from amrikyy.runtime import open_runtime

    settings = load_settings()
    async with open_runtime(settings, registry) as runtime:
        run = await runtime.runner.start(operation, request, owner=OWNER, streams=not as_json)
        if as_json:
            await run.wait()
        else:
            await _show(run, sys.stderr.isatty())
        outcome = run.outcome
        assert outcome is not None
        if outcome.error is not None:
            details = "".join(f"\n  {d['field']}: {d['message']}" for d in outcome.error.details if "field" in d)
            typer.secho(f"{outcome.error.title}: {outcome.error.message}{details}", fg=typer.colors.RED, err=True)
            return False
        assert outcome.result is not None
        if as_json or not operation.writes_text:
            typer.echo(json.dumps(json.loads(outcome.result), indent=2, ensure_ascii=False))
        _sign(run)
        return True


async def _show(run: "Run", is_terminal: bool) -> None:
    """Write tokens to stdout as they come, and progress to stderr, so that a pipe gets only the text."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
    )
    reader = run.read()
    writes = False
    with Progress(*columns, console=Console(stderr=True), disable=not is_terminal, transient=True) as progress:
        bar = progress.add_task("Starting", total=100)
        while not reader.at_end:
            for event in await reader.read(timeout_s=60):
                if event.kind == "progress":
                    percent, message = event.data
                    progress.update(bar, completed=percent, description=message)
                elif event.kind == "token":
                    if not writes:
                        progress.stop()  # a bar and a growing text would write over each other
                        writes = True
                    typer.echo(event.data, nl=False)
    if writes:
        typer.echo("")


def _sign(run: "Run") -> None:
    spent = run.spent
    cost = "unknown cost" if spent.cost_usd is None else f"${spent.cost_usd:.4f}"
    typer.secho(
        f"{spent.model or 'no model'} · {spent.total_tokens} tokens · {cost} · {run.elapsed_s:.1f} s · {run.id}",
        dim=True,
        err=True,
    )


def _parse(operation: "Operation[Any, Any]", words: list[str]) -> Any:
    """Read `--field value` or `--field=value`; a list is given with commas or by repeating the field."""
    hint = f"`amrikyy run {operation.agent} {operation.name} --help` lists the fields."
    fields = {(each.alias or name).lower(): (each.alias or name, each) for name, each in _fields(operation)}
    values: dict[str, Any] = {}
    queue = list(words)
    while queue:
        word = queue.pop(0)
        if not word.startswith("--"):
            fail(f"{word!r} belongs to no field; write --field value. {hint}")
        name, has_value, value = word[2:].partition("=")
        key = name.replace("-", "").replace("_", "").lower()
        if key not in fields:
            fail(f"There is no field --{name}. {hint}")
        if not has_value:
            if not queue:
                fail(f"--{name} needs a value.")
            value = queue.pop(0)
        alias, field = fields[key]
        if "list" in str(field.annotation) or "tuple" in str(field.annotation):
            values.setdefault(alias, []).extend(part.strip() for part in value.split(",") if part.strip())
        else:
            values[alias] = value
    return operation.parse(json.dumps(values).encode())


def _fields(operation: "Operation[Any, Any]") -> "Iterable[tuple[str, FieldInfo]]":
    fields: dict[str, FieldInfo] = operation.request_type.model_fields
    return fields.items()


def _explain_agents(registry: "Registry", words: list[str]) -> None:
    agents = [registry[words[0]]] if words else list(registry)
    typer.echo("Usage: amrikyy run AGENT OPERATION --field value ... [--json]\n")
    for agent in agents:
        typer.secho(f"{agent.name}: {agent.description}", bold=True)
        for operation in agent.operations.values():
            typer.echo(f"  {operation.name:<30} {operation.description}")
    typer.echo("\n`amrikyy run AGENT OPERATION --help` lists its fields.")


def _explain_operation(operation: "Operation[Any, Any]") -> None:
    typer.echo(f"Usage: amrikyy run {operation.agent} {operation.name} --field value ... [--json]\n")
    typer.echo(f"{operation.description}\n")
    schema = operation.request_type.model_json_schema(by_alias=True)
    definitions = schema.get("$defs", {})
    for name, field in schema["properties"].items():
        kind = _kind(field, definitions)
        default = f"default {json.dumps(field['default'])}" if field.get("default") is not None else "optional"
        if name in schema.get("required", ()):
            default = "required"
        if len(kind) > KIND_WIDTH:
            kind += f"\n{'':<{21 + KIND_WIDTH}}"
        typer.echo(f"  --{name:<16} {kind:<{KIND_WIDTH}}  {default:<18} {field.get('description', '')}")
    typer.echo("\nA list takes commas, or the option again. --json prints the whole result as JSON, of a text too.")


def _kind(field: dict[str, Any], definitions: dict[str, Any]) -> str:
    """What a field takes, from its JSON schema, with the default of one that may be left out."""
    options = [each for each in field.get("anyOf", [field]) if each.get("type") != "null"]
    field = {**definitions.get(options[0].get("$ref", "").rpartition("/")[2], {}), **options[0]}
    if "enum" in field:
        return " | ".join(map(str, field["enum"]))
    if field.get("type") == "array":
        return f"list of {_kind(field['items'], definitions)}"
    return str(field.get("type", ""))
