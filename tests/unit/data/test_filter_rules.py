"""Filters: the rule of every instrument at once, rules of one's own, and configurations."""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qlib.config import build_settings
from qlib.data.filter import FILTERS, BaseDFilter, ExpressionDFilter, NameDFilter, SeriesDFilter
from qlib.data.provider import Provider
from qlib.data.storage.writer import write_store
from qlib.data.universe import alive, spans_of
from qlib.errors import ConfigError, InputError

DAYS = pd.date_range("2024-01-01", periods=20)
MODES = (None, "qlib")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    up = pd.DataFrame({"close": np.arange(20.0), "x": [np.nan, 1] * 10}, index=DAYS)
    down = pd.DataFrame({"close": -np.arange(10.0), "x": 0.0}, index=DAYS[5:15])
    spans = {"all": ["UP", "DOWN"], "long": {name: [(DAYS[0], DAYS[19])] for name in ("UP", "NONE", "DOWN")}}
    return write_store({"UP": up, "DOWN": down}, tmp_path_factory.mktemp("f") / "s", "day", instruments=spans)


@pytest.fixture(scope="module")
def providers(root):
    return {mode: Provider(build_settings(provider_uri=root, compat=mode)) for mode in MODES}


def days(spans):
    return {n: [(int((a - DAYS[0]).days), int((b - DAYS[0]).days)) for a, b in pairs] for n, pairs in spans.items()}


def spans(**pairs):
    return {name: [(DAYS[a], DAYS[b]) for a, b in own] for name, own in pairs.items()}


# ---------------------------------------------------------------------- all at once
number = st.integers(0, 19)
universes = st.dictionaries(
    st.sampled_from(["UP", "DOWN", "NONE"]), st.lists(st.tuples(number, number), min_size=1, max_size=3), min_size=1
)


def naive(one, universe, low, high, provider):
    """One instrument after the other, day by day."""
    calendar, passed = provider.locate(), {}
    first, last = calendar.locate(one.filter_start_time, one.filter_end_time)
    for name, pairs in universe.items():
        rows = provider.features([name], [one.rule_expression], DAYS[low], DAYS[high])
        window = range(max(first, low), min(last, high) + 1)
        value = dict(zip(rows.index.get_level_values(1), rows.iloc[:, 0], strict=True))
        seen = any(DAYS[t] in value for t in window)
        loose = provider.settings["compat"] == "qlib"
        inside = alive(pairs, calendar)
        inside[:low], inside[high + 1 :] = False, False
        for t in window:
            number = value.get(DAYS[t], np.nan)
            inside[t] &= one.keep if not seen else loose if np.isnan(number) else number != 0
        if inside.any():
            passed[name] = spans_of(inside, calendar)
    return passed


@given(
    universes, st.sampled_from(["$close>3", "$x", "$close<Ref($close,1)"]), number, number, number, number,
    st.booleans(), st.sampled_from(MODES),
)  # fmt: skip
@settings(max_examples=60)
def test_all_instruments_at_once_are_each_by_itself(providers, pairs, rule, a, b, low, high, keep, mode):
    low, high = min(low, high), max(low, high)
    universe = {n: [(DAYS[min(p)], DAYS[max(p)]) for p in own] for n, own in pairs.items()}
    one, provider = ExpressionDFilter(rule, DAYS[min(a, b)], DAYS[max(a, b)], keep), providers[mode]
    assert one(universe, DAYS[low], DAYS[high], provider=provider) == naive(one, universe, low, high, provider)


def test_a_filtered_universe_is_listed_and_read_alike(providers):
    p = providers[None]
    universe = p.instruments("all", [ExpressionDFilter("$x>0")])
    listed = p.list_instruments(universe)
    frame = p.features(universe, ["$close"])
    assert {n: len(f) for n, f in frame.groupby(level=0)} == {
        n: sum(int((b - a).days) + 1 for a, b in pairs) for n, pairs in listed.items()
    }
    assert p.list_instruments(universe, as_list=True) == list(listed)
    assert p.list_instruments(universe, "2030-01-01", "2031-01-01") == {}


