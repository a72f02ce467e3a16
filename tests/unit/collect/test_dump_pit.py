"""dump_pit: what was announced when stands in the store, whatever came first, whole or not at all."""

from __future__ import annotations

import gzip
import hashlib
import itertools
import json
import logging
import os
import resource
import runpy
import shutil
import signal
import struct
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import shared
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from proof import cases

from qlib.collect.dump_pit import DumpPitData, dump_pit
from qlib.config import build_settings
from qlib.data.provider import Provider
from qlib.data.storage.pit import pit_path, read_pit
from qlib.data.storage.writer import write_store
from qlib.errors import InputError, RunError, StoreError

ROOT = Path(__file__).resolve().parents[3]
NONE = 0xFFFFFFFF
COLUMNS = ["symbol", "date", "period", "value", "field"]


def frame(*rows: tuple) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=COLUMNS)


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def naive_files(rows: list[tuple], yearly: bool) -> dict[str, bytes]:
    """What the contract of the format says, row by row; later rows take the place of earlier ones."""
    figures: dict[tuple, dict[tuple, float]] = {}
    for symbol, date, period, value, field in rows:
        own = figures.setdefault((symbol.lower(), field.lower()), {})
        own[int(date.replace("-", "")), period] = float(np.float32(value))
    files = {}
    for (symbol, field), own in figures.items():
        records = [[date, period, value, NONE] for (date, period), value in sorted(own.items())]
        first: dict[int, int] = {}
        last: dict[int, int] = {}
        for at, (_, period, _, _) in enumerate(records):
            first.setdefault(period, at * 20)
            if period in last:
                records[last[period]][3] = at * 20
            last[period] = at
        years = [period if yearly else period // 100 for period in first]
        slots = [min(years)]
        for year in range(min(years), max(years) + 1):
            slots += [first.get(p, NONE) for p in ([year] if yearly else [year * 100 + q for q in (1, 2, 3, 4)])]
        name = f"financial/{symbol}/{field}_{'a' if yearly else 'q'}"
        files[f"{name}.data"] = b"".join(struct.pack("<IIdI", *record) for record in records)
        files[f"{name}.index"] = struct.pack(f"<{len(slots)}I", *slots)
    return files


# ------------------------------------------------------------------------------------------------- Qlib's files
def test_the_files_are_qlibs_byte_for_byte(tmp_path):
    """Hashes of what Qlib's own script wrote from the same CSV files."""
    with tarfile.open(shared("goldens/public/csv.tar.gz")) as archive:
        members = [one for one in archive.getmembers() if "/pit/" in one.name]
        archive.extractall(tmp_path, members, filter="data")
    wanted = json.loads(shared("goldens/public/expect/dump.json").read_text())
    for case, interval, fields in (("quarterly", "quarterly", "roewa,yoyni"), ("annual", "annual", "eps")):
        root = tmp_path / case
        DumpPitData(str(tmp_path / "csv" / "pit"), str(root), include_fields=fields).dump(interval)
        hashes = {name: hashlib.sha256(content).hexdigest() for name, content in contents(root).items()}
        assert hashes == wanted[f"dump.pit_{case}"]["files"]["value"]


def test_what_qlib_overwrites_when_it_appends_stays(tmp_path):
    """Qlib's second run writes the new records over the first ones of the file (golden dump.pit_append, a quirk)."""
    old = [("A", "2018-05-01", 201801, 1.0, "x"), ("A", "2018-08-01", 201802, 2.0, "x")]
    new = [("A", "2019-02-01", 201802, 2.5, "x"), ("A", "2019-05-01", 201901, 3.0, "x")]
    dump_pit(frame(*old), tmp_path)
    dump_pit(frame(*old, *new), tmp_path)
    assert contents(tmp_path) == naive_files(old + new, yearly=False)


quarters = st.builds(lambda year, quarter: year * 100 + quarter, st.integers(2017, 2021), st.integers(1, 4))
rows = st.tuples(
    st.sampled_from(["A", "SH600000"]),
    st.dates(min_value=pd.Timestamp("2018-01-01").date(), max_value=pd.Timestamp("2018-02-10").date()).map(str),
    quarters,
    st.floats(-1e6, 1e6),
    st.sampled_from(["roe", "eps"]),
)


@settings(max_examples=cases(15, 500), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.lists(rows, min_size=1, max_size=8), min_size=1, max_size=4), st.booleans())
def test_any_sequence_of_dumps_is_one_dump_of_all_rows(tmp_path_factory, dumps, yearly):
    folder = tmp_path_factory.mktemp("pit")
    dumps = [[(s, d, p // 100 if yearly else p, v, f) for s, d, p, v, f in one] for one in dumps]
    interval = "annual" if yearly else "quarterly"
    for one in dumps:
        done = dump_pit(frame(*one), folder / "parts", interval=interval)
        assert done.added + done.corrected + done.same == len({(s, d, p, f) for s, d, p, _, f in one})
    union = list(itertools.chain(*dumps))
    dump_pit(frame(*union), folder / "whole", interval=interval)
    assert contents(folder / "parts") == contents(folder / "whole") == naive_files(union, yearly)
    again = dump_pit(frame(*union), folder / "parts", interval=interval)
    assert (again.added, again.corrected, again.files) == (0, 0, [])
    shutil.rmtree(folder)


@settings(max_examples=cases(8, 100), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.lists(rows, min_size=1, max_size=8), min_size=1, max_size=3))
def test_what_is_read_back_is_what_was_known(tmp_path_factory, dumps):
    """P($$roe_q) on each day: of the newest period announced by then, the value announced last."""
    days = pd.date_range("2018-01-01", "2018-02-10")
    root = tmp_path_factory.mktemp("pit") / "s"
    prices = pd.DataFrame({"close": 1.0}, index=days)
    write_store({"A": prices, "SH600000": prices}, root, "day")
    for one in dumps:
        dump_pit(frame(*one), root)
    union = list(itertools.chain(*dumps))
    provider = Provider(build_settings(provider_uri=root))
    found = provider.features(["A", "SH600000"], ["$close", "P($$roe_q)"], freq="day").iloc[:, 1]
    for symbol in ("A", "SH600000"):
        for day in days:
            known = {(p, d): v for s, d, p, v, f in union if s == symbol and f == "roe" and pd.Timestamp(d) <= day}
            wanted = np.float32(known[max(known)]) if known else np.nan
            assert found[symbol, day] == pytest.approx(float(wanted), nan_ok=True), (symbol, day)
    shutil.rmtree(root)


# ------------------------------------------------------------------------------------------------- what is dumped
ROWS = [
    ("NUL", "2020-01-08", 201902, 0.5, "ROE"),
    ("NUL", "2020-01-08", 201903, 1.7, "ROE"),
    ("BTC/USDT", "2020-01-20", 201903, -3.0, "ROE"),
]


def written(folder: Path, kind: str) -> Path:
    folder.mkdir()
    for symbol, name in (("NUL", "_qlib_nul"), ("BTC/USDT", "btc%2fusdt")):
        own = frame(*(row for row in ROWS if row[0] == symbol)).drop(columns="symbol")
        text = own.to_csv(index=False)
        if kind == ".csv":
            (folder / f"{name}.csv").write_text("\ufeff" + text)
        elif kind == ".csv.gz":
            (folder / f"{name}.csv.gz").write_bytes(gzip.compress(text.encode()))
        else:
            own.assign(date=pd.to_datetime(own["date"])).to_parquet(folder / f"{name}.parquet")
    return folder


@pytest.mark.parametrize("kind", [".csv", ".csv.gz", ".parquet"])
def test_files_frames_and_names_that_are_no_names_of_files(tmp_path, kind):
    dump_pit(frame(*ROWS), tmp_path / "frame")
    frames = {name: own.drop(columns="symbol") for name, own in frame(*ROWS).groupby("symbol")}
    dump_pit(frames, tmp_path / "frames")
    DumpPitData(str(written(tmp_path / "src", kind)), str(tmp_path / "files"), file_suffix=kind).dump()
    frame(*ROWS).to_csv(tmp_path / "one.csv", index=False)
    dump_pit(tmp_path / "one.csv", tmp_path / "single")
    assert sorted(contents(tmp_path / "frame")) == [
        "financial/_qlib_nul/roe_q.data", "financial/_qlib_nul/roe_q.index",
        "financial/btc%2fusdt/roe_q.data", "financial/btc%2fusdt/roe_q.index",
    ]  # fmt: skip
    for other in ("frames", "files", "single"):
        assert contents(tmp_path / other) == contents(tmp_path / "frame")
    records = read_pit(pit_path(tmp_path / "frame", "nul", "roe_q")).records
    assert records["value"].tolist() == [0.5, 1.7000000476837158]


def test_values_are_rounded_as_qlibs_unless_told_otherwise(tmp_path):
    row = ("A", "2020-01-08", 201902, 16777217.3, "roe")
    for kind, stored in (("float32", 16777218.0), ("float64", 16777217.3)):
        dump_pit(frame(row), tmp_path / kind, value_type=kind)
        assert read_pit(pit_path(tmp_path / kind, "A", "roe_q")).records["value"].tolist() == [stored]
    with pytest.raises(
        InputError, match=r"the value 1e\+39 is too large for float32 \(--value_type float64 keeps it\)"
    ):
        dump_pit(frame(("A", "2020-01-08", 201902, 1e39, "roe")), tmp_path / "s")
    assert not (tmp_path / "s").exists()


def test_a_figure_without_a_value_is_one(tmp_path):
    dump_pit(frame(("A", "2020-01-08", 201902, 1.0, "x"), ("A", "2020-01-09", 201902, np.nan, "x")), tmp_path)
    dump_pit(frame(("A", "2020-01-09", 201902, np.nan, "x")), tmp_path)
    assert np.isnan(read_pit(pit_path(tmp_path, "A", "x_q")).records["value"]).tolist() == [False, True]


def test_dates_of_all_kinds_are_days(tmp_path):
    kinds = [
        pd.Series(["2020-01-08", "20200109"]),
        pd.Series([20200108, 20200109]),
        pd.to_datetime(pd.Series(["2020-01-08", "2020-01-09"])),
        pd.Series([pd.Timestamp("2020-01-08").date(), pd.Timestamp("2020-01-09").date()]),
    ]
    for number, dates in enumerate(kinds):
        own = frame(("A", 0, 201902, 1.0, "x"), ("A", 0, "201903", 2.0, "x")).assign(date=dates)
        dump_pit(own, tmp_path / str(number))
        assert contents(tmp_path / str(number)) == contents(tmp_path / "0")
    assert read_pit(pit_path(tmp_path / "0", "A", "x_q")).records["date"].tolist() == [20200108, 20200109]


def test_overwrite_forgets_what_the_input_has_and_nothing_else(tmp_path):
    dump_pit(frame(*ROWS, ("NUL", "2020-01-08", 201902, 0.5, "eps")), tmp_path)
    before = contents(tmp_path)
    new = ("NUL", "2021-01-08", 202002, 9.0, "ROE")
    done = dump_pit(frame(new), tmp_path, overwrite=True)
    assert done.files == ["financial/_qlib_nul/roe_q.data", "financial/_qlib_nul/roe_q.index"]
    assert read_pit(pit_path(tmp_path, "NUL", "roe_q")).records["period"].tolist() == [202002]
    assert {name: content for name, content in contents(tmp_path).items() if name not in done.files} == {
        name: content for name, content in before.items() if name not in done.files
    }


def test_what_a_dump_did_is_counted(tmp_path, caplog):
    dump_pit(frame(*ROWS), tmp_path)
    more = [
        ("NUL", "2020-01-08", 201902, 0.6, "ROE"),
        ("NUL", "2020-01-08", 201903, 1.7, "roe"),
        ("NUL", "2020-02-01", 201903, 2.0, "ROE"),
    ]
    before = contents(tmp_path)
    tried = dump_pit(frame(*more), tmp_path, dry_run=True)
    assert contents(tmp_path) == before
    done = dump_pit(frame(*more), tmp_path)
    assert (tried.added, tried.corrected, tried.same) == (done.added, done.corrected, done.same) == (1, 1, 1)
    assert str(done).endswith("1 figures added, 1 corrected, 1 there already; 2 files written")
    assert str(tried).endswith("2 files would be written")
    with caplog.at_level(logging.WARNING, "qlib"):
        dump_pit(frame(more[0], more[0]), tmp_path)
    assert "1 figures stand in the input more than once" in caplog.text


def test_fields_are_chosen_by_name(tmp_path):
    both = frame(("A", "2020-01-08", 201902, 1.0, "x"), ("A", "2020-01-08", 2019, 2.0, "y"))
    both.drop(columns="symbol").to_csv(tmp_path / "A.csv", index=False)
    for number, chosen in enumerate(({"include_fields": "x"}, {"exclude_fields": ["y"]}, {"include_fields": ("x",)})):
        root = tmp_path / str(number)
        DumpPitData(str(tmp_path / "A.csv"), str(root), **chosen).dump()
        assert sorted(contents(root)) == ["financial/a/x_q.data", "financial/a/x_q.index"]
    DumpPitData(str(tmp_path / "A.csv"), str(tmp_path / "3"), freq="annual", include_fields="y").dump()
    assert sorted(contents(tmp_path / "3")) == ["financial/a/y_a.data", "financial/a/y_a.index"]


def test_limit_nums_limits_instruments(tmp_path):
    source = written(tmp_path / "src", ".csv")
    DumpPitData(str(source), str(tmp_path / "s"), limit_nums=1).dump()
    dump_pit(frame(*ROWS), tmp_path / "t", limit_nums=1)
    assert len(contents(tmp_path / "s")) == len(contents(tmp_path / "t")) == 2


def test_a_backup_is_the_store_as_it_was(tmp_path):
    dump_pit(frame(*ROWS), tmp_path / "s")
    before = contents(tmp_path / "s")
    new = frame(("C", "2021-01-08", 202002, 9.0, "ROE"))
    dump_pit(new, tmp_path / "s", backup_dir=tmp_path / "b", dry_run=True)
    assert not (tmp_path / "b").exists()
    dump_pit(new, tmp_path / "s", backup_dir=tmp_path / "b")
    assert contents(tmp_path / "b") == before != contents(tmp_path / "s")
    with pytest.raises(InputError, match="backup_dir: .*/b exists already; nothing was changed"):
        dump_pit(new, tmp_path / "s", backup_dir=tmp_path / "b")


# ------------------------------------------------------------------------------------------------- what is refused
GOOD = ("A", "2020-01-08", 201902, 1.0, "x")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (frame(GOOD, ("A", "8.1.2020", 201902, 1.0, "x")), "frame: row 2 has the date '8.1.2020'; a day such as"),
        (frame(("A", "2020-02-30", 201902, 1.0, "x")), "row 1 has the date '2020-02-30'"),
        (frame(("A", "2020-01-08 18:00", 201902, 1.0, "x")), "row 1 has the date '2020-01-08 18:00'"),
        (frame(("A", "18991231", 201902, 1.0, "x")), "row 1 has the date '18991231'.* 1900 to 2099"),
        (frame(("A", None, 201902, 1.0, "x")), "row 1 has no date"),
        (frame(GOOD).assign(date=pd.Timestamp("2020-01-08 09:30")), "row 1 has the date '2020-01-08 09:30:00'"),
        (frame(GOOD).assign(date=pd.Timestamp("2020-01-08", tz="UTC")), "carry a zone"),
        (frame(("A", "2020-01-08", 201905, 1.0, "x")), r"row 1: x has the period 201905, which is no quarter such as"),
        (frame(GOOD, ("A", "2020-01-08", 2019, 1.0, "y")), "row 2: y .* 2019.*--interval annual, or --exclude_fields"),
        (frame(("A", "2020-01-08", "soon", 1.0, "x")), "row 1: x has the period soon"),
        (frame(("A", "2020-01-08", None, 1.0, "x")), "row 1: x has the period (None|nan)"),
        (frame(("A", "2020-01-08", 201902, "much", "x")), "row 1 has the value 'much', which is no number"),
        (frame(("A", "2020-01-08", 201902, 1.0, None)), "row 1 has no field"),
        (frame((None, "2020-01-08", 201902, 1.0, "x")), "row 1 has no symbol"),
        (frame(("A", "2020-01-08", 201902, 1.0, "a/b")), "the field 'a/b' cannot be stored"),
        (frame(GOOD, ("a", "2020-01-08", 201902, 1.0, "x")), "A and a would share one folder"),
        (frame(), "frame: has no rows"),
        ({}, "received no frames"),
        ({"A": frame(GOOD, ("B", *GOOD[1:]))}, "frame of A: two symbols in one file, A and B"),
        (frame(GOOD).rename(columns={"date": "dates"}), "frame: has no column 'date'; .*; did you mean dates?"),
        (frame(GOOD).drop(columns="symbol"), "frame: has no column 'symbol'"),
    ],
)  # fmt: skip
def test_what_cannot_be_stored_is_said_and_nothing_changes(tmp_path, data, said):
    dump_pit(frame(*ROWS), tmp_path / "s")
    before = contents(tmp_path)
    with pytest.raises(InputError, match=said):
        dump_pit(data, tmp_path / "s")
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("A.csv", b"", "A.csv: Empty CSV"),
        ("A.csv", b"date,period,value\n2020-01-08,201902,1\n", "A.csv: has no column 'field'; its columns are date"),
        ("A.csv", b"date,period,value,field\n2020-01-08,201902,much,x\n", "A.csv: .*invalid value 'much'"),
        ("A.csv", b"date,period,value,field\n2020-01-08,201902\n", "A.csv: .*Expected 4 columns, got 2"),
        ("A.csv", b"date,period,value,field\n", "A.csv: has no rows"),
        ("A.csv.gz", b"no gzip", "A.csv.gz: "),
        ("A.parquet", b"no parquet", "A.parquet: "),
        ("A.xlsx", b"", r"holds no file \*.csv; there are \*.xlsx \(--file_suffix says which\)"),
    ],
)
def test_files_that_cannot_be_read_are_named(tmp_path, name, content, said):
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / name).write_bytes(content)
    suffix = ".csv" if name.endswith("xlsx") else name[1:]
    with pytest.raises(InputError, match=said) as caught:
        dump_pit(tmp_path / "src", tmp_path / "s", file_suffix=suffix)
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["src"]


