"""What is measured: each scenario is one declaration. A new one needs a line here; a new server, one in CANDIDATES."""

from dataclasses import dataclass
from typing import Literal

from bench.calls import AGENT_LIST, BLOG_POST, BLOG_STREAM, FLIGHTS, PROSE, Call
from bench.candidates import Candidate, amrikyy, bare, express

CANDIDATES: dict[str, Candidate] = {each.name: each for each in (amrikyy(), express(), bare())}

ALL = ("amrikyy", "Express", "bare ASGI")
WITHOUT_BARE = ("amrikyy", "Express")


@dataclass(frozen=True)
class Scenario:
    """Callers who repeat a call.

    Attributes:
        name: for `--only`.
        title: for the table.
        call: what each caller repeats.
        callers: how many there are.
        unit: what is counted.
        tokens_per_s: how fast the model streams; 0 is all at once.
        slice_s: how long a slice lasts; a caller finishes the call that it is in.
        direct: the call that the servers themselves make; it is measured too, to know what they add to it.
        candidates: who takes part, by name.
    """

    name: str
    title: str
    call: Call
    callers: int
    unit: Literal["call", "token"] = "call"
    tokens_per_s: float = 0
    slice_s: float = 0.8
    direct: Call | None = None
    candidates: tuple[str, ...] = ALL


SCENARIOS = [
    Scenario("json-1", "JSON operation, 1 caller", BLOG_POST, 1, direct=PROSE, candidates=WITHOUT_BARE),
    Scenario("json-16", "JSON operation, 16 callers", BLOG_POST, 16, direct=PROSE),
    Scenario("json-64", "JSON operation, 64 callers", BLOG_POST, 64, direct=PROSE, candidates=WITHOUT_BARE),
    Scenario("flights-16", "searchFlights, 16 callers", FLIGHTS, 16, candidates=WITHOUT_BARE),
    Scenario("list-64", "GET /api/agents/list, 64 callers", AGENT_LIST, 64),
    Scenario("stream-1", "stream, bursty model, 1 caller", BLOG_STREAM, 1, "token", candidates=WITHOUT_BARE),
    Scenario("stream-16", "stream, bursty model, 16 callers", BLOG_STREAM, 16, "token"),
    Scenario("paced-64", "64 streams of 100 tokens/s", BLOG_STREAM, 64, "token", tokens_per_s=100, slice_s=0.1),
]
"""Each is measured for all its candidates in turn, round after round."""

OPEN_STREAMS = (1000, 5000)
"""How many streams are open, with a token a second each, when memory is read."""

TOKENS = 200
"""How many tokens a streamed answer has."""
