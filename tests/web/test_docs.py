"""The examples on the documentation page: what it says to try can be sent as it stands."""

import html
import json
import re
import shlex
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from amrikyy.web.examples import example_of
from tests.serving import MakeSettings, Served, serve

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)  # nothing here depends on the kind

WRITES = ("POST", "PUT", "PATCH")

REFUSED = {
    "/api/auth/refresh": (401, "the example has no real token"),
    "/api/auth/password/reset": (401, "the example has no real token"),
    "/api/coordinator/status/$WORKFLOW_ID/cancel": (409, "the workflow has ended by now"),
}
"""The examples that are refused, with the status and why."""

LOGIN = {"email": "user@example.com", "password": "a long password"}
"""The page's example, so that it is one of a user who exists."""


def examples(page: str) -> Iterator[tuple[str, str, str | None]]:
    """Method, path and body of each command on the page, as a shell would read it."""
    for command in re.findall(r"<summary>Try it</summary><pre>(.*?)</pre>", page, re.DOTALL):
        words = shlex.split(html.unescape(command))
        method = words[words.index("-X") + 1] if "-X" in words else "GET"
        (url,) = [word for word in words if word.startswith("http")]
        yield method, "/" + url.split("/", 3)[3], words[words.index("-d") + 1] if "-d" in words else None


async def test_every_example_can_be_sent_as_it_stands(server: Served) -> None:
    page = (await server.ask("GET", "/api/docs", key=None)).body.decode()
    asked = [each for each in examples(page) if each[0] in WRITES]
    document = (await server.ask("GET", "/api/openapi.json", key=None)).json
    assert len(asked) == sum(method.upper() in WRITES for path in document["paths"].values() for method in path)

    made = await server.ask("POST", "/api/auth/users", LOGIN | {"role": "admin"}, key="admin")
    assert made.status == 201, made.body
    guest = await server.ask("POST", "/api/auth/users", {"email": "guest@example.com"}, key="admin")
    workflow = await server.ask("POST", "/api/coordinator/hierarchical", {"master": "travel", "subAgents": ["content"]})
    known = {"$USER_ID": guest.json["user"]["id"], "$WORKFLOW_ID": workflow.json["workflowId"]}
    asked.sort(key=lambda each: each[1] == "/api/auth/password")  # the last: the password is another one then
    for method, path, body in asked:
        login = await server.ask("POST", "/api/auth/login", LOGIN, key=None)
        sent = path
        for name, value in known.items():
            sent = sent.replace(name, value)
        assert "$" not in sent, path
        reply = await server.ask(
            method,
            sent,
            key=None,
            headers={"authorization": f"Bearer {login.json['token']}"},
            raw=body.encode() if body is not None else None,
        )
        expected, _ = REFUSED.get(path, (None, ""))
        assert (reply.status == expected) if expected else (reply.status in (200, 201)), (path, body, reply.body)
        if "text/event-stream" in reply.headers["content-type"]:
            assert b"\nevent: complete\n" in reply.body, (path, reply.body[-500:])


async def test_the_headers_of_answers_are_declared_where_they_are_sent(server: Served) -> None:
    document = (await server.ask("GET", "/api/openapi.json", key=None)).json
    blog, steps = {"topic": "Trains"}, [{"agent": "content", "method": "generateBlogPost"}]
    fails = {"steps": steps, "input": {"topic": "?"}}
    plan, later = {"steps": steps, "input": blog}, {"prefer": "respond-async"}
    sent: list[tuple[str, dict[str, Any], dict[str, str], int, set[str]]] = [
        ("/api/agents/content/generateBlogPost", blog, {}, 200, {"x-run-id", "x-cache", "x-trace-id"}),
        ("/api/agents/content/generateBlogPost", blog, later, 202, {"location", "preference-applied", "x-trace-id"}),
        ("/api/agents/content/generateBlogPost", {}, {}, 400, {"x-request-id", "x-trace-id"}),
        ("/api/agents/content/ask", {"query": "blog about trains"}, later, 202, {"location", "preference-applied"}),
        ("/api/stream/blog", blog, later, 200, {"preference-applied", "x-run-id"}),
        ("/api/coordinator/sequential", plan, {}, 200, {"location", "x-run-id", "x-trace-id"}),
        ("/api/coordinator/sequential", plan, later, 202, {"location", "preference-applied"}),
        ("/api/coordinator/sequential", fails, {}, 400, {"location", "x-run-id", "x-trace-id"}),
    ]
    known = document["components"]["headers"]
    for path, body, headers, status, expected in sent:
        reply = await server.ask("POST", path, body, headers=headers)
        assert reply.status == status, reply.body
        declared = document["paths"][path]["post"]["responses"][str(status)]["headers"]
        received = {name.lower() for name in reply.headers} & known.keys()
        assert expected <= received <= declared.keys(), (path, status)
        assert all(known[name] and ref == {"$ref": f"#/components/headers/{name}"} for name, ref in declared.items())


