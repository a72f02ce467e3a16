"""Datasets hand out segments, and say what is wrong with one."""

from __future__ import annotations

import datetime as dt
import logging

import numpy as np
import pandas as pd
import pytest

from qlib.data.dataset import DatasetH, TSDataSampler, TSDatasetH
from qlib.data.dataset.handler import DataHandler, DataHandlerLP
from qlib.data.dataset.loader import StaticDataLoader
from qlib.data.dataset.utils import convert_index_format, get_level_index, init_task_handler
from qlib.data.dataset.weight import Reweighter
from qlib.errors import ConfigError, InputError, MissingDataError

DATES = pd.date_range("2020-01-01", periods=10)
NAMES = list("ABC")
SEGMENTS = {"train": ("2020-01-01", "2020-01-05"), "valid": ("2020-01-06", "2020-01-07"), "test": ("2020-01-08", None)}


@pytest.fixture(autouse=True)
def _log_is_seen(monkeypatch):
    """qlib.init, in another test, may have cut the logger `qlib` off from pytest's."""
    monkeypatch.setattr(logging.getLogger("qlib"), "propagate", True)


def frame():
    index = pd.MultiIndex.from_product([DATES, NAMES], names=["datetime", "instrument"])
    columns = pd.MultiIndex.from_tuples([("feature", "F0"), ("feature", "F1"), ("label", "L0")])
    return pd.DataFrame(np.arange(90, dtype="f4").reshape(30, 3), index=index, columns=columns)


def dataset(segments=SEGMENTS, **kwargs):
    return DatasetH(DataHandlerLP.from_df(frame()), segments, **kwargs)


def test_names_lists_and_dates_are_understood():
    ds = dataset()
    assert len(ds.prepare("train")) == 15
    assert [len(part) for part in ds.prepare(["train", "valid"], col_set="feature", data_key="learn")] == [15, 6]
    assert len(ds.prepare(("2020-01-02", "2020-01-03"))) == 6
    assert len(ds.prepare(slice("2020-01-09", None))) == 6
    assert len(ds.prepare("2020-01-09")) == 3
    assert isinstance(ds.prepare("test", col_set="label", squeeze=True), pd.Series)


def test_dates_of_yaml_mean_whole_days():
    hours = pd.date_range("2020-01-01", periods=72, freq="h")
    index = pd.MultiIndex.from_product([hours, ["A"]], names=["datetime", "instrument"])
    handler = DataHandlerLP.from_df(pd.DataFrame({"x": np.arange(72.0)}, index=index))
    for end in (dt.date(2020, 1, 2), "2020-01-02"):
        assert len(DatasetH(handler, {"train": [dt.date(2020, 1, 1), end]}).prepare("train")) == 48
    assert len(DatasetH(handler, {"train": ("2020-01-01", pd.Timestamp("2020-01-02"))}).prepare("train")) == 25


def test_fetch_kwargs_are_given_to_every_fetch():
    assert isinstance(dataset(fetch_kwargs={"squeeze": True}).prepare("train", col_set="label"), pd.Series)


def test_a_plain_handler_is_asked_without_a_view():
    class Old(DataHandler):
        def fetch(self, selector, level="datetime", col_set="__all"):
            return super().fetch(selector, level, col_set)

    assert len(DatasetH(Old(data_loader=StaticDataLoader(frame())), SEGMENTS).prepare("train", data_key="learn")) == 15


@pytest.mark.parametrize("name", ["tset", ["train", "vaild"]])
def test_an_unknown_segment_is_named_with_the_nearest(name):
    with pytest.raises(MissingDataError, match="no segment is called .*; there are train, valid, test; did you mean"):
        dataset().prepare(name)


@pytest.mark.parametrize("segment", [("2021-01-01", "2021-02-01"), (None, "2019-12-31")])
def test_a_segment_outside_the_data_says_where_they_are(segment):
    with pytest.raises(
        MissingDataError, match=r"segment test .* lies outside the data, .* from 2020-01-01 .* to 2020-01-10"
    ):
        dataset({"test": segment}).prepare("test")


