"""Spans: cheap objects while something is in progress, described once it has ended.

A span costs a microsecond on a request's path. Attributes, hexadecimal ids and redaction are left to `traces`, which
stores the trace: it is given the run, the call or the exchange itself together with a function that describes it.
"""

import re
from collections.abc import Callable
from random import getrandbits
from time import monotonic, perf_counter_ns, time_ns
from typing import Any, Literal, NamedTuple

import msgspec

Kind = Literal["internal", "server", "client"]
Value = str | int | float | bool
Clean = Callable[[str], str]

MAX_SPANS = 500
"""The most spans of one request that are kept, so that a planner in an endless loop does not fill the memory."""

_TRACEPARENT = re.compile(rb"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?")


class Description(NamedTuple):
    """The description of a span.

    Attributes:
        name: by OpenTelemetry's conventions.
        kind: the span kind, such as client or server.
        attributes: by OpenTelemetry's conventions; those that are None are left out.
        error: the code of the error that it ended with.
        message: what the error says.
    """

    name: str
    kind: Kind
    attributes: dict[str, Value | None]
    error: str | None = None
    message: str = ""


Describe = Callable[[Any, Clean | None], Description]
"""Describes a subject. If the second argument is given, prompts and results are included, each passed through it."""


class Context(NamedTuple):
    """The trace context of a span, as in W3C's `traceparent`."""

    trace_id: int
    span_id: int
    sampled: bool

    def __str__(self) -> str:
        return f"00-{self.trace_id:032x}-{self.span_id:016x}-{self.sampled:02x}"

    @classmethod
    def parse(cls, traceparent: bytes) -> "Context | None":
        """Parse the header; None if it is invalid, and so to be ignored (W3C Trace Context §3.2)."""
        match = _TRACEPARENT.fullmatch(traceparent)
        if match is None or (traceparent[:2] == b"00" and len(traceparent) != 55):
            return None
        trace_id, span_id = int(match[1], 16), int(match[2], 16)
        return cls(trace_id, span_id, bool(int(match[3], 16) & 1)) if trace_id and span_id else None


def message(role: str, text: str, clean: Clean) -> str:
    """A list of one message, in the conventions' JSON form."""
    return _json([{"role": role, "parts": [{"type": "text", "content": clean(text)}]}]).decode()


def instructions(text: str, clean: Clean) -> str:
    """The system instructions of a model, in the conventions' JSON form."""
    return _json([{"type": "text", "content": clean(text)}]).decode()


_json = msgspec.json.Encoder().encode


class Ended(NamedTuple):
    """Spans of one trace that have ended in this process.

    Attributes:
        lost: how many more there were beyond `MAX_SPANS`.
    """

    trace_id: int
    spans: "list[Span]"
    lost: int


Sink = Callable[[Ended], None]


class _Trace(msgspec.Struct, gc=False):
    """The spans of one piece of work in this process. They are handed on when the last open one has ended."""

    id: int
    tracer: "Tracer"
    sink: "Sink | None"
    offset_ns: int
    spans: "list[Span]"
    open: int = 1
    lost: int = 0

    def keep(self, span: "Span") -> None:
        if len(self.spans) < MAX_SPANS:
            self.spans.append(span)
        else:
            self.lost += 1

    def hand_on(self) -> None:
        if self.sink is not None:
            ended = Ended(self.id, self.spans, self.lost)
            self.spans, self.lost = [], 0
            self.sink(ended)


