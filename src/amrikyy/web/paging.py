"""Lists a page at a time: the fields of a query and of an answer, and where a page ends."""

from collections.abc import Sequence
from typing import Annotated, Any, Protocol, TypeVar

from pydantic import Field


class Identified(Protocol):
    """What is listed in the order of its ids, or against it."""

    @property
    def id(self) -> str:
        """Its own."""
        ...


Entry = TypeVar("Entry", bound=Identified)

NextCursor = Annotated[str | None, Field(description="Send it as `cursor` for the next page; null on the last one.")]


def page_cursor(pattern: str | None = None, *, max_length: int = 64) -> Any:
    """The field of a query that says which page was the one before."""
    return Field(
        default=None,
        min_length=1,
        max_length=max_length,
        pattern=pattern,
        description="`nextCursor` of the previous page, unchanged.",
    )


def page_limit(description: str | None = None) -> Any:
    """The field of a query that says how many entries a page may have."""
    return Field(default=20, ge=1, le=100, description=description)


def page_of(found: Sequence[Entry], limit: int) -> tuple[Sequence[Entry], str | None]:
    """A page, for which one entry more than its limit was looked for, and the cursor of the next one."""
    page = found[:limit]
    return page, page[-1].id if len(found) > limit else None
