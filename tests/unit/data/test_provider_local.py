"""Qlib's paths for providers of a store on this machine, and for windows over one array."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import qlib
from qlib.config import C, build_settings
from qlib.data import D
from qlib.data import data as door
from qlib.data._libs import expanding, rolling
from qlib.data.base import Expression
from qlib.data.data import (
    DatasetProvider,
    ExpressionD,
    LocalCalendarProvider,
    LocalDatasetProvider,
    LocalExpressionProvider,
    LocalFeatureProvider,
    LocalInstrumentProvider,
    LocalProvider,
    register_all_wrappers,
)
from qlib.data.filter import NameDFilter
from qlib.data.ops import Mean
from qlib.data.provider import Provider
from qlib.data.storage.storage import CalendarStorage, FeatureStorage, InstrumentStorage
from qlib.data.storage.writer import write_store
from qlib.errors import ExpressionError, InputError

DAYS = pd.date_range("2024-01-01", periods=20)


@pytest.fixture(scope="module")
def frames() -> dict[str, pd.DataFrame]:
    rng = np.random.default_rng(2)
    whole = {name: pd.DataFrame(rng.uniform(1, 2, (20, 2)), DAYS, ["close", "open"]) for name in ("AA", "BB")}
    return {"AA": whole["AA"], "BB": whole["BB"].iloc[5:]}


@pytest.fixture(scope="module", autouse=True)
def root(tmp_path_factory, frames) -> Path:
    root = write_store(frames, tmp_path_factory.mktemp("p") / "s", "day")
    qlib.init(provider_uri=root)
    return root


# ------------------------------------------------------------------------------------------------ the store's own
def test_series_by_position_and_by_time(frames):
    by_position, by_time = LocalExpressionProvider(), LocalExpressionProvider(time2idx=False)
    wanted = frames["BB"]["close"].rolling(5, min_periods=1).mean()
    for provider, index in ((by_position, range(7, 12)), (by_time, DAYS[7:12])):
        got = provider.expression("BB", "Mean( $close, 5)", DAYS[7], DAYS[11], "day")
        assert got.dtype == "f4" and got.name == "Mean($close,5)" and list(got.index) == list(index)
        np.testing.assert_allclose(got, wanted.loc[DAYS[7:12]], rtol=1e-6)
    assert list(by_position.expression_instance_cache) == ["Mean( $close, 5)"] and by_position.time2idx
    assert isinstance(by_position.get_expression_instance("Mean( $close, 5)"), Mean)
    with pytest.raises(ExpressionError, match="expected"):
        by_position.get_expression_instance("Mean( $close")


def test_a_formula_is_read_anew_where_the_operators_or_the_rules_change(root):
    one = ExpressionD.get_expression_instance("Mean($close,5)")
    assert ExpressionD.get_expression_instance("Mean($close,5)") is one
    C["compat"] = "qlib"
    assert ExpressionD.get_expression_instance("Mean($close,5)") is not one
    assert ExpressionD.get_expression_instance("Mean($close,5)").node("qlib").compat == "qlib"
    C["compat"] = None


def test_a_stored_field(frames):
    got = LocalFeatureProvider().feature("bb", "$close", 3, 8, "day")
    assert list(got.index) == [5, 6, 7, 8] and got.dtype == "f4"
    np.testing.assert_array_equal(got, frames["BB"]["close"].iloc[:4].to_numpy("f4"))
    assert LocalFeatureProvider().feature("nobody", "$close", 3, 8, "day").empty
    assert LocalFeatureProvider(remote=True).remote


def test_calendars_and_universes():
    calendar, universe = LocalCalendarProvider(), LocalInstrumentProvider()
    assert calendar.load_calendar("day", False) == list(DAYS)
    assert calendar.locate_index(DAYS[3], DAYS[6], "day") == (DAYS[3], DAYS[6], 3, 6)
    assert list(calendar.calendar(DAYS[3], DAYS[4])) == [DAYS[3], DAYS[4]]
    assert universe.list_instruments(universe.instruments("all"), as_list=True) == ["AA", "BB"]


def test_frames_and_their_parts(frames):
    wanted = D.features(["AA", "BB"], ["$close", "$open"], DAYS[3], DAYS[6])
    dataset = LocalDatasetProvider(align_time=False)
    assert not dataset.align_time
    pd.testing.assert_frame_equal(dataset.dataset(["AA", "BB"], ["$close", "$open"], DAYS[3], DAYS[6]), wanted)
    names = DatasetProvider.get_instruments_d(("AA", "BB"), "day")
    assert names == ["AA", "BB"] and list(DatasetProvider.get_instruments_d(D.instruments("all"), "day")) == names
    assert DatasetProvider.get_instruments_d({"AA": [(1, 2)]}, "day") == {"AA": [(1, 2)]}
    columns = DatasetProvider.get_column_names(["$close", "$open"])
    pd.testing.assert_frame_equal(DatasetProvider.dataset_processor(names, columns, DAYS[3], DAYS[6], "day"), wanted)
    one = DatasetProvider.inst_calculator("AA", DAYS[3], DAYS[6], "day", columns, spans=[(DAYS[4], DAYS[5])])
    pd.testing.assert_frame_equal(one, wanted.loc["AA"].iloc[1:3], check_freq=False)
    formulas = DatasetProvider.parse_fields(["$close ", "$open/2"])
    assert all(isinstance(f, Expression) for f in formulas) and [str(f) for f in formulas] == ["$close", "Div($open,2)"]
    with pytest.raises(InputError, match="received 'AA'; a list, a dict or"):
        DatasetProvider.get_instruments_d("AA", "day")


def test_the_globals_show_the_settings(root):
    first = D.features(["AA"], ["$close"])
    register_all_wrappers(C)
    pd.testing.assert_frame_equal(D.features(["AA"], ["$close"]), first)
    assert issubclass(LocalProvider, door.BaseProviderWrapper)
    assert isinstance(door.Cal, door.CalendarProviderWrapper) and isinstance(door.Inst, door.InstrumentProviderWrapper)
    assert isinstance(Provider(build_settings(provider_uri=root)), door.BaseProvider)


# ------------------------------------------------------------------------------------------------ storages of one's own
class Hours(CalendarStorage):
    @property
    def data(self):
        return [f"2024-01-01 {hour:02d}:00:00" for hour in range(5)]


class Two(InstrumentStorage):
    @property
    def data(self):
        return {"AA": [(DAYS[2], DAYS[9])], "ZZ": [(DAYS[0], DAYS[19])]}


class Squares(FeatureStorage):
    def __getitem__(self, i):
        return pd.Series(np.arange(i.start, i.stop, dtype="f4") ** 2, index=range(i.start, i.stop))


def of(made: type) -> dict[str, str]:
    return {"class": made.__name__, "module_path": made.__module__}


def test_a_provider_reads_through_the_storage_that_it_is_given():
    calendar = LocalCalendarProvider(backend=of(Hours))
    assert [time.hour for time in calendar.calendar("2024-01-01 01:00", "2024-01-01 03:00", "60min")] == [1, 2, 3]
    assert calendar.locate_index("2024-01-01 02:30", None, "60min")[2:] == (3, 4)
    universe = LocalInstrumentProvider(backend=of(Two))
    market = universe.instruments("any", [NameDFilter("A")])
    assert universe.list_instruments(market, DAYS[4], DAYS[15]) == {"AA": [(DAYS[4], DAYS[9])]}
    assert universe.list_instruments(universe.instruments("any"), as_list=True) == ["AA", "ZZ"]
    feature = LocalFeatureProvider(backend=of(Squares)).feature("AA", "$close", 3, 5, "day")
    assert feature.tolist() == [9, 16, 25]


def test_a_subclass_may_bring_its_calendar():
    class Weekly(LocalCalendarProvider):
        def load_calendar(self, freq, future):
            return list(DAYS[::7])

    assert list(Weekly().calendar()) == list(DAYS[::7]) and Weekly().locate_index(DAYS[1], None, "day")[2] == 1


@pytest.mark.parametrize(
    ("made", "kind"),
    [(LocalCalendarProvider, "Calendar"), (LocalInstrumentProvider, "Instrument"), (LocalFeatureProvider, "Feature")],
)
def test_without_one_it_is_the_storage_of_files(made, kind):
    assert made().get_default_backend() == {
        "class": f"File{kind}Storage",
        "module_path": "qlib.data.storage.file_storage",
    }
    of_what = {
        "Calendar": {"freq": "day", "future": False},
        "Instrument": {"market": "all", "freq": "day"},
        "Feature": {"instrument": "AA", "field": "close", "freq": "day"},
    }
    assert type(made().backend_obj(**of_what[kind])).__name__ == f"File{kind}Storage"


# ------------------------------------------------------------------------------------------------ one array
VALUES = np.array([1.0, 2, 4, np.nan, 5, 5, 5, 7])
ANSWERS = {  # what pyqlib 0.9.7 answers, of windows that vary
    "rolling_mean": [1, 1.5, 2.33333333, 3, 4.5, 5, 5, 5.66666667],
    "rolling_slope": [np.nan, 1, 1.5, 2, 0.5, 0, 0, 1],
    "rolling_rsquare": [np.nan, 1, 0.96428571, 1, 1, np.nan, np.nan, 0.75],
    "rolling_resi": [np.nan, 0, 0.16666667, np.nan, 0, 0, 0, 0.33333333],
    "expanding_mean": [1, 1.5, 2.33333333, 2.33333333, 3, 3.4, 3.66666667, 4.14285714],
    "expanding_slope": [np.nan, 1, 1.5, 1.5, 1.02857143, 0.8255814, 0.67857143, 0.72945205],
    "expanding_rsquare": [np.nan, 1, 0.96428571, 0.96428571, 0.92571429, 0.88812544, 0.84083851, 0.89294993],
    "expanding_resi": [np.nan, 0, 0.16666667, np.nan, -0.31428571, -0.54651163, -0.70238095, 0.35616438],
}


@pytest.mark.parametrize("name", ANSWERS)
def test_windows_over_an_array(name):
    window = (3,) if name.startswith("rolling") else ()
    function = getattr(rolling if window else expanding, name)
    got = function(VALUES, *window)
    assert got.dtype == "f8"
    np.testing.assert_allclose(got, ANSWERS[name], rtol=1e-7, atol=1e-8)
    assert len(function(np.array([]), *window)) == 0
    with pytest.raises(ValueError, match=r"one dimension is expected, received shape \(2, 4\)"):
        function(VALUES.reshape(2, 4), *window)
