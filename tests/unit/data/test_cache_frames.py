"""Frames kept on disk: the bits of a computed one, never those of another, whatever happens to the files."""

from __future__ import annotations

import logging
import multiprocessing
import os
import pickle
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from proof import cases

import qlib
from qlib.config import build_settings
from qlib.data import D
from qlib.data.cache import DatasetCache, DatasetURICache, DiskDatasetCache, SimpleDatasetCache
from qlib.data.data import LocalDatasetProvider
from qlib.data.filter import ExpressionDFilter
from qlib.data.inst_processor import InstProcessor
from qlib.data.provider import Provider, frame_cache
from qlib.data.provider.frame_cache import read_frame
from qlib.data.storage.cache_folder import MAGIC, CacheFolder, read_arrays
from qlib.data.storage.writer import write_store
from qlib.errors import ConfigError, InputError, StoreError

DAYS = pd.date_range("2024-01-01", periods=30)
FIELDS = ["$close", " Mean($close, 5)", "CSRank($open)", "$close"]
COMPUTED: list[int] = []


class Counting(Provider):
    """Counts what it computes."""

    def answer(self, query, *, by_time=False):
        COMPUTED.append(len(query.plan.fields))
        return super().answer(query, by_time=by_time)


def frames(seed=3):
    rng = np.random.default_rng(seed)
    return {
        name: pd.DataFrame(rng.uniform(1, 2, (30 - late, 2)), DAYS[late:], ["close", "open"])
        for late, name in enumerate(["AA", "BB", "CC"])
    }


@pytest.fixture
def root(tmp_path):
    return write_store(frames(), tmp_path / "store", "day")


def provider(root, cache="SimpleDatasetCache", **more):
    COMPUTED.clear()
    keeps = {"dataset_cache": cache, "local_cache_path": root.parent / "kept"}
    return Counting(build_settings(provider_uri=root, **(keeps if cache else {}), **more))


def aged(root, seconds=60):
    """Make the store's files old, as far as one may: the time of change of an inode cannot be set."""
    for path in root.rglob("*"):
        os.utime(path, (time.time() - seconds,) * 2)


def same(a, b):
    pd.testing.assert_frame_equal(a, b, check_exact=True, check_freq=False)
    for left, right in zip(a.index.levels, b.index.levels, strict=True):
        assert left.dtype == right.dtype
    assert np.array_equal(a.to_numpy().view(np.int32), b.to_numpy().view(np.int32))


@pytest.mark.parametrize("by_time", [False, True])
@pytest.mark.parametrize("mode", [None, "qlib"])
@pytest.mark.parametrize("cache", ["SimpleDatasetCache", "DiskDatasetCache"])
def test_a_kept_frame_has_the_bits_of_a_computed_one_and_is_not_computed_again(root, by_time, mode, cache):
    p = provider(root, cache, compat=mode)
    universe = p.instruments("all", [ExpressionDFilter("$close>1.3")])
    for asked in (["BB", "AA"], universe, {"AA": [(DAYS[3], DAYS[9])], "CC": [(None, DAYS[5])]}):
        for bounds in ((None, None), (DAYS[4], "2024-01-20")):
            wanted = p.computed(asked, FIELDS, *bounds, by_time=by_time)
            first = p.features(asked, FIELDS, *bounds, by_time=by_time)
            COMPUTED.clear()
            second = p.features(asked, FIELDS, *bounds, by_time=by_time)
            same(first, wanted)
            same(second, wanted)
            assert COMPUTED == []


def test_a_kept_frame_is_ones_own(root):
    p = provider(root)
    one = p.features(["AA"], ["$close"])
    two = p.features(["AA"], ["$close"])
    two.iloc[:, 0] = 0.0
    two["more"] = 1
    same(p.features(["AA"], ["$close"]), one)


def test_disk_cache_says_what_is_done(root):
    p = provider(root)
    for asked, computed in ((0, 1), (0, 1), (1, 1), (1, 0), (None, 0), (2, 1), (0, 1), (1, 0)):
        COMPUTED.clear()
        p.features(["AA"], ["$close"], disk_cache=asked)
        assert len(COMPUTED) == computed, asked
    off = provider(root, default_disk_cache=0)
    off.features(["AA"], ["$close"])
    assert len(COMPUTED) == 1
    with pytest.raises(InputError, match="disk_cache: received 7; 0 .compute., 1 "):
        p.features(["AA"], ["$close"], disk_cache=7)


