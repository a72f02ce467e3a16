"""Sources of dump_bin: every kind of file gives the same bars, and what is wrong with one is said in one sentence."""

from __future__ import annotations

import csv
import gzip
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from qlib.collect.native.lines import MARGIN, NAME, NUMBER, TIME, count_rows, order_of, read_lines

from qlib.collect import sources
from qlib.collect.sources import Reading, parts
from qlib.errors import InputError
from qlib.utils.time import Freq

TEXT = "date,symbol,open,close\n2024-01-02,AAA,1.5,2\n2024-01-03,AAA,,-3e-2\n"


def read(data, freq="day", **options):
    return [bars for part in parts(data, Reading(Freq(freq), **options)) for bars in part()]


def one(tmp_path, text: str, name="AAA.csv", **options):
    path = tmp_path / "csv" / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    (bars,) = read(path.parent, **options)
    return bars


def same(bars, fields=("open", "close"), values=((1.5, math.nan), (2, -0.03)), name="AAA"):
    assert bars.instrument == name and bars.fields == fields
    assert bars.times.astype(str).tolist() == ["2024-01-02T00:00:00", "2024-01-03T00:00:00"]
    np.testing.assert_array_equal(bars.values, np.float32(values))


# ---------------------------------------------------------------------- kinds of sources
@pytest.mark.parametrize(
    "text",
    [
        TEXT,
        TEXT.rstrip("\n"),
        TEXT.replace("\n", "\r\n"),
        "\ufeff" + TEXT,
        "\n" + TEXT.replace("\n", "\n\n"),
        TEXT.replace("AAA", '"AAA"'),
        TEXT.replace(",,", ",NA,"),
        TEXT.replace(",,", ",nan,"),
        TEXT.replace("2024-01-0", "2024010"),
        TEXT.replace("2024-01-0", "2024/1/"),
        TEXT.replace("2024-01-0", "2024.01.0"),
        TEXT.replace("-02,", "-02 00:00:00,").replace("-03,", "-03T00:00,"),
        TEXT.replace("-02,", "-02T00:00:00Z,").replace("-03,", "-03T00:00:00+00:00,"),
        "date,symbol,open,close\n2024-01-03,AAA,,-3e-2\n2024-01-02,AAA,1.5,2\n",
    ],
)
def test_every_usual_way_to_write_a_csv_file_gives_the_same_bars(tmp_path, text):
    same(one(tmp_path, text))


def test_zipped_files_parquet_and_frames_give_the_same_bars(tmp_path):
    same(one(tmp_path, TEXT, "AAA.csv.gz", file_suffix=".csv.gz"))
    frame = pd.DataFrame({"open": [1.5, None], "close": [2, -0.03]}, index=pd.to_datetime(["2024-01-02", "2024-01-03"]))
    (tmp_path / "p").mkdir()
    for kind in (frame.rename_axis("date").reset_index(), frame.rename_axis("date"), frame, frame.tz_localize("UTC")):
        kind.to_parquet(tmp_path / "p" / "aaa.parquet")
        same(*read(tmp_path / "p", file_suffix=".parquet"))
        same(*read({"aaa": kind}))
    several = pd.concat({"aaa": frame, "bbb": frame}, names=["instrument", "datetime"])
    for data in (several, several.swaplevel(), several.reset_index(names=["symbol", "date"]).sort_values("date")):
        first, second = read(data)
        same(first)
        same(second, name="BBB")


def test_a_single_file_holds_one_symbol_or_many(tmp_path):
    path = tmp_path / "all.csv"
    path.write_text(TEXT)
    same(*read(path))
    path.write_text(TEXT + TEXT.split("\n", 1)[1].replace("AAA", "NA"))
    first, second = read(path)
    same(first)
    same(second, name="NA")
    path.write_text("date,close\n2024-01-02,1\n")
    assert read(path)[0].instrument == "ALL"
    assert [bars.instrument for bars in read(path, limit_nums=1)] == ["ALL"]