def test_options_that_are_none(tmp_path):
    for options, said in (
        (
            {"interval": "quarter"},
            "interval: received 'quarter'; allowed are quarterly, annual; did you mean quarterly?",
        ),
        ({"value_type": "float16"}, "value_type: received 'float16'; allowed are float32, float64"),
        ({"include_fields": ["roee"]}, "no source has the field 'roee'; there are ROE; did you mean ROE?"),
        (
            {"exclude_fields": ["roee"]},
            "exclude_fields: no source has the field 'roee'; there are ROE; did you mean ROE?",
        ),
        ({"exclude_fields": ["ROE"]}, "no field is left; there are ROE"),
    ):
        with pytest.raises(InputError, match=said.replace("?", r"\?")):
            dump_pit(frame(*ROWS), tmp_path / "s", **options)
    with pytest.raises(InputError, match="csv_path: .*nowhere does not exist"):
        DumpPitData(str(tmp_path / "nowhere"), str(tmp_path / "s")).dump()
    with pytest.raises(InputError, match="overwrite must be True or False"):
        DumpPitData(str(tmp_path / "nowhere"), str(tmp_path / "s")).dump(overwrite="yes")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_no_store_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("years")
    with pytest.raises(InputError, match="is no store .* and not empty; nothing was changed"):
        dump_pit(frame(*ROWS), tmp_path)
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "financial").symlink_to(tmp_path)
    with pytest.raises(InputError, match="s/financial is a link"):
        dump_pit(frame(*ROWS), tmp_path / "s")


