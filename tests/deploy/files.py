"""The deployment files, read."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
KUBERNETES = ROOT / "deploy" / "kubernetes"
Manifest = dict[str, Any]


def load(path: str) -> Any:
    return yaml.safe_load((ROOT / path).read_text())


def variables(path: str) -> dict[str, str]:
    """A file of `NAME=value` lines, read as Docker and systemd do: a comment is a line of its own."""
    lines = [line for line in (ROOT / path).read_text().splitlines() if line and not line.startswith("#")]
    return {name: value for name, _, value in (line.partition("=") for line in lines)}


def manifests() -> dict[str, Manifest]:
    """Every Kubernetes file that is a whole object, by its path in the folder."""
    found: dict[str, Manifest] = {}
    for path in sorted(KUBERNETES.rglob("*.yaml")):
        document = yaml.safe_load(path.read_text())
        if isinstance(document, dict) and document.get("kind") not in (None, "Kustomization", "Component"):
            found[str(path.relative_to(KUBERNETES))] = document
    return found


def render(overlay: str | Path) -> dict[str, Manifest]:
    """What `kubectl apply -k` would send, by kind, of an overlay or a folder of one's own."""
    kubectl = shutil.which("kubectl")
    assert kubectl, "the caller skips without it"
    done = subprocess.run(
        [kubectl, "kustomize", KUBERNETES / "overlays" / overlay],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    documents: list[Manifest] = list(yaml.safe_load_all(done.stdout))
    kinds = {document["kind"]: document for document in documents}
    assert len(kinds) == len(documents), "two objects of one kind"
    return kinds


def instructions() -> list[list[tuple[str, str]]]:
    """The Dockerfile's stages, each a list of instruction and argument."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    pairs = [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in lines if line.strip())]
    stages: list[list[tuple[str, str]]] = [[]]
    for pair in pairs:
        if pair[0] == "FROM":
            stages.append([])
        stages[-1].append(pair)
    return stages[1:]


def assignments(line: str) -> dict[str, str]:
    """The `NAME=value` words of a line."""
    return dict(re.findall(r"(\w+)=(\S*)", line))
