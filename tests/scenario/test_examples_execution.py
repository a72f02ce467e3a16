"""The examples of nested execution and of one-minute bars run on a bare home and show what they promise."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from warm import run_warm

ROOT = Path(__file__).resolve().parents[2]


def printed(name: str, home: Path) -> str:
    done = run_warm(
        [sys.executable, str(ROOT / "examples" / name / "workflow.py")],
        cwd=home,
        env=os.environ | {"PYTHONPATH": str(ROOT), "HOME": str(home)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("SYNTHETIC")
    return done.stdout


def test_a_daily_decision_is_executed_over_half_hours_and_minutes(tmp_path):
    twap, better_bar = printed("nested_decision_execution", tmp_path).split("SBB over")
    days = re.findall(r"^2024-01-0\d +(\S+) +(\S+)", twap, re.MULTILINE)
    assert len(days) == 3
    assert all(float(filled) == 1 and abs(float(advantage)) < 1e-6 for filled, advantage in days)  # TWAP pays the TWAP
    days = re.findall(r"^2024-01-0\d +(\S+) +(\S+)", better_bar, re.MULTILINE)
    assert all(float(filled) == 1 for filled, _ in days)
    assert any(abs(float(advantage)) > 1e-6 for _, advantage in days)


def test_one_minute_bars_become_features_scores_and_fills(tmp_path):
    text = printed("highfreq", tmp_path)
    assert float(re.search(r"IC of [\d,]+ scores with the next minutes (\S+)", text)[1]) > 0.15
    assert "HighFreqHandler: 23,040 rows" in text
    assert "32 half hours" in text
    assert float(re.search(r"account at the end ([\d,]+)", text)[1].replace(",", "")) > 10_000_000
