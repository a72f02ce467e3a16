"""Real bars with known faults (../shared/realdata/README.md): each fault is found, and nothing else is called one."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from conftest import SHARED, shared

from qlib.collect.health import Report, check

DAY = pd.Timedelta(days=1)


def of_file(name: str) -> Report:
    return check(shared(f"realdata/{name}.parquet"))


def faults(report: Report) -> dict[str, int]:
    """Kind -> bars, of what is wrong."""
    wrong = report.findings[report.findings["level"] == "wrong"]
    return {kind: int(bars) for kind, bars in wrong.groupby("kind")["bars"].sum().items()}


def test_the_82_series_that_a_page_boundary_cut_are_found_and_no_other():
    report = of_file("coinbase_spot_1d_2020_2025")
    summary = pd.read_csv(shared("realdata/coinbase_spot_1d_2020_2025.summary.csv"))
    cut = summary[~summary["last"].str.startswith("2025-10-25")]
    assert len(cut) == 82
    assert sorted(report.of("truncated")["instrument"]) == sorted(cut["symbol"])
    assert set(faults(report)) == {"truncated"}
    ends = report.of("truncated")["first"] - DAY
    assert set(ends.dt.strftime("%m-%d")) == {"10-27", "10-28"}


def test_the_hours_that_disagree_with_their_quarters_and_the_four_hours_with_their_hours():
    sizes = {"15min": "15m", "60min": "1h", "240min": "4h"}
    report = check(
        {freq: shared(f"realdata/binance_um_{size}_btc_eth_2023_2025.parquet") for freq, size in sizes.items()}
    )
    assert faults(report) == {"disagreement": 23}
    of_freq = report.of("disagreement").groupby("freq")
    assert of_freq["bars"].sum().to_dict() == {"60min": 19, "240min": 4}
    days = {freq: {str(day.date()) for day in own["first"]} for freq, own in of_freq}
    assert days["60min"] == {"2024-03-27", "2024-03-28", "2024-10-28", "2025-01-14", "2025-01-29"}
    assert days["240min"] == {"2023-11-10", "2024-10-28"}
    assert report.coverage["compared"].tolist() == [0, 51_392, 12_808]


def test_the_disagreements_are_those_of_a_plain_group_by():
    """The same comparison by pandas, hour by hour, knows the same nineteen."""
    quarters = pd.read_parquet(shared("realdata/binance_um_15m_btc_eth_2023_2025.parquet"))
    hours = pd.read_parquet(shared("realdata/binance_um_1h_btc_eth_2023_2025.parquet")).set_index(["symbol", "ts"])
    made = quarters.groupby(["symbol", quarters["ts"] // 3_600_000 * 3_600_000]).agg(
        open=("open", "first"),
        high=("high", "max"),
        low=("low", "min"),
        close=("close", "last"),
        volume=("volume", "sum"),
    )
    differs = ((made - hours[made.columns]).abs() > 1e-9 * hours[made.columns].abs()).any(axis=1)
    slots = {(symbol, pd.Timestamp(ts, unit="ms")) for symbol, ts in differs.index[differs]}
    report = check({"15min": quarters, "60min": hours.reset_index()})
    found = report.of("disagreement")
    assert len(slots) == 19
    assert {
        (name, time)
        for name, first, last in zip(found["instrument"], found["first"], found["last"], strict=True)
        for time in pd.date_range(first, last, freq="h")
    } == slots


def test_the_flat_quarters_of_an_incident_are_an_outage():
    report = of_file("binance_um_15m_btc_eth_2023_2025")
    assert not report.wrong
    outage = report.of("outage")
    assert outage[["instrument", "bars", "detail"]].values.tolist() == [["*", 4, "2 of 2"]]
    assert outage["first"].tolist() == [pd.Timestamp("2024-10-28 20:00")]


@pytest.mark.parametrize(
    ("name", "gaps", "bars"), [("altbtc_5m_2018", 17, 52), ("xrpeth_1m_2019", 676, 1091), ("xrpeth_5m_2019", 6, 6)]
)
def test_gaps_are_those_of_the_summary(name: str, gaps: int, bars: int):
    report = of_file(name)
    assert faults(report) == {"hole": bars}
    assert len(report.of("hole")) == gaps
    summary = pd.read_csv(shared(f"realdata/{name}.summary.csv")).set_index("symbol")
    counted = report.of("hole").groupby("instrument")["bars"].agg(["size", "sum"]).reindex(summary.index, fill_value=0)
    assert counted["size"].tolist() == summary["gaps"].tolist()
    assert counted["sum"].tolist() == summary["missing_bars"].tolist()


@pytest.mark.parametrize(
    "name",
    [
        "binance_um_1h_2025",
        "binance_um_1m_2025",
        "binance_um_5m_2025",
        "binance_um_mark_8h_btc_eth_2023_2025",
        "coinbase_btcusd_1h_2017_2019",
        "okx_mark_1h_2026",
        "okx_swap_1m_btc_2026",
        "okx_swap_30m_2026",
    ],
)
def test_clean_real_bars_raise_no_alarm(name: str):
    assert faults(of_file(name)) == {}


@pytest.mark.parametrize(("name", "count"), [("binance_um_30m_2025", 14), ("binance_um_mark_8h_2025", 14)])
def test_downloads_that_stopped_together_while_others_went_on(name: str, count: int):
    """Not in the README: 14 of the 15 (19) series end with the same bar, months (days) before the others."""
    report = of_file(name)
    assert set(faults(report)) == {"truncated"}
    assert len(report.of("truncated")) == count


def outage_slots() -> pd.DatetimeIndex:
    """The 180 slots of five minutes that the README lists for nine swaps, May to December 2022."""
    thursdays = pd.date_range("2022-05-05 09:15", "2022-11-03 09:15", freq="7D")
    stretches = [
        ("2022-06-01 16:50", "2022-06-01 18:25"),
        ("2022-11-10 09:15", "2022-11-10 10:05"),
        ("2022-12-18 08:40", "2022-12-18 18:45"),
    ]
    spans = [pd.date_range(*stretch, freq="5min") for stretch in stretches]
    return thursdays.append(spans).sort_values()


def test_180_slots_without_a_trade_anywhere_are_told_from_the_ones_of_single_swaps():
    """The file with those bars is not handed out; its description is played with nine swaps, twenty lone halts each."""
    slots = outage_slots()
    assert len(slots) == 180
    grid = pd.date_range("2022-05-01", "2022-12-31 23:55", freq="5min")
    rng, pieces = np.random.default_rng(9), []
    down = grid.isin(slots)
    free = np.setdiff1d(np.flatnonzero(~down), [0])
    lone = rng.permutation(free)[: 9 * 20].reshape(9, 20)
    for i in range(9):
        idle = down.copy()
        idle[lone[i]] = True
        move = np.where(idle, 0.0, rng.standard_t(4, len(grid)) * 0.001)
        close = 20 * np.exp(np.cumsum(move))
        opened = np.concatenate([[20.0], close[:-1]])
        listed = grid >= ("2022-06-01" if i == 8 else "2022-05-01")
        bars = pd.DataFrame({"ts": grid.astype("datetime64[ns]").astype("int64") // 10**6, "symbol": f"S{i}-USDT-SWAP"})
        bars["open"], bars["close"] = opened, close
        bars["high"], bars["low"] = np.maximum(opened, close), np.minimum(opened, close)
        bars["volume"] = np.where(idle, 0.0, np.exp(rng.normal(3, 1, len(grid))))
        pieces.append(bars[listed])
    report = check(pd.concat(pieces, ignore_index=True))
    assert not report.wrong
    outage = report.of("outage")
    found = [t for a, b in zip(outage["first"], outage["last"], strict=True) for t in pd.date_range(a, b, freq="5min")]
    assert pd.DatetimeIndex(found).equals(slots)
    listed_lone = sum(int((grid[lone[i]] >= ("2022-06-01" if i == 8 else "2022-05-01")).sum()) for i in range(9))
    assert report.bars("halt") == listed_lone


def test_the_180_slots_of_the_file_itself():
    files = sorted((SHARED / "realdata").glob("okx_swap_5m_*.parquet")) if SHARED.exists() else []
    if not files:
        pytest.skip("../shared/realdata holds no okx_swap_5m file; the test above plays its description")
    outage = check(files[0]).of("outage")
    everybody = outage[outage["detail"].str.fullmatch(r"(\d+) of \1")]
    assert everybody["bars"].sum() == 180
