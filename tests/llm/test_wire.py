"""Streams of events, as they are cut into data."""

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from amrikyy.llm.wire import Events

LINES = st.sampled_from(
    [b'data: {"a":1}', b"data: b", b"data:c", b"data: ", b"data:", b": still here", b"event: x", b""]
)
ENDS = st.sampled_from([b"\n", b"\r\n"])


def line_by_line(stream: bytes) -> list[bytes]:
    """The events, read in the plainest way."""
    found, data = [], []
    for line in [*stream.replace(b"\r\n", b"\n").split(b"\n"), b""]:
        if line.startswith(b"data:"):
            data.append(line[5:].removeprefix(b" "))
        elif not line:
            found.append(b"\n".join(data))
            data = []
    return [event for event in found if event]


@given(st.lists(st.tuples(LINES, ENDS), max_size=12), st.lists(st.integers(0, 200), max_size=4))
@settings(max_examples=500, deadline=None)
def test_events_are_the_same_however_their_lines_end_and_wherever_they_are_cut(
    lines: list[tuple[bytes, bytes]], cuts: list[int]
) -> None:
    stream = b"".join(line + end for line, end in lines)
    places = [0, *sorted(cuts), len(stream)]
    events = Events("model")
    fed = [event for start, stop in pairwise(places) for event in events.feed(stream[start:stop])]
    assert [*fed, *events.end()] == line_by_line(stream)
