"""P and PRef against a sentence a person can check: day by day, what was known, nothing else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from formulas import naive
from hypothesis import given, settings
from hypothesis import strategies as st

from qlib.data.expression import build_plan, evaluate, parse
from qlib.data.expression.inner import SomeRows
from qlib.data.expression.operators import pit
from qlib.data.panel import Panel, Surroundings
from qlib.data.periods import Records

DAYS = 14  # of the calendar
FIRST = 8072  # 201801
QUARTERS = 6
Announced = list[tuple[int, int, float]]  # (known from, period, value), in the order of announcement
Histories = list[dict[str, Announced | None]]  # per instrument: what was announced of each field

values = st.sampled_from([np.nan, 0.1, -3.0]) | st.floats(2**-6, 2**12, width=32)
announced = st.lists(
    st.tuples(st.integers(0, DAYS + 2), st.integers(FIRST, FIRST + QUARTERS - 1), values), max_size=9
).map(lambda many: sorted(many, key=lambda one: one[0]))
histories: st.SearchStrategy[Histories] = st.lists(
    st.fixed_dictionaries({"a_q": st.none() | announced, "b_q": announced}), min_size=1, max_size=3
)
formulas = st.sampled_from(
    [
        "$$a_q",
        "Ref($$a_q,1)",
        "Ref($$a_q,4)",
        "Delta($$a_q,1)",
        "Mean($$a_q,2)",
        "Sum($$a_q,4)-$$a_q",
        "Std($$a_q,3)",
        "Count($$a_q,0)",
        "EMA($$a_q,3)",
        "Sum($$a_q,0)",
        "Mean(Ref($$a_q,1),2)*$$a_q",
        "Rank($$a_q,3)",
        "IdxMax($$a_q,4)",
        "Slope($$a_q,4)",
        "$$a_q>1",
        "If($$a_q>1,$$b_q,0-$$a_q)",
        "$$a_q*2+$$b_q",
        "Mean($$a_q,2)-Mean($$b_q,3)",
        "Cov($$a_q,$$b_q,4)",
        "Greater($$a_q,Ref($$b_q,1))",
    ]
)
many = settings(max_examples=150, deadline=None)


def panel(histories: Histories, first: list[int], days: int = DAYS) -> Panel:
    """Instruments of which point-in-time data are all that is known, from their first day on."""
    names = tuple(f"i{k}" for k in range(len(histories)))
    table = dict(zip(names, histories, strict=True))

    def periods(name: str, field: str) -> Records | None:
        found = table[name][field]
        if found is None:
            return None
        known, period, value = zip(*found, strict=True) if found else ((), (), ())
        return Records(np.array(known, "i8"), np.array(period, "i8"), np.array(value, "f8"))

    start = np.cumsum([0, *(days - day for day in first)])
    return Panel(names, start, np.array(first), {}, Surroundings(periods=periods))


def known_on(day: int, records: Announced | None) -> dict[int, float]:
    """What is known on a day: of every period the value announced last."""
    return {period: value for known, period, value in records or [] if known <= day}


def by_day(text: str, history: dict[str, Announced | None], day: int, period: int | None = None) -> float:
    """The formula on one day: a series of periods is made from what is known, and its last value taken."""
    root = parse(text.replace("$$", "$"))
    fields = [name for name in ("a_q", "b_q") if f"$${name}" in text]
    known = {name: known_on(day, history[name]) for name in fields}
    periods = [one for own in known.values() for one in own]
    if not periods or (period is not None and not min(periods) <= period <= max(periods)):
        return np.nan
    axis = range(min(periods), max(periods) + 1) if period is None else [period]
    columns = {name: np.array([own.get(one, np.nan) for one in axis]) for name, own in known.items()}
    series = Panel(("x",), np.array([0, len(axis)]), np.array([0]), columns)
    return float(naive(root, series, 0)[0][-1])


def expected(text: str, histories: Histories, first: list[int], period: int | None = None) -> np.ndarray:
    return np.array(
        [
            by_day(text, history, day, period)
            for history, begin in zip(histories, first, strict=True)
            for day in range(begin, DAYS)
        ]
    )


def first_days(data: st.DataObject, histories: Histories) -> list[int]:
    return [data.draw(st.integers(0, DAYS)) for _ in histories]


@given(data=st.data(), histories=histories, text=formulas)
@many
def test_p_is_the_formula_at_the_newest_period_of_what_was_known(data, histories, text):
    first = first_days(data, histories)
    (got,) = evaluate(build_plan([f"P({text})"]), panel(histories, first))
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, expected(text, histories, first), rtol=2e-5, atol=2e-3)


@given(data=st.data(), histories=histories, text=formulas, quarter=st.integers(-1, QUARTERS))
@many
def test_pref_is_the_formula_at_one_period_of_what_was_known(data, histories, text, quarter):
    first, period = first_days(data, histories), FIRST + quarter
    (got,) = evaluate(build_plan([f"PRef({text},{period // 4 * 100 + period % 4 + 1})"]), panel(histories, first))
    np.testing.assert_allclose(got, expected(text, histories, first, period), rtol=2e-5, atol=2e-3)


@given(data=st.data(), histories=histories, text=formulas, day=st.integers(0, DAYS))
@many
def test_what_is_announced_later_never_changes_the_past(data, histories, text, day):
    first = first_days(data, histories)
    plan = build_plan([f"P({text})", f"PRef({text},201803)", f"Mean(P({text}),3)"])
    (a, b, c), rows = evaluate(plan, panel(histories, first)), panel(histories, first).positions() < day
    early: Histories = [
        {name: own and [one for one in own if one[0] < day] for name, own in one.items()} for one in histories
    ]
    late: Histories = [
        {name: own and [(k, p, v if k < day else np.inf) for k, p, v in own] for name, own in one.items()}
        for one in histories
    ]
    for other in (early, late):
        for got, wanted in zip(evaluate(plan, panel(other, first)), (a, b, c), strict=True):
            np.testing.assert_array_equal(got[rows], wanted[rows])


@given(data=st.data(), histories=histories, text=formulas)
@many
def test_a_value_does_not_depend_on_where_the_query_begins(data, histories, text):
    first = first_days(data, histories)
    low = data.draw(st.integers(0, DAYS))
    whole = panel(histories, first)
    part = panel(histories, [max(low, one) for one in first])
    plan = build_plan([f"P({text})", f"PRef({text},201804)"])
    kept = whole.positions() >= low
    for got, wanted in zip(evaluate(plan, part), evaluate(plan, whole), strict=True):
        np.testing.assert_array_equal(got, wanted[kept])


@given(data=st.data(), histories=histories, text=formulas)
@settings(max_examples=60, deadline=None)
def test_rows_that_are_left_out_change_nothing_on_the_others(data, histories, text):
    whole = panel(histories, first_days(data, histories))
    kept = np.array([data.draw(st.booleans()) for _ in range(whole.rows)], dtype=bool)
    start = np.concatenate([[0], np.cumsum(kept)])[whole.start]
    at = whole.positions()[kept]
    part = SomeRows(whole.instruments, start, whole.first, {}, whole.around, at=at)
    plan = build_plan([f"P({text})", f"PRef({text},201804)"])
    for got, wanted in zip(evaluate(plan, part), evaluate(plan, whole), strict=True):
        np.testing.assert_array_equal(got, wanted[kept])


@given(data=st.data(), histories=histories, text=formulas)
@settings(max_examples=60, deadline=None)
def test_how_many_series_are_computed_at_a_time_changes_no_bit(data, histories, text):
    rows = panel(histories, first_days(data, histories))
    plan = build_plan([f"P({text})"])
    whole = evaluate(plan, rows)[0]
    for size in (1, 3, 10):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(pit, "CHUNK_ROWS", size)
            np.testing.assert_array_equal(evaluate(plan, rows)[0], whole)


@given(histories=histories, text=formulas)
@settings(max_examples=60, deadline=None)
def test_instruments_do_not_know_each_other(histories, text):
    first = [0] * len(histories)
    plan = build_plan([f"P({text})", f"PRef({text},201803)"])
    whole = evaluate(plan, panel(histories, first))
    for i, one in enumerate(histories):
        alone = panel([one], [0])
        for got, wanted in zip(evaluate(plan, alone), whole, strict=True):
            np.testing.assert_array_equal(got, wanted[i * DAYS : (i + 1) * DAYS])


# Under compat, windows of periods are as short as Qlib asks for; where that cannot be seen, both are the same.
SAME = ["$$a_q", "Ref($$a_q,4)", "Mean($$a_q,2)", "Sum($$a_q,4)-$$a_q", "Rank($$a_q,3)", "Slope($$a_q,4)", "$$a_q>1"]


@pytest.mark.parametrize("text", SAME)
@given(data=st.data(), histories=histories)
@settings(max_examples=30, deadline=None)
def test_compat_agrees_where_qlib_asks_for_enough_periods(text, data, histories):
    rows = panel(histories, first_days(data, histories))
    ours, qlibs = (evaluate(build_plan([f"P({text})"], compat=how), rows)[0] for how in (None, "qlib"))
    np.testing.assert_array_equal(ours, qlibs)


def test_compat_restarts_inside_p():
    rows = panel([{"a_q": [(1, FIRST, 1.0), (2, FIRST + 1, 2.0), (3, FIRST + 2, 4.0)], "b_q": []}], [0])
    last = {}
    for how in (None, "qlib"):
        plan = build_plan(["P(EMA($$a_q,2))", "P(Sum($$a_q,0))", "P(Delta($$a_q,1))"], compat=how)
        last[how] = [float(one[-1]) for one in evaluate(plan, rows)]
    assert last[None] == pytest.approx([(4 + 2 / 3 + 1 / 9) / (1 + 1 / 3 + 1 / 9), 7, 2])
    assert last["qlib"] == pytest.approx([(4 + 2 / 3) / (1 + 1 / 3), 4, np.nan], nan_ok=True)


def test_p_nests_with_operators_over_days_and_looks_ahead_when_it_says_so():
    rows = panel([{"a_q": [(3, FIRST, 1.0), (6, FIRST, 3.0)], "b_q": []}, {"a_q": None, "b_q": []}], [0, 5])
    plan = build_plan(["Mean(P($$a_q),2)", "Ref(P($$a_q),-2)", "P($$a_q)>2", "Count(P($$a_q),3)"])
    assert plan.span.ahead == 2 and plan.reads == ()
    mean, ahead, above, count = evaluate(plan, rows)
    nan = np.nan
    np.testing.assert_array_equal(mean[:9], np.float32([nan, nan, nan, 1, 1, 1, 2, 3, 3]))
    np.testing.assert_array_equal(ahead[:14], np.float32([nan, 1, 1, 1, 3, 3, 3, 3, 3, 3, 3, 3, nan, nan]))
    np.testing.assert_array_equal(above[:14], np.arange(14) >= 6)
    assert np.isnan(mean[14:]).all() and not count[14:].any()


def test_a_panel_that_knows_no_periods_says_so():
    rows = replace(panel([{"a_q": None, "b_q": None}], [0]), around=Surroundings())
    with pytest.raises(LookupError, match="Surroundings\\(periods=...\\)"):
        evaluate(build_plan(["P($$a_q)"]), rows)
