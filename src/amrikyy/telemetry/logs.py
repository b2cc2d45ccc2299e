"""Logs: JSON in production and readable lines in development; never a secret, never a prompt."""

import asyncio
import logging
import sys
from contextlib import suppress
from functools import lru_cache
from time import time_ns
from typing import Any, TextIO, cast

import msgspec
import structlog

from amrikyy.telemetry.seconds import text_of_second

FLUSH_AFTER_S = 0.2
"""How long an access line may be buffered; sharing one write between many lines is what makes a line cheap."""

FLUSH_AT = 200
"""Buffered lines that are written before `FLUSH_AFTER_S` is over, which bounds the memory that they take."""


_TRACEBACKS = structlog.processors.ExceptionRenderer(
    # Without local variables: they contain keys and prompts.
    structlog.tracebacks.ExceptionDictTransformer(show_locals=False, max_frames=30)
)


def configure_logs(*, json: bool, level: str = "info", stream: TextIO | None = None) -> None:
    """Configure structlog, and pass what libraries log with the standard library through it, too.

    `level` is the lowest level that is written.
    """
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        # The name that access lines use; the console renderer expects the other one.
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time" if json else "timestamp"),
    ]
    renderers: list[Any] = (
        [_TRACEBACKS, structlog.processors.JSONRenderer()]
        if json
        else [
            structlog.dev.ConsoleRenderer(
                colors=(stream or sys.stderr).isatty(), exception_formatter=structlog.dev.plain_traceback
            )
        ]
    )
    structlog.configure(
        processors=[*shared, *renderers],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(_spared(stream or sys.stderr)),  # message and newline in one write
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *renderers,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    # At DEBUG, HTTP and SQL libraries log headers and parameters, among them keys and prompts.
    root.setLevel(logging.ERROR if level == "error" else logging.WARNING)


class _Spared:
    """A stream that suppresses failures of writing: a full disk loses lines, but does not end the task that logs."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        with suppress(OSError, ValueError):  # a ValueError is a stream that was closed, or cannot encode a character
            self._stream.write(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self._stream.flush()


def _spared(stream: TextIO) -> TextIO:
    return cast("TextIO", _Spared(stream))


def timestamp() -> str:
    """The time in the form of access lines: in UTC, to the millisecond."""
    return _text_of_ms(time_ns() // 1_000_000)


@lru_cache(1)
def _text_of_ms(now_ms: int) -> str:
    """Cached: a busy server writes several lines in the same millisecond."""
    return f"{text_of_second(now_ms // 1000).replace(' ', 'T')}.{now_ms % 1000:03}+00:00"


class AccessLog:
    """One line a request, encoded at once and written in batches, at a fifth of the logging library's cost."""

    def __init__(self, *, json: bool, enabled: bool = True, stream: TextIO | None = None) -> None:
        self._json = json
        self._enabled = enabled
        self._stream = _spared(stream or sys.stdout)
        self._encode = msgspec.json.Encoder().encode
        self._lines: list[bytes] = []
        self._timer: asyncio.TimerHandle | None = None

    def write(self, line: dict[str, Any]) -> None:
        """Add a line. Its values are numbers, booleans, None and short strings."""
        if not self._enabled:
            return
        if self._json:
            encoded = self._encode(line)
        else:
            run = f"  {line['run_id']}" if line.get("run_id") else ""
            code = f"  {line['code']}" if line.get("code") else ""
            encoded = (
                f"{line['time'][11:19]} {line['status']} {line['method']:<6} {line['path']}  "
                f"{line['ms']:.1f} ms{run}{code}"
            ).encode()
        self._lines.append(encoded)
        if len(self._lines) >= FLUSH_AT:
            self.flush()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_AFTER_S, self.flush)

    def flush(self) -> None:
        """Write the buffered lines."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._lines:
            text = b"\n".join([*self._lines, b""]).decode()
            self._lines.clear()
            self._stream.write(text)
            self._stream.flush()
