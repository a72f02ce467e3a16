"""Random formulas of all operators on rows, both modes, against the naive way with bounds for rounding (trees.py)."""

from __future__ import annotations

import random

import numpy as np
import pytest
from proof import cases
from trees import Bounded, computed
from world import COLUMNS, calls, formula

from qlib.data.expression import OPERATORS, build_plan, evaluate
from qlib.data.expression.node import Node, PanelOperator, walk
from qlib.data.panel import Panel
from qlib.errors import ExpressionError

ON_ROWS = tuple(name for name, operator in OPERATORS.items() if not issubclass(operator, PanelOperator))
SCALES = (1.0, 1.0, 1e-8, 1e5, 1e-30, 1e30)


def column(r: np.random.Generator, rows: int) -> np.ndarray:
    """Walks, whole numbers, ties and constant runs, at any scale, with gaps and infinity."""
    kind = r.integers(5)
    if kind == 0:
        values = np.exp(r.normal(0, 0.02, rows).cumsum())
    elif kind == 1:
        values = r.integers(-3, 4, rows).astype("f8")
    elif kind == 2:
        values = r.choice(r.normal(size=3), rows)
    elif kind == 3:
        values = np.full(rows, r.choice([0.1, 0.0, -2.5, 1e-3]))
    else:
        values = r.normal(size=rows)
    low, high = np.sort(r.integers(0, rows + 1, 2))
    if r.random() < 0.3:
        values[low:high] = 0.1
    values = values * r.choice(SCALES)
    for what, share in ((np.nan, 0.15), (np.inf, 0.05), (-np.inf, 0.03)):
        if r.random() < 0.5:
            values[r.random(rows) < share] = what
    return values.astype("f4")


def panel(seed: int) -> Panel:
    """Up to four instruments of 0, 1 and more rows, listed at different bars."""
    r = np.random.default_rng(seed)
    lengths = r.choice([0, 1, 2, 5, 9, 14], r.integers(1, 5))
    rows = int(lengths.sum())
    names = tuple(f"i{k}" for k in range(len(lengths)))
    start = np.concatenate([[0], np.cumsum(lengths)])
    with np.errstate(over="ignore"):
        return Panel(names, start, r.integers(0, 9, len(lengths)), {name[1:]: column(r, rows) for name in COLUMNS})


def met(got: np.ndarray, wanted: Bounded, what: str) -> tuple[int, int]:
    """Check the rows of which something is known; return how many they are, and how many of them to the last bit."""
    limit = float(np.finfo("f4").max)
    with np.errstate(over="ignore"):
        narrow = wanted.v.astype("f4")
    known = ~wanted.u & ~((wanted.e > 0) & (np.abs(wanted.v) + wanted.e > limit) & np.isfinite(wanted.v))
    exact = known & (wanted.e == 0)
    same = (got == narrow) | (np.isnan(got) & np.isnan(narrow))
    slack = wanted.e + np.abs(wanted.v) * 2.0**-23 + 2e-45
    with np.errstate(invalid="ignore"):
        near = same | (np.abs(got.astype("f8") - wanted.v) <= slack)
    wrong = (exact & ~same) | (known & ~near)
    assert not wrong.any(), (
        f"{what}: rows {np.flatnonzero(wrong)[:5]}, received {got[wrong][:5]}, naively {wanted.v[wrong][:5]} "
        f"within {wanted.e[wrong][:5]}"
    )
    return int(known.sum()), int(exact.sum())


def check(plan_texts: list[str], compat: str | None, seed: int) -> tuple[int, int, int]:
    rows = panel(seed)
    plan = build_plan(plan_texts, compat=compat)
    told = exact = 0
    for root, got in zip(plan.roots, evaluate(plan, rows), strict=True):
        for i, (low, high) in enumerate(zip(rows.start[:-1], rows.start[1:], strict=True)):
            known, bits = met(got[low:high], computed(root, rows, i), f"{root}, compat={compat}, panel {seed}, i{i}")
            told, exact = told + known, exact + bits
    return told, exact, rows.rows * len(plan.roots)


def small(text: str, compat: str | None) -> Node | None:
    try:
        (root,) = build_plan([text], compat=compat).roots
    except ExpressionError:
        return None
    return root if sum(1 for _ in walk(root)) <= 25 else None


@pytest.mark.parametrize("compat", [None, "qlib"])
def test_every_operator_on_rows_equals_the_naive_way(compat):
    """Every call of every operator on rows, windows of 0, 1, 3 and 6, on 2 panels in CI and 25 in `make proof`."""
    covered = set()
    for window in (0, 1, 3, 6):
        for name, text in calls(window):
            if name in ON_ROWS and (root := small(text, compat)) is not None and root_on_rows(root):
                covered.add(name)
                for seed in range(cases(2, 25)):
                    check([text], compat, seed)
    assert covered == set(ON_ROWS)


def root_on_rows(root: Node) -> bool:
    return not any(isinstance(node, PanelOperator) for node in walk(root))


@pytest.mark.parametrize("compat", [None, "qlib"])
def test_random_formulas_equal_the_naive_way(compat):
    """Trees up to five deep: 300 in CI, 10,000 in `make proof`, in each mode, on a panel of their own each."""
    told = exact = rows = tried = 0
    seed = 0
    while tried < cases(300, 10_000):
        seed += 1
        text = formula(random.Random(f"tree {seed}"), 1 + seed % 5, names=ON_ROWS)
        if (root := small(text, compat)) is None or not root_on_rows(root):
            continue
        tried += 1
        known, bits, all_of_them = check([text], compat, seed)
        told, exact, rows = told + known, exact + bits, rows + all_of_them
    print(f"{tried} formulas, {rows} values: {told} known, {exact} of them to the last bit")
    assert told > 0.6 * rows
