"""`amrikyy serve` without metrics and without a ledger, to learn what they cost. No setting does this."""

import sys
from typing import Any

from amrikyy.cli import main
from amrikyy.runs import store
from amrikyy.telemetry.families import CounterFamily, HistogramFamily


def _nothing(*_: Any, **__: Any) -> None:
    """Count nothing."""


if __name__ == "__main__":
    for owner, name, nothing in (
        (CounterFamily, "inc", _nothing),
        (HistogramFamily, "observe", _nothing),
        (store, "ledger_rows", lambda _: []),
    ):
        setattr(owner, name, nothing)
    sys.argv = ["amrikyy", "serve"]
    main()
