"""The snapshot of data: what was read decides about it, to the byte, and nothing else does."""

from __future__ import annotations

import shutil
import time

import numpy as np
import pandas as pd
import pytest

import qlib
from qlib import session
from qlib.data import D
from qlib.data.storage.watch import watched
from qlib.workflow.snapshot import ABSENT, Digests, Seen, Snapshot, file_digest, snapshot_of
from tests.stage_market import DATES, NAMES, flip, market, modules, task


@pytest.fixture
def store(tmp_path):
    folder = market(tmp_path / "store")
    qlib.init(provider_uri=str(folder), region="us", kernels=1)
    yield folder
    session.close()


def seen(fields=("$sig", "Mean($close, 5)"), names=NAMES[:3], **kwargs):
    with watched() as reads:
        D.features(names, list(fields), **kwargs)
    return Snapshot.of(reads)


def test_it_names_the_fields_the_calendar_and_the_files_that_were_read(store):
    snapshot = seen()
    assert snapshot.fields == ["close", "sig"]
    assert snapshot.calendars == ["day"]
    assert snapshot.universes == []
    assert snapshot.instruments == 3
    assert snapshot.stores == (str(store),)
    assert snapshot.files["features/s00/sig.day.bin"] == file_digest(store / "features/s00/sig.day.bin")
    assert set(snapshot.files) == {"calendars/day.txt", "calendars"} | {
        f"features/s0{i}/{field}.day.bin" for i in range(3) for field in ("close", "sig")
    }


def test_a_universe_that_is_asked_for_belongs_to_it(store):
    with watched() as reads:
        D.features(D.instruments("all"), ["$close"])
    assert Snapshot.of(reads).universes == ["all"]


@pytest.mark.parametrize("name", ["features/s01/close.day.bin", "features/s00/sig.day.bin"])
def test_one_byte_of_a_file_that_was_read_changes_it_though_its_time_was_put_back(store, name):
    before = seen()
    flip(store / name, where=6)
    after = seen()
    assert after.id != before.id
    assert [file for file in before.files if before.files[file] != after.files[file]] == [name]


@pytest.mark.parametrize("name", ["features/s01/unread.day.bin", "features/s05/close.day.bin", "instruments/all.txt"])
def test_what_was_not_read_does_not_change_it(store, name):
    before = seen()
    flip(store / name, where=6)
    assert seen().id == before.id


def test_a_copy_elsewhere_is_the_same_data(store, tmp_path):
    before = seen()
    shutil.copytree(store, tmp_path / "copy")
    qlib.init(provider_uri=str(tmp_path / "copy"), region="us")
    after = seen()
    assert after.id == before.id
    assert after.stores == (str(tmp_path / "copy"),)


def test_a_file_that_was_looked_for_and_is_not_there_counts_as_absent(store):
    name = "features/s00/mystery.day.bin"
    before = seen(["$mystery", "$close"])
    assert before.files[name] == ABSENT
    shutil.copy(store / "features/s00/sig.day.bin", store / name)
    assert seen(["$mystery", "$close"]).id != before.id


def test_other_files_that_are_opened_belong_to_it(store, tmp_path):
    table = tmp_path / "signal.csv"
    table.write_text("x\n1\n")
    with watched() as reads:
        pd.read_csv(table)
        (tmp_path / "written.csv").write_text("no input")
    assert list(Snapshot.of(reads).files) == [str(table)]


def test_a_file_that_could_not_be_opened_is_remembered_as_absent(tmp_path):
    wanted = tmp_path / "wanted.csv"
    with watched() as reads, pytest.raises(FileNotFoundError):
        pd.read_csv(wanted)
    seen = Seen.of(reads, Digests())
    assert seen.others == {str(wanted): ABSENT}
    assert seen.changed(Digests()) is None
    wanted.write_text("x")
    assert seen.changed(Digests()) == str(wanted)
    assert Snapshot.of(seen).files == {}


def test_nothing_is_noted_while_nobody_watches(store):
    with watched() as reads:
        pass
    D.features(NAMES, ["$close"])
    assert Snapshot.of(reads).files == {}


def test_values_without_files_are_told_apart_too():
    index = pd.MultiIndex.from_product([["A", "B"], DATES[:5]], names=["instrument", "datetime"])
    ids = []
    for last in (1.0, 1.0, 2.0):
        frame = pd.DataFrame({"close": [*np.arange(9.0), last]}, index=index)
        qlib.init(data={"day": frame}, region="us")
        ids.append(seen(["$close"], ["A", "B"]).id)
        session.close()
    assert ids[0] == ids[1] != ids[2]


def test_the_dataset_of_a_task_says_what_it_reads(store, tmp_path):
    modules(tmp_path)
    snapshot = snapshot_of(task(tmp_path))
    assert (snapshot.fields, snapshot.universes, snapshot.instruments) == (["aim", "sig"], ["all"], len(NAMES))
    assert snapshot.summary()["id"] == snapshot.id


def test_a_digest_is_remembered_only_of_a_file_that_was_left_alone(tmp_path):
    file, memory = tmp_path / "data.bin", tmp_path / "digests.json"
    file.write_bytes(b"abcd")
    young = Digests(memory)
    young.of([str(file)])
    young.save()
    assert Digests(memory)._known == {}  # noqa: SLF001  it may be written again within one tick of the clock
    while time.time_ns() - file.stat().st_ctime_ns < 3_100_000_000:
        time.sleep(0.1)
    old = Digests(memory)
    assert old.of([str(file)])[str(file)] == file_digest(file)
    old.save()
    assert str(file) in Digests(memory)._known  # noqa: SLF001
    flip(file)
    assert Digests(memory).of([str(file)])[str(file)] == file_digest(file)


def test_a_damaged_memory_is_no_memory(tmp_path):
    file, memory = tmp_path / "data.bin", tmp_path / "digests.json"
    file.write_bytes(b"abcd")
    memory.write_text("{ not json")
    assert Digests(memory).of([str(file), str(tmp_path / "none")]) == {
        str(file): file_digest(file),
        str(tmp_path / "none"): ABSENT,
    }
