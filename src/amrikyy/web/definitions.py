"""`/api/coordinator/workflows`: the named workflows, built in or defined through this API."""

from datetime import datetime
from typing import Any

from pydantic import Field

from amrikyy.auth.roles import Permission
from amrikyy.errors import Conflict, NotFound, Unavailable
from amrikyy.web.endpoint import Answer, Call, Endpoint
from amrikyy.web.replies import Success, Wire
from amrikyy.workflows.definitions import Saved
from amrikyy.workflows.plan import Definition, Hierarchical, Parallel, Plan

PATH = "/api/coordinator/workflows"


class NamedWorkflow(Wire):
    """A named workflow in the list."""

    name: str
    strategy: str
    description: str
    steps: int = Field(description="How many it has itself; a workflow in it is one.")
    version: int = Field(description="0: it ships with the server.")


class WorkflowList(Success):
    """All named workflows."""

    workflows: list[NamedWorkflow]
    total: int


class WorkflowDefinition(Success):
    """A named workflow, whole."""

    name: str
    description: str
    version: int
    saved_by: str | None
    saved_at: datetime | None
    plan: dict[str, Any]


class WorkflowDeleted(Success):
    """The workflow can no longer be run; its last versions stay as long as runs do (RUN_RETENTION_DAYS)."""

    name: str
    message: str


async def list_definitions(call: Call) -> Answer:
    """All named workflows, in their newest version."""
    saved = await call.runtime.workflows.definitions.all()
    listed = [
        NamedWorkflow(
            name=name,
            strategy=each.definition.plan.strategy,
            description=each.definition.description,
            steps=_steps(each.definition.plan),
            version=each.version,
        )
        for name, each in saved.items()
    ]
    return WorkflowList(workflows=listed, total=len(listed))


async def get_definition(call: Call) -> Answer:
    """One named workflow."""
    return _reply(await call.runtime.workflows.definitions.get(call.params["name"]))


async def save_definition(call: Call) -> Answer:
    """Add a named workflow, or a new version of one."""
    definition: Definition = call.body
    saved = await call.runtime.workflows.definitions.save(definition, call.actor)
    return _reply(saved)


async def delete_definition(call: Call) -> Answer:
    """Take a named workflow out of use."""
    name = call.params["name"]
    await call.runtime.workflows.definitions.delete(name, call.actor)
    return WorkflowDeleted(name=name, message=f"The workflow {name!r} was taken out of use.")


def _steps(plan: Plan) -> int:
    if isinstance(plan, Hierarchical):
        return 1 + len(plan.sub_agents)
    return len(plan.tasks if isinstance(plan, Parallel) else plan.steps)


def _reply(saved: Saved) -> WorkflowDefinition:
    definition = saved.definition
    return WorkflowDefinition(
        name=definition.name,
        description=definition.description,
        version=saved.version,
        saved_by=saved.saved_by,
        saved_at=saved.saved_at,
        plan=definition.plan.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        | {"strategy": definition.plan.strategy},
    )


DEFINITIONS = [
    Endpoint(
        method="GET", path=PATH, handler=list_definitions, needs=Permission.AGENT_READ, tag="Coordinator",
        summary="List all named workflows", answer=WorkflowList, errors=(Unavailable,),
    ),
    Endpoint(
        method="POST", path=PATH, handler=save_definition, needs=Permission.AGENT_MANAGE, tag="Coordinator",
        summary="Define a workflow, or a new version of one", body=Definition, answer=WorkflowDefinition, status=201,
        errors=(Conflict, Unavailable),
        description="What has begun goes on as it began. The last 20 versions are kept.",
    ),
    Endpoint(
        method="GET", path=f"{PATH}/{{name}}", handler=get_definition, needs=Permission.AGENT_READ, tag="Coordinator",
        summary="Look up a named workflow", answer=WorkflowDefinition, errors=(NotFound, Unavailable),
    ),
    Endpoint(
        method="DELETE", path=f"{PATH}/{{name}}", handler=delete_definition, needs=Permission.AGENT_MANAGE,
        tag="Coordinator", summary="Take a named workflow out of use", answer=WorkflowDeleted,
        errors=(NotFound, Conflict, Unavailable),
    ),
]  # fmt: skip
