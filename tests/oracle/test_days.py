"""Operators that know days, gaps, stretches of time and rows left out, against pandas over real times."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from qlib.data.expression import EVERYTHING, build_plan, evaluate, explain
from qlib.data.expression.operators.fewer_rows import FewerRows, rows_left
from qlib.data.expression.plan import Plan
from qlib.data.expression.reach import positions_needed
from qlib.data.panel import Panel, Surroundings
from qlib.errors import ExpressionError, InputError, MissingDataError

quiet = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
gaps = st.sampled_from([np.nan, np.nan, np.nan])
odd = st.sampled_from([np.nan, np.nan, np.inf, -np.inf])
plain = st.floats(2**-8, 2**12, width=32) | st.integers(-3, 3).map(float)

SESSIONS = {  # minutes of the day at which bars open
    "around the clock, by 2 hours": range(0, 1440, 120),
    "two sessions, by half an hour": [*range(570, 690, 30), *range(780, 900, 30)],
    "a half day": range(570, 690, 30),
    "one bar": [600],
    "a night without a morning": range(1200, 1440, 60),
}


@st.composite
def clocks(draw) -> np.ndarray:
    """Calendars of days of unequal length, some dates without a bar, some bars missing."""
    days = draw(st.lists(st.sampled_from(list(SESSIONS)), min_size=1, max_size=6))
    times, date = [], pd.Timestamp("2024-02-27")
    for day in days:
        date += pd.Timedelta(days=draw(st.sampled_from([1, 1, 1, 3])))
        minutes = list(SESSIONS[day])
        if draw(st.booleans()) and len(minutes) > 1:
            del minutes[draw(st.integers(0, len(minutes) - 1))]
        times += [date + pd.Timedelta(minutes=minute) for minute in minutes]
    return np.array(times, dtype="datetime64[ns]")


@st.composite
def markets(draw, elements=plain | odd) -> Panel:
    """Ragged panels over such calendars: empty and one-row instruments, listings and ends in the middle of a day."""
    times = draw(clocks())
    first, lengths = [], []
    for _ in range(draw(st.integers(1, 3))):
        first.append(draw(st.integers(0, len(times) - 1)))
        lengths.append(draw(st.integers(0, len(times) - first[-1])))
    columns = {name: draw(arrays("f4", sum(lengths), elements=elements)) for name in ("x", "y")}
    names = tuple(f"i{k}" for k in range(len(lengths)))
    return Panel(names, np.cumsum([0, *lengths]), np.array(first), columns, Surroundings(times=times))


def each(panel: Panel):
    """Yield (rows, x, y) of each instrument, the columns as series by time."""
    index = pd.DatetimeIndex(panel.around.times[panel.positions()])
    for low, high in zip(panel.start[:-1], panel.start[1:], strict=True):
        x, y = (pd.Series(panel.columns[name][low:high], index=index[low:high]) for name in ("x", "y"))
        yield slice(low, high), x, y


def same(got: np.ndarray, wanted, *, rtol: float = 2e-6, atol: float = 0.0, what: str = "") -> None:
    wanted = np.asarray(wanted, dtype="f8").astype("f4")
    np.testing.assert_array_equal(np.isnan(got), np.isnan(wanted), err_msg=what)
    np.testing.assert_allclose(got, wanted, rtol=rtol, atol=atol, err_msg=what)


# ------------------------------------------------------------------------------------------------ one row each
def by_day(x: pd.Series):
    return x.groupby(x.index.date)


def cumsum(start: str, end: str, minutes: int) -> Callable[[pd.Series], pd.Series]:
    """Row by row, as one would on paper."""

    def sentence(x: pd.Series) -> pd.Series:
        opens = pd.Timedelta(start + ":00") - pd.Timedelta(minutes=minutes)
        done: list[float] = []
        for time in x.index:
            clock = time - time.normalize()
            if not opens < clock <= pd.Timedelta(end + ":00"):
                done.append(0.0)
                continue
            day = x[(x.index.normalize() == time.normalize()) & (x.index <= time)].astype("f8")
            day = day[(day.index - day.index.normalize()) > opens]
            done.append(day[np.isfinite(day)].sum() if np.isfinite(x[time]) else np.nan)
        return pd.Series(done, index=x.index, dtype="f8")

    return sentence


SENTENCES = {
    "IsNull($x)": lambda x, y: x.isna(),
    "IsInf($x)": lambda x, y: np.isinf(x),
    "IsNull($x>1)": lambda x, y: pd.Series(0, index=x.index),
    "IsNull(Ref($x>1,1))": lambda x, y: pd.Series(np.arange(len(x)) == 0, index=x.index),
    "FFillNan($x)": lambda x, y: x.ffill(),
    "BFillNan($x)": lambda x, y: x.bfill(),
    "FFillNan($x>1)": lambda x, y: x > 1,
    "FFillNan(Ref($x>1,-1))": lambda x, y: (x > 1).astype("f4").shift(-1).ffill(),
    "BFillNan(Ref($x,2)+$y)": lambda x, y: (x.shift(2) + y).bfill(),
    "Cut($x,3,-2)": lambda x, y: x,
    "Cut($x)": lambda x, y: x,
    "DayLast($x)": lambda x, y: by_day(x).transform("last"),
    "DayLast(Ref($x,1))": lambda x, y: by_day(x.shift(1)).transform("last"),
    "DayLast($x>1)": lambda x, y: by_day((x > 1).astype("f4")).transform("last"),
    "Date($x)": lambda x, y: pd.Series(x.index.normalize().asi8 // 86_400_000_000_000, index=x.index),
    "Date($x)==Ref(Date($x),1)": lambda x, y: pd.Series(x.index.date, index=x.index).eq(
        pd.Series(x.index.date, index=x.index).shift(1)
    ),
    "DayCumsum($x)": lambda x, y: cumsum("9:30", "14:59", 1)(x),
    "DayCumsum($x,'0:00','23:59')": lambda x, y: cumsum("0:00", "23:59", 1)(x),
    "DayCumsum($x,'10:10','13:00',30)": lambda x, y: cumsum("10:10", "13:00", 30)(x),
    "DayCumsum($x,end='11:00',data_granularity=120)": lambda x, y: cumsum("9:30", "11:00", 120)(x),
    "DayCumsum($x>1,'0:00','23:59')": lambda x, y: cumsum("0:00", "23:59", 1)((x > 1).astype("f4")),
}


@pytest.mark.parametrize("text", SENTENCES)
@given(panel=markets())
@quiet
def test_an_operator_on_days_and_gaps_equals_its_pandas_sentence(text, panel):
    (got,) = evaluate(build_plan([text]), panel)
    for rows, x, y in each(panel):
        if len(x):
            with np.errstate(all="ignore"):
                same(got[rows], SENTENCES[text](x, y), atol=1e-3 if "DayCumsum" in text else 0.0)


# ------------------------------------------------------------------------------------------------ stretches of time
STRETCHES: dict[str, Callable[[pd.DatetimeIndex], pd.Index]] = {
    "90min": lambda t: t.normalize() + (t - t.normalize()) // pd.Timedelta("90min") * pd.Timedelta("90min"),
    "5h": lambda t: t.normalize() + (t - t.normalize()) // pd.Timedelta("5h") * pd.Timedelta("5h"),
    "2h": lambda t: t.floor("2h"),
    "day": lambda t: t.normalize(),
    "24h": lambda t: t.normalize(),
    "3D": lambda t: pd.Index((t.normalize() - pd.Timestamp(0)).days // 3),
    "W": lambda t: t.to_period("W"),
    "month": lambda t: t.to_period("M"),
    "Q": lambda t: t.to_period("Q"),
    "Y": lambda t: t.to_period("Y"),
}
STATISTICS: dict[str, Callable[[pd.Series], float]] = {
    "first": lambda s: s.dropna().iloc[0] if s.notna().any() else np.nan,
    "last": lambda s: s.dropna().iloc[-1] if s.notna().any() else np.nan,
    **{
        name: lambda s, name=name: getattr(s.astype("f8").where(np.isfinite(s)), name)(
            **({"min_count": 1} if name == "sum" else {})
        )
        for name in ("sum", "mean", "std", "var", "min", "max", "median", "count")
    },
}


@pytest.mark.parametrize("func", STATISTICS)
@given(panel=markets(), freq=st.sampled_from(list(STRETCHES)))
@quiet
def test_a_statistic_of_a_stretch_of_time_is_what_is_known_of_it_by_then(func, panel, freq):
    (got,) = evaluate(build_plan([f"TResample($x,'{freq}','{func}')"]), panel)
    for rows, x, _ in each(panel):
        labels = STRETCHES[freq](x.index)
        wanted = [STATISTICS[func](x[(labels == labels[i]) & (np.arange(len(x)) <= i)]) for i in range(len(x))]
        largest = float(np.abs(x[np.isfinite(x)]).max()) if np.isfinite(x).any() else 1.0
        same(got[rows], wanted, rtol=1e-5, atol=1e-6 * largest ** (2 if func == "var" else 1))


@pytest.mark.parametrize("func", STATISTICS)
@pytest.mark.parametrize("freq", ["2h", "D", "W", "ME"])
def test_on_the_last_row_of_a_stretch_it_is_what_pandas_answers_for_the_whole(freq, func):
    times = pd.date_range("2024-01-30", periods=300, freq="h")
    rng = np.random.default_rng(1)
    x = pd.Series(rng.normal(size=300).astype("f4").round(2), index=times)
    x[rng.random(300) < 0.2] = np.nan
    panel = Panel(("a",), np.array([0, 300]), np.array([0]), {"x": x.to_numpy()}, Surroundings(times=times.to_numpy()))
    (got,) = evaluate(build_plan([f"TResample($x,'{freq}','{func}')"]), panel)
    whole = getattr(x.resample(freq), func)(**({"min_count": 1} if func == "sum" else {}))
    ends = x.resample(freq).size().cumsum().to_numpy() - 1
    same(got[ends], whole, rtol=1e-5, atol=1e-6)


# ------------------------------------------------------------------------------------------------ rows left out
@dataclass(frozen=True)
class Pair:
    """A formula, and the same in pandas: a function of (x, y) that answers with the rows it has."""

    text: str
    sentence: Callable[[pd.Series, pd.Series], pd.Series]


def both(a: pd.Series, b: pd.Series) -> tuple[pd.Series, pd.Series]:
    index = a.index.union(b.index)
    return a.reindex(index), b.reindex(index)


def of_rows(x: pd.Series, n: int):
    return x.astype("f8").rolling(n, min_periods=1)


def above(a: pd.Series, b: pd.Series) -> pd.Series:
    a, b = both(a, b)
    return a > b


def choose(condition: pd.Series, a: pd.Series, b: pd.Series) -> pd.Series:
    index = condition.index.union(a.index).union(b.index)
    condition = condition.reindex(index, fill_value=False)
    return a.reindex(index).where(condition, b.reindex(index))


def one(name: str, how: Callable[[pd.Series], pd.Series]):
    return lambda p: Pair(f"{name.replace('#', p.text)}", lambda x, y: how(p.sentence(x, y)))


def two(name: str, how: Callable[[pd.Series, pd.Series], pd.Series]):
    return lambda p, q: Pair(f"{name}({p.text},{q.text})", lambda x, y: how(p.sentence(x, y), q.sentence(x, y)))


ONE = [
    one("Mean(#,3)", lambda s: of_rows(s, 3).mean()),
    one("Count(#,2)", lambda s: of_rows(s, 2).count()),
    one("Max(#,4)", lambda s: of_rows(s, 4).max()),
    one("Ref(#,1)", lambda s: s.shift(1)),
    one("Ref(#,-2)", lambda s: s.shift(-2)),
    one("FFillNan(#)", lambda s: s.ffill()),
    one("Abs(#)", np.abs),
    one("DayLast(#)", lambda s: by_day(s).transform("last") if len(s) else s),
    one("If(IsNull(#),1,0)", lambda s: s.isna().astype("f4")),
]
TWO = [
    two("Add", lambda a, b: a + b),
    two("Sub", lambda a, b: a - b),
    two("Greater", lambda a, b: np.maximum(*both(a, b))),
]


def selected(condition: Pair, p: Pair) -> Pair:
    def sentence(x, y):
        series = p.sentence(x, y)
        return series[condition.sentence(x, y).reindex(series.index, fill_value=False).astype(bool)]

    return Pair(f"Select({condition.text},{p.text})", sentence)


def compared(p: Pair, q: Pair) -> Pair:
    return Pair(f"Gt({p.text},{q.text})", lambda x, y: above(p.sentence(x, y), q.sentence(x, y)))


def chosen(condition: Pair, p: Pair, q: Pair) -> Pair:
    return Pair(
        f"If({condition.text},{p.text},{q.text})",
        lambda x, y: choose(condition.sentence(x, y), p.sentence(x, y), q.sentence(x, y)),
    )


X, Y = Pair("$x", lambda x, y: x), Pair("$y", lambda x, y: y)


def grown(inner: st.SearchStrategy[Pair]) -> st.SearchStrategy[Pair]:
    condition = st.builds(compared, inner, inner)
    return (
        st.builds(lambda f, p: f(p), st.sampled_from(ONE), inner)
        | st.builds(lambda f, p, q: f(p, q), st.sampled_from(TWO), inner, inner)
        | st.builds(selected, condition, inner)
        | st.builds(chosen, condition, inner, inner)
    )


leaf = st.sampled_from([X, Y]) | st.sampled_from([selected(compared(X, Y), X), selected(compared(X, Y), Y)])


@given(panel=markets(elements=plain | gaps), pair=st.recursive(leaf, grown, max_leaves=7))
@settings(quiet, max_examples=300)
def test_formulas_over_rows_left_out_equal_pandas_over_those_rows(panel, pair):
    """Windows walk the rows that are left; where two sets of rows meet, values are aligned."""
    plan = build_plan([pair.text])
    (got,) = evaluate(plan, panel)
    mask = rows_left(plan.roots[0])
    there = np.ones(panel.rows, dtype=bool) if mask is None else evaluate(Plan(["m"], [mask], None), panel)[0] == 1
    for rows, x, y in each(panel):
        wanted = pair.sentence(x, y)
        np.testing.assert_array_equal(x.index[there[rows]], wanted.index, err_msg=pair.text)
        same(got[rows], wanted.reindex(x.index), rtol=1e-5, atol=1e-2, what=pair.text)


@given(panel=markets(), pairs=st.lists(st.recursive(leaf, grown, max_leaves=4), min_size=2, max_size=4))
@quiet
def test_formulas_over_rows_left_out_share_the_plan_without_changing_a_bit(panel, pairs):
    texts = [pair.text for pair in pairs]
    for text, got in zip(texts, evaluate(build_plan(texts), panel), strict=True):
        np.testing.assert_array_equal(got, evaluate(build_plan([text]), panel)[0], err_msg=text)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Select($x,$y)", [10, np.nan, np.nan, 13, 14]),  # a number: where it is not 0 and not missing
        ("Select(Ref($x>0,1),$y)", [np.nan, 11, np.nan, np.nan, 14]),  # a missing answer is no
        ("Select(Select($y>10,$x>0),$y)", [np.nan, np.nan, np.nan, 13, 14]),  # a condition of fewer rows
        ("Not(Select($x>0,$y>13))", [1, np.nan, np.nan, 1, 0]),
        ("Select($x>0,$y)>10", [0, np.nan, np.nan, 1, 1]),
        ("(Select($x>0,$y)>10)&($y>0)", [0, 0, 0, 1, 1]),
        ("If(Select($x>0,$y)>13,1,0)+$y*0", [0, np.nan, np.nan, 0, 1]),
        ("Select($x>0,If($y>13,1,0))+Select($y>0,$y)", [10, np.nan, np.nan, 13, 15]),
    ],
)
def test_rows_left_out_and_other_kinds_of_values(text, wanted):
    columns = {"x": np.float32([1, 0, np.nan, 2, 3]), "y": np.float32([10, 11, 12, 13, 14])}
    panel = Panel(("a",), np.array([0, 5]), np.array([0]), columns)
    np.testing.assert_array_equal(evaluate(build_plan([text]), panel)[0], np.float32(wanted))


def test_formulas_under_one_condition_are_computed_in_one_pass():
    """They have the same rows, so nothing is aligned and one panel serves all."""
    text = "If(IsNull(Select($y>0,$x)),FFillNan(Select($y>0,$y)),Select($y>0,$x))/DayLast(Select($y>0,$x))"
    (root,) = build_plan([text]).roots
    assert isinstance(root, FewerRows) and list(root.regions) == [root.root]
    assert str(root) == text.replace("$y>0", "Gt($y,0)").replace("If", "Div(If").replace("/DayLast", ",DayLast") + ")"


# ------------------------------------------------------------------------------------------------ laws
PAST = [
    "IsNull($x)",
    "IsInf($x)",
    "FFillNan($x)",
    "Date($x)",
    "Cut($x,3,-2)",
    "DayCumsum($x,'0:00','23:59')",
    "DayCumsum($x,'10:10','13:00',30)",
    *(f"TResample($x,'{freq}','{func}')" for freq, func in zip(STRETCHES, STATISTICS, strict=True)),
    "Select($x>$y,$y)",
    "Mean(Select($x>$y,$y),3)+$x",
    "EMA(Select($x>$y,$y),4)",
    "Mean(DayCumsum($x,'0:00','23:59'),3)-TResample(Ref($y,2),'day','max')",
    "DayCumsum(Select($x>$y,$x),'0:00','23:59')/DayCumsum($y,'0:00','23:59')",
    "FFillNan(Select(IsNull(Ref($x,1)),$y))",
]
FUTURE = [
    "BFillNan($x)",
    "DayLast($x)",
    "DayLast(Ref($x,3))",
    "Mean(DayLast($x),2)",
    "Ref(Select($x>0,$x),-1)",
    "DayLast(Select($x>$y,$y))",
]


@given(panel=markets(), data=st.data())
@quiet
def test_days_gaps_and_rows_left_out_do_not_know_the_future(panel, data):
    plan = build_plan(PAST)
    assert plan.span.ahead == 0
    whole = evaluate(plan, panel)
    last = data.draw(st.integers(0, len(panel.around.times) - 1))
    early, kept = panel.between(0, last)
    poisoned = {name: np.full_like(values, np.inf) for name, values in panel.columns.items()}
    for name, values in panel.columns.items():
        poisoned[name][kept] = values[kept]
    late = evaluate(plan, replace(panel, columns=poisoned))
    for text, full, prefix, spoilt in zip(PAST, whole, evaluate(plan, early), late, strict=True):
        np.testing.assert_array_equal(full[kept], prefix, err_msg=text)
        np.testing.assert_array_equal(full[kept], spoilt[kept], err_msg=text)


@pytest.mark.parametrize("text", FUTURE)
def test_what_looks_ahead_without_a_bound_says_so(text):
    assert build_plan([text]).span.ahead == EVERYTHING
    assert "ahead everything" in explain(text)


@given(panel=markets(), data=st.data())
@quiet
def test_the_last_value_of_a_day_does_not_know_the_next_day(panel, data):
    times, dates = panel.around.times, panel.around.times.astype("datetime64[D]")
    last = data.draw(st.sampled_from(np.flatnonzero(np.append(np.diff(dates) > np.timedelta64(0), True)).tolist()))
    assert last == len(times) - 1 or dates[last] < dates[last + 1]
    plan = build_plan(["DayLast($x)", "TResample($x,'day','mean')"])
    early, kept = panel.between(0, last)
    for full, prefix in zip(evaluate(plan, panel), evaluate(plan, early), strict=True):
        np.testing.assert_array_equal(full[kept], prefix)


@given(panel=markets(), data=st.data(), text=st.sampled_from([*PAST, *FUTURE]))
@settings(quiet, max_examples=300)
def test_a_value_depends_neither_on_the_query_nor_on_how_little_is_loaded(panel, data, text):
    """The calendar tells what a day needs: nothing more is loaded, and every bit is the same."""
    low = data.draw(st.integers(0, len(panel.around.times) - 1))
    high = data.draw(st.integers(low, len(panel.around.times) - 1))
    plan = build_plan([text])
    (full,) = evaluate(plan, panel)
    first, last = positions_needed(plan, low, high, panel.around.times)
    assert 0 <= first <= low <= high <= last < len(panel.around.times)
    loaded, rows = panel.between(first, last)
    (got,) = evaluate(plan, loaded, query=(low, high))
    positions = panel.positions()
    inside = (positions >= low) & (positions <= high)
    np.testing.assert_array_equal(got[inside[rows]], full[inside], err_msg=text)


def test_a_day_is_all_that_a_day_needs():
    times = pd.date_range("2024-01-01", periods=10 * 24, freq="h").to_numpy()
    asked = {
        "DayLast($x)": (120, 143),
        "DayCumsum($x)": (120, 130),
        "TResample($x,'6h','sum')": (126, 130),
        "TResample($x,'week','sum')": (0, 130),
        "Mean(DayCumsum($x),12)": (96, 130),
        "DayCumsum(Mean($x,12))": (109, 130),
        "FFillNan($x)/DayLast($x)": (0, 143),
        "BFillNan($x)": (130, 239),
        "Mean(Select($y>0,$x),3)": (0, 130),
        "Select($y>0,Mean($x,3))": (128, 130),
    }
    for text, positions in asked.items():
        assert positions_needed(build_plan([text]), 130, 130, times) == positions, text


# ------------------------------------------------------------------------------------------------ by Qlib's rules
QLIB = {  # over the rows that the query loads
    "FFillNan($x)": lambda x, y: x.ffill(),
    "BFillNan($x)": lambda x, y: x.bfill(),
    "DayLast($x)": lambda x, y: by_day(x).transform("last"),
    "Cut($x,None,-3)": lambda x, y: x.iloc[:-3],
    "Cut(Abs($x),2,None)+$y": lambda x, y: x.abs().iloc[2:] + y,
    "Ref(Cut($x,1,-1),2)": lambda x, y: x.iloc[1:-1].shift(2),
    "TResample($x,'day','count')": lambda x, y: by_day(x.where(np.isfinite(x))).transform("count")[
        ~pd.Index(x.index.date).duplicated()
    ],
}
AROUND = {"Cut($x,None,-3)": (0, 3), "Cut(Abs($x),2,None)+$y": (2, 0), "Ref(Cut($x,1,-1),2)": (3, 1)}


@pytest.mark.parametrize("text", QLIB)
@given(panel=markets(), data=st.data())
@quiet
def test_by_qlibs_rules_a_value_knows_the_query(text, panel, data):
    low = data.draw(st.integers(0, len(panel.around.times) - 1))
    high = data.draw(st.integers(low, len(panel.around.times) - 1))
    plan = build_plan([text], compat="qlib")
    back, ahead = AROUND.get(text, (0, 0))
    assert (plan.span.back, plan.span.ahead) == (back, ahead)
    (got,) = evaluate(plan, panel, query=(low, high))
    loaded, at = panel.between(max(low - back, 0), high + ahead)
    for rows, x, y in each(loaded):
        if len(x):
            same(got[at[rows]], QLIB[text](x, y).reindex(x.index), what=text)


@given(data=st.data(), minutes=st.sampled_from([5, 10, 30]))
@quiet
def test_by_qlibs_rules_the_sum_of_a_day_counts_the_bars_of_a_chinese_day(data, minutes):
    clock = [*range(570, 690, minutes), *range(780, 900, minutes)]
    times = np.array(
        [pd.Timestamp("2024-01-01") + pd.Timedelta(days=day, minutes=m) for day in range(3) for m in clock],
        dtype="datetime64[ns]",
    )
    x = data.draw(arrays("f4", len(times), elements=plain | odd))
    panel = Panel(("a",), np.array([0, len(times)]), np.array([0]), {"x": x}, Surroundings(times=times))
    text = f"DayCumsum($x,'10:02','14:31',{minutes})"
    (got,) = evaluate(build_plan([text], compat="qlib"), panel)
    first, last = 32 // minutes, (120 + 91) // minutes
    for day in range(3):
        rows = slice(day * len(clock), (day + 1) * len(clock))
        own = pd.Series(x[rows].astype("f8"))
        own[:first] = 0
        with np.errstate(invalid="ignore"):
            own = own.cumsum()
        own[last + 1 :] = 0
        same(got[rows], own, rtol=1e-5, atol=1e-2)
    whole, kept = panel.between(0, len(times) - 2)
    with pytest.raises(InputError, match=r"received \d+ rows of a on 2024-01-03; Qlib takes whole days of 240 /"):
        evaluate(build_plan([text], compat="qlib"), whole)
    assert len(evaluate(build_plan([text]), whole)[0]) == len(kept)


# ------------------------------------------------------------------------------------------------ what is refused
@pytest.mark.parametrize(
    ("text", "compat", "said"),
    [
        ("DayCumsum($x,'25:00')", None, "start must be a time of the day in quotes, from '0:00' to '23:59', received"),
        ("DayCumsum($x,9)", None, "start must be a time of the day"),
        ("DayCumsum($x,'14:00','10:00')", None, "end must not be before start, received 14:00 and 10:00"),
        ("DayCumsum($x,'9:30','14:59',1.5)", None, "data_granularity must be a whole number of minutes"),
        ("DayCumsum($x,'9:30','14:59',0)", None, "data_granularity must be a number from 1 to 1440, received 0"),
        ("DayCumsum($x,'12:00')", "qlib", "received 12:00, when the market is closed"),
        ("Cut($x,-1)", None, "left must be None or a whole number from 1 to 10000000, received -1"),
        ("Cut($x,0)", None, "left must be None or a whole number from 1"),
        ("Cut($x,1,2)", None, "right must be None or a whole number from -10000000 to -1, received 2"),
        ("Cut($x,1.5)", None, "left must be None or a whole number"),
        ("Cut(left=3)", None, "lacks feature"),
        ("Cut($x,1,-1,2)", None, "received 4 arguments"),
        ("Select($x,$y)", "qlib", "Qlib takes a condition such as"),
        ("Select($x>0)", None, "lacks feature"),
        ("TResample($x,'36h','sum')", None, "hours up to a day, or whole days"),
        ("TResample($x,'0D','sum')", None, "received '0D'"),
        ("TResample($x,'5 weeks','sum')", None, "freq must be a number and s, min, h, D, W, M, Q or Y"),
        ("TResample($x,'2dayz','sum')", None, "did you mean day"),
        ("TResample($x,'D','ohlc')", None, "func must be one of first, last, sum"),
    ],
)
def test_what_makes_no_sense_is_refused_with_what_is_allowed(text, compat, said):
    with pytest.raises(ExpressionError, match=said):
        build_plan([text], compat=compat)


@pytest.mark.parametrize("text", ["Date($x)", "DayLast($x)", "DayCumsum($x)", "TResample($x,'D','last')"])
def test_a_panel_without_times_is_told_what_it_lacks(text):
    panel = Panel(("a",), np.array([0, 1]), np.array([0]), {"x": np.float32([1])})
    name = text.split("(")[0]
    with pytest.raises(MissingDataError, match=f"{name} needs the times of the rows"):
        evaluate(build_plan([text]), panel)


def test_an_empty_panel_has_no_days():
    nothing = Panel((), np.array([0]), np.array([], dtype=np.int64), {"x": np.empty(0, "f4"), "y": np.empty(0, "f4")})
    nothing = replace(nothing, around=Surroundings(times=np.empty(0, "datetime64[ns]")))
    texts = [*PAST, *FUTURE]
    assert [len(v) for v in evaluate(build_plan(texts), nothing)] == [0] * len(texts)


def test_every_text_can_be_read_again():
    for text in [*PAST, *FUTURE, *SENTENCES]:
        (root,) = build_plan([text]).roots
        assert build_plan([str(root)]).roots == (root,)
