"""Objects saved as a readable folder come back equal to the bit, run no code, and are old or new, never half."""

from __future__ import annotations

import datetime as dt
import json
import multiprocessing
import os
import pickle
import signal
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from proof import cases

from qlib.errors import ConfigError, InputError, StoreError
from qlib.utils import spec
from qlib.utils.pickle_utils import SAFE_PICKLE_CLASSES, STATE_ONLY_CLASSES, add_safe_class
from qlib.utils.serial import Serializable
from qlib.utils.spec import SPEC, is_spec, read_spec, write_spec


class Thing(Serializable):
    def __init__(self, **state):
        super().__init__()
        self.__dict__.update(state)


class Pair(NamedTuple):
    left: int
    right: int


class Plain:
    """A class nobody vouched for."""


def there_and_back(value, folder):
    return Thing.load(Thing(value=value).save(folder)).value


def same(a, b):
    """Equal in type and to the bit."""
    assert type(a) is type(b), (a, b)
    if isinstance(a, np.ndarray):
        assert a.dtype == b.dtype
        assert a.shape == b.shape
        assert a.tobytes() == b.tobytes()
    elif isinstance(a, pd.DataFrame | pd.Series):
        (pd.testing.assert_frame_equal if isinstance(a, pd.DataFrame) else pd.testing.assert_series_equal)(a, b)
        if isinstance(a, pd.DataFrame):
            for left, right in zip(
                (a.iloc[:, i] for i in range(a.shape[1])), (b.iloc[:, i] for i in range(b.shape[1])), strict=True
            ):
                if isinstance(left.dtype, np.dtype) and left.dtype.kind in "fiub":
                    assert left.to_numpy().tobytes() == right.to_numpy().tobytes()
    elif isinstance(a, pd.Index):
        pd.testing.assert_index_equal(a, b)
    elif isinstance(a, list | tuple):
        assert len(a) == len(b)
        for left, right in zip(a, b, strict=True):
            same(left, right)
    elif isinstance(a, dict):
        assert list(a) == list(b)
        for key in a:
            same(a[key], b[key])
    elif isinstance(a, float):
        assert np.float64(a).tobytes() == np.float64(b).tobytes() or (a != a and b != b)
    else:
        assert a == b or (a is pd.NaT and b is pd.NaT)


DATES = pd.DatetimeIndex(["2020-01-01", "2020-01-02", "2020-01-03"])
ROWS = pd.MultiIndex.from_product([DATES, ["A", "B"]], names=["datetime", "instrument"])
BLOCK = np.arange(12.0, dtype="f4").reshape(6, 2)
VALUES = {
    "numbers": [0, -1, 2**80, True, 1.5, -0.0, float("nan"), float("inf"), 1e-320, np.float32(0.1), np.int8(3)],
    "texts": ["", "ü%$\n", {"$object": "os.system"}, {"a": {"$ref": 0}}, {(1, "x"): [None]}],
    "times": [
        pd.Timestamp("2020-01-01 09:30:00.000000001"),
        dt.date(2020, 1, 1),
        dt.datetime(2020, 1, 1, 5),
        pd.NaT,
        pd.Timedelta("90s"),
    ],
    "others": [slice("2020-01-01", None), (1, (2,)), {3, 1}, frozenset("ab"), Path("a/b")],
    "arrays": [
        np.array([1, 2]),
        np.array([1.5, np.nan]),
        np.zeros((2, 3), "f4"),
        np.array(["a", "bc"]),
        DATES.to_numpy(),
        np.array([], bool),
    ],
    "frame": pd.DataFrame(BLOCK, index=ROWS, columns=pd.MultiIndex.from_tuples([("feature", "x"), ("label", "y")])),
    "mixed": pd.DataFrame({"i": [1, 2], "t": ["a", None], "b": [True, False], "d": DATES[:2]}, index=["u", "v"]),
    "bare": pd.DataFrame(index=ROWS),
    "empty": pd.DataFrame({"x": np.array([], "f4")}, index=ROWS[:0]),
    "codes": pd.DataFrame(BLOCK[:2], index=ROWS[[5, 0]]),
    "series": pd.Series(BLOCK[:, 0], index=ROWS, name=("feature", "x")),
    "no columns": pd.DataFrame(index=ROWS, columns=pd.MultiIndex.from_arrays([[], []])),
    "long": pd.MultiIndex.from_product([range(40), list("abcdefghijklmnopqrstuvwxyz")], names=["n", None]),
    "brackets": [["a [ \n b", "{", "]"], {"x": "[\n]"}],
    "indexes": [ROWS[:0], ROWS, DATES, pd.RangeIndex(2, 8, 3), pd.Index(["a", "b"], name="n"), pd.Index([1.5, 2])],
}


