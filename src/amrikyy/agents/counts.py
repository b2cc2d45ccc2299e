"""Counts runs in the metrics, and what models used for them."""

from amrikyy.llm.request import Usage
from amrikyy.runs.run import Run
from amrikyy.telemetry.metrics import Metrics


def count_usage(metrics: Metrics, agent: str, used: Usage) -> None:
    """Count what a model call used: once, however its stream ended."""
    metrics.model_tokens.inc(used.model, agent, "input", by=used.input_tokens)
    metrics.model_tokens.inc(used.model, agent, "output", by=used.output_tokens)
    if used.cost_usd is None:
        metrics.unpriced_calls.inc(used.model)
    else:
        metrics.model_dollars.inc(used.model, agent, by=used.cost_usd)


def count_run(metrics: Metrics, run: Run) -> None:
    """Count a run that has ended."""
    outcome, execution = run.outcome, run.execution
    metrics.executions.inc(run.agent, run.operation, run.status)
    if outcome is not None and outcome.error is not None:
        metrics.run_errors.inc(run.agent, outcome.error.code)
    if not run.joined and not execution.cached:
        metrics.execution_seconds.observe(run.elapsed_s, run.agent, run.operation)
        if execution.streams and execution.first_output_s is not None:
            metrics.first_token_seconds.observe(execution.first_output_s, run.agent)
