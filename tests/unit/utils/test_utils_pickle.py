"""What a pickle may and may not do when it is read."""

from __future__ import annotations

import datetime
import inspect
import io
import pickle
import pkgutil
import subprocess
from collections import OrderedDict, defaultdict
from importlib import import_module
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest

import qlib
from qlib.data.dataset.dataset import DatasetH
from qlib.data.dataset.loader import DataLoader
from qlib.data.dataset.processor import Fillna
from qlib.utils import pickle_utils
from qlib.utils.pickle_utils import RestrictedUnpickler, add_safe_class, get_safe_classes, restricted_pickle_loads
from qlib.utils.serial import Serializable

DAYS = pd.date_range("2020-01-01", periods=3)
ROWS = pd.MultiIndex.from_product([DAYS, ["A", "B"]], names=["datetime", "instrument"])
PLAIN = [
    {"a": [1, 2.5, None, "x"], "b": (True, b"y")},
    OrderedDict(a=1),
    defaultdict(list, a=[1]),
    {1, 2},
    slice(1, None),
    datetime.date(2020, 1, 1),
    datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC),
    Path("a/b"),
    np.float32(1.5),
    np.arange(6, dtype="f4").reshape(2, 3),
    np.asfortranarray(np.ones((3, 2))),
    np.array(["a", None], dtype=object),
    pd.Timestamp("2020-01-01 10:00", tz="UTC"),
    pd.Timedelta("3h"),
    DAYS,
    pd.date_range("2020-01-01", periods=3, freq="30min", tz="Asia/Shanghai"),
    pd.DatetimeIndex(["2020-01-01"], tz=ZoneInfo("Europe/Paris")),
    ROWS,
    pd.Series(np.arange(6.0), index=ROWS, name="score"),
    pd.DataFrame({"a": np.arange(6, dtype="f4"), "b": list("xyzxyz"), "c": pd.Categorical(list("aabbcc"))}, index=ROWS),
    pd.DataFrame(np.ones((6, 2)), index=ROWS, columns=pd.MultiIndex.from_tuples([("feature", "F"), ("label", "L")])),
    pd.period_range("2020", periods=2, freq="M"),
    pd.interval_range(0, 2),
    pd.Series([1, None], dtype="Int64"),
    pd.Series(["a", None], dtype="string"),
]


def same(a: object, b: object) -> bool:
    if isinstance(a, pd.DataFrame | pd.Series | pd.Index):
        return a.equals(b)
    if isinstance(a, np.ndarray):
        return np.array_equal(a, b)
    return a == b


@pytest.mark.parametrize("protocol", [4, 5])
@pytest.mark.parametrize("thing", PLAIN, ids=lambda thing: type(thing).__name__)
def test_plain_data_come_back_as_they_were(thing, protocol):
    assert same(thing, restricted_pickle_loads(pickle.dumps(thing, protocol)))


class Evil:
    def __init__(self, function, *args):
        self.function, self.args = function, args

    def __reduce__(self):
        return self.function, self.args


@pytest.mark.parametrize(
    "function, args",
    [
        (print, ("x",)),
        (eval, ("1",)),
        (getattr, (pd.DataFrame, "eval")),
        (subprocess.run, (["true"],)),
        (pd.read_pickle, ("x",)),
        (pd.eval, ("1",)),
        (np.load, ("x",)),
        (np.fromfile, ("x",)),
        (import_module, ("os",)),
    ],
)
def test_a_callable_outside_the_table_is_refused(function, args):
    with pytest.raises(pickle.UnpicklingError):
        restricted_pickle_loads(pickle.dumps(Evil(function, *args)))


@pytest.mark.parametrize(
    "module, name",
    [
        ("pandas", "io.common.os.system"),
        ("numpy", "f2py.os.system"),
        ("pandas_x", "DataFrame"),
        ("pandas", "core"),
        ("os", "system"),
    ],
)
def test_a_dotted_name_and_a_lookalike_module_are_refused(module, name):
    with pytest.raises(pickle.UnpicklingError, match="the pickle names"):
        RestrictedUnpickler(io.BytesIO(b"")).find_class(module, name)


