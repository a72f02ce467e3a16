"""The point-in-time files: the bytes, what is read back, and that damage is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlib.data import periods
from qlib.data.storage.pit import NONE, RECORD, pit_path, pit_paths, read_many, read_pit, write_pit
from qlib.errors import InputError, StoreError

ROWS = [
    ("2020-01-08", 201902, 0.5),
    ("2020-01-08", 201903, 1.5),
    ("2020-01-15", 201904, 2.5),
    ("2020-01-20", 201903, 1.7),
]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = pit_path(tmp_path, "SH600000", "ROE_q")
    write_pit(path, ROWS)
    return path


def test_the_bytes_are_qlibs(data):
    """The example of the contract: 2019; Q1 none, Q2 at 0, Q3 at 20, Q4 at 40."""
    assert data.name == "roe_q.data" and data.parent.name == "sh600000" and data.parent.parent.name == "financial"
    assert data.with_suffix(".index").read_bytes().hex(" ", 4) == "e3070000 ffffffff 00000000 14000000 28000000"
    records = np.frombuffer(data.read_bytes(), RECORD)
    assert data.stat().st_size == 80
    assert records["date"].tolist() == [20200108, 20200108, 20200115, 20200120]
    assert records["next"].tolist() == [NONE, 60, NONE, NONE]


def rows_of(files, number: int = 0) -> list[tuple]:
    here = slice(files.start[number], files.start[number + 1])
    records = files.records[here]
    return list(zip(files.days()[here].tolist(), records["period"].tolist(), records["value"].tolist(), strict=True))


def test_what_was_written_is_read(data):
    files = read_pit(data)
    assert files is not None and not files.records.flags.writeable
    assert [(str(day), *rest) for day, *rest in rows_of(files)] == ROWS
    assert files.numbers().tolist() == [8077, 8078, 8079, 8078]


def test_many_files_are_read_as_each_alone(tmp_path):
    """Quarters beside years, a field that is not there, one without records: the order is that of the paths."""
    rows = {
        ("a", "x_q"): [("2020-05-01", 202001, 1.0), ("2020-08-01", 202001, 2.0)],
        ("a", "y_a"): [("2019-05-01", 2018, 3.0)],
        ("b", "x_q"): [],
        ("c", "y_a"): [("2018-05-01", 2017, 4.0), ("2018-06-01", 2016, 5.0), ("2018-07-01", 2017, 6.0)],
    }
    for (instrument, field), own in rows.items():
        write_pit(pit_path(tmp_path, instrument, field), own)
    files = read_many(pit_paths(tmp_path, ["c", "a", "B", "nobody"], ["x_q", "y_a"]))
    assert files.there.tolist() == [False, True, True, True, True, False, False, False]
    found = [[(str(day), *rest) for day, *rest in rows_of(files, i)] for i in range(8)]
    assert found == [[], rows["c", "y_a"], rows["a", "x_q"], rows["a", "y_a"], [], [], [], []]


def test_damage_is_found_in_the_right_file_of_many(tmp_path):
    for name in "abc":
        write_pit(pit_path(tmp_path, name, "x_q"), ROWS)
    paths = pit_paths(tmp_path, "abc", ["x_q"])
    _change(Path(paths[1]), 40, 20200101)
    with pytest.raises(StoreError, match="/b/x_q.data: record 3 has the date 20200101"):
        read_many(paths)
    write_pit(paths[1], ROWS)
    _change(Path(paths[2]).with_suffix(".index"), 12, 60)
    with pytest.raises(StoreError, match="/c/x_q.index: slot 3"):
        read_many(paths)


def test_years_are_counted_by_years(tmp_path):
    path = pit_path(tmp_path, "a", "eps_a")
    write_pit(path, [("2019-04-01", 2018, 1.0), ("2021-04-01", 2020, 2.0)])
    assert np.frombuffer(path.with_suffix(".index").read_bytes(), "<u4").tolist() == [2018, 0, NONE, 20]
    assert read_pit(path).records["period"].tolist() == read_pit(path).numbers().tolist() == [2018, 2020]


def test_a_reserved_name_has_its_folder(tmp_path):
    assert pit_path(tmp_path, "NUL", "x_q").parent.name == "_qlib_nul"


def test_no_file_and_no_record_are_two_things(tmp_path):
    path = tmp_path / "x_q.data"
    assert read_pit(path) is None
    write_pit(path, [])
    assert len(read_pit(path).records) == 0


@given(
    yearly=st.booleans(),
    rows=st.lists(
        st.tuples(
            st.dates(min_value=np.datetime64("1900-01-01").item(), max_value=np.datetime64("2099-12-31").item()),
            st.integers(periods.number(190001, yearly=False), periods.number(209904, yearly=False)),
            st.floats(allow_nan=False),
        ),
        max_size=30,
    ),
)
def test_any_history_comes_back(tmp_path_factory, yearly, rows):
    path = tmp_path_factory.mktemp("pit") / ("x_a.data" if yearly else "x_q.data")
    rows = [
        (day, int(periods.written(np.array([n // 4 if yearly else n]), yearly=yearly)[0]), value)
        for day, n, value in sorted(rows, key=lambda row: row[0])
    ]
    write_pit(path, rows)
    assert rows_of(read_pit(path)) == rows


@pytest.mark.parametrize(
    ("name", "rows", "said"),
    [
        ("roe", [], "ends in _q"),
        ("x_q", [("2020-01-01", 2019, 1.0)], "period 2019, which is no quarter such as 201903"),
        ("x_q", [("2020-01-01", 201905, 1.0)], "period 201905"),
        ("x_a", [("2020-01-01", 201901, 1.0)], "period 201901, which is no year such as 2019"),
        ("x_q", [("2020-01-02", 201903, 1.0), ("2020-01-01", 201904, 1.0)], "record 2 has the date 20200101"),
        ("x_q", [("1899-12-31", 201903, 1.0)], "date 18991231, which is no day"),
    ],
)
def test_what_cannot_be_written_is_refused_and_nothing_is_written(tmp_path, name, rows, said):
    with pytest.raises(InputError, match=said):
        write_pit(tmp_path / f"{name}.data", rows)
    assert list(tmp_path.iterdir()) == []


def _cut(path: Path, by: int) -> None:
    path.write_bytes(path.read_bytes()[:-by])


def _change(path: Path, place: int, number: int) -> None:
    content = bytearray(path.read_bytes())
    content[place : place + 4] = number.to_bytes(4, "little")
    path.write_bytes(bytes(content))


@pytest.mark.parametrize(
    ("damage", "named", "said"),
    [
        (lambda data, index: data.unlink(), "data", "does not exist, but roe_q.index does"),
        (lambda data, index: index.unlink(), "index", "does not exist, but roe_q.data does"),
        (lambda data, index: (data.unlink(), data.mkdir()), "data", "is not a point-in-time file"),
        (lambda data, index: _cut(data, 3), "data", "77 bytes; it holds records of 20 bytes each"),
        (lambda data, index: _cut(index, 1), "index", "19 bytes"),
        (lambda data, index: index.write_bytes(b""), "index", "is empty, but roe_q.data holds records"),
        (lambda data, index: _cut(index, 4), "index", "has 3 periods, but 201904 is none"),
        (lambda data, index: _cut(data, 20), "data", "record 2 says .* is at byte 60, but it is nowhere"),
        (lambda data, index: _change(data, 0, 20200132), "data", "record 1 has the date 20200132"),
        (lambda data, index: _change(data, 0, 20190231), "data", "record 1 has the date 20190231"),
        (lambda data, index: _change(data, 40, 0), "data", "record 3 has the date 0,"),
        (lambda data, index: _change(data, 40, 20200101), "data", "record 3 has the date 20200101, after 20200108"),
        (lambda data, index: _change(data, 4, 201900), "data", "record 1 has the period 201900"),
        (lambda data, index: _change(data, 36, 20), "data", "is at byte 20, but it is at byte 60"),  # for ever
        (lambda data, index: _change(data, 76, 0), "data", "record 4 says"),
        (lambda data, index: _change(index, 4, 0), "index", "slot 1 says .* at byte 0, but it is nowhere"),
        (lambda data, index: _change(index, 12, 60), "index", "slot 3 says .* at byte 60, but it is at byte 20"),
        (lambda data, index: _change(index, 0, 2020), "index", "begins with 2020"),
    ],
)
def test_damage_is_named(data, damage, named, said):
    index = data.with_suffix(".index")
    damage(data, index)
    with pytest.raises(StoreError, match=said) as caught:
        read_pit(data)
    assert str(data if named == "data" else index) in str(caught.value)


def test_periods_count_without_holes():
    quarters = np.array([201801, 201804, 201901])
    counted = periods.numbers(quarters, yearly=False)
    assert np.diff(counted).tolist() == [3, 1]
    assert periods.written(counted, yearly=False).tolist() == quarters.tolist()
    assert [periods.number(int(one), yearly=False) for one in quarters] == counted.tolist()
