"""What a handler holds, what it hands out, and what it shares."""

from __future__ import annotations

import datetime as dt
import logging
import pickle

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from proof import cases

from qlib.data.dataset.handler import DataHandler, DataHandlerLP
from qlib.data.dataset.loader import DataLoader, StaticDataLoader
from qlib.data.dataset.processor import Processor, ZScoreNorm
from qlib.data.dataset.storage import HashingStockStorage, NaiveDFStorage
from qlib.data.dataset.utils import fetch_df_by_index, rows_at, sort_rows, take_rows
from qlib.errors import ConfigError, InputError, MissingDataError

DATES = pd.date_range("2020-01-01", periods=6)
NAMES = list("ABC")
WINDOW = {"fit_start_time": "2020-01-01", "fit_end_time": "2020-01-03"}
NORM = {"class": "ZScoreNorm", "kwargs": {**WINDOW, "fields_group": "feature"}}
FILL = {"class": "Fillna", "kwargs": {"fields_group": "feature"}}
OLD_PANDAS = pd.__version__.startswith("2.")  # there a fetched frame is a copy, lest a change reach the handler
RANK = {"class": "CSRankNorm", "kwargs": {"fields_group": "label"}}


def frame():
    rng = np.random.default_rng(0)
    index = pd.MultiIndex.from_product([DATES, NAMES], names=["datetime", "instrument"])
    columns = pd.MultiIndex.from_tuples([("feature", "F0"), ("feature", "F1"), ("label", "L0")])
    df = pd.DataFrame(rng.normal(size=(18, 3)).astype("f4"), index=index, columns=columns)
    df.iloc[4, 0], df.iloc[-2:, 2] = np.nan, np.nan
    return df


class Fresh(DataLoader):
    """Gives a new frame each time, as the store's loader does."""

    gives_new_frames = True

    def load(self, instruments, start_time=None, end_time=None):
        return frame()


def handler(**kwargs):
    return DataHandlerLP(**({"data_loader": StaticDataLoader(frame())} | kwargs))


# ---------------------------------------------------------------------------------------------------------------- fetch
@pytest.mark.parametrize(
    "selector, rows",
    [
        (slice(None), 18),
        ("2020-01-02", 3),
        (pd.Timestamp("2020-01-02"), 3),
        (dt.date(2020, 1, 2), 3),
        (slice("2020-01-02", "2020-01-03"), 6),
        (slice(dt.date(2020, 1, 2), dt.date(2020, 1, 3)), 6),
        (("2020-01-05", None), 6),
        (["2020-01-02", "2020-01-03"], 6),
        (["2020-01-02"], 3),
        (["2020-01-02", "2020-01-04", "2020-01-06"], 9),
        (DATES[[0, 5]], 6),
        (slice("2019-01-01", "2019-12-31"), 0),
        (slice("2020-01-06", None), 3),
        (slice("2020-01", "2020-01"), 18),
        (frame().index[:4], 4),
    ],
)
def test_rows_are_chosen_by_date(selector, rows):
    found = handler().fetch(selector)
    assert len(found) == rows
    assert found.index.names == ["datetime", "instrument"]


@pytest.mark.parametrize("selector, rows", [("B", 6), (slice("A", "B"), 12), (["A", "C", "B"], 18), (["C"], 6)])
def test_rows_are_chosen_by_instrument(selector, rows):
    assert len(handler().fetch(selector, level="instrument")) == rows


def test_level_none_hands_the_selector_to_loc():
    assert handler().fetch(("2020-01-02", "B"), level=None).name == (pd.Timestamp("2020-01-02"), "B")


@pytest.mark.parametrize(
    "selector, level, error",
    [
        ("2019-01-02", "datetime", KeyError),
        ("Z", "instrument", KeyError),
        ("nonsense", "datetime", (InputError, KeyError)),
    ],
)
def test_a_label_that_is_not_there_is_an_error(selector, level, error):
    with pytest.raises(error):
        handler().fetch(selector, level=level)


def test_column_sets():
    h = handler()
    assert h.get_cols() == ["F0", "F1", "L0"]
    assert h.get_cols("feature") == ["F0", "F1"]
    assert h.get_cols("__raw") == [("feature", "F0"), ("feature", "F1"), ("label", "L0")]
    assert h.get_cols(["label", "feature"]) == [("label", "L0"), ("feature", "F0"), ("feature", "F1")]
    assert h.fetch(col_set="label").columns.tolist() == ["L0"]
    with pytest.raises(MissingDataError, match=r"no column group is called 'featur'.*did you mean feature"):
        h.fetch(col_set="featur")


def test_flat_columns_come_back_whole():
    df = frame().droplevel(0, axis=1)
    assert DataHandlerLP.from_df(df).fetch(col_set="feature").columns.tolist() == ["F0", "F1", "L0"]


