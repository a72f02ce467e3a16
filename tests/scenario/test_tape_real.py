"""The whole way: recorded trades at a venue, asked for page by page, stored, and made into the recorded bars."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import shared

pytest.importorskip("aiohttp", reason="the fake venue needs aiohttp")

from qlib.collect.bar_store import BarStore
from qlib.collect.collecting import collect
from qlib.collect.convert import convert
from qlib.collect.health import check
from qlib.collect.source import Series
from qlib.collect.trade_bars import bars_of
from qlib.config import build_settings
from qlib.crypto.venues.fake import FakeVenue, random_market
from qlib.crypto.venues.okx import OkxSource
from qlib.data.provider import Provider

TRADES = Series("XRP-ETH", "trades", None)


def test_recorded_trades_come_through_a_venue_and_a_store_to_the_recorded_bars(tmp_path: Path) -> None:
    trades = pd.read_parquet(shared("realdata/xrpeth_trades_2019.parquet"))
    trades = trades.rename(columns={"amount": "size", "id": "trade_id"}).astype({"trade_id": "int64"})
    pair = {"instId": "XRP-ETH", "instType": "SPOT", "baseCcy": "XRP", "quoteCcy": "ETH", "listTime": "0"}
    now = int(trades["ts"].max()) + 600_000
    day = int(trades["ts"].min()) // 86_400_000 * 86_400_000
    store = BarStore(tmp_path / "klines")
    candles = bars_of(trades, "time:1min")[["ts", "open", "high", "low", "close", "volume", "amount"]]
    market: dict[str, Any] = {
        "instruments": [pair],
        "candles": {("XRP-ETH", "1m"): candles},
        "trades": {"XRP-ETH": trades[["ts", "trade_id", "price", "size", "side"]]},
        "now": now,
    }
    with FakeVenue(**market, limits=False) as venue, store.lock():
        summary = collect(OkxSource(venue.url, speed=None), store, [TRADES], day, now)
    assert not summary.failed
    stored = store.read(TRADES)
    assert len(stored) == len(trades) == 12_477
    for name, size, rows in (("xrpeth_1m_2019", "1min", 2_469), ("xrpeth_5m_2019", "5min", 706)):
        recorded = pd.read_parquet(shared(f"realdata/{name}.parquet"))
        made = bars_of(stored, f"time:{size}")
        assert len(made) == rows
        fields = ["ts", "open", "high", "low", "close", "volume"]
        pd.testing.assert_frame_equal(made[fields], recorded[fields], check_exact=True)


def test_a_market_goes_through_venue_collector_and_converter_unchanged(tmp_path: Path) -> None:
    """With bars missing at the venue, an outage, a late listing and funding of 4 and 8 hours."""
    market = random_market(n_spot=1, n_swap=3, bars=400, bar="1H", seed=5, trades=30)
    start, now = 1_767_225_600_000, int(market["now"])
    store = BarStore(tmp_path / "klines")
    names = [row["instId"] for row in market["instruments"]]
    wanted = [Series(name, "candles", "1H") for name in names]
    wanted += [Series(name, kind, None) for name in names if "SWAP" in name for kind in ("funding", "trades")]
    with FakeVenue(**market, limits=False) as venue:
        for end in (start + 150 * 3_600_000, now):
            venue.now = end
            with store.lock():
                summary = collect(OkxSource(venue.url, speed=None), store, wanted, start, end, update=True)
            assert not summary.failed
            convert(tmp_path / "klines", tmp_path / "store", "1H")
    provider = Provider(build_settings(provider_uri=str(tmp_path / "store"), region="crypto"))
    holes = 0
    for name in names:
        truth = market["candles"][name, "1H"]
        truth = truth[(truth["ts"] >= start) & (truth["ts"] + 3_600_000 <= now)]
        found = provider.features([name], ["$open", "$high", "$low", "$close", "$volume"], freq="60min").droplevel(0)
        times = pd.to_datetime(truth["ts"], unit="ms")
        holes += len(found) - len(truth)
        assert found.index[found["$close"].notna()].tolist() == times.tolist()
        np.testing.assert_array_equal(
            found.dropna().to_numpy(), truth[["open", "high", "low", "close", "volume"]].to_numpy(np.float32)
        )
        if "SWAP" in name:
            paid = market["funding"][name]
            rates = provider.features([name], ["$funding"], freq="60min").droplevel(0)["$funding"].dropna()
            paid = paid[(paid["ts"] >= truth["ts"].min()) & (paid["ts"] <= now - 2 * 3_600_000)]
            np.testing.assert_array_equal(rates[: len(paid)], paid["rate"].to_numpy(np.float32))
            made = bars_of(store.read(Series(name, "trades", None)), "time:1h")
            made = made[made["known"] <= now]
            assert len(made) > 20
            same = truth.set_index("ts").loc[made["ts"].to_numpy()]
            for field in ("open", "high", "low", "close"):
                np.testing.assert_array_equal(made[field], same[field])
    assert holes > 0
    missing = check(str(tmp_path / "store")).findings
    assert missing[missing["kind"] == "hole"]["bars"].sum() == holes
