"""Last-Event-ID: the header with which whoever was cut off takes up a stream again."""

import re

from amrikyy.errors import ValidationFailed
from amrikyy.web.endpoint import Call, Header


def _header(prefix: str) -> Header:
    description = "The id of the last event that was received; the answer begins after it."
    return Header("Last-Event-ID", description, rf"^({prefix}_[0-9a-f]+:\d{{1,9}})?$")


RUN_EVENT_ID = _header("run")
WORKFLOW_EVENT_ID = _header("wf")


def last_event_id(call: Call, prefix: str) -> tuple[str, int] | None:
    """The id of the run or workflow, and the number of the last event that was seen; None without the header.

    Raises:
        ValidationFailed: it is not the id of an event of something whose id begins with `prefix`.
    """
    value = call.header(b"last-event-id")
    if not value:  # a browser that has seen no event may send it empty
        return None
    match = re.fullmatch(rf"({prefix}_[0-9a-f]{{1,60}}):(\d{{1,9}})", value.strip())
    if match is None:
        message = f"An event's id is {prefix}_<hexadecimal digits>:<seq>, as it was received"
        raise ValidationFailed(
            "Correct this header and send the request again: Last-Event-ID.",
            details=[{"field": "Last-Event-ID", "message": message, "type": "header"}],
        )
    return match[1], int(match[2])
