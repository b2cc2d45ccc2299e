"""How long to wait for the other side."""

from abc import ABC, abstractmethod


class Patience(ABC):
    """A deadline. It may move when something has come, and is looked at whenever that was handed over.

    Args:
        until: the time at which it ends, by `time.monotonic`. An event loop's own may be another one: uvloop's goes on
            while a Mac sleeps.
    """

    __slots__ = ("until",)

    def __init__(self, until: float) -> None:
        self.until = until

    @abstractmethod
    def passed(self) -> Exception:
        """What to raise when it has ended."""
