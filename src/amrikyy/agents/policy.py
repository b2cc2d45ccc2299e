"""What an author has written into a declaration, checked when the module is loaded: a mistake stops the start."""

import inspect
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, get_args

from amrikyy.errors import AmrikyyError
from amrikyy.llm.request import Tier
from amrikyy.ratelimit.limit import Limit

NEVER = timedelta(0)


def policy_of(
    where: str,
    *,
    limit: object,
    cache_for: object,
    stale_for: object,
    shared: object,
    tier: object,
    sample: object,
    version: object,
    raises: object,
    words: object,
) -> dict[str, Any]:
    """The arguments of `@agent.operation`, as `Operation` has them.

    Raises:
        TypeError, ValueError: naming the operation (`where`), the argument and what to write.
    """
    if stale_for is not None and cache_for is None:
        raise ValueError(f"{where}: stale_for needs cache_for: what is not cached cannot be served later")
    fresh = NEVER if cache_for is None else _duration(where, "cache_for", cache_for)
    stale = fresh if stale_for is None else _duration(where, "stale_for", stale_for)
    if cache_for is not None and fresh <= NEVER:
        raise ValueError(
            f"{where}: cache_for={fresh.total_seconds():g} s is not longer than zero; leave it out to cache nothing"
        )
    if stale < NEVER:
        raise ValueError(f"{where}: stale_for={stale.total_seconds():g} s is negative")
    if tier not in get_args(Tier):
        raise ValueError(f"{where}: tier={tier!r} is none of {', '.join(map(repr, get_args(Tier)))}")
    if not isinstance(shared, bool):
        raise TypeError(f"{where}: shared={shared!r} is neither True nor False")
    if type(version) is not int:
        raise TypeError(f"{where}: version={version!r} is no whole number")
    check_function(where, "sample", sample)
    return {
        "limit": limit_of(where, limit),
        "cache_for": fresh,
        "stale_for": stale,
        "shared": shared,
        "tier": tier,
        "sample": sample,
        "version": version,
        "raises": _errors(where, raises),
        "words": texts_of(where, "words", words),
    }


def limit_of(where: str, limit: object) -> Limit | None:
    """A limit, read."""
    if limit is None:
        return None
    if not isinstance(limit, str):
        raise TypeError(f"{where}: limit={limit!r} is no text; write it like '20/minute'")
    try:
        return Limit.parse(limit)
    except ValueError as error:
        raise ValueError(f"{where}: limit={error}") from None


def texts_of(where: str, name: str, texts: object) -> tuple[str, ...]:
    """Several texts; one alone would be taken for its letters."""
    if not isinstance(texts, tuple | list) or not all(isinstance(each, str) for each in texts):
        raise TypeError(f"{where}: {name}={texts!r} is no tuple of texts; write one alone as ('help',)")
    return tuple(texts)


def check_function(where: str, name: str, function: object) -> None:
    """See that it is a function that is called without `await`, if it is given."""
    if function is not None and (not callable(function) or inspect.iscoroutinefunction(function)):
        raise TypeError(f"{where}: {name}={function!r} is no plain function (`def`)")


def check_text(where: str, name: str, text: object) -> None:
    """See that it is a text."""
    if not isinstance(text, str):
        raise TypeError(f"{where}: {name}={text!r} is no text")


def check_subclass(where: str, name: str, kind: object, base: type) -> None:
    """See that it is a class that inherits from another."""
    if not (isinstance(kind, type) and issubclass(kind, base)):
        raise TypeError(f"{where}: {name}={kind!r} is no class that inherits from {base.__name__}")


def metadata_of(where: str, metadata: object) -> dict[str, str]:
    """A dictionary of texts."""
    if metadata is None:
        return {}
    if not isinstance(metadata, Mapping) or not all(
        isinstance(each, str) for pair in metadata.items() for each in pair
    ):
        raise TypeError(f"{where}: metadata={metadata!r} is no dictionary of texts")
    return dict(metadata)


def _duration(where: str, name: str, duration: object) -> timedelta:
    if not isinstance(duration, timedelta):
        raise TypeError(f"{where}: {name}={duration!r} is no duration; write minutes(5), hours(1) or days(7)")
    return duration


def _errors(where: str, raises: object) -> tuple[type[AmrikyyError], ...]:
    if not isinstance(raises, tuple | list) or not all(
        isinstance(each, type) and issubclass(each, AmrikyyError) for each in raises
    ):
        raise TypeError(f"{where}: raises={raises!r} is no tuple of classes of amrikyy.errors; write (NotFound,)")
    return tuple(raises)
