"""Snapshots keep what was received and from when it was known; the archive only grows, whatever kills its writer."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qlib.crypto.snapshots import Archive, read_snapshots, slug, table
from qlib.errors import InputError, StoreError

DAY = 86_400_000
ROWS = [
    {"id": "bitcoin", "symbol": "btc", "name": "Bitcoin", "market_cap_rank": 1, "market_cap": 2e12,
     "current_price": 100.5, "total_volume": None, "roi": {"times": 3}},
    {"id": "clone", "symbol": "btc", "name": "Clone", "market_cap_rank": None, "market_cap": None,
     "current_price": None},
]  # fmt: skip


def monthly(**columns: object) -> pd.DataFrame:
    base = {"ts": ["2024-01-01", "2024-01-01"], "symbol": ["btc", "na"], "name": ["Bitcoin", "NA coin"],
            "market_cap": [2.0, 1.0], "price": [1.0, np.nan]}  # fmt: skip
    return pd.DataFrame(base | columns)


def test_the_close_of_a_date_is_known_when_the_date_is_over():
    assert set(table(monthly(), "close")["known"]) == {pd.Timestamp("2024-01-02").value // 10**6}
    assert set(table(monthly(), "taken")["known"]) == {pd.Timestamp("2024-01-01").value // 10**6}
    early = table(monthly(ts="2025-11-03T02:05:14.262540"), "taken")["known"]
    assert set(early) == {pd.Timestamp("2025-11-03T02:05:14.263").value // 10**6}  # never earlier than it was


def test_every_form_of_a_file_is_the_same_table(tmp_path: Path):
    frame = monthly()
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.assign(ts=pd.to_datetime(frame["ts"]).to_numpy("M8[ms]").astype(np.int64)).to_parquet(tmp_path / "b.parquet")
    gecko = {"market_cap": "market_cap", "price": "current_price", "ts": "timestamp"}
    frame.rename(columns=gecko).to_csv(tmp_path / "c.csv", index=False)
    tables = [read_snapshots(tmp_path / name, "close") for name in ("a.csv", "b.parquet", "c.csv")]
    for other in tables[1:]:
        pd.testing.assert_frame_equal(tables[0], other, check_dtype=False)
    assert tables[0]["symbol"].tolist() == ["BTC", "NA"]  # a coin called NA is a coin
    assert tables[0]["id"].tolist() == ["bitcoin", "na-coin"]


@pytest.mark.parametrize(
    ("columns", "stamp", "told"),
    [
        ({"ts": "soon"}, "close", "ts holds what is no time"),
        ({"ts": "2024-01-01 05:00"}, "close", "row 0 is stamped 2024-01-01 05:00:00, which is no date"),
        ({"price": ["1", "much"]}, "close", "price holds what is no number"),
        ({"symbol": ["", "b"]}, "close", "row 0 has no symbol"),
        ({"id": ["x", "x"]}, "close", "x occurs twice"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_with_the_place(columns: dict[str, object], stamp: str, told: str):
    with pytest.raises(InputError, match=told):
        table(monthly(**columns), stamp)


def test_a_missing_column_a_missing_stamp_and_a_missing_file_are_told(tmp_path: Path):
    with pytest.raises(InputError, match=r"no column price.*did you mean prices"):
        table(monthly().rename(columns={"price": "prices"}), "close")
    monthly().to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(InputError, match=r"\(close\).*\(taken\)"):
        read_snapshots(tmp_path / "a.csv")
    with pytest.raises(InputError, match="cannot be read"):
        read_snapshots(tmp_path / "b.csv", "close")
    with pytest.raises(InputError, match="holds no snapshot"):
        read_snapshots(tmp_path)


def test_names_become_ids_that_stay_apart():
    assert [slug(name) for name in ("BinaryX (old)", "BinaryX", "币安人生")] == ["binaryx-old", "binaryx", "币安人生"]


# ---------------------------------------------------------------------- the archive
def test_a_snapshot_is_kept_whole_and_read_with_the_moment_it_was_taken(tmp_path: Path):
    path, written = Archive(tmp_path).add(ROWS, 1_762_135_514_262, source="asked")
    assert written
    assert path == tmp_path / "2025" / "2025-11-03T020514.262Z.json.gz"
    assert json.loads(gzip.decompress(path.read_bytes())) == {
        "taken": 1_762_135_514_262,
        "source": "asked",
        "rows": ROWS,
    }
    found = read_snapshots(tmp_path)
    assert found["known"].tolist() == [1_762_135_514_262] * 2
    assert found["rank"].isna().tolist() == [False, True]
    assert found.loc[0, ["id", "symbol", "price"]].tolist() == ["bitcoin", "BTC", 100.5]


def test_a_day_that_is_there_is_never_rewritten(tmp_path: Path):
    archive = Archive(tmp_path)
    first, _ = archive.add(ROWS, 10 * DAY)
    before = first.read_bytes()
    assert archive.add(ROWS[:1], 10 * DAY + 5000) == (first, False)
    assert archive.add(ROWS[:1], 10 * DAY, again=True) == (first, False)
    second, written = archive.add(ROWS[:1], 10 * DAY + 5000, again=True)
    assert written
    assert second != first
    assert first.read_bytes() == before
    assert archive.days() == ["1970-01-11"]
    assert archive.read()["known"].tolist() == [10 * DAY] * 2 + [10 * DAY + 5000]


@pytest.mark.parametrize(
    ("rows", "told"),
    [([], "without coins"), ([{"id": "a"}], "texts id, symbol and name"),
     ([ROWS[0] | {"market_cap": "much"}], "market_cap of bitcoin is 'much'")],
)  # fmt: skip
def test_what_could_not_be_read_back_is_not_kept(rows: list[dict[str, object]], told: str, tmp_path: Path):
    with pytest.raises(InputError, match=told):
        Archive(tmp_path / "a").add(rows, DAY)
    assert not (tmp_path / "a").exists()


def test_a_coin_that_came_twice_counts_once_and_is_kept_twice(tmp_path: Path):
    path, _ = Archive(tmp_path).add([*ROWS, ROWS[0] | {"current_price": 7.0}], DAY)
    assert len(json.loads(gzip.decompress(path.read_bytes()))["rows"]) == 3
    assert Archive(tmp_path).read()["price"].iloc[0] == 100.5


@pytest.mark.parametrize("damage", ["cut", "other", "renamed"])
def test_a_damaged_file_is_named(damage: str, tmp_path: Path):
    archive = Archive(tmp_path)
    path, _ = archive.add(ROWS, DAY)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-9])
    elif damage == "other":
        path.write_bytes(gzip.compress(b'{"rows": []}'))
    else:
        path.rename(path.with_name(path.name.replace("01-02", "01-03")))
    with pytest.raises(StoreError, match="json.gz is damaged"):
        archive.read()


@settings(max_examples=20, deadline=None)
@given(moments=st.lists(st.integers(0, 40 * DAY), min_size=1, max_size=8))
def test_the_order_of_writing_is_of_no_effect_on_what_is_known(
    moments: list[int], tmp_path_factory: pytest.TempPathFactory
):
    archive = Archive(tmp_path_factory.mktemp("a"))
    for moment in moments:
        archive.add(ROWS[:1], moment, again=True)
    assert archive.read()["known"].tolist() == sorted(set(moments))


WRITER = """
import sys
from qlib.crypto.snapshots import Archive
rows = [{"id": f"c{i}", "symbol": "c", "name": "C", "market_cap": float(i)} for i in range(2000)]
for day in range(10_000):
    Archive(sys.argv[1]).add(rows, day * 86_400_000)
    print(day, flush=True)
"""


def test_a_writer_killed_at_any_moment_leaves_whole_files(tmp_path: Path):
    for round_ in range(3):
        folder = tmp_path / str(round_)
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(folder)], stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        for _ in range(3 + round_):
            writer.stdout.readline()
        time.sleep(0.001 * round_)
        writer.kill()
        writer.wait()
        found = Archive(folder).read()
        sizes = found.groupby("known").size()
        assert (sizes == 2000).all()
        assert sizes.index.tolist() == [day * DAY for day in range(len(sizes))]
        _, written = Archive(folder).add(ROWS, len(sizes) * DAY)
        assert written


def test_a_disk_that_refuses_leaves_nothing_half_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    archive = Archive(tmp_path)
    archive.add(ROWS, DAY)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        archive.add(ROWS, 2 * DAY)
    monkeypatch.undo()
    assert [path.name for path in (tmp_path / "1970").iterdir()] == ["1970-01-02T000000.000Z.json.gz"]
    assert len(archive.read()) == 2