def test_the_first_sources_by_name_are_read(tmp_path):
    for name in "cab":
        (tmp_path / f"{name}.csv").write_text("date,c\n2024-01-02,1\n")
    assert [bars.instrument for bars in read(tmp_path, limit_nums=2)] == ["A", "B"]


def test_numbers_that_are_true_or_whole_or_decimal_are_numbers(tmp_path):
    bars = one(tmp_path, 'date,a,b,c,d\n2024-01-02,True,7,,"1.25"\n2024-01-03,False,8,,2\n')
    np.testing.assert_array_equal(bars.values, np.float32([[1, 0], [7, 8], [math.nan] * 2, [1.25, 2]]))


def test_times_of_day_are_kept_to_the_second(tmp_path):
    text = "date,c\n2024-01-02 09:30:00,1\n2024-01-02 09:31:30,2\n"
    assert one(tmp_path, text, freq="1min").times.astype(str).tolist() == ["2024-01-02T09:30:00", "2024-01-02T09:31:30"]


# ---------------------------------------------------------------------- what is refused
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "AAA.csv: is empty; a line with the names of the columns is needed"),
        ("date,c\n", "AAA.csv: has no rows"),
        ("time,c\n1,2\n", r"has no date column 'date'; its columns are 'time', 'c' \(--date_field_name"),
        ("dates,c\n1,2\n", "did you mean dates"),
        ("date,c,c\n1,2,3\n", "column 'c' occurs more than once"),
        ("date,c,C\n2024-01-02,2,3\n", "column c occurs more than once .case does not count"),
        ("date\n2024-01-02\n", "no column is a field"),
        ("date,$c\n2024-01-02,2\n", r"column '\$c' cannot be a field; letters, digits and _"),
        ("date,c\n2024-01-02,x\n", "AAA.csv: column 'c' holds 'x', which is no number; leave the column out"),
        ("date,c\n2024-01-02,2024-05-05\n", "column 'c' holds .*, which is no number"),
        ("date,c\n2024-01-02,1e39\n", r"column 'c' holds 1e\+39, too large for float32"),
        ("date,c\n2024-01-02,1,2\n", "is no CSV file: .*Expected 2 columns, got 3"),
        ("date,c\n2024-01-02,1\n2024-01-02,2\n", "the date 2024-01-02 00:00:00 occurs more than once"),
        ("date,c\n1/2/2024,1\n", "row 1 has the date '1/2/2024'; write dates with the year first"),
        ("date,c\n2024-01-02,1\n2024-02-30,1\n", "row 2 has the date '2024-02-30', which does not exist"),
        ("date,c\n2024-01-02,1\n,1\n", "row 2 has the date ''"),
        ("date,c\n2024-01-02,1\n9999-12-31,1\n", "AAA.csv: .*the date 9999-12-31 is out of range; years"),
        ("date,c\n1600-01-02 00:00,1\n2024-01-02 00:00,1\n", "1600-01-02"),
        ("date,c\n2024-01-02,1\n0000-01-01,1\n", "0000-01-01"),
        ("date,c\n1704153600000,1\n", "row 1 has the date 1704153600000; a number means YYYYMMDD"),
        ("date,c\n2024-01-02 05:00:00,1\n", "2024-01-02T05:00:00 cannot be stored at freq day"),
        (
            "date,c\n2024-01-02 05:00:00Z,1\n2024-01-03 05:00:00,1\n",
            "row 2: mixed time zones: 2024-01-02 05:00:00Z and",
        ),
        ("date,c\n2024-01-02 05:00+08:00,1\n2024-01-03 05:00+09:00,1\n", "mixed time zones"),
        ("date,c\n2024-01-02 05:00:00+08:00,1\n", r"the times carry the zone \+08:00; a store keeps one clock"),
        ("date,symbol,c\n2024-01-02,A,1\n2024-01-03,B,1\n", "two symbols in one file, A and B; one file an instrument"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_in_one_sentence(tmp_path, text, said):
    with pytest.raises(InputError, match=said) as error:
        one(tmp_path, text)
    assert "\n" not in str(error.value)
    assert str(tmp_path) in str(error.value)


def test_other_sources_that_cannot_be_read(tmp_path):
    (tmp_path / "csv").mkdir()
    with pytest.raises(InputError, match=r"holds no file \*.csv; there are no files"):
        read(tmp_path / "csv")
    (tmp_path / "csv" / "a.csv.gz").write_bytes(b"\x1f\x8bnonsense")
    with pytest.raises(InputError, match=r"holds no file \*.csv; there are \*.csv.gz \(--file_suffix"):
        read(tmp_path / "csv")
    with pytest.raises(InputError, match=r"a.csv.gz: cannot be read"):
        read(tmp_path / "csv", file_suffix=".csv.gz")
    (tmp_path / "csv" / "a.parquet").write_bytes(b"nonsense")
    with pytest.raises(InputError, match=r"a.parquet: is no Parquet file"):
        read(tmp_path / "csv", file_suffix=".parquet")
    (tmp_path / "csv" / "a.xls").write_bytes(b"nonsense")
    with pytest.raises(InputError, match=r"a.xls: cannot be read; files end with .csv, .csv.gz, .parquet"):
        read(tmp_path / "csv", file_suffix=".xls")
    with pytest.raises(InputError, match="nowhere does not exist"):
        read(tmp_path / "nowhere")
    with pytest.raises(InputError, match="received no frames"):
        read({})
    (tmp_path / "csv" / "b.csv").write_bytes(b"date,caf\xe9\n2024-01-02,1\n")
    with pytest.raises(InputError, match=r"b.csv: is not UTF-8 text"):
        read(tmp_path / "csv")
    day = pd.to_datetime(["2024-01-02"])
    with pytest.raises(InputError, match="carry the zone Asia/Shanghai"):
        read({"A": pd.DataFrame({"c": [1.0]}, index=day.tz_localize("Asia/Shanghai"))})
    with pytest.raises(InputError, match="is no whole second"):
        read({"A": pd.DataFrame({"c": [1.0]}, index=day + pd.Timedelta("1ms"))})
    with pytest.raises(InputError, match="frame: has no symbol column 'symbol'; its columns are date, c"):
        read(pd.DataFrame({"date": day, "c": [1.0]}))
    with pytest.raises(InputError, match="frame: row 2 has no symbol"):
        read(pd.DataFrame({"date": [*day, *day], "symbol": ["A", None], "c": [1.0, 2.0]}))
    with pytest.raises(InputError, match="frame of A: row 1 has no date"):
        read({"A": pd.DataFrame({"date": [pd.NaT], "c": [1.0]})})
    with pytest.raises(InputError, match="a tab or a line break"):
        read({"A\tB": pd.DataFrame({"c": [1.0]}, index=day)})


# ---------------------------------------------------------------------- the compiled reader
def lines(text: str, kinds: bytes):
    content = np.zeros(len(text.encode()) + 2 * MARGIN, np.uint8)
    content[MARGIN:-MARGIN] = np.frombuffer(text.encode(), np.uint8)
    span = MARGIN, len(content) - MARGIN
    room = count_rows(content, *span)
    times, values = np.empty(room, np.int64), np.empty((kinds.count(NUMBER), room), np.float32)
    read = read_lines(content, *span, kinds, times, values)
    plain_times, plain_values = np.empty(room, np.int64), np.empty_like(values)
    plain = read_lines(content, *span, kinds, plain_times, plain_values, baseline=True)
    assert read == plain, "every machine reads the same"
    if read is None:
        return None
    rows, name = read
    np.testing.assert_array_equal(times[:rows], plain_times[:rows])
    np.testing.assert_array_equal(values[:, :rows].view(np.uint32), plain_values[:, :rows].view(np.uint32))
    return times[:rows], values[:, :rows], name


@given(
    st.floats(width=64, allow_infinity=False),
    st.sampled_from(["{!r}", "{:.17g}", "{:e}", "{:.3f}", "{:.12f}", "{:.0f}"]),
)
@example(1.7976931348623157e308, "{!r}")
@example(5e-324, "{!r}")
@example(16777217.0, "{!r}")
@example(0.1, "{:.25f}")
@example(-0.0, "{!r}")
@example(1e22, "{:.0f}")
def test_a_number_is_the_nearest_float64_rounded_to_float32_or_is_left_to_others(number, form):
    text = form.format(number)
    found = lines(f"2024-01-01,{text}\n", bytes([TIME, NUMBER]))
    with np.errstate(over="ignore", under="ignore"):
        wanted = np.float64(text).astype(np.float32)
    if found is not None:
        np.testing.assert_array_equal(found[1][0, 0], wanted)
        assert np.signbit(found[1][0, 0]) == np.signbit(wanted) or np.isnan(wanted)
    else:
        assert np.isinf(wanted) or abs(np.float64(text)) < 1e-290, "left to others without need"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1), ("1.", 1), (".5", 0.5), ("-.5", -0.5), ("12345678", 12345678), ("123456789", 123456789),
        ("1e5", 1e5), ("1E+05", 1e5), ("1.5e-05", 1.5e-5), ("-1.5e+06", -1.5e6),
        ("1234567.12345678901", 1234567.123456789),
        ("0.00000000000000000000000000000000000001", 1e-38), ("007", 7), ("", math.nan), ("nan", math.nan),
    ],
)  # fmt: skip
def test_numbers_as_people_write_them(text, value):
    found = lines(f"2024-01-01,{text},1\n", bytes([TIME, NUMBER, NUMBER]))
    np.testing.assert_array_equal(found[1][:, 0], np.float32([value, 1]))


