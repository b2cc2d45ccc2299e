"""`amrikyy serve` without metrics and without a ledger, to learn what they cost. No setting does this."""

import sys
from typing import Any

from amrikyy.cli import main
from amrikyy.runs import store
from amrikyy.telemetry.families import CounterFamily, HistogramFamily


def _nothing(*_: Any, **__: Any) -> None:
    """Count nothing."""


if __name__ == "__main__":
    setattr(CounterFamily, "inc", _nothing)  # noqa: B010 - that is what this program is for
    setattr(HistogramFamily, "observe", _nothing)  # noqa: B010 - as above
    setattr(store, "ledger_rows", lambda _: [])  # noqa: B010 - the name is another module's
    sys.argv = ["amrikyy", "serve"]
    main()
