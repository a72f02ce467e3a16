"""Operators across instruments through D.features: who is a member when, whatever is asked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qlib.config import build_settings
from qlib.data.expression import engine
from qlib.data.filter import ExpressionDFilter, NameDFilter
from qlib.data.provider import Provider
from qlib.data.storage.writer import write_store

DAYS = pd.date_range("2024-01-01", periods=60)
NAMES = [f"S{i:02d}" for i in range(12)]
# Days (first, last) at which each belongs to the market; S10 and S11 never do, S09 left long ago, S08 comes late.
SPANS = {
    "S00": [(0, 59)],
    "S01": [(0, 59)],
    "S02": [(5, 30)],
    "S03": [(0, 10), (20, 40), (50, 59)],
    "S04": [(12, 59)],
    "S05": [(0, 59)],
    "S06": [(3, 45)],
    "S07": [(0, 20), (22, 59)],
    "S08": [(44, 59)],
    "S09": [(0, 18)],
}
FIELDS = [
    "CSRank($close)",
    "Mean(CSRank($close/Ref($close,5)-1),10)",
    "CSZScore(Mean($close,4))",
    "Ref(CSDemean($close),3)",
    "EMA(CSRank($close),5)",
    "CSNeutralize($close,$open)",
    "$close>CSQuantile($close,0.6)",
    "$close",
]


@pytest.fixture(scope="module")
def wide() -> dict[str, pd.DataFrame]:
    """Field to a table of days by names; some values are missing, some are listed late or delisted early."""
    rng = np.random.default_rng(1)
    tables = {}
    for field in ("close", "open"):
        values = pd.DataFrame(rng.uniform(1, 2, (len(DAYS), len(NAMES))).round(2), index=DAYS, columns=NAMES)
        values = values.astype("f4").astype("f8").mask(rng.random(values.shape) < 0.1)
        values.loc[DAYS[50] :, "S06"] = np.nan
        values.loc[: DAYS[7], "S07"] = np.nan
        tables[field] = values
    return tables


@pytest.fixture(scope="module")
def root(tmp_path_factory, wide) -> Path:
    frames = {}
    for name in NAMES:
        frame = pd.DataFrame({field: table[name] for field, table in wide.items()})
        some = frame.notna().any(axis=1)
        frames[name] = frame[some.idxmax() : some[::-1].idxmax()]
    root = write_store(frames, tmp_path_factory.mktemp("cs") / "s", "day")
    lines = [f"{name}\t{DAYS[a].date()}\t{DAYS[b].date()}" for name, spans in SPANS.items() for a, b in spans]
    (root / "instruments" / "few.txt").write_text("\n".join(lines) + "\n")
    return root


@pytest.fixture
def p(root) -> Provider:
    return Provider(build_settings(provider_uri=root))


def belongs(spans=SPANS) -> pd.DataFrame:
    """Return days by names: who is a member when (bool)."""
    table = pd.DataFrame(False, index=DAYS, columns=NAMES)
    for name, pairs in spans.items():
        for a, b in pairs:
            table.loc[DAYS[a] : DAYS[b], name] = True
    return table


def naive(wide: dict[str, pd.DataFrame], inside: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return every field, computed in pandas over the whole table."""
    close, opened = wide["close"], wide["open"]
    listed = pd.DataFrame({name: (close[name].notna() | opened[name].notna()) for name in NAMES})
    rows = listed[::-1].cummax()[::-1] & listed.cummax()

    def rank(table: pd.DataFrame) -> pd.DataFrame:
        return table.where(inside).rank(axis=1, pct=True)

    def windowed(table: pd.DataFrame, n: int) -> pd.DataFrame:
        return table.rolling(n, min_periods=1).mean().where(rows)

    mean4 = windowed(close, 4).where(inside)
    ema = rank(close).apply(lambda v: v[rows[v.name]].ewm(span=5, min_periods=1).mean())
    residual = pd.DataFrame(np.nan, index=DAYS, columns=NAMES)
    for day in DAYS:
        d = pd.DataFrame({"x": close.loc[day], "f": opened.loc[day]})[inside.loc[day]].dropna()
        if len(d) > 2:
            slope, level = np.polyfit(d["f"], d["x"], 1)
            residual.loc[day, d.index] = d["x"] - level - slope * d["f"]
    above = close.gt(close.where(inside).quantile(0.6, axis=1), axis=0)
    fields = {
        "CSRank($close)": rank(close),
        "Mean(CSRank($close/Ref($close,5)-1),10)": windowed(rank((close / close.shift(5) - 1).where(rows)), 10),
        "CSZScore(Mean($close,4))": mean4.sub(mean4.mean(axis=1), axis=0).div(mean4.std(axis=1), axis=0),
        "Ref(CSDemean($close),3)": close.where(inside).sub(close.where(inside).mean(axis=1), axis=0).shift(3),
        "EMA(CSRank($close),5)": ema,
        "CSNeutralize($close,$open)": residual,
        "$close>CSQuantile($close,0.6)": (above & inside).astype(float),
        "$close": close,
    }
    return {name: table.where(rows) for name, table in fields.items()}


