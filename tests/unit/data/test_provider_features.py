"""D.features: what comes back, in which shape, and what a person is told."""

from __future__ import annotations

import ctypes
import datetime as dt
import logging
import os
import struct
import sys
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qlib.config import build_settings
from qlib.data.calendar import Calendar
from qlib.data.expression import engine
from qlib.data.provider import Provider
from qlib.data.provider import features as query
from qlib.data.storage import arena
from qlib.data.storage.binary import write_bin
from qlib.data.storage.writer import write_store
from qlib.data.universe import Universe
from qlib.errors import ExpressionError, InputError, MissingDataError, StoreError

DAYS = pd.date_range("2024-01-01", periods=40)
FORMULAS = [
    "$close",
    "Mean($close, 5)",
    "Ref($close, 1) / $close",
    "EMA($close, 4)",
    "Corr($close, $open, 6)",
    "Sum($open, 0)",
]


def of(first: int, last: int, seed: int = 0) -> pd.DataFrame:
    """Bars from day `first` to day `last`, a fifth of them missing."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(rng.uniform(1, 2, (len(DAYS), 2)), index=DAYS, columns=["close", "open"])
    frame[rng.random(frame.shape) < 0.2] = np.nan
    return frame.iloc[first : last + 1]


@pytest.fixture(scope="module")
def frames() -> dict[str, pd.DataFrame]:
    return {"BTC": of(0, 39, 1), "LATE": of(25, 39, 2), "DEAD": of(0, 9, 3), "eth": of(3, 30, 4)}


@pytest.fixture(scope="module")
def root(tmp_path_factory, frames) -> Path:
    return write_store(frames, tmp_path_factory.mktemp("p") / "s", "day")


def provider(root: Path, **kwargs) -> Provider:
    return Provider(build_settings(provider_uri=root, **kwargs))


@pytest.fixture
def p(root) -> Provider:
    return provider(root)


@pytest.fixture
def told():
    messages: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())
    logging.getLogger("qlib").addHandler(handler)
    yield messages
    logging.getLogger("qlib").removeHandler(handler)


# ---------------------------------------------------------------------- shape
def test_the_frame_has_qlibs_shape(p, frames):
    found = p.features(["eth", "BTC", "DEAD", "LATE", "BTC"], ["$close / $open", "$close", "$CLOSE"], DAYS[5], DAYS[20])
    assert list(found.index.names) == ["instrument", "datetime"]
    assert list(found.columns) == ["$close / $open", "$close", "$CLOSE"], "as typed, duplicates kept"
    assert set(found.dtypes) == {np.dtype("float32")}
    assert found.index.is_monotonic_increasing and found.index.is_unique
    assert list(found.index.levels[0]) == ["BTC", "DEAD", "eth"], "LATE has no rows there"
    expected = pd.concat({name: frames[name]["close"][DAYS[5] : DAYS[20]] for name in ("BTC", "DEAD", "eth")})
    assert list(found.index) == list(expected.index)
    for column in ("$close", "$CLOSE"):
        np.testing.assert_array_equal(found[column].to_numpy(), expected.to_numpy(np.float32))


def test_a_label_is_what_was_typed_and_the_files_are_the_same(p):
    found = p.features(["btc", "BTC"], ["$close"])
    assert list(found.index.levels[0]) == ["BTC", "btc"]
    np.testing.assert_array_equal(found.loc["BTC"].to_numpy(), found.loc["btc"].to_numpy())


@pytest.mark.parametrize("make", [list, tuple, np.array, pd.Index, pd.Series, set])
def test_names_come_in_any_collection(p, make):
    assert len(p.features(make(["BTC", "DEAD"]), ["$close"])) == 50


def test_one_block_lies_under_the_frame_and_is_not_copied(p):
    found = p.features(["BTC", "LATE"], FORMULAS)
    block = found.to_numpy()
    assert block.T.flags.c_contiguous and np.shares_memory(block, found.iloc[:, 0].to_numpy())


def test_what_a_person_does_to_a_frame_is_not_in_the_next_one(p):
    found = p.features(["BTC"], ["$close"])
    found.columns.name, found.index.names = "mine", ["a", "b"]
    again = p.features(["BTC"], ["$close"])
    assert again.columns.name is None and list(again.index.names) == ["instrument", "datetime"]


def test_a_frequency_goes_by_its_meaning(p):
    assert p.features(["BTC"], ["$close"], freq="1d").equals(p.features(["BTC"], ["$close"], freq="day"))
    assert p.stored_freqs() == ["day"] and p.stored_fields("btc", "1d") == ["close", "open"]
    with pytest.raises(MissingDataError, match="does not contain data for 1week; stored there: day"):
        p.features(["BTC"], ["$close"], freq="week")


def test_rows_are_where_at_least_one_field_is_stored(tmp_path):
    root = write_store({"A": pd.DataFrame({"x": 1.0}, index=DAYS)}, tmp_path / "s", "day")
    write_bin(root / "features/a/early.day.bin", 2, np.float32([1, 2]))
    write_bin(root / "features/a/late.day.bin", 7, np.float32([3]))
    p = provider(root)
    found = p.features(["A"], ["$early", "$late"])
    assert list(found.index.get_level_values(1)) == [DAYS[2], DAYS[3], DAYS[7]]
    np.testing.assert_array_equal(found.to_numpy(), [[1, np.nan], [2, np.nan], [np.nan, 3]])
    assert len(p.features(["A"], ["$late"], DAYS[0], DAYS[6])) == 0


# ---------------------------------------------------------------------- ranges and universes
ranges = st.tuples(st.integers(0, 39), st.integers(0, 39)).map(sorted)


@given(window=ranges, worth=st.sampled_from([1, 100_000]), threads=st.integers(1, 3))
@settings(max_examples=25, deadline=None)
def test_a_part_of_the_time_is_a_part_of_the_whole(root, window, worth, threads):
    low, high = window
    whole = provider(root).features(["BTC", "LATE", "DEAD", "eth"], FORMULAS)
    before, engine._WORTH_A_THREAD = engine._WORTH_A_THREAD, worth
    files, arena._FILES_PER_THREAD = arena._FILES_PER_THREAD, 1
    try:
        part = provider(root, kernels=threads).features(["BTC", "LATE", "DEAD", "eth"], FORMULAS, DAYS[low], DAYS[high])
    finally:
        engine._WORTH_A_THREAD, arena._FILES_PER_THREAD = before, files
    times = whole.index.get_level_values(1)
    expected = whole[(times >= DAYS[low]) & (times <= DAYS[high])]
    assert list(part.index) == list(expected.index)
    np.testing.assert_array_equal(part.to_numpy(), expected.to_numpy())


@given(
    spans=st.dictionaries(st.sampled_from(["BTC", "LATE", "DEAD", "eth"]), st.lists(ranges, max_size=3)), window=ranges
)
@settings(max_examples=40, deadline=None)
def test_spans_leave_out_the_rows_between_them(root, spans, window):
    p, (low, high) = provider(root), window
    universe = {name: [(DAYS[a], DAYS[b]) for a, b in pairs] for name, pairs in spans.items()}
    found = p.features(universe, FORMULAS, DAYS[low], DAYS[high])
    if not spans:
        assert found.empty
        return
    whole = p.features(list(spans), FORMULAS, DAYS[low], DAYS[high])
    keep = [any(DAYS[a] <= when <= DAYS[b] for a, b in spans[name]) for name, when in whole.index]
    assert list(found.index) == list(whole.index[keep])
    np.testing.assert_array_equal(found.to_numpy(), whole.to_numpy()[keep])


@given(cut=st.integers(1, 38), seed=st.integers(0, 3), compat=st.sampled_from([None, "qlib"]))
@settings(max_examples=12, deadline=None)
def test_permuting_the_future_never_changes_the_past(tmp_path_factory, frames, cut, seed, compat):
    rng = np.random.default_rng(seed)
    mixed = {}
    for name, frame in frames.items():
        values = frame.reindex(DAYS[DAYS.get_loc(frame.index[0]) : DAYS.get_loc(frame.index[-1]) + 1])
        after = values.index > DAYS[cut]
        values = values.copy()
        values[after] = rng.permutation(values[after].to_numpy())
        mixed[name] = values
    one, two = (
        provider(write_store(given, tmp_path_factory.mktemp("f") / "s", "day"), compat=compat)
        for given in (frames, mixed)
    )
    names = list(frames)
    left, right = (p.features(names, FORMULAS, None, DAYS[cut]) for p in (one, two))
    assert list(left.index) == list(right.index)
    np.testing.assert_array_equal(left.to_numpy(), right.to_numpy())


pieces = st.tuples(st.integers(0, 15), st.integers(0, 8))  # first position, values; none where there are 0


@given(
    stored=st.lists(st.lists(st.none() | pieces, min_size=3, max_size=3), min_size=1, max_size=5),
    spans=st.none() | st.lists(st.lists(st.tuples(st.integers(0, 24), st.integers(0, 24)), max_size=4), min_size=5),
    window=st.tuples(st.integers(0, 23), st.integers(0, 23)).map(sorted),
)
@settings(max_examples=200, deadline=None)
def test_the_rows_kept_are_stored_asked_for_and_inside_the_spans(stored, spans, window):
    low, high = window
    first = np.array([[0 if one is None else one[0] for one in row] for row in stored])
    count = np.array([[arena.ABSENT if one is None else one[1] for one in row] for row in stored])
    raw = arena.Raw(np.empty(0, np.float32), np.zeros_like(first), first, count)
    names = tuple(f"S{i}" for i in range(len(stored)))
    loaded = query.Loaded.of(names, ("a", "b", "c"), raw)
    calendar = Calendar("day", DAYS[:24])
    members = None
    if spans is not None:
        pairs = zip(names, spans, strict=False)
        universe = Universe({name: [(DAYS[a], DAYS[b]) for a, b in own] for name, own in pairs})
        assert universe.names == names
        members = universe.ranges(calendar)
    kept = query.rows_of(loaded, low, high, members)
    for i, row in enumerate(stored):
        there = {p for one in row if one is not None for p in range(one[0], one[0] + one[1])}
        assert loaded.end[i] - loaded.begin[i] == (max(there) + 1 - min(there) if there else 0)
        assert not there or loaded.begin[i] == min(there)
        inside = {p for p in there if low <= p <= high}
        if spans is not None:
            inside = {p for p in inside if any(a <= p <= b for a, b in spans[i])}
        assert [p for a, b in kept.of(i) for p in range(a, b)] == sorted(inside)
    assert loaded.unknown() == [i for i, row in enumerate(stored) if all(one is None for one in row)]
    nowhere = [all(row[j] is None for row in stored) for j in range(3)]
    assert loaded.missing_fields() == [name for name, gone in zip("abc", nowhere, strict=True) if gone]
    if kept.rows:
        index = query.index_of(names, kept, calendar)
        expected = [(names[i], DAYS[p]) for i in range(len(names)) for a, b in kept.of(i) for p in range(a, b)]
        assert list(index) == expected and [level.name for level in index.levels] == ["instrument", "datetime"]
        assert all(len(level) == len(set(codes)) for level, codes in zip(index.levels, index.codes, strict=True))


def test_a_mapping_of_names_is_read_as_spans_and_open_ends_are_open(p):
    assert len(p.features({"BTC": [(None, "2024-01-03")], "DEAD": [("2024-01-08", None)]}, ["$close"])) == 6
    for bad in ({"BTC": "2024-01-01"}, {"BTC": 5}, {"BTC": [("2024-01-01",)]}):
        with pytest.raises(InputError, match="for BTC; a list of .start, end. is allowed"):
            p.features(bad, ["$close"])


@pytest.mark.parametrize("end", ["2300-01-01", "9999-12-31", dt.date(9999, 12, 31), pd.Timestamp.max])
def test_an_end_beyond_what_nanoseconds_count_is_open(p, end):
    assert len(p.features(["DEAD"], ["$close"], "1000-01-01", end)) == 10
    assert len(p.features({"DEAD": [("1000-01-01", end)]}, ["$close"])) == 10
    assert p.list_instruments({"DEAD": [(None, end)]}, None, end) == {"DEAD": [(DAYS[0], pd.Timestamp.max)]}


# ---------------------------------------------------------------------- what a person is told
def test_an_instrument_that_does_not_exist_is_left_out_and_named_with_the_nearest(p, told):
    assert list(p.features(["BTC", "BTCC"], ["$close"]).index.levels[0]) == ["BTC"]
    assert len(told) == 1 and told[0].endswith("for BTCC (did you mean BTC?)")


def test_only_unknown_instruments_give_an_empty_frame_of_the_right_shape(p, told):
    found = p.features(["XXXX", "YYYY"], ["$close", "$open"])
    assert found.shape == (0, 2) and list(found.index.names) == ["instrument", "datetime"]
    assert set(found.dtypes) == {np.dtype("float32")} and "XXXX" in told[0] and "YYYY" in told[0]
    some = p.features(["BTC"], ["$close", "$open"])
    assert [level.dtype for level in found.index.levels] == [level.dtype for level in some.index.levels]


def test_a_field_that_nobody_has_is_nan_and_named_with_the_nearest(p, told):
    found = p.features(["BTC", "LATE"], ["$close", "$clsoe * 2"], DAYS[0], DAYS[30])
    assert found["$clsoe * 2"].isna().all() and found["$close"].notna().any()
    assert told == ["no instrument has $clsoe at day; did you mean $close? (stored for BTC: close, open)"]


def test_a_field_that_some_have_is_no_reason_to_warn(tmp_path, told):
    root = write_store({"A": of(0, 9), "B": of(0, 9)[["open"]]}, tmp_path / "s", "day")
    found = provider(root).features(["A", "B"], ["$close", "$open > $close"])
    assert found.loc["B", "$close"].isna().all() and found.loc["B"].shape == (10, 2) and told == []


@pytest.mark.parametrize(
    ("start", "end", "why"),
    [
        ("2060-01-01", None, "the start lies after it"),
        (None, "1999-01-01", "the end lies before it"),
        ("2024-01-05", "2024-01-02", "the start lies after the end"),
    ],
)
def test_dates_outside_the_calendar_give_no_rows_and_the_calendar_is_told(p, told, start, end, why):
    found = p.features(["BTC"], ["$close"], start, end)
    assert found.shape == (0, 1) and found.dtypes.iloc[0] == np.float32
    assert "spans 2024-01-01 00:00:00 to 2024-02-09 00:00:00" in told[0] and why in told[0]


@pytest.mark.parametrize(
    ("instruments", "fields", "error", "said"),
    [
        ("all", ["$close"], InputError, r"received the text 'all'; .* D.instruments\('all'\)"),
        (5, ["$close"], InputError, "received 5 .int."),
        (["BTC"], [], InputError, "fields: received none"),
        (["BTC"], "$close", InputError, r"the text '\$close'; a list of formulas"),
        (["BTC"], ["Maen($close, 5)"], ExpressionError, "Maen[^?]*Mean"),
        (["BTC"], ["Mean($close, 5"], ExpressionError, r"\^"),
        (["../../etc"], ["$close"], None, ""),
    ],
)
def test_what_cannot_be_asked_is_refused(p, instruments, fields, error, said):
    if error is None:
        assert p.features(instruments, fields).empty
        return
    with pytest.raises(error, match=f"(?s){said}"):
        p.features(instruments, fields)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\0" * 7, "7 bytes"),
        (np.float32([np.nan, 1]).tobytes(), "is NaN"),
        (np.float32([50, 1]).tobytes(), "its calendar has 40 entries"),
    ],
)
def test_a_damaged_file_stops_the_query_with_its_name(tmp_path, content, said):
    root = write_store({"A": of(0, 39), "B": of(0, 39)}, tmp_path / "s", "day")
    (root / "features/b/close.day.bin").write_bytes(content)
    with pytest.raises(StoreError, match=rf"features/b/close.day.bin.*{said}"):
        provider(root).features(["A", "B"], ["$close"])
    assert len(provider(root).features(["A"], ["$close"])) == 40


def test_a_folder_in_the_place_of_a_file_is_named(tmp_path):
    root = write_store({"A": of(0, 39)}, tmp_path / "s", "day")
    (root / "features/a/x.day.bin").mkdir()
    with pytest.raises(StoreError, match=r"a/x.day.bin: is not a feature file"):
        provider(root).features(["A"], ["$x"])


def test_a_store_that_changes_is_read_anew(tmp_path):
    root = write_store({"A": of(0, 9)}, tmp_path / "s", "day")
    p = provider(root)
    assert len(p.features(p.instruments("all"), ["$close"])) == 10
    write_store({"A": of(0, 19), "B": of(0, 19)}, root, "day")
    assert len(p.features(p.instruments("all"), ["$close"])) == 40 and len(p.calendar()) == 20


# ---------------------------------------------------------------------- compat, processors, panel
def test_by_default_a_value_does_not_depend_on_where_the_query_begins_and_with_compat_it_does(root):
    for compat, same in ((None, True), ("qlib", False)):
        p = provider(root, compat=compat)
        whole, part = (p.features(["BTC"], ["EMA($close, 5)"], start, DAYS[30]) for start in (None, DAYS[20]))
        assert np.array_equal(whole.to_numpy()[20:], part.to_numpy()) is same


def test_processors_work_on_the_frame_of_each_instrument(p):
    seen = []

    def last_two(df, instrument):
        seen.append((instrument, df.index.name, list(df.columns)))
        return df.iloc[-2:] if instrument != "DEAD" else df.iloc[:0]

    from qlib.data.inst_processor import InstProcessor

    class LastTwo(InstProcessor):
        def __call__(self, df, instrument, *args, **kwargs):
            return last_two(df, instrument)

    found = p.features(["eth", "BTC", "DEAD"], ["$close", "$open"], inst_processors=[LastTwo()])
    assert seen == [(name, "datetime", ["$close", "$open"]) for name in ("BTC", "DEAD", "eth")]
    assert list(found.index) == [(n, d) for n, days in (("BTC", DAYS[38:40]), ("eth", DAYS[29:31])) for d in days]
    assert list(found.index.names) == ["instrument", "datetime"]


def test_the_panel_holds_the_same_numbers_as_arrays(p, told):
    names = ["LATE", "BTC", "DEAD", "NONE"]
    panel, times = p.panel(names, FORMULAS, DAYS[5], DAYS[30], optional=["nothing"])
    frame = p.features(names, FORMULAS, DAYS[5], DAYS[30])
    assert panel.instruments == ("LATE", "BTC", "DEAD") and list(times) == list(DAYS[5:31].to_numpy())
    for i, name in enumerate(panel.instruments):
        rows = slice(panel.start[i], panel.start[i + 1])
        assert list(times[panel.positions()[rows]]) == list(frame.loc[name].index.to_numpy())
        for field in FORMULAS:
            np.testing.assert_array_equal(panel.columns[field][rows], frame.loc[name, field].to_numpy())
    told.clear()
    empty, none = p.panel(["BTC"], ["$close"], "2060-01-01")
    assert empty.rows == 0 and len(none) == 0 and len(told) == 1
    told.clear()
    p.panel(["BTC"], ["$factor"], optional=["factor"])
    assert told == []


# ---------------------------------------------------------------------- cost
def test_memory_peaks_at_the_result_and_little_more(tmp_path):
    times = pd.date_range("2000-01-01", periods=4000)
    frame = pd.DataFrame({"close": np.arange(4000.0)}, index=times)
    root = write_store({f"S{i:02d}": frame for i in range(30)}, tmp_path / "s", "day")
    p = provider(root, kernels=1)
    fields = [f"Mean($close, {n})" for n in range(2, 42)]
    names = [f"S{i:02d}" for i in range(30)]
    tracemalloc.start()
    found = p.features(names, fields, times[50], times[-2])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.memory_usage(index=False).sum() == found.size * 4
    assert peak < 1.75 * found.size * 4, "a second copy of the block"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux tells which files are opened")
def test_reading_takes_one_open_per_file(root):
    p = provider(root)
    with opened_files(root / "features" / "btc", root / "features" / "late") as opened:
        p.features(["BTC", "LATE"], ["$close", "$close / $open", "Mean($close, 3)"])
    assert sorted(opened) == ["close.day.bin", "close.day.bin", "open.day.bin", "open.day.bin"]


@pytest.mark.parametrize("available", [True, False])
def test_a_system_without_the_compiled_reader_gives_the_same(root, frames, monkeypatch, available):
    expected = provider(root).features(list(frames), FORMULAS, DAYS[3], DAYS[30])
    monkeypatch.setattr(arena, "AVAILABLE", available)
    found = provider(root).features(list(frames), FORMULAS, DAYS[3], DAYS[30])
    pd.testing.assert_frame_equal(found, expected, check_exact=True)


def test_threads_may_ask_one_provider_at_once(root):
    p = provider(root, kernels=2)
    asked = [(p.instruments("all"), [formula], DAYS[k], None) for k in range(4) for formula in FORMULAS]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda one: p.features(*one), asked * 5))
    for one, frame in zip(asked * 5, found, strict=True):
        pd.testing.assert_frame_equal(frame, provider(root).features(*one), check_exact=True)


@contextmanager
def opened_files(*folders: Path):
    """Collect the names of the files that are opened in the folders, as the system tells them (inotify)."""
    system, opened = ctypes.CDLL(None, use_errno=True), []
    handle = system.inotify_init1(os.O_NONBLOCK)
    for folder in folders:
        assert system.inotify_add_watch(handle, os.fsencode(folder), 0x20) > 0  # IN_OPEN
    try:
        yield opened
        told = os.read(handle, 1 << 16)
        while told:
            _, mask, _, length = struct.unpack("iIII", told[:16])
            if not mask & 0x40000000:  # a folder
                opened.append(told[16 : 16 + length].rstrip(b"\0").decode())
            told = told[16 + length :]
    finally:
        os.close(handle)


@given(
    spans=st.dictionaries(st.sampled_from(["BTC", "LATE", "DEAD", "eth"]), st.lists(ranges, max_size=3)), window=ranges
)
@settings(max_examples=40, deadline=None)
def test_rows_can_be_computed_in_order_of_time(root, spans, window):
    low, high = window
    universe = {name: [(DAYS[a], DAYS[b]) for a, b in pairs] for name, pairs in spans.items()}
    for fields in (FORMULAS, [*FORMULAS, "Select($close>1,$close)"]):
        plain = provider(root).features(universe, fields, DAYS[low], DAYS[high])
        got = provider(root).features(universe, fields, DAYS[low], DAYS[high], by_time=True)
        wanted = plain.swaplevel().sort_index()
        assert list(got.index) == list(wanted.index) and list(got.index.names) == ["datetime", "instrument"]
        np.testing.assert_array_equal(got.to_numpy(), wanted.to_numpy())


def test_many_instruments_in_order_of_time(tmp_path):
    """Groups of eight that follow one another, and groups that do not."""
    rng, days = np.random.default_rng(3), 700
    times = pd.date_range("2020-01-01", periods=days)
    frames = {}
    for i in range(37):
        low, high = (0, days) if i % 5 else sorted(rng.integers(0, days, 2).tolist())
        frames[f"S{i:02}"] = pd.DataFrame({"close": rng.random(high - low)}, index=times[low:high])
    p = provider(write_store(frames, tmp_path / "s", "day"))
    names = list(frames)
    fields = ["$close", "Mean($close,20)", "Ref($close,-3)", "CSRank($close)"]
    wanted = p.features(names, fields).swaplevel().sort_index()
    for threads in (1, 2):
        got = provider(tmp_path / "s", kernels=threads).features(names, fields, by_time=True)
        pd.testing.assert_frame_equal(got, wanted)


def test_batches_of_formulas_have_the_rows_and_numbers_of_features(root):
    whole = provider(root).features(["BTC", "LATE", "DEAD", "eth"], FORMULAS, DAYS[3], DAYS[30])
    index, batches = provider(root).features_in_batches(
        ["BTC", "LATE", "DEAD", "eth"], FORMULAS, DAYS[3], DAYS[30], megabytes=1e-4
    )
    assert index.equals(whole.index)
    seen = {place: values.copy() for places, block in batches for place, values in zip(places, block, strict=True)}
    for place in range(len(FORMULAS)):
        np.testing.assert_array_equal(seen[place], whole.iloc[:, place].to_numpy())
    index, batches = provider(root).features_in_batches(["NOBODY"], ["$close"])
    assert not len(index) and not list(batches)


def test_an_engine_from_the_store_goes_on_where_the_store_ends(root):
    p, names, cut = provider(root), ["BTC", "LATE", "DEAD", "eth"], 25
    fields = ["Mean($close,5)", "EMA($close,3)", "CSRank($close)", "$close/Ref($close,3)-1"]
    engine = p.engine(names, fields, DAYS[cut - 1])
    assert list(engine.instruments) == sorted(names) and engine.position == cut
    whole = p.features(names, fields)
    for at in range(cut, 40):
        stored = p.features(names, ["$close"], DAYS[at], DAYS[at]).droplevel(1)
        got = engine.append(stored)
        for name, number in zip(engine.instruments, range(len(names)), strict=True):
            if (name, DAYS[at]) in whole.index and name != "DEAD":
                np.testing.assert_array_equal(got[:, number], whole.loc[(name, DAYS[at])].to_numpy(), err_msg=name)
    with pytest.raises(InputError, match="no engine"):
        provider(root, compat="qlib").engine(names, fields)
