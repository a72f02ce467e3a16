"""The golden calendars, universes and frames of ../shared/goldens, by default and with compat="qlib"."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from conftest import shared
from warm import run_warm

# Where Qlib raises, answers with another grid, or keeps NaN, the default is another (docs/deviations.md).
DEVIATIONS = {
    "calendar.h60_240min/calendar": "cn_session_grid",
    "features.highfreq_ops/frame": "DayCumsum's second call answers with the first one's sums, as its text is the same",
    "features.raises.corr_zero/raises": "corr_expanding_fails",
    "features.raises.cov_zero/raises": "corr_expanding_fails",
    "features.raises.modulo/raises": "unary_not_supported",
    "features.raises.unary_minus/raises": "unary_not_supported",
    "instruments.expr_filter_float/result": "nan_rule_true",
}


@pytest.mark.parametrize("compat", [None, "qlib"])
def test_calendars_universes_and_frames_are_qlibs(tmp_path, compat):
    command = [
        sys.executable,
        str(shared("goldens/check_goldens.py")),
        *("--set", str(shared("goldens/public"))),
        *("--select", "calendar,instruments,features"),
        *("--json", str(tmp_path / "result.json")),
        *("--init", json.dumps({"compat": compat})),
    ]
    done = run_warm(
        command,
        cwd=tmp_path,
        env={"PYTHONPATH": str(Path(__file__).resolve().parents[2]), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
    )
    assert (tmp_path / "result.json").exists(), done.stderr
    checks = json.loads((tmp_path / "result.json").read_text())["results"]
    assert len(checks) >= 90
    failed = {one["check"] for one in checks if not one["ok"]}
    assert failed - (set(DEVIATIONS) if compat is None else set()) == set()
