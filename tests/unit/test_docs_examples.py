"""Every fenced python block of the docs and the README runs, page by page, on the sample market.

A `text` block right behind a `python` block is what that one prints.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest
from warm import run_warm

ROOT = Path(__file__).resolve().parents[2]
FENCE = re.compile(r"^```python\n(.*?)^```\n(?:\n?^```text\n(.*?)^```)?", re.DOTALL | re.MULTILINE)
END = "-- end of a block --"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
RUNNABLE = [page for page in PAGES if page.exists() and "_build" not in page.parts and FENCE.search(page.read_text())]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("home")
    command = [sys.executable, str(ROOT / "scripts" / "get_data.py"), "sample"]
    run_warm(command, cwd=ROOT, env={**os.environ, "HOME": str(folder)}).check_returncode()
    return folder


@pytest.mark.parametrize("page", RUNNABLE, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_the_python_of_a_page_runs(page: Path, home: Path, tmp_path: Path):
    script = tmp_path / "page.py"
    blocks = FENCE.findall(page.read_text())
    script.write_text("".join(f"{code}\nprint({END!r})\n\n" for code, _ in blocks))
    done = run_warm([sys.executable, script], cwd=tmp_path, env={**os.environ, "HOME": str(home)})
    assert done.returncode == 0, done.stderr[-3000:]
    for (code, shown), printed in zip(blocks, done.stdout.split(f"{END}\n"), strict=False):
        if shown:
            assert [line.rstrip() for line in printed.splitlines()] == [line.rstrip() for line in shown.splitlines()], (
                code
            )