@pytest.mark.parametrize("name", VALUES)
def test_values_come_back_equal_to_the_bit(name, tmp_path):
    same(there_and_back(VALUES[name], tmp_path / "o"), VALUES[name])


@settings(max_examples=cases(25, 100))
@given(arrays(st.sampled_from(["f4", "f8", "i8", "u1", "?"]), array_shapes(max_dims=2, max_side=40)))
def test_any_array_and_frame_comes_back(tmp_path_factory, array):
    folder = tmp_path_factory.mktemp("a") / "o"
    values = [array, pd.DataFrame(array)] if array.ndim == 2 else [array]
    same(there_and_back(values, folder), values)


@settings(max_examples=cases(25, 100))
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.dates(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
        max_leaves=20,
    )
)
def test_any_table_comes_back(tmp_path_factory, value):
    same(there_and_back(value, tmp_path_factory.mktemp("t") / "o"), value)


def test_what_is_shared_is_written_once_and_shared_again(tmp_path):
    frame, child = VALUES["frame"], Thing(x=1)
    thing = Thing(a=frame, b=frame, c=child, d=[child])
    thing.me = thing
    back = Thing.load(thing.save(tmp_path / "o"))
    assert back.a is back.b
    assert back.c is back.d[0]
    assert back.me is back
    assert len(list((tmp_path / "o").glob("*.arrow"))) == 1


def test_the_file_can_be_read_by_people(tmp_path):
    text = (Thing(rule="mean", window=5, learned=np.array([0.5, 2.0])).save(tmp_path / "o") / SPEC).read_text()
    state = json.loads(text)["root"]["state"]
    assert state["rule"] == "mean"
    assert state["learned"]["$array"] == [0.5, 2.0]


def test_data_can_be_left_out(tmp_path):
    thing = Thing(rule=1, _data=VALUES["frame"])
    assert "_data" in vars(Thing.load(thing.save(tmp_path / "all")))
    assert set(vars(Thing.load(thing.save(tmp_path / "rules", data=False)))) == {"rule"}
    assert not thing.dump_all


# ------------------------------------------------------------------------------------------------------------- refusals
def function():
    raise AssertionError("a saved object ran code")


@pytest.mark.parametrize(
    "value",
    [
        function,
        Plain(),
        print,
        Plain,
        object(),
        np.array([object()]),
        1j,
        Pair(1, 2),
        pd.Timestamp("2020", tz="UTC"),
        pd.DataFrame({"x": [object()]}),
        pd.Index([object()]),
    ],
)
def test_what_only_code_could_bring_back_is_refused_and_the_old_object_stays(value, tmp_path):
    Thing(value=1).save(tmp_path / "o")
    before = {path.name: path.read_bytes() for path in (tmp_path / "o").iterdir()}
    with pytest.raises(ConfigError, match=r"Thing\.value\[1\].*cannot be saved|time zone"):
        Thing(value=[VALUES["frame"], value]).save(tmp_path / "o")
    assert {path.name: path.read_bytes() for path in (tmp_path / "o").iterdir()} == before
    with pytest.raises(ConfigError):
        Thing(value=value).save(tmp_path / "new")
    assert not (tmp_path / "new").exists()


def edited(tmp_path, change):
    folder = Thing(value=VALUES["frame"], few=np.array([1.0])).save(tmp_path / "o")
    spec = json.loads((folder / SPEC).read_text())
    change(spec)
    (folder / SPEC).write_text(json.dumps(spec))
    return folder


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        (lambda s: s["root"].update({"$object": "system", "module_path": "os"}), ConfigError, "the class os.system"),
        (lambda s: s["root"].update({"$object": "dict", "module_path": "builtins"}), ConfigError, "builtins.dict"),
        (lambda s: s["root"].update({"$object": "Index", "module_path": "pandas"}), ConfigError, "pandas.Index"),
        (lambda s: s["root"].update({"$object": "Thingg"}), ConfigError, "did you mean Thing"),
        (lambda s: s["root"]["state"].update({"__class__": 1}), StoreError, "special attributes"),
        (lambda s: s.update(root={"$odd": 1}), StoreError, "does not know"),
        (lambda s: s.update(version=99), ConfigError, "version 99; this program reads 1"),
        (lambda s: s.update(format="x"), StoreError, "no saved object"),
        (lambda s: s["root"].pop("state"), StoreError, "damaged"),
        (lambda s: s["root"]["state"]["value"]["$frame"].update(file="../x.arrow"), StoreError, "does not list"),
        (lambda s: s["root"]["state"]["value"]["$frame"].update(dtypes=["f4"]), StoreError, "damaged"),
        (lambda s: s["root"]["state"]["few"].update(dtype="O"), StoreError, "damaged"),
        (lambda s: s["root"]["state"].update(few={"$ref": 77}), StoreError, "damaged"),
        (lambda s: s.pop("files"), StoreError, "damaged"),
    ],
)  # fmt: skip
def test_a_spec_that_was_tampered_with_is_refused(change, error, text, tmp_path):
    with pytest.raises(error, match=text):
        read_spec(edited(tmp_path, change))


