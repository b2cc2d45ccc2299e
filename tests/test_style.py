"""What the linters are told not to see, they are told with a reason."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]

EXCEPTION = re.compile(r"# (?:noqa: [A-Z0-9, ]+|type: ignore\[[a-z, -]+\])")
REASON = re.compile(r"^\s*(?:-|#) \S")


def test_every_exception_from_a_check_has_its_reason_beside_or_above_it() -> None:
    bare, found = [], 0
    for folder in ("src", "tests", "bench", "examples"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            if any(part.startswith(".") for part in path.relative_to(ROOT).parts):
                continue
            above = ""
            for number, line in enumerate(path.read_text().splitlines(), 1):
                if exception := EXCEPTION.search(line):
                    found += 1
                    if not (REASON.match(line[exception.end() :]) or above.lstrip().startswith("# ")):
                        bare.append(f"{path.relative_to(ROOT)}:{number}")
                above = line
    assert bare == []
    assert found > 20, "there is nothing to look at"
