"""Stores: clean ones raise no alarm, and what is wrong with their files is named while the rest is still checked."""

from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import shared

from qlib.collect.health import check
from qlib.collect.health.compare import compare
from qlib.crypto.sample import MarketSpec
from qlib.crypto.sample_store import write_sample
from qlib.data.storage.binary import read_bin, write_bin
from qlib.data.storage.writer import write_store
from qlib.errors import InputError

DAYS = pd.bdate_range("2026-01-05", periods=60)


def bars(seed: int, days: pd.DatetimeIndex = DAYS) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    close = 10 * np.exp(np.cumsum(rng.normal(0, 0.01, len(days))))
    opened = np.concatenate([[10.0], close[:-1]])
    high, low = np.maximum(opened, close) * 1.001, np.minimum(opened, close) / 1.001
    volume = np.exp(rng.normal(5, 0.5, len(days)))
    columns = {"open": opened, "high": high, "low": low, "close": close, "volume": volume, "factor": 1.0}
    return pd.DataFrame(columns, index=days)


@pytest.fixture
def frames() -> dict[str, pd.DataFrame]:
    return {f"SH60000{i}": bars(i) for i in range(5)}


@pytest.fixture
def store(frames, tmp_path: Path) -> Path:
    return write_store(frames, tmp_path / "store", "day")


def kinds(report) -> list[list[object]]:
    return report.findings[["kind", "instrument", "field", "bars"]].values.tolist()


def test_a_clean_store_has_no_faults(store):
    report = check(store)
    assert kinds(report) == []
    assert report.coverage.loc[0, ["freq", "instruments", "bars"]].tolist() == ["day", 5, 300]


@pytest.mark.parametrize("seed", [1, 2026])
def test_the_sample_market_has_no_faults_and_its_outages_are_those_it_tells_of(tmp_path, seed: int):
    root, _ = write_sample(
        tmp_path / "sample", MarketSpec(seed=seed, days=400, hourly_days=300, coins=12, late=4, delisted=2)
    )
    report = check(root)
    assert not report.wrong, str(report)
    events = json.loads((root / "truth.json").read_text())["events"]
    begin = pd.Timestamp(check(root, "60min").coverage["first"][0])
    of_all = [event for event in events if event["coin"] == "all" and pd.Timestamp(event["from"]) >= begin]
    hours = {kind: sum(e["hours"] for e in of_all if e["kind"] == kind) for kind in ("no bars", "flat bars, no volume")}
    hourly = report.findings[report.findings["freq"] == "60min"]
    assert hourly.loc[hourly["kind"] == "dark", "bars"].sum() == hours["no bars"] > 0
    assert hourly.loc[hourly["kind"] == "outage", "bars"].sum() == hours["flat bars, no volume"] > 0
    assert report.coverage["compared"].iloc[-1] > 1000  # days against hours


def test_golden_stores_have_the_faults_that_their_makers_planted(golden_stores):
    roles = json.loads(shared("goldens/public/manifest.json").read_text())["info"]["roles"]
    named = {role: name for name, role in roles.items()} if "gaps" in roles.values() else roles
    report = check(golden_stores / "day")
    holes = set(report.of("hole")["instrument"])
    assert {named["gaps"], named["longgap"]} <= holes
    faults = report.findings[report.findings["level"] == "wrong"]
    assert set(faults["kind"]) == {"hole", "truncated", "infinite", "factor"}
    assert report.of("infinite")["instrument"].unique().tolist() == [named["inf"]]
    assert report.of("factor")["instrument"].tolist() == [named["nofactor"]]
    assert report.of("truncated")["instrument"].tolist() == [named["nanends"]]
    assert report.of("not listed")["instrument"].unique().tolist() == [named["relist"]]
    for other in ("h60", "m1"):
        assert set(check(golden_stores / other).findings.query("level == 'wrong'")["kind"]) == {"hole"}