@pytest.mark.parametrize(
    "harm",
    [
        lambda p: p.write_bytes(p.read_bytes()[:-7]),
        lambda p: p.unlink(),
        lambda p: p.write_bytes(p.read_bytes().replace(b"\0", b"\1", 1)),
    ],
)
def test_damaged_arrays_are_named(harm, tmp_path):
    folder = Thing(value=VALUES["frame"]).save(tmp_path / "o")
    array = next(folder.glob("*.arrow"))
    harm(array)
    with pytest.raises(StoreError, match=array.name):
        read_spec(folder)


def test_a_folder_with_other_files_is_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="holds other files"):
        Thing(value=1).save(tmp_path)
    with pytest.raises(StoreError, match="no saved object"):
        Thing.load(tmp_path)
    with pytest.raises(InputError, match="is a file"):
        Thing(value=1).save(tmp_path / "notes.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_an_object_of_another_class_is_an_error(tmp_path):
    class_ = type("Other", (Serializable,), {"__module__": __name__})
    with pytest.raises(TypeError, match="holds a Thing; a Other was expected"):
        class_.load(Thing(value=1).save(tmp_path / "o"))


def test_a_class_that_somebody_vouches_for_is_restored(tmp_path):
    plain = Plain()
    plain.x = 1
    add_safe_class(__name__, "Plain")
    try:
        assert there_and_back(plain, tmp_path / "o").x == 1
    finally:
        SAFE_PICKLE_CLASSES.discard((__name__, "Plain"))
    with pytest.raises(ConfigError, match="Plain"):
        read_spec(tmp_path / "o")


# --------------------------------------------------------------------------------------------------------- half writes
def _save_for_ever(folder):
    number = 0
    while True:
        number += 1
        frame = pd.DataFrame(np.full((20_000, 4), number, "f4"))
        write_spec(Thing(number=number, frame=frame), folder)


def test_a_kill_at_any_moment_leaves_a_whole_object(tmp_path):
    folder = tmp_path / "o"
    Thing(number=0, frame=pd.DataFrame(np.zeros((20_000, 4), "f4"))).save(folder)
    rng = np.random.default_rng(0)
    for _ in range(cases(5, 50)):
        writer = multiprocessing.get_context("fork").Process(target=_save_for_ever, args=(folder,))
        writer.start()
        writer.join(float(rng.uniform(0.02, 0.12)))
        os.kill(writer.pid, signal.SIGKILL)
        writer.join()
        thing = Thing.load(folder)
        assert (thing.frame == thing.number).all(axis=None)
    for path in folder.iterdir():
        os.utime(path, (0, 0))
    Thing(number=-1).save(folder)  # what the killed ones left behind long ago is swept away
    assert [path.name for path in folder.iterdir()] == [SPEC]


def test_who_was_killed_the_first_time_may_try_again(tmp_path):
    folder = Thing(value=VALUES["frame"]).save(tmp_path / "o")
    (folder / SPEC).unlink()
    (folder / ".spec.json.123-0a1b2c3d.tmp").write_bytes(b"{")
    assert Thing.load(Thing(value=2).save(folder)).value == 2


def test_a_reader_that_is_overtaken_reads_the_new_object(tmp_path, monkeypatch):
    folder = Thing(value=VALUES["frame"]).save(tmp_path / "o")
    fingerprint = spec._fingerprint

    def replaced_meanwhile(path):
        monkeypatch.setattr(spec, "_fingerprint", fingerprint)
        Thing(value=VALUES["series"]).save(folder)
        return fingerprint(path)

    monkeypatch.setattr(spec, "_fingerprint", replaced_meanwhile)
    same(Thing.load(folder).value, VALUES["series"])


def test_a_full_disk_leaves_the_old_object(tmp_path, monkeypatch):
    folder = Thing(value=1).save(tmp_path / "o")
    before = sorted(path.name for path in folder.iterdir())
    monkeypatch.setattr(os, "fsync", lambda handle: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space left"):
        Thing(value=VALUES["frame"]).save(folder)
    assert sorted(path.name for path in folder.iterdir()) == before
    assert Thing.load(folder).value == 1


def test_pickles_are_not_read_as_folders_nor_folders_as_pickles(tmp_path):
    Thing(value=1).to_pickle(tmp_path / "x.pkl")
    assert not is_spec(tmp_path / "x.pkl")
    assert Thing.load(tmp_path / "x.pkl").value == 1
    with pytest.raises(pickle.UnpicklingError):
        (tmp_path / "bad.pkl").write_bytes(pickle.dumps(function))
        Thing.load(tmp_path / "bad.pkl")
    assert (__name__, "Thing") in STATE_ONLY_CLASSES