def test_processors_work_on_what_is_kept(root):
    class Double(InstProcessor):
        def __call__(self, df, instrument):
            return df * 2

    p = provider(root)
    for by_time in (False, True):
        wanted = p.computed(["AA", "BB"], FIELDS, by_time=by_time) * 2
        for _ in range(2):
            same(p.features(["AA", "BB"], FIELDS, inst_processors=[Double()], by_time=by_time), wanted)


# ---------------------------------------------------------------------- no false hit
def flip(path):
    content = bytearray(path.read_bytes())
    content[-2] ^= 0x40
    path.write_bytes(content)


def flip_and_hide(path):
    """Change a byte, and put the times of before back."""
    stat = path.stat()
    flip(path)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def in_place(path):
    with path.open("r+b") as file:
        file.seek(8)
        byte = file.read(1)
        file.seek(8)
        file.write(bytes([byte[0] ^ 0x20]))


def shorter(path):
    os.truncate(path, path.stat().st_size - 4)


def replaced(path):
    other = path.with_suffix(".other")
    shutil.copy2(path, other)
    in_place(other)
    os.utime(other, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    other.replace(path)


CHANGES = [flip, flip_and_hide, in_place, shorter, replaced, Path.unlink, Path.touch]


@given(
    st.lists(st.tuples(st.sampled_from(CHANGES), st.sampled_from(["aa", "bb"]), st.sampled_from(["close", "open"])),
             min_size=1, max_size=4),
    st.booleans(), st.booleans(),
)  # fmt: skip
@settings(max_examples=cases(15, 400), suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_change_of_a_file_goes_unseen(tmp_path_factory, changes, old, by_time):
    root = write_store(frames(), tmp_path_factory.mktemp("c") / "store", "day")
    if old:
        aged(root)
    p = provider(root)
    for change, name, field in changes:
        p.features(["AA", "BB"], FIELDS, by_time=by_time)
        path = root / "features" / name / f"{field}.day.bin"
        if path.exists():
            change(path)
        fresh = Provider(build_settings(provider_uri=root)).features(["AA", "BB"], FIELDS, by_time=by_time)
        same(p.features(["AA", "BB"], FIELDS, by_time=by_time), fresh)


def test_old_files_that_are_the_same_are_told_by_their_stamps_alone(root, monkeypatch):
    p = provider(root)
    monkeypatch.setattr(frame_cache, "_YOUNG", 0)
    p.features(["AA"], ["$close"])
    COMPUTED.clear()
    p.features(["AA"], ["$close"])
    assert COMPUTED == []
    flip(root / "features" / "aa" / "close.day.bin")
    p.features(["AA"], ["$close"])
    assert COMPUTED == [1]


def test_calendars_universes_rules_and_fields_that_appear_are_part_of_it(root):
    p = provider(root)
    asked = {"instruments": p.instruments("all"), "fields": ["CSRank($close)", "$later"]}

    def check(what):
        COMPUTED.clear()
        frame = p.features(**asked)
        assert COMPUTED == [2], what
        same(frame, Provider(p.settings.replace(dataset_cache=None)).features(**asked))
        COMPUTED.clear()
        p.features(**asked)
        assert COMPUTED == [], what

    check("at first")
    lines = (root / "instruments" / "all.txt").read_text().splitlines()
    (root / "instruments" / "all.txt").write_text("\n".join(lines[:2]) + "\n")
    check("a smaller universe")
    shutil.copy(root / "features" / "aa" / "close.day.bin", root / "features" / "aa" / "later.day.bin")
    check("a new field")
    days = (root / "calendars" / "day.txt").read_text().replace("2024-01-30", "2024-02-03")
    (root / "calendars" / "day.txt").write_text(days)
    check("another calendar")
    p.settings = p.settings.replace(compat="qlib")
    check("Qlib's rules")


def test_what_nobody_can_vouch_for_is_computed(root):
    p = provider(root)
    for fields in (["Mask($close,'BB')"], ["P($$roe_q)", "$close"], ["Ref(ChangeInstrument('CC',$open),1)"]):
        for _ in range(2):
            p.features(["AA"], fields)
    assert not (root.parent / "kept").exists() or not list((root.parent / "kept").rglob("*.arrays"))


def test_what_is_absent_is_said_each_time(root, caplog):
    p = provider(root)
    logging.getLogger("qlib").propagate = True
    said = []
    for _ in range(2):
        caplog.clear()
        p.features(["AA", "NOBODY"], ["$close", "$clos"])
        said.append(sorted(caplog.messages))
    assert said[0] == said[1] and len(said[0]) == 2 and "did you mean $close" in said[0][1]


# ---------------------------------------------------------------------- damage, limits, other processes
def only_file(root):
    (path,) = (root.parent / "kept").rglob("*.arrays")
    return path


@pytest.mark.parametrize("damage", ["cut", "empty", "pickle", "text"])
def test_a_damaged_file_is_never_an_answer(root, damage, caplog):
    p = provider(root)
    wanted = p.features(["AA"], FIELDS)
    path = only_file(root)
    content = path.read_bytes()
    made = {"cut": content[:-5], "empty": b"", "pickle": pickle.dumps({"df": 1}), "text": b"hello" * 100}[damage]
    path.write_bytes(made)
    logging.getLogger("qlib").propagate = True
    same(p.features(["AA"], FIELDS), wanted)
    assert f"{path}: is damaged, or no file of a cache" in caplog.text
    assert path.read_bytes()[:8] == MAGIC
    COMPUTED.clear()
    same(p.features(["AA"], FIELDS), wanted)
    assert COMPUTED == []


@given(st.integers(0, 4000), st.integers(1, 255))
@settings(max_examples=60)
def test_a_wrong_byte_in_what_describes_the_arrays_is_always_noticed(tmp_path_factory, place, change):
    folder = CacheFolder(tmp_path_factory.mktemp("b"))
    arrays = [np.arange(5), np.ones((3, 4), np.float32)]
    folder.put("x", {"a": 1}, arrays)
    path = folder.file("x")
    content = bytearray(path.read_bytes())
    place %= len(content)
    content[place] ^= change
    path.write_bytes(content)
    described = content.index(b"]}") + 2 if b"]}" in content else len(content)
    try:
        header, found = read_arrays(path)
    except StoreError as error:
        assert str(path) in str(error)
    else:
        assert place >= described and header["a"] == 1
        assert [(f.dtype, f.shape) for f in found] == [(a.dtype, a.shape) for a in arrays]


def test_what_was_used_longest_ago_goes_first(tmp_path):
    folder = CacheFolder(tmp_path, gigabytes=3.5 * 4000 / (1 << 30))
    block = np.zeros(900, np.float32)
    for name in "abc":
        assert folder.put(name, {}, [block])
        time.sleep(0.01)
    assert folder.get("a") is not None
    time.sleep(0.01)
    folder.put("d", {}, [block])
    assert folder.names() == ["a", "c", "d"] and folder.size() <= folder.limit
    assert not folder.put("e", {}, [np.zeros(10_000)]) and folder.names() == ["a", "c", "d"]
    assert folder.remove("a") and not folder.remove("a")
    folder.clear()
    assert folder.names() == []


def test_a_frame_that_was_replaced_or_removed_stays_readable(root):
    p = provider(root)
    p.features(["AA"], ["$close"])
    held = p.features(["AA"], ["$close"])
    before = held.to_numpy().copy()
    flip(root / "features" / "aa" / "close.day.bin")
    p.features(["AA"], ["$close"])
    only_file(root).unlink()
    assert np.array_equal(held.to_numpy(), before)


def run(code, *arguments, **more):
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more)


WRITER = """
import sys, numpy as np
from qlib.data.storage.cache_folder import CacheFolder
folder = CacheFolder(sys.argv[1])
print("ready", flush=True)
for i in range(1000):
    folder.put("big", {"round": i}, [np.full((50, 20_000), i, np.float32)])
"""


@pytest.mark.parametrize("delay", cases([0.0, 0.012, 0.07], [i / 500 for i in range(50)]))
def test_a_writer_that_is_killed_leaves_a_whole_file_or_none_and_the_next_one_sweeps_up(tmp_path, delay):
    with run(WRITER, tmp_path) as writer:
        writer.stdout.readline()
        time.sleep(delay)
        writer.send_signal(signal.SIGKILL)
    folder = CacheFolder(tmp_path)
    found = folder.get("big")
    if found is not None:
        header, (block,) = found
        assert (block == header["round"]).all()
    folder.put("small", {}, [np.arange(3)])  # the dead one's lock is free
    assert [path.name for path in tmp_path.glob(".*.tmp")] == []


def many(root, kept, number):
    p = Provider(
        build_settings(provider_uri=root, dataset_cache="SimpleDatasetCache", local_cache_path=kept, kernels=1)
    )
    for window in range(2, 5):
        p.features(["AA", "BB"], [f"Mean($close,{window})"])  # all of them write these
        p.features(["AA"], [f"Sum($open,{10 * number + window})"])  # and each its own


def test_four_processes_that_write_at_once_lose_nothing(root):
    kept = root.parent / "kept"
    spawn = multiprocessing.get_context("spawn")
    workers = [spawn.Process(target=many, args=(root, kept, number)) for number in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
        assert worker.exitcode == 0
    files = list(kept.rglob("*.arrays"))
    assert len(files) == 3 + 4 * 3 and not list(kept.rglob("*.tmp"))
    plain = Provider(build_settings(provider_uri=root))
    for path in files:
        asked = read_arrays(path)[0]["asked"]
        same(read_frame(path), plain.features(asked["instruments"], asked["fields"]))


def test_a_cache_that_cannot_be_written_costs_a_warning(root, caplog):
    (root.parent / "kept").write_text("a file where the folder should be")
    p = provider(root)
    logging.getLogger("qlib").propagate = True
    same(p.features(["AA"], FIELDS), p.computed(["AA"], FIELDS))
    assert "the answer is right, but was not kept" in caplog.text


def test_a_full_disk_costs_a_warning_and_leaves_nothing_behind(root, caplog, monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # a module cut short would stay: Python 3.11 writes it so
    p = provider(root)
    p.features(["BB"], ["$close"])
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    logging.getLogger("qlib").propagate = True
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (700, limits[1]))
        found = p.features(["AA"], FIELDS)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    same(found, p.computed(["AA"], FIELDS))
    assert "the answer is right, but was not kept" in caplog.text
    folder = only_file(root).parent
    assert sorted(path.suffix for path in folder.iterdir()) == ["", ".arrays"]  # the lock, and the frame of before
    same(p.features(["BB"], ["$close"]), p.computed(["BB"], ["$close"]))


# ---------------------------------------------------------------------- Qlib's names
@pytest.fixture
def session(root):
    qlib.init(provider_uri=root, dataset_cache="DiskDatasetCache")
    return D.parts["dataset"]


def test_a_kept_frame_has_a_file_that_can_be_read_and_updated(session, root):
    universe = D.instruments("all", [ExpressionDFilter("$close>1.2")])
    path = D.features_uri(universe, [" $close", "$open"], "2024-01-03", None, "day")
    assert isinstance(session, DiskDatasetCache) and Path(path).parent == session.get_cache_dir("day")
    wanted = D.features(universe, [" $close", "$open"], "2024-01-03")
    same(session.read_data_from_cache(path, None, None, ["$open", "$close"]), wanted[["$open", " $close"]].set_axis(
        ["$open", "$close"], axis=1))  # fmt: skip
    inside = session.read_data_from_cache(path, "2024-01-05", "2024-01-06", ["$close"])
    assert inside.equals(wanted[[" $close"]].set_axis(["$close"], axis=1).loc[
        (slice(None), slice("2024-01-05", "2024-01-06")), :])  # fmt: skip
    assert session.update(path) == 1
    flip(root / "features" / "aa" / "close.day.bin")
    assert session.update(path) == 0 and session.update(Path(path).stem) == 1
    same(read_frame(Path(path)), D.features(universe, [" $close", "$open"], "2024-01-03", disk_cache=0))
    Path(path).write_bytes(b"damaged")
    assert session.update(path) == 2 and not Path(path).exists()
    with pytest.raises(FileNotFoundError):
        session.update(path)
    with pytest.raises(InputError, match=r"fields: received \$high; .* holds  \$close, \$open"):
        read_frame(Path(D.features_uri(universe, [" $close", "$open"], "2024-01-03", None)), fields=["$high"])


def test_a_frame_may_be_kept_in_a_file_of_ones_own_and_read_by_its_uri(session, tmp_path):
    made = session.gen_dataset_cache(tmp_path / "mine", ["AA", "BB"], ["$close"], "day")
    same(made, D.features(["AA", "BB"], ["$close"]))
    same(read_frame(tmp_path / "mine"), made)
    by_uri = DatasetURICache(session)
    for use in (0, 1):
        same(by_uri.dataset(["AA", "BB"], [" $close"], disk_cache=use), made.set_axis([" $close"], axis=1))
    assert by_uri._uri(["AA"], ["$close"], None, None, "day") == session._uri(["AA"], ["$close"], None, None, "day")
    with pytest.raises(InputError, match="features_uri: nothing is kept in files"):
        Provider(D.settings.replace(dataset_cache=None)).features_uri(["AA"], ["$close"])


def test_names_of_what_is_asked_are_qlibs(session):
    market = D.instruments("all")
    assert DatasetCache.normalize_uri_args(market, ["$close + 1", "$a"], "DAY") == (market, ["$a", "$close+1"], "day")
    assert DatasetCache.normalize_uri_args(["B", "A"], ["$b", "$a"], "1Min") == (["A", "B"], ["$a", "$b"], "1min")
    frame = pd.DataFrame({"$a+1": [1], "$b": [2]})
    typed = DatasetCache.cache_to_origin_data(frame, ["$b", "$a + 1"])
    assert typed.to_dict("list") == {"$b": [2], "$a + 1": [1]}


def test_files_beside_each_other(tmp_path):
    path = tmp_path / "abc"
    assert not DatasetCache.check_cache_exists(path)
    for one in (path, path.with_suffix(".meta"), path.with_suffix(".index")):
        one.touch()
    assert DatasetCache.check_cache_exists(path) and DatasetCache.check_cache_exists(str(path), ())
    DatasetCache.clear_cache(path)
    assert list(tmp_path.iterdir()) == []


def test_rows_by_datetime(tmp_path):
    index = pd.MultiIndex.from_product([DAYS[:3], ["A", "B"]]).append(pd.MultiIndex.from_tuples([(DAYS[3], "A")]))
    frame = pd.DataFrame({"x": range(7)}, index)
    rows = DiskDatasetCache.IndexManager(tmp_path / "frame")
    with pytest.raises(ValueError, match="there are no rows to write"):
        rows.sync_to_disk()
    built = rows.build_index_from_data(frame, 3)
    assert built.to_numpy().tolist() == [[3, 5], [5, 7], [7, 9], [9, 10]] and list(built.index) == list(DAYS[:4])
    rows.update(built)
    rows.append_index(pd.DataFrame({"start": [10], "end": [12]}, DAYS[4:5]))
    again = DiskDatasetCache.IndexManager(tmp_path / "frame")
    assert again.get_index(DAYS[1], DAYS[2]).to_numpy().tolist() == [[5, 7], [7, 9]]
    assert again.get_index().to_numpy()[-1].tolist() == [10, 12]
    again.index_path.write_bytes(b"no feather")
    with pytest.raises(StoreError, match="is damaged, or no index of rows"):
        again.sync_from_disk()
    with pytest.raises(ValueError, match="not in order of time"):
        rows.build_index_from_data(frame.iloc[::-1])


class Own(DatasetCache):
    """As a user of Qlib writes it."""

    asked: list = []

    def _dataset(
        self, instruments, fields, start_time=None, end_time=None, freq="day", disk_cache=1, inst_processors=[]
    ):
        self.asked.append(disk_cache)
        return self.provider.dataset(instruments, fields, start_time, end_time, freq, inst_processors=inst_processors)


def test_a_cache_of_ones_own_is_asked(root):
    qlib.init(provider_uri=root, dataset_cache={"class": "Own", "module_path": Own.__module__})
    wanted = Provider(build_settings(provider_uri=root)).features(["AA", "BB"], FIELDS)
    own = type(D.parts["dataset"])
    own.asked.clear()
    same(D.features(["AA", "BB"], FIELDS), wanted)
    same(D.features(["AA", "BB"], FIELDS, by_time=True), wanted.swaplevel().sort_index())
    D.features(["AA", "BB"], FIELDS, disk_cache=0)
    D.features(["AA", "BB"], FIELDS, disk_cache=2)
    assert own.asked == [1, 1, 2]


@pytest.mark.parametrize(
    ("key", "given", "told"),
    [
        ("expression_cache", "SimpleDatasetCache", "SimpleDatasetCache, a cache for dataset_cache; .*ExpressionCache"),
        ("expression_cache", "MemoryCalendarCache", "MemoryCalendarCache, a cache for calendar_cache"),
        ("calendar_cache", "DiskDatasetCache", "DiskDatasetCache, a cache for dataset_cache; .*MemoryCalendarCache"),
        ("dataset_cache", "DiskExpressionCache", "DiskExpressionCache, a cache for expression_cache; .*SimpleData"),
        ("expression_cache", 5, "int; allowed are DiskExpressionCache"),
    ],
)
def test_a_cache_in_the_place_of_another_is_refused(root, key, given, told):
    with pytest.raises(ConfigError, match=rf"{key}: received {told}"):
        Provider(build_settings(provider_uri=root, **{key: given}))


def test_a_cache_says_what_it_cannot_keep():
    class Other(LocalDatasetProvider):
        provider = None

    with pytest.raises(ConfigError, match="SimpleDatasetCache: received Other; it knows what the package's own"):
        SimpleDatasetCache(Other()).dataset(["AA"], ["$close"])