def test_a_segment_between_dates_is_empty_without_complaint():
    df = frame().drop(index=DATES[3])
    ds = DatasetH(DataHandlerLP.from_df(df), {"gap": (DATES[3], DATES[3])})
    assert len(ds.prepare("gap")) == 0


@pytest.mark.parametrize(
    "segments, text",
    [
        ({"train": ("2020-02-01", "2020-01-01")}, "segment train: .* ends before it starts"),
        ({"train": ("2020-13-01", None)}, "segment train: .*dates such as"),
        ({"train": ("2020-01-01",)}, "segment train: received .* a pair"),
        ({"train": "2020-01-01"}, "a pair"),
        ([("2020-01-01", None)], "a dict name"),
    ],
)
def test_segments_that_cannot_be_used_are_named(segments, text):
    with pytest.raises(ConfigError, match=text):
        dataset(segments)


@pytest.mark.parametrize(
    "end, warned",
    [("2020-01-05", []), ("2020-01-06", ["valid"]), ("2020-01-08", ["valid", "test"]), (None, ["valid", "test"])],
)
def test_a_fit_window_that_reaches_into_what_is_judged_is_reported(caplog, end, warned):
    norm = {"class": "ZScoreNorm", "kwargs": {"fit_start_time": None, "fit_end_time": end, "fields_group": "feature"}}
    handler = DataHandlerLP(data_loader=StaticDataLoader(frame()), infer_processors=[norm])
    with caplog.at_level(logging.WARNING):
        DatasetH(handler, SEGMENTS)
    assert ("reaches into the segments" in caplog.text) == bool(warned)
    assert all(f"{name} [" in caplog.text for name in warned)
    assert "train [" not in caplog.text


def test_config_moves_segments_and_setup_data_reloads():
    ds = dataset()
    ds.config(segments={"train": ("2020-01-01", "2020-01-02")}, handler_kwargs={"end_time": "2020-01-03"})
    assert len(ds.prepare("train")) == 6
    ds.setup_data(handler_kwargs={"init_type": DataHandlerLP.IT_FIT_SEQ})
    assert len(ds.handler.fetch()) == 9


def test_first_and_last_time_of_all_segments():
    assert DatasetH.get_min_time(SEGMENTS) == pd.Timestamp("2020-01-01")
    assert DatasetH.get_max_time(SEGMENTS) is None
    assert DatasetH.get_max_time({"a": slice("2020-01-01", "2020-01-02")}) == pd.Timestamp("2020-01-02")


def test_a_dataset_is_saved_without_its_data(tmp_path):
    ds = dataset()
    ds.to_pickle(tmp_path / "ds.pkl")
    back = DatasetH.load(tmp_path / "ds.pkl")
    assert back.segments == SEGMENTS
    back.setup_data(handler_kwargs={"init_type": DataHandlerLP.IT_LS})
    pd.testing.assert_frame_equal(back.prepare("test"), ds.prepare("test"))


def test_small_helpers():
    assert get_level_index(frame().rename_axis(index=[None, None]), "instrument") == 1
    with pytest.raises(MissingDataError, match="did you mean instrument"):
        get_level_index(frame(), "instrumnt")
    assert convert_index_format(frame(), "instrument").index.names == ["instrument", "datetime"]
    task = {"dataset": {"kwargs": {"handler": DataHandlerLP.from_df(frame())}}}
    assert init_task_handler(task) is task["dataset"]["kwargs"]["handler"]
    with pytest.raises(ConfigError, match="has no dataset.kwargs.handler"):
        init_task_handler({"model": {}})
    with pytest.raises(NotImplementedError, match="is a base"):
        Reweighter()


# -------------------------------------------------------------------------------------------------------------- windows
def sampler(**kwargs):
    df = frame().drop(index=[(DATES[4], "B"), (DATES[5], "B"), (DATES[0], "C")])
    return TSDataSampler(df, **({"start": "2020-01-03", "end": "2020-01-07", "step_len": 3} | kwargs))


def test_samples_go_instrument_after_instrument():
    index = sampler().get_index()
    assert index.names == ["datetime", "instrument"]
    assert index.get_level_values(1).tolist() == ["A"] * 5 + ["B"] * 3 + ["C"] * 5
    assert index[5] == (DATES[2], "B")


