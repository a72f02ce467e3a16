"""Loaders: formulas, frames, files, and other loaders."""

from __future__ import annotations

import logging
import pickle
from importlib.util import find_spec

import numpy as np
import pandas as pd
import pytest

from qlib.data.dataset import loader as loaders
from qlib.data.dataset.handler import DataHandlerLP
from qlib.data.dataset.loader import DataLoaderDH, DLWParser, NestedDataLoader, QlibDataLoader, StaticDataLoader
from qlib.errors import ConfigError, MissingDataError

DATES = pd.date_range("2020-01-01", periods=4)


@pytest.fixture(autouse=True)
def _log_is_seen(monkeypatch):
    """qlib.init, in another test, may have cut the logger `qlib` off from pytest's."""
    monkeypatch.setattr(logging.getLogger("qlib"), "propagate", True)


def frame(group="feature", names=("F0", "F1"), instruments="AB", value=0.0):
    index = pd.MultiIndex.from_product([DATES, list(instruments)], names=["datetime", "instrument"])
    columns = pd.MultiIndex.from_tuples([(group, name) for name in names])
    return pd.DataFrame(
        np.arange(len(index) * len(names)).reshape(len(index), -1) + value, index=index, columns=columns
    )


class Store:
    """Stands for the provider: every formula is worth its length, plus the row's place."""

    def __init__(self):
        self.calls = []
        self.settings = {"compat": None}

    def instruments(self, market, filter_pipe=None):
        return {"market": market, "filter_pipe": filter_pipe}

    def features(self, instruments, fields, start, end, freq, inst_processors, *, by_time=False):
        self.calls.append((instruments, tuple(fields), start, end, freq, inst_processors))
        index = pd.MultiIndex.from_product([["B", "A"], DATES], names=["instrument", "datetime"])
        values = {f: (np.arange(len(index)) + 100 * len(f)).astype("f4") for f in fields}
        frame = pd.DataFrame(values, index=index)
        return frame.swaplevel().sort_index() if by_time else frame


@pytest.fixture
def store(monkeypatch):
    store = Store()
    monkeypatch.setattr(loaders, "active_provider", lambda: store)
    return store


GROUPS = {"feature": (["$close", "$open"], ["C", "O"]), "label": (["Ref($close,-1)", "$close"], ["L", "C"])}


def test_groups_of_one_frequency_are_one_query_and_shared_formulas_are_asked_for_once(store):
    df = QlibDataLoader(GROUPS, freq="60min").load("csi300", "2020-01-01", "2020-01-04")
    market = {"market": "csi300", "filter_pipe": None}
    assert store.calls == [(market, ("$close", "$open", "Ref($close,-1)"), "2020-01-01", "2020-01-04", "60min", [])]
    assert df.columns.tolist() == [("feature", "C"), ("feature", "O"), ("label", "L"), ("label", "C")]
    assert df.index.names == ["datetime", "instrument"]
    assert df.index.is_monotonic_increasing
    assert df[("feature", "C")].equals(df[("label", "C")].rename(("feature", "C")))
    assert df.loc[(DATES[0], "A"), ("feature", "C")] == 604
    assert df.dtypes.eq("f4").all()


def test_by_qlibs_rules_groups_of_several_frequencies_are_several_queries(store):
    store.settings = {"compat": "qlib"}
    df = QlibDataLoader(GROUPS, freq={"feature": "day", "label": "60min"}).load(["A", "B"])
    assert [call[4] for call in store.calls] == ["day", "60min"]
    assert df.columns.tolist() == [("feature", "C"), ("feature", "O"), ("label", "L"), ("label", "C")]


def test_instrument_processors_are_handed_on_by_group(store):
    QlibDataLoader(GROUPS, inst_processors={"label": ["X"]}).load("all")
    QlibDataLoader(GROUPS, inst_processors=["Y"]).load("all")
    assert [call[5] for call in store.calls] == [[], ["X"], ["Y"], ["Y"]]


def test_the_order_of_the_store_can_be_kept(store):
    df = QlibDataLoader(["$close"], swap_level=False).load(["A"])
    assert df.index.names == ["instrument", "datetime"]
    assert df.columns.tolist() == ["$close"]


def test_filters_need_a_market_and_instruments_default_to_all(store, caplog):
    with caplog.at_level(logging.WARNING):
        QlibDataLoader(["$close"], filter_pipe=["F"]).load()
        assert store.calls[0][0] == {"market": "all", "filter_pipe": ["F"]}
        assert "loading the market 'all'" in caplog.text
        QlibDataLoader(["$close"], filter_pipe=["F"]).load(["A"])
        assert "filter_pipe is only used with the name of a market" in caplog.text


@pytest.mark.parametrize(
    "config, kwargs, text",
    [
        ([], {}, "received \\[\\]"),
        ({"feature": ((), ())}, {}, "no formula"),
        ({"feature": (["$close"], ["A", "B"])}, {}, "group feature: received 1 formulas and 2 names"),
        ("$close", {}, "received '\\$close'"),
        ([1, 2], {}, "allowed are"),
        (GROUPS, {"freq": {"feature": "day"}}, "names no frequency for the groups \\['label'\\]"),
        (["$close"], {"freq": {"feature": "day"}}, "have one frequency"),
        (["$close"], {"inst_processors": "X"}, "inst_processors: received 'X'"),
    ],
)
def test_fields_that_cannot_be_used_are_named(config, kwargs, text):
    with pytest.raises(ConfigError, match=text):
        QlibDataLoader(config, **kwargs)


