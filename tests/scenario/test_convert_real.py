"""Recorded bars, funding and mark prices become a store that says the same, and that the health check passes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import shared

from qlib.collect.bar_store import BarStore
from qlib.collect.convert import convert
from qlib.collect.health import check
from qlib.collect.source import COLUMNS, Page, Series
from qlib.config import build_settings
from qlib.data.provider import Provider

HALF_HOUR, HOUR = 1_800_000, 3_600_000
SOME = ("BTC-USDT-SWAP", "ETH-USDT-SWAP", "ENA-USDT-SWAP", "TIA-USDT-SWAP")  # the last two pay every 4 hours


@pytest.fixture(scope="module")
def tables() -> dict[str, pd.DataFrame]:
    names = {"candles": "okx_swap_30m_2026", "funding": "okx_funding_2026", "mark": "okx_mark_1h_2026"}
    return {kind: pd.read_parquet(shared(f"realdata/{name}.parquet")) for kind, name in names.items()}


@pytest.fixture(scope="module")
def store(tables: dict[str, pd.DataFrame], tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("real")
    klines = BarStore(root / "klines")
    begin, end = int(tables["candles"]["ts"].min()), int(tables["candles"]["ts"].max()) + HALF_HOUR
    with klines.lock():
        for kind, bar in (("candles", "30m"), ("funding", None), ("mark", "1H")):
            for symbol in SOME:
                table = tables[kind][tables[kind]["symbol"] == symbol].copy()
                if kind == "candles":
                    table["amount"], table["vwap"], table["traded"] = (
                        table["volume"] * table["close"],
                        table["close"],
                        True,
                    )
                table["predicted_rate"] = np.nan
                rows = {name: table[name].to_numpy() for name in COLUMNS[kind]}
                klines.add(Series(symbol, kind, bar), Page(begin, end, rows))
                klines.seal(Series(symbol, kind, bar))
    convert(root / "klines", root / "store", "30m")
    return root / "store"


def features(store: Path, symbol: str, *names: str) -> pd.DataFrame:
    provider = Provider(build_settings(provider_uri=str(store), region="crypto"))
    return provider.features([symbol], list(names), freq="30min").droplevel("instrument")


@pytest.mark.parametrize("symbol", SOME)
def test_the_store_says_what_was_recorded(store: Path, tables: dict[str, pd.DataFrame], symbol: str) -> None:
    found = features(
        store, symbol, "$open", "$high", "$low", "$close", "$volume", "$funding", "$funding_count", "$mark"
    )
    bars, paid, mark = (table[table["symbol"] == symbol] for table in tables.values())
    assert found.index.equals(pd.DatetimeIndex(pd.to_datetime(bars["ts"], unit="ms"), name="datetime"))
    for name in ("open", "high", "low", "close", "volume"):
        np.testing.assert_array_equal(found[f"${name}"], bars[name].to_numpy(np.float32))
    rates = found["$funding"].dropna()
    inside = paid[paid["ts"] < bars["ts"].max() + HALF_HOUR]
    assert rates.index.tolist() == pd.to_datetime(inside["ts"] // HALF_HOUR * HALF_HOUR, unit="ms").tolist()
    np.testing.assert_array_equal(rates, inside["rate"].to_numpy(np.float32))
    assert found["$funding_count"].sum() == len(inside)
    known = found["$mark"].dropna()
    ends = pd.to_datetime(mark["ts"] + HOUR - HALF_HOUR, unit="ms")  # the half hour that ends with the hour
    here = ends.isin(found.index)
    assert known.index.tolist() == ends[here].tolist()
    np.testing.assert_array_equal(known, mark["close"][here].to_numpy(np.float32))


def test_the_health_check_finds_nothing(store: Path) -> None:
    assert not check(str(store)).wrong


def test_four_hourly_and_eight_hourly_funding_live_side_by_side(store: Path) -> None:
    hours = {symbol: set(features(store, symbol, "$funding")["$funding"].dropna().index.hour) for symbol in SOME}
    assert hours["BTC-USDT-SWAP"] == {0, 8, 16}
    assert hours["TIA-USDT-SWAP"] == {0, 4, 8, 12, 16, 20}
