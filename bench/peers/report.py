"""The report: a table of figures, and one of ratios beside their aims."""

from dataclasses import dataclass

from bench.summary import Figures, Summary

OURS = "amrikyy"

AIMS = {
    "json-16": {"Express": 2.0, "LiteLLM": 15.0, "Agno": 15.0, "LangGraph": 60.0},
    "stream-16": {"Express": 1.2, "LiteLLM": 40.0, "Agno": 40.0, "LangGraph": 40.0},
}
"""How many times as many calls or tokens a second ours should reach, by scenario and contestant."""

PUBLISHED = (
    "LiteLLM's own figures, none of them from this machine: 224 calls/s on 2 cores (its page on the aiohttp "
    "transport), 1,170 on four machines of 4 cores (its benchmarks page), 180 at most (BerriAI/ai-gateway-bench)"
)


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that was measured.

    Attributes:
        versions: by contestant.
        access: how each lets callers in.
        start_s: seconds from a server's start to its first answer, the median.
        idle_mb: resident memory then.
        loaded_mb: the most that was resident after a slice.
    """

    machine: dict[str, str]
    load_average: tuple[float, float]
    took_s: float
    versions: dict[str, str]
    access: dict[str, str]
    scenarios: list[Summary]
    start_s: dict[str, float]
    idle_mb: dict[str, float]
    loaded_mb: dict[str, float]
    failures: list[str]


def tables(report: Report) -> str:
    """Both tables, in Markdown, and notes."""
    names = list(report.versions)
    rows = [["", *names]]
    for each in report.scenarios:
        rows += _figures(each, names)
    rows.append(_row("start, s", {name: f"{value:.1f}" for name, value in report.start_s.items()}, names))
    rows.append(_row("resident when started, MB", _whole(report.idle_mb), names))
    rows.append(_row("resident under load, MB, at most", _whole(report.loaded_mb), names))
    others = [name for name in names if name != OURS]
    ratios = [["amrikyy is so many times", *others]]
    for each in report.scenarios:
        ratios += _ratios(each, others)
    return "\n".join([*_table(rows), "", *_table(ratios), "", *_notes(report), ""])


def _figures(each: Summary, names: list[str]) -> list[list[str]]:
    many = "calls" if each.unit == "call" else "tokens"
    found = each.candidates
    rows = [
        _row(f"{each.title}: {many}/s", {name: f"{found[name].per_s:,.0f}" for name in found}, names),
        _row(f"- CPU a {each.unit}, µs", {name: f"{found[name].cpu_us:,.1f}" for name in found}, names),
    ]
    if each.unit == "call":
        added = {name: each.added_ms(name) for name in found}
        texts = {name: f"{value[0]:,.2f} / {value[1]:,.1f}" for name, value in added.items() if value is not None}
        rows.append(_row("- added, p50 / p99, ms", texts, names))
    else:
        first = {name: figures.first_token_ms for name, figures in found.items()}
        texts = {name: f"{value:,.1f}" for name, value in first.items() if value is not None}
        rows.append(_row("- first token, p50, ms", texts, names))
    return rows


def _ratios(each: Summary, others: list[str]) -> list[list[str]]:
    if OURS not in each.candidates:
        return []
    ours = each.candidates[OURS]
    many = "calls" if each.unit == "call" else "tokens"
    aims = AIMS.get(each.scenario, {})

    def reached(other: Figures, name: str) -> str:
        aim = f" (aim {aims[name]:g})" if name in aims else ""
        return f"{ours.per_s / other.per_s:,.1f}{aim}"

    beside = {name: each.candidates[name] for name in others if name in each.candidates}
    return [
        _row(f"{each.title}: {many}/s", {name: reached(other, name) for name, other in beside.items()}, others),
        _row("- by CPU", {name: f"{other.cpu_us / ours.cpu_us:,.1f}" for name, other in beside.items()}, others),
    ]


def _notes(report: Report) -> list[str]:
    notes = [f"{name} {version}: {report.access[name]}" for name, version in report.versions.items()]
    notes.append(PUBLISHED)
    notes += [f"{key}: {value}" for key, value in report.machine.items()]
    notes.append(f"load average: {report.load_average[0]:.1f} before, {report.load_average[1]:.1f} after")
    notes.append(f"took {report.took_s:.0f} s")
    notes += [f"{each.title}: slices of several states of the machine" for each in report.scenarios
              if not each.comparable]  # fmt: skip
    figures = [found for each in report.scenarios for found in each.candidates.values()]
    if figures:
        notes.append(f"others on the server's core: {max(each.foreign_share for each in figures):.0%} at most")
    notes += [f"NOT measured: {each}" for each in report.failures]
    return [f"- {note}" for note in notes]


def _whole(values: dict[str, float]) -> dict[str, str]:
    return {name: f"{value:,.0f}" for name, value in values.items()}


def _row(title: str, texts: dict[str, str], names: list[str]) -> list[str]:
    return [title, *(texts.get(name, "") for name in names)]


def _table(rows: list[list[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["| " + " | ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) + " |" for row in rows]
    rule = "|" + "|".join("-" * (width + 1) + (":" if at else "-") for at, width in enumerate(widths)) + "|"
    return [lines[0], rule, *lines[1:]]
