"""A limit as a value: a count in any window of a given length."""

import re
from dataclasses import dataclass

_SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}
_FORM = re.compile(
    r"(?P<count>[1-9]\d{0,8})\s*/\s*(?:(?P<multiple>[1-9]\d{0,3})\s*)?(?P<unit>second|minute|hour|day)s?"
)

EXACT_UP_TO = 128
"""Limits up to this count remember each request; larger ones remember slices of a 128th of their window.

A slice counts until its last request would have left the window, so a large limit may refuse up to a 128th of its
window too long, and never allows too much. See docs/decisions/0007.
"""


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `count` in any window of `window_s` seconds."""

    count: int
    window_s: int

    @classmethod
    def parse(cls, text: str) -> "Limit":
        """Read "20/minute", "5/10 seconds" or "1000/day".

        Raises:
            ValueError: the text does not have this form.
        """
        match = _FORM.fullmatch(text.strip().lower())
        if match is None:
            raise ValueError(f"{text!r} is not a limit; write it like '20/minute', '5/10 seconds' or '1000/day'")
        return cls(int(match["count"]), int(match["multiple"] or 1) * _SECONDS[match["unit"]])

    @property
    def slice_s(self) -> float:
        """The length of a slice in seconds; 0 when each request is remembered."""
        return 0.0 if self.count <= EXACT_UP_TO else self.window_s / EXACT_UP_TO

    def __str__(self) -> str:
        for unit, seconds in reversed(_SECONDS.items()):
            if self.window_s % seconds == 0:
                multiple = self.window_s // seconds
                return f"{self.count}/{unit}" if multiple == 1 else f"{self.count}/{multiple} {unit}s"
        raise AssertionError("every window is a multiple of a second")
