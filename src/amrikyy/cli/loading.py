"""What a server loads, and in which order: nothing that it does not need, and first what it soon frees again."""

import sys
from contextlib import suppress
from typing import TYPE_CHECKING, cast

from amrikyy.packages import modules_only

if TYPE_CHECKING:
    from types import ModuleType

    from amrikyy.settings import Settings

UNUSED = ("rich", "pygments", "watchfiles")
"""What libraries load where it is installed, and a server has no use for: structlog rich, to draw tracebacks that we
write as JSON or plainly (5 MB); Alembic's templates pygments, to draw them as web pages (5 MB, at the first start);
uvicorn what watches files, which `amrikyy dev` does in its place (1 MB)."""


def leave_out_unused() -> None:
    """Keep libraries from loading modules that a server does not use."""
    for name in UNUSED:
        sys.modules.setdefault(name, cast("ModuleType", None))  # as if it were not installed
    modules_only("prometheus_client")  # and nothing that serves metrics by itself: 2 MB
    modules_only("uvicorn", Config="config")  # and neither its command line nor its supervisors: 2 MB


def look_up_prices(settings: "Settings") -> None:
    """Look up what the models cost. The table of all prices takes 5 MB, which whatever is loaded afterwards can use."""
    from amrikyy.llm import ModelSpec, Prices
    from amrikyy.llm.prices import forget_table

    names = settings.models or f"gemini:{settings.gemini_model},gemini:{settings.gemini_pro_model}"
    with suppress(ValueError):  # whoever opens the models says what is wrong with them
        for each in ModelSpec.parse(names):
            if not {each.model, f"{each.provider}:{each.model}"} & settings.model_prices.keys():
                Prices().cost(each.provider, each.model, 1, 1)
    forget_table()
