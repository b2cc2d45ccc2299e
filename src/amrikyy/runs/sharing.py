"""The interface through which the runner shares runs in progress between processes."""

from typing import Protocol

import msgspec

from amrikyy.runs.execution import Execution
from amrikyy.runs.run import Run
from amrikyy.spend import Allowance


class Leader(msgspec.Struct, frozen=True):
    """An execution in another process."""

    execution_id: str
    process: str


class Lease(msgspec.Struct, frozen=True):
    """The right to execute a request on behalf of all processes.

    Attributes:
        flight: identifies the request: what is asked, by whom, and how.
        value: the value that is stored for all processes to see.
        leader: the execution that holds it; None if it is held here.
    """

    flight: str
    value: str
    leader: Leader | None = None


class Claiming(Protocol):
    """A pending claim to a lease.

    Attributes:
        is_late: another process held it when it was asked for, and may have stored a result since.
    """

    is_late: bool

    async def lease(self) -> Lease | None:
        """The lease, with its leader if another process has it. None if nobody can be asked; then each works alone."""
        ...

    def abandon(self) -> None:
        """Give up the claim: the lease is released if it was granted."""
        ...


class Sharing(Protocol):
    """Executions that other processes can follow. No method fails or waits for long if the others cannot be reached.

    Attributes:
        is_alone: there are no other processes.
    """

    is_alone: bool

    def begin(self, execution_id: str, lease: Lease | None, *, streams: bool, allowance: Allowance | None) -> Execution:
        """A new execution, whose events are shown as soon as every process can read them."""
        ...

    def note(self, run: Run) -> None:
        """Publish the present state of the run to all processes."""
        ...

    def claim(self, flight: str, execution_id: str, *, instead_of: Leader | None = None) -> Claiming:
        """Ask for the lease on executing a request. The claim is sent before the method returns, so that a look into
        the cache after it is also answered after it: the previous holder may have left a result.

        Args:
            flight: identifies the request: what is asked, by whom, and how.
            execution_id: the id that the execution would have here.
            instead_of: the previous holder, which has died or given up.
        """
        ...

    def lead(self, execution: Execution, lease: Lease | None) -> None:
        """Make the execution the holder of the lease."""
        ...

    def release(self, lease: Lease) -> None:
        """Release a lease under which nothing was begun."""
        ...

    def ended(self, execution: Execution) -> None:
        """Release the lease of an execution that has ended, after its result was sent to the cache: otherwise the next
        holder would do the work again."""
        ...

    async def follow(self, leader: Leader, execution: Execution) -> bool:
        """Make an execution go on and end as its leader does.

        Returns:
            False if the leader died or was stopped before it had shown anything: this one must do the work itself.

        Raises:
            RunLost: the leader died after it had shown some of its events.
            Unavailable: its events cannot be read.
        """
        ...


class Alone:
    """A `Sharing` for a single process, which is also its own `Claiming`."""

    is_alone = True
    is_late = False

    def begin(self, execution_id: str, lease: Lease | None, *, streams: bool, allowance: Allowance | None) -> Execution:
        """A new execution that only this process sees."""
        return Execution(streams=streams, allowance=allowance)

    def note(self, run: Run) -> None:
        """Do nothing: there is nobody to publish it to."""

    def claim(self, flight: str, execution_id: str, *, instead_of: Leader | None = None) -> Claiming:
        """Return itself: nobody else would execute the request."""
        return self

    async def lease(self) -> Lease | None:
        """None: there is nobody to ask."""
        return None

    def abandon(self) -> None:
        """Do nothing: there is no claim to give up."""

    def lead(self, execution: Execution, lease: Lease | None) -> None:
        """Do nothing: nobody follows."""

    def release(self, lease: Lease) -> None:
        """Do nothing: there are no leases."""

    def ended(self, execution: Execution) -> None:
        """Do nothing: there are no leases."""

    async def follow(self, leader: Leader, execution: Execution) -> bool:
        """False: nobody leads."""
        return False
