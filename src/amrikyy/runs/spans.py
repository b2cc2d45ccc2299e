"""Runs as spans, by OpenTelemetry's conventions for generative AI."""

from amrikyy.runs.run import Run
from amrikyy.telemetry.spans import Clean, Description, Value, message


def describe_run(run: Run, clean: Clean | None) -> Description:
    """A run: `invoke_agent`."""
    spent, outcome, execution = run.spent, run.outcome, run.execution
    error = outcome.error if outcome is not None else None
    attributes: dict[str, Value | None] = {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.agent.name": run.agent,
        "gen_ai.response.model": spent.model,
        # Not `usage`, which the spans of its model calls have: whoever sums up a trace would count it twice.
        "gen_ai.aggregated_usage.input_tokens": spent.input_tokens,
        "gen_ai.aggregated_usage.output_tokens": spent.output_tokens,
        "amrikyy.operation": run.operation,
        "amrikyy.run.id": run.id,
        "amrikyy.run.status": run.status,
        "amrikyy.cost_usd": spent.cost_usd,
        "user.id": run.owner,
    }
    if execution.cached:
        attributes["amrikyy.cache"] = execution.cached
    elif run.joined:
        attributes["amrikyy.cache"] = "join"
    if execution.streams and execution.first_output_s is not None:
        attributes["amrikyy.first_output_ms"] = round(execution.first_output_s * 1000, 3)
    if clean is not None:
        attributes["gen_ai.input.messages"] = message("user", run.request.decode(), clean)
        if outcome is not None and outcome.result is not None:
            attributes["gen_ai.output.messages"] = message("assistant", outcome.result.decode(), clean)
    return Description(
        f"invoke_agent {run.agent}",
        "internal",
        attributes,
        error.code if error is not None else None,
        error.message if error is not None else "",
    )


def describe_look(looked: tuple[str, str], _: Clean | None) -> Description:
    """A lookup in the cache, given as its agent and what was found."""
    agent, found = looked
    return Description("cache.get", "internal", {"gen_ai.agent.name": agent, "amrikyy.cache": found})


def describe_wait(run: Run, _: Clean | None) -> Description:
    """The time that a run waited for a slot."""
    return Description("wait for a slot", "internal", {"gen_ai.agent.name": run.agent})
