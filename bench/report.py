"""The report: one table for people, the same figures as JSON."""

from dataclasses import dataclass

from bench.scenarios import ALL
from bench.summary import Summary

OURS, PEER, LIMIT = ALL


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that was measured.

    Attributes:
        load_average: the machine's, before and after; at much more than 2, other processes were at work.
        start_s: seconds from the start of the process to its first answer.
        idle_mb: resident memory then.
        after_mb: resident memory after all scenarios.
        stream_kb: resident kilobytes an open stream, by how many are open.
        failures: what could not be measured, and why.
    """

    machine: dict[str, str]
    load_average: tuple[float, float]
    took_s: float
    scenarios: list[Summary]
    start_s: dict[str, float]
    idle_mb: dict[str, float]
    after_mb: dict[str, float]
    stream_kb: dict[str, dict[int, float]]
    failures: list[str]


def table(report: Report) -> str:
    """The table, in Markdown."""
    rows: list[tuple[str, ...]] = [("", OURS, PEER, LIMIT, f"/ {PEER}", f"/ {LIMIT}")]
    for each in report.scenarios:
        rows += _rows(each)
    rows.append(_plain("start, s", report.start_s, "{:.2f}"))
    rows.append(_plain("resident when started, MB", report.idle_mb, "{:.0f}"))
    rows.append(_plain("resident after all this, MB", report.after_mb, "{:.0f}"))
    for count in next(iter(report.stream_kb.values()), {}):
        values = {name: each[count] for name, each in report.stream_kb.items()}
        rows.append(_plain(f"memory of each of {count:,} open streams, KB", values, "{:.1f}"))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [_line(row, widths) for row in rows]
    lines.insert(1, "|" + "|".join("-" * (width + 1) + (":" if at else "-") for at, width in enumerate(widths)) + "|")
    return "\n".join([*lines, "", *_notes(report), ""])


def _rows(each: Summary) -> list[tuple[str, ...]]:
    found = each.candidates
    many = "calls" if each.unit == "call" else "tokens"
    rows = [
        _row(f"{each.title}: {many}/s", {name: f"{found[name].per_s:,.0f}" for name in found}, {
            name: found[OURS].per_s / found[name].per_s for name in found}),
        _row(f"- CPU a {each.unit}, µs", {name: f"{found[name].cpu_us:,.1f}" for name in found}, {
            name: found[OURS].cpu_us / found[name].cpu_us for name in found}),
    ]  # fmt: skip
    added = {name: each.added_ms(name) for name in found}
    if added[OURS] is not None:
        texts = {name: f"{value[0]:.2f} / {value[1]:.2f}" for name, value in added.items() if value is not None}
        rows.append(_row("- added, p50 / p99, ms", texts, {}))
    first = {name: figures.first_token_ms for name, figures in found.items()}
    times = {name: value for name, value in first.items() if value is not None}
    if times:
        texts = {name: f"{value:.2f}" for name, value in times.items()}
        rows.append(_row("- first token, p50, ms", texts, {name: times[OURS] / value for name, value in times.items()}))
    return rows


def _plain(title: str, values: dict[str, float], form: str) -> tuple[str, ...]:
    ratios = {name: values[OURS] / value for name, value in values.items() if value}
    return _row(title, {name: form.format(value) for name, value in values.items()}, ratios)


def _row(title: str, texts: dict[str, str], ratios: dict[str, float]) -> tuple[str, ...]:
    shown = {name: f"{ratios[name]:.2f}" for name in (PEER, LIMIT) if name in ratios}
    return (title, *(texts.get(name, "") for name in ALL), *(shown.get(name, "") for name in (PEER, LIMIT)))


def _line(row: tuple[str, ...], widths: list[int]) -> str:
    cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
    return "| " + " | ".join(cells) + " |"


def _notes(report: Report) -> list[str]:
    figures = [found for each in report.scenarios for found in each.candidates.values()]
    mixed = [each.title for each in report.scenarios if not each.comparable]
    notes = [f"{key}: {value}" for key, value in report.machine.items()]
    notes.append(f"load average: {report.load_average[0]:.1f} before, {report.load_average[1]:.1f} after")
    if figures:
        states = sorted({round(each.calibration_ms, 1) for each in report.scenarios})
        notes += [
            f"calibration, ms: {', '.join(map(str, states))}",
            f"others on the server's core: {max(each.foreign_share for each in figures):.0%} at most",
            f"load generator and model server: {max(each.load_share + each.model_share for each in figures):.0%} "
            "of their core at most",
        ]
    notes += [f"NOT measured: {each}" for each in report.failures]
    if mixed:
        notes.append(f"NOT comparable, measured in changing states of the machine: {'; '.join(mixed)}")
    notes.append(f"took: {report.took_s:.0f} s")
    return notes
