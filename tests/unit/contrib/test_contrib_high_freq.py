"""qlib.contrib.ops.high_freq: Qlib's doors, and frames whose rows and dates are what Qlib returns."""

from __future__ import annotations

import datetime as dt
import inspect
import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import qlib
from qlib.contrib.ops import high_freq
from qlib.contrib.ops.high_freq import BFillNan, Cut, Date, DayCumsum, DayLast, FFillNan, IsInf, IsNull, Select
from qlib.data import D
from qlib.data.ops import Feature, Gt, Mean, TResample
from qlib.data.provider.views import ExpressionD
from qlib.data.storage.writer import write_store
from qlib.errors import InputError

HOURS = pd.date_range("2021-01-04", periods=72, freq="h")
ASKED = {"start_time": "2021-01-04 08:00:00", "end_time": "2021-01-05 04:00:00", "freq": "60min"}
N, INF = np.nan, np.inf


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """Three days by the hour: x counts from 1 with gaps and an infinity, y by 2 from 0, g is 0 on every third row."""
    x = np.arange(72.0) + 1
    x[[3, 4, 23, 24, 30, 47]] = N
    x[10] = INF
    whole = pd.DataFrame({"x": x, "g": (np.arange(72) % 3 != 1) * 1.0, "y": np.arange(72.0) * 2}, index=HOURS)
    late = whole.iloc[30:60].assign(y=np.arange(30.0))
    return write_store({"AAA": whole, "BBB": late}, tmp_path_factory.mktemp("h") / "s", "60min")


# What pyqlib 0.9.7 answers over the same data: the hours of 4 January 2021 (24 and more: of the 5th) and the values.
EVERY = list(range(8, 29))
TWO_OF_THREE = [8, 9, 11, 12, 14, 15, 17, 18, 20, 21, 23, 24, 26, 27]
QLIB = {
    "Select(Gt($g,0),$x)": (TWO_OF_THREE, [9, 10, 12, 13, 15, 16, 18, 19, 21, 22, N, N, 27, 28]),
    "Ref(Select(Gt($g,0),$y),-1)": (TWO_OF_THREE, [18, 22, 24, 28, 30, 34, 36, 40, 42, 46, 48, 52, 54, 58]),
    "Select(Gt($g,0),$y)+$y": (
        EVERY,
        [32, 36, N, 44, 48, N, 56, 60, N, 68, 72, N, 80, 84, N, 92, 96, N, 104, 108, N],
    ),
    "Select(Gt($g,0),$y)+Select(Gt($x,12),$y)": (
        EVERY,
        [N, N, N, N, 48, N, 56, 60, N, 68, 72, N, 80, 84, N, N, N, N, 104, 108, N],
    ),
    "If(IsNull(Select(Gt($g,0),$x)),FFillNan(Select(Gt($g,0),$y)),Select(Gt($g,0),$x))": (
        TWO_OF_THREE,
        [9, 10, 12, 13, 15, 16, 18, 19, 21, 22, 46, 48, 27, 28],
    ),
    "Select(Gt($g,0),Select(Gt($x,12),$y))": (
        [12, 14, 15, 17, 18, 20, 21, 26, 27],
        [24, 28, 30, 34, 36, 40, 42, 52, 54],
    ),
    "Cov(Select(Gt($g,0),$y),$y,3)": (EVERY, [8, 2, 2, 8, 2, 2, 8, 2, 2, 8, 2, 2, 8, 2, 2, 8, 2, 2, 8, 2, 2]),
    "DayLast(Select(Gt($g,0),$y))": (TWO_OF_THREE, [46] * 11 + [54] * 3),
    "DayLast($x)": (EVERY, [23] * 16 + [29] * 5),
    "FFillNan($x)": (EVERY, [9, 10, INF, *range(12, 24), 23, 23, 26, 27, 28, 29]),
    "BFillNan($x)": (EVERY, [9, 10, INF, *range(12, 24), 26, 26, 26, 27, 28, 29]),
    "Mean(IsNull($x),3)": (EVERY, [0] * 15 + [1 / 3, 2 / 3, 2 / 3, 1 / 3, 0, 0]),
}
# Where Qlib's day ends with the query, the default answers otherwise (docs/deviations.md).
OTHERWISE = {
    "DayLast(Select(Gt($g,0),$y))": [46] * 11 + [94] * 3,
    "DayLast($x)": [23] * 16 + [47] * 5,
}


