"""What was collected -> a store: exact, nothing filled, nothing of the future; in pieces the same bytes as at once."""

from __future__ import annotations

import copy
import errno
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from klines import HOUR, START, add, candles, funding, marks, open_interest, stamp, tree, without
from proof import cases

from qlib.collect.bar_store import BarStore
from qlib.collect.convert import convert, freq_of
from qlib.collect.health import check
from qlib.collect.kline_bars import funding_of
from qlib.collect.klines import Klines
from qlib.collect.source import Rows, Series
from qlib.config import build_settings
from qlib.data.provider import Provider
from qlib.data.storage.transaction import Change
from qlib.errors import InputError, MissingDataError, RunError

SWAP = "AAA-USDT-SWAP"
FIELDS = ["open", "high", "low", "close", "volume", "amount", "vwap", "change", "factor", "paused"]


def bars(store: Path, symbol: str, freq: str = "60min", fields: list[str] | None = None) -> pd.DataFrame:
    """Return what a user reads: rows by time, columns without the dollar."""
    provider = Provider(build_settings(provider_uri=str(store), region="crypto"))
    names = [f"${name}" for name in fields or [*FIELDS, "funding", "funding_count", "mark", "index", "oi"]]
    frame = provider.features([symbol], names, freq=freq).droplevel("instrument")
    return frame.rename(columns=lambda name: name.removeprefix("$"))


