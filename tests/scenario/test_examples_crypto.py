"""The examples of examples/crypto run on a bare home and show what they promise."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest
from warm import run_warm

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


def printed(name: str, home: Path) -> str:
    done = run_warm(
        [sys.executable, str(ROOT / "examples" / "crypto" / f"{name}.py")],
        cwd=home,
        env=os.environ | {"PYTHONPATH": str(ROOT), "HOME": str(home)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("SYNTHETIC")
    return done.stdout


def figure(text: str, name: str) -> float:
    return float(re.search(rf"^{name} +([-+]?[\d,]+)", text, re.MULTILINE)[1].replace(",", ""))


def test_coins_are_bought_with_cash(home):
    text = printed("spot_topk", home)
    assert figure(text, "account") > 0 and figure(text, "fees") > 0


def test_perpetuals_are_held_long_and_short_and_the_parts_add_up(home):
    text = printed("perp_long_short", home)
    parts = sum(figure(text, name) for name in ("price", "fee", "impact", "funding", "insurance"))
    assert abs(figure(text, "account") - 1_000_000 - parts) <= 5
    assert figure(text, "long") > 0 > figure(text, "short") and figure(text, "funding") != 0


def test_a_carry_earns_its_funding_and_does_not_feel_the_price(home):
    text = printed("carry", home)
    assert figure(text, "funding") > 10 * abs(figure(text, "price")) > 0
    assert abs(figure(text, "account") - 1_000_000 - sum(figure(text, n) for n in ("price", "fee", "funding"))) <= 5