@pytest.mark.parametrize(
    "cell",
    [
        "+1",
        "1,5",
        "1.2.3",
        "1e",
        "e5",
        "-",
        ".",
        "1e+",
        "--1",
        "1 ",
        " 1",
        "0x10",
        "1_000",
        "inf",
        "1d",
        "12:30",
        '"1"',
    ],
)
def test_what_is_no_plain_number_is_left_to_others(cell):
    assert lines(f"2024-01-01,{cell}\n", bytes([TIME, NUMBER])) is None


@pytest.mark.parametrize(
    "date",
    ["2024-1-1", "2024-13-01", "2024-00-01", "2023-02-29", "1900-02-29", "2024-04-31", "1677-01-01",
     "2024-01-01 24:00:00", "2024-01-01 09:30", "2024-01-01 09:60:00",
     "2024-01-01T09:30:00Z", "2024/01/01", "20240101", "", "x024-01-01"],
)  # fmt: skip
def test_what_is_no_plain_date_is_left_to_others(date):
    assert lines(f"{date},1\n", bytes([TIME, NUMBER])) is None


@given(
    st.lists(
        st.datetimes(min_value=pd.Timestamp("1678-01-01"), max_value=pd.Timestamp("2261-12-31")),
        min_size=1,
        max_size=30,
    )
)
@example([pd.Timestamp("2000-02-29")])
def test_times_are_those_of_numpy(times):
    texts = [time.strftime("%Y-%m-%d %H:%M:%S").zfill(19) for time in times]
    found = lines("".join(f"{text},1\n" for text in texts), bytes([TIME, NUMBER]))
    np.testing.assert_array_equal(found[0], np.array(texts, "M8[s]").astype(np.int64))


