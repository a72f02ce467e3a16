"""The universe on real rankings: market caps of 2020 to 2025, dead coins included, and a CoinGecko list of one day."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from qlib.config import build_settings
from qlib.crypto.mapping import markets_by_name, markets_of_bars, match, told
from qlib.crypto.snapshots import read_snapshots
from qlib.crypto.survivorship import returns_of_close, returns_of_snapshots, survivorship
from qlib.crypto.universe import Rule, members, turnover
from qlib.data.provider import Provider
from qlib.data.storage.instruments import write_instruments
from qlib.data.storage.writer import write_store

REAL = Path(__file__).resolve().parents[3] / "shared" / "realdata"
MONTHLY = REAL / "marketcap_top200_monthly_2020_2025.parquet"
COINBASE = REAL / "coinbase_spot_1d_2020_2025.parquet"
DAY = 86_400_000

pytestmark = pytest.mark.skipif(not MONTHLY.exists(), reason="../shared/realdata is not here")


def ms(time: str) -> int:
    return pd.Timestamp(time).value // 10**6


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return read_snapshots(MONTHLY, "close")


@pytest.fixture(scope="module")
def everything(table: pd.DataFrame) -> pd.DataFrame:
    return match(table, markets_by_name(table), left_out=(), tolerance=None)


def test_22_of_the_top_50_of_january_2021_are_left_and_the_dead_are_there(everything: pd.DataFrame):
    found = members(everything, Rule(top=50))
    then, now = (set(found.members(ms(day))) for day in ("2021-01-15", "2025-10-15"))
    assert (len(then), len(now), len(then & now)) == (50, 50, 22)
    assert {"XEM", "LUNA"} <= set(found.names)
    assert "LUNA" in found.members(ms("2022-05-12"))
    assert "LUNA" not in found.members(ms("2022-06-02"))
    assert "FTT" in found.members(ms("2022-11-08"))  # the week of its end: nobody knew
    assert "FTT" not in found.members(ms("2022-12-02"))


def test_a_month_is_known_on_the_day_after_its_date(everything: pd.DataFrame):
    found = members(everything, Rule(top=50))
    assert found.begin[0] == ms("2020-01-02")
    assert not found.at(np.array([ms("2020-01-01")])).any()
    first = everything[everything["known"] == ms("2020-01-02")].nlargest(50, "market_cap")["instrument"]
    assert set(found.members(ms("2020-01-02"))) == set(first)


def test_no_month_changes_what_was_known_before_it(everything: pd.DataFrame):
    whole = members(everything, Rule(top=50, keep=60), "60min")
    for cut in ("2021-06-15", "2022-11-02", "2024-02-02"):
        early = members(everything[everything["known"] <= ms(cut)], Rule(top=50, keep=60), "60min")
        times = np.arange(ms("2020-01-02"), ms(cut) + 1, 7 * 3_600_000)
        for time in times[:: len(times) // 97]:
            assert early.members(time) == whole.members(time)


def test_two_coins_of_one_ticker_in_one_month_are_told_and_not_chosen_between(table: pd.DataFrame):
    doubt = told(match(table, markets_by_name(table), tolerance=None))
    assert doubt == [
        "BNX (binaryx-old), 2023-03-02: ambiguous: BNX could be binaryx-old, binaryx",
        "BNX (binaryx), 2023-03-02: ambiguous: BNX could be binaryx-old, binaryx",
    ]
    mended = match(table, markets_by_name(table), tolerance=None, overrides={"binaryx-old": None})
    assert told(mended) == []
    march = mended[(mended["known"] == ms("2023-03-02")) & (mended["instrument"] == "BNX")]
    assert march["id"].tolist() == ["binaryx"]


def test_one_coin_under_five_names_is_one_instrument(everything: pd.DataFrame):
    bittorrent = everything[everything["symbol"] == "BTT"]
    assert bittorrent["name"].nunique() == 5
    assert set(bittorrent["instrument"]) == {"BTT"}


def test_todays_list_flatters_the_past_in_the_prices_of_the_ranking_itself(table: pd.DataFrame):
    coins = match(table, markets_by_name(table), tolerance=None)
    report = survivorship(coins, Rule(top=50), returns_of_snapshots(coins))
    assert report.overlap["of_today"].iloc[0] == 17
    assert len(report.gone) == report.ever - sum(name not in report.gone.index for name in report.today)
    assert report.gone.loc["LUNA", "last"] == pd.Timestamp("2022-06-01")
    assert report.known_then is not None
    assert report.by_today is not None
    assert "LUNA" in report.known_then.vanished
    assert report.known_then.growth_if_worthless < report.known_then.growth < report.by_today.growth
    assert report.known_then.coverage > 0.99
    assert report.by_today.yearly[0] - report.known_then.yearly[0] > 0.5  # more than half of the money, every year
    assert "flatters the past by" in str(report)


def test_prices_of_real_bars_confirm_the_coins_and_the_store_loads_the_universe(table: pd.DataFrame, tmp_path: Path):
    bars = pd.read_parquet(COINBASE)
    bars.index = pd.to_datetime(bars["ts"], unit="ms").astype("datetime64[ns]")
    frames = {
        str(name): one[["open", "high", "low", "close", "volume"]].assign(amount=one["close"] * one["volume"])
        for name, one in bars.groupby("symbol")
    }
    root = write_store(frames, tmp_path / "store", "day")
    close = pd.concat({name: one["close"] for name, one in frames.items()}, axis=1, sort=True)
    coins = match(table, markets_of_bars(close, table["known"], DAY, "{symbol}-USD"))
    agreed = coins["why"] == "ticker and price"
    assert agreed.sum() > 1500
    assert (coins["why"] == "as before").sum() < 0.02 * agreed.sum()
    assert (coins.loc[agreed, "ratio"] - 1).abs().max() <= 0.05
    assert coins.loc[agreed, "ratio"].median() == pytest.approx(1, abs=1e-3)  # the value is the close of its date

    found = members(coins, Rule(top=20))
    write_instruments(root / "instruments" / "top20.txt", found.spans)
    provider = Provider(build_settings(provider_uri=str(root), region="crypto"))
    rows = provider.features(provider.instruments("top20"), ["$close"]).reset_index()
    times = (rows["datetime"].to_numpy("M8[ms]").astype(np.int64) == ms("2024-03-15")).nonzero()[0]
    assert set(rows["instrument"].iloc[times]) <= set(found.members(ms("2024-03-15")))
    assert "BTC-USD" in set(rows["instrument"].iloc[times])

    amount = pd.concat({name: one["amount"] for name, one in frames.items()}, axis=1, sort=True)
    traded = members(turnover(amount, DAY), Rule(top=10, by="volume_24h"))
    assert {"BTC-USD", "ETH-USD"} <= set(traded.members(ms("2024-03-15")))
    report = survivorship(coins, Rule(top=20), returns_of_close(close))
    assert report.known_then is not None
    assert report.known_then.bars > 2000


def test_a_list_of_one_day_is_a_universe_from_the_next_bar_on():
    coins = read_snapshots(REAL / "coingecko_markets_20251103.csv", "taken")
    assert set(coins["known"]) == {ms("2025-11-03 02:05:14.263")}
    found = members(match(coins, markets_by_name(coins), tolerance=None), Rule(top=5))
    assert found.spans["BTC"][0][0] == pd.Timestamp("2025-11-04")
    assert found.members(ms("2025-11-04")) == ["BNB", "BTC", "ETH", "SOL", "XRP"]  # USDT is a stable coin