def swap(
    folder: Path, symbol: str = SWAP, first: int = 0, last: int = 48, seed: int = 0, holes: tuple[int, ...] = ()
) -> Rows:
    rows = without(candles(first, last - first, seed), *holes)
    add(folder, symbol, "candles", "1H", rows, first, last)
    add(folder, symbol, "funding", None, funding(-(-first // 8) * 8, last, 8, seed), first, last)
    add(folder, symbol, "mark", "1H", marks(first, last - first, seed), first, last)
    add(folder, symbol, "index", "1H", marks(first, last - first, seed + 50), first, last)
    add(folder, symbol, "oi", "1H", open_interest(first, last - first, seed), first, last)
    return rows


# ---------------------------------------------------------------------- equal to the klines
def test_what_is_read_back_is_what_was_collected(tmp_path: Path) -> None:
    rows = swap(tmp_path / "klines", holes=(5, 6, 20))
    convert(tmp_path / "klines", tmp_path / "store", "1H")
    found = bars(tmp_path / "store", SWAP)
    expected = pd.DataFrame(rows).set_index(pd.to_datetime(rows["ts"], unit="ms"))
    every = pd.date_range(stamp(0), stamp(47), freq="h")
    assert found.index.equals(pd.DatetimeIndex(every, name="datetime"))
    for name in ("open", "high", "low", "close", "volume", "amount", "vwap"):
        np.testing.assert_array_equal(found[name], expected[name].reindex(every).astype(np.float32))
    assert found.loc[[stamp(5), stamp(6), stamp(20)], FIELDS].isna().all(axis=None)
    close = expected["close"].reindex(every)
    np.testing.assert_array_equal(found["change"], (close / close.shift() - 1).astype(np.float32))
    assert found["factor"].dropna().eq(1).all()
    assert found["paused"].dropna().eq(0).all()
    mark, oi = marks(0, 48)["close"], open_interest(0, 48)["oi_base"]
    np.testing.assert_array_equal(found["mark"], mark.astype(np.float32))
    np.testing.assert_array_equal(found["index"], marks(0, 48, 50)["close"].astype(np.float32))
    np.testing.assert_array_equal(found["oi"], oi.astype(np.float32))
    paid = funding(0, 48)
    assert found["funding"].dropna().index.tolist() == [pd.Timestamp(ts, unit="ms") for ts in paid["ts"]]
    np.testing.assert_array_equal(found["funding"].dropna(), paid["rate"].astype(np.float32))
    assert found["funding_count"].tolist() == [float(hour % 8 == 0) for hour in range(48)]


def test_flat_bars_of_an_outage_are_paused_and_have_no_vwap(tmp_path: Path) -> None:
    rows = candles(0, 30)
    for name in ("open", "high", "low", "close"):
        rows[name][10] = rows["close"][9]
    rows["volume"][10], rows["amount"][10], rows["vwap"][10], rows["traded"][10] = 0, 0, np.nan, False
    add(tmp_path / "klines", "AAA-USDT", "candles", "1H", rows, 0, 30)
    convert(tmp_path / "klines", tmp_path / "store", "1H")
    found = bars(tmp_path / "store", "AAA-USDT", fields=FIELDS).loc[stamp(10)]
    assert (found["paused"], found["volume"], found["change"]) == (1, 0, 0)
    assert np.isnan(found["vwap"])


def test_a_spot_has_no_funding_field_rather_than_an_empty_one(tmp_path: Path) -> None:
    add(tmp_path / "klines", "AAA-USDT", "candles", "1H", candles(0, 30), 0, 30)
    convert(tmp_path / "klines", tmp_path / "store", "1H")
    names = {path.name for path in (tmp_path / "store/features/aaa-usdt").iterdir()}
    assert names == {f"{name}.60min.bin" for name in FIELDS}


# ---------------------------------------------------------------------- funding
def test_several_payments_in_one_bar_are_added_exactly_and_counted(tmp_path: Path) -> None:
    add(tmp_path / "klines", SWAP, "candles", "4H", candles(0, 6, step=4 * HOUR), 0, 24)
    paid = funding(0, 24, 1)
    paid["rate"] = np.full(24, 0.1)
    add(tmp_path / "klines", SWAP, "funding", None, paid, 0, 24)
    done = convert(tmp_path / "klines", tmp_path / "store", "4H")
    found = bars(tmp_path / "store", SWAP, "240min", ["funding", "funding_count"])
    assert found.to_numpy().tolist() == [[np.float32(0.4), 4.0]] * 6
    assert (done.settlements, done.shared) == (24, 6)


def test_unknown_funding_is_not_zero_and_not_known_to_be_absent(tmp_path: Path) -> None:
    """The venue was asked from hour 12 to hour 30 only, and of one payment it does not tell the rate."""
    add(tmp_path / "klines", SWAP, "candles", "1H", candles(0, 48), 0, 48)
    paid = funding(16, 30, 8)
    paid["rate"][1] = np.nan
    add(tmp_path / "klines", SWAP, "funding", None, paid, 12, 30)
    convert(tmp_path / "klines", tmp_path / "store", "1H")
    found = bars(tmp_path / "store", SWAP, fields=["funding", "funding_count"])
    count = found["funding_count"]
    assert count.isna().tolist() == [hour < 12 or hour >= 30 for hour in range(48)]
    assert count.dropna().sum() == 2
    assert found["funding"].dropna().index.tolist() == [stamp(16)]


def test_a_payment_a_few_ms_late_is_in_the_bar_that_it_is_in(tmp_path: Path) -> None:
    add(tmp_path / "klines", SWAP, "candles", "1H", candles(0, 24), 0, 24)
    add(tmp_path / "klines", SWAP, "funding", None, funding(8, 24, 8, late=7), 0, 24)
    convert(tmp_path / "klines", tmp_path / "store", "1H")
    assert bars(tmp_path / "store", SWAP, fields=["funding"])["funding"].dropna().index.tolist() == [
        stamp(8),
        stamp(16),
    ]


@settings(max_examples=cases(100, 3000))
@given(
    st.lists(st.integers(0, 60), max_size=12, unique=True),
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=3),
    st.sampled_from([1, 5, 10]),
)
def test_funding_of_bars_is_a_plain_sum(stamps: list[int], ranges: list[tuple[int, int]], size: int) -> None:
    ts = np.array(sorted(stamps), np.int64)
    rate = np.array([round(0.1 * (1 + at % 3), 1) for at in ts])
    covered = sorted({at for low, high in ranges for at in range(low, high)})
    known = np.array([[at, at + 1] for at in covered], np.int64).reshape(-1, 2)
    from qlib.collect.coverage import union  # noqa: PLC0415

    opens = np.arange(0, 60, size)
    paid, count = funding_of(ts, rate, opens, opens + size, union(known))
    for place, low in enumerate(opens.tolist()):
        inside = [round(one * 10) for at, one in zip(ts, rate, strict=True) if low <= at < low + size]
        told = all(at in covered for at in range(low, low + size))
        np.testing.assert_equal(count[place], len(inside) if told else np.nan)
        np.testing.assert_equal(paid[place], sum(inside) / 10 if told and inside else np.nan)


# ---------------------------------------------------------------------- no look ahead
@pytest.mark.parametrize(("bar", "step"), [("1H", 1), ("4H", 4), ("15m", 0.25)])
@pytest.mark.parametrize("cut", [20, 24, 32])
def test_a_bar_that_is_over_does_not_change_with_the_future(tmp_path: Path, bar: str, step: float, cut: int) -> None:
    """All that becomes known at `cut` or later is another; every bar that is over by then stays as it is."""
    stores = []
    for world in (0, 1):
        folder = tmp_path / f"klines{world}"
        rows = candles(0, int(48 / step), step=int(step * HOUR))
        paid, mark, oi = funding(0, 48, 4), marks(0, 48), open_interest(0, 48)
        paid["ts"] += 3
        if world:  # other numbers wherever they were not known at the cut
            for table, size in ((rows, int(step * HOUR)), (mark, HOUR), (oi, HOUR), (paid, 0)):
                later = table["ts"] + size >= START + cut * HOUR + (size > 0)
                for name, values in table.items():
                    if name not in ("ts", "traded"):
                        values[later] = values[later] * 1.5
        add(folder, SWAP, "candles", bar, rows, 0, 48)
        add(folder, SWAP, "funding", None, paid, 0, 48)
        add(folder, SWAP, "mark", "1H", mark, 0, 48)
        add(folder, SWAP, "oi", "1H", oi, 0, 48)
        convert(folder, tmp_path / f"store{world}", bar)
        stores.append(bars(tmp_path / f"store{world}", SWAP, str(freq_of(bar))))
    over = stores[0].index + pd.Timedelta(hours=step) <= stamp(cut)
    pd.testing.assert_frame_equal(stores[0][over], stores[1][over], check_exact=True)
    assert over.sum() == cut / step
    assert (
        stores[0][~over][["close", "mark", "oi"]].dropna() != stores[1][~over][["close", "mark", "oi"]].dropna()
    ).any(axis=None)
    assert stores[0][["mark", "oi", "funding"]].notna().any().all()


def test_coarser_marks_stand_only_where_they_are_known(tmp_path: Path) -> None:
    """Quarters of an hour with hourly marks: the hour's close is known with its last quarter, and nowhere earlier."""
    add(tmp_path / "klines", SWAP, "candles", "15m", candles(0, 96, step=HOUR // 4), 0, 24)
    add(tmp_path / "klines", SWAP, "mark", "1H", marks(0, 24), 0, 24)
    convert(tmp_path / "klines", tmp_path / "store", "15m")
    found = bars(tmp_path / "store", SWAP, "15min", ["mark"])["mark"]
    assert found.notna().tolist() == [quarter % 4 == 3 for quarter in range(96)]
    np.testing.assert_array_equal(found.dropna(), marks(0, 24)["close"].astype(np.float32))


# ---------------------------------------------------------------------- in pieces
STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            ["candles", "candles", "funding", "mark", "oi", "revise", "symbol", "delist", "journal", "early"]
        ),
        st.integers(0, 2),
        st.integers(1, 30),
        st.sets(st.integers(0, 29), max_size=4),
    ),
    min_size=1,
    max_size=7,
)


@settings(max_examples=cases(25, 400), deadline=None)
@given(STEPS, st.data())
def test_conversions_in_pieces_end_in_the_bytes_of_one(
    tmp_path_factory: pytest.TempPathFactory, steps: list[Any], data: st.DataObject
) -> None:
    root = tmp_path_factory.mktemp("pieces")
    klines, at = root / "klines", {"AAA": 8_700, "BBB": 8_720, "CCC": 8_690}  # the year ends at hour 8,760
    known: dict[tuple[str, str], int] = {}
    add(klines, "BBB", "candles", "1H", candles(8_700, 20), 8_700, 8_720)
    for number, (what, who, count, gone) in enumerate(steps):
        name = ("AAA", "BBB", "CCC")[who]
        if what == "symbol":
            name, what = "CCC", "candles"
        first = at[name]
        kind = what if what in ("funding", "mark", "oi") else "candles"
        begin = known.get((name, kind), first)
        if what in ("candles", "journal"):
            rows = without(candles(first, count), *[one for one in gone if 0 < one < count - 1])
            add(klines, name, "candles", "1H", rows, first, first + count, seal=what == "candles")
            at[name] = first + count
        elif what == "early":
            add(klines, name, "candles", "1H", candles(8_600 + count, 5), 8_600 + count, 8_605 + count)
        elif what == "funding":
            paid = funding(-(-begin // 4) * 4, begin + 40, 4, seed=number)
            add(klines, name, "funding", None, paid, begin, begin + 40)
        elif what == "mark":
            add(klines, name, "mark", "1H", marks(begin, 40), begin, begin + 40)
        elif what == "oi":
            add(klines, name, "oi", "4H", open_interest(begin, 40), begin, begin + 40)
        elif what == "revise":
            add(klines, "BBB", "candles", "1H", candles(8_702, 3, seed=number + 1), 8_702, 8_705)
        elif what == "delist":
            store = BarStore(klines)
            with store.lock():
                store.set_life(Series("BBB", "candles", "1H"), START, START + (8_725 + count) * HOUR)
                store.seal(Series("BBB", "candles", "1H"))
        if kind != "candles":
            known[name, kind] = begin + 40
        if data.draw(st.booleans()):
            convert(klines, root / "store", "1H")
    convert(klines, root / "store", "1H")
    convert(klines, root / "once", "1H")
    assert tree(root / "store") == tree(root / "once")
    shutil.rmtree(root)


def test_a_run_without_news_changes_nothing_and_says_so(tmp_path: Path) -> None:
    swap(tmp_path / "klines")
    convert(tmp_path / "klines", tmp_path / "store", "1H")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "store").rglob("*")}
    done = convert(tmp_path / "klines", tmp_path / "store", "1H")
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "store").rglob("*")} == before
    assert str(done).endswith("(60min): 0 of 1 instruments had something new")


