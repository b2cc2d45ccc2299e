"""The rules, the dashboard and the runbook fit each other and the server."""

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from amrikyy.telemetry.metrics import Metrics, names
from tests.monitoring.files import DASHBOARD, ROOT, RULES, dashboard_expressions, metrics_in, panels, rules

RUNBOOK = (ROOT / "docs/runbook.md").read_text()
ALERTS = {rule["alert"]: rule for rule in rules() if "alert" in rule}
RECORDED = {rule["record"] for rule in rules() if "record" in rule}
EXPRESSIONS = [*dashboard_expressions(), *(rule["expr"] for rule in rules())]

promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is missing: Debian's prometheus has it"
)


def test_every_metric_that_is_asked_for_is_declared_and_every_declared_one_is_on_the_dashboard() -> None:
    declared = set(names(Metrics()))
    asked = set().union(*map(metrics_in, EXPRESSIONS))
    assert asked - declared - RECORDED == {"up", "ALERTS"}
    assert declared - asked == set()


def test_prometheus_loads_the_rules_and_calls_the_servers_as_they_do() -> None:
    config = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yaml").read_text())
    loaded = {path for pattern in config["rule_files"] for path in (ROOT / "deploy/prometheus").glob(pattern)}
    assert loaded == set(RULES.glob("*.yaml"))
    assert [job["job_name"] for job in config["scrape_configs"]] == ["amrikyy"]
    monitor = (ROOT / "deploy/kubernetes/components/service-monitor/servicemonitor.yaml").read_text()
    (endpoint,) = yaml.safe_load(monitor)["spec"]["endpoints"]
    assert endpoint["relabelings"] == [{"targetLabel": "job", "replacement": "amrikyy"}]


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_says_whom_it_wakes_what_happened_and_where_to_read_on(name: str) -> None:
    alert = ALERTS[name]
    assert alert["labels"]["severity"] in ("page", "ticket")
    assert set(alert["annotations"]) == {"summary", "runbook"}
    assert alert["annotations"]["runbook"] == f"docs/runbook.md#{name.lower()}"
    entry = RUNBOOK.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
    for question in ("**What it means.**", "**What callers notice.**", "**What to do.**"):
        assert question in entry, f"{name} has no {question}"


def test_the_runbook_has_no_entry_for_what_never_fires() -> None:
    assert {line[3:] for line in RUNBOOK.splitlines() if line.startswith("## Amrikyy")} == set(ALERTS)


def test_panels_explain_themselves_and_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
    assert all(panel["description"] and panel["datasource"]["uid"] == "prometheus" for panel in panels())
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


@promtool
def test_each_alert_fires_when_it_should_and_not_on_a_good_day() -> None:
    for arguments in (["check", "rules", *map(str, sorted(RULES.glob("*.yaml")))],
                      ["test", "rules", str(Path(__file__).with_name("rules.test.yaml"))]):  # fmt: skip
        done = subprocess.run(["promtool", *arguments], capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr


@promtool
def test_every_alert_has_a_test() -> None:
    tested = Path(__file__).with_name("rules.test.yaml").read_text()
    assert [name for name in ALERTS if name not in tested] == []
