"""What processors learn, what they change, and what they leave alone."""

from __future__ import annotations

import datetime as dt
import inspect
import logging
import pickle

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from proof import cases

from qlib.config import active_settings
from qlib.data.dataset import columns
from qlib.data.dataset import processor as processors
from qlib.data.dataset.columns import View
from qlib.data.dataset.processor import (
    ColumnProcessor,
    CSRankNorm,
    CSZFillna,
    CSZScoreNorm,
    DropCol,
    DropnaLabel,
    DropnaProcessor,
    Fillna,
    FilterCol,
    HashStockFormat,
    MinMaxNorm,
    ProcessInf,
    Processor,
    RobustZScoreNorm,
    TanhProcess,
    TimeRangeFlt,
    ZScoreNorm,
    get_group_columns,
)
from qlib.errors import ConfigError, InputError, MissingDataError

DATES = pd.date_range("2020-01-01", periods=8)
NAMES = list("ABCDE")
COLUMNS = pd.MultiIndex.from_tuples([("feature", f"F{i}") for i in range(4)] + [("label", "LABEL0")])
WINDOW = {"fit_start_time": "2020-01-02", "fit_end_time": "2020-01-04"}
FITTED = [MinMaxNorm, ZScoreNorm, RobustZScoreNorm]


@pytest.fixture(autouse=True)
def _log_is_seen(monkeypatch):
    """qlib.init, in another test, may have cut the logger `qlib` off from pytest's."""
    monkeypatch.setattr(logging.getLogger("qlib"), "propagate", True)


def frame(seed=0, dtype="f4", inf=True):
    rng = np.random.default_rng(seed)
    index = pd.MultiIndex.from_product([DATES, NAMES], names=["datetime", "instrument"])
    values = rng.normal(size=(len(index), len(COLUMNS))).round(2)
    values[rng.random(values.shape) < 0.1] = np.nan
    if inf:
        values[3, 0], values[17, 1] = np.inf, -np.inf
    values[:, 3] = 7.0
    return pd.DataFrame(values.astype(dtype), index=index, columns=COLUMNS)


def mixed(seed=0):
    """float32 features, a float64 label and an integer feature: three blocks of memory."""
    df = frame(seed)
    return df.astype({("label", "LABEL0"): "f8", ("feature", "F3"): "i8"})


def instance(cls):
    wants = inspect.signature(cls).parameters
    return cls(**(WINDOW if "fit_start_time" in wants else {}))


ALL = [
    cls
    for cls in vars(processors).values()
    if isinstance(cls, type)
    and issubclass(cls, Processor)
    and not inspect.isabstract(cls)
    and cls is not HashStockFormat
]


@pytest.mark.parametrize("make", [frame, mixed])
@pytest.mark.parametrize("cls", ALL)
def test_no_processor_changes_the_frame_it_is_given(cls, make):
    df = make()
    before = df.copy(deep=True)
    processor = instance(cls)
    processor.fit(df)
    processor(df)
    pd.testing.assert_frame_equal(df, before)


@pytest.mark.parametrize("make", [frame, mixed])
@pytest.mark.parametrize("cls", [cls for cls in ALL if issubclass(cls, ColumnProcessor)])
def test_writing_into_owned_memory_gives_the_same_numbers(cls, make):
    processor = instance(cls)
    processor.fit(make())
    expected = processor(make())
    pd.testing.assert_frame_equal(processor.process(View.of(make().copy(), own=True)).whole(), expected)


@pytest.mark.parametrize("cls", ALL)
def test_a_fitted_processor_survives_pickling(cls):
    processor = instance(cls)
    processor.fit(frame())
    back = pickle.loads(pickle.dumps(processor))
    pd.testing.assert_frame_equal(back(frame()), processor(frame()))


@pytest.mark.parametrize("cls", ALL)
def test_one_row_and_nothing_but_nan_are_endured(cls, caplog):
    processor = instance(cls)
    processor.fit(frame(inf=False))
    one = frame(inf=False).iloc[:1]
    assert len(processor(one)) <= 1
    empty = frame(inf=False) * np.nan
    again = instance(cls)
    again.fit(empty)
    received = again(empty)
    assert isinstance(received, pd.DataFrame)


@pytest.mark.parametrize("cls", FITTED)
@settings(deadline=None, max_examples=cases(20, 200))
@given(seed=st.integers(0, 50), poison=st.sampled_from([1e9, -1e9, np.inf, np.nan]))
def test_what_happens_outside_the_fit_window_is_not_learned(cls, seed, poison):
    clean = frame(seed, inf=False)
    spoiled = clean.copy()
    outside = (clean.index.get_level_values(0) < "2020-01-02") | (clean.index.get_level_values(0) > "2020-01-04")
    spoiled.loc[outside] = poison
    inside = clean.loc[~outside]
    results = []
    for df in (clean, spoiled):
        processor = cls(**WINDOW, fields_group="feature")
        processor.fit(df)
        results.append(processor(inside))
    pd.testing.assert_frame_equal(*results)