DAMAGE = {
    "odd length": (lambda path: path.write_bytes(path.read_bytes()[:-1]), "whole float32 numbers"),
    "no header": (lambda path: path.write_bytes(b""), "is empty"),
    "NaN for a header": (lambda path: path.write_bytes(b"\0\0\xc0\x7f" + path.read_bytes()[4:]), "is NaN"),
    "longer than the calendar": (lambda path: path.write_bytes(path.read_bytes() * 2), "its calendar has 60 entries"),
    "a folder": (lambda path: (path.unlink(), path.mkdir()), "is not a feature file"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_named_and_the_others_are_checked(store, damage: str):
    harm, says = DAMAGE[damage]
    path = store / "features" / "sh600001" / "high.day.bin"
    harm(path)
    start, low = read_bin(store / "features" / "sh600001" / "low.day.bin")
    low = low.copy()
    low[7] *= 2
    write_bin(store / "features" / "sh600001" / "low.day.bin", start, low)
    report = check(store)
    assert report.of("damaged")[["instrument", "field"]].values.tolist() == [["SH600001", "high"]]
    assert str(path) in report.of("damaged")["detail"][0]
    assert says in report.of("damaged")["detail"][0]
    assert report.of("broken bar")[["instrument", "first"]].values.tolist() == [["SH600001", DAYS[7]]]


def test_files_that_the_checks_do_not_read_are_opened_too(store):
    (store / "features" / "sh600001" / "mine.day.bin").write_bytes(b"123")
    assert kinds(check(store)) == [["damaged", "SH600001", "mine", 0]]


def test_folders_in_upper_case_are_found_and_their_bars_are_checked(store):
    (store / "features" / "sh600002").rename(store / "features" / "SH600002")
    report = check(store)
    assert report.of("upper case")["detail"].tolist() == ["features/SH600002"]
    assert report.coverage["bars"].tolist() == [300]


def test_a_listed_instrument_without_files_has_no_data(store):
    shutil.rmtree(store / "features" / "sh600003")
    assert kinds(check(store)) == [["no data", "SH600003", "", 0]]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("SH600001\t2026-03-01\t2026-01-01\n", "ends on 2026-01-01"),
        ("SH600001\t2026-01-05\t2026-02-02\nSH600001\t2026-02-02\t2026-03-01\n", "two spans share 2026-02-02"),
        ("SH600001\n", "line 1"),
        ("SH600001\tsoon\tlater\n", "is no time"),
    ],
)
def test_an_instruments_file_that_makes_no_sense_is_named(store, line: str, says: str):
    path = store / "instruments" / "mine.txt"
    path.write_text(line)
    damaged = check(store).of("damaged")["detail"]
    assert len(damaged) == 1
    assert says in damaged[0]
    assert str(path) in damaged[0]


def test_a_calendar_out_of_order_and_one_of_another_future_are_named(store):
    calendar = store / "calendars" / "day.txt"
    lines = calendar.read_text().splitlines(keepends=True)
    (store / "calendars" / "day_future.txt").write_text("".join(lines[1:]))
    assert "does not begin with" in check(store).of("damaged")["detail"][0]
    calendar.write_text("".join(reversed(lines)))
    assert "ascends strictly" in check(store).of("damaged")["detail"][0]


def test_a_bar_size_without_a_column_of_bars_hides_no_other(frames, store):
    week = {name: frame[["close"]].rename(columns={"close": "score"})[::5] for name, frame in frames.items()}
    write_store(week, store, "week")
    report = check(store)
    assert not report.wrong
    assert report.coverage["bars"].tolist() == [5 * 60, 0]
    with pytest.raises(InputError, match="there are no bars to look at: none of the columns open, high"):
        check(store, "week")


def test_a_stray_date_is_one_finding_and_no_hole_of_the_others(frames, tmp_path):
    frames = {f"SH6000{i:02d}": bars(i) for i in range(20)}
    saturday = pd.DatetimeIndex(["2026-01-31"])
    frames["SH600007"] = pd.concat([frames["SH600007"], bars(7)[:1].set_axis(saturday)]).sort_index()
    frames["SH600007"].loc[saturday] = frames["SH600007"].shift(1).loc[saturday] * 1.0001
    report = check(write_store(frames, tmp_path / "stray", "day"))
    assert kinds(report) == [["stranger", "*", "", 1]]
    assert report.findings["detail"][0] == "1 of 20: SH600007"


def test_splits_with_their_factor_are_fine_and_raw_prices_beside_a_factor_are_not(frames, tmp_path):
    prices = ["open", "high", "low", "close"]
    adjusted = frames["SH600001"]
    adjusted.loc[DAYS[30] :, "factor"] = 2.0  # raw = adjusted / factor: the split halves the raw price
    raw = frames["SH600002"]
    raw.loc[DAYS[30] :, "factor"] = 2.0
    raw.loc[DAYS[30] :, prices] /= 2.0
    report = check(write_store(frames, tmp_path / "split", "day"))
    assert report.of("factor")[["instrument", "first"]].values.tolist() == [["SH600002", DAYS[30]]]


