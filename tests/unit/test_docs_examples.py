"""Every fenced python block of the docs and the README runs, page by page, on the sample market."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FENCE = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
RUNNABLE = [page for page in PAGES if page.exists() and "_build" not in page.parts and FENCE.search(page.read_text())]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("home")
    command = [sys.executable, str(ROOT / "scripts" / "get_data.py"), "sample"]
    subprocess.run(command, cwd=ROOT, env={**os.environ, "HOME": str(folder)}, check=True, capture_output=True)
    return folder


@pytest.mark.parametrize("page", RUNNABLE, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_the_python_of_a_page_runs(page: Path, home: Path, tmp_path: Path):
    script = tmp_path / "page.py"
    script.write_text("\n\n".join(FENCE.findall(page.read_text())))
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=tmp_path,
        env={**os.environ, "HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
