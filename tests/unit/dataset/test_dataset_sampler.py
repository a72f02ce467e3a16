"""Windows of a sampler against a naive reading of the frame; what they share, what they refuse."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from proof import cases

from qlib.data.dataset import TSDataSampler, TSDatasetH
from qlib.data.dataset import sampler as samplers
from qlib.data.dataset.handler import DataHandlerLP
from qlib.data.dataset.loader import StaticDataLoader
from qlib.errors import InputError, MissingDataError

DATES = pd.date_range("2020-01-01", periods=12)
NAMES = list("ABCD")
FILLS = ("none", "ffill", "ffill+bfill")


def frame(present=None, width=3, kind="f4"):
    index = pd.MultiIndex.from_product([DATES, NAMES], names=["datetime", "instrument"])
    values = np.arange(len(index) * width).reshape(len(index), width) % 97 + 0.5
    values[::7, 0] = np.nan
    df = pd.DataFrame(values.astype(kind), index=index, columns=[f"F{i}" for i in range(width)])
    return df if present is None else df[np.array(present)]


def naive(df, date, name, step_len, fill):
    """Return the window one date after the other: what a reader of the documentation would write."""
    dates = sorted(df.index.get_level_values(0).unique())
    at = max(i for i, d in enumerate(dates) if d <= date)
    rows = []
    for i in range(at - step_len + 1, at + 1):
        here = i >= 0 and (dates[i], name) in df.index
        rows.append(df.loc[(dates[i], name)].to_numpy() if here else None)
    if fill != "none":
        for i in range(1, step_len):
            rows[i] = rows[i - 1] if rows[i] is None else rows[i]
    if fill == "ffill+bfill":
        for i in reversed(range(step_len - 1)):
            rows[i] = rows[i + 1] if rows[i] is None else rows[i]
    return np.array([np.full(df.shape[1], np.nan) if row is None else row for row in rows])


PRESENT = st.lists(st.booleans(), min_size=48, max_size=48).filter(any)


@settings(deadline=None, max_examples=cases(40, 500))
@given(PRESENT, st.integers(1, 6), st.sampled_from(FILLS), st.integers(0, 11), st.randoms(use_true_random=False))
def test_every_way_of_asking_gives_the_naive_window(present, step_len, fill, start, random):
    df = frame(present)
    ts = TSDataSampler(df, DATES[start], DATES[-2], step_len, fillna_type=fill)
    wanted = [naive(df, date, name, step_len, fill) for date, name in ts.get_index()]
    inside = (df.index.get_level_values(0) >= DATES[start]) & (df.index.get_level_values(0) <= DATES[-2])
    assert sorted(ts.get_index()) == sorted(df.index[inside])
    assert len(ts) == len(wanted)
    for i, window in enumerate(wanted):
        np.testing.assert_array_equal(ts[i], window)
        np.testing.assert_array_equal(ts[i - len(ts)], window)
        np.testing.assert_array_equal(ts[tuple(ts.get_index()[i])], window)
    for received, window in zip(ts, wanted, strict=True):
        np.testing.assert_array_equal(received, window)
    stacked = np.array(wanted).reshape(len(wanted), step_len, df.shape[1])
    np.testing.assert_array_equal(ts[:], stacked)
    np.testing.assert_array_equal(ts[1:-1], stacked[1:-1])
    np.testing.assert_array_equal(ts[::-2], stacked[::-2])
    order = random.sample(range(len(ts)), len(ts))
    np.testing.assert_array_equal(ts[order], stacked[order])
    np.testing.assert_array_equal(ts[np.array(order, np.int32)], stacked[order])
    np.testing.assert_array_equal(ts[np.arange(len(ts)) % 2 == 0], stacked[::2])
    np.testing.assert_array_equal(ts.__getitems__(order), stacked[order])
    back = pickle.loads(pickle.dumps(ts))
    np.testing.assert_array_equal(back[:], stacked)


@settings(deadline=None, max_examples=cases(25, 300))
@given(PRESENT, st.integers(1, 5), st.sampled_from(FILLS), st.integers(0, 11), st.sampled_from(NAMES))
def test_a_label_may_be_any_date_of_any_instrument(present, step_len, fill, date, name):
    df = frame(present)
    ts = TSDataSampler(df, None, None, step_len, fillna_type=fill)
    if name not in df.index.get_level_values(1) or DATES[date] < df.index[0][0]:
        with pytest.raises(MissingDataError):
            ts[(DATES[date], name)]
        return
    np.testing.assert_array_equal(ts[(DATES[date], name)], naive(df, DATES[date], name, step_len, fill))
    np.testing.assert_array_equal(ts[(str(DATES[date])[:10], name)], ts[(DATES[date], name)])


@settings(deadline=None, max_examples=cases(15, 200))
@given(PRESENT, st.integers(0, 11), st.sampled_from([np.nan, 1e9]))
def test_no_window_knows_what_comes_after_it(present, cut, poison):
    clean = frame(present)
    spoiled = clean.copy()
    spoiled.loc[spoiled.index.get_level_values(0) > DATES[cut]] = poison
    for fill in FILLS:
        before, after = (TSDataSampler(df, None, DATES[cut], 4, fillna_type=fill) for df in (clean, spoiled))
        assert len(before) == len(after)
        for one, other in zip(before, after, strict=True):
            np.testing.assert_array_equal(one, other)


def test_one_window_and_neighbours_are_views_that_cannot_be_written_to():
    ts = TSDataSampler(frame(), DATES[4], None, 4)
    for shared in (ts[3], ts[2:6], next(iter(ts))):
        assert np.shares_memory(shared, ts.data_arr)
        with pytest.raises(ValueError, match="read-only"):
            shared[0] = 1.0
    own = ts[[0, 1]]
    own[:] = 0.0  # a batch is the caller's
    np.testing.assert_array_equal(
        ts[[0, 1]], [naive(frame(), date, name, 4, "none") for date, name in ts.get_index()[:2]]
    )


def test_under_compat_every_window_may_be_written_to(monkeypatch):
    as_qlib = samplers.active_settings().replace(compat="qlib")
    monkeypatch.setattr(samplers, "active_settings", lambda: as_qlib)
    ts = TSDataSampler(frame(), DATES[4], None, 4)
    before = ts[:].copy()
    for window in (ts[3], ts[2:6], ts[[1]]):
        window[:] = 0.0
    np.testing.assert_array_equal(ts[:], before)


def test_the_tables_that_qlibs_users_read():
    df = frame(np.arange(48) % 5 > 0)
    ts = TSDataSampler(df, None, None, 3)
    assert len(ts.data_arr) == len(df) + 1
    assert np.isnan(ts.data_arr[ts.nan_idx]).all()
    for (date, name), row in ts.idx_df.stack().dropna().items():
        np.testing.assert_array_equal(ts.data_arr[int(row)], df.loc[(date, name)])
    assert ts.idx_df.notna().to_numpy().sum() == len(df)
    assert ts.idx_arr.shape == (12, 4)
    for i, (date, name) in enumerate(ts.idx_map):
        assert (ts.idx_df.index[date], ts.idx_df.columns[name]) == ts.get_index()[i]


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("kinds", [["f4"] * 40, ["f8"] * 3, ["f4", "f8", "i8", "bool"], ["i4", "i4"]])
def test_every_column_of_every_kind_is_moved_to_its_place(kinds, order):
    index = frame().index[np.random.default_rng(0).permutation(48)]
    df = pd.DataFrame(np.asarray(np.arange(48 * len(kinds)).reshape(48, -1), order=order), index=index)
    df = df.astype(dict(enumerate(kinds)))
    ts = TSDataSampler(df, None, None, 1)
    kind = np.float32 if set(kinds) == {"f4"} else np.float64
    assert ts.data_arr.dtype == kind
    np.testing.assert_array_equal(ts[:][:, 0], df.loc[ts.get_index()].to_numpy(dtype=kind))


def test_an_empty_frame_has_no_samples():
    ts = TSDataSampler(frame().iloc[:0], None, None, 3)
    assert ts.empty
    assert list(ts) == []
    assert ts[:].shape == ts[[]].shape == (0, 3, 3)


@pytest.mark.parametrize("asked", [[0.5, 1.0], ["A"], [[0, 1], [2, 3]], [True, False]])
def test_samples_are_asked_for_by_whole_numbers_or_by_one_bool_each(asked):
    ts = TSDataSampler(frame(), None, None, 2)
    with pytest.raises(InputError, match=r"samples: received .* allowed are whole numbers in a row, or a bool"):
        ts[asked]


@pytest.mark.parametrize("asked", [[0, 48], [-49], np.array([48], np.uint8)])
def test_a_sample_that_is_not_there_is_named(asked):
    ts = TSDataSampler(frame(), None, None, 2)
    with pytest.raises(KeyError, match=rf"sample {asked[-1]} is asked for; there are 48"):
        ts[asked]


def test_a_window_with_missing_dates_cannot_be_written_to_either():
    ts = TSDataSampler(frame(np.arange(48) % 5 > 0), None, None, 3)
    for i in range(len(ts)):
        with pytest.raises(ValueError, match="read-only"):
            ts[i][0] = 1.0


def test_rows_that_are_there_twice_or_nowhere_are_refused():
    twice = pd.concat([frame(), frame().iloc[[5]]])
    with pytest.raises(InputError, match="B has two rows dated 2020-01-02"):
        TSDataSampler(twice, None, None, 2)
    nowhere = frame()
    nowhere.index = nowhere.index.set_codes([-1, *nowhere.index.codes[1][1:]], level=1)
    with pytest.raises(InputError, match="no date or no instrument"):
        TSDataSampler(nowhere, None, None, 2)


def test_a_dataset_hands_the_type_and_the_filling_to_its_samplers():
    df = frame(np.arange(48) % 7 > 0).set_axis(pd.MultiIndex.from_product([["feature"], ["A", "B", "C"]]), axis=1)
    handler = DataHandlerLP(data_loader=StaticDataLoader(df))
    dataset = TSDatasetH(handler=handler, segments={"test": ("2020-01-06", "2020-01-09")}, step_len=4)
    ts = dataset.prepare("test", dtype=np.float64, fillna_type="ffill+bfill")
    assert (ts.data_arr.dtype, ts.fillna_type) == (np.float64, "ffill+bfill")
    for i, (date, name) in enumerate(ts.get_index()):
        known = df[df.index.get_level_values(0) >= "2020-01-02"]  # step_len dates before the segment
        np.testing.assert_array_equal(ts[i], naive(known, date, name, 4, "ffill+bfill"))
    ts.config(step_len=2, fillna_type="none")
    np.testing.assert_array_equal(ts[0], naive(df, *ts.get_index()[0], 2, "none"))
