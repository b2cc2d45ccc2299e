"""The table of a chaos run: what it did, which faults the service survived, which promises held."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from bench.chaos.audit import Finding
from bench.chaos.faults import Fault

SHOWN = 10
"""How many broken promises of each kind are printed; all are in the JSON."""


def table(result: Mapping[str, Any], faults: Sequence[Fault], findings: Sequence[Finding]) -> str:
    """The result as text."""
    lines = [f"Seed {result['seed']}, {result['took_s']:.0f} s, {result['requests']} requests."]
    lines += ["", "Load:", *(f"  {count:6}  {what}" for what, count in sorted(result["counts"].items()))]
    lines += ["", f"{'Faults':58}{'times':>6}{'returned after':>26}"]
    by_kind: dict[str, list[Fault]] = defaultdict(list)
    for fault in faults:
        by_kind[fault.kind.name].append(fault)
    for name, each in by_kind.items():
        took = sorted(fault.recovery_s for fault in each if fault.recovery_s is not None)
        missing = len(each) - len(took)
        shown = f"{took[0]:.1f} to {took[-1]:.1f} s" if took else ""
        lines.append(f"  {name:56}{len(each):6}{shown:>26}{f'  NOT {missing} times' if missing else ''}")
    lines += ["", "Promises:"]
    for finding in findings:
        mark = "BROKEN" if finding.broken else "kept"
        lines.append(f"  {mark:7} {finding.promise} ({finding.checked} checked)")
        lines += [f"          allowed: {count} × {what}" for what, count in sorted(finding.allowed.items())]
        lines += [f"          {what}" for what in finding.broken[:SHOWN]]
        if len(finding.broken) > SHOWN:
            lines.append(f"          and {len(finding.broken) - SHOWN} more, in the JSON file")
    return "\n".join(lines) + "\n"


def as_json(result: Mapping[str, Any], faults: Sequence[Fault], findings: Sequence[Finding]) -> dict[str, Any]:
    """The result for programs to read."""
    began_at = result["began_at"]
    return {
        **result,
        "faults": [
            {
                "name": fault.kind.name,
                "at_s": round(fault.began_at - began_at, 2),
                "lasted_s": round(fault.acted_at - fault.began_at, 2),
                "recovery_s": None if fault.recovery_s is None else round(fault.recovery_s, 2),
            }
            for fault in faults
        ],
        "promises": [
            {
                "promise": each.promise, "checked": each.checked, "allowed": dict(Counter(each.allowed)),
                "broken": each.broken,
            }
            for each in findings
        ],
    }  # fmt: skip
