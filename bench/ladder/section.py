"""The result of each part of the program: a table with notes, as Markdown and as JSON."""

from collections.abc import Sequence
from dataclasses import dataclass, field

Value = float | int | str | None


@dataclass(slots=True)
class Section:
    """A table.

    Attributes:
        name: for `--only`, and in the JSON.
        columns: their titles, with units.
        rows: the values of each row.
        notes: sentences under the table.
    """

    name: str
    title: str
    columns: Sequence[str]
    rows: list[Sequence[Value]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def markdown(self) -> str:
        """The table, in Markdown."""
        texts = [list(self.columns), *([_text(value) for value in row] for row in self.rows)]
        widths = [max(len(row[column]) for row in texts) for column in range(len(self.columns))]
        lines = ["| " + " | ".join(map(str.rjust, row, widths)) + " |" for row in texts]
        lines.insert(1, "|" + "|".join("-" * (width + 1) + ":" for width in widths) + "|")
        notes = [f"- {note}" for note in self.notes]
        return "\n".join([f"**{self.title}**", "", *lines, *([""] if notes else []), *notes, ""])


def _text(value: Value) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
    return f"{value:,}" if isinstance(value, int) else value