@given(st.floats(width=32, allow_nan=False, allow_infinity=False), st.integers(-3, 3), st.sampled_from("efg"))
def test_a_number_between_two_float32_is_rounded_as_its_float64_is(number, steps, form):
    step = np.nextafter(np.float32(number), np.float32(np.inf)).astype(float) - float(number)
    halfway = float(number) + step / 2 + steps * float(np.spacing(number))
    text = f"{halfway:.15{form}}"
    if math.isfinite(halfway) and (found := lines(f"2024-01-01,{text}\n", bytes([TIME, NUMBER]))) is not None:
        np.testing.assert_array_equal(found[1][0, 0], np.float64(text).astype(np.float32))


def test_lines_of_any_number_across_stretches_of_the_text():
    rows = 5000
    text = "".join(f"2024-01-01,{'N' * (i % 7)}X,{i},{i / 8}\n" for i in range(rows))
    kinds = bytes([TIME, 0, NUMBER, NUMBER])
    times, values, name = lines(text, kinds)
    np.testing.assert_array_equal(values, np.float32([np.arange(rows), np.arange(rows) / 8]))
    assert len(times) == rows and name is None
    assert lines(text + "2024-01-01,X,1\n", kinds) is None and lines(text + "2024-01-01,X,1,2,3\n", kinds) is None
    assert lines(text + '2024-01-01,"X",1,2\n', kinds) is None


