"""Pagination of lists: the fields of queries and answers, and the end of a page."""

from collections.abc import Sequence
from typing import Annotated, Any, Protocol, TypeVar

from pydantic import Field


class Identified(Protocol):
    """An entry of a list that is ordered by id, ascending or descending."""

    @property
    def id(self) -> str:
        """The id of the entry."""
        ...


Entry = TypeVar("Entry", bound=Identified)

NextCursor = Annotated[str | None, Field(description="Send it as `cursor` for the next page; null on the last one.")]


def page_cursor(pattern: str | None = None, *, max_length: int = 64) -> Any:
    """The query field for the cursor of the previous page."""
    return Field(
        default=None,
        min_length=1,
        max_length=max_length,
        pattern=pattern,
        description="`nextCursor` of the previous page, unchanged.",
    )


def page_limit(description: str | None = None) -> Any:
    """The query field for the size of a page."""
    return Field(default=20, ge=1, le=100, description=description)


def page_of(found: Sequence[Entry], limit: int) -> tuple[Sequence[Entry], str | None]:
    """The page and the cursor of the next one, from up to one entry more than the limit."""
    page = found[:limit]
    return page, page[-1].id if len(found) > limit else None
