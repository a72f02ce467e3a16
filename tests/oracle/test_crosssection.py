"""Operators across instruments: against pandas bar by bar, kernels against their sentences, and the laws they obey."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from formulas import NAIVE, market
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from proof import cases

from qlib.data.expression import OPERATORS, build_plan, evaluate, parse
from qlib.data.expression.inner import SomeRows
from qlib.data.expression.node import Column, Node, Operator, looks_across, walk
from qlib.data.expression.operators.crosssection import members_in_time
from qlib.data.expression.span import Span
from qlib.data.kernels import TimeOrder, per_bar
from qlib.data.kernels import reference_crosssection as reference
from qlib.data.panel import NOWHERE, Panel, Surroundings
from qlib.errors import ExpressionError

FIELDS = ("x", "y", "z", "g")
FLAT = 1e-7
quiet = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
odd = st.sampled_from([np.nan, np.nan, np.inf, -np.inf])
plain = st.floats(2**-8, 2**12, width=32) | st.integers(-3, 3).map(float)
# Multiples of 1/8: sums of a few are exact, so a tie stays a tie on any way to compute it.
grid = st.integers(-24, 24).map(lambda n: n / 8)


@st.composite
def panels(draw, elements=plain | odd):
    """Ragged panels of up to seven instruments whose membership begins and ends, NaN, infinity, ties, equal values."""
    lengths = draw(st.lists(st.integers(0, 9), min_size=1, max_size=7))
    rows = sum(lengths)
    columns = {name: draw(arrays("f4", rows, elements=elements)) for name in FIELDS}
    columns["g"] = draw(arrays("f4", rows, elements=st.sampled_from([0.0, -0.0, 1.0, 2.5, np.nan])))
    if draw(st.booleans()):
        columns["x"] = np.full(rows, draw(elements), "f4")
    first = np.array([draw(st.integers(0, 5)) for _ in lengths], dtype=np.int64)
    names = tuple(f"i{k}" for k in range(len(lengths)))
    around = NOWHERE
    if draw(st.booleans()):
        edges = st.lists(st.integers(0, 14), max_size=6, unique=True).map(sorted)
        spans = {name: [(a, b) for a, b in zip(e[::2], e[1::2], strict=False)] for name in names if (e := draw(edges))}
        around = Surroundings(members=spans)
    return Panel(names, np.cumsum([0, *lengths]), first, columns, around)


# ------------------------------------------------------------------------------------------------ the naive way
def table(panel: Panel, columns: dict[str, np.ndarray] | None = None) -> pd.DataFrame:
    """Return the panel as a frame: columns, t (calendar position), i (instrument), member (bool)."""
    frame = pd.DataFrame({name: np.asarray(v, "f8") for name, v in (columns or panel.columns).items()})
    frame["t"] = panel.positions()
    frame["i"] = np.repeat(np.arange(len(panel.instruments)), panel.lengths())
    spans = panel.around.members
    always = spans is None
    inside = [
        always or any(a <= t < b for a, b in spans.get(panel.instruments[i], [(0, 99999)]))
        for t, i in zip(frame["t"], frame["i"], strict=True)
    ]
    frame["member"] = np.array(inside, dtype=bool)
    return frame


def varied(v: pd.Series) -> bool:
    return v.std(ddof=0) > FLAT * abs(v.mean())


def least_squares(d: pd.DataFrame, known: list[str], group: str | None = None) -> pd.Series:
    """Return the residual of column a on an intercept (a group's own) and the known columns."""
    d = d.dropna(subset=["a", *known, *([group] if group else [])])
    dummies = pd.get_dummies(d[group] + 0.0, dtype=float) if group else pd.DataFrame({"one": 1.0}, index=d.index)
    if len(d) <= dummies.shape[1] + len(known):
        return d["a"] * np.nan
    design = np.column_stack([dummies, d[known]])
    design /= np.abs(design).max(axis=0).clip(1e-300)
    return d["a"] - design @ np.linalg.lstsq(design, d["a"], rcond=1e-7)[0]


def per_date(f: pd.DataFrame, number: Callable[[pd.DataFrame], float]) -> pd.Series:
    return f["t"].map({t: number(d) for t, d in f.groupby("t")})


def together(f: pd.DataFrame, sentence: Callable[[pd.DataFrame], pd.Series]) -> pd.Series:
    return pd.concat([sentence(d) for _, d in f.groupby("t")] or [f["a"]]).reindex(f.index)


# A call, and the same in pandas on the members' rows f: t is the bar, a, b, c, d the arguments (NaN where not finite).
SENTENCES: dict[str, Callable[[pd.DataFrame], pd.Series]] = {
    "CSRank($x)": lambda f: f.groupby("t")["a"].rank(pct=True),
    "CSRank($x,'centre')": lambda f: (f.groupby("t")["a"].rank() - 0.5) / f.groupby("t")["a"].transform("count"),
    "CSZScore($x)": lambda f: f.groupby("t")["a"].transform(
        lambda v: (v - v.mean()) / v.std() if varied(v) else np.nan
    ),
    "CSDemean($x)": lambda f: f["a"] - f.groupby("t")["a"].transform("mean"),
    "CSScale($x)": lambda f: f["a"] / f["a"].abs().groupby(f["t"]).transform("sum").replace(0, np.nan),
    "CSScale($x,2.5)": lambda f: 2.5 * f["a"] / f["a"].abs().groupby(f["t"]).transform("sum").replace(0, np.nan),
    "CSQuantile($x,0.3)": lambda f: f.groupby("t")["a"].transform("quantile", 0.3),
    "CSQuantile($x,1)": lambda f: f.groupby("t")["a"].transform("max"),
    "CSCorr($x,$y)": lambda f: per_date(f, correlation),
    "CSNeutralize($x,$g,'group')": lambda f: f["a"] - f.groupby(["t", "b"])["a"].transform("mean"),
    "CSNeutralize($x,$y)": lambda f: together(f, lambda d: least_squares(d, ["b"])),
    "CSNeutralize($x,$y,$z)": lambda f: together(f, lambda d: least_squares(d, ["b", "c"])),
    "CSNeutralize($x,$y,$y)": lambda f: together(f, lambda d: least_squares(d, ["b", "c"])),
    "CSNeutralize($x,$y,$g,'group')": lambda f: together(f, lambda d: least_squares(d, ["b"], "c")),
}


def correlation(d: pd.DataFrame) -> float:
    d = d.dropna(subset=["a", "b"])
    return d["a"].corr(d["b"]) if len(d) > 1 and varied(d["a"]) and varied(d["b"]) else np.nan


def said(text: str, frame: pd.DataFrame) -> np.ndarray:
    """Return a sentence's answer on every row of a table with columns a, b, ...; NaN where the row is nobody's."""
    f = frame[frame["member"]].replace([np.inf, -np.inf], np.nan)
    return SENTENCES[text](f).reindex(frame.index).to_numpy("f8")


def letters(values: list[np.ndarray]) -> dict[str, np.ndarray]:
    return dict(zip("abcd", values, strict=False))


@pytest.mark.parametrize("text", SENTENCES)
@given(panel=panels())
@quiet
def test_an_operator_across_instruments_equals_its_pandas_sentence(text, panel):
    plan = build_plan([text])
    (got,) = evaluate(plan, panel)
    columns = [panel.columns[node.name] for node in plan.roots[0].children]
    wanted = said(text, table(panel, letters(columns)))
    sizes = np.abs(np.concatenate(columns))
    size = 1e-6 * sizes[np.isfinite(sizes)].max(initial=1)
    np.testing.assert_array_equal(np.isnan(got), np.isnan(wanted))
    np.testing.assert_allclose(got, wanted, rtol=2e-6, atol=size if "Neutral" in text or "Demean" in text else 1e-6)


def test_every_operator_across_instruments_has_a_sentence():
    across = {name for name, operator in OPERATORS.items() if operator.across}
    assert across == {type(node).__name__ for text in SENTENCES for node in walk(parse(text)) if node.children != ()}
    assert across == {"CSRank", "CSZScore", "CSDemean", "CSScale", "CSQuantile", "CSCorr", "CSNeutralize"}
    assert looks_across(parse("Mean(CSRank($x),3)+1")) and not looks_across(parse("Mean($x,3)+1"))
    assert looks_across(*build_plan(["Mean(CSRank(Select($x>1,$y)),3)"]).roots), "in whatever it is wrapped"


# ------------------------------------------------------------------------------------------------ nested in one formula
_columns = st.sampled_from(["$x", "$y"])
_windows = st.integers(1, 4)
# Exact on the grid, whatever the order of the additions: a rank may look at it.
_exact = st.recursive(
    _columns,
    lambda inner: (
        st.builds("{}({},{})".format, st.sampled_from(["Ref", "Sum", "Max", "Min", "Delta"]), inner, _windows)
        | st.builds("{}({},{})".format, st.sampled_from(["Add", "Sub", "Greater"]), inner, inner)
    ),
    max_leaves=3,
)
_ranks = st.builds("CSRank({})".format, _exact) | st.builds("CSRank({},'centre')".format, _exact)


def _wrapped(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return (
        st.builds("{}({},{})".format, st.sampled_from(["Mean", "Sum", "Ref", "Max", "WMA"]), inner, _windows)
        | st.builds("{}({},{})".format, st.sampled_from(["Add", "Sub", "Mul"]), inner, inner)
        | st.builds("CSDemean({})".format, inner)
        | st.builds("CSQuantile({},0.3)".format, inner)
    )


nested = st.recursive(_ranks | _exact, _wrapped, max_leaves=4)


def naive(node: Node, panel: Panel) -> np.ndarray:
    """Compute a formula over the whole panel, one instrument or one bar at a time, without plan or kernels."""
    done: dict[Node, np.ndarray] = {}
    bounds = list(zip(panel.start[:-1], panel.start[1:], strict=True))
    with np.errstate(all="ignore"):
        for part in walk(node):
            if isinstance(part, Column):
                done[part] = panel.columns[part.name]
            elif isinstance(part, Operator) and part.across:
                columns = "$x" + "".join(f",{a!r}" for a in part.arguments[1:])
                text = f"{part.name}({columns})".replace(",'edge'", "")
                done[part] = said(text, table(panel, {"a": done[part.arguments[0]]}))
            else:
                pieces = []
                for low, high in bounds:
                    own = [pd.Series(done[a][low:high]) if isinstance(a, Node) else a for a in part.arguments]
                    pieces.append(np.asarray(NAIVE[type(part).__name__](*own)))
                done[part] = np.concatenate(pieces)
    return done[node].astype("f4")


@given(panel=panels(elements=grid | odd), text=nested)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_formulas_nested_across_and_along_equal_the_naive_way(panel, text):
    (got,) = evaluate(build_plan([text]), panel)
    wanted = naive(parse(text), panel)
    np.testing.assert_array_equal(np.isnan(got), np.isnan(wanted), err_msg=text)
    size = np.abs(wanted[np.isfinite(wanted)]).max(initial=1)
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5 * size, err_msg=text)


def test_the_formula_of_the_issue():
    panel = replace(market(5, instruments=30, rows=80), around=Surroundings(members={"i7": [(20, 60)], "i9": []}))
    (got,) = evaluate(build_plan(["Mean(CSRank($x/Ref($x,5)-1),10)"]), panel)
    wide = pd.DataFrame(
        {
            i: pd.Series(panel.columns["x"][low:high], index=np.arange(first, first + high - low))
            for i, (low, high, first) in enumerate(zip(panel.start[:-1], panel.start[1:], panel.first, strict=True))
        }
    ).sort_index()
    returns = (wide / wide.shift(5) - 1).replace([np.inf, -np.inf], np.nan)
    returns.loc[:19, 7], returns.loc[60:, 7], returns[9] = np.nan, np.nan, np.nan
    wanted = returns.rank(axis=1, pct=True).rolling(10, min_periods=1).mean()
    for i, (low, high) in enumerate(zip(panel.start[:-1], panel.start[1:], strict=True)):
        own = wanted[i].loc[panel.first[i] : panel.first[i] + high - low - 1]
        np.testing.assert_allclose(got[low:high], own, rtol=1e-5)


# ------------------------------------------------------------------------------------------------ laws
CALLS = [*SENTENCES, "Mean(CSRank($x/Ref($x,2)-1),4)", "CSZScore(Std($x,5))", "CSDemean(EMA($x,3))", "CSRank($x>$y)"]


def crowd(seed: int = 1, instruments: int = 90) -> Panel:
    """A market with groups, more members at most bars than an insertion sort takes, and membership that changes."""
    panel = market(seed, instruments, 60)
    rng = np.random.default_rng(seed)
    columns = dict(panel.columns)
    columns["z"] = (columns["y"] * 0.5 + rng.normal(size=panel.rows)).astype("f4")
    columns["g"] = rng.integers(0, 6, panel.rows).astype("f4")
    columns["x"] = columns["x"].round(2)  # ties
    spans = {f"i{k}": [(10 + k % 7, 40 + k % 11), (55, 80)] for k in range(0, instruments, 3)}
    return replace(panel, columns=columns, around=Surroundings(members=spans))


def test_changing_later_bars_changes_no_bit_before_them():
    panel, plan = crowd(), build_plan(CALLS)
    whole = evaluate(plan, panel)
    for t in (15, 50):
        early, kept = panel.between(-np.inf, t)
        poisoned = {}
        for name, values in panel.columns.items():
            poisoned[name] = np.full_like(values, np.inf)
            poisoned[name][kept] = values[kept]
        late = evaluate(plan, replace(panel, columns=poisoned))
        for text, full, prefix, spoilt in zip(plan.fields, whole, evaluate(plan, early), late, strict=True):
            np.testing.assert_array_equal(full[kept], prefix, err_msg=text)
            np.testing.assert_array_equal(full[kept], spoilt[kept], err_msg=text)


def test_a_value_across_instruments_needs_its_own_bar_only():
    panel = crowd()
    for text in SENTENCES:
        plan = build_plan([text])
        assert plan.span == Span(0, 0)
        (full,) = evaluate(plan, panel)
        for t in (12, 30, 70):
            bar, kept = panel.between(t, t)
            np.testing.assert_array_equal(evaluate(plan, bar)[0], full[kept], err_msg=text)


def test_the_order_of_the_instruments_does_not_matter():
    panel, plan = crowd(), build_plan(CALLS)
    order = np.random.default_rng(0).permutation(len(panel.instruments))
    rows = np.concatenate([np.arange(panel.start[i], panel.start[i + 1]) for i in order])
    moved = Panel(
        tuple(panel.instruments[i] for i in order),
        np.cumsum([0, *panel.lengths()[order]]),
        panel.first[order],
        {name: values[rows] for name, values in panel.columns.items()},
        panel.around,
    )
    for text, one, other in zip(plan.fields, evaluate(plan, panel), evaluate(plan, moved), strict=True):
        if "CSRank" in text or "CSQuantile" in text:
            np.testing.assert_array_equal(other, one[rows], err_msg=text)
        else:
            np.testing.assert_allclose(other, one[rows], rtol=1e-6, atol=1e-12, err_msg=text)


@pytest.mark.parametrize("scale", [2.0**-40, 2.0**40])
def test_scaling_a_formula_changes_what_it_should(scale):
    panel = crowd()
    scaled = replace(panel, columns={**panel.columns, "x": panel.columns["x"] * np.float32(scale)})
    for text in SENTENCES:
        by = scale if any(name in text for name in ("Demean", "Quantile", "Neutral")) else 1
        one, other = (evaluate(build_plan([text]), p)[0] for p in (panel, scaled))
        np.testing.assert_array_equal(other, one * np.float32(by), err_msg=text)


def test_scaling_by_any_number_changes_no_rank_score_or_correlation():
    panel = crowd()
    x = panel.columns["x"].astype("f8")
    for text in ("CSZScore($x)", "CSScale($x)", "CSCorr($x,$y)"):
        for scale in (1e-9, 0.3, 1e9):
            scaled = replace(panel, columns={**panel.columns, "x": (x * scale).astype("f4")})
            one, other = (evaluate(build_plan([text]), p)[0] for p in (panel, scaled))
            np.testing.assert_allclose(other, one, rtol=1e-5, atol=1e-5, err_msg=f"{text} {scale}")


def test_ranks_are_centred_on_request_and_turn_around():
    panel = crowd()
    frame = table(panel)
    up, down, edge = evaluate(build_plan(["CSRank($x,'centre')", "CSRank(-$x,'centre')", "CSRank($x)"]), panel)
    seen = ~np.isnan(up)
    np.testing.assert_allclose(up[seen] + down[seen], 1, rtol=1e-6)
    np.testing.assert_allclose(pd.Series(up[seen]).groupby(frame["t"][seen].to_numpy()).mean(), 0.5, rtol=1e-6)
    assert up[seen].min() > 0 and up[seen].max() < 1 and edge[seen].min() > 0 and edge[seen].max() == 1


def test_residuals_know_nothing_of_what_was_taken_out():
    panel = crowd()
    (left,) = evaluate(build_plan(["CSNeutralize($x,$y,$z,$g,'group')"]), panel)
    f = table(panel).assign(left=left.astype("f8")).dropna()
    f = f[np.isfinite(f["y"])]
    assert len(f) > 1000
    for _, d in f.groupby("t"):
        size = np.abs(d["left"]).max() + 1e-9
        np.testing.assert_allclose(d.groupby("g")["left"].sum(), 0, atol=1e-5 * size * len(d))
        for known in "yz":
            assert abs((d["left"] * d[known]).sum()) < 1e-5 * size * np.abs(d[known]).sum()


def test_the_rows_are_ordered_once_for_all_operators_of_a_plan(monkeypatch):
    from qlib.data.expression.operators import crosssection

    made = []
    monkeypatch.setattr(crosssection, "TimeOrder", lambda *a: made.append(1) or TimeOrder(*a))
    panel = crowd()
    evaluate(build_plan(["CSRank($x)", "CSZScore(CSRank($y))", "Mean(CSDemean($x),3)"]), panel)
    assert made == [1]
    assert members_in_time(panel) is members_in_time(panel)
    away = pickle.loads(pickle.dumps(panel))
    assert away._made == {} and away.around == panel.around and away.instruments == panel.instruments


# ------------------------------------------------------------------------------------------------ what may be asked
def test_texts_say_what_was_asked_and_can_be_read_again():
    for text in [*SENTENCES, "CSNeutralize($x,$y,$z,$g)", "CSNeutralize($x,$y,how='group')", "CSScale(feature=$x,a=3)"]:
        node = parse(text)
        assert parse(str(node)) is node
    assert str(parse("CSScale( $x , 1 )")) == "CSScale($x)" and parse("CSScale($x)") is parse("CSScale($x,a=1)")
    assert parse("CSNeutralize($x,$y,'factors')") is parse("CSNeutralize($x,$y)")
    from qlib.data.ops import CSNeutralize, CSRank, Feature, Mean

    x, y, g = Feature("x"), Feature("y"), Feature("g")
    assert str(Mean(CSRank(x / 2), 10)) == "Mean(CSRank(Div($x,2)),10)"
    asked = CSNeutralize(x, y, g, "group")
    assert str(asked) == "CSNeutralize($x,$y,$g,'group')" and asked.by == (y, g) and asked.how == "group"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("CSRank()", "CSRank.feature, zero. lacks feature"),
        ("CSRank(5)", "feature must be a formula, received 5"),
        ("CSRank($x,'center')", "zero must be one of edge, centre, received 'center'; did you mean centre"),
        ("CSQuantile($x)", "lacks q"),
        ("CSQuantile($x,1.5)", "q must be a number from 0 to 1, received 1.5"),
        ("CSScale($x,-1)", "a must be a number from 0"),
        ("CSCorr($x)", "lacks feature_right"),
        ("CSNeutralize($x)", "CSNeutralize.feature, by, ..., how. lacks by"),
        ("CSNeutralize($x,'group')", "lacks by"),
        ("CSNeutralize($x,$y,'groups')", "how must be one of factors, group, received 'groups'; did you mean group"),
        ("CSNeutralize($x,$y,'group',$z)", "received 4 arguments"),
        (
            "CSNeutralize($x," + ",".join(f"$f{i}" for i in range(65)) + ")",
            "at most 64 formulas to explain one, received 65",
        ),
        ("CSrank($x)", "no operator is called CSrank"),
    ],
)
def test_what_cannot_be_asked_is_refused_with_the_reason(text, said):
    with pytest.raises(ExpressionError, match=f"(?s){said}"):
        parse(text)