def compare(found: pd.DataFrame, wanted: dict[str, pd.DataFrame]) -> None:
    for field, table in wanted.items():
        values = [table.at[day, name] for name, day in found.index]
        np.testing.assert_allclose(found[field], values, rtol=2e-5, atol=2e-5, err_msg=field)


@pytest.fixture(scope="module")
def one_table(root, wide) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, pd.DataFrame]]:
    """All days at once: what the provider answers, who belongs, and every field in pandas."""
    whole = Provider(build_settings(provider_uri=root)).features({"market": "few"}, FIELDS)
    return whole, belongs(), naive(wide, belongs())


windows = st.tuples(st.integers(0, 59), st.integers(0, 59)).map(sorted)


@given(window=windows, worth=st.sampled_from([1, 100_000]), threads=st.integers(1, 3))
@settings(max_examples=25, deadline=None)
def test_members_are_those_of_the_date_whatever_is_asked(root, one_table, window, worth, threads):
    """Every window gives the same numbers: those of one table over all days, and the same bits."""
    low, high = window
    whole, inside, told = one_table
    before, engine._WORTH_A_THREAD = engine._WORTH_A_THREAD, worth
    try:
        part = Provider(build_settings(provider_uri=root, kernels=threads))
        found = part.features({"market": "few", "filter_pipe": []}, FIELDS, DAYS[low], DAYS[high])
    finally:
        engine._WORTH_A_THREAD = before
    times = whole.index.get_level_values(1)
    expected = whole[(times >= DAYS[low]) & (times <= DAYS[high])]
    assert list(found.index) == list(expected.index)
    np.testing.assert_array_equal(found.to_numpy(), expected.to_numpy())
    compare(found, told)
    assert all(inside.at[day, name] for name, day in found.index)


def test_who_left_before_the_query_still_counts_in_its_history(p, wide):
    """S09 left on day 18; the mean on day 19 looks back on ranks that S09 took part in."""
    found = p.features({"market": "few"}, ["Mean(CSRank($close),5)"], DAYS[19], DAYS[19])
    assert "S09" not in found.index.get_level_values(0) and "S04" in found.index.get_level_values(0)
    ranks = wide["close"].where(belongs()).rank(axis=1, pct=True)
    wanted = ranks.rolling(5, min_periods=1).mean().loc[DAYS[19], found.index.get_level_values(0)]
    np.testing.assert_allclose(found.iloc[:, 0], wanted, rtol=1e-6)
    without = wide["close"].where(belongs()).drop(columns="S09").rank(axis=1, pct=True)
    assert not np.allclose(without.rolling(5, min_periods=1).mean().loc[DAYS[19], "S00"], found.iloc[0, 0])


def test_a_mapping_of_spans_says_who_is_a_member(p, wide):
    spans = {name: [(DAYS[a], DAYS[b]) for a, b in pairs] for name, pairs in SPANS.items()}
    spans["S11"] = []
    found = p.features(spans, FIELDS, DAYS[15], DAYS[45])
    compare(found, naive(wide, belongs()))
    np.testing.assert_array_equal(
        found.to_numpy(), p.features({"market": "few"}, FIELDS, DAYS[15], DAYS[45]).to_numpy()
    )


def test_of_a_list_all_are_members_always(p, wide):
    everybody = belongs({name: [(0, 59)] for name in NAMES})
    compare(p.features(NAMES, FIELDS, DAYS[11], DAYS[50]), naive(wide, everybody))
    alone = p.features(["S00"], ["CSRank($close)", "CSDemean($close)", "CSZScore($close)"]).dropna(how="all")
    assert set(alone["CSRank($close)"]) == {1.0} and set(alone["CSDemean($close)"]) == {0.0}
    assert alone["CSZScore($close)"].isna().all()


@pytest.mark.parametrize("field", ["CSRank($close)", "Mean(CSRank($close),10)"])
def test_a_later_bar_and_a_later_membership_change_no_bit_before(p, tmp_path, root, field):
    cut = 30
    frames = {}
    for name in NAMES:
        frame = p.features([name], ["$close"]).droplevel(0).rename(columns={"$close": "close"})
        frame.loc[frame.index > DAYS[cut]] = 9.0 + NAMES.index(name)
        frames[name] = frame
    other = write_store(frames, tmp_path / "s", "day")
    lines = [
        f"{name}\t{DAYS[a].date()}\t{DAYS[b].date()}" for name, spans in SPANS.items() for a, b in spans if a <= cut
    ]
    lines.append(f"S11\t{DAYS[cut + 1].date()}\t{DAYS[59].date()}")
    (other / "instruments" / "few.txt").write_text("\n".join(lines) + "\n")
    one, two = (
        Provider(build_settings(provider_uri=where)).features({"market": "few"}, [field], None, DAYS[cut])
        for where in (root, other)
    )
    assert list(one.index) == list(two.index)
    np.testing.assert_array_equal(one.to_numpy(), two.to_numpy())


