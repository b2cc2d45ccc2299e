"""What metrics say of runs, and of what models have used for them."""

from amrikyy.llm.request import Usage
from amrikyy.runs.run import Run
from amrikyy.telemetry.metrics import Metrics


def count_usage(metrics: Metrics, agent: str, used: Usage) -> None:
    """Count what a model call has used: once, however its stream has ended."""
    metrics.model_tokens(used.model, agent, "input").inc(used.input_tokens)
    metrics.model_tokens(used.model, agent, "output").inc(used.output_tokens)
    if used.cost_usd is None:
        metrics.unpriced_calls(used.model).inc()
    else:
        metrics.model_dollars(used.model, agent).inc(used.cost_usd)


def count_run(metrics: Metrics, run: Run) -> None:
    """Count a run that has ended."""
    outcome, execution = run.outcome, run.execution
    metrics.executions(run.agent, run.operation, run.status).inc()
    if outcome is not None and outcome.error is not None:
        metrics.run_errors(run.agent, outcome.error.code).inc()
    if not run.joined and not run.cached:
        metrics.execution_seconds(run.agent, run.operation).observe(run.elapsed_s)
        if execution.streams and execution.first_output_s is not None:
            metrics.first_token_seconds(run.agent).observe(execution.first_output_s)
