"""The Kubernetes files, against the schemas of the oldest and the newest version that they are for."""

import re
import shutil
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest

from amrikyy import __version__
from amrikyy.cli.serve import LAST_WORDS_S
from amrikyy.db.engine import POOL_OVERFLOW, POOL_SIZE
from amrikyy.settings import Settings
from amrikyy.telemetry.metrics import Metrics
from amrikyy.workflows.engine import CONNECTIONS
from tests.deploy.files import KUBERNETES, ROOT, Manifest, load, manifests, render

VERSIONS = ("1.30", "1.37")
"""`preStop.sleep` is on by default since 1.30."""

CUSTOM = {"ServiceMonitor"}
"""Kinds of the Prometheus operator, for which Kubernetes has no schema."""

OVERLAYS = ("development", "production", "production-monitored")
PATCHES = {path: part for path, part in manifests().items() if path.endswith(("/deployment.yaml", "/service.yaml"))}
WHOLE = {path: part for path, part in manifests().items() if path.startswith("base/") or path not in PATCHES}

needs_kubectl = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")


def pod_of(deployment: Manifest) -> Any:
    return deployment["spec"]["template"]["spec"]


def environment_of(deployment: Manifest) -> dict[str, str]:
    (container,) = pod_of(deployment)["containers"]
    return {each["name"]: each["value"] for each in container["env"] if "value" in each}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("path", WHOLE)
def test_each_object_follows_its_schema(path: str, version: str) -> None:
    if WHOLE[path]["kind"] in CUSTOM:
        assert WHOLE[path]["apiVersion"] == "monitoring.coreos.com/v1"
        return
    kubernetes_validate.validate(WHOLE[path], version, strict=True)


@needs_kubectl
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_each_overlay_renders_to_objects_that_follow_their_schemas(overlay: str) -> None:
    for kind, manifest in render(overlay).items():
        if kind not in CUSTOM:
            kubernetes_validate.validate(manifest, VERSIONS[0], strict=True)


def test_every_overlay_stands_on_the_base_and_on_files_that_exist() -> None:
    assert {path.parent.name for path in KUBERNETES.glob("overlays/*/kustomization.yaml")} == set(OVERLAYS)
    for path in KUBERNETES.rglob("kustomization.yaml"):
        listed = load(str(path))
        named = [*listed.get("resources", []), *listed.get("components", [])]
        named += [patch["path"] for patch in listed.get("patches", []) if "path" in patch]
        assert all((path.parent / name).exists() for name in named)


def test_the_probes_are_the_guide_s() -> None:
    (container,) = pod_of(WHOLE["base/deployment.yaml"])["containers"]
    live, ready = container["livenessProbe"], container["readinessProbe"]
    assert (live["httpGet"]["path"], live["initialDelaySeconds"], live["periodSeconds"]) == ("/api/health/live", 30, 10)
    assert (ready["httpGet"]["path"], ready["initialDelaySeconds"], ready["periodSeconds"]) == (
        "/api/health/ready",
        5,
        5,
    )


@needs_kubectl
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_pod_is_left_alone_until_its_last_run_has_ended(overlay: str) -> None:
    deployment = render(overlay)["Deployment"]
    (container,) = pod_of(deployment)["containers"]
    drain_s = int(environment_of(deployment)["DRAIN_TIMEOUT_S"])
    needed_s = container["lifecycle"]["preStop"]["sleep"]["seconds"] + drain_s + LAST_WORDS_S
    assert pod_of(deployment)["terminationGracePeriodSeconds"] > needed_s


@needs_kubectl
def test_a_rolling_update_of_production_ends_no_run_and_lowers_no_capacity() -> None:
    deployment = render("production")["Deployment"]
    environment = environment_of(deployment)
    assert int(environment["DRAIN_TIMEOUT_S"]) >= int(environment["RUN_TIMEOUT_S"])
    assert deployment["spec"]["strategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0},
    }