async def test_what_a_plan_consists_of_is_on_the_page(server: Served) -> None:
    page = (await server.ask("GET", "/api/docs", key=None)).body.decode()
    (article,) = re.findall(r'<article id="post-coordinator-workflows">.*?</article>', page, re.DOTALL)
    for shown in ("Sequential or Parallel or Hierarchical", "<code>subAgents</code>", "<code>tasks</code>"):
        assert shown in article
    assert "<td>any" not in article


AGENT = '''
from datetime import date, datetime
from decimal import Decimal
from typing import Literal, Union
from uuid import UUID

from pydantic import AwareDatetime, Field
from typing_extensions import TypeAliasType

from amrikyy.agents import Agent, Request, Result, RunContext


class Line(Request):
    article: UUID
    count: int = Field(ge=1)
    colour: Literal["red", "blue"]


class Order(Request):
    lines: list[Line] = Field(min_length=1)
    first: date
    last: date
    at: datetime
    until: AwareDatetime
    price: Decimal
    note: str | None
    code: str = Field(pattern="^[A-Z]{2}[0-9]{3}$")
    name: str = Field(min_length=20)
    share: float = Field(gt=0, lt=1)


class Done(Result):
    done: bool


Numbers = TypeAliasType("Numbers", Union[list["Numbers"], int])


class Tree(Request):
    children: list["Tree"]
    parent: "Tree | None"
    numbers: Numbers


shop = Agent("shop", "Sells.")


@shop.operation()
async def place_order(order: Order, run: RunContext) -> Done:
    """Place an order."""
    return Done(done=order.first < order.last)


@shop.operation()
async def grow(tree: Tree, run: RunContext) -> Done:
    """Grow a tree."""
    return Done(done=True)
'''


@pytest.fixture
async def shop(make_settings: MakeSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Served]:
    (tmp_path / "shop_agent.py").write_text(AGENT)
    monkeypatch.syspath_prepend(tmp_path)
    async with serve(make_settings(agents="shop_agent")) as served:
        yield served


async def test_an_agent_that_somebody_adds_has_examples_that_can_be_sent(shop: Served) -> None:
    page = (await shop.ask("GET", "/api/docs", key=None)).body.decode()
    bodies = {path: body for _, path, body in examples(page) if path.startswith("/api/agents/shop/")}
    for name in ("placeOrder", "grow"):
        body = bodies[f"/api/agents/shop/{name}"]
        assert body is not None
        reply = await shop.ask("POST", f"/api/agents/shop/{name}", json.loads(body))
        assert (reply.status, reply.json.get("result")) == (200, {"done": True}), (body, reply.body)


def test_an_example_ends_where_a_schema_contains_itself(database_url: str) -> None:
    schemas = {"Tree": {"properties": {"tree": {"$ref": "#/components/schemas/Tree"}}, "required": ["tree"],
                        "type": "object"}}  # fmt: skip
    assert example_of({"$ref": "#/components/schemas/Tree"}, schemas, date(2027, 1, 1))


def test_dates_in_examples_are_to_come(database_url: str) -> None:
    today = datetime.now(UTC).date()
    day = {"type": "string", "format": "date"}
    schema = {"type": "object", "required": ["a", "b"], "properties": {"a": day, "b": day}}
    made = example_of(schema, {}, today)
    assert today + timedelta(days=7) < date.fromisoformat(made["a"]) < date.fromisoformat(made["b"])
