"""Operators against pandas, formulas against the naive way, and the laws that hold for all of them."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
import pytest
from formulas import FIELDS, formulas, market, naive, panels, samples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qlib.data.expression import EVERYTHING, OPERATORS, build_plan, engine, evaluate, parse
from qlib.data.expression.node import Operator, PanelOperator, looks_across, walk
from qlib.data.kernels import program
from qlib.data.panel import Panel

quiet = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def r(x: pd.Series, n: int):
    x = x.astype("f8").where(np.isfinite(x))
    return x.rolling(n, min_periods=1) if n else x.expanding(min_periods=1)


def varied(result: pd.Series, x: pd.Series, n: int) -> pd.Series:
    """pandas answers 0 or -3 for a constant window; there is nothing to measure."""
    return result.where(r(x, n).max() > r(x, n).min())


def each(x: pd.Series, n: int, sentence) -> pd.Series:
    return r(x, n).apply(sentence, raw=True)


def line(w: np.ndarray) -> np.ndarray:
    rows = np.flatnonzero(~np.isnan(w))
    return np.polyfit(rows, w[rows], 1) if len(rows) > 1 else np.array([np.nan, np.nan])


def pair(x: pd.Series, y: pd.Series, n: int, how: str) -> pd.Series:
    both = np.isfinite(x) & np.isfinite(y)
    x, y = x.astype("f8").where(both), y.astype("f8").where(both)
    frames = [pd.concat([x, y], axis=1).iloc[max(i - n + 1, 0) if n else 0 : i + 1] for i in range(len(x))]
    values = [getattr(f.iloc[:, 0], how)(f.iloc[:, 1]) if f.dropna().nunique().min() > 1 else np.nan for f in frames]
    return pd.Series(values, dtype="f8")


def weighted(w: np.ndarray) -> float:
    weights = np.arange(1, len(w) + 1)
    return np.nansum(w * weights) / weights[~np.isnan(w)].sum()


ONE_ROW = {  # a formula, and the same in pandas: this table is the specification
    "Abs($x)": lambda x, y: x.abs(),
    "Sign($x)": lambda x, y: np.sign(x),
    "Log($x)": lambda x, y: np.log(x),
    "$x+$y": lambda x, y: x + y,
    "$x-$y": lambda x, y: x - y,
    "$x*$y": lambda x, y: x * y,
    "$x/$y": lambda x, y: x / y,
    "2-$x": lambda x, y: 2 - x,
    "2*$x": lambda x, y: 2 * x,
    "$x//$y": lambda x, y: x // y,
    "$x**2": lambda x, y: x**2,
    "2**$x": lambda x, y: 2**x,
    "-$x": lambda x, y: -x,
    "Greater($x,$y)": np.maximum,
    "Less($x,1)": lambda x, y: np.minimum(x, 1),
    "$x>$y": lambda x, y: x > y,
    "$x>=$y": lambda x, y: x >= y,
    "$x<$y": lambda x, y: x < y,
    "$x<=$y": lambda x, y: x <= y,
    "$x==$y": lambda x, y: x == y,
    "$x!=$y": lambda x, y: x != y,
    "1>$x": lambda x, y: x < 1,
    "0<$x<$y": lambda x, y: (x > 0) & (x < y),
    "($x>0)&($y>1)": lambda x, y: (x > 0) & (y > 1),
    "($x>0)|($y>1)": lambda x, y: (x > 0) | (y > 1),
    "Not($x>0)": lambda x, y: ~(x > 0),
    "($x>0)+($y>0)": lambda x, y: (x > 0) | (y > 0),
    "($x>0)*2-1": lambda x, y: (x > 0) * 2 - 1,
    "If($x>$y,$x,0)": lambda x, y: x.where(x > y, 0),
    "IsNull($x)": lambda x, y: x.isna(),
    "IsInf($x)": lambda x, y: np.isinf(x),
    "If($x,1,0)": lambda x, y: ((x != 0) & x.notna()).astype(float),
    "Ref($x>0,1)": lambda x, y: (x > 0).astype("f4").shift(1),
    "Ref($x>0,1)&($x>0)": lambda x, y: (x > 0).shift(1, fill_value=False) & (x > 0),
    "Delta($x,0)": lambda x, y: x - x.iloc[:1].reindex(x.index, method="ffill"),
    "EMA($x,0.3)": lambda x, y: x.where(np.isfinite(x)).astype("f8").ewm(alpha=0.3, min_periods=1).mean(),
    "Mean($x,0.3)": lambda x, y: x.where(np.isfinite(x)).astype("f8").ewm(alpha=0.3, min_periods=1).mean(),
    "Sum($x,0.8)": lambda x, y: r(x, 8).sum(),  # 0.2 ** 9 is below 1e-6
}
WINDOWED = {
    "Mean($x,N)": lambda x, y, n: r(x, n).mean(),
    "Sum($x,N)": lambda x, y, n: r(x, n).sum(),
    "Std($x,N)": lambda x, y, n: r(x, n).std(),
    "Var($x,N)": lambda x, y, n: r(x, n).var(),
    "Max($x,N)": lambda x, y, n: r(x, n).max(),
    "Min($x,N)": lambda x, y, n: r(x, n).min(),
    "Med($x,N)": lambda x, y, n: r(x, n).median(),
    "Mad($x,N)": lambda x, y, n: each(x, n, lambda w: np.nanmean(np.abs(w - np.nanmean(w)))),
    "Count($x,N)": lambda x, y, n: r(np.isfinite(x), n).sum(),
    "Skew($x,N)": lambda x, y, n: varied(each(x, n, lambda w: pd.Series(w).skew()), x, n),
    "Kurt($x,N)": lambda x, y, n: varied(each(x, n, lambda w: pd.Series(w).kurt()), x, n),
    "Rank($x,N)": lambda x, y, n: r(x, n).rank(pct=True),
    "Quantile($x,N,0.8)": lambda x, y, n: r(x, n).quantile(0.8),
    "IdxMax($x,N)": lambda x, y, n: each(x, n, lambda w: np.nanargmax(w) + 1.0),
    "IdxMin($x,N)": lambda x, y, n: each(x, n, lambda w: np.nanargmin(w) + 1.0),
    "WMA($x,N)": lambda x, y, n: each(x, n, weighted),
    "Slope($x,N)": lambda x, y, n: each(x, n, lambda w: line(w)[0]),
    "Resi($x,N)": lambda x, y, n: each(x, n, lambda w: w[-1] - np.polyval(line(w), len(w) - 1)),
    "Rsquare($x,N)": lambda x, y, n: pair(x, pd.Series(np.arange(float(len(x)))), n, "corr") ** 2,
    "Corr($x,$y,N)": lambda x, y, n: pair(x, y, n, "corr"),
    "Cov($x,$y,N)": lambda x, y, n: pair(x, y, n, "cov").where(pair(x, y, n, "cov").notna(), zero_or_nan(x, y, n)),
    "Ref($x,N)": lambda x, y, n: x.shift(n) if n else x,
    "Ref($x,-N)": lambda x, y, n: x.shift(-n) if n else x,
    "Delta($x,N)": lambda x, y, n: x - x.shift(n) if n else ONE_ROW["Delta($x,0)"](x, y),
    "EMA($x,N)": lambda x, y, n: ewm(x, n),
}


def ewm(x: pd.Series, n: int) -> pd.Series:
    x = x.where(np.isfinite(x)).astype("f8")
    if n:
        return x.ewm(span=n, min_periods=1).mean()
    return pd.Series(
        [x.iloc[: m + 1].ewm(span=m + 1, min_periods=1).mean().iloc[-1] for m in range(len(x))], dtype="f8"
    )


def zero_or_nan(x: pd.Series, y: pd.Series, n: int) -> pd.Series:
    """The covariance with a constant is 0, not undefined."""
    together = r(pd.Series(np.isfinite(x) & np.isfinite(y)), n).sum()
    return pd.Series(np.where(together > 1, 0.0, np.nan))


def check(text: str, panel: Panel, sentence, *, size: float) -> None:
    (got,) = evaluate(build_plan([text]), panel)
    for low, high in zip(panel.start[:-1], panel.start[1:], strict=True):
        x, y = (pd.Series(panel.columns[name][low:high]) for name in FIELDS)
        with np.errstate(all="ignore"):
            wanted = np.asarray(sentence(x, y), dtype="f8").astype("f4")
        np.testing.assert_array_equal(np.isnan(got[low:high]), np.isnan(wanted))
        np.testing.assert_allclose(got[low:high], wanted, rtol=2e-6, atol=size)


def spread(panel: Panel) -> float:
    values = np.concatenate(list(panel.columns.values()))
    return float(np.abs(values[np.isfinite(values)]).max(initial=1))


@pytest.mark.parametrize("text", ONE_ROW)
@given(panel=panels())
@quiet
def test_an_operator_on_single_rows_equals_its_pandas_sentence(text, panel):
    check(text, panel, ONE_ROW[text], size=1e-6 * spread(panel))


@pytest.mark.parametrize("text", WINDOWED)
@given(panel=panels(), n=st.integers(0, 9))
@quiet
def test_a_windowed_operator_equals_its_pandas_sentence(text, panel, n):
    n = max(n, 3 if "Skew" in text else 4 if "Kurt" in text else 0)
    size = {"Var": 1e-6 * spread(panel) ** 2, "Cov": 1e-6 * spread(panel) ** 2}.get(text[:3], 1e-6 * spread(panel))
    size = 1e-5 if text[:4] in ("Skew", "Kurt", "Corr", "Rsqu") else size
    check(
        text.replace("-N", "N" if n == 0 else "-N").replace("N", str(n)),
        panel,
        lambda x, y: WINDOWED[text](x, y, n),
        size=size,
    )


def test_every_operator_has_a_sentence():
    said = {
        type(node).__name__
        for text in [*ONE_ROW, *(text.replace("N", "5") for text in WINDOWED), "Mod($x,2)", "Rolling($x,3,'sum')"]
        for node in walk(parse(text))
        if isinstance(node, Operator)
    }
    known = {name for name, operator in OPERATORS.items() if not issubclass(operator, PanelOperator)}
    assert said >= known - {"Rolling"}  # Rolling is another spelling for ten of them; the others have their own tables


@given(panel=panels(), texts=st.lists(formulas, min_size=1, max_size=4))
@quiet
def test_formulas_of_formulas_equal_the_naive_way(panel, texts):
    plan = build_plan(texts)
    for root, got in zip(plan.roots, evaluate(plan, panel), strict=True):
        for i, (low, high) in enumerate(zip(panel.start[:-1], panel.start[1:], strict=True)):
            wanted, largest = naive(root, panel, i)
            np.testing.assert_array_equal(np.isnan(got[low:high]), np.isnan(wanted), err_msg=str(root))
            np.testing.assert_allclose(got[low:high], wanted, rtol=1e-5, atol=1e-6 * largest, err_msg=str(root))


@given(panel=panels(), texts=st.lists(formulas, min_size=2, max_size=6))
@quiet
def test_sharing_and_reusing_buffers_changes_no_bit(panel, texts):
    together = evaluate(build_plan(texts), panel)
    for text, got in zip(texts, together, strict=True):
        np.testing.assert_array_equal(got, evaluate(build_plan([text]), panel)[0])


# ------------------------------------------------------------------------------------------ laws for all operators
@pytest.mark.parametrize("window", [0, 1, 5, 20])
def test_the_past_does_not_know_the_future(window):
    """f(data[:t]) == f(data)[:t], bit for bit, and poison after t changes nothing before it."""
    panel, plan = market(window), build_plan(samples(window))
    assert plan.span.ahead == 0 and len(plan.fields) > 50
    whole = evaluate(plan, panel)
    for part in (0.3, 0.7):
        early, kept = panel.between(-np.inf, int(part * panel.positions().max()))
        poisoned = {}
        for name, values in panel.columns.items():
            poisoned[name] = np.full_like(values, np.inf)
            poisoned[name][kept] = values[kept]
        late = evaluate(plan, Panel(panel.instruments, panel.start, panel.first, poisoned))
        for text, full, prefix, spoilt in zip(plan.fields, whole, evaluate(plan, early), late, strict=True):
            np.testing.assert_array_equal(full[kept], prefix, err_msg=text)
            np.testing.assert_array_equal(full[kept], spoilt[kept], err_msg=text)


@pytest.mark.parametrize("text", ["Ref($x,-2)", "Mean(Ref($x,-2),5)", "Ref(Mean($x,5),-3)", "Delta($x,-1)"])
def test_looking_ahead_is_declared(text):
    assert build_plan([text]).span.ahead > 0


@given(data=st.data(), window=st.sampled_from([0, 1, 5, 20]))
@settings(max_examples=25, deadline=None)
def test_values_do_not_depend_on_where_the_query_begins(data, window):
    """Only the rows that the span asks for are loaded, and every bit is the same."""
    nested = [
        "Mean(Ref($x,2),5)/$y",
        "Std(Mean($x,4),6)",
        "Ref($x,-3)-Ref($x,2)",
        "EMA(Delta($x,1),5)",
        "Rank(Slope($x,5),7)",
    ]
    texts = [*samples(window), *nested]
    panel = market(3, rows=90)
    low = data.draw(st.integers(0, 100))
    high = data.draw(st.integers(low, 130))
    positions = panel.positions()
    inside = (positions >= low) & (positions <= high)
    for text, full in zip(texts, evaluate(build_plan(texts), panel), strict=True):
        plan = build_plan([text])
        loaded, rows = panel.between(low - plan.span.back, high + plan.span.ahead)
        (got,) = evaluate(plan, loaded, query=(low, high))
        np.testing.assert_array_equal(got[inside[rows]], full[inside], err_msg=text)


@pytest.mark.parametrize("compat", [None, "qlib"])
def test_threads_and_neighbours_change_no_bit(monkeypatch, compat):
    texts = [t for t in samples(7) if compat is None or "Div(" not in t and "Mod" not in t] + [
        "Mean($x,3)/$y-Std($x,9)"
    ]
    panel, plan = market(9, instruments=23, rows=300), build_plan(texts, compat=compat)
    one = engine.evaluate_block(plan, panel)
    monkeypatch.setattr(engine, "_WORTH_A_THREAD", 1)
    for threads in (2, 8):
        np.testing.assert_array_equal(engine.evaluate_block(plan, panel, n_threads=threads), one)
    # Which instruments stand side by side does not matter either.
    for i in [i for i in range(23) if not looks_across(*plan.roots)]:
        low, high = panel.start[i : i + 2]
        own = Panel(
            panel.instruments[i : i + 1],
            np.array([0, high - low]),
            panel.first[i : i + 1],
            {name: values[low:high] for name, values in panel.columns.items()},
        )
        np.testing.assert_array_equal(engine.evaluate_block(plan, own), one[:, low:high])


@pytest.mark.parametrize("compat", [None, "qlib"])
def test_a_formula_has_the_same_bits_whoever_else_is_asked(compat):
    texts = [t for w in (0, 1, 5, 20) for t in samples(w) if compat is None or w or not t.startswith(("Corr", "Cov"))]
    texts = [t for t in texts if compat is None or not t.startswith(("FloorDiv", "Mod"))]
    panel = market(10, instruments=11, rows=90)
    together = evaluate(build_plan(texts, compat=compat), panel)
    for text, got in zip(texts, together, strict=True):
        np.testing.assert_array_equal(evaluate(build_plan([text], compat=compat), panel)[0], got, err_msg=text)


def test_every_instruction_set_gives_the_same_bits(monkeypatch):
    texts = [t for w in (0, 1, 5, 20, 200) for t in samples(w)]
    panel, plan = market(11, instruments=11, rows=400), build_plan(texts)
    one = engine.evaluate_block(plan, panel)
    assert program.instruction_sets()[0] == "baseline"
    for name in program.instruction_sets():
        monkeypatch.setattr(engine, "run", partial(program.run, isa=name))
        np.testing.assert_array_equal(engine.evaluate_block(plan, panel), one, err_msg=name)


@pytest.mark.parametrize("scale", [1e-9, 1e-4, 1e9])
def test_scaling_all_prices_changes_no_dimensionless_number(scale):
    texts = ["Corr($x,$y,10)", "Rsquare($x,10)", "Skew($x,10)", "Kurt($x,10)", "Rank($x,10)", "IdxMax($x,10)"]
    texts += ["Std($x,10)/$x", "Slope($x,10)/$x", "Resi($x,10)/$x", "Mean($x,10)/$x", "Corr(Log($y),$x/Ref($x,1),20)"]
    panel = market(4, rows=200)
    x = panel.columns["x"].astype("f8").round(3)  # on a grid of ticks, so that ties stay ties
    plan = build_plan(texts)
    base = evaluate(plan, Panel(panel.instruments, panel.start, panel.first, {**panel.columns, "x": x.astype("f4")}))
    scaled = {**panel.columns, "x": (x.astype("f4").astype("f8") * scale).astype("f4")}
    moved = evaluate(plan, Panel(panel.instruments, panel.start, panel.first, scaled))
    for text, one, other in zip(texts, base, moved, strict=True):
        np.testing.assert_array_equal(np.isnan(one), np.isnan(other), err_msg=text)
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=2e-5, err_msg=text)
    halved = {**panel.columns, "x": x.astype("f4") * np.float32(2.0**-30)}
    powers = evaluate(plan, Panel(panel.instruments, panel.start, panel.first, halved))
    for text, one, other in zip(texts, base, powers, strict=True):
        np.testing.assert_array_equal(one, other, err_msg=text)


def test_an_empty_panel_has_no_values():
    nothing = Panel((), np.array([0]), np.array([], dtype=np.int64), {name: np.empty(0, "f4") for name in FIELDS})
    assert [len(v) for v in evaluate(build_plan(samples(5)), nothing)] == [0] * len(samples(5))


def test_spans_of_everything_are_declared():
    assert all(
        build_plan([t]).span.back == EVERYTHING for t in ("EMA($x,5)", "Mean($x,0)", "Delta($x,0)", "Mean($x,0.3)")
    )
