"""`amrikyy serve` without metrics and without a ledger, to learn what they cost. No setting does this."""

import sys
from typing import Any

from amrikyy.cli import main
from amrikyy.runs import store
from amrikyy.telemetry.metrics import Family


class _Nobody:
    """A metric that counts nothing."""

    def inc(self, amount: float = 1) -> None:
        """Nothing."""

    dec = set = observe = inc


def _nobody(self: Family[Any], *values: str) -> Any:
    return _NOBODY


_NOBODY = _Nobody()

if __name__ == "__main__":
    Family.__call__ = _nobody  # type: ignore[method-assign]  # that is what this program is for
    setattr(store, "ledger_rows", lambda _: [])  # noqa: B010 - the name is another module's
    sys.argv = ["amrikyy", "serve"]
    main()