# ---------------------------------------------------------------------- what pyqlib 0.9.7 answers
class EveryThird(SeriesDFilter):
    """As a user of Qlib writes it: says yes on every third day of its window, and knows one instrument only."""

    def _getFilterSeries(self, instruments, fstart, fend):
        window = DAYS[(fstart <= DAYS) & (fend >= DAYS)]
        return {name: pd.Series(np.arange(len(window)) % 3 == 0, window) for name in instruments if name == "UP"}

    def to_config(self):
        return {}


QLIBS = [  # arguments, instruments without data kept; what is left of UP and DOWN
    ({}, False, {"UP": [(2, 2), (8, 8), (11, 11), (14, 14), (17, 17)]}),
    ({}, True, {"UP": [(2, 2), (8, 8), (11, 11), (14, 14), (17, 17)], "DOWN": [(5, 14)]}),
    ({"fstart_time": DAYS[3], "fend_time": DAYS[9]}, False, {"UP": [(2, 3), (6, 6), (9, 18)], "DOWN": [(10, 14)]}),
    ({"fstart_time": DAYS[3], "fend_time": DAYS[9]}, True, {"UP": [(2, 3), (6, 6), (9, 18)], "DOWN": [(5, 14)]}),
    ({"fstart_time": DAYS[15]}, False, {"UP": [(2, 4), (6, 15), (18, 18)], "DOWN": [(5, 14)]}),
]


@pytest.mark.parametrize(("arguments", "keep", "expected"), QLIBS)
@pytest.mark.parametrize("mode", MODES)
def test_a_rule_written_for_qlib_answers_as_there(providers, arguments, keep, expected, mode):
    universe = {"UP": [(DAYS[2], DAYS[4]), (DAYS[6], DAYS[18])], "DOWN": [(DAYS[5], DAYS[14])]}
    one = EveryThird(keep=keep, **arguments)
    assert days(one(universe, DAYS[2], DAYS[18], provider=providers[mode])) == expected


@pytest.mark.parametrize(
    ("window", "keep", "expected"),
    [
        ({}, False, {"UP": [(4, 18)], "DOWN": [(2, 4)]}),
        ({}, True, {"UP": [(4, 18)], "DOWN": [(2, 4)], "NONE": [(2, 5)]}),
        ({"fstart_time": DAYS[3], "fend_time": DAYS[9]}, True,
         {"UP": [(2, 2), (4, 18)], "DOWN": [(2, 4), (10, 14)], "NONE": [(2, 5)]}),
        ({"fstart_time": DAYS[15]}, False, {"UP": [(2, 18)], "DOWN": [(2, 14)], "NONE": [(2, 5)]}),
    ],
)  # fmt: skip
def test_bars_that_are_not_stored_hold_under_compat_only(providers, window, keep, expected):
    universe = spans(UP=[(2, 18)], DOWN=[(2, 14)], NONE=[(2, 5)])
    one = ExpressionDFilter("$close>3", keep=keep, **window)
    assert days(one(universe, DAYS[2], DAYS[18], provider=providers["qlib"])) == expected
    right = days(one(universe, DAYS[2], DAYS[18], provider=providers[None]))
    assert right["UP"] == expected["UP"] and (5, 14) not in right.get("DOWN", [])
    if not window:
        assert "DOWN" not in right


# ---------------------------------------------------------------------- rules of one's own
class Named(SeriesDFilter):
    def __init__(self, letter):
        super().__init__()
        self.letter = letter

    def passing(self, names, members, calendar, first, last, provider):
        return members.of_instruments(np.array([name.startswith(self.letter) for name in names]))

    @staticmethod
    def from_config(config):
        return Named(config["letter"])

    def to_config(self):
        return {"filter_type": "Named", "letter": self.letter}


