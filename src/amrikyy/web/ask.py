"""`/api/agents/{agent}/ask` and `/api/stream/{agent}/ask`: requests in plain words."""

from dataclasses import replace
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, StringConstraints
from pydantic_core import PydanticKnownError

from amrikyy.agents.agent import Agent, Request
from amrikyy.agents.registry import Registry
from amrikyy.auth.roles import Permission
from amrikyy.errors import Conflict, NotFound, RunLost
from amrikyy.runs.run import Run
from amrikyy.web.agents import RUN_ERRORS, OperationReply, end_of
from amrikyy.web.endpoint import Answer, Call, Endpoint, JsonBytes
from amrikyy.web.errors import encode
from amrikyy.web.events import Connected, events_of
from amrikyy.web.last_event import RUN_EVENT_ID, last_event_id
from amrikyy.web.launch import HEADERS, Wishes, launch, wishes_of
from amrikyy.web.limits import charge_names
from amrikyy.web.recording import Accepted, accepted_body, end_recorder, record_accepted, record_end
from amrikyy.web.replies import Wire, dollars, reply
from amrikyy.web.sse import EventStream
from amrikyy.web.stream import NOTHING_LEFT, RunGone, resumed

MAX_QUERY = 2000
"""In characters. No real request is longer, and reading a longer one would cost more than the answer is worth."""

_DESCRIPTION = """The planner chooses one of the agent's operations and builds its request: {}.

It may assume dates (30 days from now, 7 days long), an origin (HOME_AIRPORT), counts and platforms, which are listed
under `assumed`, as are the defaults that it used; what else the words do not say is a 400 that names it. Planning is a
run of its own (`planning`) and counts against the agent's limit; then the operation that was chosen counts against its
own."""

_STREAM = """{}

`connected` also has `request`, `assumed` and `planning`; the other events are those of the operation. With
`Last-Event-ID` the run of that id is taken up, and nothing is planned; it must be one that the same words began."""


def _printable(text: Any) -> Any:
    """Remove line breaks and control characters, which neither the database nor a prompt has a use for."""
    if not isinstance(text, str):
        return text
    if len(text) > MAX_QUERY:  # checked as it was sent, as documented
        raise PydanticKnownError("string_too_long", {"max_length": MAX_QUERY})
    return " ".join("".join(each if each.isprintable() else " " for each in text).split())


Query = Annotated[str, StringConstraints(min_length=1, max_length=MAX_QUERY), BeforeValidator(_printable)]


class Ask(Request):
    """What is wanted, in plain words."""

    query: Query = Field(description="What is wanted, 1 to 2000 characters.", examples=["flights from NYC to LAX"])


class Planning(Wire):
    """The run that planned."""

    run_id: str
    cost_usd: float | None = Field(description="US dollars; null when the model's price is not known.")


class Planned(Wire):
    """What was made of the words."""

    request: dict[str, Any] = Field(description="The operation's complete request.")
    assumed: dict[str, Any] = Field(
        description="The fields that the words did not give, with the values assumed for them."
    )
    planning: Planning


class AskReply(OperationReply, Planned):
    """What asking answers: `operation` is the one that was chosen, and the result is its."""


class AskAccepted(Accepted, Planned):
    """The run has begun and goes on without its caller."""


class AskConnected(Connected, Planned):
    """The stream has begun."""


def ask_endpoints(registry: Registry) -> list[Endpoint]:
    """The routes of this module for each agent, except one that has an operation named `ask` of its own."""
    agents = [agent for agent in registry if "ask" not in agent.operations]
    return [endpoint for agent in agents for endpoint in (_asks(agent), _streams(agent))]


def _asks(agent: Agent) -> Endpoint:
    async def ask(call: Call) -> Answer:
        wishes = wishes_of(call)
        run, planned = await _begin(call, agent, wishes, streams=False)
        told = planned.model_dump(mode="json", by_alias=True)
        if wishes.detached:
            await record_accepted(call, run)
            location = (b"location", f"/api/runs/{run.id}".encode())
            return JsonBytes(encode(accepted_body(run).model_dump(by_alias=True) | told), 202, [location])
        error = await end_of(run, call, goes_on=wishes.key is not None)
        await record_end(call, run, wishes)
        if error is not None:
            raise error
        return JsonBytes(encode(reply(run) | told))

    return Endpoint(
        method="POST", path=f"/api/agents/{agent.name}/ask", handler=ask, needs=Permission.AGENT_EXECUTE,
        tag=agent.name.title(), summary="Say in words what is wanted", description=_description(agent),
        body=Ask, example=_example(agent), answer=AskReply, headers=HEADERS, limit=agent.name, check_room=_check_room,
        also={202: ("The run has begun; `Location` is where to look it up.", AskAccepted)},
        errors=(Conflict, *RUN_ERRORS),
    )  # fmt: skip