def test_squeeze_gives_a_series_and_drops_the_level_of_a_scalar():
    found = handler().fetch("2020-01-02", col_set="label", squeeze=True)
    assert isinstance(found, pd.Series)
    assert found.index.names == ["instrument"]
    assert handler().fetch("A", level="instrument", squeeze=True).index.names == ["datetime"]


def test_proc_func_works_on_a_copy_of_the_rows():
    h = handler()
    doubled = h.fetch("2020-01-02", col_set="feature", proc_func=lambda df: df.mul(2, axis=0))
    pd.testing.assert_frame_equal(doubled, h.fetch("2020-01-02", col_set="feature") * 2)

    def spoil(df):
        df.iloc[:, :] = 0
        return df

    before = h.fetch().copy()
    h.fetch(proc_func=spoil)
    pd.testing.assert_frame_equal(h.fetch(), before)


def test_nothing_is_copied_when_nothing_is_left_out():
    h = handler()
    whole = h.fetch(col_set="__raw")
    assert np.shares_memory(whole.to_numpy(), h._infer.to_numpy()) or OLD_PANDAS
    part = h.fetch(slice("2020-01-02", "2020-01-04"), col_set="feature").to_numpy()
    assert np.shares_memory(part, h._infer.to_numpy()) or OLD_PANDAS
    assert handler(fetch_orig=False).fetch(col_set="__raw") is not h._infer


def test_ranges_of_dates():
    h = handler()
    assert h.get_range_selector(DATES[2], 2) == slice(DATES[1], DATES[2])
    with pytest.warns(UserWarning, match="before the data"):
        assert h.get_range_selector(DATES[1], 5) == slice(DATES[0], DATES[1])
    with pytest.raises(MissingDataError, match="is no date of the data"):
        h.get_range_selector("2021-01-01", 2)
    assert [(d, len(df)) for d, df in h.get_range_iterator(4)] == [(DATES[4], 12), (DATES[5], 12)]
    assert [d for d, _ in h.get_range_iterator(2, min_periods=5)] == [DATES[5]]
    light = handler(infer_processors=[NORM], drop_raw=True)
    assert [(d, len(df)) for d, df in light.get_range_iterator(4)] == [(DATES[4], 12), (DATES[5], 12)]


# ------------------------------------------------------------------------------------------------------ learn and infer
def test_learn_processors_never_touch_what_inference_sees():
    plain = handler(infer_processors=[NORM, FILL])
    for process_type in ("append", "independent"):
        h = handler(infer_processors=[NORM, FILL], learn_processors=["DropnaLabel", RANK], process_type=process_type)
        pd.testing.assert_frame_equal(h.fetch(col_set="__raw"), plain.fetch(col_set="__raw"))
        pd.testing.assert_frame_equal(h.fetch(col_set="__raw", data_key="raw"), frame())
        assert len(h.fetch(data_key="learn")) == 16


@pytest.mark.parametrize("drop_raw", [False, True])
@pytest.mark.parametrize("process_type", ["append", "independent"])
@pytest.mark.parametrize("loader", [Fresh, lambda: StaticDataLoader(frame())])
def test_views_are_the_same_whatever_memory_is_reused(loader, process_type, drop_raw):
    chains = {
        "shared_processors": ["ProcessInf"],
        "infer_processors": [NORM, FILL],
        "learn_processors": ["DropnaLabel", RANK],
    }
    h = handler(data_loader=loader(), process_type=process_type, drop_raw=drop_raw, **chains)
    expected = handler(process_type=process_type, **chains)
    for key in ("infer", "learn"):
        pd.testing.assert_frame_equal(
            h.fetch(col_set="__raw", data_key=key), expected.fetch(col_set="__raw", data_key=key)
        )
    if drop_raw:
        with pytest.raises(AttributeError, match="dropped"):
            h.fetch(data_key="raw")


def test_the_frame_of_a_static_loader_is_never_written_to():
    df = frame()
    handler(data_loader=StaticDataLoader(df), infer_processors=[NORM, FILL], learn_processors=[RANK], drop_raw=True)
    pd.testing.assert_frame_equal(df, frame())


def test_without_processors_the_views_are_one_frame():
    h = handler()
    assert h._data is h._infer
    assert h._infer is h._learn


def test_a_label_processor_leaves_the_features_shared():
    wide = pd.concat(
        [frame(), *(frame()[["feature"]].rename(columns=lambda c, i=i: c + str(i)) for i in range(4))], axis=1
    )
    h = handler(data_loader=StaticDataLoader(wide.sort_index(axis=1)), learn_processors=[RANK])
    assert np.shares_memory(h._learn.iloc[:, 0].to_numpy(), h._infer.iloc[:, 0].to_numpy())


