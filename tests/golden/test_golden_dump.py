"""The golden dumps of ../shared/goldens: the files of dump_bin are Qlib's, byte for byte."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from conftest import shared
from warm import run_warm

ROOT = Path(__file__).resolve().parents[2]


def test_the_files_are_qlibs_to_the_byte(tmp_path):
    if not (shared("goldens/public") / "csv.tar.gz").exists():
        pytest.skip("reference material ../shared/goldens/public/csv.tar.gz is not here")
    command = [
        sys.executable,
        str(shared("goldens/check_goldens.py")),
        *("--set", str(shared("goldens/public"))),
        *("--select", "dump.all,dump.update,dump.fix"),
        *("--json", str(tmp_path / "result.json")),
        *("--scripts", str(ROOT / "scripts")),
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)}
    done = run_warm(command, cwd=tmp_path, env=environment)
    assert (tmp_path / "result.json").exists(), done.stderr
    checks = json.loads((tmp_path / "result.json").read_text())["results"]
    assert len(checks) == 8
    assert [one["check"] for one in checks if not one["ok"]] == []
