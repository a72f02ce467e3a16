"""Point-in-time formulas through D.features: rows, days, what a person is told; and PITProvider."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from qlib.config import build_settings
from qlib.data.ops import ElemOperator
from qlib.data.provider import Provider
from qlib.data.provider import pit as room
from qlib.data.provider.views import ExpressionProvider, PITProvider
from qlib.data.storage.pit import pit_path, write_pit
from qlib.data.storage.writer import write_store
from qlib.errors import InputError, MissingDataError, StoreError
from qlib.session import Session

DAYS = pd.date_range("2020-01-01", periods=30)
HOURS = pd.date_range("2020-01-01", periods=30 * 4, freq="6h")
ROE = [
    ("2019-12-20", 201902, 0.5),
    ("2020-01-03", 201903, 1.5),
    ("2020-01-05", 201904, 16777217.0),
    ("2020-01-08", 202002, 4.0),
    ("2020-01-12", 202001, 3.0),
    ("2020-01-12", 202001, 3.5),
    ("2020-01-18", 201904, 2.0),
    ("2020-01-25", 202002, np.nan),
    ("2020-03-01", 202003, 9.0),
]
EPS = [("2020-01-02", 2018, 100.0), ("2020-01-11", 2019, 200.0)]


def closes(days: pd.DatetimeIndex) -> pd.DataFrame:
    return pd.DataFrame({"close": np.arange(1.0, len(days) + 1)}, index=days)


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("pit") / "s"
    write_store({"AAA": closes(DAYS), "LATE": closes(DAYS[10:25]), "BARE": closes(DAYS)}, root, "day")
    write_store({"AAA": closes(HOURS)}, root, "360min")
    for name in ("AAA", "LATE", "ONLY"):  # ONLY has no bars at all
        write_pit(pit_path(root, name, "roe_q"), ROE)
    write_pit(pit_path(root, "AAA", "eps_a"), EPS)
    return root


def provider(root: Path, **kwargs) -> Provider:
    return Provider(build_settings(provider_uri=root, **kwargs))


@pytest.fixture
def p(root) -> Provider:
    return provider(root)


@pytest.fixture
def told():
    messages: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())
    logging.getLogger("qlib").addHandler(handler)
    yield messages
    logging.getLogger("qlib").removeHandler(handler)


def newest(day: pd.Timestamp, back: int = 0) -> float:
    """The sentence: of what was announced up to a day, the newest quarter (or `back` before it), its last value."""
    known = {period: value for date, period, value in ROE if pd.Timestamp(date) <= day}
    if not known:
        return np.nan
    year, quarter = divmod(max(known), 100)
    year, quarter = divmod(year * 4 + quarter - 1 - back, 4)
    return known.get(year * 100 + quarter + 1, np.nan)


# ---------------------------------------------------------------------- values
def test_every_day_knows_what_was_announced_up_to_it(p):
    found = p.features(["AAA"], ["P($$roe_q)", "P(Ref($$roe_q,1))", "PRef($$ROE_q, 201904)", "P($$eps_a)"])
    assert found.index.get_level_values(1).tolist() == DAYS.tolist()
    assert set(found.dtypes) == {np.dtype("float32")}
    expected = np.float32([[newest(day), newest(day, 1)] for day in DAYS])
    np.testing.assert_array_equal(found.iloc[:, :2].to_numpy(), expected)
    fourth = [np.nan if day < DAYS[4] else 16777217.0 if day < DAYS[17] else 2.0 for day in DAYS]
    np.testing.assert_array_equal(found.iloc[:, 2].to_numpy(), np.float32(fourth))
    years = [np.nan if day < DAYS[1] else 100 if day < DAYS[10] else 200 for day in DAYS]
    np.testing.assert_array_equal(found.iloc[:, 3].to_numpy(), np.float32(years))


def test_inside_p_numbers_are_float64(p):
    found = p.features(["AAA"], ["P($$roe_q-16777216)"], DAYS[5], DAYS[5])
    assert found.iloc[0, 0] == 1, "16777217 is no float32"


@pytest.mark.parametrize("compat", [None, "qlib"])
def test_a_day_is_the_same_wherever_the_query_begins_and_whatever_else_is_asked(root, compat):
    p = provider(root, compat=compat)
    fields = ["P($$roe_q)", "P(Mean($$roe_q,2))", "PRef($$roe_q,201903)", "Mean(P($$roe_q),3)", "P($$roe_q)*$close"]
    whole = p.features(["AAA", "LATE"], fields)
    for low in (0, 4, 5, 11, 17, 24):
        part = p.features(["AAA", "LATE"], fields, DAYS[low], DAYS[min(low + 7, 29)])
        pd.testing.assert_frame_equal(part, whole.loc[part.index])
        for field in fields[:-1]:
            alone = p.features(["LATE"], [field], DAYS[low], DAYS[min(low + 7, 29)])
            pd.testing.assert_frame_equal(alone, part.loc[["LATE"], [field]])


@pytest.mark.parametrize("compat", [None, "qlib"])
def test_another_field_of_the_query_moves_no_window(root, compat):
    """P has rows on every day, LATE's columns only since its listing: a window at the listing holds what it held."""
    p = provider(root, compat=compat)
    fields = ["IdxMax($close,5)", "WMA($close,4)", "Mean($close,3)*P($$roe_q)", "Count(P($$roe_q),5)*$close"]
    alone = pd.concat([p.features(["LATE"], [field]) for field in fields], axis=1)
    together = p.features(["LATE"], [*fields, "P($$roe_q)"])
    pd.testing.assert_frame_equal(together[fields], alone.reindex(together.index))
    listed = together.loc[("LATE", DAYS[10])]
    assert listed[fields[0]] == 1 and listed[fields[3]] == 5


