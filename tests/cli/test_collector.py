import gc
from types import SimpleNamespace
from typing import Any, cast

from amrikyy.cli.serve import GC_SATURATED, GC_THRESHOLDS, _set_collector
from tests.serving import Served


def test_garbage_is_collected_seldom_only_while_the_core_is_saturated() -> None:
    before = gc.get_threshold()
    try:
        for is_saturated, thresholds in ((True, GC_SATURATED), (False, GC_THRESHOLDS)):
            _set_collector(cast("Any", SimpleNamespace(is_saturated=is_saturated)))
            assert gc.get_threshold() == thresholds
    finally:
        gc.set_threshold(*before)


async def test_whoever_asked_is_told_of_each_sample(server: Served) -> None:
    told: list[object] = []
    server.runtime.on_sample = told.append
    server.runtime.sample()
    assert told == [server.runtime]
