"""The names of keys in Redis."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Keys:
    """Builds the names of keys. A run and its events, which are used together, share a slot of a cluster."""

    prefix: str

    def run(self, run_id: str) -> str:
        """The note of a run."""
        return f"{self.prefix}:run:{{{run_id}}}"

    def events(self, execution_id: str) -> str:
        """The stream of an execution's events."""
        return f"{self.prefix}:run:{{{execution_id}}}:events"

    def process(self, process: str) -> str:
        """A key that exists while the process is alive."""
        return f"{self.prefix}:process:{process}"

    def orders(self, process: str) -> str:
        """The orders from other processes: a hash, with a field for each."""
        return f"{self.prefix}:process:{process}:orders"

    def flight(self, flight: str) -> str:
        """The lease on executing a request."""
        return f"{self.prefix}:flight:{flight}"