@pytest.mark.parametrize(("value", "detail"), [(np.nan, "missing"), (0.0, "not positive"), (-1.0, "not positive")])
def test_a_factor_that_cannot_be_is_found(frames, tmp_path, value: float, detail: str):
    frames["SH600003"].loc[DAYS[10:13], "factor"] = value
    report = check(write_store(frames, tmp_path / "factor", "day"))
    assert report.of("factor")[["instrument", "bars", "detail"]].values.tolist() == [["SH600003", 3, detail]]
    assert set(report.findings["kind"]) == {"factor"}


def test_no_store_and_no_such_frequency_are_one_sentence(store, tmp_path):
    with pytest.raises(InputError, match="holds day"):
        check(store, "60min")
    with pytest.raises(InputError, match="no file or folder"):
        check(tmp_path / "nothing")


# ---------------------------------------------------------------------- files against a store
@pytest.fixture
def csvs(frames, tmp_path: Path) -> Path:
    folder = tmp_path / "csv"
    folder.mkdir()
    for name, frame in frames.items():
        frame.rename_axis("date").reset_index().assign(symbol=name).to_csv(folder / f"{name}.csv", index=False)
    return folder


def test_a_store_equals_the_files_it_was_made_from(store, csvs, frames, tmp_path):
    report = compare(csvs, store)
    assert not report.wrong
    assert report.coverage["values compared"].tolist() == [5 * 60 * 6]
    (tmp_path / "p").mkdir()
    for name, frame in frames.items():
        frame.rename_axis("date").reset_index().to_parquet(tmp_path / "p" / f"{name}.parquet")
    assert not compare(tmp_path / "p", store).wrong
    one = pd.concat(frames, names=["symbol", "date"]).reset_index()
    one.to_csv(tmp_path / "all.csv.gz", index=False)
    assert compare(tmp_path / "all.csv.gz", store).to_dict()["coverage"][0]["instruments"] == 5


def test_golden_stores_equal_the_files_that_qlib_made_them_from(golden_stores, tmp_path):
    with tarfile.open(shared("goldens/public/csv.tar.gz")) as archive:
        archive.extractall(tmp_path, filter="data")
    counts = {"day": "day", "h60_60min": "60min", "h60_day": "day", "m1_1min": "1min", "m1_day": "day"}
    for folder, freq in counts.items():
        report = compare(tmp_path / "csv" / folder, golden_stores / folder.split("_")[0], freq)
        assert not report.wrong, str(report)
        assert report.coverage["values compared"].iloc[0] > 100


def test_one_bit_of_one_number_is_found(store, csvs):
    path = store / "features" / "sh600004" / "close.day.bin"
    start, values = read_bin(path)
    values = values.copy()
    values[11] = np.nextafter(values[11], np.float32(0))
    write_bin(path, start, values)
    assert kinds(compare(csvs, store)) == [["different", "SH600004", "close", 1]]
    assert compare(csvs, store, fields=["open", "high"]).findings.empty


def test_what_only_one_of_the_two_has_is_told_apart(store, csvs):
    shutil.rmtree(store / "features" / "sh600000")
    (store / "features" / "sh600001" / "open.day.bin").unlink()
    lines = (csvs / "SH600002.csv").read_text().splitlines(keepends=True)
    extra = lines[-1].replace("2026-03-27", "2026-03-28")
    (csvs / "SH600002.csv").write_text("".join([*lines[:5], *lines[6:], extra]))
    report = compare(csvs, store, fields=["open", "close"])
    assert kinds(report) == [
        ["not in store", "SH600000", "", 60],
        ["not in store", "SH600001", "open", 60],
        ["not in calendar", "SH600002", "", 1],
        ["not in file", "SH600002", "close", 1],
        ["not in file", "SH600002", "open", 1],
    ]


@pytest.mark.parametrize("name", ["csv", "vvs", "c.s.v", "NA", "BTC/USDT"])
def test_symbols_are_the_file_names_whatever_their_letters(tmp_path, name: str):
    root = write_store({name: bars(1)}, tmp_path / "store", "day")
    files = tmp_path / "csv"
    files.mkdir()
    one = bars(1).rename_axis("date").reset_index()
    if "/" in name:
        one = one.assign(symbol=name)
    one.to_csv(files / f"{name.replace('/', '')}.csv", index=False)
    assert not compare(files, root).wrong
    assert check(root).coverage["instruments"].tolist() == [1]


def test_a_field_that_no_file_has_is_refused(store, csvs):
    with pytest.raises(InputError, match="check_fields: received vwop"):
        compare(csvs, store, fields=["vwop"])
