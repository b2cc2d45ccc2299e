"""What a provider sends over the wire: split into events, decoded, and bounded."""

import msgspec

from amrikyy.errors import ModelMalformed

MAX_EVENT_BYTES = 1_000_000
"""The most bytes of one upstream event; no token needs more."""

MAX_BODY_BYTES = 8_000_000
"""The most bytes of an answer that comes as a whole."""

MAX_STREAM_BYTES = 64_000_000
"""The most bytes of all events of one answer: a million tokens, more than any model writes, at 64 bytes each."""

UNDECODABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What decoding raises for malformed bytes: garbage, another encoding, endless nesting."""


class Events:
    """Splits a `text/event-stream` into the `data` of its events.

    Args:
        model: for messages.
    """

    __slots__ = ("_model", "_rest", "_size")

    def __init__(self, model: str) -> None:
        self._model = model
        self._rest = b""
        self._size = 0

    def feed(self, data: bytes) -> list[bytes]:
        """Take in bytes, and return the events that are now complete.

        Raises:
            ModelMalformed: an event is larger than any token, or all together are larger than any answer.
        """
        self._size += len(data)
        if self._size > MAX_STREAM_BYTES:
            raise ModelMalformed(
                f"The model {self._model} sent more than {MAX_STREAM_BYTES} bytes, which is no answer.",
                model=self._model,
            )
        text = self._rest + data
        if text.endswith((b"\n\n", b"\n\r\n")):  # as nearly all reads do
            whole, self._rest = text, b""
        else:
            ends = max(text.rfind(b"\n\n") + 2, text.rfind(b"\n\r\n") + 3)
            whole, self._rest = (text[:ends], text[ends:]) if ends > 2 else (b"", text)
        events = _split(whole) if whole else []
        if len(text) > MAX_EVENT_BYTES and max(map(len, (*events, self._rest))) > MAX_EVENT_BYTES:
            raise ModelMalformed(
                f"The model {self._model} sent an event of more than {MAX_EVENT_BYTES} bytes.", model=self._model
            )
        return events

    def end(self) -> list[bytes]:
        """Return the last event if no blank line followed it."""
        rest, self._rest = self._rest, b""
        return [found] if (found := _data(rest)) else []


class Whole(msgspec.Struct, eq=False):
    """Collects a body that is one event, and returns it at the end.

    Args:
        model: for messages.
    """

    _model: str
    _parts: list[bytes] = msgspec.field(default_factory=list)
    _size: int = 0

    def feed(self, data: bytes) -> list[bytes]:
        """Take in bytes; there is no event before the end.

        Raises:
            ModelMalformed: the body is larger than any answer.
        """
        self._size += len(data)
        if self._size > MAX_BODY_BYTES:
            raise ModelMalformed(
                f"The model {self._model} sent more than {MAX_BODY_BYTES} bytes, which is no answer.", model=self._model
            )
        self._parts.append(data)
        return []

    def end(self) -> list[bytes]:
        """Return the body."""
        return [b"".join(self._parts)]


def undecodable(error: Exception, model: str) -> ModelMalformed:
    """The exception for an event or a body that breaks the protocol; `error` is one of `UNDECODABLE`."""
    what = "JSON that is not of its protocol" if isinstance(error, msgspec.ValidationError) else "no valid JSON"
    return ModelMalformed(f"The model {model} sent {what}.", model=model)


def _split(whole: bytes) -> list[bytes]:
    """The data of complete events."""
    # What nearly all providers send, one line of data and a blank one, is split in one go: line by line, it was a fifth
    # of the cost of a token.
    if whole.startswith(b"data: "):
        end, returns = (b"\r\n\r\n", 2) if whole.endswith(b"\r\n\r\n") else (b"\n\n", 0)
        events = whole[6 : -len(end)].split(end + b"data: ")
        count = len(events)
        if whole.count(b"\n") == 2 * count and whole.count(b"\r") == returns * count and all(events):
            return events
    blocks = whole.replace(b"\r\n", b"\n").split(b"\n\n")
    return [found for block in blocks if (found := _data(block))]


def _data(block: bytes) -> bytes:
    lines = [line[5:].removeprefix(b" ") for line in block.splitlines() if line.startswith(b"data:")]
    return b"\n".join(lines)
