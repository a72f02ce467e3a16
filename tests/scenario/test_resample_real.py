"""Bars made from finer ones are the venue's own, but for the incidents that are known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from conftest import shared

from qlib.collect.resample import bars_of_trades, resample_frame

FIELDS = ["open", "high", "low", "close", "volume"]


def venue(name: str) -> dict[str, pd.DataFrame]:
    table = pd.read_parquet(shared(f"realdata/{name}.parquet"))
    table["time"] = pd.to_datetime(table.ts, unit="ms")
    return {symbol: own.set_index("time")[FIELDS] for symbol, own in table.groupby("symbol")}


def disagreements(fine: dict, freq: str, coarse: dict, to: str) -> tuple[int, list[pd.Timestamp]]:
    """Return how many bars both have, and those that differ by more than 1e-9 of their value."""
    bars, wrong = 0, []
    for symbol in sorted(set(fine) & set(coarse)):
        made = resample_frame(fine[symbol], to, freq=freq)
        common = made.index.intersection(coarse[symbol].index)
        same = np.isclose(made.loc[common], coarse[symbol].loc[common], rtol=1e-9, atol=0).all(axis=1)
        bars, wrong = bars + len(common), wrong + common[~same].tolist()
    return bars, wrong


def dates(times: list[pd.Timestamp]) -> list[str]:
    return sorted({str(time.date()) for time in times})


def test_hours_from_quarters_are_the_venues_but_for_its_incidents():
    quarters, hours = venue("binance_um_15m_btc_eth_2023_2025"), venue("binance_um_1h_btc_eth_2023_2025")
    bars, wrong = disagreements(quarters, "15min", hours, "1h")
    assert (bars, bars - len(wrong)) == (51_392, 51_373)
    assert dates(wrong) == ["2024-03-27", "2024-03-28", "2024-10-28", "2025-01-14", "2025-01-29"]


def test_four_hours_from_hours_are_the_venues_but_for_its_incidents():
    hours, fours = venue("binance_um_1h_btc_eth_2023_2025"), venue("binance_um_4h_btc_eth_2023_2025")
    bars, wrong = disagreements(hours, "60min", fours, "4h")
    assert (bars, bars - len(wrong)) == (12_808, 12_804)
    assert dates(wrong) == ["2023-11-10", "2024-10-28"]


@pytest.mark.parametrize(
    ("fine", "freq", "coarse", "to", "bars"),
    [
        ("binance_um_1m_2025", "1min", "binance_um_30m_2025", "30min", 1_486),
        ("binance_um_5m_2025", "5min", "binance_um_30m_2025", "30min", 12_068),
        ("binance_um_5m_2025", "5min", "binance_um_1h_2025", "1h", 6_471),
        ("binance_um_30m_2025", "30min", "binance_um_1h_2025", "1h", 3_031),
        ("binance_um_15m_btc_eth_2023_2025", "15min", "binance_um_30m_2025", "30min", 7_648),
        ("xrpeth_1m_2019", "1min", "xrpeth_5m_2019", "5min", 706),
    ],
)
def test_where_two_sizes_overlap_every_bar_is_the_venues(fine, freq, coarse, to, bars):
    assert disagreements(venue(fine), freq, venue(coarse), to) == (bars, [])


@pytest.mark.parametrize(("freq", "name", "bars"), [("1min", "xrpeth_1m_2019", 2_469), ("5min", "xrpeth_5m_2019", 706)])
def test_trades_make_the_bars_of_the_venue_and_no_others(freq, name, bars):
    trades = pd.read_parquet(shared("realdata/xrpeth_trades_2019.parquet"))
    made = bars_of_trades(pd.to_datetime(trades.ts, unit="ms"), trades.price, trades.amount, freq)
    (own,) = venue(name).values()
    assert len(made) == len(own) == bars
    np.testing.assert_allclose(made, own, rtol=1e-9)
    assert made.index.equals(own.index)