class Rude(Processor):
    """Writes into the frame it is given, as a user's processor may."""

    def __call__(self, df):
        df[("feature", "F0")] = 0.0
        return df


def test_a_processor_that_writes_gets_a_copy():
    h = handler(infer_processors=[Rude()])
    assert (h.fetch(col_set="feature")["F0"] == 0).all()
    pd.testing.assert_frame_equal(h.fetch(col_set="__raw", data_key="raw"), frame())


@pytest.mark.parametrize("chain", ["infer_processors", "shared_processors"])
def test_dropping_rows_by_their_label_is_refused_at_inference(chain):
    with pytest.raises(TypeError, match=f"{chain}: DropnaLabel may not be used for inference"):
        handler(**{chain: ["DropnaLabel"]})


def test_dropping_rows_by_any_missing_value_at_inference_is_warned_of(monkeypatch, caplog):
    monkeypatch.setattr(logging.getLogger("qlib"), "propagate", True)
    with caplog.at_level(logging.WARNING):
        handler(infer_processors=[{"class": "DropnaProcessor", "kwargs": {"fields_group": "feature"}}])
        assert "drops rows by their label" not in caplog.text
        handler(infer_processors=["DropnaProcessor"])
        assert "infer_processors: DropnaProcessor() drops rows by their label too" in caplog.text


def test_a_handler_that_found_nothing_says_so(monkeypatch, caplog):
    monkeypatch.setattr(logging.getLogger("qlib"), "propagate", True)
    with caplog.at_level(logging.WARNING):
        handler(start_time="2030-01-01")
    assert (
        "DataHandlerLP loaded no rows: StaticDataLoader has nothing for instruments None in [2030-01-01" in caplog.text
    )


def test_the_ways_to_fit():
    sequential = handler(infer_processors=[NORM, NORM])
    alone = handler(infer_processors=[NORM, NORM], init_data=False)
    alone.setup_data(init_type=DataHandlerLP.IT_FIT_IND)
    raw, second = alone.infer_processors[0].mean_train, alone.infer_processors[1].mean_train
    np.testing.assert_array_equal(raw, second)
    assert not np.allclose(sequential.infer_processors[1].mean_train, raw)
    kept = pickle.loads(pickle.dumps(sequential))
    kept.setup_data(init_type=DataHandlerLP.IT_LS)
    pd.testing.assert_frame_equal(kept.fetch(), sequential.fetch())
    with pytest.raises(ConfigError, match="did you mean fit_seq"):
        alone.setup_data(init_type="fitseq")


def test_config_reaches_the_processors():
    h = handler(infer_processors=[NORM])
    h.config(start_time="2020-01-02", processor_kwargs={"fit_end_time": "2020-01-05"})
    assert (h.start_time, h.infer_processors[0].fit_end_time) == ("2020-01-02", "2020-01-05")
    h.setup_data()
    assert h.fetch().index[0][0] == DATES[1]


@pytest.mark.parametrize(
    "kwargs, text",
    [
        ({"data_loader": None}, "needs a data_loader"),
        ({"process_type": "apend"}, "received 'apend'; allowed are append, independent"),
        ({"infer_processors": "Fillna"}, "a list of processors is allowed"),
        ({"infer_processors": ["Filna"]}, "did you mean Fillna"),
        ({"infer_processors": [{"class": "Fillna", "kwargs": {"field_group": "x"}}]}, "did you mean fields_group"),
        ({"drop_rw": True}, "drop_rw"),
    ],
)
def test_wrong_arguments_are_named(kwargs, text):
    with pytest.raises((ConfigError, TypeError), match=text):
        handler(**kwargs)


def test_an_unknown_view_is_named():
    with pytest.raises(ConfigError, match=r"received 'learning'.*did you mean learn"):
        handler().fetch(data_key="learning")


# --------------------------------------------------------------------------------------------------------------- pickle
def test_data_stay_behind_unless_asked_for(tmp_path):
    h = handler(infer_processors=[NORM])
    h.to_pickle(tmp_path / "h.pkl")
    back = DataHandlerLP.load(tmp_path / "h.pkl")
    np.testing.assert_array_equal(back.infer_processors[0].mean_train, h.infer_processors[0].mean_train)
    with pytest.raises(AttributeError, match="holds no data"):
        back.fetch()
    h.to_pickle(tmp_path / "h.pkl", dump_all=True)
    pd.testing.assert_frame_equal(DataHandlerLP.load(tmp_path / "h.pkl").fetch(), h.fetch())