def test_a_filter_of_ones_own_is_read_back_from_its_configuration(providers):
    p = providers[None]
    universe = p.instruments("all", [Named("D"), ExpressionDFilter("$close > -3")])
    assert universe["filter_pipe"][0] == {"filter_type": "Named", "letter": "D"}
    assert days(p.list_instruments(universe)) == {"DOWN": [(5, 7)]}
    assert FILTERS["Named"] is Named and BaseDFilter.from_config({"filter_type": "Named", "letter": "X"}) == Named("X")


def test_a_filter_that_no_configuration_describes_is_used_itself(providers):
    p = providers[None]
    universe = p.instruments("all", [EveryThird(keep=True)])
    assert isinstance(universe["filter_pipe"][0], EveryThird)
    assert days(p.list_instruments(universe)) == {"UP": [(t, t) for t in range(0, 20, 3)], "DOWN": [(5, 14)]}
    with pytest.raises(ConfigError, match="EveryThird has no from_config"):
        BaseDFilter.from_config({"filter_type": "EveryThird"})


def test_a_filter_may_lie_in_a_module_of_its_own(providers, tmp_path):
    (tmp_path / "mine.py").write_text(
        "from qlib.data.filter import NameDFilter\n"
        "class OnlyUp(NameDFilter):\n"
        "    def __init__(self): super().__init__('UP')\n"
        "    @staticmethod\n"
        "    def from_config(config): return OnlyUp()\n"
    )
    config = {"filter_type": "OnlyUp", "module_path": str(tmp_path / "mine.py")}
    p = providers[None]
    assert list(p.list_instruments(p.instruments("all", [config]))) == ["UP"]
    assert any(name.startswith("mine_") for name in sys.modules)


def test_filters_that_bring_their_own_way_of_being_called(providers):
    class First(SeriesDFilter):
        def filter_main(self, instruments, start_time=None, end_time=None):
            return dict(list(instruments.items())[:1])

        def to_config(self):
            return {}

    p = providers[None]
    assert list(p.list_instruments(p.instruments("all", [First()]))) == ["DOWN"]
    shorter = {"market": "all", "filter_pipe": [lambda spans, start, end, freq: {"UP": [(DAYS[3], DAYS[4])]}]}
    assert days(p.list_instruments(shorter)) == {"UP": [(3, 4)]}
    assert list(p.features(shorter, ["$close"]).index) == [("UP", DAYS[3]), ("UP", DAYS[4])]


def test_what_is_no_filter_is_named(providers):
    p = providers[None]
    with pytest.raises(ConfigError, match="filter_pipe: received 3; filters and their configurations"):
        p.list_instruments({"market": "all", "filter_pipe": [3]})
    with pytest.raises(InputError, match="name_rule_re: received '\\('; a regular expression"):
        NameDFilter("(")

    class Nothing(SeriesDFilter):
        def to_config(self):
            return {}

    with pytest.raises(NotImplementedError, match="Nothing has no rule: write _getFilterSeries, rule or passing"):
        p.list_instruments(p.instruments("all", [Nothing()]))


def test_answers_by_time_are_put_in_their_place_and_nan_is_no_yes(providers):
    class Odd(SeriesDFilter):
        def _getFilterSeries(self, instruments, fstart, fend):
            late = pd.Series([1.0, np.nan, 0.0, 1.0], [DAYS[7], DAYS[6], DAYS[8], pd.Timestamp("2030-01-01")])
            return {"DOWN": late}

        def to_config(self):
            return {}

    found = {mode: days(Odd()(spans(DOWN=[(5, 9)], UP=[(0, 3)]), provider=providers[mode])) for mode in MODES}
    assert found == {None: {"DOWN": [(7, 7)]}, "qlib": {"DOWN": [(5, 7), (9, 9)]}}
