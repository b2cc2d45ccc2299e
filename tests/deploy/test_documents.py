"""What the operator's documents name exists: settings, routes, metrics, files, and each other."""

import re
from pathlib import Path

import pytest

from amrikyy import __version__
from amrikyy.agents.registry import load_registry
from amrikyy.app import endpoints_of
from amrikyy.settings import Settings
from amrikyy.telemetry.metrics import Metrics
from tests.deploy.files import ROOT, variables

DOCUMENTS = [
    "README.md",
    "SECURITY.md",
    "docs/agents.md",
    "docs/architecture.md",
    "docs/clients.md",
    "docs/deployment.md",
    "docs/operations.md",
    "docs/runbook.md",
    "docs/threat-model.md",
]
OURS = {name.upper() for name in Settings.model_fields} | {"NODE_ENV"}
OTHERS = {
    "PYTHON_IMAGE",
    "SSL_CERT_FILE",
    "POSTGRES_PASSWORD",
    "GRAFANA_PASSWORD",
    "PYTHONPATH",
    "TEST_DATABASE_URL",
    "TEST_REDIS_URL",
}


def markdown_files() -> list[Path]:
    """All that are ours: none of a virtual environment or of a package."""
    return [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("bench/*.md"), *ROOT.glob("deploy/**/*.md")]


def text_of(document: str) -> str:
    return (ROOT / document).read_text()


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_variable_is_one(document: str) -> None:
    named = set(re.findall(r"\b[A-Z]{2,}(?:_[A-Z0-9]+)+\b", text_of(document)))
    assert named <= OURS | OTHERS | variables("deploy/env.example").keys()


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_route_is_one(document: str) -> None:
    paths = {endpoint.path for endpoint in endpoints_of(load_registry())}
    patterns = [re.compile(re.sub(r"\{\w+\}", r"[^/]+", path)) for path in paths]
    named = set(re.findall(r"/api/[a-z][\w/{}.-]*[\w}]", text_of(document)))
    assert [path for path in named if not any(pattern.fullmatch(path) for pattern in patterns)] == []


def test_the_readme_names_exactly_the_routes_that_no_limit_counts() -> None:
    unlimited = {endpoint.path for endpoint in endpoints_of(load_registry()) if endpoint.unlimited}
    (row,) = re.findall(r"^\| `global` \|.*$", text_of("README.md"), re.MULTILINE)
    assert set(re.findall(r"`(/api/[^`]+)`", row)) == unlimited


def test_every_metric_is_one() -> None:
    metrics = Metrics()
    known = {sample for family in metrics.registry.collect() for sample in (family.name, f"{family.name}_total")}
    named = set(
        re.findall(r"`((?:run|runs|event_loop|redis|rate_limit|llm|process)_\w+)`", text_of("docs/operations.md"))
    )
    assert named
    assert named - known - {"redis_down", "run_lost", "event_loop_blocked"} == set()


@pytest.mark.parametrize("document", sorted(str(path.relative_to(ROOT)) for path in markdown_files()))
def test_every_link_leads_somewhere(document: str) -> None:
    path = ROOT / document
    for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", path.read_text()):
        if target.startswith(("/", "<")):  # a route of the server
            continue
        file, _, heading = target.partition("#")
        found = path.parent / file if file else path
        assert found.exists(), target
        if heading:
            assert heading in {anchor(each) for each in re.findall(r"^#+ (.+)$", found.read_text(), re.MULTILINE)}, (
                target
            )


def anchor(heading: str) -> str:
    """What GitHub calls a heading."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def test_the_changelog_begins_with_the_version_that_this_is() -> None:
    versions = re.findall(r"^## \[(.+?)\]", text_of("CHANGELOG.md"), re.MULTILINE)
    assert next(each for each in versions if each != "Unreleased") == __version__
