"""What is known by a row: laws over every operator that is registered, alone and nested in random formulas.

f(data[:t]) equals f(data)[:t] bit for bit, whatever comes after t; a formula that looks ahead says how far; and the
rows that it declares are all that it needs.  By Qlib's rules a value knows the query, so there the law is about one
query: nothing after its end, and what its formula declares beyond, is seen.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import pytest
from proof import cases
from world import before, calls, formula, poisoned, world

from qlib.data.expression import EVERYTHING, OPERATORS, build_plan, evaluate, explain
from qlib.data.expression.plan import Plan
from qlib.data.expression.reach import positions_needed
from qlib.data.panel import Panel
from qlib.errors import ExpressionError

WINDOWS = cases((0, 5), (0, 1, 2, 5, 20, 150))
TOGETHER = 12  # formulas in a plan


def same_bits(one: np.ndarray, other: np.ndarray, what: str) -> None:
    """NaN is NaN, but 0.0 is not -0.0."""
    equal = (one.view(np.uint32) == other.view(np.uint32)) | (np.isnan(one) & np.isnan(other))
    assert equal.all(), f"{what}: rows {np.flatnonzero(~equal)[:5]}, {one[~equal][:5]} and {other[~equal][:5]}"


def known(texts: Sequence[str], compat: str | None) -> list[str]:
    """Return the texts that are formulas."""
    found = []
    for text in texts:
        try:
            build_plan([text], compat=compat)
        except ExpressionError:
            continue
        found.append(text)
    return found


def plans(texts: Sequence[str], compat: str | None) -> list[Plan]:
    texts = known(texts, compat)
    return [build_plan(texts[i : i + TOGETHER], compat=compat) for i in range(0, len(texts), TOGETHER)]


def check_prefix(plan: Plan, panel: Panel, moments: Sequence[int]) -> int:
    """Check the law for each field at each moment; return how many of them could be checked."""
    whole = evaluate(plan, panel) if plan.compat is None else None
    checked = 0
    for t in moments:
        # By Qlib's rules the rows that are left of those loaded decide, so the query ends where nothing beyond is.
        query = None if plan.compat is None else (0, t - int(plan.span.ahead))
        if query is not None and query[1] < 0:
            continue
        early, kept = before(panel, t)
        full = whole or evaluate(plan, panel, query=query)
        prefixes, spoilt = evaluate(plan, early, query=query), evaluate(plan, poisoned(panel, t), query=query)
        at = panel.positions()[kept]
        for text, span, one, prefix, other in zip(plan.fields, plan.spans, full, prefixes, spoilt, strict=True):
            settled = at <= (t - span.ahead if query is None else query[1])  # no further does it see than to t
            checked += settled.any()
            same_bits(prefix[settled], one[kept][settled], f"{text} knows that nothing follows {t}")
            same_bits(other[kept][settled], one[kept][settled], f"{text} knows what follows {t}")
    return checked


def test_every_registered_operator_is_covered():
    """One call at least of every operator makes a formula, in both modes; a new kind of argument is an error."""
    texts = list(calls(5))
    for compat in (None, "qlib"):
        covered = {name for name, text in texts if known([text], compat)}
        assert covered == set(OPERATORS)


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("compat", [None, "qlib"])
def test_no_operator_knows_what_it_does_not_declare(compat, window):
    """Every call of every operator, at 2 moments for 2 windows in CI; 5 moments, 6 windows in `make proof`.

    DayCumsum by Qlib's rules takes Chinese days only, so that it has a world of its own.
    """
    texts = [text for _, text in calls(window)]
    strange = [text for text in texts if compat and text.startswith("DayCumsum")]
    panel = world(window)
    last = int(panel.positions().max())
    moments = [int(part * last) for part in cases((0.4, 0.7), (0.1, 0.3, 0.5, 0.7, 0.9))]
    checked = sum(check_prefix(p, panel, moments) for p in plans([t for t in texts if t not in strange], compat))
    assert checked > 150 * len(moments)
    day = world(window, chinese=True)
    assert not strange or sum(check_prefix(p, day, [39, 79]) for p in plans(strange, compat)) == 2 * len(strange)


@pytest.mark.parametrize("compat", [None, "qlib"])
def test_no_formula_of_formulas_knows_what_it_does_not_declare(compat):
    """Random formulas of all operators, up to four deep: 240 in CI, 10,000 in `make proof`, in each mode."""
    allowed = [name for name in OPERATORS if compat is None or name != "DayCumsum"]
    for seed in range(cases(2, 80)):
        r = random.Random(seed)
        panel = world(seed, instruments=6, days=16)
        texts = [formula(r, r.randrange(1, 5), names=allowed) for _ in range(cases(120, 125))]
        moments = sorted(r.sample(range(len(panel.around.times) - 1), 2))
        for plan in plans(texts, compat):
            check_prefix(plan, panel, moments)


def check_beside(plan: Plan, panel: Panel) -> None:
    """Check that each instrument alone has the bits that it has among the others."""
    together = evaluate(plan, panel)
    for i in range(len(panel.instruments)):
        low, high = panel.start[i : i + 2]
        own = {name: values[low:high] for name, values in panel.columns.items()}
        start, first = np.array([0, high - low]), panel.first[i : i + 1]
        alone = evaluate(plan, Panel(panel.instruments[i : i + 1], start, first, own, panel.around))
        for text, one, other in zip(plan.fields, alone, together, strict=True):
            same_bits(one, other[low:high], f"{text} of i{i}")


@pytest.mark.parametrize("compat", [None, "qlib"])
def test_no_formula_knows_which_instruments_stand_beside(compat):
    """Every call of every operator but those across, what counts and what shifts it; and random formulas.

    Instruments run side by side, and those that are listed late wait for the others: nothing may come of that.  (By
    Qlib's rules another instrument is read over the rows that are loaded, so it stands aside there.)  300 random
    formulas in CI, 6,000 in `make proof`, in each mode.
    """
    aside = ("DayCumsum", "ChangeInstrument", "Mask") if compat else ()
    names = [name for name, operator in OPERATORS.items() if not operator.across and name not in aside]
    for name, text in calls(5):
        if name in names:
            for plan in plans([text, f"Count({text},3)", f"Ref({text},1)"], compat):
                check_beside(plan, world(1, instruments=5, days=8))
    for seed in range(cases(3, 60)):
        r = random.Random(f"beside {seed}")
        panel = world(seed, instruments=6, days=16)
        for plan in plans([formula(r, r.randrange(1, 5), names=names) for _ in range(100)], compat):
            check_beside(plan, panel)


@pytest.mark.parametrize("window", [1, 5])
def test_looking_ahead_is_declared_and_explained(window):
    """What looks ahead is what everybody knows to look ahead, and `explain` says how far."""
    looks = {}
    for name, text in calls(window):
        for compat in (None, "qlib"):
            if not known([text], compat):
                continue
            ahead = build_plan([text], compat=compat).span.ahead
            words = "everything" if ahead == EVERYTHING else str(int(ahead))
            assert f"ahead {words}  kernel" in explain(text, compat=compat)
            if ahead:
                looks[name, compat, f"-{window}" in text] = ahead
    assert looks == {
        ("Ref", None, True): window,
        ("Ref", "qlib", True): window,
        ("Delta", None, True): window,
        ("Cut", "qlib", False): 2,
        ("BFillNan", None, False): EVERYTHING,
        ("DayLast", None, False): EVERYTHING,
    }


@pytest.mark.parametrize("window", WINDOWS)
def test_the_rows_that_are_declared_are_all_that_is_needed(window):
    """Only the calendar positions that the plan asks for are loaded; every bit is the same, wherever the query begins.

    3 queries for every call and 2 windows in CI; 40 queries and 6 windows in `make proof`.
    """
    panel = world(window)
    positions, times = panel.positions(), panel.around.times
    assert times is not None
    r = random.Random(window)
    for text in known([text for _, text in calls(window)], None):
        plan = build_plan([text])
        (whole,) = evaluate(plan, panel)
        for _ in range(cases(3, 40)):
            low = r.randrange(len(times))
            high = r.randrange(low, len(times))
            first, last = positions_needed(plan, low, high, times)
            loaded, rows = panel.between(first, last)
            (got,) = evaluate(plan, loaded, query=(low, high))
            wanted = (positions[rows] >= low) & (positions[rows] <= high)
            if text.startswith("Delta") and plan.span.ahead:  # it never looks beyond the query
                wanted &= positions[rows] <= high - plan.span.ahead
            same_bits(got[wanted], whole[rows][wanted], f"{text} from {low} to {high}")
