"""Where things are in Redis."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Keys:
    """Names of keys. A run and its events are used together, and in one slot of a cluster; the others alone."""

    prefix: str

    def run(self, run_id: str) -> str:
        """The note of a run."""
        return f"{self.prefix}:run:{{{run_id}}}"

    def events(self, execution_id: str) -> str:
        """The stream of an execution's events."""
        return f"{self.prefix}:run:{{{execution_id}}}:events"

    def process(self, process: str) -> str:
        """There while the process lives."""
        return f"{self.prefix}:process:{process}"

    def orders(self, process: str) -> str:
        """What others ask the process to do, in a list."""
        return f"{self.prefix}:process:{process}:orders"

    def flight(self, flight: str) -> str:
        """The lease on the execution of a request."""
        return f"{self.prefix}:flight:{flight}"
