"""A run as the database has it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from amrikyy.errors import RunLost


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A run as it was recorded. `request`, `result` and `error` are JSON values."""

    id: str
    owner: str
    agent: str
    operation: str
    status: str
    request: Any
    result: Any
    error: Any
    model: str | None
    input_tokens: int
    output_tokens: int
    usage_estimated: bool
    cost_usd: float | None
    cached: bool
    events: int
    parent_id: str | None
    started_at: datetime
    duration_ms: float | None

    @property
    def ended(self) -> bool:
        """Whether the run has ended."""
        return self.status not in ("queued", "running")

    @property
    def lost(self) -> bool:
        """Whether the process that worked on it died."""
        return self.error is not None and self.error["code"] == RunLost.code
