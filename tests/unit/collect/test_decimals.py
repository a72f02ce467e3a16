"""Floats are taken for the decimals that were written, and add up exactly."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlib.collect.decimals import product, roomy, scaled, unscaled

written = st.decimals(min_value="-1e10", max_value="1e10", places=8, allow_nan=False, allow_infinity=False)
any_float = st.floats(allow_nan=False, allow_infinity=False, width=64)


@given(st.lists(any_float, max_size=20), st.integers(0, 12))
def test_a_float_comes_back_bit_for_bit(values: list[float], digits: int) -> None:
    counts, found = scaled(values, digits)
    assert found >= digits
    np.testing.assert_array_equal(unscaled(counts, found), np.array(values, np.float64))
    assert [Decimal(int(count)).scaleb(-found) for count in counts] == [Decimal(repr(value)) for value in values]


@given(st.lists(written.map(lambda one: one.quantize(Decimal("1e-4"))), min_size=1, max_size=50))
def test_sums_are_those_of_the_decimals(values: list[Decimal]) -> None:
    counts, digits = scaled([float(value) for value in values])
    assert unscaled(roomy(counts).sum(keepdims=True), digits)[0] == float(sum(values))


@given(st.lists(st.tuples(any_float, any_float), min_size=1, max_size=10))
def test_products_do_not_overflow(pairs: list[tuple[float, float]]) -> None:
    (left, a), (right, b) = (scaled(list(column)) for column in zip(*pairs, strict=True))
    exact = [Decimal(int(x)) * Decimal(int(y)) for x, y in zip(left, right, strict=True)] if a + b < 20 else None
    found = product(left, right)
    assert [int(one) for one in found] == [int(x) * int(y) for x, y in zip(left, right, strict=True)]
    if exact is not None and all(abs(one) < 10**28 for one in exact):
        assert [Decimal(int(one)) for one in found] == exact


@pytest.mark.parametrize("count", [10, 1000])
def test_ten_times_a_tenth_is_one(count: int) -> None:
    counts, digits = scaled(np.full(count, 0.1))
    assert unscaled(counts.sum(keepdims=True), digits)[0] == count / 10