def hours(frame: pd.DataFrame | pd.Series) -> list[int]:
    times = frame.index.get_level_values("datetime")
    return ((times - pd.Timestamp("2021-01-04")) / pd.Timedelta("1h")).astype(int).tolist()


@pytest.mark.parametrize("compat", [None, "qlib"])
@pytest.mark.parametrize("text", QLIB)
def test_frames_are_qlibs(root, text, compat):
    qlib.init(provider_uri=root, compat=compat)
    rows, values = QLIB[text]
    frame = D.features(["AAA"], [text], **ASKED)
    assert hours(frame) == rows and frame.dtypes.tolist() == [np.float32]
    wanted = values if compat else OTHERWISE.get(text, values)
    np.testing.assert_allclose(frame[text], np.float32(wanted), rtol=1e-6)


@pytest.mark.parametrize(
    ("text", "start", "end", "rows", "values"),
    [  # what pyqlib 0.9.7 answers
        ("Cut($y,3,-2)", 0, 8, [3, 4, 5, 6, 7, 8], [6, 8, 10, 12, 14, 16]),
        ("Cut($y,3,-2)", 66, 71, [66, 67, 68, 69], [132, 134, 136, 138]),
        ("Mean(Cut($y,3,None),2)", 0, 8, [3, 4, 5, 6, 7, 8], [6, 7, 9, 11, 13, 15]),
        ("Mean(Cut($y,3,None),2)", 66, 68, [66, 67, 68], [131, 133, 135]),
        ("Cut($y,3,-2)+$y", 0, 4, [0, 1, 2, 3, 4], [N, N, N, 12, 16]),
        ("Ref(Cut($y,3,None),1)", 0, 5, [3, 4, 5], [N, 6, 8]),
        ("Cut(Ref($y,2),1,-1)", 0, 3, [1, 2, 3], [N, 0, 2]),
        ("Cut(Select(Gt($g,0),$y),2,-1)", 0, 8, [3, 5, 6, 8], [6, 10, 12, 16]),
        ("Cut(Select(Gt($g,0),$y),2,-1)", 66, 71, [68, 69], [136, 138]),
        ("FFillNan($x)", 4, 6, [4, 5, 6], [N, 6, 7]),
        ("BFillNan($x)", 3, 3, [3], [N]),
        ("DayLast(Ref($y,-1))", 21, 22, [21, 22], [46, 46]),
    ],
)
def test_by_qlibs_rules_rows_and_values_know_the_query(root, text, start, end, rows, values):
    qlib.init(provider_uri=root, compat="qlib")
    frame = D.features(["AAA"], [text], HOURS[start], HOURS[end], freq="60min")
    assert hours(frame) == rows
    np.testing.assert_array_equal(frame[text], np.float32(values))


@pytest.mark.parametrize(
    ("text", "start", "end", "values"),
    [
        ("Cut($y,3,-2)", 0, 3, [0, 2, 4, 6]),
        ("Cut($y,3,-2)", 70, 71, [140, 142]),
        ("FFillNan($x)", 4, 6, [3, 6, 7]),
        ("BFillNan($x)", 3, 3, [6]),
        ("DayLast($y)", 21, 22, [46, 46]),
        ("DayCumsum($y,'0:00','23:59',60)", 22, 25, [506, 552, 48, 98]),
        ("DayCumsum($y,'22:30','23:00',60)", 21, 24, [0, 44, 90, 0]),
        ("TResample($y,'6h','mean')", 22, 25, [40, 41, 48, 49]),
    ],
)
def test_by_default_nothing_knows_the_query(root, text, start, end, values):
    qlib.init(provider_uri=root)
    frame = D.features(["AAA"], [text], HOURS[start], HOURS[end], freq="60min")
    np.testing.assert_array_equal(frame[text], np.float32(values))


