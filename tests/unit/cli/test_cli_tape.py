"""Bars of stored trades on the command line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from klines import HOUR, START, add

from qlib.cli.main import main
from qlib.collect.bar_store import BarStore
from qlib.collect.source import Series
from qlib.collect.trade_bars import bars_of


@pytest.fixture
def klines(tmp_path: Path) -> Path:
    draw = np.random.default_rng(1)
    for day in range(3):
        ts = START + day * 24 * HOUR + np.sort(draw.integers(0, 24 * HOUR, 500))
        rows = {
            "ts": ts,
            "trade_id": 1_000 * day + np.arange(500),
            "price": np.round(100 + draw.normal(0, 1, 500), 1),
            "size": draw.integers(1, 50, 500) / 10,
            "side": draw.choice(["buy", "sell"], 500).astype(object),
        }
        add(tmp_path / "klines", "AAA-USDT", "trades", None, rows, 24 * day, 24 * (day + 1))
    return tmp_path / "klines"


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_bars_of_stored_trades_are_those_of_all_trades_at_once(
    klines: Path, tmp_path: Path, suffix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / f"bars{suffix}"
    words = ["--klines", str(klines), "--symbol", "AAA-USDT", "--rule", "volume:77", "--out", str(out)]
    assert main(["collect", "bars", *words]) == 0
    found = pd.read_parquet(out) if suffix == ".parquet" else pd.read_csv(out)
    truth = bars_of(BarStore(klines).read(Series("AAA-USDT", "trades", None)), "volume:77")
    pd.testing.assert_frame_equal(found, truth, check_exact=suffix == ".parquet")
    assert f"{len(truth)} bars of 1,500 trades of AAA-USDT, volume:77" in capsys.readouterr().out


def test_a_part_of_the_trades(klines: Path, tmp_path: Path) -> None:
    out = tmp_path / "bars.csv"
    words = ["--klines", str(klines), "--symbol", "AAA-USDT", "--rule", "time:1day", "--out", str(out)]
    assert main(["collect", "bars", *words, "--start", "2026-01-02", "--end", "2026-01-03"]) == 0
    assert pd.read_csv(out)["ts"].tolist() == [START + 24 * HOUR]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--rule", "volumes:1", "--symbol", "AAA-USDT", "--out", "x.csv"], "did you mean volume"),
        (["--rule", "tick:5", "--symbol", "AAA-USDC", "--out", "x.csv"], "did you mean AAA-USDT?"),
        (["--rule", "tick:5", "--symbol", "AAA-USDT", "--out", "x.xls"], ".parquet or .csv"),
    ],
)
def test_wrong_input_is_one_sentence(
    klines: Path, words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["collect", "bars", "--klines", str(klines), *words]) == 2
    said = capsys.readouterr().err
    assert told in said
    assert said.count("\n") == 1