def test_only_what_is_new_is_read_again(tmp_path: Path) -> None:
    klines = tmp_path / "klines"
    for name in ("AAA", "BBB"):
        add(klines, name, "candles", "1H", candles(8_700, 100), 8_700, 8_800)  # the year ends at 8,760
    convert(klines, tmp_path / "store", "1H")
    add(klines, "AAA", "candles", "1H", candles(8_800, 10), 8_800, 8_810)
    done = convert(klines, tmp_path / "store", "1H")
    assert list(done.touched) == ["AAA"]
    assert done.bars <= 60


@pytest.mark.parametrize("first", [5, 0])
def test_several_bar_sizes_lie_side_by_side(tmp_path: Path, first: int) -> None:
    klines, store = tmp_path / "klines", tmp_path / "store"
    hours, days = candles(first, 97 + first % 2 * 3), candles(0, 5, step=24 * HOUR)  # 97: from midnight to midnight
    add(klines, SWAP, "candles", "1H", hours, 0, first + len(hours["ts"]))
    add(klines, SWAP, "candles", "1Dutc", days, 0, 120)
    convert(klines, store, "1H")
    convert(klines, store, "1Dutc")
    assert len(bars(store, SWAP, "day", FIELDS)) == 5
    assert len(bars(store, SWAP, "60min", FIELDS)) == len(hours["ts"])
    last = "2026-01-05 08:00:00" if first else "2026-01-05 00:00:00"
    assert (store / "instruments/all.txt").read_text() == f"{SWAP}\t2026-01-01 00:00:00\t{last}\n"
    other = tmp_path / "other"
    convert(klines, other, "1Dutc")
    convert(klines, other, "1H")
    assert tree(store) == tree(other)


