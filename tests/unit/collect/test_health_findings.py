"""A clean market has no faults; each planted fault is found, where it is, as what it is, and nothing else is."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlib.collect.health import Rules, check
from qlib.data.storage.writer import write_store
from qlib.errors import InputError

HOURS = 400
NAMES = [f"C{i:02d}" for i in range(12)]
START = pd.Timestamp("2026-01-05")


def market(names: list[str] = NAMES, periods: int = HOURS, freq: str = "h", seed: int = 7) -> pd.DataFrame:
    """Clean bars: columns date, symbol, open, high, low, close, volume."""
    rng, pieces = np.random.default_rng(seed), []
    for name in names:
        close = 100 * np.exp(np.cumsum(rng.standard_t(4, periods) * 0.004))
        opened = np.concatenate([[100.0], close[:-1]])
        high, low = np.maximum(opened, close), np.minimum(opened, close)
        up, down = np.exp(rng.uniform(0, 0.004, (2, periods)))
        values = {"open": opened, "high": high * up, "low": low / down, "close": close}
        values["volume"] = np.exp(rng.normal(5, 0.6, periods))
        dates = pd.date_range(START, periods=periods, freq=freq)
        pieces.append(pd.DataFrame({"date": dates, "symbol": name, **values}))
    return pd.concat(pieces, ignore_index=True)


def at(frame: pd.DataFrame, name: str, hour: int, last: int | None = None) -> pd.Series:
    """Mark the rows of an instrument from one hour to another, inclusive."""
    dates = frame["date"].between(START + pd.Timedelta(hours=hour), START + pd.Timedelta(hours=last or hour))
    return dates & (frame["symbol"] == name)


def found(frame: pd.DataFrame, **options) -> list[tuple[str, str, str, str, int]]:
    """(kind, instrument, field, first hour, bars) of every finding but the order of rows (faults are appended)."""
    findings = check(frame, **options).findings
    findings = findings[findings["kind"] != "out of order"]
    hours = [None if pd.isna(t) else int((t - START) / pd.Timedelta(hours=1)) for t in findings["first"]]
    return list(zip(findings["kind"], findings["instrument"], findings["field"], hours, findings["bars"], strict=True))


def test_a_clean_market_has_no_faults():
    report = check(market())
    assert not report.wrong
    assert report.findings.empty
    assert report.coverage.loc[0, ["freq", "instruments", "bars"]].tolist() == ["60min", 12, 12 * HOURS]
    assert "Nothing is wrong." in str(report)


def scaled(name: str, hour: int, field: str | list[str], factor: float, last: int | None = None) -> Callable:
    def plant(frame: pd.DataFrame) -> pd.DataFrame:
        frame.loc[at(frame, name, hour, last), field] *= factor
        return frame

    return plant


def replaced(name: str, hour: int, field: str | list[str], value: float, last: int | None = None) -> Callable:
    def plant(frame: pd.DataFrame) -> pd.DataFrame:
        frame.loc[at(frame, name, hour, last), field] = value
        return frame

    return plant


def again(name: str, hour: int, **changes: float) -> Callable:
    return lambda frame: pd.concat([frame, frame[at(frame, name, hour)].assign(**changes)], ignore_index=True)


def moved(name: str, hour: int, seconds: int) -> Callable:
    def plant(frame: pd.DataFrame) -> pd.DataFrame:
        extra = frame[at(frame, name, hour)].copy()
        extra["date"] += pd.Timedelta(seconds=seconds)
        return pd.concat([frame, extra], ignore_index=True)

    return plant


def repeated(frame: pd.DataFrame) -> pd.DataFrame:
    numbers = ["open", "high", "low", "close", "volume"]
    frame.loc[at(frame, "C05", 101, 104), numbers] = frame.loc[at(frame, "C05", 100), numbers].to_numpy()
    return frame


def flat(frame: pd.DataFrame, names: list[str], first: int, last: int) -> pd.DataFrame:
    for name in names:
        price = float(frame.loc[at(frame, name, first - 1), "close"].iloc[0])
        frame.loc[at(frame, name, first, last), ["open", "high", "low", "close"]] = price
        frame.loc[at(frame, name, first, last), "volume"] = 0.0
        frame.loc[at(frame, name, last + 1), "open"] = price
        frame.loc[at(frame, name, last + 1), "high"] *= 1.2  # so that the new open fits in
        frame.loc[at(frame, name, last + 1), "low"] /= 1.2
    return frame


PRICES = ["open", "high", "low", "close"]
WHOLE = {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}
PLANTED = {
    "hole": (lambda f: f[~at(f, "C03", 50, 54)], [("hole", "C03", "", 50, 5)]),
    "hole of NaN": (replaced("C03", 50, [*PRICES, "volume"], np.nan, 54), [("hole", "C03", "", 50, 5)]),
    "gap": (lambda f: f[~f["date"].isin(pd.date_range("2026-01-06", periods=3, freq="h"))], [("gap", "*", "", 24, 3)]),
    "duplicate": (again("C01", 9), [("duplicate", "C01", "", 9, 1)]),
    "duplicate with other numbers": (again("C01", 9, close=1.0), [("duplicate", "C01", "", 9, 1)]),
    "off grid": (moved("C02", 30, 60), [("off grid", "C02", "", 30, 1)]),
    "incomplete": (replaced("C04", 60, "low", np.nan), [("incomplete", "C04", "low", 60, 1)]),
    "no close": (replaced("C04", 60, "close", np.nan), [("incomplete", "C04", "close", 60, 1)]),
    "infinite": (replaced("C04", 60, "high", np.inf), [("infinite", "C04", "high", 60, 1)]),
    "price of zero": (replaced("C04", 60, "low", 0.0), [("not positive", "C04", "low", 60, 1)]),
    "high too low": (scaled("C06", 70, "high", 0.9), [("broken bar", "C06", "high", 70, 1)]),
    "low too high": (scaled("C06", 70, "low", 1.005), [("broken bar", "C06", "low", 70, 1)]),
    "spike": (scaled("C07", 80, PRICES, 10.0), [("spike", "C07", "close", 80, 1)]),
    "jump": (scaled("C07", 80, PRICES, 0.001, HOURS), [("jump", "C07", "close", 80, 1)]),
    "split": (scaled("C07", 80, PRICES, 0.5, HOURS), [("jump", "C07", "close", 80, 1)]),
    "crash": (scaled("C07", 80, PRICES, 0.42, HOURS), [("large step", "C07", "close", 80, 1)]),
    "volume of another unit": (scaled("C08", 80, "volume", 1e9, HOURS), [("volume jump", "C08", "volume", 80, 1)]),
    "negative volume": (scaled("C08", 80, "volume", -1.0), [("volume", "C08", "volume", 80, 1)]),
    "repeated": (repeated, [("repeated", "C05", "", 101, 4)]),
    "outage": (lambda f: flat(f, NAMES, 20, 25), [("outage", "*", "", 20, 6)]),
    "halt": (lambda f: flat(f, NAMES[:3], 20, 25), [("halt", name, "", 20, 6) for name in NAMES[:3]]),
    "ended": (lambda f: f[~at(f, "C09", 300, HOURS)], [("ended", "C09", "", 299, 100)]),
    "truncated": (
        lambda f: f[~(f["symbol"].isin(NAMES[:4]) & (f["date"] >= START + pd.Timedelta(hours=300)))],
        [("truncated", name, "", 300, 100) for name in NAMES[:4]],
    ),
    "stranger": (
        lambda f: f[~f["date"].eq(START + pd.Timedelta(hours=77)) | f["symbol"].eq("C11")],
        [("stranger", "*", "", 77, 1)],
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", PLANTED)
def test_a_planted_fault_is_found_as_what_it_is_and_nothing_else_is(fault: str):
    plant, expected = PLANTED[fault]
    frame = plant(market())
    assert sorted(found(frame), key=str) == sorted(expected, key=str)
    assert check(frame).wrong == (expected[0][0] not in {"outage", "halt", "ended", "large step"})


def test_order_of_rows_is_noted_and_changes_nothing():
    report = check(market().iloc[::-1])
    assert report.findings["kind"].unique().tolist() == ["out of order"]
    assert not report.wrong


def test_a_bar_without_anybody_is_a_fact_where_its_rows_are_there():
    frame = market()
    frame.loc[frame["date"] == START + pd.Timedelta(hours=33), [*PRICES, "volume"]] = np.nan
    assert found(frame) == [("dark", "*", "", 33, 1)]


def test_pages_of_one_length_end_around_the_same_day_of_several_years():
    frame = market(periods=4 * 365, freq="D")
    ends = {"C01": "2027-03-03", "C02": "2028-03-02", "C03": "2029-03-03"}  # 2028 is a leap year
    for name, end in ends.items():
        frame = frame[(frame["symbol"] != name) | (frame["date"] <= end)]
    report = check(frame)
    assert report.of("truncated")["instrument"].tolist() == list(ends)
    assert report.of("truncated")["detail"].iloc[0].startswith("3 series end around 2 March of several years")


def test_delistings_on_dates_of_their_own_are_no_fault():
    frame = market(periods=4 * 365, freq="D")
    for name, end in {"C01": "2027-01-03", "C02": "2028-05-02", "C03": "2029-08-03"}.items():
        frame = frame[(frame["symbol"] != name) | (frame["date"] <= end)]
    assert not check(frame).wrong
    assert check(frame).of("ended")["instrument"].tolist() == ["C01", "C02", "C03"]


def test_a_listing_tells_truncated_from_delisted(tmp_path):
    frame = market()
    cut = START + pd.Timedelta(hours=199)
    frame = frame[~frame["symbol"].isin(["C01", "C02"]) | (frame["date"] <= cut)]
    listing = {name: [(START, START + pd.Timedelta(hours=HOURS - 1))] for name in NAMES}
    listing["C02"] = [(START, cut)]
    report = check(frame, instruments=listing)
    assert report.findings[["kind", "instrument", "bars"]].values.tolist() == [["truncated", "C01", 200]]
    file = tmp_path / "all.txt"
    file.write_text("".join(f"{name}\t{a}\t{b}\n" for name, own in listing.items() for a, b in own))
    pd.testing.assert_frame_equal(check(frame, instruments=file).findings, report.findings)


def test_weekends_of_an_exchange_are_no_gaps():
    frame = market(periods=300, freq="B")
    assert not check(frame).wrong
    assert check(frame, always_open=True).bars("gap") == 2 * 59


def test_the_breaks_of_a_session_are_no_gaps():
    clock = ["09:30", "10:00", "10:30", "11:00", "13:00", "13:30", "14:00", "14:30"]
    for days in (1, 4, 40):
        dates = [d + pd.Timedelta(f"{c}:00") for d in pd.bdate_range("2026-01-05", periods=days) for c in clock]
        frame = market(NAMES[:2], len(dates)).assign(date=dates * 2)
        assert check(frame).findings["kind"].tolist() == ["absent column"]


def test_a_thin_coin_of_two_days_is_still_of_a_market_that_never_closes():
    frame = market(NAMES[:1], 2 * 1440, "min")
    rng = np.random.default_rng(0)
    kept = frame[(rng.random(len(frame)) < 0.6) | frame.index.isin([0, len(frame) - 1])]
    assert check(kept).bars("hole") == len(frame) - len(kept)


@pytest.mark.parametrize("kind", ["jump", "spike", "hole"])
def test_thresholds_can_be_given(kind: str):
    plant, _ = PLANTED[kind]
    loose = Rules(missing_data_num=5, large_step_threshold_price=1e4, spike_threshold_price=100)
    assert check(plant(market())).wrong
    assert not check(plant(market()), rules=loose).wrong


def test_a_real_crash_is_no_jump_but_a_split_is():
    """A fall by 40 % of a coin that moves 4 % a day is a bad day; one by 90 % of a coin that moves 0.4 % is not."""
    wild = market(periods=500, freq="D", seed=3)
    returns = np.log(wild["close"] / wild["open"])
    wild["close"] = 100 * np.exp((returns * 8).groupby(wild["symbol"]).cumsum())
    wild["open"] = wild.groupby("symbol")["close"].shift(1).fillna(100)
    wild["high"], wild["low"] = wild[["open", "close"]].max(axis=1), wild[["open", "close"]].min(axis=1)
    later = (wild["symbol"] == "C02") & (wild["date"] >= START + pd.Timedelta(days=50))
    wild.loc[later, PRICES] *= 0.6
    assert check(wild).of("jump").empty
    wild.loc[later, PRICES] *= 1e-6
    assert check(wild).of("jump")["instrument"].tolist() == ["C02"]


holes = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 59)), max_size=60, unique=True)


@given(holes=holes, seed=st.integers(0, 3))
def test_holes_outages_and_lives_equal_the_naive_count(holes: list[tuple[int, int]], seed: int):
    """Any set of missing rows: every slot is counted once, as the plain definition says."""
    names, periods = NAMES[:5], 60
    frame = market(names, periods, seed=seed)
    gone = set(holes)
    keep = [(i, t) not in gone for i in range(5) for t in range(periods)]
    frame = frame[keep]
    have = [[(i, t) not in gone for t in range(periods)] for i in range(5)]
    slots = [t for t in range(periods) if any(row[t] for row in have)]
    rows = [row for row in have if any(row)]
    if len(rows) < 2 or len(slots) < 20:
        return
    expected_gap = expected_hole = 0
    for t in range(slots[0], slots[-1] + 1):
        if t not in slots:
            expected_gap += 1
            continue
        for row in rows:
            first, last = row.index(True), periods - 1 - row[::-1].index(True)
            expected_hole += first < t < last and not row[t]
    report = check(frame, "60min", always_open=True)
    assert (report.bars("gap"), report.bars("hole")) == (expected_gap, expected_hole)
    assert report.coverage["bars"].tolist() == [len(frame)]


def test_an_hour_that_is_not_the_sum_of_its_quarters_is_found():
    quarters = market(NAMES[:3], 800, "15min")
    hour = quarters["date"].dt.floor("h").rename("date")
    parts = quarters.drop(columns="date").groupby(["symbol", hour])
    hours = parts.agg(WHOLE).reset_index()
    assert not check({"15min": quarters, "60min": hours}).wrong
    hours.loc[5, "volume"] *= 1 + 1e-6
    hours.loc[7, "high"] += 0.01
    report = check({"15min": quarters, "60min": hours})
    disagreement = report.of("disagreement")
    assert disagreement["bars"].tolist() == [1, 1]
    assert disagreement["detail"].tolist() == ["volume unlike its 15min bars", "high unlike its 15min bars"]
    assert report.coverage["compared"].tolist() == [0, 600]
    lacking = quarters[quarters["date"] != hours["date"][5] + pd.Timedelta(minutes=15)]
    left = check({"15min": lacking, "60min": hours}).of("disagreement")
    assert left["detail"].tolist() == ["high unlike its 15min bars"]  # what a bar lacks nobody can compare


def test_days_of_sessions_agree_with_their_minutes():
    clock = [f"{h:02d}:{m:02d}" for h, m in [(9, 30), (10, 0), (10, 30), (11, 0), (13, 0), (13, 30), (14, 0), (14, 30)]]
    dates = [d + pd.Timedelta(f"{c}:00") for d in pd.bdate_range("2026-01-05", periods=30) for c in clock]
    halves = market(NAMES[:2], len(dates)).assign(date=dates * 2)
    day = halves["date"].dt.normalize().rename("date")
    parts = halves.drop(columns="date").groupby(["symbol", day])
    days = parts.agg(WHOLE).reset_index()
    report = check({"30min": halves, "day": days})
    assert not report.wrong
    assert report.coverage["compared"].tolist() == [0, 60]
    days.loc[3, "close"] *= 1.001
    days.loc[3, "high"] *= 1.01
    assert check({"30min": halves, "day": days}).of("disagreement")["instrument"].tolist() == ["C00"]


def test_what_an_earlier_run_has_found_is_known():
    report = check(PLANTED["hole"][0](market()))
    worse = check(PLANTED["hole"][0](PLANTED["spike"][0](market())))
    assert not report.without(report.to_dict()["findings"]).wrong
    assert worse.without(report.to_dict()["findings"]).findings["kind"].unique().tolist() == ["spike"]


def test_the_json_has_every_finding_as_plain_values():
    import json

    report = check(PLANTED["spike"][0](market()))
    told = json.loads(report.to_json())
    assert told["wrong"] is True
    assert told["findings"][0]["kind"] == "spike"
    assert told["findings"][0]["first"] == "2026-01-08 08:00:00"
    assert told["rules"]["jump_deviations"] == 30.0


def test_checking_changes_neither_the_frame_nor_the_store(tmp_path):
    frame = PLANTED["hole of NaN"][0](market())
    before = frame.copy(deep=True)
    check(frame)
    pd.testing.assert_frame_equal(frame, before)
    each = {name: rows.set_index("date").drop(columns="symbol") for name, rows in frame.groupby("symbol")}
    store = write_store(each, tmp_path / "store", "60min")
    files = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in store.rglob("*") if path.is_file()}
    check(store)
    assert files == {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in store.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (pd.DataFrame({"close": [1.0]}), "no column of dates"),
        (pd.DataFrame({"date": [], "close": []}), "no rows"),
        (pd.DataFrame({"date": ["2026-01-01"], "symbol": "A", "close": 1.0}), "the bar size cannot be told"),
        (
            pd.DataFrame({"ts": [0, 60_000], "symbol": "A", "rate": 1e-4}),
            "a frame: there are no bars to look at: none of",
        ),
        ({}, "nothing to check"),
        ("/nowhere/at/all", "no file or folder"),
    ],
)
def test_what_cannot_be_checked_is_one_sentence(source, says: str):
    with pytest.raises(InputError, match=says) as error:
        check(source)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("value", [-1, float("nan"), "much", True])
def test_a_threshold_is_a_number(value):
    with pytest.raises(InputError, match="large_step_threshold_price: received"):
        Rules(large_step_threshold_price=value)


def test_cells_that_cannot_be_read_are_counted_and_the_rest_is_checked(tmp_path):
    frame = market(NAMES[:2], 50)
    table = frame.astype({"date": str, "close": str})
    table.loc[5, "date"] = "1/5/2026 5:00"  # of May, or of January?
    table.loc[60, "close"] = "n/a?"
    table["symbol"] = table["symbol"].where(table.index != 90)
    table.to_csv(tmp_path / "bars.csv", index=False)
    report = check(tmp_path / "bars.csv")
    told = report.of("unreadable")
    assert told["field"].tolist() == ["close", "date", "symbol"]
    assert told["detail"].tolist() == [
        "1 cells such as 'n/a?'",
        "1 cells such as '1/5/2026 5:00'",
        "1 rows without a symbol",
    ]
    assert report.coverage["instruments"].tolist() == [2]


@pytest.mark.parametrize(
    "dates",
    [
        lambda d: d.astype("int64") // 10**6 if d.dt.unit == "ns" else d.astype("datetime64[ms]").astype("int64"),
        lambda d: d.astype("datetime64[ns]").astype("int64"),
        lambda d: d.dt.strftime("%Y-%m-%d %H:%M:%S"),
        lambda d: d.dt.tz_localize("UTC").dt.tz_convert("Asia/Shanghai"),
        lambda d: d.dt.strftime("%Y-%m-%dT%H:%M:%S+00:00"),
    ],
    ids=["milliseconds", "nanoseconds", "text", "zone", "text with a zone"],
)
def test_times_are_read_however_they_are_written(dates):
    frame = PLANTED["hole"][0](market())
    frame["date"] = dates(frame["date"])
    assert found(frame) == PLANTED["hole"][1]


def test_a_frame_with_an_index_a_folder_and_a_file_give_the_same(tmp_path):
    frame = PLANTED["spike"][0](market(NAMES[:6] + ["C07"]))
    expected = check(frame).findings
    pd.testing.assert_frame_equal(check(frame.set_index(["symbol", "date"]).add_prefix("$")).findings, expected)
    for name, rows in frame.groupby("symbol"):
        (tmp_path / "parquet").mkdir(exist_ok=True)
        (tmp_path / "csv").mkdir(exist_ok=True)
        rows.drop(columns="symbol").to_parquet(tmp_path / "parquet" / f"{name}.parquet")
        rows.drop(columns="symbol").to_csv(tmp_path / "csv" / f"{name}.csv.gz", index=False)
    for folder in ("parquet", "csv"):
        pd.testing.assert_frame_equal(check(tmp_path / folder).findings, expected)


def test_days_written_as_numbers_are_days():
    frame = market(NAMES[:3], 30, "D")
    frame["date"] = frame["date"].dt.strftime("%Y%m%d").astype("int64")
    report = check(frame)
    assert report.coverage.loc[0, ["freq", "first"]].tolist() == ["day", START]
    assert not report.wrong


@pytest.mark.parametrize("freq", ["5s", "1min", "4h", "day", "week"])
def test_the_bar_size_is_seen(freq: str):
    step = {"week": "7D", "day": "D"}.get(freq, freq)
    frame = market(NAMES[:3], 200, step)
    report = check(frame)
    assert report.coverage["freq"].tolist() == [{"5s": "5sec", "4h": "240min", "week": "1week"}.get(freq, freq)]
    assert not report.wrong