@settings(deadline=None, max_examples=cases(30, 300))
@given(seed=st.integers(0, 50), day=st.integers(0, 7), poison=st.sampled_from([1e9, np.inf, np.nan]))
@pytest.mark.parametrize("cls", [CSZScoreNorm, CSRankNorm, CSZFillna, ProcessInf])
def test_a_date_is_scaled_by_itself_only(cls, seed, day, poison):
    clean = frame(seed)
    spoiled = clean.copy()
    spoiled.loc[[DATES[day]]] = poison
    others = clean.index.get_level_values(0) != DATES[day]
    pd.testing.assert_frame_equal(cls()(clean).loc[others], cls()(spoiled).loc[others])


@pytest.mark.parametrize("cls", [CSZScoreNorm, CSRankNorm, CSZFillna, ProcessInf])
def test_the_order_of_the_rows_does_not_matter(cls):
    df = frame()
    shuffled = df.sample(frac=1, random_state=3)
    expected = cls()(df)
    received = cls()(shuffled)
    if cls is ProcessInf:
        pd.testing.assert_frame_equal(received, expected)
    else:
        assert received.index.equals(shuffled.index)
        pd.testing.assert_frame_equal(received.sort_index(), expected)


@pytest.mark.parametrize("cls", [CSZScoreNorm, CSRankNorm, CSZFillna])
def test_the_first_index_level_may_be_the_instrument(cls):
    df = frame()
    swapped = df.swaplevel().sort_index()
    pd.testing.assert_frame_equal(cls()(swapped).swaplevel().sort_index(), cls()(df))


def test_formulas_of_the_fitted_norms():
    df = frame(inf=False).astype("f8")
    rows = df.loc["2020-01-02":"2020-01-04", "feature"]
    for processor, expected in [
        (ZScoreNorm(**WINDOW, fields_group="feature"), (df["feature"] - rows.mean()) / rows.std(ddof=0)),
        (MinMaxNorm(**WINDOW, fields_group="feature"), (df["feature"] - rows.min()) / (rows.max() - rows.min())),
        (
            RobustZScoreNorm(**WINDOW, fields_group="feature"),
            ((df["feature"] - rows.median()) / (((rows - rows.median()).abs().median() + 1e-12) * 1.4826)).clip(-3, 3),
        ),
    ]:
        processor.fit(df)
        received = processor(df)
        pd.testing.assert_frame_equal(received["feature"].drop(columns="F3"), expected.drop(columns="F3"))
        pd.testing.assert_frame_equal(received[["label"]], df[["label"]])


def test_a_constant_column_is_left_as_it_is():
    for cls in (MinMaxNorm, ZScoreNorm):
        processor = cls(**WINDOW)
        processor.fit(frame())
        assert (processor(frame())[("feature", "F3")] == 7).all()


@pytest.mark.parametrize("cls", [ZScoreNorm, MinMaxNorm])
def test_an_infinity_in_the_fit_window_spoils_a_column_under_compat_only(cls, monkeypatch):
    df = frame(inf=False)
    df.iloc[6, 0] = np.inf
    processor = cls(**WINDOW)
    processor.fit(df)
    assert np.isfinite(processor(df).iloc[7:, 0].dropna()).all()
    settings = active_settings().replace(compat="qlib")
    monkeypatch.setattr(processors, "active_settings", lambda: settings)
    processor.fit(df)
    assert processor(df).iloc[7:, 0].dropna().nunique() <= 1


@pytest.mark.parametrize("cls", [CSZScoreNorm, CSZFillna])
def test_an_infinity_spoils_its_date_under_compat_only(cls, monkeypatch):
    df = frame(inf=False)
    df.iloc[:5, 0] = [np.inf, 1, 2, 3, np.nan]
    others = cls("feature")(df.copy()).iloc[:5, 0].to_numpy()[[1, 2, 3]]
    filled = cls("feature")(df.copy()).iloc[4, 0]
    assert np.isfinite(others).all()
    assert filled == 2 if cls is CSZFillna else np.isnan(filled)
    settings = active_settings().replace(compat="qlib")
    monkeypatch.setattr(processors, "active_settings", lambda: settings)
    spoilt = cls("feature")(df.copy()).iloc[:5, 0].to_numpy()
    assert np.isinf(spoilt[4]) if cls is CSZFillna else np.isnan(spoilt).all()


@pytest.mark.parametrize("cls", FITTED)
def test_an_empty_fit_window_says_where_the_data_are(cls):
    with pytest.raises(MissingDataError, match=r"no rows in the fit window \[2021.*from 2020-01-01.*to 2020-01-08"):
        cls("2021-01-01", "2021-02-01").fit(frame())


@pytest.mark.parametrize("cls", FITTED)
def test_a_norm_before_fit_or_with_other_columns_is_refused(cls):
    with pytest.raises(InputError, match="before fit"):
        cls(**WINDOW)(frame())
    processor = cls(**WINDOW)
    processor.fit(frame())
    with pytest.raises(InputError, match="was fitted on 5 columns"):
        processor(frame().iloc[:, :2])


