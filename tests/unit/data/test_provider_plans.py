"""Plans are kept while the same formulas are asked for, and no longer."""

from __future__ import annotations

import gc
import pickle
import threading
import weakref

import pytest

from qlib.data.expression.once import once
from qlib.data.expression.plan import build_plan
from qlib.data.expression.registry import OPERATORS
from qlib.data.provider import plans
from qlib.data.provider.plans import Plans
from qlib.errors import ExpressionError

FIELDS = ("$close", "Mean($close, 5)")


def test_the_same_formulas_are_parsed_once():
    known = Plans()
    plan = known.of(FIELDS, None, None)
    assert known.of(FIELDS, None, None) is plan
    assert known.of(FIELDS, "qlib", None) is not plan and known.of(FIELDS, "qlib", None).compat == "qlib"
    assert known.of(FIELDS[:1], None, None).fields == FIELDS[:1]
    assert known.of(FIELDS, None, OPERATORS.copy()) is not plan, "another table"
    assert known.of(FIELDS, None, dict(OPERATORS)).fields == FIELDS, "which could change unseen"


def test_an_operator_that_is_registered_is_seen_at_once():
    known, table = Plans(), OPERATORS.copy()
    before = known.of(("Abs($close)",), None, table)

    class Abs(OPERATORS["Sign"]):
        name = "Abs"

    table.register(Abs)
    after = known.of(("Abs($close)",), None, table)
    assert type(before.roots[0]) is OPERATORS["Abs"] and type(after.roots[0]) is Abs
    assert known.of(("Abs($close)",), None, None).roots == before.roots


def test_few_plans_are_kept_and_large_ones_never(monkeypatch):
    known = Plans()
    monkeypatch.setattr(plans, "_MOST_PLANS", 2)
    monkeypatch.setattr(plans, "_MOST_FIELDS", 3)
    a, b = known.of(("$a",), None, None), known.of(("$b",), None, None)
    assert known.of(("$a",), None, None) is a
    known.of(("$c",), None, None)
    assert known.of(("$a",), None, None) is a, "the one that was not asked for longest goes first"
    assert known.of(("$b",), None, None) is not b
    many = ("$a", "$b", "$c", "$d")
    assert known.of(many, None, None) is not known.of(many, None, None)


def test_a_formula_that_cannot_be_read_is_told_every_time():
    known = Plans()
    for _ in range(2):
        with pytest.raises(ExpressionError, match="Maen"):
            known.of(("Maen($close, 5)",), None, None)


def test_threads_share_plans_and_processes_begin_anew():
    known = Plans()
    known.of(FIELDS, None, None)
    assert pickle.loads(pickle.dumps(known)).of(FIELDS, None, None).fields == FIELDS
    wrong = []

    def ask(k: int) -> None:
        for i in range(200):
            fields = (f"$f{(i * k) % 50}",)
            if known.of(fields, None, None).fields != fields:
                wrong.append(fields)

    threads = [threading.Thread(target=ask, args=(k,)) for k in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_plan_is_asked_once_and_every_plan_for_itself():
    asked = []

    @once
    def fields_of(plan):
        asked.append(plan)
        return plan.fields

    one, two = build_plan(["$a"]), build_plan(["$b"])
    assert [fields_of(one), fields_of(one), fields_of(two)] == [("$a",), ("$a",), ("$b",)]
    assert asked == [one, two]
    assert fields_of(pickle.loads(pickle.dumps(one))) == ("$a",) and len(asked) == 3
    gone = weakref.ref(one)
    del one
    asked.clear()
    gc.collect()
    assert gone() is None