# ------------------------------------------------------------------------------------------------ kernels
KERNELS = {
    "rank": (1, (0.0, 0.5)),
    "zscore": (1, (FLAT,)),
    "demean": (1, (0.0,)),
    "scale": (1, (1.0, 3.0)),
    "quantile": (1, (0.0, 0.25, 0.5, 1.0)),
    "corr": (2, (FLAT,)),
    "neutralize": (3, (FLAT,)),
    "neutralize_within": (3, (FLAT,)),
}


def one_bar(kernel: str, columns: list[np.ndarray], parameter: float) -> np.ndarray:
    n = len(columns[0])
    out = np.full(n, np.nan)
    rows = np.arange(n + 1)
    per_bar(kernel, tuple(columns), TimeOrder(rows[:-1], rows[1:], np.zeros(n, np.int64), n), parameter, out)
    return out


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("n", [1, 2, 3, 5, 48, 49, 300, *cases([], [3000])])
@pytest.mark.parametrize("level", [0.0, 1.0, 1e5, -1e-8])
def test_a_kernel_equals_its_sentence(kernel, n, level):
    count, parameters = KERNELS[kernel]
    rng = np.random.default_rng(n)
    columns = [level * (1 + 0.02 * rng.normal(size=n)) if level else rng.normal(size=n) for _ in range(count)]
    if kernel == "neutralize_within":
        columns[-1] = rng.integers(0, max(n // 5, 1), n).astype(float)
    columns[0][rng.random(n) < 0.1] = np.nan
    columns[0][rng.random(n) < 0.1] = columns[0][0]
    for kind in (np.float32, np.float64):
        typed = [column.astype(kind) for column in columns]
        for parameter in parameters:
            got, wanted = one_bar(kernel, typed, parameter), reference.bar(kernel, typed, parameter)
            size = np.abs(wanted[np.isfinite(wanted)]).max(initial=0)
            np.testing.assert_allclose(got, wanted, rtol=1e-9, atol=1e-9 * size + 1e-14 * abs(level))


@pytest.mark.parametrize("kernel", KERNELS)
@given(data=st.data())
@quiet
def test_a_kernel_survives_any_numbers(kernel, data):
    """Subnormal, huge, mixed: no overflow where the answer is a number, and what is observed is answered."""
    count, parameters = KERNELS[kernel]
    n = data.draw(st.integers(1, 60))
    wild = st.floats(width=64) | st.sampled_from([5e-324, 1e-310, 1e-200, 1e200, 1.7e308, -1.7e308, 0.0, -0.0])
    columns = [data.draw(arrays("f8", n, elements=wild)) for _ in range(count)]
    got = one_bar(kernel, columns, parameters[0])
    seen = np.isfinite(np.stack(columns)).all(axis=0)
    if kernel not in reference.EVERY_MEMBER:
        assert np.isnan(got[~seen]).all()
    x = columns[0][seen]
    if kernel == "rank":
        np.testing.assert_array_equal(got, reference.bar(kernel, columns, 0.0))
    if kernel == "quantile":
        assert np.isnan(got).all() if not len(x) else (got == x.min()).all()
    if kernel in ("zscore", "corr", "scale"):
        assert (np.abs(got[np.isfinite(got)]) <= np.sqrt(n)).all() and not np.isinf(got).any()
    if kernel == "scale" and len(x) and (np.abs(x) > 0).any():
        np.testing.assert_allclose(np.abs(got[seen]).sum(), 1, rtol=1e-12)


@pytest.mark.parametrize("unit", [1e-320, 1e-250, 1e-30, 1.0, 1e30, 1e250, 1e307])
def test_the_unit_of_the_numbers_does_not_matter(unit):
    rng = np.random.default_rng(0)
    base = [rng.integers(-8, 9, 40).astype(float) for _ in range(3)]
    for kernel, (count, parameters) in KERNELS.items():
        one = one_bar(kernel, base[:count], parameters[0])
        by = unit if kernel in ("demean", "quantile", "neutralize", "neutralize_within") else 1
        other = one_bar(kernel, [base[0] * unit, *base[1:count]], parameters[0])
        rtol = 1e-2 if unit == 1e-320 else 1e-9  # subnormal numbers have few digits
        np.testing.assert_allclose(other, one * by, rtol=rtol, atol=1e-12 * by + 5e-324, err_msg=kernel)


def test_equal_numbers_deviate_by_nothing():
    for value in (0.1, 1e5 + 0.1, 1e-8 / 3, 1.7e308):
        for n in (1, 3, 7, 300, 4999):
            same = np.full(n, value)
            assert (one_bar("demean", [same], 0.0) == 0).all()
            assert (one_bar("neutralize_within", [same, np.arange(n) % 3.0], FLAT) == 0).all()
            assert np.isnan(one_bar("zscore", [same], FLAT)).all()


def test_factors_that_say_nothing_new_change_nothing():
    rng = np.random.default_rng(2)
    x, f, h = rng.normal(size=(3, 200))
    f = f * 1e5 + 3e5
    base = one_bar("neutralize", [x, f, h], FLAT)
    for extra in (np.full(200, 0.1), f, 3 * f - 7, f + h * 1e4, np.zeros(200)):
        for place in (1, 2, 3):
            columns = [x, f, h]
            columns.insert(place, extra)
            np.testing.assert_allclose(one_bar("neutralize", columns, FLAT), base, atol=1e-9)
    assert (one_bar("neutralize", [2 * f - 3 * h + 1, f, h], FLAT) == 0).all(), "explained to the last digit"
    nearly = f * (1 + 1e-4 * rng.normal(size=200))
    hard = one_bar("neutralize", [x, f, nearly], FLAT)
    exact = np.column_stack([np.ones(200), f, nearly]).astype(np.longdouble)
    exact /= np.abs(exact).max(axis=0)
    for column in exact.T:
        assert abs(float((hard * column).sum())) < 1e-12 * 200


def test_any_split_of_the_bars_over_threads_gives_the_same_bits():
    panel = crowd(4, 150)
    time = members_in_time(panel)
    columns = [panel.columns[name] for name in ("x", "y", "g")]
    for kernel, (count, parameters) in KERNELS.items():
        own = tuple(columns[:1] if count == 1 else columns[:2] if count == 2 else columns)
        whole = np.full(panel.rows, np.nan)
        per_bar(kernel, own, time, parameters[0], whole)
        for threads in (2, 8):
            out = np.full(panel.rows, np.nan)
            cuts = np.linspace(0, time.bars, threads + 1).astype(int)
            with ThreadPoolExecutor(threads) as pool:
                parts = [
                    pool.submit(per_bar, kernel, own, time, parameters[0], out, int(a), int(b))
                    for a, b in zip(cuts[:-1], cuts[1:], strict=True)
                ]
                for part in parts:
                    part.result()
            np.testing.assert_array_equal(out, whole)


@given(panel=panels())
@quiet
def test_rows_in_time_are_the_members_rows_sorted_by_bar(panel):
    time, frame = members_in_time(panel), table(panel)
    wanted = frame[frame["member"]].sort_values(["t", "i"], kind="stable")
    np.testing.assert_array_equal(time.order, wanted.index.to_numpy())
    bars = np.repeat(np.arange(time.bars), np.diff(time.bounds)) + time.earliest
    np.testing.assert_array_equal(bars, wanted["t"].to_numpy())
    assert time.bounds[0] == 0 and time.bounds[-1] == len(time.order) and time.rows == panel.rows


@given(panel=panels(), data=st.data())
@quiet
def test_of_a_panel_with_holes_the_rows_that_are_there_count(panel, data):
    there = data.draw(arrays("?", panel.rows))
    rows = np.flatnonzero(there)
    start = np.searchsorted(rows, panel.start)
    columns = {name: values[rows] for name, values in panel.columns.items()}
    some = SomeRows(panel.instruments, start, panel.first, columns, panel.around, panel.positions()[rows])
    gone = replace(panel, columns={**panel.columns, "x": np.where(there, panel.columns["x"], np.float32(np.nan))})
    for text in ("CSRank($x)", "CSDemean($x)", "CSNeutralize($x,$g,'group')"):
        plan = build_plan([text])
        np.testing.assert_array_equal(evaluate(plan, some)[0], evaluate(plan, gone)[0][rows], err_msg=text)
    np.testing.assert_array_equal(
        some.positions()[members_in_time(some).order], np.sort(table(some)["t"][table(some)["member"]])
    )


def test_a_kernel_refuses_what_does_not_fit():
    def runs(*triples):
        return [np.array(side, dtype=np.int64) for side in zip(*triples, strict=True)]

    time = TimeOrder(*runs((0, 2, 0), (2, 5, 1)), 5)
    good = np.zeros(5, "f4")
    for bad in ([(0, 3, 0), (2, 5, 0)], [(0, 6, 0)], [(0, 2, -1)], [(3, 2, 0)]):
        with pytest.raises(ValueError, match="runs ascend"):
            TimeOrder(*runs(*bad), 5)
    with pytest.raises(KeyError, match="no statistic across instruments is called rang"):
        per_bar("rang", (good,), time, 0.0, np.zeros(5))
    with pytest.raises(ValueError, match="at least 2 are needed"):
        per_bar("corr", (good,), time, 0.0, np.zeros(5))
    with pytest.raises(ValueError, match="`out` has 4 rows, the panel 5"):
        per_bar("rank", (good,), time, 0.0, np.zeros(4))
    with pytest.raises(ValueError, match="a column has 4 rows"):
        per_bar("rank", (good[:4],), time, 0.0, np.zeros(5))
    with pytest.raises(ValueError, match="received bars 0 to 9, there are 4"):
        per_bar("rank", (good,), time, 0.0, np.zeros(5), 0, 9)
