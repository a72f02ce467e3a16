"""Bar after bar is the batch: every cell of `Engine.append` has the bits of the batch over all bars."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from formulas import FIELDS, formulas, market, panels, samples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qlib.data.expression import OPERATORS, Engine, build_plan, evaluate, parse
from qlib.data.expression.node import PanelOperator, walk
from qlib.data.panel import Panel, Surroundings
from qlib.errors import ExpressionError, InputError

quiet = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def goes_on(text: str) -> bool:
    root = parse(text)
    opaque = any(isinstance(node, PanelOperator) and not node.across for node in walk(root, everywhere=True))
    return not opaque and not root.span.ahead


def up_to_date(panel: Panel) -> Panel:
    """Return the panel in which every instrument has rows up to the last bar of all."""
    lengths = panel.lengths()
    end = int((panel.first + lengths)[lengths > 0].max(initial=0))
    longer = np.where(lengths > 0, end - panel.first, 0)
    start = np.cumsum([0, *longer])
    columns = {name: np.full(start[-1], np.nan, "f4") for name in panel.columns}
    for i, (low, high) in enumerate(zip(panel.start[:-1], panel.start[1:], strict=True)):
        for name, values in panel.columns.items():
            columns[name][start[i] : start[i] + high - low] = values[low:high]
        # An instrument is listed with its first number.
        if low < high and np.isnan([values[start[i]] for values in columns.values()]).all():
            columns["x"][start[i]] = 1
    return Panel(panel.instruments, start, panel.first, columns, panel.around)


def before(panel: Panel, position: int) -> Panel:
    """Return what stood at calendar positions before `position`."""
    return panel.between(0, position - 1)[0]


def bar(panel: Panel, position: int) -> dict[str, np.ndarray]:
    out = {name: np.full(len(panel.instruments), np.nan, "f4") for name in panel.columns}
    for i, (low, high) in enumerate(zip(panel.start[:-1], panel.start[1:], strict=True)):
        row = low + position - panel.first[i]
        if low <= row < high:
            for name, values in panel.columns.items():
                out[name][i] = values[row]
    return out


def check(texts: list[str], panel: Panel, since: int) -> None:
    panel = up_to_date(panel)
    end = int((panel.first + panel.lengths())[panel.lengths() > 0].max(initial=0))
    batch = np.array(evaluate(build_plan(texts), panel)).reshape(len(texts), panel.rows)
    engine = Engine(texts, before(panel, since))
    positions = panel.positions()
    number = np.repeat(np.arange(len(panel.instruments)), panel.lengths())
    for position in range(engine.position, end):
        members = panel.around.members
        chosen = None
        if members is not None:
            chosen = [n for n in panel.instruments if any(a <= position < b for a, b in members.get(n, [(0, 1 << 60)]))]
        got = engine.append(bar(panel, position), members=chosen)
        here = positions == position
        for field, text in enumerate(texts):
            np.testing.assert_array_equal(got[field][number[here]], batch[field][here], err_msg=f"{text} at {position}")


@pytest.mark.parametrize("window", [0, 1, 4, 7])
@given(panel=panels(longest=25), since=st.integers(0, 30))
@quiet
def test_every_operator_goes_on_as_the_batch(window, panel, since):
    check([text for text in samples(window) if goes_on(text)], panel, since)


@given(
    texts=st.lists(formulas.filter(goes_on), min_size=1, max_size=4), panel=panels(longest=25), since=st.integers(0, 30)
)
@quiet
def test_any_formula_goes_on_as_the_batch(texts, panel, since):
    check(texts, panel, since)


def test_long_histories_windows_and_several_groups():
    texts = ["Mean($x,200)", "Mad($x,0)", "EMA($x,0)", "Rank($y,150)", "Ref($x,40)/$x", "Max($x,600)"]
    texts.append("Std($x,30)/Mean($y,30)")
    check(texts, market(3, instruments=20, rows=700), 650)
    check(texts, market(3, instruments=20, rows=700), 20)


def test_operators_across_instruments_see_the_members_of_the_bar():
    panel = up_to_date(market(5, instruments=12, rows=60))
    members = {name: [(0, 20), (40 + i, 200)] for i, name in enumerate(panel.instruments[:5])}
    panel = Panel(panel.instruments, panel.start, panel.first, panel.columns, Surroundings(members=members))
    texts = ["Mean(CSRank($x/Ref($x,3)-1),5)", "CSZScore(Mean($y,4))", "CSRank(Std(CSDemean($x),5))"]
    texts.append("CSNeutralize($x,$y)")
    check(texts, panel, 30)


def test_a_frame_is_a_bar_and_what_is_missing_in_it_has_no_bar():
    history = Panel(("A", "B", "C"), np.array([0, 2, 4, 4]), np.array([5, 5, 0]), {"close": np.float32([1, 2, 5, 7])})
    engine = Engine(["Mean($close,3)", "Count($close,3)"], history)
    assert engine.position == 7 and engine.fields == ("Mean($close,3)", "Count($close,3)")
    got = engine.append(pd.DataFrame({"$close": [6.0, 9.0]}, index=["A", "C"]))
    np.testing.assert_array_equal(got, [[3, 6, 9], [3, 2, 1]])
    got = engine.append({"close": [np.nan, 1, np.nan]})
    np.testing.assert_array_equal(got, np.float32([[4, 4, 9], [2, 2, 1]]))


@pytest.mark.parametrize("text", ["Ref($x,-1)", "$x/Ref($x,-2)-1", "Delta($x,-1)"])
def test_a_field_that_looks_ahead_is_refused(text):
    with pytest.raises(ExpressionError, match="looks ahead"):
        Engine(["$x", text], market(1))


def test_an_operator_that_needs_more_than_the_bar_is_refused():
    assert "DayCumsum" in OPERATORS
    with pytest.raises(ExpressionError, match="cannot go on bar after bar"):
        Engine(["DayCumsum($x)"], market(1))


def test_what_is_wrong_with_a_bar_is_said():
    engine = Engine([f"${name}" for name in FIELDS], market(1, instruments=4))
    with pytest.raises(InputError, match=r"it lacks y; did you mean yy|it lacks y"):
        engine.append({"x": np.zeros(4), "yy": np.zeros(4)})
    with pytest.raises(InputError, match="one number for each of the 4 instruments"):
        engine.append({"x": np.zeros(3), "y": np.zeros(4)})
    with pytest.raises(InputError, match="has no instrument i9"):
        engine.append(pd.DataFrame({"x": [1.0], "y": [1.0]}, index=["i9"]))
