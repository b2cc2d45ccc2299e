"""A client in Python: an operation as a stream, followed to its end however often the connection breaks.

pip install httpx
AMRIKYY_KEY=api_… python follow.py http://localhost:3001 content/generateBlogPost '{"topic": "AI in Travel"}'
"""

import json
import os
import random
import sys
import time
import uuid
from collections.abc import Iterator
from typing import Any

import httpx

ATTEMPTS = 8
"""In a row without anything new."""

WORTH_ANOTHER_TRY = {429, 502, 503, 504}


class Refused(Exception):
    """The server's answer was an error; `code` is the word to switch on."""

    def __init__(self, status: int, body: dict[str, Any]) -> None:
        super().__init__(f"{status} {body['code']}: {body['message']}")
        self.status, self.code, self.body = status, body["code"], body


def follow(http: httpx.Client, operation: str, request: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (event, data) of one run, each once, until `complete`. What the run failed with is raised as `Refused`."""
    # With the key a repeated POST is the same run, also when the answer to the first was lost before its first byte.
    again = {"idempotency-key": str(uuid.uuid4())}
    last_id, failures = "", 0
    while True:
        pause_s = min(5.0, 0.25 * 2**failures) * random.uniform(0.5, 1)
        try:
            if last_id:
                run_id = last_id.partition(":")[0]
                asked = http.stream("GET", f"/api/stream/{run_id}", headers={"last-event-id": last_id})
            else:
                asked = http.stream("POST", f"/api/stream/{operation}", json=request, headers=again)
            with asked as reply:
                if reply.status_code == 204:  # all of it has been received
                    return
                if reply.status_code != 200:
                    refused = Refused(reply.status_code, json.loads(reply.read()))
                    if refused.status not in WORTH_ANOTHER_TRY or failures >= ATTEMPTS:
                        raise refused
                    pause_s = float(reply.headers.get("retry-after", pause_s))
                else:
                    for event_id, event, data in events_of(reply.iter_lines()):
                        if event == "reconnect":  # this server stops; any other one goes on with the run
                            pause_s = data["retryMs"] / 1000
                            break
                        last_id, failures = event_id, 0
                        if event == "error":
                            raise Refused(200, data)
                        yield event, data
                        if event == "complete":
                            return
        except httpx.TransportError:
            if failures >= ATTEMPTS:
                raise
        failures += 1
        time.sleep(pause_s)


def events_of(lines: Iterator[str]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Parse `text/event-stream`: (id, event, data). A comment keeps the connection alive and is no event."""
    fields: dict[str, str] = {}
    for line in lines:
        if line.startswith(":"):
            continue
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif fields:
            yield fields.get("id", ""), fields["event"], json.loads(fields["data"])
            fields = {}


def main() -> None:
    """Print the text as it comes, and how far the run is to stderr."""
    base, operation, request = sys.argv[1:4]
    # A comment comes every 15 s of silence: what is silent for longer is broken.
    timeout = httpx.Timeout(30, connect=5)
    with httpx.Client(base_url=base, headers={"x-api-key": os.environ["AMRIKYY_KEY"]}, timeout=timeout) as http:
        for event, data in follow(http, operation, json.loads(request)):
            if event == "token":
                print(data["chunk"], end="", flush=True)
            elif event == "queued":
                print(f"place {data['position']} in line", file=sys.stderr)
            elif event == "complete":
                print(f"\n{data['totalTokens']} tokens, ${data['costUsd']}, {data['model']}", file=sys.stderr)


if __name__ == "__main__":
    main()
