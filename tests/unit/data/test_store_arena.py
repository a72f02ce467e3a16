"""Many files at once: the same numbers and the same errors as one after the other."""

from __future__ import annotations

import os
import resource
import struct
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qlib.data.storage import arena, reader
from qlib.data.storage.arena import ABSENT, read_many
from qlib.data.storage.binary import read_bin, write_bin
from qlib.errors import StoreError

FIELDS = ["close.day.bin", "open.day.bin"]
posix = pytest.mark.skipif(os.name == "nt", reason="Windows has no compiled reader")


def write(top: Path, content: dict[tuple[str, str], tuple[int, list[float]] | bytes]) -> Path:
    for (folder, name), what in content.items():
        (top / folder).mkdir(parents=True, exist_ok=True)
        if isinstance(what, bytes):
            (top / folder / name).write_bytes(what)
        else:
            write_bin(top / folder / name, what[0], np.float32(what[1]))
    return top


def check_against_read_bin(raw, top, folders, first, last, entries):
    assert raw.offset.shape == raw.first.shape == raw.count.shape == (len(folders), len(FIELDS))
    assert not raw.values.flags.writeable and raw.values.dtype == np.float32
    for i, folder in enumerate(folders):
        for j, name in enumerate(FIELDS):
            try:
                at, values = read_bin(top / folder / name, first, last, entries)
            except FileNotFoundError:
                assert raw.count[i, j] == ABSENT and not len(raw.series(i, j))
                continue
            assert raw.count[i, j] == len(values)
            np.testing.assert_array_equal(raw.series(i, j), values)
            assert not len(values) or raw.first[i, j] == at


series = st.tuples(st.integers(0, 60), st.lists(st.floats(width=32), max_size=40)) | st.just(b"")
stores = st.dictionaries(st.tuples(st.sampled_from("abcde"), st.sampled_from(FIELDS)), series, max_size=8)


