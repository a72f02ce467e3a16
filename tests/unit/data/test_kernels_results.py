"""Where results are written: the same values whatever road they take to memory, and nothing beside them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from qlib.data.kernels.program import Work, instruction_sets, run

from qlib.data.expression.engine import Wanted, evaluate, grouped
from qlib.data.expression.plan import Plan, build_plan
from qlib.data.panel import Columns, Panel

FIELDS = ["$a", "$a/$b", "Mean($a,3)/$b", "1/$a", "Mean($b,2)/7", "Ref($a,-3)/$b", "$a-$b", "Mean($a,5)"]
PLAN = build_plan(FIELDS)
UNTOUCHED = np.float32(-77)
FAR = 1 << 60


@dataclass(frozen=True)
class Case:
    """Instruments, the ranges that are wanted of them, the rows left free before each, and where the targets begin."""

    panel: Panel
    wanted: Wanted
    rows: int
    shift: int


@st.composite
def cases(draw):
    count = draw(st.integers(1, 11))
    first = np.array([draw(st.integers(0, 40)) for _ in range(count)])
    lengths = np.array([draw(st.integers(1, 40) | st.integers(240, 560)) for _ in range(count)])
    start = np.cumsum([0, *lengths])
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    values = {name: random.choice([1.5, 2, -3, np.nan, 1e5], start[-1]).astype("f4") for name in "ab"}
    owner, low, high = [], [], []
    for i in range(count):
        cuts = {0, int(lengths[i]), *(draw(st.integers(0, int(lengths[i]))) for _ in range(draw(st.integers(0, 3))))}
        bounds = sorted(cuts)
        for a, b in zip(bounds[:-1], bounds[1:], strict=True):
            if draw(st.integers(0, 3)):
                owner.append(i), low.append(first[i] + a), high.append(first[i] + b)
    free = np.array([draw(st.integers(0, 20)) for _ in owner], dtype=np.int64)
    size = np.array(high, dtype=np.int64) - np.array(low, dtype=np.int64)
    to = np.cumsum(free + size) - size
    of = np.searchsorted(np.array(owner), np.arange(count + 1))
    wanted = Wanted(*(np.ascontiguousarray(a, dtype=np.int64) for a in (of, low, high, to)))
    panel = Panel(tuple(f"I{i}" for i in range(count)), start, first, values)
    return Case(panel, wanted, int((free + size).sum()) + 3, draw(st.integers(0, 15)))


def written(
    case: Case, plan: Plan = PLAN, *, threads: int = 1, isa: str | None = None, clip=(-FAR, FAR), **how
) -> np.ndarray:
    """Return the targets after the program has run: cells that were not wanted hold what was there."""
    columns = Columns.of(case.panel)
    memory = np.full((len(plan.fields), case.shift + case.rows), UNTOUCHED)
    compiled = plan.phases[-1].compiled
    wanted = case.wanted
    work = Work(
        columns.begin, columns.end, [columns.places[node.name] for node in compiled.sources],
        [(values[case.shift :], True) for values in memory], wanted.of, wanted.low, wanted.high, wanted.to,
        np.zeros(len(columns.begin), np.int64), *clip, FAR, **how,
    )  # fmt: skip
    groups = grouped(columns, np.diff(wanted.of) > 0)
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda k: run(compiled.program, work, groups[k : k + 1], isa), range(len(groups))))
    return memory


@given(case=cases())
def test_every_wanted_cell_gets_its_value_and_no_other_is_touched(case):
    whole = np.array(evaluate(PLAN, case.panel))
    there = np.full((len(FIELDS), case.shift + case.rows), UNTOUCHED)
    first, start = case.panel.first, case.panel.start
    for i in range(len(case.panel.instruments)):
        for k in range(case.wanted.of[i], case.wanted.of[i + 1]):
            low, high, to = (int(a[k]) for a in (case.wanted.low, case.wanted.high, case.wanted.to))
            rows = slice(int(start[i]) + low - int(first[i]), int(start[i]) + high - int(first[i]))
            there[:, case.shift + to : case.shift + to + high - low] = whole[:, rows]
    for past_cache in (False, True):
        np.testing.assert_array_equal(written(case, past_cache=past_cache), there)


@pytest.mark.parametrize("isa", instruction_sets())
@given(case=cases(), low=st.integers(0, 300), rows=st.integers(0, 600))
def test_past_the_cache_the_bits_are_the_same(case, isa, low, rows):
    for clip in ((-FAR, FAR), (low, low + rows)):
        there = written(case, past_cache=False, clip=clip)
        np.testing.assert_array_equal(written(case, past_cache=True, isa=isa, clip=clip).view("i4"), there.view("i4"))


@given(case=cases())
def test_threads_that_share_lines_of_memory_do_not_disturb_each_other(case):
    np.testing.assert_array_equal(written(case, past_cache=True, threads=4), written(case, past_cache=False))


@given(case=cases())
def test_rows_in_order_of_time_are_the_same_rows(case):
    wanted = Wanted.everything(Columns.of(case.panel))
    plain = Case(case.panel, wanted, wanted.rows, 0)
    table = wanted.by_time().row_of
    there = np.empty_like(written(plain))
    there[:, table] = written(plain)
    np.testing.assert_array_equal(written(plain, row_of=table), there)


def test_a_quotient_that_only_a_field_is_made_of_is_stored_at_once():
    def words(*fields):
        return [word.split()[0] for word in build_plan(fields).phases[-1].compiled.words]

    assert words("$a/$b") == ["load", "load", "store_div"]
    assert words("$a/$b", "$a/$b+1").count("store_div") == 0  # somebody else reads it
    assert words("$a/$b", "$b/$a").count("store_div") == 2
    assert words("$a/$b", "Div($a, $b)").count("store_div") == 0  # two places: computed once
    assert words("$a*$b") == ["load", "load", "mul", "store"]
