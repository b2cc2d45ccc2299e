"""The image's recipe and the Compose file. No container engine is needed: what one would do is in test_tried.py."""

import re
import subprocess
import sys

import pytest

from amrikyy import __version__
from amrikyy.cli.serve import LAST_WORDS_S
from amrikyy.settings import Settings
from tests.deploy.files import ROOT, instructions, load, variables

COMPOSE = load("compose.yaml")


def test_the_image_runs_as_an_unprivileged_user_and_asks_itself_how_it_is() -> None:
    final = dict(instructions()[-1])
    assert re.fullmatch(r"[1-9]\d+:[1-9]\d+", final["USER"]), "Kubernetes' runAsNonRoot needs a number"
    assert final["HEALTHCHECK"].endswith('CMD ["amrikyy", "health-check"]')
    assert final["ENTRYPOINT"] == '["amrikyy"]', "no shell stands between a signal and the server"
    assert final["VOLUME"] in final["ENV"].partition("DATA_DIR=")[2]


def test_the_image_takes_from_its_build_the_finished_environment_alone() -> None:
    copies = [rest for word, rest in instructions()[-1] if word == "COPY"]
    assert [re.sub(r"--chown=\S+ ", "", copy) for copy in copies] == [
        "--from=build /opt/amrikyy /opt/amrikyy",
        "--from=build /data /data",
    ]


def test_a_build_sees_only_the_files_that_it_copies() -> None:
    copied = {path for word, rest in instructions()[0] if word == "COPY" for path in rest.split()[:-1]}
    ignore = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in ignore
    assert copied == {line[1:] for line in ignore if line.startswith("!")}
    assert all((ROOT / path).exists() for path in copied)


def test_the_image_is_of_a_python_that_the_project_is_tested_on() -> None:
    version = re.search(r"PYTHON_IMAGE=python:(\d\.\d+)-slim", (ROOT / "Dockerfile").read_text())
    assert version is not None
    assert f"Programming Language :: Python :: {version[1]}" in (ROOT / "pyproject.toml").read_text()
    assert f'"{version[1]}"' in (ROOT / ".github/workflows/ci.yml").read_text()


def test_compose_follows_its_schema() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", ROOT / "compose.yaml"],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", COMPOSE["services"])
def test_every_service_is_bounded_confined_and_checked(name: str) -> None:
    service = COMPOSE["services"][name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert {"cpus", "mem_limit", "pids_limit", "healthcheck", "restart"} <= service.keys()
    assert all(condition["condition"] == "service_healthy" for condition in service.get("depends_on", {}).values())
    assert not service.get("image", "").endswith(":latest")
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


def test_compose_has_no_secret_of_its_own_and_the_example_names_each() -> None:
    text = (ROOT / "compose.yaml").read_text()
    needed = set(re.findall(r"\$\{(\w+):\?", text))
    assert needed == {"POSTGRES_PASSWORD", "REDIS_PASSWORD", "GRAFANA_PASSWORD"}
    assert needed <= variables("deploy/env.example").keys()
    assert re.findall(r"\$\{\w+:-([^}]*)\}", text) == ["3001"], "a default is no place for a password"


def test_compose_waits_until_the_last_run_has_ended() -> None:
    server = COMPOSE["services"]["server"]
    longest_s = Settings.model_fields["run_timeout_s"].default
    assert int(server["stop_grace_period"].removesuffix("s")) > longest_s + LAST_WORDS_S
    assert "DRAIN_TIMEOUT_S" not in server["environment"], "it would win over .env"
    assert server["image"] == f"amrikyy-agent-phase2:{__version__}"


def test_what_compose_mounts_is_there() -> None:
    mounted = [volume for service in COMPOSE["services"].values() for volume in service.get("volumes", [])]
    files = [volume.split(":")[0] for volume in mounted if volume.startswith("./")]
    assert files, "Prometheus and Grafana read their configuration from here"
    assert all((ROOT / file).is_dir() for file in files)


def test_grafana_finds_its_data_and_its_dashboards() -> None:
    (datasource,) = load("deploy/grafana/provisioning/datasources/prometheus.yaml")["datasources"]
    assert datasource["url"] == "http://prometheus:9090"
    (provider,) = load("deploy/grafana/provisioning/dashboards/amrikyy.yaml")["providers"]
    targets = {volume.split(":")[1] for volume in COMPOSE["services"]["grafana"]["volumes"]}
    assert provider["options"]["path"] in targets