# ---------------------------------------------------------------------- who was listed when
def test_instruments_are_listed_from_their_first_bar_to_their_delisting(tmp_path: Path) -> None:
    klines = tmp_path / "klines"
    add(klines, "NEW", "candles", "1H", candles(30, 70), 0, 100)
    add(klines, "OLD", "candles", "1H", candles(0, 40), 0, 100)
    add(klines, "CUT", "candles", "1H", candles(0, 60), 0, 100)
    store = BarStore(klines)
    with store.lock():
        store.set_life(Series("OLD", "candles", "1H"), START, START + 40 * HOUR)
        store.seal(Series("OLD", "candles", "1H"))
    convert(klines, tmp_path / "store", "1H")
    lines = (tmp_path / "store/instruments/all.txt").read_text().splitlines()
    form = "%Y-%m-%d %H:%M:%S"
    ends = {"CUT": (0, 99), "NEW": (30, 99), "OLD": (0, 39)}
    assert lines == [f"{name}\t{stamp(a):{form}}\t{stamp(b):{form}}" for name, (a, b) in ends.items()]
    report = check(str(tmp_path / "store"))
    assert set(report.findings[report.findings["level"] == "wrong"]["kind"]) == {"truncated"}


def test_the_store_is_healthy_and_every_planted_hole_is_found(tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    clean, holed = tmp_path / "clean", tmp_path / "holed"
    planted: set[tuple[str, int]] = set()
    for number in range(6):
        name, rows = f"C{number}-USDT-SWAP", candles(0, 400, number)
        add(clean, name, "candles", "1H", rows, 0, 400)
        add(clean, name, "funding", None, funding(0, 400, 8, number), 0, 400)
        gone = set(rng.choice(np.arange(1, 399), 5, replace=False).tolist())
        planted |= {(name, hour) for hour in gone}
        add(holed, name, "candles", "1H", without(rows, *gone), 0, 400)
    planted |= {("*", hour) for hour in (200, 201)}
    for number in range(6):  # nobody has these two
        name = f"C{number}-USDT-SWAP"
        part = holed / name / "candles_1H" / "2026.parquet"
        table = pd.read_parquet(part)
        table[~table["ts"].isin([START + 200 * HOUR, START + 201 * HOUR])].to_parquet(part, index=False)
        planted -= {(name, 200), (name, 201)}
    convert(clean, tmp_path / "good", "1H")
    convert(holed, tmp_path / "bad", "1H")
    assert not check(str(tmp_path / "good")).wrong
    findings = check(str(tmp_path / "bad")).findings
    found = set()
    for one in findings[findings["kind"].isin(["hole", "dark"])].itertuples():
        first = int((pd.Timestamp(one.first) - stamp(0)) / pd.Timedelta(hours=1))
        found |= {(one.instrument, hour) for hour in range(first, first + int(one.bars))}
    assert found == planted


# ---------------------------------------------------------------------- other files, wrong input
def test_csv_files_are_read_like_the_store(tmp_path: Path) -> None:
    klines, plain = tmp_path / "klines", tmp_path / "plain"
    store = BarStore(klines, format="csv")
    rows = swap(klines, holes=(3,))
    with store.lock():
        for series in store.series():
            store.seal(series)
    shutil.copytree(
        klines, plain, ignore=shutil.ignore_patterns("candles_*", "funding", "mark_*", "index_*", "oi_*", ".lock")
    )
    assert all(path.suffix == ".csv" for path in plain.rglob("*") if path.is_file())
    convert(klines, tmp_path / "one", "1H")
    convert(plain, tmp_path / "two", "1H")
    convert(plain, tmp_path / "two", "1H")
    left, right = bars(tmp_path / "one", SWAP), bars(tmp_path / "two", SWAP)
    upto = stamp(40)  # after the last payment a CSV file does not say whether there was one
    pd.testing.assert_frame_equal(left[:upto], right[:upto], check_exact=True)
    assert right["funding_count"][stamp(41) :].isna().all()
    assert len(right["close"].dropna()) == len(rows["ts"])


def test_bars_off_the_grid_are_kept_in_quarantine(tmp_path: Path) -> None:
    rows = candles(0, 30)
    rows["ts"][7] += 60_000
    add(tmp_path / "klines", "AAA", "candles", "1H", rows, 0, 30)
    done = convert(tmp_path / "klines", tmp_path / "store", "1H")
    assert done.quarantined == {"AAA": ["2026-01-01 07:01:00"]}
    kept = pd.read_csv(tmp_path / "store/quarantine/60min.csv")
    assert kept[["instrument", "time"]].to_numpy().tolist() == [["AAA", "2026-01-01 07:01:00"]]
    assert np.float32(kept["close"][0]) == np.float32(rows["close"][7])
    assert np.isnan(bars(tmp_path / "store", "AAA", fields=["close"])["close"][stamp(7)])


def test_days_that_do_not_open_at_midnight_have_to_be_called_otherwise(tmp_path: Path) -> None:
    add(tmp_path / "klines", "AAA", "candles", "1D", candles(16, 10, step=24 * HOUR), 0, 300)
    with pytest.raises(InputError, match="1D of AAA opens at 2026-01-01 16:00.*freq='24h'"):
        convert(tmp_path / "klines", tmp_path / "store", "1D")
    convert(tmp_path / "klines", tmp_path / "store", "1D", freq="24h")
    assert bars(tmp_path / "store", "AAA", "1440min", ["close"]).index[1] == stamp(40)


@pytest.mark.parametrize(
    ("bar", "freq"),
    [("1m", "1min"), ("1s", "1sec"), ("4H", "240min"), ("1Dutc", "day"), ("1Wutc", "1week"), ("1Mutc", "1month")],
)
def test_a_bar_means_one_frequency(bar: str, freq: str) -> None:
    assert str(freq_of(bar)) == freq


def test_months_and_weeks_end_where_they_end(tmp_path: Path) -> None:
    opens = pd.date_range("2025-11-01", periods=5, freq="MS")
    rows = candles(0, 5) | {"ts": opens.to_numpy("M8[ms]").astype(np.int64)}
    first, last = (int((opens[at].value // 10**6 - START) // HOUR) for at in (0, 4))
    add(tmp_path / "klines", SWAP, "candles", "1Mutc", rows, first, last + 31 * 24)
    paid = funding(-24 * 61, 24 * 70, 24)
    add(tmp_path / "klines", SWAP, "funding", None, paid, -24 * 61, 24 * 120)
    convert(tmp_path / "klines", tmp_path / "store", "1Mutc")
    found = bars(tmp_path / "store", SWAP, "month", ["close", "funding_count"])
    assert found["funding_count"].tolist() == [30, 31, 31, 28, 11]


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    swap(tmp_path / "klines")
    with pytest.raises(MissingDataError, match="stored there: 1H"):
        convert(tmp_path / "klines", tmp_path / "store", "4H")
    with pytest.raises(MissingDataError, match=f"did you mean {SWAP}"):
        convert(tmp_path / "klines", tmp_path / "store", "1H", symbols=["AAA-USDT-SWOP"])
    with pytest.raises(MissingDataError, match="does not exist"):
        convert(tmp_path / "nowhere", tmp_path / "store", "1H")
    assert not (tmp_path / "store").exists()


def test_a_dry_run_changes_nothing(tmp_path: Path) -> None:
    swap(tmp_path / "klines")
    done = convert(tmp_path / "klines", tmp_path / "store", "1H", dry_run=True)
    assert "nothing was written" in str(done)
    assert not (tmp_path / "store").exists()


def test_rows_that_have_gone_are_gone_from_the_store(tmp_path: Path) -> None:
    """Somebody took a damaged part away, and the venue gives less of it now."""
    klines = tmp_path / "klines"
    add(klines, "AAA", "candles", "1H", candles(8_700, 100), 8_700, 8_800)
    convert(klines, tmp_path / "store", "1H")
    (klines / "AAA/candles_1H/2026.parquet").unlink()
    convert(klines, tmp_path / "store", "1H")
    convert(klines, tmp_path / "once", "1H")
    assert tree(tmp_path / "store") == tree(tmp_path / "once")


def test_a_note_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    swap(tmp_path / "klines")
    convert(tmp_path / "klines", tmp_path / "store", "1H")
    note = tmp_path / "store/convert/60min.json"
    good = json.loads(note.read_text())
    note.write_text(note.read_text()[:50])
    with pytest.raises(InputError, match="delete it"):
        convert(tmp_path / "klines", tmp_path / "store", "1H")
    newer = copy.deepcopy(good) | {"version": 99}
    note.write_text(json.dumps(newer))
    assert convert(tmp_path / "klines", tmp_path / "store", "1H").whole


def test_a_symbol_without_bars_is_left_out_and_named(tmp_path: Path) -> None:
    klines = tmp_path / "klines"
    swap(klines)
    add(klines, "NEW", "candles", "1H", candles(0, 0), 0, 10)
    done = convert(klines, tmp_path / "store", "1H")
    assert (done.empty, done.instruments) == (["NEW"], 1)
    assert "without bars NEW" in str(done)
    assert not convert(klines, tmp_path / "store", "1H").touched
    add(klines, "NEW", "candles", "1H", candles(10, 5), 10, 15)
    assert list(convert(klines, tmp_path / "store", "1H").touched) == ["NEW"]
    convert(klines, tmp_path / "once", "1H")
    assert tree(tmp_path / "store") == tree(tmp_path / "once")


def test_a_full_disk_leaves_the_store_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    klines = tmp_path / "klines"
    swap(klines, last=24)
    convert(klines, tmp_path / "store", "1H")
    before = tree(tmp_path / "store")
    add(klines, SWAP, "candles", "1H", candles(24, 24), 24, 48)
    write, calls = Change.write, 0

    def full(self: Change, name: str, content: bytes) -> None:
        nonlocal calls
        calls += 1
        if calls == 7:
            raise OSError(errno.ENOSPC, "No space left on device", name)
        write(self, name, content)

    monkeypatch.setattr(Change, "write", full)
    with pytest.raises(RunError, match="is as it was: No space left"):
        convert(klines, tmp_path / "store", "1H")
    monkeypatch.undo()
    assert tree(tmp_path / "store") == before
    convert(klines, tmp_path / "store", "1H")
    convert(klines, tmp_path / "once", "1H")
    assert tree(tmp_path / "store") == tree(tmp_path / "once")


def test_a_collector_at_work_does_not_confuse_a_conversion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bars that come after the files were looked at wait for the next conversion."""
    klines = tmp_path / "klines"
    add(klines, "AAA", "candles", "1H", candles(0, 24), 0, 24)
    ends = Klines.ends

    def then_more(self: Klines) -> dict[str, int]:
        found = ends(self)
        add(klines, "AAA", "candles", "1H", candles(24, 6), 24, 30)
        return found

    monkeypatch.setattr(Klines, "ends", then_more)
    assert not convert(klines, tmp_path / "store", "1H").quarantined
    monkeypatch.undo()
    assert list(convert(klines, tmp_path / "store", "1H").touched) == ["AAA"]
    convert(klines, tmp_path / "once", "1H")
    assert tree(tmp_path / "store") == tree(tmp_path / "once")


@pytest.mark.parametrize("place", [0, 7])
def test_a_bar_between_two_seconds_is_refused(tmp_path: Path, place: int) -> None:
    rows = candles(0, 30)
    rows["ts"][place] += 500
    add(tmp_path / "klines", "AAA", "candles", "1H", rows, 0, 30)
    with pytest.raises(InputError, match=f"AAA: a bar opens at {START + place * HOUR + 500} ms"):
        convert(tmp_path / "klines", tmp_path / "store", "1H")


def test_late_funding_beyond_the_last_bar_is_noted_without_touching_a_bar(tmp_path: Path) -> None:
    klines = tmp_path / "klines"
    add(klines, SWAP, "candles", "1H", candles(8_700, 50), 8_700, 8_750)  # the year ends at hour 8,760
    add(klines, SWAP, "funding", None, funding(8_704, 8_760, 8), 8_700, 8_760)
    convert(klines, tmp_path / "store", "1H")
    add(klines, SWAP, "funding", None, funding(8_776, 8_800, 8), 8_770, 8_800)
    said = str(convert(klines, tmp_path / "store", "1H"))
    assert said.endswith("1 of 1 instruments had something new")
    convert(klines, tmp_path / "once", "1H")
    assert tree(tmp_path / "store") == tree(tmp_path / "once")