def test_a_forward_reference_over_p_ends_in_nan(p):
    found = p.features(["AAA"], ["Ref(P($$roe_q),-2)"]).iloc[:, 0].to_numpy()
    expected = [newest(day) for day in DAYS[2:]] + [np.nan, np.nan]
    np.testing.assert_array_equal(found, np.float32(expected))
    middle = p.features(["AAA"], ["Ref(P($$roe_q),-2)"], DAYS[3], DAYS[6]).iloc[:, 0].to_numpy()
    np.testing.assert_array_equal(middle, found[3:7])


@pytest.mark.parametrize(("compat", "delay"), [(None, 1), ("qlib", 0)])
def test_a_bar_shorter_than_a_day_knows_earlier_days_only(root, compat, delay):
    found = provider(root, compat=compat).features(["AAA"], ["P($$roe_q)"], freq="360min")
    assert len(found) == len(HOURS)
    expected = np.float32([newest(hour.normalize() - pd.Timedelta(days=delay)) for hour in HOURS])
    np.testing.assert_array_equal(found.iloc[:, 0].to_numpy(), expected)


def test_across_instruments_and_elsewhere(p):
    fields = ["CSRank(P($$roe_q))", "ChangeInstrument('AAA',P($$eps_a))", "P(Mask($$eps_a,'AAA'))", "P($$roe_q)"]
    found = p.features(["AAA", "BARE", "LATE"], fields, DAYS[12], DAYS[12]).droplevel(1)
    assert found.loc["AAA"].tolist() == [0.75, 200, 200, 4]
    assert found.loc["LATE"].tolist() == [0.75, 200, 200, 4]
    np.testing.assert_array_equal(found.loc["BARE"], [np.nan, 200, 200, np.nan])


class Best3(ElemOperator):
    """A user's operator, which is called along periods where it stands inside P, and along days outside."""

    def _load_internal(self, instrument, start_index, end_index, *args):
        assert instrument.upper() in ("AAA", "LATE")
        return self.feature.load(instrument, start_index, end_index, *args).rolling(3, min_periods=1).max()

    def get_extended_window_size(self):
        left, right = self.feature.get_extended_window_size()
        return left + 2, right


@pytest.mark.parametrize("compat", [None, "qlib"])
def test_a_users_operator_runs_along_periods(root, compat):
    p = Session(build_settings(provider_uri=root, custom_ops=[Best3], compat=compat)).provider
    pairs = {"P(Best3($$roe_q))": "P(Max($$roe_q,3))", "Best3(P($$roe_q))*$close": "Max(P($$roe_q),3)*$close"}
    found = p.features(["AAA", "LATE"], [*pairs, *pairs.values()])
    for ours, same in pairs.items():
        np.testing.assert_array_equal(found[ours], found[same])


# ---------------------------------------------------------------------- rows
def test_an_instrument_with_the_data_has_a_row_on_every_day_of_the_query(p):
    found = p.features(["AAA", "LATE", "ONLY"], ["P($$roe_q)", "$close"], DAYS[3], DAYS[27])
    assert found.groupby("instrument").size().to_dict() == {"AAA": 25, "LATE": 25, "ONLY": 25}
    assert found.loc["LATE", "$close"].notna().sum() == 15
    assert found.loc["ONLY", "P($$roe_q)"].notna().sum() == 21 and found.loc["ONLY", "$close"].isna().all()


def test_spans_cut_the_rows(p):
    spans = {"AAA": [(DAYS[3], DAYS[5]), (DAYS[20], DAYS[20])], "LATE": [(DAYS[2], DAYS[2])]}
    found = p.features(spans, ["P($$roe_q)"])
    assert found.index.tolist() == [
        *(("AAA", DAYS[i]) for i in (3, 4, 5, 20)),
        ("LATE", DAYS[2]),
    ]
    listed = p.features(p.instruments("all"), ["P($$roe_q)"])
    assert listed.groupby("instrument").size().to_dict() == {"AAA": 30, "LATE": 15}


def test_without_data_there_are_the_rows_of_the_other_fields(p):
    found = p.features(["AAA", "BARE"], ["P($$eps_a)", "$close"], DAYS[0], DAYS[4])
    assert found.loc["BARE"].notna().sum().tolist() == [0, 5]
    alone = p.features(["BARE"], ["P($$eps_a)"], DAYS[0], DAYS[4])
    assert alone.empty