def test_getattr_reaches_time_zones_only():
    with pytest.raises(pickle.UnpicklingError, match="only time zones"):
        restricted_pickle_loads(pickle.dumps(Evil(getattr, ZoneInfo, "clear_cache")))


def test_a_constructor_that_takes_a_configuration_is_never_called():
    config = {"handler": {"class": "Popen", "module_path": "subprocess", "kwargs": {"args": ["true"]}}, "segments": {}}
    with pytest.raises(pickle.UnpicklingError, match="calls DatasetH"):
        restricted_pickle_loads(pickle.dumps(Evil(DatasetH, config, {})))


def test_a_class_cannot_be_changed_by_its_state():
    # GLOBAL pandas.DataFrame; state (None, {"to_csv": 1}); BUILD
    code = b"\x80\x04\x8c\x06pandas\x8c\x09DataFrame\x93N}\x8c\x06to_csvK\x01s\x86b."
    with pytest.raises(pickle.UnpicklingError, match="only instances"):
        restricted_pickle_loads(code)
    assert callable(pd.DataFrame.to_csv)


def test_an_object_of_this_package_is_restored_from_its_state():
    back = restricted_pickle_loads(pickle.dumps(Fillna(fields_group="feature", fill_value=2)))
    assert (type(back), back.fields_group, back.fill_value) == (Fillna, "feature", 2)


class Mine(Serializable):
    def __init__(self):
        super().__init__()
        self.rule, self._data = [1, 2], np.ones(3)


class Unknown:
    pass


def test_a_class_of_the_running_program_can_be_read_back():
    assert restricted_pickle_loads(pickle.dumps(Mine())).rule == [1, 2]


def test_a_class_can_be_vouched_for(monkeypatch):
    monkeypatch.setattr(pickle_utils, "SAFE_PICKLE_CLASSES", set(pickle_utils.SAFE_PICKLE_CLASSES))
    data = pickle.dumps(Unknown())
    with pytest.raises(pickle.UnpicklingError, match="add_safe_class"):
        restricted_pickle_loads(data)
    add_safe_class(Unknown.__module__, "Unknown")
    assert isinstance(restricted_pickle_loads(data), Unknown)


def test_every_name_of_the_table_that_imports_here_is_a_class_or_function():
    for module, name in get_safe_classes():
        try:
            found = getattr(import_module(module.replace("numpy.core.", "numpy._core.")), name, None)
        except ImportError:
            continue  # a room that another pandas or a later issue brings
        assert found is None or callable(found) or name in {"Ellipsis", "NaT", "NA"}, (module, name)


def test_every_class_of_this_package_that_is_saved_by_rule_is_in_the_table():
    for info in pkgutil.walk_packages(qlib.__path__, "qlib."):
        rooms = ("qlib.data.dataset", "qlib.contrib.data", "qlib.contrib.model", "qlib.model", "qlib.crypto.handler")
        if info.name.startswith(rooms):
            import_module(info.name)
    table = pickle_utils._pairs(pickle_utils._STATE_ONLY)
    todo, seen = [Serializable, DataLoader], set()
    while todo:
        for cls in todo.pop().__subclasses__():
            todo.append(cls)
            hidden = inspect.isabstract(cls) or cls.__name__.startswith("_")
            if cls.__module__.startswith("qlib.") and not hidden:
                seen.add((cls.__module__, cls.__name__))
    assert seen - table == set()


def test_no_random_bytes_do_anything_but_fail_or_give_plain_data():
    rng = np.random.default_rng(0)
    whole = pickle.dumps(PLAIN[-4], 4)
    for _ in range(300):
        broken = bytearray(whole)
        for place in rng.integers(0, len(broken), 3):
            broken[place] = rng.integers(0, 256)
        try:
            restricted_pickle_loads(bytes(broken))
        except Exception as error:  # noqa: BLE001  any error will do; a crash or a side effect will not
            assert not isinstance(error, SystemExit)
