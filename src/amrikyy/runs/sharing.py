"""What the runner asks of what all processes share of the runs in progress."""

from dataclasses import dataclass
from typing import Protocol

from amrikyy.runs.execution import Execution
from amrikyy.runs.run import Run
from amrikyy.spend import Allowance


@dataclass(frozen=True, slots=True)
class Leader:
    """An execution in another process."""

    execution_id: str
    process: str


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to execute a request, so that nobody else needs to.

    Attributes:
        flight: what is asked, whose it is, and how.
        value: what is written where all can see it.
        leader: who has it; None if we have.
    """

    flight: str
    value: str
    leader: Leader | None = None


class Claiming(Protocol):
    """A lease that was asked for.

    Attributes:
        is_late: somebody had it when it was asked for, and may have left a result since.
    """

    is_late: bool

    async def lease(self) -> Lease | None:
        """The lease, or who has it. None when there is nobody to ask: then everybody works alone."""
        ...

    def abandon(self) -> None:
        """Nobody waits for the answer any more: the lease goes back if it was granted."""
        ...


class Sharing(Protocol):
    """Executions that other processes can follow. Nothing here fails or waits long when it cannot be reached.

    Attributes:
        is_alone: there is nobody.
    """

    is_alone: bool

    def begin(self, execution_id: str, lease: Lease | None, *, streams: bool, allowance: Allowance | None) -> Execution:
        """A new execution, whose events are shown as soon as every process can have them."""
        ...

    def note(self, run: Run) -> None:
        """Let every process know how the run is now."""
        ...

    def claim(self, flight: str, execution_id: str, *, instead_of: Leader | None = None) -> Claiming:
        """Ask for the lease on executing a request. It is sent before the method returns, so that what the cache is
        asked after it is answered after it, too: whoever had the lease before may have left a result.

        Args:
            flight: what is asked, whose it is, and how.
            execution_id: under which it would be executed here.
            instead_of: who had it, and died or gave up.
        """
        ...

    def lead(self, execution: Execution, lease: Lease | None) -> None:
        """The execution has the lease."""
        ...

    def release(self, lease: Lease) -> None:
        """Give a lease back, because nothing has begun."""
        ...

    def ended(self, execution: Execution) -> None:
        """It has ended, and its result is on its way into the cache: the lease is given back behind it, or the next
        would work again."""
        ...

    async def follow(self, leader: Leader, execution: Execution) -> bool:
        """Let an execution go on and end as another one does.

        Returns:
            False when that one died or was stopped before it had shown anything: this one must do the work itself.

        Raises:
            RunLost: it died in the middle of what it had shown.
            Unavailable: its events cannot be had.
        """
        ...


class Alone:
    """A `Sharing` of a process with nobody, and the `Claiming` of whoever asks it."""

    is_alone = True
    is_late = False

    def begin(self, execution_id: str, lease: Lease | None, *, streams: bool, allowance: Allowance | None) -> Execution:
        """An execution that is seen here only."""
        return Execution(streams=streams, allowance=allowance)

    def note(self, run: Run) -> None:
        """Nobody wants to know."""

    def claim(self, flight: str, execution_id: str, *, instead_of: Leader | None = None) -> Claiming:
        """Nobody else would execute it."""
        return self

    async def lease(self) -> Lease | None:
        """None: there is nobody to have it from."""
        return None

    def abandon(self) -> None:
        """Nothing was asked for."""

    def lead(self, execution: Execution, lease: Lease | None) -> None:
        """Nobody follows."""

    def release(self, lease: Lease) -> None:
        """Nobody waits for it."""

    def ended(self, execution: Execution) -> None:
        """Nobody waits for it."""

    async def follow(self, leader: Leader, execution: Execution) -> bool:
        """Nobody leads."""
        return False
