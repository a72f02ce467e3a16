"""What cannot be bars is refused when it is brought, by one sentence that says where and why."""

from __future__ import annotations

import pickle
import subprocess
import sys
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import qlib
from qlib.data import D, DuckTable, Frames
from qlib.errors import InputError, MissingDataError, StoreError
from qlib.session import close

DAYS = pd.date_range("2024-01-01", periods=4)


@pytest.fixture(autouse=True)
def _leave():
    yield
    close()


def long(**columns: object) -> pd.DataFrame:
    frame = pd.DataFrame({"instrument": ["A", "A", "B", "B"], "datetime": DAYS[[0, 1, 0, 1]], "close": [1.0, 2, 3, 4]})
    return frame.assign(**columns)


def wide(**columns: object) -> pd.DataFrame:
    return pd.DataFrame({"A": [1.0, 2, 3, 4], "B": [np.nan, 2, 3, 4]}, DAYS).assign(**columns)


REFUSED = {
    "a frame without a frequency": (
        long(),
        {},
        r"data: received DataFrame; frames by frequency .*data=\{'day': frame\}",
    ),
    "no frequency": ({"daily-ish": long()}, {}, r"data: received 'daily-ish' for a frequency"),
    "a frequency twice": ({"day": long(), "1d": long()}, {}, r"received 'day' and '1d', which are one frequency"),
    "a number": (
        {"day": 3},
        {},
        r"data\['day'\]: received 3; a frame of pandas, polars or Arrow, a dict of frames, a path",
    ),
    "no instrument column": (
        {"day": long().rename(columns={"instrument": "symbol"})},
        {},
        r"data\['day'\]: there is no column 'instrument'; it has symbol, datetime, close; say what it is called",
    ),
    "a misspelled column": ({"day": long()}, {"time": "datetim"}, r"no column 'datetim'; .*did you mean datetime"),
    "a missing field": ({"day": long()}, {"fields": ["clos"]}, r"no column 'clos'; .*did you mean close"),
    "fields as text": ({"day": long()}, {"fields": "close"}, r"fields: received the text 'close'; .*\['close'\]"),
    "a bar twice": (
        {"day": long(datetime=DAYS[[0, 0, 0, 1]])},
        {},
        r"data\['day'\]: A at 2024-01-01 00:00:00 occurs more than once",
    ),
    "text": ({"day": long(venue="x")}, {}, r"column venue is (str|object); numbers are needed: .*fields=\[\.\.\.\]"),
    "complex numbers": ({"day": long(close=[1j] * 4)}, {}, r"column close is complex128; numbers are needed"),
    "a zone": (
        {"day": long(datetime=DAYS[[0, 1, 0, 1]].tz_localize("UTC"))},
        {},
        r"data\['day'\]: its times carry the zone UTC; .*Frames\(\.\.\., clock='UTC'\)",
    ),
    "several zones": (
        {"day": long(datetime=[t.tz_localize(z) for t, z in zip(DAYS, ["UTC", "Asia/Tokyo"] * 2, strict=True)])},
        {"clock": "UTC"},
        r"its times are object such as Timestamp.* with utc=True where they carry several zones",
    ),
    "no such clock": (
        {"day": long()},
        {"clock": "Mars/Olympus"},
        r"clock: received 'Mars/Olympus'; the name of a time zone",
    ),
    "texts for times": (
        {"day": long(datetime=["2024-01-01"] * 4)},
        {},
        r"its times are (str|object) such as '2024-01-01'; datetime64 is needed",
    ),
    "no time": ({"day": long(datetime=[pd.NaT, *DAYS[:3]])}, {}, r"a row without a time \(NaT\)"),
    "no name": ({"day": long(instrument=["A", None, "B", "B"])}, {}, r"a row without an instrument"),
    "an hour in days": (
        {"day": long(datetime=DAYS[[0, 1, 0, 1]] + pd.Timedelta("1h"))},
        {},
        r"2024-01-01 01:00:00 cannot be a bar at freq day, whose times are midnights",
    ),
    "names that differ in case": (
        {"day": long(instrument=["A", "A", "a", "a"])},
        {},
        r"A and a are one instrument where case",
    ),
    "fields that differ in case": ({"day": long(Close=1.0)}, {}, r"column close occurs more than once \(case does not"),
    "a field that no formula can name": ({"day": long(**{"a b": 1.0})}, {}, r"column 'a b' cannot be a field"),
    "no fields": (
        {"day": long()[["instrument", "datetime"]]},
        {},
        r"it has no columns but instrument, datetime; at least",
    ),
    "no rows": ({"day": long()[:0]}, {}, r"data\['day'\]: it has no rows"),
    "an index of one level": ({"day": long().set_index("instrument")}, {}, r"there is no column 'instrument'"),
    "two levels of text": (
        {"day": long(x="1").set_index(["instrument", "x"])[["close"]].rename_axis([None, None])},
        {},
        r"one of the index levels .* must hold instruments and the other times",
    ),
    "frames without times": (
        {"day": {"A": long()[["close"]]}},
        {},
        r"frame of A: there is no column 'datetime'; .*a DatetimeIndex, or a",
    ),
    "frames with and without a zone": (
        {"day": {"A": wide()[["A"]], "B": wide()[["A"]].tz_localize("UTC")}},
        {"clock": "UTC"},
        r"the times of B carry a zone, those of A do not; one clock is needed",
    ),
    "no frames": ({"day": {}}, {}, r"data\['day'\]: received no frames; at least one instrument is needed"),
    "a wide frame with text": (
        {"day": {"close": wide(C="x")}},
        {"wide": True},
        r"close: column C is (str|object); numbers",
    ),
    "a wide frame that is long": ({"day": {"close": long()}}, {"wide": True}, r"close: its times are int64 such as"),
    "a wide frame with a time twice": (
        {"day": {"close": wide().set_axis(DAYS[[0, 1, 1, 2]])}},
        {"wide": True},
        r"2024-01-02 00:00:00 occurs more than once",
    ),
    "rows outside the calendar": (
        {"day": long()},
        {"calendar": DAYS[:1]},
        r"1 of its times are not in the calendar that was given, such as 2024-01-02",
    ),
    "a calendar with a zone": (
        {"day": long()},
        {"calendar": DAYS.tz_localize("UTC")},
        r"the calendar carries the zone UTC",
    ),
    "a table with text": (
        {"day": pa.Table.from_pandas(long(venue="x"))},
        {},
        r"column venue is (large_)?string; numbers are needed",
    ),
    "a table without names": (
        {"day": pa.table({"instrument": ["A", None], "datetime": DAYS[:2], "close": [1.0, 2]})},
        {},
        r"without an instrument",
    ),
    "a table with texts for times": (
        {"day": pa.table({"instrument": ["A"], "datetime": ["x"], "close": [1.0]})},
        {},
        r"its times are string; a timestamp",
    ),
    "instrument=None of a frame": ({"day": long()}, {"instrument": None}, r"say in which column the instruments are"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_bars_is_refused_by_one_sentence(case):
    sources, options, sentence = REFUSED[case]
    with pytest.raises(InputError, match=sentence) as caught:
        Frames(sources, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("bring", [lambda frame: frame, pa.Table.from_pandas, lambda frame: dict([("A", frame[:2])])])
def test_numbers_beyond_float32_are_refused_when_they_are_read(bring):
    frames = Frames({"day": bring(long(close=[1e39, 1, 1, 1]))}, fields=["close"])
    with pytest.raises(InputError, match=r"column close holds 1e\+39, too large for float32"):
        frames.read("day", ["A"], ["close"], 0, 1)


def test_a_refused_frame_leaves_the_session_as_it_was():
    qlib.init(data={"day": long()}, region="us")
    with pytest.raises(InputError):
        qlib.init(data={"day": long(venue="x")}, region="us")
    assert len(D.features(["A"], ["$close"])) == 2


def test_markets_that_name_nobody_are_refused_where_they_are_asked_for():
    qlib.init(data=Frames({"day": long()}, markets={"few": ["AA"]}), region="us")
    with pytest.raises(InputError, match=r"markets: few names AA, of which data\['day'\] has no bar"):
        D.list_instruments(D.instruments("few"))


def test_paths_without_data_are_said_to_be_missing(tmp_path):
    with pytest.raises(MissingDataError, match=r"data\['day'\]: there is no file or folder .*nowhere"):
        Frames({"day": tmp_path / "nowhere"})
    with pytest.raises(MissingDataError, match=r"holds no .parquet, .pq, .arrow, .feather file"):
        Frames({"day": tmp_path})
    (tmp_path / "a.csv").write_text("instrument,datetime,close\n")
    with pytest.raises(InputError, match=r"a.csv is no .parquet, .pq, .arrow, .feather file"):
        Frames({"day": tmp_path / "a.csv"})
    long().to_parquet(tmp_path / "a.parquet")
    long().to_feather(tmp_path / "a.feather")
    with pytest.raises(InputError, match=r"holds files of two formats, a.feather and a.parquet"):
        Frames({"day": tmp_path})


def test_damaged_files_are_named(tmp_path):
    (tmp_path / "a.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(StoreError, match=r"cannot be read"):
        Frames({"day": tmp_path})
    good = tmp_path / "good"
    good.mkdir()
    large = pd.concat([long(instrument=f"S{i}")[:2] for i in range(3000)])
    large.to_parquet(good / "a.parquet", compression="zstd")
    frames = Frames({"day": good})
    content = bytearray((good / "a.parquet").read_bytes())
    content[100:3000] = b"damaged " * 362 + b"more"
    (good / "a.parquet").write_bytes(content)
    with pytest.raises(StoreError, match=r"data\['day'\]: cannot be read"):
        frames.read("day", ["S1"], ["close"], 0, 1)


def test_files_without_an_instrument_column_say_how_files_can_be_instruments(tmp_path):
    long().drop(columns="instrument").to_parquet(tmp_path / "A.parquet")
    with pytest.raises(InputError, match=r"there is no column 'instrument'; .*instrument=None where each file is one"):
        Frames({"day": tmp_path})


def test_a_bar_that_a_file_has_twice_is_named_when_it_is_read(tmp_path):
    pd.concat([long(), long()[2:3]]).to_parquet(tmp_path / "A.parquet")
    frames = Frames({"day": tmp_path})
    with pytest.raises(InputError, match=r"data\['day'\]: B at 2024-01-01 00:00:00 occurs more than once"):
        frames.read("day", ["A", "B"], ["close"], 0, 1)
    assert frames.read("day", ["A"], ["close"], 0, 1).series(0, 0).tolist() == [1, 2]


def test_decimals_integers_and_questions_are_numbers():
    table = pa.table(
        {
            "instrument": ["A", "A"],
            "datetime": pa.array(DAYS[:2]).cast(pa.date32()),
            "price": pa.array([Decimal("1.5"), None], pa.decimal128(9, 2)),
            "count": pa.array([2**60 + 1, None]),
            "open": [True, False],
        }
    )
    qlib.init(data={"day": table}, region="us")
    found = D.features(["A"], ["$price", "$count", "$open"])
    assert found.iloc[0].tolist() == [1.5, float(2**60), 1]
    assert found.isna().to_numpy().tolist() == [[False] * 3, [True, True, False]]


def test_a_database_file_and_a_table_must_be_there(tmp_path):
    duckdb = pytest.importorskip("duckdb")
    with pytest.raises(MissingDataError, match=r"there is no database file"):
        Frames({"day": DuckTable(str(tmp_path / "no.duckdb"), table="bars")})
    duckdb.connect(str(tmp_path / "a.duckdb")).close()
    with pytest.raises(StoreError, match=r"a.duckdb: .*bars"):
        Frames({"day": DuckTable(str(tmp_path / "a.duckdb"), table="bars")})
    with pytest.raises(InputError, match=r"one of table=\.\.\. and query=\.\.\. is needed"):
        DuckTable(str(tmp_path / "a.duckdb"))


def test_a_database_is_opened_to_read_only(tmp_path):
    duckdb = pytest.importorskip("duckdb")
    path = str(tmp_path / "a.duckdb")
    with duckdb.connect(path) as connection:
        connection.from_arrow(pa.Table.from_pandas(long(), preserve_index=False)).create("bars")
    frames = Frames({"day": DuckTable(path, query="select * from bars")})
    with pytest.raises((duckdb.Error, StoreError)):
        Frames({"day": DuckTable(path, query="delete from bars returning *")})
    assert len(frames.grid("day").names) == 2
    assert len(pickle.loads(pickle.dumps(frames)).grid("day").names) == 2


def test_who_has_no_duckdb_is_told_what_to_install(tmp_path):
    (tmp_path / "duckdb.py").write_text("raise ImportError('no')")
    code = "from qlib.data import DuckTable, Frames; Frames({'day': DuckTable('x', table='y')})"
    run = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r}); {code}"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "data['day']: DuckDB is not installed: pip install \"qlib-crypto[frames]\"" in run.stderr


def test_the_libraries_of_frames_are_loaded_by_who_brings_them():
    code = "import qlib.data, sys; print({'polars', 'duckdb', 'pyarrow'} & {n for n in sys.modules if n != 'pandas'})"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "polars" not in run.stdout
    assert "duckdb" not in run.stdout
