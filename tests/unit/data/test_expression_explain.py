"""What explain tells: rows, shared passes, instructions; and `qlib.explain`, which follows the live session."""

from __future__ import annotations

import pickle
import re

import pytest

import qlib
from qlib.contrib.data.loader import Alpha158DL
from qlib.data.expression import build_plan, explain
from qlib.data.expression.instructions import listing, passes_of
from qlib.data.expression.operators.rolling import Windowed
from qlib.errors import ExpressionError

ALPHA158 = Alpha158DL.get_feature_config()[0]


def lines(*fields: str, **how) -> list[str]:
    return explain(list(fields), **how).splitlines()


def test_the_text_shows_itself():
    text = explain("Mean($close, 3)")
    assert isinstance(text, str) and repr(text) == str(text) == text
    assert pickle.loads(pickle.dumps(text)) == text and type(pickle.loads(pickle.dumps(text))) is type(text)


def test_a_field_names_the_pass_that_it_shares():
    found = lines("Mean($close,20)/$close", "Slope($close,20)", "Std($close,5)", "Max($close,20)")
    assert found[0].endswith("float64  pass line($close,20) with field 1")
    assert found[1].endswith("float64  pass line($close,20) with field 0")
    assert found[2].endswith("float64") and found[3].endswith("float64")


def test_questions_of_one_field_share_a_pass_too():
    assert lines("Mean($close,20)/Std($close,20)")[0].endswith("  pass moments2($close,20)")
    assert lines("Quantile($close,9,0.2)-Quantile($close,9,0.8)")[0].endswith("  pass order($close,9)")


def test_what_is_walked_is_a_step_or_a_column():
    found = lines("Corr($close/Ref($close,1),Log($volume+1),10)", "Cov($close/Ref($close,1),Log($volume+1),10)")
    assert found[0].endswith("  pass pair(#2,#5,10) with field 1")
    assert [line.split()[:2] for line in found[2:] if re.match(r"  [25] ", line)] == [
        ["2", "Div(#0,#1)"],
        ["5", "Log(#4)"],
    ]


def test_many_readers_are_counted():
    found = lines(*(f"Mean($close,20)+{i}" for i in range(20)))
    assert found[3].endswith("  pass moments1($close,20) with fields 0, 1, 2, 4, 5, 6, 7, 8 and 11 more")
    assert not any("pass" in line for line in lines("Mean($close,20)", "Mean($close,20)+1", "$close")[2:])


def test_a_pass_below_an_operator_across_instruments_counts_for_the_fields_above():
    shared = passes_of(build_plan(["Mean(CSRank(Mean($close,5)),3)", "CSRank(Std($close,5))", "CSRank($close)"]))
    assert [[one.text for one in own] for own in shared] == [["moments2($close,5)"]] * 2 + [[]]
    assert shared[0][0].fields == (0, 1)


def test_with_detail_every_kernel_stands_in_order():
    found = lines("Mean($close,20)/Std($close,20)", "Corr($close,Ref($volume,-2),5)", "EMA($close,9)", detail=True)
    at = found.index("program")
    assert [line.split() for line in found[at + 1 :]] == [
        ["%0", "load", "$close", "float32"],
        ["%1", "widen", "%0", "float64"],
        ["%2", "moments2", "%1", "20", "rows", "->", "mean", "std", "float64"],
        ["store_div", "%2.mean", "%2.std", "->", "field", "0"],
        ["%3", "load", "$volume", "float32"],
        ["%4", "shift", "%3", "2", "rows", "ahead,", "2", "behind", "float32"],
        ["%5", "widen", "%4", "2", "behind", "float64"],
        ["%6", "pair", "%1", "%5", "5", "rows,", "2", "behind", "->", "corr(1e-07)", "float64"],
        ["store", "%6", "->", "field", "1"],
        ["%7", "ema", "%1", "by", "0.2", "float64"],
        ["store", "%7", "->", "field", "2"],
    ]


@pytest.mark.parametrize("compat", [None, "qlib"])
def test_the_instructions_are_those_of_the_programs_that_run(compat):
    plan = build_plan([*ALPHA158, "CSRank(Mean($close,5))-CSDemean($close)", "DayLast($close)"], compat=compat)
    told = [line.split() for line in listing(plan) if line.startswith("  ")]
    stores = ("store", "store_div")
    kernels = [words[0] if words[0] in stores else words[1] for words in told]
    run = [word.split()[0] for phase in plan.phases for word in phase.compiled.words]
    # Between the programs: what CSRank reads, and under compat what numpy's logarithms read.
    between = sum(len(phase.roots) for phase in plan.phases[:-1])
    assert kernels == run and sum(map(kernels.count, stores)) == len(plan.fields) + between
    assert between == (3 if compat else 1)
    numbers = [words[0] for words in told if words[0].startswith("%")]
    starts = [i for i, number in enumerate(numbers) if number == "%0"]
    assert len(starts) == len(plan.phases) and len(set(numbers[starts[-1] :])) == len(numbers[starts[-1] :])


def test_what_needs_the_whole_panel_stands_between_the_programs():
    found = lines("CSRank(Mean($close,5))", detail=True)
    between = found.index("then #2 by crosssection.rank")
    assert found[between - 1].split() == ["store", "%2", "->", "step", "#1"]
    assert [line.split()[:3] for line in found[between + 1 :]] == [
        ["program"],
        ["%0", "load", "#2"],
        ["store", "%0", "->"],
    ]


def test_what_runs_for_another_instrument_is_told_too():
    found = lines("Mask(Mean($close,5),'SPY')", "$close", detail=True)
    assert ["%2", "moments1", "%1", "5", "rows", "->", "mean", "float64"] in [
        line.split() for line in found[found.index("at spy") :]
    ]


# ------------------------------------------------------------------------------------------------ qlib.explain
class Twice(Windowed):
    """Mean under another name."""

    __slots__ = ()
    kernel = "mean"


def test_before_a_session_formulas_are_explained_by_the_default_rules():
    assert qlib.explain("IdxMax($close,5)") == explain("IdxMax($close,5)")
    assert "idxmax_gap_first" in qlib.explain("IdxMax($close,5)", compat="qlib")
    assert "program" in qlib.explain(["$close"], detail=True)
    with pytest.raises(ExpressionError, match="no operator is called Twice"):
        qlib.explain("Twice($close,5)")


def test_a_session_decides_rules_and_operators(tmp_path):
    qlib.init(provider_uri=tmp_path, compat="qlib", custom_ops=[Twice], logging_level=50)
    assert "kernel idxmax_gap_first" in qlib.explain("IdxMax($close,5)")
    assert "Twice($close,5)  reads $close  back 4" in qlib.explain("Twice($close,5)")
    with pytest.raises(ExpressionError, match="Qlib has no - before a formula"):
        qlib.explain("-$close")