@pytest.mark.parametrize("worth", [1, 100_000])
def test_rows_that_a_formula_leaves_out_are_compared_with_nobody(p, wide, monkeypatch, worth):
    monkeypatch.setattr(engine, "_WORTH_A_THREAD", worth)
    found = p.features({"market": "few"}, ["CSRank(Select($open>1.5,$close))"], DAYS[10], DAYS[50])
    chosen = wide["close"].where(belongs() & (wide["open"] > 1.5))
    compare(found, {"CSRank(Select($open>1.5,$close))": chosen.rank(axis=1, pct=True)})
    assert 50 < len(found) < 0.6 * int(belongs().loc[DAYS[10] : DAYS[50]].sum().sum())


# ---------------------------------------------------------------------- filters
def test_a_filter_decides_who_is_compared(p, wide):
    """Only what passes the filters is a member; a rule may compare members itself."""
    cheap = "$close<1.5"
    few = p.instruments("few", filter_pipe=[NameDFilter("S0[0-7]"), ExpressionDFilter(cheap)])
    found = p.features(few, ["CSRank($open)", "Mean(CSRank($open),3)"], DAYS[20], DAYS[40])
    inside = belongs() & (wide["close"] < 1.5)
    inside[["S08", "S09"]] = False
    ranks = wide["open"].where(inside).rank(axis=1, pct=True)
    compare(found, {"CSRank($open)": ranks})
    times = found.index.get_level_values(1)
    assert times.min() == DAYS[20] and len(found) == int(inside.loc[DAYS[20] : DAYS[40]].sum().sum())
    wanted = ranks.rolling(3, min_periods=1).mean()
    compare(found, {"Mean(CSRank($open),3)": wanted})


@pytest.mark.parametrize("window", [(0, 59), (13, 40), (25, 25)])
def test_a_rule_that_compares_members_answers_the_same_for_any_part(p, wide, window):
    low, high = window
    rule = "Mean(CSRank($close),6)>0.55"
    pipe = [NameDFilter("S0[0-8]"), ExpressionDFilter(rule)]
    market = p.instruments("few", filter_pipe=pipe)
    inside = belongs()
    inside[["S09"]] = False
    scores = wide["close"].where(inside).rank(axis=1, pct=True).rolling(6, min_periods=1).mean()
    close, opened = wide["close"], wide["open"]
    passed = inside & (scores > 0.55)
    found = p.features(market, ["CSRank($open)"], DAYS[low], DAYS[high])
    ranks = opened.where(passed).rank(axis=1, pct=True)
    assert set(found.index) <= {(n, d) for n in NAMES for d in DAYS if passed.at[d, n]}
    compare(found, {"CSRank($open)": ranks})
    alive = p.list_instruments(market, DAYS[low], DAYS[high])
    listed = {(n, d) for n, spans in alive.items() for a, b in spans for d in pd.date_range(a, b)}
    rows = (close.notna() | opened.notna()).cummax() & (close.notna() | opened.notna())[::-1].cummax()[::-1]
    wanted = {(n, d) for n in NAMES for d in DAYS[low : high + 1] if passed.at[d, n] and rows.at[d, n]}
    assert listed == wanted


def test_nothing_passes_where_no_entry_lies(p):
    market = p.instruments("few", filter_pipe=[ExpressionDFilter("CSRank($close)>0.5")])
    assert p.list_instruments(market, "2024-01-05 06:00", "2024-01-05 18:00") == {}


# ---------------------------------------------------------------------- rows as arrays
def test_the_panel_knows_members_when_it_is_told(p, wide):
    spans = {name: [(DAYS[a], DAYS[b]) for a, b in pairs] for name, pairs in SPANS.items()}
    panel, times = p.panel(list(SPANS), ["CSRank($close)"], DAYS[10], DAYS[30], members=spans)
    ranks = wide["close"].where(belongs()).rank(axis=1, pct=True)
    for i, name in enumerate(panel.instruments):
        own = slice(panel.start[i], panel.start[i + 1])
        wanted = ranks.loc[times[panel.positions()[own]], name]
        np.testing.assert_allclose(panel.columns["CSRank($close)"][own], wanted, rtol=1e-6)
    every, _ = p.panel(list(SPANS), ["CSRank($close)"], DAYS[10], DAYS[30])
    assert not np.array_equal(every.columns["CSRank($close)"], panel.columns["CSRank($close)"], equal_nan=True)
    assert p.looks_across(["$close", "Mean(CSRank($close),3)"]) and not p.looks_across(["$close"])


def test_compat_changes_nothing_across_instruments(root, wide):
    fields = [field for field in FIELDS if "EMA" not in field]
    found = Provider(build_settings(provider_uri=root, compat="qlib")).features(
        {"market": "few"}, fields, DAYS[20], DAYS[40]
    )
    wanted = naive(wide, belongs())
    compare(found, {field: wanted[field] for field in fields})