def test_empty_lines_and_lines_of_very_many_columns_are_left_to_others(tmp_path):
    kinds = bytes([TIME, NUMBER])
    assert lines("2024-01-01,1\n\n2024-01-02,2\n", kinds) is None and lines("2024-01-01,1\n\n", kinds) is None
    (tmp_path / "A.csv").write_text("date,c\n2024-01-01,1\n\n2024-01-02,2\n\n")
    (bars,) = read(tmp_path / "A.csv")
    np.testing.assert_array_equal(bars.values, [[1, 2]])
    assert lines("2024-01-01" + ",1" * 5000, bytes([TIME]) + bytes([NUMBER]) * 5000) is None


def test_the_name_must_be_one():
    kinds = bytes([TIME, NAME, NUMBER])
    begin, end = lines("2024-01-01,AB,1\n2024-01-02,AB,1\n", kinds)[2]
    assert (begin, end) == (MARGIN + 11, MARGIN + 13)
    assert lines("2024-01-01,AB,1\n2024-01-02,AC,1\n", kinds) is None
    assert lines("2024-01-01,AB,1\n2024-01-02,A,1\n", kinds) is None


def test_room_is_asked_for():
    content, times, values = np.zeros(200, np.uint8), np.zeros(3, np.int64), np.zeros((1, 3), np.float32)
    with pytest.raises(ValueError, match="do not hold"):
        read_lines(content, 0, 10, bytes([TIME]), times, values)
    with pytest.raises(ValueError, match="are no cells"):
        read_lines(content, 64, 100, bytes([TIME, NUMBER, NUMBER]), times, values)


cells = st.one_of(
    st.floats(width=32, allow_infinity=False).map(repr), st.sampled_from(["", "nan", "1e3", "-2.50", "7"])
)


@given(st.lists(st.tuples(cells, cells), min_size=1, max_size=40), st.booleans())
def test_both_readers_of_csv_give_the_same_bars(tmp_path_factory, rows, carriage):
    path = tmp_path_factory.mktemp("c") / "AAA.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\r\n" if carriage else "\n")
        writer.writerow(["date", "a", "b"])
        for day, row in enumerate(rows):
            writer.writerow([str(np.datetime64("2024-01-01") + day), *row])
    (fast,) = read(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "read_lines", lambda *arguments: None)
        (patient,) = read(path)
    np.testing.assert_array_equal(fast.values, patient.values)
    np.testing.assert_array_equal(fast.times, patient.times)


@given(st.lists(st.one_of(st.integers(-(2**40), 2**40), st.integers(-9, 9).map(lambda day: day * 86400)), max_size=9))
def test_times_are_looked_at_in_one_pass(times):
    rising = sorted(set(times))
    for seconds in (times, rising):
        seen = order_of(np.array(seconds, np.int64))
        assert seen == (seconds == rising, all(second % 86400 == 0 for second in seconds))