@pytest.mark.parametrize("end", ["2020-01-04", dt.date(2020, 1, 4)])
def test_the_end_of_a_fit_window_means_the_whole_day(end):
    hours = pd.date_range("2020-01-01", periods=24 * 5, freq="h")
    index = pd.MultiIndex.from_product([hours, ["A"]], names=["datetime", "instrument"])
    df = pd.DataFrame({"x": np.arange(len(hours), dtype="f8")}, index=index)
    processor = MinMaxNorm("2020-01-01", end)
    processor.fit(df)
    assert processor.max_val[0] == 4 * 24 - 1


def test_a_norm_of_every_column_says_that_the_label_is_one_of_them(caplog):
    with caplog.at_level(logging.WARNING):
        ZScoreNorm(**WINDOW).fit(frame())
        assert "scales the label too" in caplog.text
        caplog.clear()
        ZScoreNorm(**WINDOW, fields_group="feature").fit(frame())
        assert caplog.text == ""


def test_config_moves_the_fit_window():
    processor = ZScoreNorm(**WINDOW)
    processor.config(fit_start_time="2020-02-01", fit_end_time="2020-03-01", dump_all=True)
    assert (processor.fit_start_time, processor.fit_end_time, processor.dump_all) == ("2020-02-01", "2020-03-01", True)
    Fillna().config(fit_start_time="x")  # has no window: nothing to set


def test_dropping_rows_returns_the_same_object_when_none_goes():
    whole = frame(inf=False).fillna(0)
    assert DropnaProcessor()(whole) is whole
    df = frame()
    pd.testing.assert_frame_equal(DropnaProcessor("feature")(df), df[df["feature"].notna().all(axis=1)])
    pd.testing.assert_frame_equal(DropnaLabel()(df), df[df["label"].notna().all(axis=1)])


def test_columns_are_dropped_and_kept_by_their_last_name():
    assert DropCol(["F1", "LABEL0"])(frame()).columns.get_level_values(1).tolist() == ["F0", "F2", "F3"]
    names = FilterCol("feature", ["F2", "F0"])(frame()).columns.tolist()
    assert names == [("feature", "F0"), ("feature", "F2"), ("label", "LABEL0")]


def test_filling_leaves_infinity_and_other_groups():
    filled = Fillna("feature", fill_value=-1)(frame())
    assert not filled["feature"].isna().any(axis=None)
    assert np.isinf(filled["feature"]).any(axis=None)
    assert filled["label"].isna().any(axis=None)


def test_infinity_becomes_the_mean_of_the_finite_values_of_its_date():
    df = frame()
    row = df.loc[DATES[0], ("feature", "F0")]
    received = ProcessInf()(df)
    expected = row[np.isfinite(row)].mean()
    assert received[("feature", "F0")].iloc[3] == pytest.approx(expected)
    assert not np.isinf(received).any(axis=None)


def test_tanh_leaves_labels():
    df = frame(inf=False)
    received = TanhProcess()(df)
    pd.testing.assert_frame_equal(received["feature"], np.tanh(df["feature"] - 1), check_dtype=False)
    pd.testing.assert_frame_equal(received[["label"]], df[["label"]])


def test_an_unknown_method_or_group_names_the_allowed_ones():
    with pytest.raises(ConfigError, match="received 'zcore'; allowed are zscore, robust"):
        CSZScoreNorm(method="zcore")
    with pytest.raises(MissingDataError, match="did you mean feature"):
        Fillna("featur")(frame())


def test_a_column_of_text_is_refused_with_its_name():
    df = frame()
    df[("feature", "F0")] = "x"
    with pytest.raises(InputError, match=r"column \('feature', 'F0'\)"):
        CSZScoreNorm()(df)


def test_group_columns():
    assert get_group_columns(frame(), "label").tolist() == [("label", "LABEL0")]
    assert get_group_columns(frame(), None).equals(COLUMNS)


def test_several_threads_give_the_same_numbers(monkeypatch):
    df = frame()
    chain = [RobustZScoreNorm(**WINDOW, fields_group="feature"), Fillna(), CSRankNorm("feature")]

    def run():
        out = df
        for processor in chain:
            processor.fit(out)
            out = processor(out)
        return out

    one = run()
    settings = active_settings().replace(kernels=2)
    monkeypatch.setattr(columns, "active_settings", lambda: settings)
    pd.testing.assert_frame_equal(run(), one)


class Bars:
    def calendar(self, start, end, freq):
        return DATES[((start or DATES[0]) <= DATES) & ((end or DATES[-1]) >= DATES)]


@pytest.mark.parametrize(
    "start, end, rows",
    [
        (None, None, 4),
        ("2020-01-03", None, 4),
        ("2020-01-02", None, 0),
        (None, "2020-01-06", 4),
        (None, "2020-01-07", 0),
    ],
)
def test_an_instrument_is_kept_only_when_it_covers_the_range(monkeypatch, start, end, rows):
    monkeypatch.setattr(processors, "active_provider", Bars)
    df = pd.DataFrame({"x": range(4)}, index=DATES[2:6])
    assert len(TimeRangeFlt(start, end)(df, "A")) == rows
