"""Who is alive when: markets, spans, filters, and Qlib's views on the provider."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qlib.config import build_settings
from qlib.data.calendar import Calendar, CalendarRangeError
from qlib.data.filter import BaseDFilter, ExpressionDFilter, NameDFilter, SeriesDFilter
from qlib.data.provider import Provider
from qlib.data.provider.views import (
    CalendarProvider,
    DatasetProvider,
    ExpressionProvider,
    FeatureProvider,
    InstrumentProvider,
)
from qlib.data.storage.writer import write_store
from qlib.data.universe import Universe, alive, clip, positions, spans_of
from qlib.errors import ConfigError, InputError, MissingDataError

DAYS = pd.date_range("2024-01-01", periods=20)
CALENDAR = Calendar("day", DAYS)
Stamp = pd.Timestamp


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    up = pd.DataFrame({"close": np.arange(20.0), "x": [np.nan, 1] * 10}, index=DAYS)
    down = pd.DataFrame({"close": -np.arange(10.0), "x": 0.0}, index=DAYS[5:15])
    return write_store(
        {"UP": up, "DOWN": down, "OTHER": up},
        tmp_path_factory.mktemp("u") / "s",
        "day",
        instruments={
            "all": ["UP", "DOWN"],
            "twice": {"UP": [(DAYS[2], DAYS[4]), (DAYS[8], DAYS[9])], "EMPTY": [(DAYS[9], DAYS[8])]},
        },
    )


@pytest.fixture
def p(root):
    return Provider(build_settings(provider_uri=root))


def days(spans):
    return {
        name: [(int((a - DAYS[0]).days), int((b - DAYS[0]).days)) for a, b in pairs] for name, pairs in spans.items()
    }


# ---------------------------------------------------------------------- markets
def test_a_market_is_described_then_listed(p):
    assert p.instruments("twice") == {"market": "twice", "filter_pipe": []}
    assert p.instruments(["A", "B"]) == ["A", "B"]
    assert days(p.list_instruments(p.instruments("ALL"))) == {"UP": [(0, 19)], "DOWN": [(5, 14)]}
    assert days(p.list_instruments(p.instruments("twice"))) == {"UP": [(2, 4), (8, 9)]}
    assert p.list_instruments(p.instruments("all"), "2024-01-01", "2024-01-03", as_list=True) == ["UP"]


def test_spans_are_cut_to_the_range(p):
    found = p.list_instruments(p.instruments("twice"), DAYS[3], "2024-01-09 12:00")
    assert found["UP"] == [(DAYS[3], DAYS[4]), (DAYS[8], Stamp("2024-01-09 12:00"))]
    assert p.list_instruments({"UP": [("2024-01-02", None)]}, None, DAYS[5]) == {"UP": [(DAYS[1], DAYS[5])]}


def test_what_is_no_universe_is_refused_with_what_is(p):
    with pytest.raises(
        InputError, match=r"received 'all' .str.; what D.instruments returns is allowed, such as D.instruments\('all'\)"
    ):
        p.list_instruments("all")
    with pytest.raises(InputError, match="what D.instruments returns is allowed"):
        p.list_instruments(["UP"])
    with pytest.raises(MissingDataError, match="market: received 'twise'; .* has all, twice; did you mean twice"):
        p.list_instruments(p.instruments("twise"))


spans = st.lists(st.tuples(st.integers(0, 25), st.integers(0, 25)).map(lambda t: (min(t), max(t))), max_size=5)


@given(spans)
def test_spans_and_masks_say_the_same(pairs):
    times = [(DAYS[0] + pd.Timedelta(days=a), DAYS[0] + pd.Timedelta(days=b)) for a, b in pairs]
    mask = alive(times, CALENDAR)
    assert mask.tolist() == [any(a <= t <= b for a, b in times) for t in DAYS]
    assert alive(spans_of(mask, CALENDAR), CALENDAR).tolist() == mask.tolist()
    assert [tuple(x) for x in positions(times, CALENDAR)] == [(a, min(b, 19)) for a, b in pairs if a <= 19]


@given(spans, st.integers(0, 25), st.integers(0, 25))
def test_clipping_keeps_what_lies_inside(pairs, low, high):
    start, end = DAYS[0] + pd.Timedelta(days=low), DAYS[0] + pd.Timedelta(days=high)
    times = [(DAYS[0] + pd.Timedelta(days=a), DAYS[0] + pd.Timedelta(days=b)) for a, b in pairs]
    found = clip({"A": times}, start, end).get("A", [])
    inside = alive(times, CALENDAR) & np.array([start <= day <= end for day in DAYS])
    assert alive(found, CALENDAR).tolist() == inside.tolist()


many = st.dictionaries(st.sampled_from("DACB"), st.lists(st.tuples(st.integers(0, 25), st.integers(0, 25)), max_size=3))


@given(many, st.integers(0, 25), st.integers(0, 25))
def test_a_universe_of_arrays_says_what_its_spans_say(pairs, low, high):
    def day(number: int) -> pd.Timestamp:
        return DAYS[0] + pd.Timedelta(days=number)

    spans = {name: [(day(a), day(b)) for a, b in own] for name, own in pairs.items()}
    universe = Universe(spans)
    start, end = day(low), day(high)
    expected = clip(spans, start, end)
    found = universe.clip(start, end)
    assert found == expected and list(found) == list(expected)
    assert universe.listed(start, end) == list(expected)
    assert universe.names == tuple(sorted(spans))
    assert [n for n, one in zip(universe.names, universe.alive(start, end), strict=True) if one] == sorted(expected)
    for calendar in (CALENDAR, Calendar("day", DAYS[3:9]), CALENDAR):
        ranges = universe.ranges(calendar)
        for i, name in enumerate(universe.names):
            inside = alive(spans[name], calendar)
            assert [p for a, b in ranges.of(i) for p in range(a, b)] == np.flatnonzero(inside).tolist()


# ---------------------------------------------------------------------- filters
def listed(p, *filters, start=None, end=None, market="all"):
    return days(p.list_instruments(p.instruments(market, filter_pipe=list(filters)), start, end))


def test_a_name_filter_matches_from_the_beginning(p):
    assert listed(p, NameDFilter("U")) == {"UP": [(0, 19)]}
    assert listed(p, NameDFilter("P")) == {}
    assert listed(p, NameDFilter("U", DAYS[6], DAYS[7])) == {"UP": [(0, 19)], "DOWN": [(5, 5), (8, 14)]}


def test_a_formula_filter_keeps_the_days_on_which_it_holds(p):
    assert listed(p, ExpressionDFilter("$close > 3")) == {"UP": [(4, 19)]}
    assert listed(p, ExpressionDFilter("$close > Ref($close, 1)")) == {"UP": [(1, 19)]}
    assert listed(p, ExpressionDFilter("$close < 5", DAYS[3], DAYS[9])) == {"UP": [(0, 4), (10, 19)], "DOWN": [(5, 14)]}
    assert listed(p, ExpressionDFilter("$close > 3"), start=DAYS[2], end=DAYS[5]) == {"UP": [(4, 5)]}


def test_an_instrument_without_data_passes_if_it_is_to_be_kept(p):
    universe = {"DOWN": [(DAYS[0], DAYS[19])]}  # it claims more than the data hold
    for keep, expected in ((False, [(0, 14)]), (True, [(0, 19)])):
        one = ExpressionDFilter("$close <= 0", DAYS[15], DAYS[19], keep=keep)
        assert days(one(universe, DAYS[0], DAYS[19], "day", provider=p)) == {"DOWN": expected}


def test_missing_numbers_do_not_hold_by_default_and_hold_as_in_qlib(root):
    odd = [(i, i) for i in range(1, 20, 2)]
    assert listed(Provider(build_settings(provider_uri=root)), ExpressionDFilter("$x")) == {"UP": odd}
    assert listed(Provider(build_settings(provider_uri=root, compat="qlib")), ExpressionDFilter("$x")) == {
        "UP": [(0, 19)]
    }


@given(st.lists(st.sampled_from(["name", "up", "big"]), max_size=3), st.booleans())
@settings(max_examples=20, deadline=None)
def test_filters_apply_in_order_and_survive_their_configuration(root, kinds, as_config):
    p = Provider(build_settings(provider_uri=root))
    make = {"name": NameDFilter("UP"), "up": ExpressionDFilter("$close >= 0"), "big": ExpressionDFilter("$close > 7")}
    pipe = [make[kind].to_config() if as_config else make[kind] for kind in kinds]
    found = listed(p, *pipe)
    first = 8 if "big" in kinds else 0
    assert found["UP"] == [(first, 19)] and list(found) == (["UP"] if {"name", "big"} & set(kinds) else ["UP", "DOWN"])
    for kind in kinds:
        assert BaseDFilter.from_config(make[kind].to_config()) == make[kind]


def test_a_configuration_is_qlibs(p):
    assert ExpressionDFilter("$close", "2020-01-01", None, True).to_config() == {
        "filter_type": "ExpressionDFilter",
        "rule_expression": "$close",
        "filter_start_time": "2020-01-01 00:00:00",
        "filter_end_time": None,
        "keep": True,
    }
    with pytest.raises(
        ConfigError, match="'NameFilter'; allowed are NameDFilter, ExpressionDFilter.*; did you mean NameDFilter"
    ):
        listed(p, {"filter_type": "NameFilter"})


def test_a_filter_of_ones_own_says_yes_or_no_for_every_day(p):
    class Weekend(SeriesDFilter):
        def rule(self, instruments, calendar, first, last, provider):
            return {name: pd.DatetimeIndex(calendar.times[first : last + 1]).day_of_week >= 5 for name in instruments}

        def to_config(self):
            return {}

    alive = Weekend()({"UP": [(DAYS[0], DAYS[19])]}, freq="day", provider=p)
    assert days(alive) == {"UP": [(5, 6), (12, 13), (19, 19)]}


def test_a_universe_with_filters_gives_its_rows(p):
    found = p.features(p.instruments("all", filter_pipe=[ExpressionDFilter("$close > 17")]), ["$close"])
    assert list(found.index) == [("UP", DAYS[18]), ("UP", DAYS[19])]


# ---------------------------------------------------------------------- Qlib's views
def test_the_views_show_the_provider_they_were_given(p):
    cal, inst = CalendarProvider(p), InstrumentProvider(p)
    assert cal.locate_index("2024-01-02", "2024-01-04 12:00", "day") == (DAYS[1], DAYS[3], 1, 3)
    assert cal.locate_index(None, None, "day") == (DAYS[0], DAYS[19], 0, 19)
    assert cal.load_calendar("day", future=False) == list(DAYS) == list(cal.calendar())
    for start, end in (("2060-01-01", None), ("2000-01-01", "2001-01-01")):
        with pytest.raises(CalendarRangeError, match="spans 2024-01-01"):
            cal.locate_index(start, end, "day")
    assert inst.list_instruments(inst.instruments("all"), as_list=True) == ["UP", "DOWN"]
    assert [inst.get_inst_type(x) for x in (["A"], {"A": []}, {"market": "all"})] == ["LIST", "DICT", "CONF"]


def test_one_field_and_one_formula_come_as_series_over_positions(p):
    raw = FeatureProvider(p).feature("DOWN", "$close", 0, 7, "day")
    pd.testing.assert_series_equal(raw, pd.Series(np.float32([0, -1, -2]), index=pd.RangeIndex(5, 8)))
    assert FeatureProvider(p).feature("DOWN", "$none", 0, 7, "day").empty
    found = ExpressionProvider(p).expression("DOWN", "Mean($close, 2)", DAYS[6], DAYS[7])
    pd.testing.assert_series_equal(
        found, pd.Series(np.float32([-0.5, -1.5]), index=pd.RangeIndex(6, 8), name="Mean($close,2)")
    )
    assert ExpressionProvider(p).expression("NONE", "$close").empty
    data = DatasetProvider(p)
    assert data.dataset(["UP"], ["$close"]).equals(p.features(["UP"], ["$close"]))
    assert (
        data.get_column_names(["$close ", 1]) == ["$close ", "1"]
        and str(data.parse_fields(["$a / $b"])[0]) == "Div($a,$b)"
    )
