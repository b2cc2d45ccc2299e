"""The rules and the dashboard, as data."""

import json
import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy/prometheus/rules"
DASHBOARD: dict[str, Any] = json.loads((ROOT / "deploy/grafana/dashboards/on-call.json").read_text())
NO_METRICS = {"or", "and", "unless", "offset", "h"}
"""What is left of PromQL beside the metrics of an expression; the last is a unit of time."""


def rules() -> list[dict[str, Any]]:
    """Every recording and alert rule."""
    return [
        rule
        for path in sorted(RULES.glob("*.yaml"))
        for group in yaml.safe_load(path.read_text())["groups"]
        for rule in group["rules"]
    ]


def panels() -> list[dict[str, Any]]:
    """The panels that show something."""
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def dashboard_expressions() -> list[str]:
    """What the panels ask, as Grafana would send it."""
    return [
        target["expr"].replace("$__rate_interval", "30s").replace("$instance", ".*")
        for panel in panels()
        for target in panel["targets"]
    ]


def conditions(alert: str) -> list[str]:
    """What an alert looks at, without the thresholds: that has values on good days, too."""
    parts = [part.strip() for part in re.split(r"\band\b", alert)]
    bare = [re.split(r"\s(?:[<>]=?|[=!]=)\s", part)[0] for part in parts]
    return [each[len("absent(") : -1] if each.startswith("absent(") else each for each in bare]


def metrics_in(expression: str) -> set[str]:
    """The names of the metrics in an expression."""
    text = re.sub(r"\{[^}]*\}|\[[^\]]*\]|\"[^\"]*\"", " ", expression)
    text = re.sub(r"\b(by|without|on|ignoring)\s*\([^)]*\)", " ", text)
    words = set(re.findall(r"(?<![\w:$])[a-zA-Z_][\w:]*(?!\s*\()\b", text))
    called = set(re.findall(r"([a-z_0-9]+)\s*\(", text))
    return {re.sub(r"_(bucket|count|sum)$", "", word) for word in words - called - NO_METRICS}
