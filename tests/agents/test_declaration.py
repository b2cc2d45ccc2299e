"""An agent is one file: what its declaration gives, and what is refused."""

import re
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import Field

from amrikyy.agents import Agent, Request, Result, RunContext, TextResult, days, hours, minutes
from amrikyy.agents.agent import count_words
from amrikyy.agents.registry import Registry, load_registry
from amrikyy.app import endpoints_of
from amrikyy.errors import NotFound, ValidationFailed
from amrikyy.ratelimit import Limit
from amrikyy.web.openapi import openapi
from tests.serving import MakeSettings, serve

OWN_AGENT = '''
from amrikyy.agents import Agent, Request, Result, RunContext, hours
from pydantic import Field

support = Agent("support", "Answers customers.", limit="60/minute")


class Question(Request):
    text: str = Field(min_length=3, max_length=2000)


class Answer(Result):
    answer: str = Field(description="Two or three friendly sentences.")
    needs_a_person: bool
    urgency: int = Field(ge=1, le=5)


@support.operation(limit="20/minute", cache_for=hours(1))
async def answer_question(question: Question, run: RunContext) -> Answer:
    """Answer a customer's question."""
    return await run.generate(Answer, prompt=f"Question: {question.text}")


@support.operation()
async def write_letter(question: Question, run: RunContext) -> str:
    """Write a letter."""
    return await run.write(prompt=question.text)
'''


class Empty(Request):
    pass


class Count(Request):
    how_many: int = 1
    names: list[str] = Field(default_factory=list)


class Number(Result):
    the_number: int


def test_the_declaration_gives_name_types_and_policy() -> None:
    agent = Agent("sums", "Counts.", limit="60/minute")

    @agent.operation(limit="20/minute", cache_for=minutes(5), shared=True, tier="pro")
    async def count_things(count: Count, run: RunContext) -> Number:
        """Count things.

        More about it.
        """
        return Number(the_number=count.how_many)

    operation = agent["countThings"]
    assert operation is count_things
    assert (operation.name, operation.key) == ("countThings", "sums.countThings")
    assert operation.description == "Count things."
    assert (operation.request_type, operation.result_type) == (Count, Number)
    assert (operation.limit, operation.cache_for) == (Limit(20, 60), timedelta(minutes=5))
    assert (operation.shared, operation.tier, operation.writes_text) == (True, "pro", False)


def test_an_operation_that_returns_a_text_streams_it() -> None:
    agent = Agent("writer", "Writes.")

    @agent.operation()
    async def write(_: Empty, run: RunContext) -> str:
        """Write."""
        return await run.write(prompt="text")

    assert write.writes_text
    assert write.result_type is TextResult


def test_wrong_declarations_are_refused_with_the_place() -> None:
    agent = Agent("wrong", "Is wrong.")
    with pytest.raises(ValueError, match="lower-case"):
        Agent("Not Good", "x")
    with pytest.raises(ValueError, match="20/minute"):
        Agent("often", "x", limit="often")
    with pytest.raises(TypeError, match="both annotated"):

        @agent.operation()
        async def no_types(request, run):  # type: ignore[no-untyped-def]  # that is the mistake
            return None

    with pytest.raises(TypeError, match="says what it returns"):

        @agent.operation()  # type: ignore[arg-type]  # that is the mistake
        async def no_result(request: Empty, run: RunContext) -> dict[str, int]:
            return {}

    with pytest.raises(TypeError, match="async function"):

        @agent.operation()  # type: ignore[arg-type]  # that is the mistake
        def not_async(request: Empty, run: RunContext) -> Number:
            return Number(the_number=1)

    with pytest.raises(ValueError, match="no operations"):
        Registry([agent])


