"""Proof: whatever is dumped in whatever order, the store is one full dump of it all; kill -9 never leaves a part.

The oracle is a dict of cells, written as plainly as can be: (instrument, field, date) -> number.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from proof import cases

from qlib.collect.dump import dump_all, dump_fix, dump_update
from qlib.config import build_settings
from qlib.data.provider import Provider
from qlib.data.storage.binary import read_bin
from qlib.errors import InputError

DAY = pd.Timestamp("2024-02-25")  # the days around a leap day
COMMANDS = {"all": dump_all, "fix": dump_fix, "update": dump_update}
NAMES = ["AAA", "B/B", "NUL", "NA", "CCC"]
FIELDS = ["close", "vol", "x"]


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def text_of(day: int) -> str:
    return (DAY + pd.Timedelta(days=day)).strftime("%Y-%m-%d")


# ---------------------------------------------------------------------- the oracle
class Model:
    """What a store ought to hold."""

    def __init__(self) -> None:
        self.calendar: set[int] = set()
        self.cells: dict[tuple[str, str], dict[int, float]] = {}
        self.days: dict[str, set[int]] = {}  # in the order in which the instruments came

    def apply(self, command: str, tables: dict[str, tuple[list[str], dict[int, list[float]]]]) -> bool:
        """Do what a command does; False where it must refuse."""
        dates = {day for _, rows in tables.values() for day in rows}
        if command != "all" and not self.calendar:
            return False
        if command == "fix" and not dates <= self.calendar:
            return False
        if command == "all":
            self.__init__()
        self.calendar |= dates
        for name in sorted(tables):
            fields, rows = tables[name]
            self.days.setdefault(name, set()).update(rows)
            for at, field in enumerate(fields):
                cells = self.cells.setdefault((name, field), {})
                for day, values in rows.items():
                    if command != "update" or math.isnan(cells.get(day, math.nan)):
                        cells[day] = values[at]
        return True

    def folder(self, name: str) -> str:
        return {"B/B": "b%2fb", "NUL": "_qlib_nul"}.get(name, name.lower())

    def files(self) -> dict[str, bytes]:
        order = sorted(self.calendar)
        place = {day: at for at, day in enumerate(order)}
        files = {"calendars/day.txt": "".join(f"{text_of(day)}\n" for day in order).encode()}
        files["instruments/all.txt"] = "".join(
            f"{name}\t{text_of(min(days))}\t{text_of(max(days))}\n" for name, days in self.days.items()
        ).encode()
        for (name, field), cells in self.cells.items():
            first, last = place[min(cells)], place[max(cells)]
            values = [cells.get(day, math.nan) for day in order[first : last + 1]]
            files[f"features/{self.folder(name)}/{field}.day.bin"] = struct.pack(f"<{len(values) + 1}f", first, *values)
        return files


numbers = st.one_of(st.floats(width=32, allow_infinity=False, allow_nan=False), st.just(math.nan))


@st.composite
def tables(draw: st.DrawFn) -> dict[str, tuple[list[str], dict[int, list[float]]]]:
    """A few instruments with any fields, on any days in any order: gaps, late listings, early ends."""
    found = {}
    for name in draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=3, unique=True)):
        fields = draw(st.lists(st.sampled_from(FIELDS), min_size=1, unique=True))
        days = draw(st.lists(st.integers(0, 12), min_size=1, max_size=8, unique=True))
        found[name] = fields, {day: [draw(numbers) for _ in fields] for day in days}
    return found


runs = st.lists(
    st.tuples(
        st.sampled_from(["all", "fix", "update", "update"]),
        tables(),
        st.sampled_from(["csv", "gz", "parquet", "frames"]),
    ),
    min_size=1,
    max_size=6,
)


def frame_of(fields: list[str], rows: dict[int, list[float]]) -> pd.DataFrame:
    frame = pd.DataFrame(list(rows.values()), columns=fields, dtype=float)
    return frame.assign(date=[text_of(day) for day in rows])


def deliver(given_tables, kind: str, folder: Path):
    """Write the tables as files of a kind; return data_path and options."""
    frames = {name: frame_of(*table) for name, table in given_tables.items()}
    if kind == "frames":
        return dict(sorted(frames.items())), {}
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    suffix = {"csv": ".csv", "gz": ".csv.gz", "parquet": ".parquet"}[kind]
    for name, frame in frames.items():
        path = folder / f"{Model().folder(name)}{suffix}"
        if kind == "parquet":
            frame.to_parquet(path)
        else:
            frame.to_csv(path, index=False)
    return folder, {"file_suffix": suffix, "max_workers": 2}


def in_any_order(files: dict[str, bytes]) -> dict[str, bytes]:
    return files | {"instruments/all.txt": b"\n".join(sorted(files["instruments/all.txt"].split(b"\n")))}


@given(runs)
@settings(max_examples=cases(25, 1500), deadline=None, suppress_health_check=list(HealthCheck))
def test_any_sequence_of_runs_is_one_full_dump_of_the_union(tmp_path_factory, sequence):
    top = tmp_path_factory.mktemp("u")
    root, model = top / "s", Model()
    for command, given_tables, kind in sequence:
        before = contents(root)
        data, options = deliver(given_tables, kind, top / "in")
        if model.apply(command, given_tables):
            COMMANDS[command](data, root, **options)
            assert in_any_order(contents(root)) == in_any_order(model.files())
        else:
            with pytest.raises(InputError):
                COMMANDS[command](data, root, **options)
            assert contents(root) == before
        assert {path.name for path in top.iterdir()} <= {"s", "in"}, "nothing is left beside the store"
    if not model.calendar:
        return
    # One dump of the union, where a field's absence is an empty cell: same calendar, names and values.
    union = {}
    for name, days in model.days.items():
        fields = [field for one, field in model.cells if one == name]
        union[name] = fields, {d: [model.cells[name, f].get(d, math.nan) for f in fields] for d in sorted(days)}
    data, options = deliver(union, "frames", top / "in")
    dump_all(data, top / "once", **options)
    once, found = contents(top / "once"), contents(root)
    assert once.keys() == found.keys() and once["calendars/day.txt"] == found["calendars/day.txt"]
    assert in_any_order(once)["instruments/all.txt"] == in_any_order(found)["instruments/all.txt"]
    for file in found:
        if file.endswith(".bin"):
            np.testing.assert_array_equal(
                dense(top / "once" / file, len(model.calendar)), dense(root / file, len(model.calendar))
            )
    shutil.rmtree(top)


def dense(path: Path, length: int) -> np.ndarray:
    start, values = read_bin(path)
    whole = np.full(length, np.nan, np.float32)
    whole[start : start + len(values)] = values
    return whole


def test_the_provider_reads_the_union(tmp_path):
    """The same through the front door, once: the values on their dates, whatever the order of the runs."""
    frames = {"AAA": {d: d * 1.5 for d in (0, 1, 2, 5, 9)}, "B/B": {d: d + 0.25 for d in (1, 3, 4, 9)}}
    root = tmp_path / "s"
    tables_of = lambda days: {n: (["close"], {d: [v] for d, v in c.items() if d in days}) for n, c in frames.items()}  # noqa: E731
    for command, days in (("all", {1, 5}), ("update", {9, 3}), ("update", {0, 2}), ("update", {4, 5})):
        chosen = {name: table for name, table in tables_of(days).items() if table[1]}
        COMMANDS[command](deliver(chosen, "frames", tmp_path)[0], root)
    p = Provider(build_settings(provider_uri=root))
    found = p.features(list(frames), ["$close"])["$close"].dropna()
    wanted = {(n, DAY + pd.Timedelta(days=d)): np.float32(v) for n, cells in frames.items() for d, v in cells.items()}
    assert found.to_dict() == wanted


# ---------------------------------------------------------------------- kill -9
KILLER = r"""
import json, os, random, shutil, signal, sys, time, warnings
from pathlib import Path
import qlib.collect.dump as dump
from qlib.data.storage import transaction