def test_a_subclass_that_loads_groups_its_own_way_is_asked_group_by_group(store):
    class Mine(QlibDataLoader):
        def load_group_df(self, instruments, exprs, names, start_time=None, end_time=None, gp_name=None):
            return super().load_group_df(instruments, exprs, names, start_time, end_time, gp_name) * 0

    assert (Mine(GROUPS).load("all") == 0).all(axis=None)
    assert len(store.calls) == 2
    with pytest.raises(TypeError, match="abstract"):
        DLWParser(["$close"])


# -------------------------------------------------------------------------------------------------------- frames, files
def test_a_static_loader_gives_dates_and_instruments():
    loader = StaticDataLoader(frame().sample(frac=1, random_state=0))
    assert len(loader.load()) == 8
    assert loader.load("A").index.get_level_values(1).unique().tolist() == ["A"]
    assert len(loader.load(["A", "B"], "2020-01-02", "2020-01-03")) == 4
    with pytest.raises(MissingDataError, match=r"\['Z'\]; it has 2 instruments"):
        loader.load(["Z"])


def test_files_are_read_by_their_ending(tmp_path):
    df = frame()
    df.to_pickle(tmp_path / "f.pkl")
    flat = df.droplevel(0, axis=1)
    flat.to_csv(tmp_path / "f.csv")
    flat.to_parquet(tmp_path / "f.parquet")
    pd.testing.assert_frame_equal(StaticDataLoader(tmp_path / "f.pkl").load(), df)
    pd.testing.assert_frame_equal(StaticDataLoader(str(tmp_path / "f.parquet")).load(), flat)
    grouped = StaticDataLoader({"x": tmp_path / "f.csv", "y": flat}).load()
    assert grouped.columns.tolist() == [("x", "F0"), ("x", "F1"), ("y", "F0"), ("y", "F1")]
    np.testing.assert_array_equal(grouped["x"], grouped["y"])


def test_hdf5_needs_a_library_and_says_so(tmp_path):
    (tmp_path / "f.h5").write_bytes(b"\x89HDF")
    if find_spec("tables") is not None:
        pytest.skip("PyTables is installed: what is said without it cannot be seen")
    with pytest.raises(ConfigError, match='f.h5 needs PyTables.*pip install "tables"'):
        StaticDataLoader({"x": tmp_path / "f.h5"}).load()


def test_groups_of_files_are_joined_as_told():
    few = frame(instruments="A")
    assert len(StaticDataLoader({"x": frame()["feature"], "y": few["feature"]}).load()) == 8
    assert len(StaticDataLoader({"x": frame()["feature"], "y": few["feature"]}, join="inner").load()) == 4


def test_a_static_loader_still_loads_after_pickling():
    loader = StaticDataLoader(frame())
    loader.load()
    loader.config(dump_all=True)
    back = pickle.loads(pickle.dumps(loader))
    assert "_data" not in vars(back)
    pd.testing.assert_frame_equal(back.load(), frame())


def test_a_pickle_that_names_something_else_is_refused(tmp_path):
    (tmp_path / "f.pkl").write_bytes(pickle.dumps(print))
    with pytest.raises(pickle.UnpicklingError):
        StaticDataLoader(tmp_path / "f.pkl").load()
    (tmp_path / "f.pkl").write_bytes(pickle.dumps([1]))
    with pytest.raises(ConfigError, match="holds a list"):
        StaticDataLoader(tmp_path / "f.pkl").load()


@pytest.mark.parametrize("config, text", [(3, "received int"), ("no/such.pkl", "there is no file")])
def test_a_source_that_is_not_there_is_named(config, text):
    with pytest.raises(ConfigError, match=text):
        StaticDataLoader(config).load()


def test_a_frame_without_instruments_is_refused():
    with pytest.raises(ConfigError, match="indexed by"):
        StaticDataLoader(pd.DataFrame({"x": [1]}, index=DATES[:1])).load()


# --------------------------------------------------------------------------------------------------------------- others
def test_nested_loaders_let_the_later_column_win_and_change_nobodys_frame():
    first, second = frame(), frame(names=("F1", "F2"), instruments="A", value=1000.0)
    before = first.copy()
    df = NestedDataLoader([StaticDataLoader(first), StaticDataLoader(second)]).load()
    assert df.columns.tolist() == [("feature", "F0"), ("feature", "F1"), ("feature", "F2")]
    assert len(df) == 8
    assert df[("feature", "F1")].notna().sum() == 4
    pd.testing.assert_frame_equal(first, before)


def test_a_nested_loader_falls_back_to_all_instruments(caplog):
    loaders_ = [StaticDataLoader(frame()), StaticDataLoader(frame("g", instruments="A"))]
    with caplog.at_level(logging.WARNING):
        assert len(NestedDataLoader(loaders_).load(["B"])) == 4
    assert "loading all its instruments" in caplog.text
    with pytest.raises(ConfigError, match="received no loader"):
        NestedDataLoader([])


def test_a_loader_over_handlers():
    handler = DataHandlerLP.from_df(frame())
    pd.testing.assert_frame_equal(DataLoaderDH(handler).load(), frame())
    assert len(DataLoaderDH(handler).load(None, "2020-01-02", "2020-01-02")) == 2
    both = DataLoaderDH({"x": handler, "y": handler}, is_group=True, fetch_kwargs={"col_set": "feature"}).load()
    assert both.columns.tolist() == [("x", "F0"), ("x", "F1"), ("y", "F0"), ("y", "F1")]
