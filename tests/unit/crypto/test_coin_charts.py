"""Coins of CoinGecko day by day: what the server has is stored, and no day that is not over."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import qlib
from qlib.collect.collectors import read_source
from qlib.collect.dump import dump_all
from qlib.crypto.coin_charts import Run, parse_market_chart
from qlib.crypto.venues.fake import FakeVenue
from qlib.data import D
from qlib.errors import ConfigError, InputError, RunError

DAY = 86_400_000
START = 1_767_225_600_000  # 2026-01-01


def history(seed: int, days: int = 40) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    price = 100 * np.exp(np.cumsum(random.normal(0, 0.03, days)))
    return pd.DataFrame(
        {"ts": START + DAY * np.arange(days), "price": price, "market_cap": price * 1e6 * seed, "volume": price * 1e4}
    )


def venue(now: int) -> FakeVenue:
    coins = [{"id": name, "symbol": name[:3], "name": name.title()} for name in ("one", "two", "three")]
    past = {name: history(seed) for seed, name in enumerate(("one", "two", "three"), 1)}
    return FakeVenue(instruments=[], coins=coins, coin_history=past, now=now, limits=False)


@pytest.mark.parametrize("zone", ["UTC", "Asia/Shanghai"])
def test_from_the_server_to_the_features(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zone: str):
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    now = START + 30 * DAY + 5 * 3_600_000
    with venue(now) as market:
        run = Run(str(tmp_path / "s"), str(tmp_path / "n"), base_url=market.coingecko_url, top=2)
        run.download_data(delay=0, start="2026-01-03", end="2026-02-28")
        run.normalize_data()
    monkeypatch.delenv("TZ")
    time.tzset()
    assert sorted(path.name for path in (tmp_path / "n").iterdir()) == ["three.csv", "two.csv"]  # the largest two
    assert read_source(tmp_path / "s" / "two.csv")["date"].iloc[-1] == "2026-01-31 05:00:00"
    dump_all(tmp_path / "n", tmp_path / "store", exclude_fields="symbol")
    qlib.init(provider_uri=str(tmp_path / "store"), region="us")
    found = D.features(["TWO"], ["$prices", "$market_caps", "$total_volumes"]).loc["TWO"]
    assert list(found.index) == list(pd.date_range("2026-01-03", "2026-01-31"))
    truth = history(2).set_index(pd.date_range("2026-01-01", periods=40)).loc[found.index]
    np.testing.assert_allclose(found, truth[["price", "market_cap", "volume"]], rtol=1e-6)


def test_a_second_download_ends_in_one_row_a_day(tmp_path: Path):
    for day in (10, 12):
        with venue(START + day * DAY + 7_200_000) as market:
            run = Run(str(tmp_path / "s"), str(tmp_path / "n"), base_url=market.coingecko_url, symbols="one")
            run.download_data(delay=0)
            run.normalize_data()
    rows = read_source(tmp_path / "n" / "one.csv")
    assert list(rows["date"]) == [str(date.date()) for date in pd.date_range("2026-01-01", "2026-01-13")]
    assert list(rows["prices"]) == list(history(1)["price"][:13])


def test_a_coin_that_is_not_there_is_named_and_minutes_are_refused(tmp_path: Path):
    with venue(START + 10 * DAY) as market:
        run = Run(str(tmp_path / "s"), str(tmp_path / "n"), base_url=market.coingecko_url, symbols="one,noone")
        with pytest.raises(RunError, match="1 of 2 instruments failed in every one of 2 rounds: noone"):
            run.download_data(delay=0)
        assert [path.name for path in (tmp_path / "s").iterdir()] == ["one.csv"]
        with pytest.raises(ConfigError, match="did you mean CryptoCollector1d"):
            Run(str(tmp_path / "s"), str(tmp_path / "n"), interval="1min", symbols="one").download_data()


def test_an_answer_that_is_none_is_refused():
    with pytest.raises(RunError, match="holds no prices"):
        parse_market_chart({"error": "coin not found"})


def test_how_far_back_is_asked_and_what_the_server_refuses_is_told(tmp_path: Path):
    with venue(START + 10 * DAY) as market:
        run = Run(str(tmp_path / "s"), str(tmp_path / "n"), base_url=market.coingecko_url, symbols="one", days="max")
        with pytest.raises(RunError, match="401"):
            run.download_data(delay=0)
        with pytest.raises(InputError, match="days: received 0"):
            Run(str(tmp_path / "s"), str(tmp_path / "n"), symbols="one", days=0).download_data()
