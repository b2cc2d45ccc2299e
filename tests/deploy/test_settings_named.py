"""Every variable and every path that a deployment file names is one of the server's."""

import re

import pytest

from amrikyy.agents.registry import load_registry
from amrikyy.app import endpoints_of
from amrikyy.settings import Settings
from amrikyy.web.endpoint import PUBLIC
from tests.deploy.files import ROOT, assignments, instructions, load, manifests, variables

OURS = {name.upper() for name in Settings.model_fields} | {"NODE_ENV"}
COMPOSE_ONLY = {"POSTGRES_PASSWORD", "GRAFANA_PASSWORD"}
PYTHON_OR_SYSTEM = {"PATH", "HOME", "PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED"}


def in_the_image() -> set[str]:
    return {name for word, rest in instructions()[-1] if word == "ENV" for name in assignments(rest)}


def in_kubernetes() -> set[str]:
    deployments = [part for part in manifests().values() if part["kind"] == "Deployment"]
    containers = [c for part in deployments for c in part["spec"]["template"]["spec"]["containers"]]
    patch = (ROOT / "deploy/kubernetes/components/service-monitor/kustomization.yaml").read_text()
    secret = manifests()["overlays/production/secret.example.yaml"]["stringData"]
    return {each["name"] for c in containers for each in c["env"]} | {*secret, *re.findall(r"name: ([A-Z_]+)\n", patch)}


def in_systemd() -> set[str]:
    unit = (ROOT / "deploy/systemd/amrikyy.service").read_text()
    return {name for line in re.findall(r"^Environment=(.*)$", unit, re.MULTILINE) for name in assignments(line)}


def in_pm2() -> set[str]:
    env = re.search(r"env: \{(.*?)\}", (ROOT / "ecosystem.config.js").read_text())
    assert env is not None
    return set(re.findall(r"\b[A-Z_0-9]{4,}\b", env[1]))


@pytest.mark.parametrize(
    "named",
    [
        in_the_image() - PYTHON_OR_SYSTEM,
        set(load("compose.yaml")["services"]["server"]["environment"]),
        set(variables("deploy/env.example")) - COMPOSE_ONLY,
        in_kubernetes(),
        in_systemd() - PYTHON_OR_SYSTEM,
        in_pm2(),
    ],
    ids=["image", "compose", "env.example", "kubernetes", "systemd", "pm2"],
)
def test_every_variable_is_a_setting(named: set[str]) -> None:
    assert named, "the file was not read"
    assert named <= OURS


def test_no_value_of_the_example_has_a_comment_behind_it() -> None:
    assert not [value for value in variables("deploy/env.example").values() if "#" in value or " " in value]


def test_probes_ask_for_paths_that_need_no_credential() -> None:
    public = {endpoint.path for endpoint in endpoints_of(load_registry()) if endpoint.needs == PUBLIC}
    deployment = (ROOT / "deploy/kubernetes/base/deployment.yaml").read_text()
    asked = set(re.findall(r"path: (/api\S*)", deployment))
    assert asked == {"/api/health/live", "/api/health/ready"}
    assert asked <= public


def test_prometheus_asks_for_a_path_that_exists() -> None:
    paths = {endpoint.path for endpoint in endpoints_of(load_registry())}
    (job,) = load("deploy/prometheus/prometheus.yaml")["scrape_configs"]
    (endpoint,) = manifests()["components/service-monitor/servicemonitor.yaml"]["spec"]["endpoints"]
    assert {job["metrics_path"], endpoint["path"]} <= paths
