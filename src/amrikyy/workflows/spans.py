"""Workflows and their steps as spans. They may be many processes' work, so their ids follow from the workflow's."""

from hashlib import blake2b

from amrikyy.errors import AmrikyyError
from amrikyy.telemetry.spans import Clean, Context, Description, Value
from amrikyy.workflows.records import Status, WorkflowRecord


def span_id_of(workflow_id: str) -> int:
    """The id of a workflow's span: the same for every process that works on it."""
    return int.from_bytes(blake2b(workflow_id.encode(), digest_size=8).digest()) or 1


def part_of(workflow: WorkflowRecord) -> Context | None:
    """Where the spans of its steps belong; None if it is not traced."""
    return workflow.trace and workflow.trace._replace(span_id=span_id_of(workflow.id))


def describe_workflow(ended: tuple[WorkflowRecord, Status, AmrikyyError | None], _: Clean | None) -> Description:
    """A workflow: `invoke_workflow`."""
    workflow, status, error = ended
    attributes: dict[str, Value | None] = {
        "gen_ai.operation.name": "invoke_workflow",
        "gen_ai.workflow.name": workflow.name,
        "amrikyy.workflow.id": workflow.id,
        "amrikyy.workflow.strategy": workflow.strategy,
        "amrikyy.run.status": status,
        "user.id": workflow.owner,
    }
    name = f"invoke_workflow {workflow.name}" if workflow.name else "invoke_workflow"
    return Description(
        name, "internal", attributes, error.code if error is not None else None, error.message if error else ""
    )


def describe_step(ran: tuple[WorkflowRecord, dict[str, object]], _: Clean | None) -> Description:
    """A step, by its outcome."""
    workflow, outcome = ran
    error, path = outcome["error"], str(outcome["step"])
    attempts = outcome["attempts"]
    attributes: dict[str, Value | None] = {
        "gen_ai.agent.name": str(outcome["agent"]),
        "amrikyy.operation": str(outcome["method"]) if outcome["method"] else None,
        "amrikyy.step.path": path,
        "amrikyy.attempts": attempts if isinstance(attempts, int) else None,
        "amrikyy.workflow.id": workflow.id,
        "amrikyy.run.status": "completed" if outcome["success"] else "failed" if error else "cancelled",
    }
    code, message = (str(error["code"]), str(error["message"])) if isinstance(error, dict) else (None, "")
    return Description(f"step {path}", "internal", attributes, code, message)
