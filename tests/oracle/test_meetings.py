"""Instruments computed in groups that meet: the bits of one panel, however they are grouped."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from formulas import panels
from hypothesis import given, settings
from hypothesis import strategies as st

from qlib.data.expression import build_plan
from qlib.data.expression.engine import Wanted
from qlib.data.expression.legacy import evaluate_apart
from qlib.data.expression.meetings import Meetings, answer, evaluate_met
from qlib.data.expression.node import PanelOperator
from qlib.data.expression.parameters import Series
from qlib.data.expression.registry import OPERATORS
from qlib.data.panel import Columns, Panel, Surroundings
from qlib.errors import RunError

TIMES = np.arange("2024-01-01", "2024-02-01", dtype="datetime64[D]").astype("datetime64[ns]")


@st.composite
def formulas(draw, depth=4):
    """Operators across instruments and along time, nested in any order."""
    if depth == 0 or draw(st.integers(0, 4)) == 0:
        return draw(st.sampled_from(["$x", "$y"]))
    one = draw(formulas(depth - 1))
    shape = draw(
        st.sampled_from(
            [
                "CSRank({0})", "CSZScore({0})", "CSDemean({0})", "CSQuantile({0},0.3)", "CSCorr({0},{1})",
                "CSNeutralize({0},{1})", "CSNeutralize({0},{1}>1,'group')",
                "Mean({0},3)", "Ref({0},2)", "Ref({0},-1)", "Delta({0},-2)", "EMA({0},3)", "DayLast({0})",
                "{0}-{1}", "If({0}>{1},{0},{1})", "Select({0}>{1},{1})",
            ]
        )
    )  # fmt: skip
    return shape.format(one, draw(formulas(depth - 1)) if "{1}" in shape else "")


def group(panel: Panel, low: int, high: int) -> Panel:
    """The instruments low ... high - 1, which do not know who is a member when."""
    a, b = panel.start[low], panel.start[high]
    columns = {name: values[a:b].copy() for name, values in panel.columns.items()}
    around = replace(panel.around, members=None)
    return Panel(panel.instruments[low:high], panel.start[low : high + 1] - a, panel.first[low:high], columns, around)


def wanted(columns: Columns, query: tuple[int, int]) -> Wanted:
    low, high = np.maximum(columns.begin, query[0]), np.minimum(columns.end, query[1] + 1)
    return Wanted.ranges(np.arange(len(low)), low, np.maximum(low, high), len(low))


def in_groups(plan, panel: Panel, bounds: list[int], query: tuple[int, int], threads: int = 1) -> np.ndarray:
    meetings = Meetings(plan, query)
    assert meetings.why_not is None
    groups = [Columns.of(group(panel, *pair)) for pair in zip(bounds[:-1], bounds[1:], strict=True)]
    met, own = {}, [{} for _ in groups]
    for stage, questions in enumerate(meetings.questions):
        answers = [
            answer(questions, columns, known, compat=plan.compat, query=query)
            for columns, known in zip(groups, own, strict=True)
        ]
        met = meetings.meet(stage, answers, met, panel.instruments, panel.around, threads)
        split = {room: values.split(np.diff(bounds)) for room, values in met.items()}
        own = [{room: values[i] for room, values in split.items()} for i in range(len(groups))]
    blocks = [
        evaluate_met(meetings.plan, columns, wanted(columns, query), known, query=query)
        for columns, known in zip(groups, own, strict=True)
    ]
    return np.concatenate(blocks, axis=1)


@settings(max_examples=150)
@given(
    panel=panels(),
    fields=st.lists(formulas(), min_size=1, max_size=3),
    cuts=st.sets(st.integers(1, 3)),
    query=st.tuples(st.integers(0, 12), st.integers(0, 12)).map(sorted).map(tuple),
    members=st.none() | st.dictionaries(st.sampled_from(["i0", "i1", "i2"]), st.just([(2, 6), (8, 15)])),
    compat=st.sampled_from([None, "qlib"]),
    threads=st.integers(1, 2),
)
def test_groups_that_meet_have_the_bits_of_one_panel(panel, fields, cuts, query, members, compat, threads):
    panel = replace(panel, around=Surroundings(times=TIMES, members=members, freq="day"))
    plan, columns = build_plan(fields, compat=compat), Columns.of(panel)
    whole = evaluate_apart(plan, columns, wanted(columns, query), query=query)
    count = len(panel.instruments)
    bounds = [0, *sorted(cut for cut in cuts if cut < count), count]
    assert in_groups(plan, panel, bounds, query, threads).tobytes() == whole.tobytes()


@pytest.fixture
def panel() -> Panel:
    values = np.arange(12, dtype=np.float32)
    around = Surroundings(times=TIMES, freq="day")
    return Panel(("a", "b", "c"), np.array([0, 4, 8, 12]), np.array([0, 2, 0]), {"x": values, "y": values % 5}, around)


@pytest.mark.parametrize(
    ("field", "stages"),
    [
        ("Mean($x,3)", 0),
        ("CSRank($x)-CSRank($y)", 1),
        ("Mean(CSRank(Mean($x,3)),3)", 1),
        ("CSRank(CSZScore($x))", 2),
        ("CSCorr(CSRank($x),Mean(CSRank(CSDemean($y)),2))", 3),
    ],
)
def test_instruments_meet_once_for_each_nesting(field: str, stages: int):
    assert len(Meetings(build_plan([field, "$x"]), (0, 9)).questions) == stages


def test_what_two_operators_read_travels_once_and_what_is_met_does_not_travel_again():
    meetings = Meetings(
        build_plan(["CSRank($x)", "CSZScore($x)", "CSDemean(CSRank($x))", "CSRank(CSRank($x)-$y)"]), (0, 9)
    )
    first, second = ([[*map(str, q.needs.values())] for q in stage] for stage in meetings.questions)
    assert first == [["$x"]]
    assert second == [["Sub(CSRank($x),$y)"]]


def test_rows_that_changed_between_two_stages_are_an_error(panel):
    meetings = Meetings(build_plan(["Mean(CSRank($x),2)"]), (0, 9))
    columns = Columns.of(panel)
    answers = [answer(meetings.questions[0], columns, {}, compat=None, query=(0, 9))]
    met = meetings.meet(0, answers, {}, panel.instruments, panel.around)
    later = Columns.of(replace(panel, first=panel.first + 1))
    with pytest.raises(RunError, match="the store changed"):
        evaluate_met(meetings.plan, later, wanted(later, (0, 9)), met, query=(0, 9))


def test_an_operator_that_may_read_more_than_its_arguments_is_not_cut():
    class Strange(PanelOperator):
        __slots__ = ()
        name = "Strange"
        across = True
        parameters = (Series("feature"),)

        def result_dtype(self) -> str:
            return "float64"

        def compute(self, arguments, panel):
            return panel.columns["x"] * 2.0

    why = Meetings(build_plan(["Mean(Strange($x),2)"], registry={**OPERATORS, "Strange": Strange}), (0, 9)).why_not
    assert why == "Strange($x) may read more of the other instruments than its arguments"