@given(
    content=stores,
    first=st.integers(-3, 110),
    length=st.integers(1, 110),
    threads=st.integers(1, 4),
    small=st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_many_files_read_what_read_bin_reads(tmp_path_factory, content, first, length, threads, small):
    top = write(tmp_path_factory.mktemp("arena"), content)
    folders, last = list("abcde"), first + length - 1
    before = arena._FILES_PER_THREAD, arena._VIRTUAL
    arena._FILES_PER_THREAD = 1
    arena._VIRTUAL = 3 if small else before[1]  # with the files measured first
    try:
        raw = read_many(str(top), folders, FIELDS, first, last, 100, threads=threads)
    finally:
        arena._FILES_PER_THREAD, arena._VIRTUAL = before
    check_against_read_bin(raw, top, folders, first, last, 100)
    check_against_read_bin(
        arena._read_plainly(str(top), folders, FIELDS, first, last, 100), top, folders, first, last, 100
    )


@pytest.mark.parametrize("length", [10, 2_000, 2_048, 2_049, 65_534, 65_535, 65_536, 200_000])
@pytest.mark.parametrize("start", [0, 3_000])
def test_files_of_every_size_and_any_part_of_them(tmp_path, length, start):
    content = {("a", FIELDS[0]): (start, np.arange(length)), ("b", FIELDS[1]): (0, np.arange(7.0))}
    top = write(tmp_path, content)
    end = start + length
    for entries in (end, end + 1, end + 5_000):
        for first in {0, 5, start, 2_048, 2_049, end - 2}:
            for last in {first, first + 9, end - 2, end - 1, entries - 1}:
                if not first <= last < entries:
                    continue
                raw = read_many(str(top), ["a", "b"], FIELDS, first, last, entries)
                check_against_read_bin(raw, top, ["a", "b"], first, last, entries)


DAMAGED = [
    b"\0" * 3,
    b"\0" * 7,
    struct.pack("<2f", float("nan"), 1),
    struct.pack("<2f", -3, 1),
    struct.pack("<2f", 1.5, 1),
    struct.pack("<2f", 2e7, 1),
    struct.pack("<2f", float("inf"), 1),
    struct.pack("<4f", 98, 1, 2, 3),
    struct.pack("<f", 101),
    struct.pack("<101f", *range(101)) + b"\0",
    struct.pack("<102f", *[0.0] * 102),
]


@pytest.mark.parametrize("content", DAMAGED)
@pytest.mark.parametrize("window", [(0, 99), (0, 0), (99, 99), (40, 60), (5, 4)])
def test_a_damaged_file_is_told_as_read_bin_tells_it(tmp_path, content, window):
    top = write(tmp_path, {("a", FIELDS[0]): (0, [1.0, 2.0]), ("b", FIELDS[1]): content, ("c", FIELDS[0]): b"\0"})
    said = []
    for read in (
        lambda: read_bin(top / "b" / FIELDS[1], *window, 100),
        lambda: read_many(str(top), ["a", "b", "c"], FIELDS, *window, 100),
        lambda: arena._read_plainly(str(top), ["a", "b", "c"], FIELDS, *window, 100),
    ):
        with pytest.raises(StoreError) as error:
            read()
        said.append(str(error.value))
    assert said[0] == said[1] == said[2], "the first damaged file, in the same words"
    assert read_many(str(top), ["a"], FIELDS, *window, 100).count[0, 1] == ABSENT


def test_a_large_damaged_file_is_told_too(tmp_path):
    top = write(tmp_path, {("a", FIELDS[0]): (0, np.arange(100_000))})
    with pytest.raises(StoreError, match="positions 0 to 99999, but its calendar has 99999 entries"):
        read_many(str(top), ["a"], FIELDS, 0, 10, 99_999)
    with (top / "a" / FIELDS[0]).open("ab") as file:
        file.write(b"\0\0")
    for window in ((0, 10), (0, 99_999), (50_000, 50_001)):
        with pytest.raises(StoreError, match="400006 bytes; a feature file holds whole float32 numbers"):
            read_many(str(top), ["a"], FIELDS, *window, 100_000)


def test_what_is_no_file_is_an_error_and_what_is_not_there_is_none(tmp_path):
    top = write(tmp_path, {("a", FIELDS[0]): (0, [1.0]), ("b", FIELDS[1]): (0, [2.0])})
    (top / "b" / FIELDS[0]).mkdir()
    (top / "file").write_bytes(b"")
    with pytest.raises(StoreError, match=r"b.close.day.bin: is not a feature file"):
        read_many(str(top), ["a", "b"], FIELDS, 0, 9, 10)
    with pytest.raises(StoreError, match=r"file.close.day.bin: is not a feature file"):
        read_many(str(top), ["file"], FIELDS, 0, 9, 10)
    with pytest.raises(ValueError, match="null byte"):
        read_many(str(top), ["a\0b"], FIELDS, 0, 9, 10)
    with pytest.raises(OSError, match="too long"):
        read_many(str(top), ["a" * 300], FIELDS, 0, 9, 10)
    for nowhere in (
        read_many(str(top / "gone"), ["a"], FIELDS, 0, 9, 10),
        read_many(str(top), ["c"], FIELDS, 0, 9, 10),
    ):
        assert nowhere.count.tolist() == [[ABSENT, ABSENT]]
    for folders, fields in (([], FIELDS), (["a"], []), ([], [])):
        assert read_many(str(top), folders, fields, 0, 9, 10).count.shape == (len(folders), len(fields))


@posix
def test_a_file_that_may_not_be_read_stops_the_query_and_a_folder_that_may_only_be_passed_does_not(tmp_path):
    top = write(tmp_path / "top", {("a", FIELDS[0]): (0, [1.0]), ("b", FIELDS[0]): (0, [2.0])})
    (top / "b" / FIELDS[0]).chmod(0)
    top.chmod(0o311)
    tmp_path.chmod(0o755)
    for folder in tmp_path.parents:  # pytest's own, and a worker's, are shut to others
        if os.geteuid() == 0 and folder.name.startswith(("pytest", "popen")):
            folder.chmod(0o755)

    def ask() -> str:
        if os.geteuid() == 0:
            os.setegid(65534)
            os.seteuid(65534)
        found = read_many(str(top), ["a"], FIELDS, 0, 9, 10).series(0, 0).tolist()
        try:
            read_many(str(top), ["a", "b"], FIELDS, 0, 9, 10)
        except PermissionError as error:
            return f"{found} {error.filename}"
        return "no error"

    try:
        assert in_child(ask) == f"[1.0] {top / 'b' / FIELDS[0]}"
    finally:
        top.chmod(0o755)


def in_child(work) -> str:
    """Return what `work` returns in a forked process, or how it fails there."""
    here, there = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(there, work().encode())
        except BaseException as error:  # noqa: BLE001  a forked test must not run on
            os.write(there, repr(error).encode())
        finally:
            os._exit(0)
    os.close(there)
    with os.fdopen(here, "rb") as answer:
        said = answer.read().decode()
    os.waitpid(child, 0)
    return said


@posix
def test_threads_leave_nothing_behind_and_a_fork_can_go_on_reading(tmp_path):
    content = {(f"s{i:03d}", name): (i % 7, np.arange(i % 50)) for i in range(400) for name in FIELDS}
    top = write(tmp_path, content)
    folders = sorted({folder for folder, _ in content})
    handles, threads = len(list(Path("/dev/fd").iterdir())), threading.active_count()
    one = read_many(str(top), folders, FIELDS, 0, 59, 60)
    two = read_many(str(top), folders, FIELDS, 0, 59, 60, threads=3)
    assert (len(list(Path("/dev/fd").iterdir())), threading.active_count()) == (handles, threads)
    for i in range(len(folders)):
        for j in range(len(FIELDS)):
            assert one.series(i, j).tobytes() == two.series(i, j).tobytes()
    assert (one.first == two.first).all() and (one.count == two.count).all()
    assert in_child(lambda: str(read_many(str(top), folders, FIELDS, 0, 59, 60, threads=3).count.sum())) == str(
        one.count.sum()
    )


@posix
def test_more_files_than_may_be_open_are_no_problem(tmp_path):
    top = write(tmp_path, {(f"s{i}", FIELDS[0]): (0, [float(i)]) for i in range(200)})

    def ask() -> str:
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        raw = read_many(str(top), [f"s{i}" for i in range(200)], FIELDS[:1], 0, 0, 1, threads=2)
        return str([int(raw.series(i, 0)[0]) for i in range(200)] == list(range(200)))

    assert in_child(ask) == "True"


@posix
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the size of the process is read from /proc")
def test_room_for_what_is_not_there_costs_no_memory(tmp_path):
    top = write(tmp_path, {(f"s{i}", FIELDS[0]): (0, [1.0] * 10) for i in range(50)})
    folders = [f"s{i}" for i in range(50)]

    def ask() -> str:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        first = read_many(str(top), folders, FIELDS, 0, 1_000_000, 1_000_001)  # 400 MB of room
        again = read_many(str(top), folders, FIELDS, 0, 15_000_000, 15_000_001)  # 6 GB: measured first
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        return f"{grown < 20_000} {len(again.values)} {int(first.count[:, 0].sum())}"

    assert in_child(ask) == "True 550 500"


def test_the_compiled_reader_refuses_arrays_that_do_not_fit():
    if not reader.AVAILABLE:
        with pytest.raises(NotImplementedError):
            reader.measure_files(b"", [], [], np.empty((0, 0), np.int64))
        return
    table = [np.zeros((1, 1), np.int64) for _ in range(3)]
    good = (b"x", [b"a"], [b"b"], 0, 4, 5, 1, np.empty(5, np.float32), np.array([0, 5]), *table)
    reader.read_files(*good)
    assert table[2][0, 0] == ABSENT
    for place, bad in (
        (3, -1),
        (3, 5),
        (4, 5),
        (8, np.array([0, 6])),
        (8, np.array([1, 5])),
        (8, np.array([0])),
        (9, np.zeros((1, 2), np.int64)),
        (11, np.zeros((2, 1), np.int64)),
    ):
        with pytest.raises(ValueError):  # noqa: PT011
            reader.read_files(*good[:place], bad, *good[place + 1 :])
    with pytest.raises(ValueError, match="fall"):
        reader.read_files(
            b"x", [b"a", b"b"], [], 0, 4, 5, 1, good[7], np.array([0, 5, 4]), *[np.zeros((2, 0), np.int64)] * 3
        )
    with pytest.raises(ValueError, match="shape"):
        reader.measure_files(b"x", [b"a"], [b"b"], np.empty((1, 2), np.int64))
