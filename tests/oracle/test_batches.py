"""Thousands of formulas in batches are the same numbers, each computed once."""

from __future__ import annotations

import numpy as np
import pytest
from formulas import formulas, market, panels, samples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qlib.data.expression import build_plan, evaluate, evaluate_batches
from qlib.data.expression.plan import Plan
from qlib.errors import ExpressionError, InputError


@given(
    texts=st.lists(formulas, min_size=1, max_size=12),
    panel=panels(),
    megabytes=st.sampled_from([1e-9, 1e-4, 1.0]),
    threads=st.integers(1, 2),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_batches_hold_every_formula_once_with_the_bits_of_one_query(texts, panel, megabytes, threads):
    wanted = evaluate(build_plan(texts), panel)
    seen = []
    for places, block in evaluate_batches(texts, panel, megabytes=megabytes, n_threads=threads):
        assert len(places) == len(block)
        seen += places
        for place, values in zip(places, block, strict=True):
            np.testing.assert_array_equal(values, wanted[place], err_msg=texts[place])
    assert sorted(seen) == list(range(len(texts)))


def test_the_block_keeps_to_its_size_and_is_used_again():
    panel = market(1, instruments=9, rows=200)
    texts = [text for window in range(1, 30) for text in samples(window)[:40]]
    blocks = [
        block.base if block.base is not None else block for _, block in evaluate_batches(texts, panel, megabytes=0.1)
    ]
    assert len(blocks) > 3 and max(block.nbytes for block in blocks) <= 2 * 0.1 * 2**20


def test_formulas_that_share_a_window_share_a_batch(monkeypatch):
    asked = []
    part = Plan.part
    monkeypatch.setattr(Plan, "part", lambda plan, places: asked.append(tuple(places)) or part(plan, places))
    texts = ["Mean($x,7)", "Std($y,9)", "Slope($x,7)", "Max($y,9)/Std($y,9)", "Mean($x,7)/$x", "Std($y,9)*2"]
    panel = market(2)
    for _ in evaluate_batches(texts, panel, megabytes=3 * 4 * panel.rows / 2**20):
        pass
    assert {frozenset(places) for places in asked} == {frozenset([0, 2, 4]), frozenset([1, 3, 5])} or len(asked) == 2


def test_a_formula_that_cannot_be_read_is_refused_before_anything_runs():
    with pytest.raises(ExpressionError, match="Mein"):
        next(evaluate_batches(["$x", "Mein($x,3)"], market(1)))
    with pytest.raises(InputError, match="received 0"):
        next(evaluate_batches(["$x"], market(1), megabytes=0))