def _streams(agent: Agent) -> Endpoint:
    async def ask_for_stream(call: Call) -> Answer:
        wishes = wishes_of(call)
        if (seen := last_event_id(call, "run")) is not None:
            return await resumed(call, *seen, lambda run: _is_of(run, agent, call.body))
        run, planned = await _begin(call, agent, wishes, streams=True)
        grace_s = call.runtime.settings.stream_grace_s
        told = planned.model_dump(mode="json", by_alias=True)
        recorded = end_recorder(call, run, wishes)
        return EventStream(run, call.runtime.metrics, grace_s=grace_s, connected=told, before_end=recorded)

    return Endpoint(
        method="POST", path=f"/api/stream/{agent.name}/ask", handler=ask_for_stream, needs=Permission.AGENT_STREAMING,
        tag="Streaming", summary=f"Say in words what is wanted of the agent {agent.name}, as a stream",
        description=_STREAM.format(_description(agent)), body=Ask, example=_example(agent), limit=agent.name,
        media_type="text/event-stream",
        events=events_of() | {"connected": AskConnected}, headers=(RUN_EVENT_ID, *HEADERS), also=NOTHING_LEFT,
        errors=(NotFound, Conflict, RunGone, *RUN_ERRORS), check_room=_check_room,
    )  # fmt: skip


def _check_room(call: Call) -> None:
    call.runtime.runner.slots.check()  # to choose an operation takes a run, which is never cached


def _description(agent: Agent) -> str:
    return _DESCRIPTION.format(", ".join(agent.operations))


def _example(agent: Agent) -> dict[str, str]:
    first = next(iter(agent.operations.values()))
    return {"query": agent.example or first.description.rstrip(".")}


async def _begin(call: Call, agent: Agent, wishes: Wishes, *, streams: bool) -> tuple[Run, Planned]:
    """Plan, charge the chosen operation, and start it. With an Idempotency-Key both are done only once."""
    asked: Ask = call.body
    planner = call.runtime.planner
    plan, question = planner.question(list(agent.operations.values()), asked.query)
    planning = Call(
        call.scope, call.receive, _planning(call.endpoint), call.params, call.exchange, call.principal, call.runtime
    )
    planning.body = asked
    plan_run = await launch(planning, plan, Wishes(key=wishes.key), streams=False, request=lambda: question)
    await end_of(plan_run, call, goes_on=wishes.key is not None, stage="plan")
    chosen = planner.planned_by(plan_run)
    operation = planner.operation_of(chosen)
    if call.claim is None:
        await charge_names(call, operation.key)
    headers = call.exchange.extra_headers
    headers[:] = [header for header in headers if header[0] != b"x-run-id"]  # the id of the planning run
    # Validated only for a run that begins: what was valid when the first copy was planned may be in the past by now.
    run = await launch(call, operation, wishes, streams=streams, request=lambda: planner.request_of(chosen))
    _note_words(call, run, asked.query)
    planned = Planned(
        request=chosen.request,
        assumed=chosen.assumed,
        planning=Planning(run_id=plan_run.id, cost_usd=dollars(plan_run.spent.cost_usd)),
    )
    return run, planned


def _note_words(call: Call, run: Run, words: str) -> None:
    """Store the words with the run that was planned from them: only the same words can resume its stream."""
    run.asked = words
    if call.runtime.shared_runs is not None and call.runtime.live.get(run.id) is run:
        call.runtime.shared_runs.note(run)


def _is_of(run: Run, agent: Agent, asked: Ask) -> bool:
    error = run.outcome.error if run.outcome is not None else None
    words_are_lost = error is not None and error.code == RunLost.code  # like everything about the run except its record
    return run.agent == agent.name and (run.asked == asked.query or words_are_lost)


def _planning(endpoint: Endpoint) -> Endpoint:
    """The endpoint under which the planning claims an Idempotency-Key."""
    return replace(endpoint, path=f"{endpoint.path}/plan")
