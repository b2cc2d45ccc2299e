"""How an agent is declared: `Agent`, `@agent.operation`, and the base of every request and result."""

import inspect
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, get_type_hints, overload

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from amrikyy.agents import policy
from amrikyy.errors import AmrikyyError, NotFound, ValidationFailed
from amrikyy.llm.request import Tier
from amrikyy.ratelimit.limit import Limit

if TYPE_CHECKING:
    from amrikyy.agents.context import RunContext

WORDS_PER_MINUTE = 238
"""Silent reading speed of adults, non-fiction, English (Brysbaert 2019, a review of 190 studies)."""


_HEADING = re.compile(r"^#{1,6}\s+(\S.*)$", re.MULTILINE)


_OTHER_MARKS = re.compile(r"[^\x00-\x7f\w]+")
"""Characters beyond ASCII that are neither letters nor digits."""

_LETTER_OR_BLANK = bytes(ord("x" if code > 127 or chr(code).isalnum() else " ") for code in range(256))
"""For each byte of UTF-8, once `_OTHER_MARKS` are gone: "x" if it belongs to a letter or digit, else a blank."""


def count_words(text: str) -> int:
    """Count the words of a text without its markup: "well-known" and "don't" are one each.

    It takes a tenth of the time of a regular expression.
    """
    text = text.replace("--", " ")
    if not text.isascii():
        text = _OTHER_MARKS.sub(" ", text.replace("’", ""))
    letters = text.encode().translate(_LETTER_OR_BLANK, delete=b"'-")
    return (b" " + letters).count(b" x")


def without_closing(heading: str) -> str:
    """A Markdown heading's text without a closing sequence of #: "Small" from "Small ##", but "C#" from "C#"."""
    heading = heading.rstrip()
    opened = heading.rstrip("#")
    return opened.rstrip() if opened != heading and (not opened or opened[-1].isspace()) else heading


def minutes(count: float) -> timedelta:
    """A duration of `count` minutes."""
    return timedelta(minutes=count)


def hours(count: float) -> timedelta:
    """A duration of `count` hours."""
    return timedelta(hours=count)


def days(count: float) -> timedelta:
    """A duration of `count` days."""
    return timedelta(days=count)


class Request(BaseModel):
    """Base of an operation's request: camelCase in JSON, immutable, and unknown fields are refused."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True, str_strip_whitespace=True
    )


def encode_request(request: Request) -> bytes:
    """The request as JSON: as it was validated, with its defaults, the fields in the order of their declaration. So two
    ways of writing the same request have one encoding, but for the order within a field that is a dictionary."""
    encoded: bytes = request.__pydantic_serializer__.to_json(request, by_alias=True)
    return encoded


def values_of(request: Request) -> dict[str, Any]:
    """The request as JSON values, as `model_dump` makes them in twice the time."""
    values: dict[str, Any] = request.__pydantic_serializer__.to_python(request, mode="json", by_alias=True)
    return values


EMPTY_LIST: dict[str, Any] = {"default": []}
"""The default that the schema shows for an optional list. The field itself uses a factory, because pydantic would copy
a list given as the default with `copy.deepcopy` for each request."""


class Result(BaseModel):
    """Base of an operation's result and of its parts: camelCase in JSON."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        defer_build=True,
        ser_json_inf_nan="constants",  # so that NaN can be told from None, and be refused
    )