@needs_kubectl
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_pod_may_do_what_it_needs_and_no_more(overlay: str) -> None:
    kinds = render(overlay)
    pod = pod_of(kinds["Deployment"])
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {"cpu", "memory"} <= container["resources"]["limits"].keys() & container["resources"]["requests"].keys()
    assert pod["automountServiceAccountToken"] is False
    assert kinds["ServiceAccount"]["automountServiceAccountToken"] is False
    assert kinds["NetworkPolicy"]["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert container["image"] == f"amrikyy-agent-phase2:{__version__}"


@needs_kubectl
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_selector_finds_the_pods(overlay: str) -> None:
    kinds = render(overlay)
    labels = kinds["Deployment"]["spec"]["template"]["metadata"]["labels"].items()
    selectors = [kinds["Service"]["spec"]["selector"], kinds["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"]]
    if "PodDisruptionBudget" in kinds:
        selectors.append(kinds["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"])
    assert all(selector.items() <= labels for selector in selectors)


def ports_to(address: str, policy: Manifest) -> set[int]:
    """The TCP ports of an address outside the cluster's namespaces that pods may connect to."""
    found: set[int] = set()
    for rule in policy["spec"]["egress"]:
        for block in (peer["ipBlock"] for peer in rule["to"] if "ipBlock" in peer):
            excepted = any(ip_address(address) in ip_network(each) for each in block.get("except", []))
            if ip_address(address) in ip_network(block["cidr"]) and not excepted:
                found |= {each["port"] for each in rule["ports"] if each.get("protocol", "TCP") == "TCP"}
    return found


@needs_kubectl
def test_production_reaches_what_its_secret_may_name_and_no_metadata_service() -> None:
    policy = render("production")["NetworkPolicy"]
    assert ports_to("1.1.1.1", policy) == {443, 5432, 6543, 6379, 4318}
    assert ports_to("10.1.2.3", policy) == {5432, 6543, 6379, 4318}
    assert ports_to("169.254.169.254", policy) == set()
    assert ports_to("1.1.1.1", render("development")["NetworkPolicy"]) == {443}


@needs_kubectl
def test_the_kustomization_of_the_document_opens_the_ways_that_it_names(tmp_path: Path) -> None:
    document = (ROOT / "docs/deployment.md").read_text().partition("\n## Kubernetes\n")[2].partition("\n## ")[0]
    shutil.copytree(KUBERNETES, tmp_path / "kubernetes")
    whole = "".join(re.findall(r"```yaml\n(.*?)```", document, re.DOTALL))
    own, replaced = re.subn(r"github\.com/\S+//deploy/", "../", whole)
    assert replaced == 1
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "kustomization.yaml").write_text(own)
    kinds = render(tmp_path / "own")
    policy = kinds["NetworkPolicy"]
    kubernetes_validate.validate(policy, VERSIONS[0], strict=True)
    assert pod_of(kinds["Deployment"])["containers"][0]["image"] == f"registry.example.com/amrikyy:{__version__}"
    assert 3128 in ports_to("10.0.0.7", policy)
    assert 3128 not in ports_to("10.0.0.8", policy)
    assert 53 in ports_to("169.254.20.10", policy)
    spaces = {
        peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"]: {
            each["port"] for each in rule["ports"]
        }
        for rule in policy["spec"]["egress"]
        for peer in rule["to"]
        if "namespaceSelector" in peer
    }
    assert spaces == {"kube-system": {53}, "models": {11434}, "supabase": {8000}}


@needs_kubectl
def test_development_is_one_process_with_a_database_that_outlives_it() -> None:
    kinds = render("development")
    assert kinds["Deployment"]["spec"]["replicas"] == 1
    assert kinds["Deployment"]["spec"]["strategy"] == {"type": "Recreate"}
    claims = [volume.get("persistentVolumeClaim") for volume in pod_of(kinds["Deployment"])["volumes"]]
    assert {"claimName": kinds["PersistentVolumeClaim"]["metadata"]["name"]} in claims
    assert "envFrom" not in pod_of(kinds["Deployment"])["containers"][0]


@needs_kubectl
def test_production_is_three_replicas_or_more_whose_secrets_are_named_elsewhere() -> None:
    kinds = render("production")
    assert kinds["HorizontalPodAutoscaler"]["spec"]["minReplicas"] == 3
    assert "replicas" not in kinds["Deployment"]["spec"], "an apply would undo the autoscaler"
    assert "Secret" not in kinds
    (container,) = pod_of(kinds["Deployment"])["containers"]
    referred = {each["name"] for each in container["env"] if "valueFrom" in each}
    assert referred == {"DATABASE_URL", "REDIS_URL", "JWT_SECRET"}


def test_the_example_of_a_secret_has_none() -> None:
    assert set(WHOLE["overlays/production/secret.example.yaml"]["stringData"].values()) == {""}


def test_the_autoscaler_adds_pods_before_the_others_are_full_and_by_a_metric_that_exists() -> None:
    metrics = WHOLE["overlays/production/autoscaler.yaml"]["spec"]["metrics"]
    streams, cpu = metrics
    assert int(streams["pods"]["target"]["averageValue"]) < Settings.model_fields["max_concurrent_streams"].default
    assert cpu["resource"]["name"] == "cpu"
    name = streams["pods"]["metric"]["name"]
    assert name in {family.name for family in Metrics().registry.collect()}
    (rule,) = load("deploy/kubernetes/components/service-monitor/adapter-values.yaml")["rules"]["custom"]
    assert rule["name"]["as"] == name


@needs_kubectl
def test_postgresql_as_it_comes_has_connections_for_every_pod_in_the_middle_of_a_rolling_update() -> None:
    kinds = render("production")
    most = kinds["HorizontalPodAutoscaler"]["spec"]["maxReplicas"]
    surge = kinds["Deployment"]["spec"]["strategy"]["rollingUpdate"]["maxSurge"]
    draining = most  # a pod that stops is no replica any more, and keeps its connections until its last run has ended
    a_pod = POOL_SIZE + POOL_OVERFLOW + CONNECTIONS
    assert a_pod * (most + surge + draining) < 100 - 3, "max_connections, superuser_reserved_connections"
    assert f"up to {a_pod} a process" in (ROOT / "docs/operations.md").read_text()


def test_a_service_of_that_name_cannot_set_a_variable_of_ours() -> None:
    assert pod_of(WHOLE["base/deployment.yaml"])["enableServiceLinks"] is False