def test_a_window_never_holds_another_instruments_rows():
    ts = sampler()
    for i, (date, name) in enumerate(ts.get_index()):
        wanted = frame().drop(index=[(DATES[4], "B"), (DATES[5], "B"), (DATES[0], "C")]).xs(name, level=1)
        dates = DATES[DATES.get_loc(date) - 2 : DATES.get_loc(date) + 1]
        np.testing.assert_array_equal(ts[i], wanted.reindex(dates).to_numpy())


def test_missing_history_is_nan_and_never_zero():
    ts = TSDataSampler(frame(), "2020-01-01", "2020-01-01", step_len=4)
    assert np.isnan(ts[0][:3]).all()
    np.testing.assert_array_equal(ts[0][3], frame().iloc[0])


def test_filling_stays_inside_the_window():
    ts = sampler(start="2020-01-06", end="2020-01-07", fillna_type="ffill")
    window = ts[(DATES[6], "B")]  # rows 5, 6 and 7 of January; B has none on the 5th and 6th
    assert np.isnan(window[:2]).all()
    ts.config(fillna_type="ffill+bfill")
    np.testing.assert_array_equal(ts[(DATES[6], "B")][0], window[2])
    with pytest.raises(ConfigError, match="received 'bfil'; allowed are none, ffill, ffill\\+bfill"):
        ts.config(fillna_type="bfil")


def test_lists_negative_numbers_and_wrong_numbers():
    ts = sampler()
    assert ts[[0, 3, 12]].shape == (3, 3, 3)
    np.testing.assert_array_equal(ts[-1], ts[12])
    for wrong in (13, -14, [0, 13]):
        with pytest.raises(KeyError, match="there are 13"):
            ts[wrong]
    with pytest.raises(MissingDataError, match="no instrument is called 'Z'"):
        ts[(DATES[3], "Z")]
    with pytest.raises(MissingDataError, match="before the data"):
        ts[("2019-01-01", "A")]


def test_a_filter_removes_samples_not_history():
    says = pd.Series(True, index=frame().index)
    says.loc[(DATES[2], "A")] = False
    ts = sampler(flt_data=says.to_frame("ok").drop(index=[(DATES[6], "A")]))
    assert (DATES[2], "A") not in ts.get_index()
    assert (DATES[6], "A") not in ts.get_index()
    np.testing.assert_array_equal(ts[(DATES[3], "A")][1], frame().loc[(DATES[2], "A")])


def test_the_callers_frame_is_left_alone_and_the_type_can_be_chosen():
    df = frame()
    ts = TSDataSampler(df, None, None, 2, dtype="f8")
    assert ts.data_arr.dtype == np.float64
    pd.testing.assert_frame_equal(df, frame())
    assert len(ts) == 30
    assert not ts.empty
    assert TSDataSampler(df, "2021-01-01", None, 2).empty


def test_wrong_frames_are_refused():
    with pytest.raises(InputError, match="indexed by"):
        TSDataSampler(frame().swaplevel(), None, None, 2)
    with pytest.raises(ConfigError, match="step_len: received 0"):
        TSDataSampler(frame(), None, None, 0)


def test_a_time_series_dataset_reaches_back_before_its_segment():
    df = frame()
    df[("flag", "ok")] = (np.arange(30) % 2).astype("f4")
    ts = TSDatasetH(handler=DataHandlerLP.from_df(df), segments=SEGMENTS, step_len=4, flt_col="flag")
    test = ts.prepare("test", col_set=["feature", "label"], data_key="learn")
    assert isinstance(test, TSDataSampler)
    assert (test.get_index().get_level_values(0) >= "2020-01-08").all()
    assert len(test) == 4 or len(test) == 5
    assert not np.isnan(test[0]).any()
    ts.config(step_len=2, flt_col=None)
    assert ts.prepare("train", col_set="feature")[0].shape == (2, 2)
    with pytest.raises(MissingDataError, match="lies outside the data"):
        TSDatasetH(handler=DataHandlerLP.from_df(df), segments={"test": ("2021-01-01", None)}).prepare("test")
