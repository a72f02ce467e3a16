"""The converter on the command line: two doors, one command."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from klines import add, candles, tree
from warm import run_warm

from qlib.cli.main import main

SCRIPT = Path(__file__).resolve().parents[3] / "scripts" / "convert_to_qlib.py"


@pytest.fixture
def klines(tmp_path: Path) -> Path:
    add(tmp_path / "klines", "AAA-USDT", "candles", "1H", candles(0, 48), 0, 48)
    add(tmp_path / "klines", "AAA-USDT", "candles", "1Dutc", candles(0, 2, step=24 * 3_600_000), 0, 48)
    return tmp_path / "klines"


def test_the_script_and_the_command_do_the_same(
    klines: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--klines", str(klines), "--bar", "1H,1Dutc", "--qlib_dir"]
    done = run_warm([sys.executable, SCRIPT, *words, tmp_path / "one"])
    assert (done.returncode, done.stderr) == (0, "")
    assert main(["collect", "convert", *words, str(tmp_path / "two")]) == 0
    assert capsys.readouterr().out == done.stdout.replace(str(tmp_path / "one"), str(tmp_path / "two"))
    assert tree(tmp_path / "one") == tree(tmp_path / "two")
    assert "1H -> " in done.stdout
    assert "48 bars read" in done.stdout


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["--bar", "4H"], 2, "stored there: 1Dutc, 1H"),
        (["--bar", "1H", "--symbols", "AAA-USDC"], 2, "did you mean AAA-USDT?"),
        (["--bar", "1x"], 2, "allowed are [n]sec"),
    ],
)
def test_wrong_input_is_one_sentence(
    klines: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], code: int, told: str
) -> None:
    assert main(["collect", "convert", "--klines", str(klines), "--qlib_dir", str(tmp_path / "store"), *words]) == code
    said = capsys.readouterr().err
    assert told in said
    assert said.count("\n") == 1
    assert not (tmp_path / "store").exists()