def test_a_damaged_store_is_said_and_can_be_overwritten(tmp_path):
    dump_pit(frame(*ROWS), tmp_path)
    data = pit_path(tmp_path, "NUL", "roe_q")
    data.write_bytes(data.read_bytes()[:-3])
    before = contents(tmp_path)
    with pytest.raises(StoreError, match="roe_q.data: 37 bytes"):
        dump_pit(frame(*ROWS), tmp_path)
    assert contents(tmp_path) == before
    dump_pit(frame(*ROWS), tmp_path, overwrite=True)
    assert len(read_pit(data).records) == 2


# ------------------------------------------------------------------------------------------------- whole or not at all
def big(value: float) -> pd.DataFrame:
    return frame(*((f"S{i}", "2020-01-08", 201902, value, "x") for i in range(3)))


def test_a_kill_at_any_moment_leaves_one_dump_or_the_other(tmp_path):
    root = tmp_path / "s"
    versions = []
    for value in (1.0, 2.0):
        dump_pit(big(value), root)
        versions.append(contents(root))
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(cases(20, 300)):
        if not (child := os.fork()):
            try:
                for k in itertools.count():
                    dump_pit(big(1.0 + k % 2), root)
            finally:  # a child that fails must not go on as a second pytest
                os._exit(1)
        time.sleep(rng.uniform(0.01, 0.2))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        found = contents(root)
        assert found in versions
        seen.add(found == versions[0])
    assert seen == {False, True}
    dump_pit(big(1.0), root)
    assert contents(root) == versions[0]
    assert [path.name for path in tmp_path.iterdir()] == ["s"], "what the killed ones left is swept up"


