"""Frames as Parquet: what comes back is what was written, and others can read it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal, assert_series_equal

from qlib.errors import ConfigError, StoreError
from qlib.utils.parquet_frames import read_parquet, write_parquet

PAIRS = pd.MultiIndex.from_product([pd.date_range("2020", periods=3), ["b", "a"]], names=["datetime", "instrument"])


def there_and_back(table, folder):
    write_parquet(folder / "x.parquet", table)
    return read_parquet(folder / "x.parquet")


def same(left, right):
    """Equal with names, types, spacing of dates and attrs; text types as pandas 2 and 3 have them."""
    if isinstance(left, pd.Series):
        assert_series_equal(left, right, check_exact=True, check_freq=True, check_index_type=True)
    else:
        assert_frame_equal(left, right, check_exact=True, check_freq=True, check_column_type=True)
    assert left.attrs == right.attrs
    assert left.index.names == right.index.names
    assert type(left.index) is type(right.index)
    assert getattr(left.index, "freq", None) == getattr(right.index, "freq", None)
    if isinstance(left.index, pd.MultiIndex):
        assert [level.dtype for level in left.index.levels] == [level.dtype for level in right.index.levels]


TABLES = {
    "a prediction": pd.DataFrame({"score": np.arange(6.0)}, index=PAIRS),
    "a series": pd.Series(np.arange(6.0), index=PAIRS, name="score"),
    "a series without a name": pd.Series([1, 2, 3]),
    "holes": pd.Series([np.nan, -0.0, np.inf, -np.inf], name=("a", 1)),
    "spaced days": pd.Series(np.arange(3.0), pd.date_range("2024", periods=3, freq="D", name="day")),
    "spaced hours": pd.DataFrame({"x": range(3)}, pd.date_range("2024", periods=3, freq="2h")),
    "units": pd.DataFrame({u: np.array([0, 1, None], f"M8[{u}]") for u in ("s", "ms", "us", "ns")}),
    "durations": pd.DataFrame({u: np.array([0, -1], f"m8[{u}]") for u in ("s", "ms", "us", "ns")}),
    "dates in seconds": pd.Series([1, 2], index=np.array(["2020-01-01", "2020-01-02"], "M8[s]")),
    "numbers": pd.DataFrame({t: np.array([0, 1, 2], t) for t in ("?", "i1", "i2", "i4", "i8", "u8", "f2", "f4", "f8")}),
    "nothing": pd.DataFrame(),
    "no rows": pd.DataFrame(
        {"score": np.empty(0)},
        index=pd.MultiIndex.from_arrays([pd.DatetimeIndex([]), PAIRS.levels[1][:0]], names=PAIRS.names),
    ),
    "no columns": pd.DataFrame(index=PAIRS),
    "labels of all kinds": pd.DataFrame([[1, 2.0, "x"]], columns=pd.Index([0, "a", None], dtype=object)),
    "numbered columns": pd.DataFrame(np.eye(3)),
    "columns twice": pd.DataFrame(np.eye(2), columns=["a", "a"]),
    "columns of two levels": pd.DataFrame(
        np.eye(3), columns=pd.MultiIndex.from_tuples([("feature", "x"), ("feature", "y"), ("label", "0")])
    ),
    "dated columns": pd.DataFrame(np.eye(2), columns=pd.DatetimeIndex(["2020-01-01", "2021-01-01"])),
    "texts": pd.DataFrame({"t": ["a", "", "ü\n"], "n": [1, 2, 3]}),
    "objects": pd.DataFrame({"t": pd.Series(["a", None, "b"], dtype=object)}),
    "texts with holes": pd.DataFrame({"t": pd.array(["a", None, "b"], dtype="string")}),
    "unordered rows": pd.DataFrame({"score": np.arange(6.0)}, index=PAIRS[[5, 0, 3, 1, 4, 2]]),
    "rows twice": pd.DataFrame({"score": np.arange(4.0)}, index=PAIRS[[0, 0, 1, 1]]),
    "rows without a date": pd.DataFrame(
        {"x": [1, 2]}, index=pd.MultiIndex.from_arrays([pd.to_datetime(["2020", None]), ["a", "b"]])
    ),
    "a range that starts late": pd.DataFrame({"x": [1, 2]}, index=pd.RangeIndex(5, 9, 2, name="row")),
    "an index called as a column": pd.DataFrame({"x": [1, 2]}, index=pd.Index([3, 4], name="x")),
    "an index of texts": pd.DataFrame({"risk": [0.1, 0.2]}, index=pd.Index(["mean", "std"])),
}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_comes_back_as_it_was(name, tmp_path):
    same(there_and_back(TABLES[name], tmp_path), TABLES[name])


def test_attrs_and_the_order_of_the_rows_come_back(tmp_path):
    table = TABLES["a prediction"].sort_index()
    table.attrs = {"benchmark": None, "steps": (1, 2)}
    assert there_and_back(table, tmp_path).attrs == table.attrs
    assert there_and_back(table, tmp_path).index.is_monotonic_increasing


@pytest.mark.parametrize("name", ["a prediction", "spaced days", "texts", "an index of texts", "columns of two levels"])
def test_pandas_alone_reads_the_same_numbers(name, tmp_path):
    table = TABLES[name]
    write_parquet(tmp_path / "x.parquet", table)
    read = pd.read_parquet(tmp_path / "x.parquet")
    frame = table.to_frame() if isinstance(table, pd.Series) else table
    assert read.index.equals(frame.index)
    assert read.to_numpy().tolist() == frame.to_numpy().tolist()


def test_columns_have_the_names_that_one_expects(tmp_path):
    write_parquet(tmp_path / "x.parquet", TABLES["a prediction"])
    assert pq.read_schema(tmp_path / "x.parquet").names == ["datetime", "instrument", "score"]
    write_parquet(tmp_path / "x.parquet", TABLES["columns of two levels"])
    assert pq.read_schema(tmp_path / "x.parquet").names == ["feature.x", "feature.y", "label.0"]


def test_a_file_of_somebody_else_is_read_as_pandas_reads_it(tmp_path):
    frame = pd.DataFrame({"x": pd.Categorical(["a", "b"])})
    frame.to_parquet(tmp_path / "x.parquet")
    assert_frame_equal(read_parquet(tmp_path / "x.parquet"), frame)


class Table(pd.DataFrame):
    pass


@pytest.mark.parametrize(
    "table",
    [
        pd.DataFrame({"x": [{}, []]}),
        pd.DataFrame({"x": pd.Series(["a", np.nan, None], dtype=object)}),
        pd.DataFrame({"x": pd.Categorical(["a", "b"])}),
        pd.DataFrame({"x": [1j]}),
        pd.DataFrame({"x": pd.Series(["\ud800"], dtype=object)}),
        pd.Series([1], index=pd.DatetimeIndex(["2020"], tz="UTC")),
        pd.Series([1], index=pd.Index([(1, 2)], tupleize_cols=False)),
        pd.DataFrame([[1]], columns=pd.Index([(1, 2)], tupleize_cols=False)),
        pd.Series([1], index=pd.PeriodIndex(["2020"], freq="Y")),
        Table({"x": [1]}),
    ],
)
def test_what_would_not_come_back_is_refused_before_there_is_a_file(table, tmp_path):
    with pytest.raises(ConfigError):
        write_parquet(tmp_path / "x.parquet", table)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_file_is_named(tmp_path):
    write_parquet(tmp_path / "x.parquet", TABLES["a prediction"])
    whole = (tmp_path / "x.parquet").read_bytes()
    for damaged in (b"", b"PAR1", whole[: len(whole) // 2], whole[:-8]):
        (tmp_path / "x.parquet").write_bytes(damaged)
        with pytest.raises(StoreError, match=r"x\.parquet is damaged"):
            read_parquet(tmp_path / "x.parquet")


def test_the_same_table_gives_the_same_bytes(tmp_path):
    for name in ("x", "y"):
        write_parquet(tmp_path / name, TABLES["a prediction"])
    assert (tmp_path / "x").read_bytes() == (tmp_path / "y").read_bytes()


dates = st.datetimes(min_value=pd.Timestamp(1970, 1, 1), max_value=pd.Timestamp(2100, 1, 1))
rows = st.lists(st.tuples(dates, st.text(max_size=3), st.floats(), st.integers(-(2**63), 2**63 - 1)), max_size=20)


@settings(max_examples=40)
@given(rows)
def test_any_rows_come_back(tmp_path_factory, found):
    times, names, floats, wholes = [list(column) for column in zip(*found, strict=True)] or [[], [], [], []]
    index = pd.MultiIndex.from_arrays([pd.DatetimeIndex(times), pd.Index(names, dtype=object)], names=["t", None])
    frame = pd.DataFrame({"f": np.array(floats, "f8"), 1: np.array(wholes, "i8")}, index=index)
    same(there_and_back(frame, tmp_path_factory.mktemp("any")), frame)
