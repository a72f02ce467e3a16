"""Formulas about another instrument against pandas: what Qlib calls the index of a series decides the rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from formulas import FIELDS, formulas, market, panels
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qlib.data.expression import build_plan, engine, evaluate, parse
from qlib.data.expression.engine import evaluate_block
from qlib.data.expression.ground import Ground
from qlib.data.expression.node import Column, Node, walk
from qlib.data.expression.sites import Sites, exactly, kept_apart, reads_elsewhere
from qlib.data.panel import Panel, Surroundings
from qlib.errors import ExpressionError, MissingDataError

quiet = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
LAST = 40


# ------------------------------------------------------------------------------------------------ the naive way
def of(panel: Panel, instrument: str, column: str) -> pd.Series:
    """Return a column of an instrument by calendar position."""
    i = panel.instruments.index(instrument)
    low, high = panel.start[i : i + 2]
    index = pd.RangeIndex(panel.first[i], panel.first[i] + high - low)
    return pd.Series(panel.columns[column][low:high], index=index)


def together(*series: pd.Series) -> list[pd.Series]:
    """Return the series over the rows from the first that one of them has to the last."""
    ends = [(s.index[0], s.index[-1]) for s in series if len(s)]
    if not ends:
        return list(series)
    index = pd.RangeIndex(min(a for a, _ in ends), max(b for _, b in ends) + 1)
    return [s if s.index.equals(index) else gapped(s).reindex(index) for s in series]


def gapped(s: pd.Series) -> pd.Series:
    """A boolean that may have gaps is a number."""
    return s.astype("f4") if s.dtype == bool else s


def rolled(s: pd.Series, n: int) -> pd.core.window.Rolling:
    s = s.astype("f8")
    return s.where(np.isfinite(s)).rolling(n, min_periods=1)


def weighted(w: np.ndarray) -> float:
    weights = np.arange(1, len(w) + 1)
    seen = ~np.isnan(w)
    return (w * weights)[seen].sum() / weights[seen].sum() if seen.any() else np.nan


def corr(a: pd.Series, b: pd.Series, n: int) -> pd.Series:
    a, b = (s.astype("f8").where(np.isfinite(a) & np.isfinite(b)) for s in (a, b))
    rows = [slice(max(i - n + 1, 0), i + 1) for i in range(len(a))]
    flat = [min(s.iloc[r].dropna().nunique() for s in (a, b)) < 2 for r in rows]
    values = [np.nan if f else a.iloc[r].corr(b.iloc[r]) for f, r in zip(flat, rows, strict=True)]
    return pd.Series(values, index=a.index, dtype="f8")


SENTENCES = {
    "Add": lambda a, b: a + b,
    "Sub": lambda a, b: a - b,
    "Mul": lambda a, b: a * b,
    "Gt": lambda a, b: a > b,
    "Abs": lambda a: a.abs(),
    "Ref": lambda a, n: gapped(a).shift(n),
    "Mean": lambda a, n: rolled(a, n).mean(),
    "Max": lambda a, n: rolled(a, n).max(),
    "Count": lambda a, n: np.isfinite(a).astype("f8").rolling(n, min_periods=1).sum(),
    "IdxMax": lambda a, n: rolled(a, n).apply(
        lambda w: np.nan if np.isnan(w).all() else np.nanargmax(w) + 1.0, raw=True
    ),
    "WMA": lambda a, n: rolled(a, n).apply(weighted, raw=True),
    "Corr": corr,
}


def naive(node: Node, panel: Panel, instrument: str) -> pd.Series:
    if isinstance(node, Column):
        return of(panel, instrument, node.name)
    name = type(node).__name__
    if name in ("ChangeInstrument", "Mask"):
        found = naive(node.feature, panel, node.site)
        return gapped(found)
    arguments = [naive(a, panel, instrument) if isinstance(a, Node) else a for a in node.arguments]
    both = iter(together(*(a for a in arguments if isinstance(a, pd.Series))))
    with np.errstate(all="ignore"):
        return SENTENCES[name](*(next(both) if isinstance(a, pd.Series) else a for a in arguments))


# ------------------------------------------------------------------------------------------------ the way of a query
def ground_of(panel: Panel) -> Ground:
    def stored(instrument: str, column: str, first: int, last: int) -> tuple[int, np.ndarray]:
        if instrument not in panel.instruments:
            return 0, np.empty(0, "f4")
        series = of(panel, instrument, column).loc[first:last]
        return (int(series.index[0]), series.to_numpy()) if len(series) else (0, series.to_numpy())

    return Ground(stored, 0, LAST)


def queried(texts: list[str], panel: Panel, instrument: str, compat: str | None = None) -> dict[str, pd.Series]:
    """Return formulas over an instrument and those it meets, by calendar position."""
    plan, ground = build_plan(texts, compat=compat), ground_of(panel)
    apart = kept_apart(plan)
    around = Surroundings(elsewhere=Sites(ground.elsewhere(plan.roots), apart.roots), rows=ground.rows)
    rows = ground.panel(instrument, plan.roots, around)
    index = pd.RangeIndex(rows.first[0], rows.first[0] + rows.rows)
    return {t: pd.Series(v, index=index) for t, v in zip(texts, evaluate_block(apart, rows), strict=True)}


own = st.sampled_from(["$x", "$y", "Mean($x,3)", "WMA($y,4)", "Count($x,3)", "Ref($y,2)", "IdxMax($x,4)", "$x>$y"])
names = st.sampled_from(["i0", "I1", "i2"])
there = own | st.builds("Mean({}-ChangeInstrument('{}',{}),2)".format, own, names, own)
elsewhere = st.builds("ChangeInstrument('{}',{})".format, names, there) | st.builds(
    "Mask({},'{}')".format, there, names
)
mixed = (
    elsewhere
    | st.builds("({})-({})".format, own, elsewhere)
    | st.builds("WMA({},3)*Count({},2)".format, elsewhere, own)
    | st.builds("Corr({},Abs({}),4)".format, own, elsewhere)
    | st.builds("Mean(({})+{},3)".format, own, elsewhere)
    | st.builds("Max({},3)-({})-({})".format, elsewhere, elsewhere, own)
    | st.builds("Count({},3)>({})".format, elsewhere, own)
)


@given(panel=panels(), texts=st.lists(own | mixed, min_size=1, max_size=4), instrument=st.sampled_from(["i0", "i1"]))
@quiet
def test_formulas_about_others_equal_the_naive_way_on_their_own_rows(panel, texts, instrument):
    if instrument not in panel.instruments:
        return
    texts = [text for text in texts if all(n in panel.instruments for n in reads_elsewhere([parse(text)]))]
    if not texts:
        return
    largest = max([1, *(np.abs(v[np.isfinite(v)]).max(initial=0) for v in panel.columns.values())])
    for text, got in queried(texts, panel, instrument).items():
        wanted = naive(parse(text), panel, instrument).astype("f8")
        missing = got.drop(wanted.index)
        assert missing.isna().all(), f"{text} has values where nothing of it is stored"
        got = got.reindex(wanted.index)
        np.testing.assert_array_equal(got.isna(), wanted.isna(), err_msg=text)
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5 * largest, err_msg=text)


@given(panel=panels(), texts=st.lists(own | mixed, min_size=2, max_size=5))
@quiet
def test_what_else_is_asked_changes_no_bit(panel, texts):
    alone = {text: queried([text], panel, "i0")[text] for text in texts}
    for text, got in queried(texts, panel, "i0").items():
        wanted = alone[text].reindex(got.index)
        np.testing.assert_array_equal(got.to_numpy(), wanted.to_numpy(), err_msg=text)


@given(panel=panels(), text=formulas)
@quiet
def test_any_formula_stands_at_the_same_position_elsewhere(panel, text):
    """Whatever the formula: at another instrument it is what it is there, at the same calendar position."""
    plan = build_plan([text])
    for i, name in enumerate(panel.instruments):
        own_rows = Panel(
            (name,),
            np.array([0, panel.lengths()[i]]),
            panel.first[i : i + 1],
            {column: of(panel, name, column).to_numpy() for column in FIELDS},
        )
        (wanted,) = evaluate(plan, own_rows)
        whole = replace(panel, around=Surroundings(elsewhere={name: own_rows}))
        moved = evaluate(build_plan([f"ChangeInstrument('{name}',{text})", f"Mask({text},'{name}')"]), whole)
        at = panel.positions() - panel.first[i]
        inside = (at >= 0) & (at < len(wanted))
        for got in moved:
            np.testing.assert_array_equal(got[inside], wanted[at[inside]])
            assert np.isnan(got[~inside]).all()


# ------------------------------------------------------------------------------------------------ laws
@pytest.mark.parametrize("compat", [None, "qlib"])
def test_the_future_of_neither_changes_the_past(compat):
    panel = market(5)
    texts = ["$x/ChangeInstrument('i4',Mean($x,5))", "Corr($x,Mask(Ref($y,1),'i5'),8)", "EMA(Mask($x,'i6'),5)-$y"]
    for name in panel.instruments:
        whole = queried(texts, panel, name, compat)
        for last in (20, 60, 90):
            early, _ = panel.between(0, last)
            for text, got in queried(texts, early, name, compat).items():
                np.testing.assert_array_equal(got, whole[text].reindex(got.index), err_msg=text)


def test_the_span_holds_what_is_looked_at_elsewhere():
    plan = build_plan(["ChangeInstrument('b',Mean(Mask(Ref($x,-2),'c'),5))", "Mean(Mask($x,'b'),3)"])
    assert [(span.back, span.ahead) for span in plan.spans] == [(4, 2), (2, 0)]
    assert plan.reads == () and reads_elsewhere(plan.roots) == {"b": ("x",), "c": ("x",)}


def test_a_name_in_any_case_is_one_node():
    assert parse("ChangeInstrument('SH600000',$x)") is parse('ChangeInstrument("sh600000", $X)')
    assert str(parse("Mask($x, 'B')")) == "Mask($x,'b')" and parse(str(parse("Mask($x, 'B')"))) is parse("Mask($x,'b')")


def test_all_formulas_that_go_to_an_instrument_go_together(monkeypatch):
    """One evaluation for an instrument, however many formulas, rows and instruments ask."""
    ran = []
    plain = engine.evaluate
    import qlib.data.expression.sites as sites

    monkeypatch.setattr(sites, "evaluate", lambda plan, panel: ran.append(panel.instruments) or plain(plan, panel))
    panel = market(1)
    other = exactly_panel(panel, "i5")
    texts = [f"ChangeInstrument('i5',Mean($x,{n}))-Mask($y,'i5')" for n in range(2, 9)]
    plan = build_plan(texts)
    evaluate(plan, replace(panel, around=Surroundings(elsewhere=Sites({"i5": other}, plan.roots))))
    assert ran == [("i5",)]


def exactly_panel(panel: Panel, name: str) -> Panel:
    return ground_of(panel).panel(name, [parse("$x"), parse("$y")])


def test_values_keep_their_dtype_on_the_way():
    """A mean of float64 is not rounded to float32 between there and here."""
    panel = market(2)
    other = exactly_panel(panel, "i6")
    both = replace(other, around=Surroundings(elsewhere={"i6": other}))
    node, same = parse("Mask(Mean($x,7),'i6')"), parse("Mean($x,7)")
    got = exactly([node, same], both)
    assert node.dtype == "float64"
    np.testing.assert_array_equal(got[node], got[same])
    assert parse("Mask($x>$y,'b')").dtype == "flag" and parse("Mask($x>$y,'b')&($x>1)").dtype == "bool"


def test_the_same_instrument_may_be_visited_again_and_again():
    panel = market(3)
    text = "$x"
    for _ in range(30):
        text = f"ChangeInstrument('i6',Mask({text},'i4'))"
    others = {name: exactly_panel(panel, name) for name in ("i4", "i6")}
    whole = replace(panel, around=Surroundings(elsewhere=others))
    deep, once = evaluate(build_plan([text, "ChangeInstrument('i6',Mask($x,'i4'))"]), whole)
    np.testing.assert_array_equal(deep, once)


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ExpressionError, match=r"compares the instruments.*evaluated for b, that one is alone"):
        parse("Mask(Mean(CSRank($x),3),'b')")
    with pytest.raises(ExpressionError, match="instrument must be a name in quotes, received 3"):
        parse("ChangeInstrument(3,$x)")
    with pytest.raises(ExpressionError, match="feature must be a formula"):
        parse("Mask(3,'b')")
    panel = replace(market(0), around=Surroundings(elsewhere={"spy": market(0)}))
    with pytest.raises(MissingDataError, match=r"knows no instrument spu; known are spy; did you mean spy\?"):
        evaluate(build_plan(["Mask($x,'SPU')"]), panel)
    with pytest.raises(MissingDataError, match="knows no instrument b; known are none"):
        evaluate(build_plan(["Mask($x,'b')"]), market(0))


def test_what_has_the_rows_of_its_reader_stays_where_it_is():
    plan = build_plan(["Mean($x,5)-$y", "CSRank($x)"])
    assert kept_apart(plan) is plan
    mixing = kept_apart(build_plan(["Mean($x,5)-Mask($x,'b')", "$x*2-Mask($x,'b')", "Mask(Mean($x,2),'b')"]))
    apart = [str(node) for node in walk(*mixing.roots) if type(node).__name__ == "Apart"]
    assert apart == ["Mean($x,5)"], "arithmetic is missing where a side is, and what is elsewhere has its rows already"