def test_a_full_disk_changes_nothing_and_is_said(tmp_path):
    dump_pit(big(1.0), tmp_path / "s")
    before = contents(tmp_path)
    reader, writer = os.pipe()
    if not (child := os.fork()):
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        sys.dont_write_bytecode = True  # a module cut short would stay: Python 3.11 writes it without a look
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))
        try:
            dump_pit(big(2.0), tmp_path / "s")
        except RunError as error:
            os.write(writer, str(error).encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    os.close(writer)
    with os.fdopen(reader) as said:
        assert said.read() == f"{tmp_path / 's'} cannot be written: File too large; nothing was changed"
    assert contents(tmp_path) == before


def test_the_script_speaks_in_sentences_and_exit_codes(tmp_path, monkeypatch, capsys):
    source = written(tmp_path / "src", ".csv")
    command = ["dump_pit.py", "dump", "--csv_path", str(source), "--qlib_dir", str(tmp_path / "s")]
    script = str(ROOT / "scripts" / "dump_pit.py")
    monkeypatch.setattr(sys, "argv", [*command, "--interval", "annual"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(script, run_name="__main__")
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("dump_pit: ") and said.count("\n") == 1
    monkeypatch.setattr(sys, "argv", [*command, "--include_fields", "ROE"])
    runpy.run_path(script, run_name="__main__")
    assert "3 figures added" in capsys.readouterr().out
    assert len(contents(tmp_path / "s")) == 4
