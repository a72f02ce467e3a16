"""Plans, the engine, explain, panels; and what compat="qlib" changes."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from qlib.contrib.data.loader import Alpha158DL
from qlib.data.expression import (
    EVERYTHING,
    OPERATORS,
    Registry,
    Span,
    build_plan,
    evaluate,
    evaluate_block,
    explain,
    parse,
)
from qlib.data.expression.operators.rolling import Windowed
from qlib.data.panel import Panel
from qlib.errors import ExpressionError, MissingDataError

nan, inf = np.nan, np.inf


def one(**columns) -> Panel:
    """One instrument, from calendar position 0."""
    rows = len(next(iter(columns.values())))
    return Panel(("A",), np.array([0, rows]), np.array([0]), {k: np.array(v, "f4") for k, v in columns.items()})


def value(text: str, panel: Panel, *, compat=None, query=None) -> list[float]:
    return evaluate(build_plan([text], compat=compat), panel, query=query)[0].tolist()


# ------------------------------------------------------------------------------------------------ plan
def test_a_plan_shares_work_between_fields_and_knows_what_it_needs():
    plan = build_plan(["Mean($Close,5)/$close", "Std($volume,20)", "Ref(Mean( $close , 5),-2)", "$close"])
    assert [str(step.node) for step in plan.steps].count("Mean($close,5)") == 1
    assert plan.reads == ("close", "volume")
    assert plan.span == Span(back=19, ahead=2)
    assert plan.spans == (Span(4, 0), Span(19, 0), Span(4, 2), Span(0, 0))
    assert plan.fields == ("Mean($Close,5)/$close", "Std($volume,20)", "Ref(Mean( $close , 5),-2)", "$close")


def test_registers_are_few_and_used_again():
    fields = Alpha158DL.get_feature_config()[0]
    plan = build_plan(fields)
    (phase,) = plan.phases
    values = sum(not word.startswith("store") for word in phase.compiled.words)
    assert len(phase.compiled.words) - values == len(fields)
    assert phase.compiled.program.slots < values / 2


@pytest.mark.parametrize(
    ("text", "right", "qlib"),
    [
        ("Ref(Ref($c,-1),1)", Span(1, 1), Span(1, 1)),
        ("Mean(Ref($c,-2),5)", Span(4, 2), Span(4, 2)),
        ("Slope(Mean($c,3),4)", Span(5, 0), Span(5, 0)),
        ("Mean($c,0.3)", Span(EVERYTHING, 0), Span(37, 0)),
        ("Std($c,0.3)", Span(37, 0), Span(37, 0)),
        ("Mean($c,0)", Span(EVERYTHING, 0), Span(0, 0)),
        ("Corr($c,Ref($d,2),5)", Span(6, 0), Span(6, 0)),
        ("EMA($c,5)", Span(EVERYTHING, 0), Span(4, 0)),
        ("Delta($c,5)", Span(5, 0), Span(4, 0)),
        ("Delta($c,-1)", Span(0, 1), Span(0, 0)),
        ("Ref($c,0)", Span(0, 0), Span(0, 0)),
        ("If($c>Ref($c,3),$c,Ref($d,-1))", Span(3, 1), Span(3, 1)),
        ("$c/2", Span(0, 0), Span(0, 0)),
    ],
)
def test_spans_name_every_row_a_value_depends_on(text, right, qlib):
    assert build_plan([text]).span == right
    assert build_plan([text], compat="qlib").span == qlib


def test_a_plan_travels_to_another_process():
    plan = pickle.loads(pickle.dumps(build_plan(["Mean($x,3)/$x", "$x>1"], compat="qlib")))
    assert plan.fields == ("Mean($x,3)/$x", "$x>1") and plan.compat == "qlib"
    assert evaluate(plan, one(x=[1, 2, 4]))[1].tolist() == [0, 1, 1]


def test_fields_are_texts_or_whatever_prints_as_one():
    class Said:
        def __str__(self):
            return "Mean($x,2)"

    assert build_plan([Said()]).fields == ("Mean($x,2)",)
    with pytest.raises(ExpressionError, match="a list of formulas, received one text"):
        build_plan("$close")
    with pytest.raises(ExpressionError, match="None or 'qlib', received 'qlib1'"):
        build_plan(["$x"], compat="qlib1")
    assert build_plan([]).reads == ()


def test_a_registry_grows_without_the_package_noticing():
    class Twice(Windowed):
        """Mean under another name."""

        __slots__ = ()
        name = "Twice"
        kernel = "mean"

    registry = OPERATORS.copy()
    registry.register(Twice)
    assert evaluate(build_plan(["Twice($x,2)"], registry=registry), one(x=[1, 3]))[0].tolist() == [1, 2]
    with pytest.raises(ExpressionError, match="no operator is called Twice"):
        build_plan(["Twice($x,2)"])
    with pytest.raises(ExpressionError, match="no operator is called Mean"):
        build_plan(["Mean($x,2)"], registry=Registry())


# ------------------------------------------------------------------------------------------------ engine
def test_the_result_is_one_float32_block_in_the_order_of_the_fields():
    panel = one(x=[1, 2, 4], y=[1, 1, 1])
    plan = build_plan(["$x>1", "Mean($x,2)", "$y", "$x", "$x", "If($x>1,1,0)", "Ref($x>1,1)"])
    block = evaluate_block(plan, panel)
    assert block.dtype == np.float32 and block.shape == (7, 3) and block.flags.c_contiguous
    assert np.nan_to_num(block, nan=9).tolist() == [
        [0, 1, 1],
        [1, 1.5, 3],
        [1, 1, 1],
        [1, 2, 4],
        [1, 2, 4],
        [0, 1, 1],
        [9, 0, 1],
    ]
    assert [row.tolist() for row in evaluate(plan, panel)][:6] == block.tolist()[:6]


def test_the_panel_is_never_written_to():
    panel = one(x=[1, 2, nan, 4], y=[2, 2, 2, 2])
    before = {name: values.copy() for name, values in panel.columns.items()}
    for values in panel.columns.values():
        values.flags.writeable = False
    evaluate(build_plan(["$x", "$x+$y", "Abs($x)-$x", "Mean($x,2)", "Delta($x,1)", "If($x>1,$x,$y)"]), panel)
    for name, values in panel.columns.items():
        np.testing.assert_array_equal(values, before[name])


def test_a_column_that_the_panel_lacks_is_named():
    with pytest.raises(MissingDataError, match="holds no column volume; it holds close"):
        evaluate(build_plan(["$volume"]), one(close=[1]))


def test_columns_of_any_layout_are_read_right():
    table = np.arange(12, dtype="f4").reshape(6, 2)
    panel = Panel(("A", "B"), np.array([0, 2, 6]), np.array([0, 0]), {"x": table[:, 0], "y": table[:, 1].astype("f8")})
    assert value("$x+$y", panel) == [1, 5, 9, 13, 17, 21]


def test_dtypes_are_those_of_the_contract():
    kinds = {
        "$x": "float32",
        "$x+1": "float32",
        "Log($x)": "float32",
        "Ref($x,1)": "float32",
        "Delta($x,1)": "float32",
        "Mean($x,5)": "float64",
        "Mean($x,5)/$x": "float64",
        "$x>1": "bool",
        "($x>1)&($x<2)": "bool",
        "($x>1)+($x<2)": "bool",
        "If($x>1,1,0)": "int64",
        "If($x>1,$x,0)": "float32",
        "If($x>1,1.5,2)": "float64",
        "Ref($x>1,1)": "flag",
        "($x>1)*2": "int64",
        "($x>1)/2": "float64",
        "Sign($x>1)": "float32",
        "Log($x>1)": "float32",
        "($x>1)**2": "float64",
        "If($x>1,1,0)&1": "int64",
        "Not(If($x>1,1,0))": "int64",
    }
    assert {text: parse(text).dtype for text in kinds} == kinds


def test_float32_arithmetic_stays_float32():
    assert value("($x+1e-12)-$x", one(x=[1e5])) == [0]
    assert value("$x*$y-1e8", one(x=[1e4], y=[1e4 + 0.001])) == [8.0]  # 100000008 is the nearest float32


def test_numbers_and_booleans_mix_as_numpy_has_it():
    panel = one(x=[1, -2, nan, 0])
    assert value("($x>0)+($x>-3)", panel) == [1, 1, 0, 1]
    assert value("($x>0)*2-1", panel) == [1, -1, -1, -1]
    assert value("2**If($x>0,1,-1)", panel) == [2, 0.5, 0.5, 0.5]
    assert value("If($x>0,7,0)//0", panel)[0] == inf
    assert value("Ref($x>0,1)|($x>5)", panel) == [0, 1, 0, 0]
    assert value("Not(Ref($x>0,1))", panel) == [1, 0, 1, 1]
    assert value("Mean($x>0,2)", panel) == [1, 0.5, 0, 0]
    assert value("Delta($x>0,1)", panel)[1:] == [-1, 0, 0]


@pytest.mark.parametrize("text", ["$x**0", "1**$x", "Or(2,$x>1)", "And(3,$x>1)", "Not(If($x>1,1,0))"])
def test_what_makes_numbers_of_missing_values_makes_none_before_the_listing(text):
    """A instrument that stands beside an older one: the rows that it does not have count nowhere."""
    panel = Panel(("A", "B"), np.array([0, 4, 6]), np.array([3, 0]), {"x": np.arange(1, 7).astype("f4")})
    assert value(f"Count({text},3)", panel) == [1, 2, 3, 3, 1, 2]
    assert np.isnan(value(f"Ref({text},1)", panel)).tolist() == [True, False, False, False, True, False]


def test_windows_stop_at_the_borders_of_an_instrument():
    panel = Panel(("A", "B"), np.array([0, 3, 5]), np.array([0, 7]), {"x": np.array([1, 2, 3, 10, 20], "f4")})
    assert value("Sum($x,3)", panel) == [1, 3, 6, 10, 30]
    assert np.nan_to_num(value("Ref($x,1)", panel), nan=-1).tolist() == [-1, 1, 2, -1, 10]
    assert np.nan_to_num(value("Ref($x,-2)", panel), nan=-1).tolist() == [3, -1, -1, -1, -1]


# ------------------------------------------------------------------------------------ right by default, Qlib on request
@pytest.mark.parametrize(
    ("text", "x", "right", "qlib"),
    [
        ("WMA($x,4)", [4, 4, 4, 6], [4, 4, 4, 4.8], [4, 2, 4 / 3, 1.2]),
        ("WMA($x,2)", [4, nan, 6], [4, 4, 6], [4, 4 / 3, 4]),
        ("IdxMax($x,3)", [1, nan, 3, 2], [1, 1, 3, 2], [1, 2, 2, 1]),
        ("IdxMin($x,3)", [1, nan, 3, 2], [1, 1, 1, 3], [1, 2, 2, 1]),
        ("EMA($x,0)", [nan, 1], [nan, 1], [nan, 0.75]),
        ("Ref($x,0)", [3, 4, 5], [3, 4, 5], [3, 3, 3]),
        ("If($x,1,0)", [nan, 0, 2], [0, 0, 1], [1, 0, 1]),
        ("Count($x,2)", [1, inf, nan], [1, 1, 0], [1, 2, 1]),
        ("Max($x,0.5)", [4, 2, 2], [4, 4, 4], [4, 8 / 3, 16 / 7]),
        ("Slope($x,2)", [1, 2, inf, 4, 5], [nan, 1, nan, nan, 1], [nan, 1, nan, nan, nan]),
        ("Skew($x,3)", [1, 1, 1], [nan] * 3, [nan, nan, 0]),
        ("Kurt($x,4)", [1, 1, 1, 1], [nan] * 4, [nan, nan, nan, -3]),
        ("Rsquare($x,3)", [1e-6, 2e-6, 3e-6], [nan, 1, 1], [nan, nan, nan]),
        ("Corr($x,Ref($x,1),3)", [1e-6, 2e-6, 3e-6], [nan, nan, 1], [nan, nan, nan]),
    ],
)
def test_a_deliberate_difference(text, x, right, qlib):
    np.testing.assert_allclose(value(text, one(x=x)), right, rtol=1e-6)
    np.testing.assert_allclose(value(text, one(x=x), compat="qlib"), qlib, rtol=1e-6)


@pytest.mark.parametrize("compat", [None, "qlib"])
def test_the_average_of_one_value_is_that_value_whatever_came_before(compat):
    x = np.array([1e30, 1e-12, nan, 0.1, -1e30, 3], "f4")
    np.testing.assert_array_equal(value("EMA($x,1)", one(x=x), compat=compat), np.where(np.isnan(x), x[1], x))


def test_a_logarithm_is_right_to_its_last_digit_and_numpys_under_compat():
    x = np.exp(np.random.default_rng(0).uniform(-20, 20, 20_000)).astype("f4")
    exact = np.log(x.astype("f8"))
    assert (np.abs(value("Log($x)", one(x=x)) - exact) <= np.spacing(np.abs(exact).astype("f4"))).all()
    np.testing.assert_array_equal(value("Log($x)", one(x=x), compat="qlib"), np.log(x))


@pytest.mark.parametrize("text", ["EMA($x,3)", "Delta($x,2)", "Mean($x,0)", "Ref($x,0)", "Mean($x,0.4)"])
def test_values_know_the_query_under_compat_only(text):
    panel = one(x=[1, 4, 2, 8, 5, 7, 3, 9])
    whole = {compat: np.array(value(text, panel, compat=compat)) for compat in (None, "qlib")}
    np.testing.assert_array_equal(value(text, panel, query=(4, 6)), whole[None])
    inside = value(text, panel, compat="qlib", query=(4, 6))
    span = build_plan([text], compat="qlib").span
    alone = panel.between(4 - span.back, 6 + span.ahead)[0]
    np.testing.assert_array_equal(inside[4:7], value(text, alone, compat="qlib")[-3:])
    if "0.4" not in text:
        assert not np.array_equal(inside[4:7], whole["qlib"][4:7], equal_nan=True)


def test_fields_of_one_compat_query_do_not_lend_each_other_rows():
    panel = one(x=[1, 4, 2, 8, 5, 7, 3, 9])
    together = evaluate(build_plan(["EMA($x,3)", "Ref($x,4)", "Mean($x,0)"], compat="qlib"), panel, query=(4, 6))
    for text, got in zip(["EMA($x,3)", "Ref($x,4)", "Mean($x,0)"], together, strict=True):
        np.testing.assert_array_equal(got[4:7], value(text, panel, compat="qlib", query=(4, 6))[4:7])


def test_delta_with_the_future_stays_inside_the_query():
    panel = one(x=[1, 2, 4, 8, 16])
    assert value("Delta($x,-1)", panel, query=(1, 3))[1:3] == [-2, -4]
    assert np.isnan(value("Delta($x,-1)", panel, query=(1, 3))[3])
    assert value("Delta($x,-1)", panel)[:4] == [-1, -2, -4, -8]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Delta($x,-1)", [-2, -4, nan]),
        ("Ref($x,-2)+Delta($x,-1)", [6, 12, 24]),  # two rows more are loaded, and Delta sees them
        ("Ref(Delta($x,-1),-1)", [-4, -8, nan]),
    ],
)
def test_delta_beside_a_reference_ahead_sees_under_compat_what_that_loads(text, wanted):
    panel = one(x=[1, 2, 4, 8, 16, 32])
    np.testing.assert_array_equal(value(text, panel, compat="qlib", query=(1, 3))[1:4], wanted)


# ------------------------------------------------------------------------------------------------ explain
def test_explain_says_what_a_formula_reads_needs_and_runs():
    assert explain("Mean($close, 3)") == "Mean($close,3)  reads $close  back 2  ahead 0  kernel mean  float64"
    assert "back everything  ahead 0  kernel ema" in explain("EMA($close,12)")
    text = explain(["Mean($close,5)/$close", "Ref($close,-2)", "$close"])
    assert text.splitlines() == [
        "Div(Mean($close,5),$close)  reads $close  back 4  ahead 0  kernel div  float64",
        "Ref($close,-2)  reads $close  back 0  ahead 2  kernel shift  float32",
        "$close  reads $close  back 0  ahead 0  kernel column  float32",
        "  0  $close      column  float32  -> field 2",
        "  1  Mean(#0,5)  mean    float64",
        "  2  Div(#1,#0)  div     float64  -> field 0",
        "  3  Ref(#0,-2)  shift   float32  -> field 1",
    ]
    assert "kernel idxmax_gap_first" in explain("IdxMax($close,5)", compat="qlib")


# ------------------------------------------------------------------------------------------------ panel
def test_a_panel_refuses_what_does_not_fit():
    column = {"x": np.zeros(3, "f4")}
    good = (("A", "B"), np.array([0, 1, 3]), np.array([0, 5]))
    assert Panel(*good, column).positions().tolist() == [0, 5, 6]
    for starts, first in [
        ([0, 3], [0, 5]),
        ([0, 4, 3], [0, 5]),
        ([1, 1, 3], [0, 5]),
        ([0, 1, 3], [0, -1]),
        ([0, 1, 3], [0]),
    ]:
        with pytest.raises(ValueError, match="panel"):
            Panel(("A", "B"), np.array(starts), np.array(first), column)
    with pytest.raises(ValueError, match="column x has shape"):
        Panel(*good, {"x": np.zeros(4, "f4")})


def test_between_keeps_the_rows_at_the_positions():
    panel = Panel(("A", "B", "C"), np.array([0, 3, 4, 6]), np.array([2, 9, 4]), {"x": np.arange(6, dtype="f4")})
    inside, rows = panel.between(3, 4)
    assert rows.tolist() == [1, 2, 4] and inside.columns["x"].tolist() == [1, 2, 4]
    assert inside.start.tolist() == [0, 2, 2, 3] and inside.positions().tolist() == [3, 4, 4]
    assert panel.between(-inf, 100)[0].positions().tolist() == panel.positions().tolist()
    assert panel.between(50, 60)[0].rows == 0


def test_tiles_hold_whole_instruments():
    panel = Panel(tuple("ABCD"), np.array([0, 3, 4, 9, 10]), np.zeros(4, int), {"x": np.zeros(10, "f4")})
    assert list(panel.tiles(4)) == [(0, 2), (2, 3), (3, 4)]
    assert list(panel.tiles(100)) == [(0, 4)]
    assert list(Panel((), np.array([0]), np.zeros(0, int), {}).tiles(4)) == []
