"""Ranges of time behave as the sets of milliseconds that they are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlib.collect.coverage import NO_RANGES, Bars, Coverage, bars_in, inside, union, without
from qlib.errors import StoreError

ranges = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=8)


def points(rows) -> set[int]:
    return {at for low, high in rows for at in range(int(low), int(high))}


def plain(found: np.ndarray) -> None:
    """Ascending, not empty, apart from each other: the one way to write a set."""
    assert found.dtype == "int64"
    assert (found[:, 0] < found[:, 1]).all()
    assert (found[1:, 0] > found[:-1, 1]).all()


@given(ranges, ranges)
def test_union_and_difference_are_those_of_sets_in_one_form(one, other):
    for found, wanted in (
        (union(one), points(one)),
        (union(one, other), points(one) | points(other)),
        (without(union(one), union(other)), points(one) - points(other)),
    ):
        plain(found)
        assert points(found) == wanted
    at = np.arange(-2, 65)
    assert inside(union(one), at).tolist() == [time in points(one) for time in at]


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 60), st.integers(0, 60), st.sampled_from("ab")), max_size=10))
def test_coverage_knows_what_it_was_told_whatever_the_order(told):
    coverage, known, refused = Coverage(), set(), {}
    for is_page, low, high, reason in told:
        if is_page:
            coverage.learn(low, high)
            known |= points([(low, high)])
            refused = {at: why for at, why in refused.items() if at not in known}
        else:
            coverage.refuse(low, high, reason)
            refused |= {at: reason for at in points([(low, high)]) - known - refused.keys()}
    assert points(coverage.known) == known
    assert set().union(*(points(one) for one in coverage.unavailable.values())) == refused.keys()
    assert points(coverage.missing(0, 70)) == set(range(70)) - known - refused.keys()
    text = coverage.to_json()
    assert Coverage.from_json(text, "here").to_json() == text


@given(st.integers(0, 100), st.integers(1, 100), st.sets(st.integers(0, 20)), st.lists(st.integers(0, 200), max_size=4))
def test_absent_bars_are_the_same_however_a_range_is_cut_into_pages(start, length, there, cuts):
    end, times = start + length, np.array(sorted(at * 10 for at in there if start <= at * 10 < start + length), "int64")

    def opens(low: int, high: int) -> np.ndarray:
        return np.arange(-(-low // 10) * 10, high, 10, dtype="int64")

    edges = [start, *sorted(cut for cut in set(cuts) if start < cut < end), end]
    coverage = Coverage()
    for low, high in zip(edges, edges[1:], strict=False):
        coverage.learn(low, high, bars_in(low, high, times[(times >= low) & (times < high)], opens, 10))
    plain(coverage.absent) if len(coverage.absent) else None
    assert points(coverage.absent) == points((at, at + 10) for at in opens(start, end) if at not in times)
    assert bars_in(start, end, times, opens, 10).absent.tolist() == coverage.absent.tolist()


def test_months_are_counted_as_they_are():
    def opens(low: int, high: int) -> np.ndarray:
        months = np.arange("2026-01", "2028-01", dtype="M8[M]").astype("M8[ms]").astype("int64")
        return months[(months >= low) & (months < high)]

    times = opens(0, 1 << 60)
    bars = bars_in(int(times[0]), int(times[6]), times[[0, 1, 4, 5]], opens, 28 * 86_400_000)
    assert bars.absent.tolist() == [[times[2], times[4]]]


def test_a_later_page_counts_more_than_an_earlier_one():
    coverage = Coverage()
    coverage.learn(0, 30, Bars(0, 30, union([[10, 30]])))
    coverage.learn(10, 20, Bars(10, 20, NO_RANGES))
    assert coverage.absent.tolist() == [[20, 30]]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"known": 1}', "not json"])
def test_a_damaged_file_is_named_with_what_to_do(text):
    with pytest.raises(StoreError, match=r"here: cannot be read .*; delete this file, and the next download asks"):
        Coverage.from_json(text, "here")
