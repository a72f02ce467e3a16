"""Ranges of many instruments at once are what sets of positions say."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from qlib.data.ranges import Ranges

many = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 20), st.integers(0, 20)), max_size=12)


def of(triples) -> Ranges:
    table = np.array(triples, dtype=np.int64).reshape(-1, 3)
    return Ranges.joined(table[:, 0], table[:, 1], table[:, 2])


def cells(triples) -> set[tuple[int, int]]:
    return {(i, p) for i, begin, end in triples for p in range(begin, end)}


def check(ranges: Ranges, expected: set[tuple[int, int]]) -> None:
    triples = list(zip(ranges.instrument.tolist(), ranges.begin.tolist(), ranges.end.tolist(), strict=True))
    assert cells(triples) == expected and ranges.rows == len(expected)
    assert triples == sorted(triples) and all(begin < end for _, begin, end in triples)
    for (i, _, end), (j, begin, _) in zip(triples, triples[1:], strict=False):
        assert i < j or end < begin, "neither overlapping nor touching"
    assert ranges.instrument.dtype == ranges.begin.dtype == ranges.end.dtype == np.int64
    assert ranges.counts(5).tolist() == [sum(i == k for i, _ in expected) for k in range(5)]
    assert [(i, p) for i in range(5) for a, b in ranges.of(i) for p in range(a, b)] == sorted(expected)
    assert ranges.positions().tolist() == [p for _, p in sorted(expected)]


@given(many)
def test_joined_ranges_cover_the_same_positions(triples):
    check(of(triples), cells(triples))


@given(many, many)
def test_common_ranges_are_those_in_both(left, right):
    check(of(left).common(of(right)), cells(left) & cells(right))


@given(many, st.integers(0, 20), st.integers(0, 20))
def test_ranges_within_bounds(triples, low, high):
    check(of(triples).within(low, high), {(i, p) for i, p in cells(triples) if low <= p < high})


@given(many, st.lists(st.booleans(), min_size=5, max_size=5))
def test_a_part_is_numbered_anew(triples, some):
    number = {i: sum(some[:i]) for i in range(5)}
    check(of(triples).part(np.array(some)), {(number[i], p) for i, p in cells(triples) if some[i]})


@given(many, st.data())
def test_positions_that_are_chosen(triples, data):
    ranges, every = of(triples), sorted(cells(triples))
    kept = data.draw(st.lists(st.booleans(), min_size=len(every), max_size=len(every)))
    check(ranges.where(np.array(kept, dtype=bool)), {cell for cell, one in zip(every, kept, strict=True) if one})


@given(many, st.integers(0, 20), st.integers(0, 20))
def test_gaps_are_what_is_missing_between_two_bounds(triples, low, high):
    check(of(triples).gaps(5, low, high), {(i, p) for i in range(5) for p in range(low, high)} - cells(triples))


@given(many, many, st.lists(st.booleans(), min_size=5, max_size=5))
def test_what_several_hold_together_and_what_some_instruments_have(left, right, some):
    check(Ranges.together(of(left), of(right)), cells(left) | cells(right))
    check(of(left).of_instruments(np.array(some)), {(i, p) for i, p in cells(left) if some[i]})
