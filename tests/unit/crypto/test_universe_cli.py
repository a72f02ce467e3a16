"""`qlib universe`: what a person types, what is written, what is said when it cannot be."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from warm import run_warm

from qlib.cli import main
from qlib.crypto.snapshots import Archive
from qlib.crypto.venues.fake import FakeVenue, random_market
from qlib.crypto.venues.fake.coingecko import Coins
from qlib.data.storage.instruments import read_instruments
from qlib.data.storage.writer import write_store

CLOSE = ["build", "--snapshots", "CAPS", "--stamp", "close", "--out", "x"]
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    rows = []
    for month, caps in {"2024-01-01": "ABC", "2024-02-01": "BCA", "2024-03-01": "CDA"}.items():
        rows += [(month, name, f"Coin {name}", float(9 - i), {"A": 10.0, "B": 20.0, "C": 30.0, "D": 40.0}[name])
                 for i, name in enumerate(caps)]  # fmt: skip
    rows.append(("2024-01-01", "USDT", "Tether", 99.0, 1.0))
    path = tmp_path / "caps.csv"
    pd.DataFrame(rows, columns=["ts", "symbol", "name", "market_cap", "price"]).to_csv(path, index=False)
    return path


@pytest.fixture
def store(tmp_path: Path) -> Path:
    times = pd.date_range("2023-12-15", "2024-04-10")
    price = {"A": 10.1, "B": 20.1, "C": 30.1, "D": 400.0}  # another coin called D
    frames = {
        f"{name}-USD": pd.DataFrame({"close": np.full(len(times), one), "amount": one}, index=times)
        for name, one in price.items()
    }
    frames["A-USD"] = frames["A-USD"][:"2024-03-20"]  # A dies
    return write_store(frames, tmp_path / "store", "day")


def said(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = main.main(["universe", *map(str, words)])
    out = capsys.readouterr()
    return code, out.out, out.err


def test_a_universe_of_tickers_is_written(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / "top2.txt"
    code, told, _ = said(
        capsys, "build", "--snapshots", table, "--stamp", "close", "--top", 2, "--by_ticker", "--out", out
    )
    assert code == 0
    spans = {name: [(str(a.date()), str(b.date())) for a, b in pairs] for name, pairs in read_instruments(out).items()}
    assert spans == {
        "A": [("2024-01-02", "2024-02-01")],
        "B": [("2024-01-02", "2024-03-01")],
        "C": [("2024-02-02", "2024-04-15")],
        "D": [("2024-03-02", "2024-04-15")],
    }
    assert "2 at a time, 4 names in all" in told


def test_a_market_of_a_store_holds_the_coins_whose_prices_agree(
    table: Path, store: Path, capsys: pytest.CaptureFixture[str]
):
    words = ("build", "--snapshots", table, "--stamp", "close", "--top", 2, "--qlib_dir", store)
    code, told, _ = said(capsys, *words, "--names", "{symbol}-USD", "--market", "top2")
    assert code == 0
    spans = read_instruments(store / "instruments" / "top2.txt")
    assert set(spans) == {"A-USD", "B-USD", "C-USD"}
    assert "D (coin-d), 2024-03-02: the price disagrees: D-USD x 10" in told
    code, _, error = said(capsys, *words, "--market", "top2")
    assert code == 2
    assert "--names says how they are made" in error


def test_the_report_says_what_a_list_of_today_hides(
    table: Path, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    words = (
        "report",
        "--snapshots",
        table,
        "--stamp",
        "close",
        "--top",
        2,
        "--qlib_dir",
        store,
        "--names",
        "{symbol}-USD",
    )
    code, told, _ = said(capsys, *words, "--json", tmp_path / "r.json")
    assert code == 0
    found = json.loads((tmp_path / "r.json").read_text())
    assert found["today"] == ["A-USD", "C-USD"]
    assert [one["instrument"] for one in found["gone"]] == ["B-USD"]
    assert found["baskets"]["known_then"]["growth"] == pytest.approx(1)
    assert "of which 1 are on today's list" in told


def test_turnover_of_bars_is_a_universe_too(store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / "turnover.txt"
    code, _, _ = said(capsys, "build", "--by", "turnover", "--top", 1, "--qlib_dir", store, "--out", out, "--days", 10)
    assert code == 0
    assert {name: str(pairs[0][0].date()) for name, pairs in read_instruments(out).items()} == {"D-USD": "2024-01-01"}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["build", "--out", "x"], "a file or a folder is needed"),
        (CLOSE, "--by_ticker trusts tickers"),
        (["build", "--snapshots", "CAPS", "--by_ticker", "--out", "x"], "stamp: received None"),
        (["build", "--by_ticker"], "one of --out FILE and --market NAME"),
        (["build", "--market", "x"], "the store is needed"),
        (["build", "--by", "turnover", "--out", "x"], "the store is needed"),
        ([*CLOSE, "--by_ticker", "--freq", "week"], "day and shorter"),
        ([*CLOSE, "--by_ticker", "--leave_out", "stabel"], "did you mean stable"),
        (["biuld"], "did you mean build"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_sentence_and_nothing_is_written(
    words: list[str], told: str, table: Path, tmp_path: Path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    code, _, error = said(capsys, *(str(table) if word == "CAPS" else word for word in words))
    assert code == 2
    assert told in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "x").exists()


def test_a_snapshot_a_day_is_kept_and_a_second_one_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    coins = [
        {"id": f"c{i}", "symbol": f"c{i}", "name": f"C{i}", "market_cap": 9e9 - i, "current_price": 2.0}
        for i in range(7)
    ]
    folder = tmp_path / "marketcap"
    with FakeVenue(coins=coins, limits=False) as venue:
        words = ("snapshot", "--archive", folder, "--top", 5, "--coingecko_url", venue.coingecko_url)
        assert said(capsys, *words)[0] == 0
        code, told, _ = said(capsys, *words)
        (tmp_path / "file").write_text("")
        refused = said(capsys, *words[:2], tmp_path / "file" / "x", *words[3:])
    assert refused[0] == 1
    assert "cannot be written: Not a directory" in refused[2]
    assert code == 0
    assert "kept already" in told
    assert Archive(folder).read()["id"].tolist() == [f"c{i}" for i in range(5)]
    out = tmp_path / "u.txt"
    assert said(capsys, "build", "--snapshots", folder, "--top", 3, "--by_ticker", "--out", out)[0] == 0
    assert list(read_instruments(out)) == ["C0", "C1", "C2"]


def test_the_script_writes_the_list_with_both_servers_elsewhere(tmp_path: Path):
    with FakeVenue(**random_market(n_spot=1, n_swap=3, bars=50, bar="1H"), limits=False) as venue:
        home = {**os.environ, "OKX_BASE_URL": venue.url, "COINGECKO_BASE_URL": venue.coingecko_url}
        script = [sys.executable, str(ROOT / "scripts" / "get_top50.py"), "--top", "2"]

        def asked(price: float) -> subprocess.CompletedProcess[str]:
            row = {"id": "btc", "symbol": "btc", "name": "B", "market_cap": 1, "current_price": price}
            venue.desk.coins = Coins([row])
            (tmp_path / "cache" / "coingecko_marketcap.json").unlink(missing_ok=True)
            return run_warm(script, cwd=tmp_path, env=home)

        wrong = asked(1.5)
        assert wrong.returncode == 2
        assert "the price disagrees" in wrong.stderr
        assert not (tmp_path / "config").exists()
        done = asked(json.loads((tmp_path / "cache" / "okx_contracts.json").read_text())["prices"]["BTC-USDT-SWAP"])
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "config" / "top50_symbols.json").read_text())["symbols"] == ["BTC/USDT"]