@pytest.mark.parametrize("compat", [None, "qlib"])
def test_a_row_is_there_where_one_of_the_fields_has_it(root, compat):
    qlib.init(provider_uri=root, compat=compat)
    one, other = "Select(Gt($g,0),$y)", "Select(Gt($x,20),$y)"
    frame = D.features(["AAA"], [one, other], **ASKED)
    assert hours(frame) == [8, 9, 10, 11, 12, 14, 15, 17, 18, 20, 21, 22, 23, 24, 25, 26, 27, 28]
    assert frame[one].isna().sum() == 4 and frame[other].count() == 8
    with_all = D.features(["AAA"], [one, "$close", "$y"], **ASKED)
    assert hours(with_all) == EVERY and with_all[one].count() == 14
    assert hours(D.features(["AAA"], [one, "$nosuch"], **ASKED)) == TWO_OF_THREE


def test_an_instrument_of_which_no_row_is_left_is_absent(root):
    qlib.init(provider_uri=root)
    frame = D.features(["AAA", "BBB"], ["Select($y>100,$y)"], freq="60min")
    assert frame.index.unique("instrument").tolist() == ["AAA"] and len(frame) == 21
    nothing = D.features(["AAA", "BBB"], ["Select($y>1000,$y)"], freq="60min")
    assert len(nothing) == 0 and nothing.index.names == ["instrument", "datetime"]


def test_rows_left_out_stay_inside_the_spans_of_the_universe(root):
    qlib.init(provider_uri=root)
    universe = {"AAA": [(HOURS[10], HOURS[13])], "BBB": [(HOURS[50], HOURS[71])]}
    frame = D.features(universe, ["Select($g>0,$y)"], freq="60min")
    assert hours(frame) == [11, 12, 50, 51, 53, 54, 56, 57, 59]


# ------------------------------------------------------------------------------------------------ dates
@pytest.mark.parametrize("compat", [None, "qlib"])
def test_dates_are_objects_and_the_other_columns_numbers(root, compat):
    qlib.init(provider_uri=root, compat=compat)
    fields = ["Date($x)", "$y", "Date($x)", "Ref(Date($x),1)", "Date(Select($g>0,$y))"]
    frame = D.features(["AAA", "BBB"], fields, HOURS[29], HOURS[31], freq="60min")
    assert frame.columns.tolist() == fields
    assert frame.dtypes.astype(str).tolist() == ["object", "float32", "object", "object", "object"]
    day = dt.date(2021, 1, 5)
    assert frame.iloc[:, 0].tolist() == [day] * 5 == frame.iloc[:, 2].tolist()
    assert frame.iloc[:, 3].tolist()[:3] == [day] * 3 and np.isnan(frame.iloc[3, 3])  # before BBB's first row
    assert [one == day for one in frame.iloc[:, 4]] == [True, True, False, True, False]


def test_dates_can_be_compared_in_a_formula(root):
    qlib.init(provider_uri=root)
    fields = ["Date($x)==Ref(Date($x),1)", "Date($x)-Ref(Date($x),24)", "If($y>46,Date($x),Ref(Date($x),24))"]
    frame = D.features(["AAA"], fields, HOURS[23], HOURS[25], freq="60min")
    np.testing.assert_array_equal(frame.iloc[:, 0], [1, 0, 1])
    np.testing.assert_array_equal(frame.iloc[:, 1], np.float32([N, 1, 1]))


def test_one_formula_of_one_instrument_has_its_rows_and_dates(root):
    qlib.init(provider_uri=root)
    chosen = ExpressionD.expression("AAA", "Select($g>0,$y)", HOURS[24], HOURS[28], "60min")
    assert chosen.index.tolist() == [24, 26, 27] and chosen.tolist() == [48, 52, 54]
    dates = ExpressionD.expression("AAA", "Date($y)", HOURS[23], HOURS[24], "60min")
    assert dates.tolist() == [dt.date(2021, 1, 4), dt.date(2021, 1, 5)] and isinstance(dates.index, pd.RangeIndex)


# ---------------------------------------------------------------------------------------- formulas printed alike
def test_qlib_takes_formulas_for_one_another_that_it_prints_alike(root):
    """Its text leaves arguments out, and it keeps values under the text: the first in order of text answers for all."""
    fields = ["Cut($y,3,-1)", "Cut($y,2,-1)", "Cut($x,2,-1)"]
    asked = {"start_time": HOURS[0], "end_time": HOURS[4], "freq": "60min"}
    qlib.init(provider_uri=root, compat="qlib")
    known = D.features(["AAA"], fields, HOURS[0], HOURS[4], freq="60min")
    # Their windows differ, so Qlib reads other rows for them and tells them apart.
    np.testing.assert_array_equal(known["Cut($y,3,-1)"], np.float32([N, 6, 8]))
    alike = ["TResample($y,'2h','sum')", "TResample($y,'2h','count')"]
    np.testing.assert_array_equal(*D.features(["AAA"], alike, **asked).to_numpy().T)
    qlib.init(provider_uri=root)
    own = D.features(["AAA"], alike, **asked)
    np.testing.assert_array_equal(own, np.float32([[0, 1], [2, 2], [4, 1], [10, 2], [8, 1]]))


