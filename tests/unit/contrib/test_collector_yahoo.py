"""Stocks of Yahoo: from its chart API to D.features, against a server that answers in its shape."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from chart_server import Charts
from http_server import File, serving
from warm import run_warm

import qlib
from qlib.collect.collectors import read_source
from qlib.collect.dump import dump_all
from qlib.contrib.collectors.yahoo import Run, get_calendar_list, parse_chart
from qlib.data import D
from qlib.errors import InputError, RunError

ROOT = Path(__file__).resolve().parents[3]
NEW_YORK = "America/New_York"
DATES = pd.bdate_range("2024-01-02", "2024-03-29")


def prices(seed: int, dates: pd.DatetimeIndex = DATES) -> pd.DataFrame:
    """Return what was paid and traded, and a total-return price, before any adjustment."""
    random = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(random.normal(0, 0.02, len(dates))))
    frame = pd.DataFrame({"open": close * 0.99, "high": close * 1.02, "low": close * 0.98, "close": close}, dates)
    return frame.assign(volume=random.integers(1_000, 9_000, len(dates)).astype(float)).round(4)


def seen_on(raw: pd.DataFrame, dividends: dict[str, float], day: str) -> pd.DataFrame:
    """Return what the server shows on a day: the bars until then, adjusted for the dividends until then."""
    frame = raw[raw.index <= day].copy()
    factor = pd.Series(1.0, frame.index)
    for date, share in dividends.items():
        if pd.Timestamp(date) <= pd.Timestamp(day):
            factor[frame.index < date] *= 1 - share
    return frame.assign(adjclose=(frame["close"] * factor))


def stored(root: Path, names: list[str], fields: list[str], freq: str = "day") -> pd.DataFrame:
    qlib.init(provider_uri=str(root), region="us")
    return D.features(names, fields, freq=freq)


def test_from_the_server_to_the_features(tmp_path: Path):
    raw, dividends = {"AAA": prices(1), "BBB": prices(2)}, {"2024-02-01": 0.03}
    raw["BBB"].loc["2024-02-05":"2024-02-07", "volume"] = 0  # suspended: the last price is repeated
    raw["BBB"].loc["2024-02-08"] = np.nan
    shown = {name: seen_on(frame, dividends, "2024-03-29") for name, frame in raw.items()}
    with serving(Charts(shown, zone=NEW_YORK, now="2024-03-29 17:00")) as (url, asked):
        run = Run(str(tmp_path / "source"), str(tmp_path / "normalize"), 2, "1d", "US", url, "AAA,BBB")
        run.download_data(delay=0, start="2024-01-01")
        run.normalize_data()
    assert len(asked) == 2
    dump_all(tmp_path / "normalize", tmp_path / "store", exclude_fields="symbol")
    fields = ["$open", "$high", "$low", "$close", "$volume", "$factor", "$change"]
    found = stored(tmp_path / "store", ["AAA", "BBB"], fields)
    for name, frame in raw.items():
        mine = found.loc[name]
        traded = frame["volume"] > 0
        assert list(mine.index) == list(DATES)
        assert mine.loc[~traded].isna().all().all()
        for field in ("open", "high", "low", "close"):  # what was paid comes back
            paid = (mine[f"${field}"] / mine["$factor"])[traded]
            np.testing.assert_allclose(paid, frame[field][traded], rtol=1e-6)
        np.testing.assert_allclose((mine["$volume"] * mine["$factor"])[traded], frame["volume"][traded], rtol=1e-6)
        assert mine["$close"].iloc[0] == 1
        worth = frame["close"].copy()
        worth[worth.index >= "2024-02-01"] /= 1 - 0.03
        np.testing.assert_allclose(mine["$close"][traded], (worth / worth.iloc[0])[traded], rtol=1e-6)
        change = worth[traded].pct_change()
        np.testing.assert_allclose(mine["$change"][traded], change, rtol=1e-4, atol=1e-7)


def test_an_update_goes_on_at_the_stored_scale_whatever_was_paid_out_since(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    lists = tmp_path / "lists"
    lists.mkdir()
    (lists / "members.txt").write_text("AAA\nNEW\n")
    (lists / "changes.csv").write_text("symbol,type,date\nAAA,add,2024-01-02\nNEW,add,2024-03-20\n")
    monkeypatch.setenv("QLIB_INDEX_SP500_MEMBERS", str(lists / "members.txt"))
    monkeypatch.setenv("QLIB_INDEX_SP500_CHANGES", str(lists / "changes.csv"))
    raw, dividends = {"AAA": prices(3), "NEW": prices(4)}, {"2024-03-12": 0.05}
    charts = Charts({"AAA": seen_on(raw["AAA"], dividends, "2024-03-05")}, zone=NEW_YORK, now="2024-03-05 17:00")
    store = tmp_path / "store"
    with serving(charts) as (url, _):
        run = Run(str(tmp_path / "source"), str(tmp_path / "normalize"), 1, "1d", "US", url, "AAA")
        run.download_data(delay=0, start="2024-01-01")
        run.normalize_data()
        dump_all(tmp_path / "normalize", store, exclude_fields="symbol")
        before = stored(store, ["AAA"], ["$close", "$volume", "$factor", "$change"])
        charts.days = {name: seen_on(frame, dividends, "2024-03-29") for name, frame in raw.items()}
        charts.now = pd.Timestamp("2024-03-29 17:00")
        later = Run(str(tmp_path / "source"), str(tmp_path / "normalize"), 1, "1d", "US", url, "AAA,NEW")
        later.update_data_to_bin(str(store), delay=0, end_date="2024-03-30")
    found = stored(store, ["AAA"], ["$close", "$volume", "$factor", "$change"])
    pd.testing.assert_frame_equal(found.loc[before.index], before)
    mine = found.loc["AAA"]
    assert list(mine.index) == list(DATES)
    worth = raw["AAA"]["close"].copy()
    worth[worth.index >= "2024-03-12"] /= 1 - 0.05
    np.testing.assert_allclose(mine["$close"], worth / worth.iloc[0], rtol=1e-6)
    np.testing.assert_allclose(mine["$volume"] * mine["$factor"], raw["AAA"]["volume"], rtol=1e-6)
    np.testing.assert_allclose(mine["$change"].iloc[1:], worth.pct_change().iloc[1:], rtol=1e-3, atol=1e-7)
    assert stored(store, ["NEW"], ["$close"])["$close"].iloc[0] == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lists", "normalize", "source", "store"]
    members = D.list_instruments(D.instruments("sp500"), start_time="2024-01-01", end_time="2024-03-29")
    assert members["NEW"] == [(pd.Timestamp("2024-03-20"), pd.Timestamp("2024-03-29"))]


def test_an_instrument_without_a_common_date_is_named_and_the_others_are_stored(tmp_path: Path):
    raw = {"AAA": prices(3), "OLD": prices(5)[:10]}
    store = tmp_path / "store"
    charts = Charts({n: seen_on(f, {}, "2024-03-05") for n, f in raw.items()}, zone=NEW_YORK, now="2024-03-05 17:00")
    with serving(charts) as (url, _):
        run = Run(str(tmp_path / "source"), str(tmp_path / "normalize"), 1, "1d", "US", url, "AAA,OLD")
        run.download_data(delay=0, start="2024-01-01")
        run.normalize_data()
        dump_all(tmp_path / "normalize", store, exclude_fields="symbol")
        raw["OLD"] = prices(5).drop(DATES[10:50])
        charts.days = {name: seen_on(frame, {}, "2024-03-29") for name, frame in raw.items()}
        charts.now = pd.Timestamp("2024-03-29 17:00")
        with pytest.raises(RunError, match=r"was updated, but not with everything.*OLD\.csv.*the scale is unknown"):
            run.update_data_to_bin(str(store), delay=0, end_date="2024-03-30")
    assert len(stored(store, ["AAA"], ["$close"])) == len(DATES)


def test_a_stock_that_pauses_through_a_whole_update_is_nan_and_an_index_is_not(tmp_path: Path):
    raw = {"AAA": prices(3), "^IDX": prices(4).assign(volume=0.0)}
    store = tmp_path / "store"
    charts = Charts({n: seen_on(f, {}, "2024-03-05") for n, f in raw.items()}, zone=NEW_YORK, now="2024-03-05 17:00")
    with serving(charts) as (url, _):
        run = Run(str(tmp_path / "source"), str(tmp_path / "normalize"), 1, "1d", "US", url, "AAA,^IDX")
        run.download_data(delay=0, start="2024-01-01")
        run.normalize_data()
        dump_all(tmp_path / "normalize", store, exclude_fields="symbol")
        raw["AAA"].loc["2024-03-06":, "volume"] = 0
        charts.days = {name: seen_on(frame, {}, "2024-03-29") for name, frame in raw.items()}
        charts.now = pd.Timestamp("2024-03-29 17:00")
        run.update_data_to_bin(str(store), delay=0, end_date="2024-03-30")
        charts.days["AAA"].loc["2024-02-15":"2024-03-05", "volume"] = 0  # not one traded day in what is downloaded
        with pytest.raises(RunError, match="AAA.*the scale is unknown"):
            run.update_data_to_bin(str(store), delay=0, end_date="2024-03-30")
    found = stored(store, ["AAA", "^IDX"], ["$close"])
    assert found.loc["AAA"]["$close"].loc["2024-03-06":].isna().all()
    assert found.loc["^IDX"]["$close"].notna().all()


def test_two_downloads_of_different_adjustment_are_not_mixed(tmp_path: Path):
    raw = prices(3)
    charts = Charts({}, zone=NEW_YORK, now="2024-03-29 17:00")
    with serving(charts) as (url, _):
        run = Run(str(tmp_path / "source"), str(tmp_path / "normalize"), 1, "1d", "US", url, "AAA")
        for day in ("2024-03-05", "2024-03-29"):
            charts.days = {"AAA": seen_on(raw, {"2024-03-12": 0.05}, day)}
            run.download_data(delay=0, start="2024-02-01")
        with pytest.raises(RunError, match="two downloads disagree about 2024-02-01"):
            run.normalize_data()


def test_a_day_that_is_not_over_is_not_stored_and_dates_are_the_exchanges(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    raw = prices(6)
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    charts = Charts({"600519.SS": seen_on(raw, {}, "2024-03-29")}, zone="Asia/Shanghai", now="2024-03-29 11:00")
    with serving(charts) as (url, _):
        run = Run(str(tmp_path / "source"), str(tmp_path / "normalize"), 1, "1d", "CN", url, "600519.SS")
        run.download_data(delay=0, start="2024-03-27", end="2024-03-30")
        run.normalize_data()
        assert list(read_source(tmp_path / "source" / "sh600519.csv")["date"]) == [
            "2024-03-27", "2024-03-28", "2024-03-29 11:00:00",
        ]  # fmt: skip
        assert list(read_source(tmp_path / "normalize" / "sh600519.csv")["date"]) == ["2024-03-27", "2024-03-28"]
        charts.now = pd.Timestamp("2024-03-29 16:30")
        run.download_data(delay=0, start="2024-03-27", end="2024-03-30")
        run.normalize_data()
    monkeypatch.delenv("TZ")
    time.tzset()
    rows = read_source(tmp_path / "normalize" / "sh600519.csv")
    assert list(rows["date"]) == ["2024-03-27", "2024-03-28", "2024-03-29"]
    np.testing.assert_allclose(rows["close"] / rows["factor"], raw["close"][-3:], rtol=1e-12)


def minutes(days: pd.DatetimeIndex, seed: int) -> pd.DataFrame:
    times = pd.DatetimeIndex(
        [day + pd.Timedelta("09:30:00") + pd.Timedelta(i, "min") for day in days for i in range(390)]
    )
    return prices(seed, times).assign(adjclose=np.nan)


def test_minutes_stand_in_the_prices_of_the_days_and_say_when_nothing_was_traded(tmp_path: Path):
    days = DATES[-12:]
    raw, fine = prices(7), minutes(days.delete([4, 5]), 8)  # the stock paused on two days
    raw.loc[days[[4, 5]], "volume"] = 0
    charts = Charts(
        {"AAA": seen_on(raw, {"2024-03-20": 0.1}, "2024-03-29")},
        {"AAA": fine},
        zone=NEW_YORK,
        now="2024-03-29 15:00:30",
    )
    with serving(charts) as (url, asked):
        charts.now = pd.Timestamp("2024-03-29 17:00")
        run = Run(str(tmp_path / "d"), str(tmp_path / "dn"), 1, "1d", "US", url, "AAA")
        run.download_data(delay=0, start="2024-01-01")
        run.normalize_data()
        dump_all(tmp_path / "dn", tmp_path / "store", exclude_fields="symbol")
        charts.now = pd.Timestamp("2024-03-29 15:00:30")
        run = Run(str(tmp_path / "m"), str(tmp_path / "mn"), 1, "1min", "US", url, "AAA")
        asked.clear()
        run.download_data(delay=0, start="2024-03-14", end="2024-03-30")
        assert len(asked) == 3  # a week at a time
        with pytest.raises(InputError, match="qlib_data_1d_dir: received none"):
            run.normalize_data()
        run.normalize_data(qlib_data_1d_dir=str(tmp_path / "store"))
    rows = read_source(tmp_path / "mn" / "AAA.csv").set_index("date")
    rows.index = pd.to_datetime(rows.index)
    factor = stored(tmp_path / "store", ["AAA"], ["$factor"]).loc["AAA"]["$factor"]
    traded = rows[rows["close"].notna()]
    assert traded.index[-1] == pd.Timestamp("2024-03-29 14:59")  # 15:00 is not over
    by_day = factor.reindex(traded.index.normalize()).to_numpy(float)
    np.testing.assert_allclose(traded["close"], fine["close"].reindex(traded.index) * by_day, rtol=1e-12)
    np.testing.assert_allclose(traded["volume"], fine["volume"].reindex(traded.index) / by_day, rtol=1e-12)
    np.testing.assert_allclose(traded["change"], traded["close"].pct_change(), rtol=1e-9, atol=1e-12)
    by_day = rows.groupby(rows.index.normalize())
    assert list(by_day["paused"].max()) == [0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0]
    assert list(by_day["paused_num"].max()) == [0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0, 0]
    assert by_day.size().eq(390).all()


def test_a_broken_answer_is_asked_for_again_and_a_symbol_that_is_gone_is_named(tmp_path: Path):
    charts = Charts({"AAA": seen_on(prices(1), {}, "2024-03-29")}, zone=NEW_YORK, now="2024-03-29 17:00")
    whole = charts.get("/v8/finance/chart/AAA?period1=0&period2=99999999999&interval=1d").content
    charts.fails["AAA"] = [File(whole[: len(whole) // 2])]
    with serving(charts) as (url, asked), pytest.raises(RunError, match=r"1 of 2 instruments failed.*GONE"):
        Run(str(tmp_path / "s"), str(tmp_path / "n"), 1, "1d", "US", url, "AAA,GONE").download_data(delay=0)
    assert [path.name for path in (tmp_path / "s").iterdir()] == ["AAA.csv"]
    assert len(asked) == 4  # AAA twice, GONE once a round


def test_an_answer_that_is_none_is_refused():
    for answer in ({}, [], {"chart": {"result": None, "error": {"code": "x", "description": "No data found"}}}):
        with pytest.raises(RunError, match="the server"):
            parse_chart(answer, "1d")


def test_the_calendar_of_a_market_is_that_of_its_index_and_binds_the_rows(tmp_path: Path):
    shown = seen_on(prices(1).assign(volume=0.0), {}, "2024-03-29")
    stock = seen_on(prices(2).drop(DATES[20]), {}, "2024-03-29")
    charts = Charts({"^GSPC": shown, "AAA": stock}, zone=NEW_YORK, now="2024-03-29 12:00")
    with serving(charts) as (url, _):
        assert get_calendar_list("US_ALL", url) == list(DATES[:-1])
        run = Run(str(tmp_path / "s"), str(tmp_path / "n"), 1, "1d", "US", url, "AAA,^GSPC")
        run.download_data(delay=0)
        run.normalize_data(calendar="US_ALL")
        rows = read_source(tmp_path / "n" / "AAA.csv")
        assert len(rows) == len(DATES) - 1
        assert rows["close"].isna().sum() == 1
        index = read_source(tmp_path / "n" / "^GSPC.csv")
        assert index["close"].notna().all()  # an index has no volume and keeps its prices
        (tmp_path / "days.txt").write_text("\n".join(str(date.date()) for date in DATES[5:]))
        with pytest.raises(RunError, match="2024-01-02 is no trading date of the calendar"):
            run.normalize_data(calendar=str(tmp_path / "days.txt"))


def test_the_command_line_says_what_it_needs(tmp_path: Path):
    script = ROOT / "scripts" / "data_collector" / "yahoo" / "collector.py"
    home = {**os.environ, "HOME": str(tmp_path)}

    def call(*words: str, **more: str) -> subprocess.CompletedProcess[str]:
        return run_warm([sys.executable, script, *words], cwd=tmp_path, env={**home, **more})

    folders = ("--source_dir", "s", "--normalize_dir", "n", "--region", "US")
    done = call("download_data", *folders, "--delay", "0")
    assert done.returncode == 2
    assert "no list of US is known" in done.stderr
    assert "QLIB_SYMBOLS_US" in done.stderr
    charts = Charts({"AAA": seen_on(prices(1), {}, "2024-03-29")}, zone=NEW_YORK, now="2024-03-29 17:00")
    (tmp_path / "list.txt").write_text("# a comment\nAAA,Some Company\n")
    with serving(charts) as (url, _):
        more = {"YAHOO_BASE_URL": url, "QLIB_SYMBOLS_US": "list.txt"}
        done = call("download_data", *folders, "--delay", "0", "--start", "20240201", "--end", "2024-02-10", **more)
        assert done.returncode == 0, done.stderr
    assert list(read_source(tmp_path / "s" / "AAA.csv")["date"]) == [str(d.date()) for d in DATES[22:29]]
    for wrong in (("download_data", "--dealy", "0"), ("normalize_data", "--calender", "US_ALL")):
        assert call(*wrong, *folders).returncode == 2