top, points, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
chance = random.Random(seed)
commands = {"all": dump.dump_all, "fix": dump.dump_fix, "update": dump.dump_update}

def contents(root):
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}

def run(command, root):
    return commands[command](top / command, root, max_workers=2)

def count_steps(last):
    '''Kill this very process at the step `last` of those that touch the disk; return the counter.'''
    seen = [0]
    def counted(call):
        def step(*a, **k):
            seen[0] += 1
            if seen[0] == last:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*a, **k)
        return step
    for name in ("open", "write", "mkdir", "link", "rename", "unlink", "rmdir", "fsync", "close"):
        setattr(os, name, counted(getattr(os, name)))
    transaction._exchange = counted(transaction._exchange)
    transaction._sync_file_system = counted(transaction._sync_file_system)
    return seen

def in_child(work):
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(0)
    return child

told = []
for number in range(points):
    command = ("all", "fix", "update")[number % 3]
    root = top / f"k{number}" / "s"
    if command in ("fix", "update") or chance.random() < 0.7:
        shutil.copytree(top / "old", root)
    else:
        root.parent.mkdir()
    before = contents(root)
    whole = top / f"k{number}" / "whole"
    if before:
        shutil.copytree(root, whole)
    begun = time.perf_counter()
    run(command, whole)
    took = time.perf_counter() - begun
    after = contents(whole)
    if number % 2:  # at a step that touches the disk
        read, write = os.pipe()
        def tally():
            seen = count_steps(-1)
            probe = top / f"k{number}" / "probe"
            if before:
                shutil.copytree(root, probe)
            start = seen[0]
            run(command, probe)
            os.write(write, f"{start} {seen[0]}".encode())
        child = in_child(tally)
        os.waitpid(child, 0)
        start, end = map(int, os.read(read, 100).split())
        at = chance.randrange(1, end - start + 1)
        def work():
            count_steps(at)
            run(command, root)
        child = in_child(work)
    else:  # at a moment
        child = in_child(lambda: run(command, root))
        time.sleep(chance.uniform(0, took * 1.2))
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    left = contents(root)
    state = "old" if left == before else "new" if left == after else "MIXED"
    run(command, root) if (root.exists() or command == "all") else None
    beside = sorted(p.name for p in root.parent.iterdir())
    told.append({
        "command": command, "killed": os.WIFSIGNALED(status), "state": state,
        "same": contents(root) == after, "beside": beside,
    })
    shutil.rmtree(top / f"k{number}")
