"""Spans as log lines, for DEBUG: what a request did, and how long each part took; never prompts or results."""

import structlog

from amrikyy.traces.segment import CODED, Segment, decode

log = structlog.get_logger(__name__)

_SAID = {"gen_ai.input.messages", "gen_ai.output.messages", "gen_ai.system_instructions"}
_SHOWN = frozenset(CODED) - _SAID


def log_spans(segment: Segment) -> None:
    """Write a line for each span, in the order in which they began.

    The message of an error is left out: a model's server may quote the prompt in it.
    """
    for span in sorted(decode(segment.spans), key=lambda each: (each.began_ns, -each.ended_ns)):
        log.debug(
            "span",
            name=span.name,
            ms=round((span.ended_ns - span.began_ns) / 1e6, 3),
            trace_id=segment.trace_id,
            **({"error": span.error} if span.error else {}),
            **{key: value for key, value in span.attributes.items() if key in _SHOWN},
        )
