"""The calls that are made, as the bytes of HTTP requests, each different from the last so that no cache answers."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from itertools import count
from urllib.parse import urlencode

from bench.load import OUR_MARKS, Marks, Requests
from bench.model import MODEL

HEADERS = "Host: 127.0.0.1\r\nUser-Agent: bench\r\nAccept: */*\r\n"

_numbers = count()


@dataclass(frozen=True)
class Call:
    """An HTTP request.

    Attributes:
        path: what is asked for.
        body: the body of a POST, or None for a GET; `{n}` in a text becomes a new number each time, `{day}` a new day.
        headers: added to the usual ones and the credential.
        streams: whether the answer is a stream of events.
        marks: how the stream's tokens and its end are recognised.
        form: whether the body is sent as a form instead of JSON.
    """

    path: str
    body: Mapping[str, object] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    streams: bool = False
    marks: Marks = OUR_MARKS
    form: bool = False

    def requests(self, credential: Mapping[str, str]) -> Requests:
        """A function that gives the next request of a caller with this credential."""
        lines = "".join(f"{name}: {value}\r\n" for name, value in {**credential, **self.headers}.items())
        if self.body is None:
            ready = f"GET {self.path} HTTP/1.1\r\n{HEADERS}{lines}\r\n".encode()
            return lambda: ready
        template = urlencode(self.body, safe="{}") if self.form else json.dumps(self.body)
        kind = "application/x-www-form-urlencoded" if self.form else "application/json"
        head = f"POST {self.path} HTTP/1.1\r\n{HEADERS}{lines}Content-Type: {kind}\r\nContent-Length: "

        def request() -> bytes:
            number = next(_numbers)
            day = date(2100, 1, 1) + timedelta(number % 2_000_000)
            body = template.replace("{n}", f"{number:08}").replace("{day}", day.isoformat())
            return f"{head}{len(body)}\r\n\r\n{body}".encode()

        return request


AGENT_LIST = Call("/api/agents/list")
BLOG_POST = Call("/api/agents/content/generateBlogPost", {"topic": "Night trains, number {n}", "length": "medium"})
FLIGHTS = Call("/api/agents/travel/searchFlights", {"origin": "JFK", "destination": "LHR", "date": "{day}"})
BLOG_STREAM = Call("/api/stream/blog", {"topic": "Night trains, number {n}", "length": "medium"}, streams=True)
PROSE = Call(f"/v1beta/models/{MODEL}:generateContent", {"contents": [{"parts": [{"text": "Night trains {n}"}]}]})