print(json.dumps(told))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks and kills")
def test_kill_9_at_any_moment_leaves_the_old_store_or_the_new_one(tmp_path):
    chance = np.random.default_rng(5)
    for folder, days in (
        ("old", range(60)),
        ("all", range(5, 70)),
        ("fix", range(20, 40)),
        ("update", [3, *range(55, 80)]),
    ):
        (tmp_path / folder).mkdir()
        for name in range(6):
            kept = [day for day in days if folder == "fix" or chance.random() < 0.8] or [0]
            frame = pd.DataFrame(chance.normal(size=(len(kept), 3)), columns=list("abc"))
            frame.assign(date=[text_of(day) for day in kept]).to_csv(tmp_path / folder / f"s{name}.csv", index=False)
    (tmp_path / "old").rename(tmp_path / "csv")
    dump_all(tmp_path / "csv", tmp_path / "old")
    points = cases(24, 300)
    done = subprocess.run(
        [sys.executable, "-c", KILLER, str(tmp_path), str(points), "11"],
        capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert len(told) == points
    assert [one for one in told if one["state"] == "MIXED"] == []
    assert [one for one in told if not one["same"]] == [], "a second run gives the same bytes"
    assert all(one["beside"] == ["probe", "s", "whole"] or one["beside"] == ["s", "whole"] for one in told)
    assert sum(one["killed"] for one in told) >= points // 2
    assert {one["state"] for one in told} == {"old", "new"}
