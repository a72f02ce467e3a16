"""Papers cannot rot in silence: specs name tests that exist, issue records have one number and a guard."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SPECS = sorted((ROOT / "openspec" / "specs").glob("*/spec.md"))
NAMED = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?`")


def missing_tests(text: str) -> list[str]:
    missing = []
    for path, function in NAMED.findall(text):
        file = ROOT / path
        if not file.exists() or (function and f"def {function}(" not in file.read_text()):
            missing.append(f"{path}::{function}" if function else path)
    return missing


@pytest.mark.parametrize("spec", SPECS, ids=lambda path: path.parent.name)
def test_every_test_named_by_a_spec_exists(spec: Path):
    assert missing_tests(spec.read_text()) == []


@pytest.mark.parametrize("spec", SPECS, ids=lambda path: path.parent.name)
def test_every_requirement_of_a_spec_names_its_test(spec: Path):
    requirements = re.split(r"^### ", spec.read_text(), flags=re.MULTILINE)[1:]
    assert requirements
    unproven = [r.splitlines()[0] for r in requirements if " SHALL " not in r or not NAMED.search(r)]
    assert unproven == []


def test_issue_records_have_unique_numbers_and_a_guard_that_exists():
    records = [path for path in (ROOT / "issues").glob("*.md") if path.name != "README.md"]
    numbers = [path.name[:4] for path in records]
    assert len(numbers) == len(set(numbers))
    index = (ROOT / "issues" / "README.md").read_text()
    for record in records:
        text = record.read_text()
        assert len(text.splitlines()) <= 40, record.name
        guard = re.search(r"^Guard\s+(\S+\.py)(?:::(\w+))?", text, re.MULTILINE)
        assert guard, f"{record.name} has no guard"
        assert (ROOT / guard[1]).exists(), f"{record.name}: {guard[1]} does not exist"
        assert record.name[:4] in index, f"{record.name} is not in issues/README.md"


def test_deviations_name_tests_that_exist():
    assert missing_tests((ROOT / "docs" / "deviations.md").read_text()) == []


def test_the_road_page_names_files_and_functions_that_exist():
    page = (ROOT / "docs" / "developer" / "the_road.md").read_text()
    named = re.findall(r"`(qlib/[\w/]+\.(?:py|hpp|pyx))(?:: (\w+))?`", page)
    assert len(named) > 20
    missing = [
        f"{path}: {name}"
        for path, name in named
        if not (ROOT / path).exists()
        or (name and not re.search(rf"^(?:def|class) {name}\b", (ROOT / path).read_text(), re.MULTILINE))
    ]
    assert missing == []