class TextResult(Result):
    """A text that the model wrote, and what follows from it."""

    title: str = Field(description="The text's first heading, or its first words where it has none.")
    text: str = Field(description="The whole text, in Markdown.")
    word_count: int = Field(description="Words in the text, markup not counted.")
    reading_time_minutes: int = Field(description="Minutes to read it silently, at 238 words a minute, rounded up.")
    truncated: bool = Field(default=False, description="The model stopped at its output limit, so the end is missing.")

    @classmethod
    def from_text(cls, text: str, request: Any, *, truncated: bool = False) -> Self:
        """Derive the result from the text that was streamed. Subclasses add fields in `derive`."""
        fields = cls.derive(text, request) | {"truncated": truncated}
        result: Self = cls.__pydantic_validator__.validate_python(fields)
        return result

    @classmethod
    def derive(cls, text: str, request: Any) -> dict[str, Any]:
        """The fields that follow from the text; a subclass extends the dictionary."""
        heading = _HEADING.search(text)
        words = count_words(text)
        title = without_closing(heading[1]).strip("*_ ") if heading else " ".join(text.split()[:12])
        return {
            "title": title,
            "text": text,
            "word_count": words,
            "reading_time_minutes": -(-words // WORDS_PER_MINUTE),
        }


Q = TypeVar("Q", bound=Request)
R = TypeVar("R", bound=Result)

Sample = Callable[[Any], BaseModel | str]

RESERVED_AGENTS = frozenset({"global", "admin", "login"})
"""Names of the server's own limits (RATE_LIMITS), which an agent's limit would replace."""

RESERVED_OPERATIONS = frozenset({"ask"})
"""`POST /api/agents/{agent}/ask` is the planner's."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Operation(Generic[Q, R]):
    """One thing that an agent can do. From this declaration come its routes, schemas, limits and CLI command.

    Attributes:
        agent: the agent's name.
        name: camelCase, as in URLs ("searchFlights").
        description: the first line of the function's docstring.
        request_type, result_type: what goes in and what comes out.
        function: an async function that returns the result, or the text that it has written.
        writes_text: whether it streams the tokens of a text rather than partial states of the result.
        limit: how often one caller may run it; with None, only the agent's limit applies.
        cache_for: how long a result stays fresh; zero if it is never cached.
        stale_for: how much longer it may be served while the models fail.
        shared: whether a result cached for one caller may be given to another.
        tier: which of the configured models serves it.
        sample: the offline model's answer to a request.
        version: part of the cache key; raise it when the meaning of results changes.
        raises: errors that it raises on purpose; they are in the OpenAPI document.
        words: words besides its name by which the planner recognises that somebody wants it ("fly", "airfare").
    """

    agent: str
    name: str
    description: str
    request_type: type[Q]
    result_type: type[R]
    function: Callable[..., Any]
    writes_text: bool
    limit: Limit | None
    cache_for: timedelta
    stale_for: timedelta
    shared: bool
    tier: Tier
    sample: Sample | None
    version: int
    raises: tuple[type[AmrikyyError], ...]
    words: tuple[str, ...]

    @property
    def key(self) -> str:
        """`agent.operation`, as in RATE_LIMITS and labels."""
        return f"{self.agent}.{self.name}"

    def parse(self, body: bytes) -> Q:
        """Read a request from JSON.

        Raises:
            ValidationFailed: with every wrong field in `details`.
        """
        try:
            return self.request_type.model_validate_json(body)
        except ValidationError as error:
            raise ValidationFailed.from_pydantic(error, self.request_type) from None


class Agent:
    """A named group of operations. Declaring one in a module that the registry loads is all it takes to serve it.

    Args:
        name: lower-case letters, digits and hyphens; part of the URLs.
        description: one sentence.
        limit: how often one caller may run any of its operations ("60/minute").
        capabilities: words for the list of agents.
        metadata: more for the list of agents.
        example: a sentence that asks it for something, for the documentation of `/ask`.
        prepare: loads what would otherwise delay the first request (tables, weights). It runs in a thread at the
            start, while requests are already served, so operations must work before it has finished.
    """

    def __init__(
        self,
        name: str,
        description: str,
        *,
        limit: str | None = None,
        capabilities: Sequence[str] = (),
        metadata: Mapping[str, str] | None = None,
        example: str | None = None,
        prepare: Callable[[], object] | None = None,
    ) -> None:
        where = f"agent {name!r}"
        policy.check_text(where, "name", name)
        policy.check_text(where, "description", description)
        if example is not None:
            policy.check_text(where, "example", example)
        policy.check_function(where, "prepare", prepare)
        if not re.fullmatch(r"[a-z][a-z0-9-]{0,31}", name):
            raise ValueError(f"agent name {name!r}: use lower-case letters, digits and hyphens, at most 32")
        if name in RESERVED_AGENTS:
            raise ValueError(f"agent name {name!r}: it is the name of one of the server's limits; choose another")
        self.name = name
        self.description = description
        self.limit = policy.limit_of(where, limit)
        self.capabilities = policy.texts_of(where, "capabilities", capabilities)
        self.metadata = policy.metadata_of(where, metadata)
        self.example = example
        self.prepare = prepare
        self.operations: dict[str, Operation[Any, Any]] = {}

    def __getitem__(self, name: str) -> Operation[Any, Any]:
        """The operation of that name.

        Raises:
            NotFound: there is none; the message names those that exist.
        """
        try:
            return self.operations[name]
        except KeyError:
            known = ", ".join(self.operations)
            raise NotFound(
                f"The agent {self.name!r} has no operation {name[:64]!r}; it has {known}.", code="operation_not_found"
            ) from None

    def operation(
        self,
        *forgotten: object,
        limit: str | None = None,
        cache_for: timedelta | None = None,
        stale_for: timedelta | None = None,
        shared: bool = False,
        tier: Tier = "standard",
        sample: Sample | None = None,
        result: type[TextResult] = TextResult,
        version: int = 1,
        raises: Sequence[type[AmrikyyError]] = (),
        words: Sequence[str] = (),
    ) -> "_Declaration":
        """Declare the function below as an operation of this agent.

        The function takes the request and a `RunContext`, both annotated. It returns its result, or a text (`-> str`)
        that it has written with `RunContext.write`, from which `result` makes the result. While the models fail, an
        outdated result is served for as long again as it was fresh, unless `stale_for` says otherwise. `Operation`
        describes the other arguments.

        Raises:
            TypeError, ValueError: what was written wrongly, and how to write it; most of it once the function is there.
        """
        if forgotten:
            raise TypeError(f"write @{self.name}.operation() with parentheses, and what it takes by name")
        return _Declaration(
            self,
            text_result=result,
            limit=limit,
            cache_for=cache_for,
            stale_for=stale_for,
            shared=shared,
            tier=tier,
            sample=sample,
            version=version,
            raises=raises,
            words=words,
        )


class _Declaration:
    def __init__(self, agent: Agent, *, text_result: type[TextResult], **policy: Any) -> None:
        self._agent = agent
        self._text_result = text_result
        self._policy = policy

    @overload
    def __call__(self, function: Callable[[Q, "RunContext"], Awaitable[str]]) -> Operation[Q, TextResult]: ...
    @overload
    def __call__(self, function: Callable[[Q, "RunContext"], Awaitable[R]]) -> Operation[Q, R]: ...
    def __call__(self, function: Callable[..., Any]) -> Operation[Any, Any]:
        agent = self._agent
        where = f"{function.__module__}.{function.__qualname__}"
        if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
            raise TypeError(
                f"{where}: an operation has no `yield`; show a text with run.say(...), and return the result"
            )
        # RunContext is only imported for type checkers (the runner imports this module).
        hints = get_type_hints(function, localns={"RunContext": object})
        parameters = list(inspect.signature(function).parameters)
        writes_text = hints.get("return") is str
        request_type = hints.get(parameters[0]) if len(parameters) == 2 else None
        result_type = self._text_result if writes_text else hints.get("return")
        if not (isinstance(request_type, type) and issubclass(request_type, Request)):
            raise TypeError(
                f"{where}: an operation takes a request and a run, both annotated: (question: Question, "
                "run: RunContext), where Question is a class of its own that inherits from amrikyy.agents.Request"
            )
        if not (isinstance(result_type, type) and issubclass(result_type, Result)):
            raise TypeError(
                f"{where}: an operation says what it returns: a class that inherits from amrikyy.agents.Result, "
                "or str for a text that it has written"
            )
        if not inspect.iscoroutinefunction(function):
            raise TypeError(
                f"{where}: an operation is an async function (`async def`); "
                "what blocks goes into a thread: await asyncio.to_thread(...)"
            )
        policy.check_subclass(where, "result", self._text_result, TextResult)
        if self._text_result is not TextResult and not writes_text:
            raise TypeError(f"{where}: result= is what a text (`-> str`) becomes, and this returns no text")
        operation = Operation(
            agent=agent.name,
            name=to_camel(function.__name__),
            description=(inspect.getdoc(function) or function.__name__).partition("\n")[0],
            request_type=request_type,
            result_type=result_type,
            function=function,
            writes_text=writes_text,
            **policy.policy_of(where, **self._policy),
        )
        if operation.name in RESERVED_OPERATIONS:
            raise ValueError(
                f"{where}: every agent has {operation.name!r} from the server; name the function otherwise"
            )
        if operation.name in agent.operations:
            raise ValueError(f"{where}: the agent {agent.name!r} already has an operation {operation.name!r}")
        agent.operations[operation.name] = operation
        return operation