class Span(msgspec.Struct, gc=False):
    """A timed piece of work within a trace.

    The garbage collector does not track spans, of which a busy server has many: nothing that a span refers to may
    still refer to it once it has ended.

    Attributes:
        parent_id: the id of its parent, which may belong to another service; 0 if there is none.
        describe, subject: the object that it was about, and the function that describes it; set at its end.
    """

    _trace: _Trace
    id: int
    parent_id: int
    began_ns: int
    ended_ns: int = 0
    describe: Describe | None = None
    subject: Any = None

    @property
    def trace_id(self) -> str:
        """The id of the trace in hexadecimal."""
        return f"{self._trace.id:032x}"

    @property
    def keeps_all(self) -> bool:
        """Whether requests that have nothing to do with agents are kept, too."""
        return self._trace.tracer.keeps_all

    @property
    def traceparent(self) -> str:
        """The context as the value of a `traceparent` header."""
        return f"00-{self._trace.id:032x}-{self.id:016x}-01"

    @property
    def context(self) -> Context:
        """The context for spans that are children of this one elsewhere."""
        return Context(self._trace.id, self.id, sampled=True)

    @property
    def offset_ns(self) -> int:
        """What to add to `perf_counter_ns`, which measures durations, to get nanoseconds since 1970."""
        return self._trace.offset_ns

    def now_ns(self) -> int:
        """Nanoseconds since 1970."""
        return perf_counter_ns() + self._trace.offset_ns

    def child(self, began_ns: int | None = None) -> "Span":
        """Begin a child span."""
        trace = self._trace
        trace.open += 1
        return Span(
            trace, getrandbits(64) or 1, self.id, perf_counter_ns() + trace.offset_ns if began_ns is None else began_ns
        )

    def note(self, describe: Describe, subject: Any, began_ns: int, ended_ns: int | None = None) -> None:
        """Add a child that has ended already, now or at `ended_ns`, and needed no span while it was in progress."""
        ended_ns = self.now_ns() if ended_ns is None else ended_ns
        self._trace.keep(Span(self._trace, getrandbits(64) or 1, self.id, began_ns, ended_ns, describe, subject))

    def end(self, describe: Describe, subject: Any, *, at_s: float | None = None) -> None:
        """End the span, now, or as if it were `at_s` by `time.perf_counter`."""
        trace = self._trace
        self.ended_ns = (perf_counter_ns() if at_s is None else int(at_s * 1e9)) + trace.offset_ns
        self.describe, self.subject = describe, subject
        trace.keep(self)
        trace.open -= 1
        if not trace.open:
            trace.hand_on()

    def discard(self) -> None:
        """Drop the trace."""
        self._trace.sink = None
        self._trace.spans.clear()
        self._trace.tracer.left += 1


class Tracer:
    """Decides what is traced, and begins traces.

    Args:
        ratio: the share of traces that begin here which are kept, 0 to 1. A part of a caller's trace is kept if the
            caller samples it, whatever the ratio; with 0 nothing is ever kept.
        per_second: the most traces that begin in one second, including those of callers. A busy server would otherwise
            replace all stored ones within seconds, and nobody looks at thousands.
        keeps_all: requests that have nothing to do with agents are kept, too.

    Attributes:
        sink: receives spans that have ended.
        left: how many more traces may begin in this second.
    """

    def __init__(self, ratio: float, *, per_second: int = 1_000_000, keeps_all: bool = False) -> None:
        self.ratio = ratio
        self.per_second = per_second
        self.keeps_all = keeps_all
        self.sink: Sink | None = None
        self.left = 0
        self._second = -1
        self._below = round(ratio * 2**64)

    @property
    def enabled(self) -> bool:
        """Whether anything is traced at all."""
        return self._below > 0 and self.sink is not None

    def begin(self, traceparent: bytes | None = None) -> Span | None:
        """The first span of this process in a trace; None if it is not sampled."""
        if not self._below or self.sink is None:
            return None
        if (second := int(monotonic())) != self._second:
            self._second, self.left = second, self.per_second
        if self.left <= 0:
            return None
        caller = Context.parse(traceparent) if traceparent is not None else None
        if caller is not None:
            return self._begin(caller.trace_id, caller.span_id) if caller.sampled else None
        # By the lower half of the id, like OpenTelemetry's TraceIdRatioBased, so that all services that use it agree.
        trace_id = getrandbits(128) or 1
        return self._begin(trace_id, 0) if trace_id & 0xFFFF_FFFF_FFFF_FFFF < self._below else None

    def resume(self, context: Context | None, *, span_id: int = 0) -> Span | None:
        """A span in a trace that was begun earlier, perhaps by another process; None if that one is not traced."""
        if context is None or not context.sampled or not self._below or self.sink is None:
            return None
        return _root(context.trace_id, context.span_id, self, span_id)

    def _begin(self, trace_id: int, parent_id: int) -> Span:
        self.left -= 1
        return _root(trace_id, parent_id, self)


def _root(trace_id: int, parent_id: int, tracer: Tracer, span_id: int = 0) -> Span:
    began_ns = time_ns()
    # The monotonic clock, which nobody adjusts, with its offset to the present wall clock.
    trace = _Trace(trace_id, tracer, tracer.sink, began_ns - perf_counter_ns(), [])
    return Span(trace, span_id or getrandbits(64) or 1, parent_id, began_ns)
