"""The 238 expression results of the contract, by Qlib's rules and by ours; every difference is named."""

from __future__ import annotations

import functools
import json

import numpy as np
import pytest
from conftest import shared

from qlib.data.expression import build_plan, evaluate
from qlib.data.expression.ground import Ground
from qlib.data.expression.sites import Sites, kept_apart
from qlib.data.panel import Surroundings
from qlib.errors import ExpressionError

ELSEWHERE = ("P(", "PRef(", "$$")  # point-in-time formulas: test_golden_pit.py
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
ALIGNED_HERE = {
    "$missing>$close",
    "If($n>3,$close,$missing)",
    "Corr($close,$missing,3)",
    'ChangeInstrument("bbb",$close)>$close',
}
# Formulas that need the times of the rows, which Qlib's series by calendar position do not have.
TIMED_HERE = {'TResample($close,"W","mean")'}


@functools.cache
def golden() -> dict:
    return json.loads(shared("contract/golden/expressions.json").read_text())


def numbers(values) -> np.ndarray:
    return np.array([np.nan if v is None else v for v in values], dtype=float)


def stored(instrument: str, column: str, first: int, last: int) -> tuple[int, np.ndarray]:
    """Return a column of the contract's store."""
    field = golden()["instruments"][instrument]["fields"].get(column, [])
    start, values = (field["start"], field["values"]) if isinstance(field, dict) else (0, field)
    low = max(first - start, 0)
    return start + low, numbers(values)[low : max(last + 1 - start, 0)].astype("f4")


def cases(part: str) -> list[dict]:
    return [case for case in golden()[part] if not any(word in case["expr"] for word in ELSEWHERE)]


def computed(case: dict, compat: str | None) -> tuple[np.ndarray, np.ndarray]:
    plan = build_plan([case["expr"]], compat=compat)
    first, last = case["query"]
    low, high = max(first - plan.span.back, 0), min(last + plan.span.ahead, 39)
    ground = Ground(stored, int(low), int(high))
    apart = kept_apart(plan)
    around = Surroundings(elsewhere=Sites(ground.elsewhere(plan.roots), apart.roots), rows=ground.rows)
    rows = ground.panel("aaa", plan.roots, around)
    (values,) = evaluate(apart, rows, query=(first, last))
    assert values.dtype == np.float32
    wanted = np.full(40, np.nan)
    if case["start"] is not None:
        wanted[case["start"] : case["start"] + len(case["values"])] = numbers(case["values"])
    got = np.full(40, np.nan)
    got[rows.first[0] : rows.first[0] + rows.rows] = values
    return got[first : last + 1], wanted[first : last + 1]


def differs(case: dict, compat: str | None) -> bool:
    got, wanted = computed(case, compat)
    if case["expr"].startswith(("Skew", "Kurt")):  # a constant window depends on the pandas that Qlib ran on
        counts = ~(np.isnan(wanted) & np.isin(got, [0, -3]))
        got, wanted = got[counts], wanted[counts]
    return not np.allclose(got, wanted, rtol=1e-5, atol=2e-6, equal_nan=True)


def test_compat_gives_qlibs_numbers_for_every_formula():
    wrong = [case["expr"] for part in ("full_range", "partial_range") for case in cases(part) if differs(case, "qlib")]
    assert len(cases("full_range")) + len(cases("partial_range")) == 203
    assert wrong == []


def test_the_default_differs_where_it_is_meant_to_and_nowhere_else():
    wrong = {case["expr"] for part in ("full_range", "partial_range") for case in cases(part) if differs(case, None)}
    assert wrong == set(DELIBERATE)


def test_what_qlib_refuses_is_refused_or_named():
    always = ALIGNED_HERE | TIMED_HERE
    allowed = {None: ALLOWED_HERE | always, "qlib": always}
    for compat, fine in allowed.items():
        for case in golden()["errors"]:
            if case["expr"] in fine:
                build_plan([case["expr"]], compat=compat)
                continue
            with pytest.raises(ExpressionError):
                build_plan([case["expr"]], compat=compat)
