"""A frame kept by groups behaves as the frame of all of them would, and leaves the callers' frames alone."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlib.contrib.data.utils.sepdf import SDFLoc, SepDataFrame, align_index
from qlib.errors import InputError, MissingDataError

DATES = pd.date_range("2020-01-01", periods=3)
ROWS = pd.MultiIndex.from_product([DATES, ["A", "B"]], names=["datetime", "instrument"])


def features():
    return pd.DataFrame(np.arange(12.0).reshape(6, 2), index=ROWS, columns=["x", "y"])


def labels():
    return pd.DataFrame(np.arange(8.0).reshape(4, 2) + 100, index=ROWS[2:], columns=["x", "z"])


def sep(join="f"):
    return SepDataFrame({"f": features(), "l": labels()}, join=join)


def test_all_groups_get_the_rows_of_one():
    frame = sep()
    assert len(frame) == 6
    assert frame["l"]["z"].isna().tolist() == [True, True, False, False, False, False]
    assert len(sep("l")) == 4
    assert frame.index.equals(ROWS)
    assert frame.columns.tolist() == [("f", "x"), ("f", "y"), ("l", "x"), ("l", "z")]
    assert "x" not in frame
    assert "f" in frame
    assert ("f", "x") in frame
    assert list(frame) == ["f", "l"]


def test_a_group_that_has_the_rows_already_is_not_copied():
    x = features()
    assert SepDataFrame({"f": x}, join="f")["f"] is x
    assert SepDataFrame({"f": x, "l": labels()}, join="f", skip_align=True)["l"].shape == (4, 2)
    assert align_index({"f": x, "l": labels()}, None)["l"].shape == (4, 2)


def test_columns_and_lists_of_groups_can_be_asked_for():
    frame = sep()
    assert frame[("f", "y")].tolist() == features()["y"].tolist()
    assert list(frame[["l"]]) == ["l"]
    with pytest.raises(MissingDataError, match="no group is called 'ff'; there are f, l; did you mean f"):
        frame["ff"]
    with pytest.raises(MissingDataError, match="no group is called 'zz'"):
        SepDataFrame({"f": features()}, join="zz")


def test_rows_are_found_by_label_in_every_group():
    frame = sep()
    assert len(frame.loc[DATES[0]]) == 2
    assert len(frame.loc[DATES[0] : DATES[1]]["l"]) == 4
    assert len(frame.loc(axis=0)[DATES[1] :]) == 4
    assert list(frame.loc[DATES[1] :, "f"]) == ["f"]
    assert list(frame.loc[:, ["f", "l"]]) == ["f", "l"]
    assert len(frame.loc[(DATES[1], "A"), :]) == 1
    assert frame.loc[[(DATES[1], "A"), (DATES[0], "B")]]["f"]["x"].tolist() == [4.0, 2.0]
    assert frame.loc(axis=1)["l"].shape == (6, 2)
    with pytest.raises(KeyError):
        frame.loc[pd.Timestamp("2030-01-01")]
    with pytest.raises(InputError, match="axis=2"):
        SDFLoc(frame, "f")(axis=2)


@given(st.integers(0, 5), st.integers(0, 6))
def test_a_slice_of_rows_is_that_of_the_whole_frame(low, high):
    frame, whole = sep(), pd.concat(dict(sep()._df_dict), axis=1)
    dates = slice(DATES[min(low, 2)], DATES[min(high, 2)])
    pd.testing.assert_frame_equal(pd.concat(frame.loc[dates]._df_dict, axis=1), whole.loc[dates])


def test_setting_and_deleting_change_no_frame_of_the_caller():
    x = features()
    frame = SepDataFrame({"f": x, "l": labels()}, join="f")
    frame[("f", "x")] = 0
    frame[("n", "q")] = x["y"]
    frame["m"] = labels()
    assert frame[("f", "x")].eq(0).all()
    pd.testing.assert_frame_equal(x, features())
    assert frame[("n", "q")].tolist() == x["y"].tolist()
    assert len(frame["m"]) == 6
    del frame["f"]
    assert frame.join == "l"
    with pytest.raises(InputError, match="a DataFrame or Series is allowed"):
        frame["bad"] = 1
    del frame["n"], frame["m"]
    with pytest.raises(InputError, match="the last one"):
        del frame["l"]


def test_methods_reach_every_frame():
    frame = sep()
    assert frame.apply_each("head", True, 2)["l"].shape == (2, 2)
    assert frame.copy()["f"] is not frame["f"]
    assert frame.sort_index(inplace=True) is None
    assert frame.droplevel("instrument").index.nlevels == 1
    with pytest.raises(InputError, match="apply_each: received 'heda'"):
        frame.apply_each("heda")
    assert repr(frame) == "SepDataFrame(6 rows of f; f: 2 columns, l: 2 columns)"


def test_groups_become_one_frame_when_their_names_differ():
    whole = SepDataFrame.merge({"f": features(), "l": labels().rename(columns={"x": "w"})}, "f")
    assert list(whole.columns) == ["x", "y", "w", "z"]
    assert len(whole) == 6
    with pytest.raises(InputError, match="several groups have the columns x"):
        SepDataFrame.merge({"f": features(), "l": labels()}, "f")
