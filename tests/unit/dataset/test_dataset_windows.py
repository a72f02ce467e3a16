"""The compiled gathering of windows against one row after the other, for every size of a row, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from proof import cases

from qlib.data.dataset.kernels import Windows


def market(rng, instruments, dates, share):
    """Return (date, instrument) of the rows there are: of every instrument some dates, in their order."""
    there = rng.random((instruments, dates)) < share
    there[rng.integers(instruments), rng.integers(dates)] = True
    instrument, date = np.nonzero(there)
    return date.astype(np.int32), instrument.astype(np.int32)


def place_of(date, instrument, row, steps):
    """Return the first row of the window that ends at `row`, or -1 - row where a date of it is missing."""
    first = row - steps + 1
    whole = first >= 0 and instrument[first] == instrument[row] and date[row] - date[first] == steps - 1
    return first if whole else -1 - row


def naive(data, date, instrument, row, steps, back, fill):
    of_date = {int(d): data[r] for r, (d, i) in enumerate(zip(date, instrument, strict=True)) if i == instrument[row]}
    end = int(date[row]) + back
    shown = [of_date.get(d) for d in range(end - steps + 1, end + 1)]
    if fill:
        for k in range(1, steps):
            shown[k] = shown[k - 1] if shown[k] is None else shown[k]
    if fill == 2:
        first = next((one for one in shown if one is not None), None)
        shown = [first if one is None else one for one in shown]
    return [data[-1] if one is None else one for one in shown]


@settings(deadline=None, max_examples=cases(60, 1500))
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([1, 3, 63, 64, 65, 127, 128, 632, 5000]),
    st.integers(1, 40),
    st.sampled_from([0.3, 0.9, 0.99, 1.0]),
    st.integers(0, 2),
)
def test_windows_are_what_reading_one_row_after_the_other_gives(seed, width, steps, share, fill):
    rng = np.random.default_rng(seed)
    date, instrument = market(rng, 4, 30, share)
    data = rng.integers(0, 256, (len(date) + 1, width), dtype=np.uint8)
    windows = Windows(data, date, instrument, steps)
    rows = rng.integers(0, len(date), rng.integers(0, 40))
    places = np.array([place_of(date, instrument, row, steps) for row in rows], np.int64)
    out = np.zeros((len(rows), steps, width), np.uint8)
    windows.gather(places, 0, fill, out)
    one = np.zeros((steps, width), np.uint8)
    for row, place, received in zip(rows, places, out, strict=True):
        wanted = naive(data, date, instrument, row, steps, 0, fill)
        np.testing.assert_array_equal(received, wanted)
        windows.one(place, fill, one)
        np.testing.assert_array_equal(one, wanted)
    for back in (-3, 1, 45):  # dates on which the instrument has no row, or none yet
        row = int(np.flatnonzero(instrument == instrument[-1])[0 if back < 0 else -1])
        windows.gather(np.array([-1 - row]), back, fill, one)
        np.testing.assert_array_equal(one, naive(data, date, instrument, row, steps, back, fill))


def test_windows_too_large_to_be_asked_for_ahead_are_gathered_too():
    date, instrument = np.arange(6, dtype=np.int32), np.zeros(6, np.int32)
    data = np.random.default_rng(0).random((7, 40_000))
    out = np.empty((3, 2, 40_000))
    Windows(data.view(np.uint8), date, instrument, 2).gather(np.array([4, 0, -1]), 0, 0, out)
    np.testing.assert_array_equal(out, [data[4:6], data[0:2], [data[-1], data[0]]])


@pytest.mark.parametrize("place", [-7, 4, 2**62, -(2**62)])
def test_a_window_that_is_not_within_the_rows_is_refused(place):
    date, instrument = np.arange(6, dtype=np.int32), np.zeros(6, np.int32)
    windows = Windows(np.zeros((7, 8), np.uint8), date, instrument, 3)
    out = np.ones((2, 3, 8), np.uint8)
    with pytest.raises(IndexError, match=f"place {place} is asked for; there are 6 rows"):
        windows.gather(np.array([0, place]), 0, 0, out)
    assert out.all()  # nothing is written


def test_memory_of_another_size_or_order_is_refused():
    date, instrument = np.arange(6, dtype=np.int32), np.zeros(6, np.int32)
    windows = Windows(np.zeros((7, 8), np.uint8), date, instrument, 3)
    with pytest.raises(ValueError, match="do not fill"):
        windows.gather(np.array([0]), 0, 0, np.empty((3, 7), np.uint8))
    with pytest.raises(ValueError, match="contiguous"):
        windows.gather(np.array([0]), 0, 0, np.empty((8, 3), np.uint8).T)
    kept = np.empty((3, 8), np.uint8)
    kept.setflags(write=False)
    with pytest.raises((ValueError, BufferError), match="read-only|writ"):
        windows.one(0, 0, kept)
    with pytest.raises(ValueError, match="fill 3"):
        windows.one(0, 3, np.empty((3, 8), np.uint8))
    with pytest.raises(ValueError, match="one row more"):
        Windows(np.zeros((6, 8), np.uint8), date, instrument, 3)