def test_two_agents_or_operations_of_one_name_are_refused() -> None:
    agent = Agent("twice", "Twice.")

    @agent.operation()
    async def do(request: Empty, run: RunContext) -> Number:
        """Do."""
        return Number(the_number=1)

    with pytest.raises(ValueError, match="already has"):
        agent.operation()(do.function)
    other = Agent("twice", "Twice.")
    other.operation()(do.function)
    with pytest.raises(ValueError, match="two agents"):
        Registry([agent, other])


def test_an_unknown_agent_or_operation_names_what_there_is() -> None:
    registry = load_registry()
    with pytest.raises(NotFound, match="the agents are travel, content, innovation"):
        registry["nobody"]
    with pytest.raises(NotFound, match="searchFlights"):
        registry["travel"]["fly"]


def test_requests_are_camel_case_closed_and_name_every_mistake() -> None:
    agent = Agent("camel", "Camels.")

    @agent.operation()
    async def count(request: Count, run: RunContext) -> Number:
        """Count."""
        return Number(the_number=1)

    assert count.parse(b'{"howMany": 3}').how_many == 3
    with pytest.raises(ValidationFailed) as caught:
        count.parse(b'{"howMany": "many", "names": [1], "more": true}')
    assert {detail["field"] for detail in caught.value.details} == {"howMany", "names.0", "more"}


def test_a_text_result_is_derived_from_its_text() -> None:
    result = TextResult.from_text("# A *good* title\n\nIt's five words, right?\n", Empty())
    assert (result.title, result.word_count, result.reading_time_minutes) == ("A *good* title".strip("*"), 7, 1)
    assert TextResult.from_text("", Empty()).reading_time_minutes == 0
    long = TextResult.from_text("word " * 239, Empty(), truncated=True)
    assert (long.reading_time_minutes, long.truncated) == (2, True)


@pytest.mark.parametrize(
    ("text", "limit"),
    [("20/minute", Limit(20, 60)), ("5/10 seconds", Limit(5, 10)), (" 1000/Day", Limit(1000, 86400))],
)
def test_limits_read_as_they_are_written(text: str, limit: Limit) -> None:
    assert Limit.parse(text) == limit
    assert Limit.parse(str(limit)) == limit


@pytest.mark.parametrize("text", ["", "20", "0/minute", "20/fortnight", "-1/minute", "1/0 seconds", "1e9/minute"])
def test_what_is_no_limit_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a limit"):
        Limit.parse(text)


def test_durations() -> None:
    assert (minutes(5), hours(2), days(1)) == (timedelta(minutes=5), timedelta(hours=2), timedelta(days=1))


@pytest.fixture
def own_agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    (tmp_path / "my_company_agents.py").write_text(OWN_AGENT)
    monkeypatch.syspath_prepend(tmp_path)
    yield "my_company_agents"
    sys.modules.pop("my_company_agents", None)


async def test_an_agent_of_ones_own_is_served_from_its_one_file(own_agent: str, make_settings: MakeSettings) -> None:
    async with serve(make_settings(agents=own_agent)) as server:
        body = {"text": "Where is my parcel?"}
        reply = await server.ask("POST", "/api/agents/support/answerQuestion", body, key="user")
        assert reply.status == 200, reply.body
        assert set(reply.json["result"]) == {"answer", "needsAPerson", "urgency"}
        events = await server.stream("/api/stream/support/answerQuestion", body)
        assert events[-1].data["result"] == reply.json["result"]
        letter = await server.stream("/api/stream/support/writeLetter", body)
        assert "token" in {event.event for event in letter}
        paths = (await server.ask("GET", "/api/openapi.json", key=None)).json["paths"]
        assert "/api/stream/support/answerQuestion" in paths
        names = [agent["name"] for agent in (await server.ask("GET", "/api/agents/list")).json["agents"]]
        assert names == ["travel", "content", "innovation", "support"]


