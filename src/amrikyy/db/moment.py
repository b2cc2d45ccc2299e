"""The column type of points in time."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import DateTime
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator

from amrikyy.telemetry.seconds import text_of_second


class Moment(TypeDecorator[datetime]):
    """A point in time in UTC, to the microsecond; SQLite itself would drop the time zone.

    Values are datetimes, or seconds since 1970.
    """

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | float | None, dialect: Dialect) -> datetime | None:
        """Convert to UTC; a time without a zone is refused."""
        if value is None:
            return None
        if not isinstance(value, datetime):
            value = datetime.fromtimestamp(value, UTC)
        if value.tzinfo is None:
            raise ValueError("a time without a time zone")
        in_utc = value.astimezone(UTC)
        return in_utc.replace(tzinfo=None) if dialect.name == "sqlite" else in_utc

    def bind_processor(self, dialect: Dialect) -> Callable[[Any], Any]:
        """For SQLite, writes the same text as SQLAlchemy's own type, in a fraction of its time."""
        if dialect.name == "sqlite":
            return self._as_text
        return lambda value: self.process_bind_param(value, dialect)

    @staticmethod
    def _as_text(value: datetime | float | None) -> str | None:
        if value is None:
            return None
        if not isinstance(value, datetime):
            second, microsecond = divmod(round(value * 1_000_000), 1_000_000)
            return f"{text_of_second(second)}.{microsecond:06}"
        if value.tzinfo is None:
            raise ValueError("a time without a time zone")
        return value.astimezone(UTC).isoformat(" ", "microseconds")[:26]

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Restore the time zone."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if dialect.name == "sqlite" else value.astimezone(UTC)