def test_one_formula_of_one_instrument(p):
    series = ExpressionProvider(p).expression("LATE", "P($$roe_q)", DAYS[3], DAYS[5])
    assert series.index.tolist() == [3, 4, 5] and series.name == "P($$roe_q)"
    np.testing.assert_array_equal(series, np.float32([newest(day) for day in DAYS[3:6]]))


# ---------------------------------------------------------------------- what a person is told
def test_an_unknown_field_is_told_and_nan(p, told):
    found = p.features(["AAA"], ["P($$roa_q)", "$close"], DAYS[0], DAYS[3])
    assert found["P($$roa_q)"].isna().all() and len(found) == 4
    (said,) = told
    assert "no instrument has $$roa_q; did you mean $$roe_q?" in said and "for AAA: eps_a, roe_q" in said


def test_a_field_that_some_have_is_no_news(p, told):
    p.features(["AAA", "BARE"], ["P($$eps_a)", "$close"], DAYS[0], DAYS[3])
    assert told == []


def test_a_window_inside_pref_is_told(p, told):
    found = p.features(["AAA"], ["PRef(Mean($$roe_q,4),201903)", "PRef(Ref($$roe_q,1),201903)"], DAYS[9], DAYS[9])
    np.testing.assert_array_equal(found.iloc[0], np.float32([1.5, np.nan]))
    assert len(told) == 2 and "PRef sees one period only, and Mean($$roe_q,4) reads earlier ones" in told[0]


def test_a_damaged_file_is_named(root, tmp_path):
    shutil.copytree(root, tmp_path / "s")
    path = pit_path(tmp_path / "s", "AAA", "roe_q")
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(StoreError, match="roe_q.data: 173 bytes"):
        provider(tmp_path / "s").features(["AAA"], ["P($$roe_q)"])


def test_a_file_is_read_once_whatever_is_asked_of_it(p, monkeypatch):
    read = []
    monkeypatch.setattr(room, "read_many", lambda paths, once=room.read_many: (read.extend(paths), once(paths))[1])
    fields = ["P($$roe_q)", "P(Mean($$roe_q,2))", "PRef($$roe_q,201903)*$close", "Mean(P($$roe_q),3)"]
    p.features(["AAA", "LATE", "BARE"], fields)
    assert sorted(Path(path).parent.name for path in read) == ["aaa", "bare", "late"]


def test_the_data_lie_in_the_store_that_has_them(root, tmp_path):
    shutil.copytree(root / "calendars", tmp_path / "hours" / "calendars")
    shutil.copytree(root / "features", tmp_path / "hours" / "features")
    uris = {"day": str(root), "360min": str(tmp_path / "hours")}
    found = provider(root).features(["AAA"], ["P($$roe_q)"], freq="360min")
    for freq in ("day", "360min"):
        both = provider(uris).features(["AAA"], ["P($$roe_q)"], freq=freq)
        assert both.iloc[-1, 0] == found.iloc[-1, 0] or np.isnan(both.iloc[-1, 0])
        assert both.notna().any().all()


# ---------------------------------------------------------------------- PITProvider
@pytest.mark.parametrize(
    ("start", "end", "day", "period", "expected"),
    [
        (0, 0, 7, None, {202002: 4.0}),
        (-1, 0, 7, None, {202001: np.nan, 202002: 4.0}),
        (-9, -1, 7, None, {201902: 0.5, 201903: 1.5, 201904: 16777217.0, 202001: np.nan}),
        (-1, -1, 20, None, {202001: 3.5}),
        (0, 0, 7, 202001, {202001: np.nan}),
        (0, 0, 20, 201904, {201904: 2.0}),
        (0, 0, 7, 202003, {}),
        (0, 0, 7, 2019, {}),
        (-9, 0, -400, None, {}),
    ],
)
def test_what_was_known_on_a_day(p, start, end, day, period, expected):
    when = DAYS[0] + pd.Timedelta(days=day)
    found = PITProvider(p).period_feature("aaa", "$$ROE_q", start, end, cur_time=when, period=period)
    assert found.dtype == np.float64 and found.index.dtype == np.int64
    assert list(found.index) == list(expected)
    np.testing.assert_array_equal(found, list(expected.values()))


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        (("AAA", "$$roe", 0, 0, DAYS[3]), InputError, "ends in _q"),
        (("AAA", "$$roe_q", -1, 1, DAYS[3]), InputError, "no period after the newest"),
        (("AAA", "$$roe_q", 0, -1, DAYS[3]), InputError, "start_index <= end_index"),
        (("AAA", "$$roe_q", 0, 0, None), InputError, "cur_time=None"),
        (("AAA", "$$roe_q", 0, 0, "soon"), InputError, "cur_time"),
        (("BARE", "$$roe_q", 0, 0, DAYS[3]), MissingDataError, "BARE has no point-in-time field"),
    ],
)
def test_what_cannot_be_asked_of_pitprovider(p, arguments, error, said):
    with pytest.raises(error, match=said):
        PITProvider(p).period_feature(*arguments)
