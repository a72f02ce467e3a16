"""Point-in-time fields in formulas: texts, objects, what is refused and where, what explain says."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from qlib.data.base import PFeature
from qlib.data.expression import build_plan, evaluate, explain, parse
from qlib.data.expression.objects import Feature, Mean, Ref
from qlib.data.panel import Panel, Surroundings
from qlib.data.periods import Records
from qlib.data.pit import P, PRef
from qlib.errors import ExpressionError

SAME = {
    "P($$roe_q)": P(PFeature("roe_q")),
    "P(Mean($$roe_q,4))": P(Mean(PFeature("$$ROE_Q"), 4)),
    "PRef($$roe_q,201903)": PRef(PFeature("roe_q"), 201903),
    "PRef($$eps_a,2019)": PRef(PFeature("eps_a"), period=2019),
    "Mul(Ref(P($$roe_q),1),$close)": Ref(P(PFeature("roe_q")), 1) * Feature("close"),
    "P(Sub($$roe_q,Ref($$roe_q,1)))": P(PFeature("roe_q") - Ref(PFeature("roe_q"), 1)),
}


@pytest.mark.parametrize("text", SAME)
def test_text_and_object_are_one_formula(text):
    thing = SAME[text]
    assert str(thing) == text and str(parse(text)) == text
    assert build_plan([thing]).roots[0] is parse(text)
    assert str(pickle.loads(pickle.dumps(thing))) == text
    assert pickle.loads(pickle.dumps(parse(text))) is parse(text)


@pytest.mark.parametrize(
    "text",
    ["P($$ROE_Q)", "P( $$roe_q )", "P(PFeature('roe_q'))", 'P(PFeature(name="ROE_q"))', "P(feature=$$roe_q)"],
)
def test_spelling_does_not_matter(text):
    assert parse(text) is parse("P($$roe_q)")


def test_names_that_are_no_english():
    assert str(parse("P($$净利润（元）_q)")) == "P($$净利润（元）_q)"


REFUSED = {
    "$$roe_q": (0, "stands inside P or PRef: P\\(\\$\\$roe_q\\)"),
    "Mean($$roe_q,2)": (5, "is a point-in-time field, known by periods"),
    "P($$roe_q)+$$roe_q": (11, "stands inside P or PRef"),
    "PFeature('roe_q')": (0, "stands inside P or PRef"),
    "PFeature(roe_q)": (9, "neither a column nor a call"),
    "PFeature($close)": (0, "PFeature takes one name in quotes"),
    "P($$roe)": (2, "ends in _q \\(quarters\\) or _a \\(years\\), received 'roe'"),
    "P(PFeature('../x_q'))": (2, "received '../x_q'"),
    "P(Ref($$roe_q,-1))": (2, "Ref\\(\\$\\$roe_q,-1\\) reads a later period"),
    "P(Ref(Ref($$roe_q,-1),1))": (2, "reads a later period"),
    "PRef(Ref($$roe_q,-1),201903)": (5, "reads a later period"),
    "P(P($$roe_q))": (2, "P\\(\\$\\$roe_q\\) is a value for every bar already"),
    "P(PRef($$roe_q,201903))": (2, "is a value for every bar already"),
    "PRef(P($$roe_q),201903)": (5, "is a value for every bar already"),
    "P($close)": (2, "\\$close has a value for every bar"),
    "P($$roe_q*$close)": (2, "write it outside, as in P\\(...\\)\\*\\$close"),
    "P(CSRank($$roe_q))": (2, "CSRank looks across bars or instruments; write it outside, as in CSRank\\(P"),
    "P($$roe_q/$$eps_a)": (2, "joins quarters \\(_q\\) and years \\(_a\\)"),
    "P(1)": (2, "feature must be a formula"),
    "P()": (0, "lacks feature"),
    "P($$roe_q,1)": (10, "received 2 arguments"),
    "PRef($$roe_q)": (0, "lacks period"),
    "PRef($$roe_q,'201903')": (13, "must be a quarter such as 201903 or a year such as 2019"),
    "PRef($$roe_q,201905)": (13, "received 201905"),
    "PRef($$roe_q,2019)": (13, "must be a quarter such as 201903 for \\$\\$roe_q, received 2019"),
    "PRef($$eps_a,201903)": (13, "must be a year such as 2019 for \\$\\$eps_a"),
    "Pref($$roe_q,201903)": (0, "Did you mean PRef"),
}


NAN_IN_QLIB = {"PRef($$roe_q,201905)", "PRef($$roe_q,2019)", "PRef($$eps_a,201903)", "P($$roe_q/$$eps_a)"}


@pytest.mark.parametrize("compat", [None, "qlib"])
@pytest.mark.parametrize("text", REFUSED)
def test_what_makes_no_sense_is_refused_under_its_place(text, compat):
    if compat and text in NAN_IN_QLIB:
        periods = {"roe_q": Records(np.array([0]), np.array([8078]), np.array([1.0])), "eps_a": None}
        panel = Panel(
            ("a",), np.array([0, 2]), np.array([0]), {}, Surroundings(periods=lambda _, field: periods[field])
        )
        assert np.isnan(evaluate(build_plan([text], compat=compat), panel)[0]).all()
        return
    column, said = REFUSED[text]
    with pytest.raises(ExpressionError, match=f"(?s){said}") as caught:
        parse(text, compat=compat)
    assert caught.value.column == column


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: PFeature("roe"), "ends in _q"),
        (PFeature, "needs a name"),
        (lambda: P(Feature("close")), "has a value for every bar"),
        (lambda: PRef(PFeature("roe_q"), 2019), None),  # fine under compat
        (lambda: build_plan([PFeature("roe_q")]), "stands inside P or PRef"),
        (lambda: build_plan([Mean(PFeature("roe_q"), 2)]), "stands inside P or PRef"),
    ],
)
def test_objects_are_refused_at_once_and_in_a_query(make, said):
    if said is None:
        assert str(make()) == "PRef($$roe_q,2019)"
        return
    with pytest.raises(ExpressionError, match=said):
        make()


def test_p_needs_no_rows_before_or_after_its_own():
    plan = build_plan(["P(EMA($$roe_q,12))", "Mean(P(Ref($$roe_q,4)),3)", "Ref(P($$roe_q),-2)"])
    assert [(one.back, one.ahead) for one in plan.spans] == [(0, 0), (2, 0), (0, 2)]
    assert plan.reads == ()
    for thing in (P(Mean(PFeature("roe_q"), 4)), PRef(PFeature("roe_q"), 201903)):
        assert (thing.get_extended_window_size(), thing.get_longest_back_rolling()) == ((0, 0), 0)
    assert Mean(P(Ref(PFeature("roe_q"), 4)), 3).get_longest_back_rolling() == 2


def test_explain_names_the_fields_that_are_read():
    text = explain("Mean(P($$roe_q/Ref($$roe_q,1)),3)*$close")
    assert "reads $close $$roe_q  back 2  ahead 0" in text
    assert "periods" in text
    assert "ahead 2" in explain("Ref(P($$roe_q),-2)")
