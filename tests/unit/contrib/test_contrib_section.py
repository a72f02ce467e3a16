"""ConfigSectionProcessor: families of Alpha158 are shaped and scaled within each date, by the published formula."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import qlib.contrib.data.processor as module
from qlib.contrib.data.loader import Alpha158DL
from qlib.contrib.data.processor import ConfigSectionProcessor, shapes_of
from qlib.errors import ConfigError

DATES = pd.date_range("2020-01-01", periods=3)
NAMES = [f"i{i:02d}" for i in range(20)]
ROWS = pd.MultiIndex.from_product([DATES, NAMES], names=["datetime", "instrument"])
UNTOUCHED = ("RANK", "IMAX", "IMIN", "IMXD", "CNTP", "CNTN", "CNTD")


def frame(columns, seed=0, low=0.05, high=0.95):
    values = np.random.default_rng(seed).uniform(low, high, (len(ROWS), len(columns) + 1))
    names = pd.MultiIndex.from_tuples([("feature", name) for name in columns] + [("label", "LABEL0")])
    return pd.DataFrame(values, index=ROWS, columns=names)


def scaled(x: pd.Series) -> pd.Series:
    """One date, as the contract says it."""
    x = x - x.median()
    x = x / (x.abs().median() * 1.4826)
    top, bottom = x.max(), x.min()
    x = x.where(x <= 3, 3 + (x - 3) / (top - 3) * 0.5)
    x = x.where(x >= -3, -3 - (x + 3) / (bottom + 3) * 0.5)
    return x.fillna(0)


FORMULAS = {
    "KLEN": lambda x: x**0.25,
    "KLOW2": lambda x: x**0.5,
    "KMID2": lambda x: x,
    "ROC5": lambda x: x,
    "LOW1": lambda x: x,
    "VSUMD60": lambda x: x,
    "STD10": np.log,
    "VMA30": np.log,
    "RSQR5": lambda x: x.fillna(0),
    "MAX5": lambda x: (x - 1) ** 0.5,
    "HIGH0": lambda x: (x - 1) ** 0.5,
    "MIN60": lambda x: (1 - x) ** 0.5,
    "LOW0": lambda x: (1 - x) ** 0.5,
    "CORD5": np.exp,
    "WVMA20": np.log1p,
}


@pytest.mark.parametrize("column", FORMULAS)
@pytest.mark.parametrize("shuffled", [False, True])
def test_a_family_is_shaped_and_scaled_within_each_date(column, shuffled):
    low, high = (1.01, 3.0) if column in ("MAX5", "HIGH0") else (0.05, 0.95)
    df = frame([column], low=low, high=high)
    df.iloc[3, 0] = np.nan
    df.iloc[25, 0] = high * (3 if column[:3] not in ("MIN", "LOW") else 1)
    df = df.sample(frac=1, random_state=1) if shuffled else df
    got = ConfigSectionProcessor()(df)
    x = FORMULAS[column](df[("feature", column)])
    x = x.where(np.isfinite(x))
    wanted = x.groupby(level="datetime", group_keys=False).apply(scaled).reindex(df.index)
    np.testing.assert_allclose(got[("feature", column)], wanted, rtol=1e-9, atol=1e-12)
    assert got[("feature", column)].abs().max() <= 3.5


def test_labels_have_mean_0_and_deviation_1_and_other_columns_stay():
    df = frame([f"{name}5" for name in UNTOUCHED])
    got = ConfigSectionProcessor(fillna_label=False)(df)
    pd.testing.assert_frame_equal(got["feature"], df["feature"])
    by_date = got[("label", "LABEL0")].groupby(level="datetime")
    np.testing.assert_allclose(by_date.mean(), 0, atol=1e-12)
    np.testing.assert_allclose(by_date.std(), 1)


def test_every_column_of_alpha158_but_seven_families_belongs_to_one():
    names = Alpha158DL.get_feature_config()[1]
    assert {name.rstrip("0123456789") for name in names if not shapes_of(name)} == set(UNTOUCHED)
    assert all(len(shapes_of(name)) <= 1 for name in names)


def test_qlib_scales_some_columns_twice(monkeypatch):
    df = frame(["MAX5", "KLOW2", "HIGH0"], low=1.0, high=2.0)
    right = ConfigSectionProcessor()(df)
    monkeypatch.setattr(module, "active_settings", lambda: type("S", (), {"compat": "qlib"}))
    as_qlib = ConfigSectionProcessor()(df)
    assert not np.allclose(as_qlib[("feature", "MAX5")], right[("feature", "MAX5")])
    assert not np.allclose(as_qlib[("feature", "KLOW2")], right[("feature", "KLOW2")])
    np.testing.assert_array_equal(as_qlib[("feature", "HIGH0")], right[("feature", "HIGH0")])


@given(st.integers(0, 2))
def test_a_date_knows_no_other_date(day):
    df = frame(["ROC5", "STD5"])
    other = df.copy()
    elsewhere = other.index.get_level_values(0) != DATES[day]
    other.loc[elsewhere] = 7.0
    left, right = ConfigSectionProcessor()(df), ConfigSectionProcessor()(other)
    pd.testing.assert_frame_equal(left.loc[~elsewhere], right.loc[~elsewhere])


def test_what_cannot_be_scaled_is_missing_and_the_frame_given_stays():
    df = frame(["ROC5", "STD5"])
    df.loc[DATES[0], ("feature", "ROC5")] = 2.0  # no spread
    df.loc[DATES[1], ("feature", "STD5")] = -1.0  # no logarithm
    before = df.copy()
    got = ConfigSectionProcessor(fillna_feature=False)(df)
    assert got.loc[DATES[0], ("feature", "ROC5")].isna().all()
    assert got.loc[DATES[1], ("feature", "STD5")].isna().all()
    assert ConfigSectionProcessor()(df).loc[DATES[0], ("feature", "ROC5")].eq(0).all()
    pd.testing.assert_frame_equal(df, before)


def test_options():
    df = frame(["ROC5"])
    df.iloc[0] = 1e6
    assert ConfigSectionProcessor(clip_feature_outlier=True)(df)["feature"].max(axis=None) == 3
    assert ConfigSectionProcessor(shrink_feature_outlier=False)(df)["feature"].max(axis=None) > 1e5
    assert ConfigSectionProcessor(clip_label_outlier=True)(df)["label"].max(axis=None) == 3
    pd.testing.assert_frame_equal(ConfigSectionProcessor("label")(df)["feature"], df["feature"])
    with pytest.raises(ConfigError, match="takes no argument fillna_lable; .*did you mean fillna_label"):
        ConfigSectionProcessor(fillna_lable=True)
