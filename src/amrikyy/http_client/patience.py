"""How long to wait for the other side."""

from abc import ABC, abstractmethod


class Patience(ABC):
    """A deadline. It may move when something arrives, and is checked again after that was passed on.

    Args:
        until: when it ends, by `time.monotonic`. An event loop's own clock may be a different one: uvloop's keeps
            running while a Mac sleeps.
    """

    __slots__ = ("until",)

    def __init__(self, until: float) -> None:
        self.until = until

    @abstractmethod
    def passed(self) -> Exception:
        """The exception to raise when it has passed."""
