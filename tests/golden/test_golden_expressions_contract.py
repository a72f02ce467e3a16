"""The 238 expression results of the contract, by Qlib's rules and by ours; every difference is named."""

from __future__ import annotations

import functools
import json

import numpy as np
import pytest
from conftest import shared

from qlib.data.expression import build_plan, evaluate
from qlib.data.panel import Panel
from qlib.errors import ExpressionError

NOT_BUILT = ("Mask(", "ChangeInstrument(", "TResample(")  # issue 3; point-in-time formulas: test_golden_pit.py
# Where the default differs from Qlib on purpose: the trap of facts/traps.md, or the quirk, that it cures.
DELIBERATE = {
    "WMA($n,0)": "wma_divided_by_n",
    "WMA($n,4)": "wma_divided_by_n",
    "WMA($n,10)": "wma_divided_by_n",
    "WMA($close,0)": "wma_divided_by_n",
    "WMA($close,4)": "wma_divided_by_n",
    "WMA($close,10)": "wma_divided_by_n",
    "EMA($n,0)": "ema0_nan_as_zero",
    "IdxMax($n,0)": "idx_nan_wins",
    "IdxMax($n,4)": "idx_nan_wins",
    "IdxMax($n,10)": "idx_nan_wins",
    "IdxMin($n,0)": "idx_nan_wins",
    "IdxMin($n,4)": "idx_nan_wins",
    "IdxMin($n,10)": "idx_nan_wins",
    "Ref($n,0)": "trap 10",
    "Ref($close,0)": "trap 10",
    "Ref($lin,0)": "trap 10",
    "Std($n,0.3)": "fractional_window_is_ewm_mean",
    "If($n,1,0)": "nan_condition_true",
    "Slope(1/($n-4),3)": "trap 12",
    "EMA($lin,5)": "trap 10",
    "Delta($lin,2)": "trap 10",
    "Mean($lin,0)": "trap 10",
}
# Formulas that Qlib refuses and the default computes.
ALLOWED_HERE = {"-$n", "$n//2", "$n%2", "Corr($n,$lin,0)"}
# Formulas that Qlib refuses because two operands cover different rows: here a missing row is a missing value.
ALIGNED_HERE = {"$missing>$close", "If($n>3,$close,$missing)", "Corr($close,$missing,3)"}


@functools.cache
def golden() -> dict:
    return json.loads(shared("contract/golden/expressions.json").read_text())


def numbers(values) -> np.ndarray:
    return np.array([np.nan if v is None else v for v in values], dtype=float)


def panel(low: float, high: int, reads) -> Panel:
    """Rows low ... high of the contract's instrument aaa."""
    fields = golden()["instruments"]["aaa"]["fields"]
    low, high = int(max(low, 0)), min(high, 39)
    columns = {r: numbers(fields.get(r, [None] * 40))[low : high + 1].astype("f4") for r in reads}
    return Panel(("aaa",), np.array([0, high - low + 1]), np.array([low]), columns)


def cases(part: str) -> list[dict]:
    return [case for case in golden()[part] if not any(word in case["expr"] for word in NOT_BUILT)]


def computed(case: dict, compat: str | None) -> tuple[np.ndarray, np.ndarray]:
    plan = build_plan([case["expr"]], compat=compat)
    first, last = case["query"]
    rows = panel(first - plan.span.back, last + plan.span.ahead, plan.reads)
    (values,) = evaluate(plan, rows, query=(first, last))
    got = values[first - int(rows.first[0]) :][: last - first + 1]
    assert values.dtype == np.float32
    return got, numbers(case["values"]) if case["start"] is not None else np.full(len(got), np.nan)


def differs(case: dict, compat: str | None) -> bool:
    got, wanted = computed(case, compat)
    if case["expr"].startswith(("Skew", "Kurt")):  # a constant window depends on the pandas that Qlib ran on
        counts = ~(np.isnan(wanted) & np.isin(got, [0, -3]))
        got, wanted = got[counts], wanted[counts]
    return not np.allclose(got, wanted, rtol=1e-5, atol=2e-6, equal_nan=True)


def test_compat_gives_qlibs_numbers_for_every_formula():
    wrong = [case["expr"] for part in ("full_range", "partial_range") for case in cases(part) if differs(case, "qlib")]
    assert len(cases("full_range")) + len(cases("partial_range")) == 199
    assert wrong == []


def test_the_default_differs_where_it_is_meant_to_and_nowhere_else():
    wrong = {case["expr"] for part in ("full_range", "partial_range") for case in cases(part) if differs(case, None)}
    assert wrong == set(DELIBERATE)


def test_what_qlib_refuses_is_refused_or_named():
    allowed = {None: ALLOWED_HERE | ALIGNED_HERE, "qlib": ALIGNED_HERE}
    for compat, fine in allowed.items():
        for case in golden()["errors"]:
            if case["expr"] in fine:
                build_plan([case["expr"]], compat=compat)
                continue
            with pytest.raises(ExpressionError):
                build_plan([case["expr"]], compat=compat)


def test_operators_of_a_later_issue_are_unknown_rather_than_wrong():
    later = [c["expr"] for part in ("full_range",) for c in golden()[part] if c not in cases(part)]
    assert later
    for text in later:
        with pytest.raises(ExpressionError, match="no operator"):
            build_plan([text])
