"""The instruments file: what is written is read again, dates short where they can be."""

from __future__ import annotations

import datetime

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlib.data.storage.instruments import instruments_text, read_instruments, write_instruments
from qlib.errors import InputError

SECONDS = st.integers(0, 4_000_000_000).map(lambda s: pd.Timestamp(s, unit="s"))
SPANS = st.lists(st.tuples(SECONDS, SECONDS).map(lambda pair: tuple(sorted(pair))), min_size=1, max_size=3)


@given(st.dictionaries(st.text("ABCn/", min_size=1, max_size=5), SPANS, min_size=1, max_size=5))
def test_what_is_written_is_read_again(tmp_path_factory, spans):
    path = tmp_path_factory.mktemp("i") / "all.txt"
    write_instruments(path, spans)
    assert read_instruments(path) == spans


def test_days_are_written_as_days_unless_one_bound_is_none():
    day, hour = pd.Timestamp("2024-01-02"), pd.Timestamp("2024-01-03 05:00")
    assert instruments_text({"A": [(day, day)]}) == "A\t2024-01-02\t2024-01-02\n"
    assert instruments_text({"A": [(day, hour)]}) == "A\t2024-01-02 00:00:00\t2024-01-03 05:00:00\n"
    assert instruments_text({"A": [(day, day)]}, intraday=True) == "A\t2024-01-02 00:00:00\t2024-01-02 00:00:00\n"
    assert instruments_text({}) == ""


@pytest.mark.parametrize("day", ["20240102", "2024-01-02", datetime.date(2024, 1, 2), np.datetime64("2024-01-02")])
def test_a_bound_may_be_whatever_pandas_reads_as_a_time(day):
    assert instruments_text({"A": [(day, day)]}) == "A\t2024-01-02\t2024-01-02\n"


def test_a_bound_that_is_no_time_names_the_instrument():
    day = pd.Timestamp("2024-01-02")
    with pytest.raises(InputError, match="instrument BB: a bound of its span is no time"):
        instruments_text({"A": [(day, day)], "BB": [(day, day), (day, pd.NaT)]})
