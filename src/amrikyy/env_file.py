"""`.env`: what is wrong with it that its reader would pass over, and names that look like a setting but are none."""

from collections.abc import Collection, Iterator, Mapping
from io import StringIO
from pathlib import Path

LIKE = 0.86
"""How much alike two names are, 0 to 1, when the one is probably the other misspelt."""

OTHERS = frozenset({"OTEL_TRACES_SAMPLER"})
"""Names that are like one of ours, and no mistake."""


def check(path: Path) -> None:
    """Refuse a file that is not understood as a whole; that there is none is no mistake.

    Raises:
        ValueError: it cannot be read, or a line says nothing; one line for each reason, without values.
    """
    try:
        if not path.is_file():
            return
        text = path.read_text("utf-8")
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ValueError(f"{path}, line {line}: not in UTF-8. Save the file as UTF-8.") from None
    from dotenv.parser import parse_stream

    lines = [binding.original.line for binding in parse_stream(StringIO(text)) if binding.error]
    if lines:
        raise ValueError("\n".join(f"{path}, line {line}: write it like NAME=value." for line in lines))


def values_of(path: Path) -> dict[str, str]:
    """What the file sets, as far as it can be read."""
    from dotenv.parser import parse_stream

    try:
        text = path.read_text("utf-8", "replace")
    except OSError:
        return {}
    return {binding.key: binding.value or "" for binding in parse_stream(StringIO(text)) if binding.key}


def misspelt(settings: Collection[str], file: Mapping[str, str], environment: Mapping[str, str]) -> Iterator[str]:
    """A sentence for each variable that no setting reads, but that one is called nearly the same.

    Args:
        settings: the names of all settings.
        file: the values of `.env`.
        environment: of this process.
    """
    beginnings = {name[:3] for name in settings}
    given = {name for name, value in file.items() if value}
    given |= {name for name, value in environment.items() if value and name[:3] in beginnings}
    unknown = sorted(name for name in given - OTHERS if name.upper() not in settings)
    if not unknown:
        return
    from difflib import get_close_matches

    for name in unknown:
        if near := get_close_matches(name.upper(), settings, n=1, cutoff=LIKE):
            yield f"{name} is set, and is no setting of this server. Is {near[0]} meant?"