def test_a_class_called_as_one_of_the_servers_changes_no_name_in_the_document(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "alike_agents.py").write_text(
        f"{HEADER}class FlightSearch(Request):\n    place: str\n{GOOD.replace('Question', 'FlightSearch')}\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    try:
        both = openapi(endpoints_of(load_registry(["alike_agents"])))
    finally:
        sys.modules.pop("alike_agents", None)
    before = openapi(endpoints_of(load_registry()))["components"]["schemas"]
    schemas = both["components"]["schemas"]
    assert {name: schemas.get(name) for name in before} == before
    assert set(schemas["AlikeAgentsFlightSearch"]["properties"]) == {"place"}
    body = both["paths"]["/api/agents/mine/answer"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert body == {"$ref": "#/components/schemas/AlikeAgentsFlightSearch"}


def test_a_module_that_cannot_be_loaded_is_named(own_agent: str) -> None:
    with pytest.raises(ValueError, match="AGENTS names 'no_such_module'"):
        load_registry(["no_such_module"])
    with pytest.raises(ValueError, match="defines no Agent"):
        load_registry(["json"])
    for path in ("./my_agents", "mycompany/agents.py", ".agents"):
        with pytest.raises(ValueError, match="is not a module"):
            load_registry([path])


HEADER = """
from collections.abc import Callable
from amrikyy.agents import Agent, Request, Result, RunContext
agent = Agent("mine", "Mine.")
class Question(Request):
    text: str
class Answer(Result):
    text: str
"""

GOOD = "@agent.operation()\nasync def answer(question: Question, run: RunContext) -> Answer: ..."

MISTAKES = {
    "it does not parse": ("x = (", "SyntaxError: '\\(' was never closed"),
    "a name is wrong": ("x = 1\nx = unknown_thing", "NameError: name 'unknown_thing' is not defined .*, line 10\\)"),
    "it exits": ("raise SystemExit('no config')", "SystemExit: no config"),
    "it needs what is not installed": ("import not_installed_lib", "No module named 'not_installed_lib'"),
    "no parentheses": (GOOD.replace("()", "", 1), "write @mine.operation\\(\\) with parentheses"),
    "no async": (GOOD.replace("async ", ""), "mistaken_agents.answer.*async def.*asyncio.to_thread"),
    "no annotation": (GOOD.replace(": Question", ""), "both annotated"),
    "it returns a dict": (GOOD.replace("-> Answer", "-> dict"), "says what it returns"),
    "a reserved operation": (GOOD.replace("answer", "ask"), "every agent has 'ask' from the server"),
    "a reserved agent": ("Agent('global', 'G.', limit='1/minute')", "'global': it is the name of one of the server's"),
    "a limit that is none": ("Agent('other', 'O.', limit='fast')", "'fast' is not a limit"),
    "the name of another": (f"agent = Agent('travel', 'T.')\n{GOOD}", "two agents named 'travel'"),
    "no schema in": (
        f"class Bad(Request):\n    hook: Callable[[int], int]\n{GOOD.replace('n: Q', 'n: Bad or Q')}"
        .replace("Bad or Question", "Bad"),
        "mine.answer: Bad cannot be put into JSON",
    ),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_an_agents_module_is_one_line_that_names_the_module_and_the_mistake(
    mistake: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, said = MISTAKES[mistake]
    told = mistake_of(f"{HEADER}{code}\n", tmp_path, monkeypatch)
    assert told.startswith("AGENTS names 'mistaken_agents'")
    assert re.search(said, told), told


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("cache_for=3600", "cache_for=3600 is no duration; write .*hours\\(1\\)"),
        ("cache_for=minutes(0)", "cache_for=0 s is not longer than zero; leave it out"),
        ("cache_for=minutes(-1)", "cache_for=-60 s is not longer than zero"),
        ("cache_for=minutes(1), stale_for=60", "stale_for=60 is no duration"),
        ("cache_for=minutes(1), stale_for=minutes(-1)", "stale_for=-60 s is negative"),
        ("stale_for=minutes(1)", "stale_for needs cache_for"),
        ("limit='lots'", "limit='lots' is not a limit; write it like '20/minute'"),
        ("limit=20", "limit=20 is no text; write it like '20/minute'"),
        ("tier='huge'", "tier='huge' is none of 'standard', 'pro'"),
        ("shared='no'", "shared='no' is neither True nor False"),
        ("version='2'", "version='2' is no whole number"),
        ("words='help'", "words='help' is no tuple of texts; write one alone as \\('help',\\)"),
        ("words=(1,)", "words=\\(1,\\) is no tuple of texts"),
        ("raises=ValueError", "raises=.*ValueError.* is no tuple of classes of amrikyy.errors"),
        ("raises=(ValueError,)", "raises=.*ValueError.* is no tuple of classes of amrikyy.errors"),
        ("sample='text'", "sample='text' is no plain function"),
        ("sample=unready", "sample=.*unready.* is no plain function \\(`def`\\)"),
        ("result=Answer", "result=.*Answer.* is no class that inherits from TextResult"),
        ("result=Letter", "result= is what a text .* becomes, and this returns no text"),
    ],
)
def test_a_wrong_argument_stops_the_start_with_the_operation_the_mistake_and_the_authors_line(
    argument: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = f"{ARGUMENTS}{GOOD.replace('operation()', f'operation({argument})')}"
    told = mistake_of(code, tmp_path, monkeypatch)
    line = code.count("\n") + 1 - GOOD.count("\n")
    assert re.fullmatch(
        f"AGENTS names 'mistaken_agents', .*Error: mistaken_agents.answer: {said}.* "
        f"\\({re.escape(str(tmp_path / 'mistaken_agents.py'))}, line {line}\\)",
        told,
    ), told


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        ("Agent('other', 'O.', limit='lots')", "agent 'other': limit='lots' is not a limit"),
        ("Agent('other', 'O.', capabilities='help')", "agent 'other': capabilities='help' is no tuple of texts"),
        ("Agent('other', 'O.', metadata={'x': 1})", "agent 'other': metadata={'x': 1} is no dictionary of texts"),
        ("Agent('other', 'O.', prepare=unready)", "agent 'other': prepare=.*unready.* is no plain function"),
        ("Agent('other', None)", "agent 'other': description=None is no text"),
        ("Agent(5, 'O.')", "agent 5: name=5 is no text"),
        (GOOD.replace("...", "yield 1"), "mistaken_agents.answer: an operation has no `yield`; .* run.say"),
        (GOOD.replace("Question,", "'Unknown',"), "name 'Unknown' is not defined"),
    ],
)
def test_any_other_mistake_has_the_authors_line_too(
    declared: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = ARGUMENTS + declared
    told = mistake_of(code, tmp_path, monkeypatch)
    line = code.count("\n") + 1 - declared.count("\n")
    place = f"\\({re.escape(str(tmp_path / 'mistaken_agents.py'))}, line {line}\\)"
    assert re.fullmatch(f"AGENTS names 'mistaken_agents', .*Error: {said}.* {place}", told), told


ARGUMENTS = f"""{HEADER}
from amrikyy.agents import TextResult, minutes
class Letter(TextResult): ...
async def unready(*_): ...
"""


def mistake_of(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "mistaken_agents.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    try:
        with pytest.raises(ValueError, match="AGENTS") as refused:
            load_registry(["mistaken_agents"])
    finally:
        sys.modules.pop("mistaken_agents", None)
    return str(refused.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", 0),
        ("One, two; three!", 3),
        ("A well-known don't is two words, and so is it’s.", 10),
        ("## Heading\n\n- *item* one\n- `item` two -- and more — and more", 9),
        ("snake_case 3.14 -", 4),
        ("Überraschung: четыре слова здесь 今日", 5),
        ("“Quoted”—and …‘so on’ 🙂 l’été, 50 € a\u00a0day", 8),
        ("half a pair: \ud83d!", 3),
    ],
)
def test_words_are_counted_without_markup(text: str, words: int) -> None:
    assert count_words(text) == words