# ------------------------------------------------------------------------------------------------ doors
CLASSES = [DayCumsum, DayLast, FFillNan, BFillNan, Date, Select, IsNull, IsInf, Cut]
CONFIGS = [{"class": made.__name__, "module_path": "qlib.contrib.ops.high_freq"} for made in CLASSES]


@pytest.mark.parametrize("ops", [CLASSES, CONFIGS, []], ids=["classes", "configurations", "none"])
def test_the_operators_are_known_however_they_are_registered(root, ops, caplog):
    qlib.init(provider_uri=root, custom_ops=ops)
    logging.getLogger("qlib").propagate = True
    texts = ["DayCumsum($y,'0:00','1:59',60)", "DayLast($x)", "FFillNan($x)", "BFillNan($x)", "Date($x)", "IsNull($x)"]
    texts += ["IsInf($x)", "Cut($x,1,-1)", "Select($g>0,$x)", "TResample($x,'day','max')"]
    assert D.features(["AAA"], texts, **ASKED).shape == (21, 10)
    assert "takes the place" not in caplog.text


def test_objects_are_formulas_too(root):
    qlib.init(provider_uri=root)
    x, y, g = Feature("x"), Feature("y"), Feature("g")
    made = [
        (Mean(Select(Gt(g, 0), y), 3), "Mean(Select(Gt($g,0),$y),3)"),
        (DayCumsum(y, "0:00", data_granularity=60), "DayCumsum($y,'0:00','14:59',60)"),
        (FFillNan(x) / DayLast(Date(x)), "Div(FFillNan($x),DayLast(Date($x)))"),
        (Cut(BFillNan(x), right=-3), "Cut(BFillNan($x),None,-3)"),
        (IsNull(x) | IsInf(x), "Or(IsNull($x),IsInf($x))"),
        (TResample(x, "week", "max"), "TResample($x,'week','max')"),
    ]
    assert [str(one) for one, _ in made] == [text for _, text in made]
    frame = D.features(["AAA"], [one for one, _ in made], **ASKED)
    pd.testing.assert_frame_equal(frame, D.features(["AAA"], [text for _, text in made], **ASKED))
    assert Cut(x, 3, -2).get_extended_window_size() == (3, 2) and DayLast(x).get_extended_window_size() == (0, 0)
    assert (DayCumsum(y).start, DayCumsum(y).data_granularity) == ("9:30", 1)
    assert list(inspect.signature(DayCumsum).parameters) == ["feature", "start", "end", "data_granularity"]


def test_a_day_of_qlibs_sessions_can_be_summed_by_itself():
    made = DayCumsum(Feature("v"), "10:00", "14:29", 30)
    assert made.period_cusum(pd.Series([1, 2, 4, 8, 16, 32, 64, 128])).tolist() == [0, 2, 6, 14, 30, 62, 126, 0]
    with pytest.raises(InputError, match="received 7 bars; a day of Qlib's sessions has 240 / 30"):
        made.period_cusum(pd.Series(range(7)))


def test_the_calendars_days_and_half_hours(root):
    qlib.init(provider_uri=root)
    days = high_freq.get_calendar_day("60min")
    assert len(days) == 72 and days[0] == dt.date(2021, 1, 4) and days[71] == dt.date(2021, 1, 6)
    assert high_freq.get_calendar_minute("60min").tolist() == [0] * 72  # asked after the days, and not answered by them


def test_the_half_hours_of_a_minute_calendar(golden_stores):
    qlib.init(provider_uri=golden_stores / "m1")
    halves = high_freq.get_calendar_minute("1min")
    assert halves.dtype == np.int64 and halves[:62].tolist() == [1] * 30 + [0] * 30 + [1, 1]