def test_a_cast_handler_carries_data_only(tmp_path):
    light = DataHandlerLP.cast(handler(infer_processors=[NORM]))
    assert not hasattr(light, "data_loader")
    light.to_pickle(tmp_path / "h.pkl", dump_all=True)
    assert len(DataHandlerLP.load(tmp_path / "h.pkl").fetch()) == 18
    with pytest.raises(TypeError, match="received a DataFrame"):
        DataHandlerLP.cast(frame())


# -------------------------------------------------------------------------------------------------------------- storage
@pytest.mark.parametrize("storage", [NaiveDFStorage, HashingStockStorage])
def test_a_storage_answers_as_a_frame_does(storage):
    df = frame()
    kept, plain = storage.from_df(df), handler()
    for kwargs in (
        {"selector": "2020-01-02"},
        {"selector": slice("2020-01-02", "2020-01-03"), "col_set": "feature"},
        {"selector": "B", "level": "instrument"},
        {"selector": slice("A", "B"), "level": "instrument", "col_set": "label"},
    ):
        pd.testing.assert_frame_equal(kept.fetch(**kwargs), plain.fetch(**kwargs), check_dtype=False)


def test_a_handler_may_keep_its_data_by_instrument():
    h = handler(infer_processors=["HashStockFormat"])
    assert len(h.fetch("B", level="instrument")) == 6
    assert h._infer.fetch("Z", level="instrument").shape == (0, 3)
    assert h.get_cols("label") == ["L0"]
    with pytest.raises(InputError, match="proc_func"):
        h.fetch(proc_func=lambda df: df)


# ----------------------------------------------------------------------------------------------------- rows as integers
keys = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3)), max_size=30)


@settings(deadline=None, max_examples=cases(30, 300))
@given(keys, st.booleans())
def test_sorting_by_codes_is_sorting_by_labels(pairs, swapped):
    index = pd.MultiIndex.from_tuples([(DATES[d], f"N{i}") for d, i in pairs], names=["datetime", "instrument"])
    if not len(index):
        index = pd.MultiIndex.from_arrays([DATES[:0], pd.Index([], dtype=str)], names=["datetime", "instrument"])
    df = pd.DataFrame({"a": np.arange(len(index), dtype="f4"), "b": np.arange(len(index)), "c": "x"}, index=index)
    given_order = df.swaplevel() if swapped else df
    pd.testing.assert_frame_equal(sort_rows(given_order), df.sort_index(kind="stable"))
    pd.testing.assert_frame_equal(sort_rows(given_order, first="instrument"), df.swaplevel().sort_index(kind="stable"))


@settings(deadline=None, max_examples=cases(30, 300))
@given(keys, st.integers(0, 5), st.integers(0, 5), st.sampled_from([0, 1]))
def test_rows_are_found_as_pandas_finds_them(pairs, low, high, outer):
    index = pd.MultiIndex.from_tuples(sorted({(DATES[d], f"N{i}") for d, i in pairs} | {(DATES[0], "N0")}))
    df = pd.DataFrame({"x": range(len(index))}, index=index.set_names(["datetime", "instrument"]))
    df = df if outer == 0 else df.swaplevel()
    dates = df.index.get_level_values("datetime")
    expected = df[(dates >= DATES[low]) & (dates <= DATES[high])]
    pd.testing.assert_frame_equal(fetch_df_by_index(df, slice(DATES[low], DATES[high]), "datetime"), expected)


def test_a_level_with_unsorted_and_unused_values_is_understood():
    levels = [DATES[[3, 1, 5, 0]], pd.Index(["B", "A"])]
    index = pd.MultiIndex(levels=levels, codes=[[3, 1, 0], [0, 1, 0]], names=["datetime", "instrument"])
    df = pd.DataFrame({"x": [1.0, 2.0, 3.0]}, index=index)
    assert df.iloc[rows_at(index, slice("2020-01-02", None), 0)]["x"].tolist() == [2.0, 3.0]
    assert df.iloc[rows_at(index, "A", 1)]["x"].tolist() == [2.0]
    assert sort_rows(df)["x"].tolist() == [1.0, 2.0, 3.0]


def test_taking_rows_keeps_types_and_layout():
    df = frame().astype({("label", "L0"): "f8"})
    df[("extra", "text")] = "x"
    positions = np.array([5, 0, 7])
    received = take_rows(df, positions)
    pd.testing.assert_frame_equal(received, df.iloc[positions])


def test_a_plain_handler_has_one_view():
    h = DataHandler(data_loader=StaticDataLoader(frame()))
    assert h.fetch("2020-01-02", data_key="learn").shape == (3, 3)
    with pytest.raises(AttributeError, match="holds no data"):
        DataHandler(data_loader=StaticDataLoader(frame()), init_data=False).fetch()


def test_processors_may_be_given_as_objects():
    norm = ZScoreNorm(**WINDOW, fields_group="feature")
    assert handler(infer_processors=[norm]).get_all_processors() == [norm]
