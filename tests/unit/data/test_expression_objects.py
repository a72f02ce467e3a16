"""Formulas as Python objects, at Qlib's paths."""

from __future__ import annotations

import inspect
import pickle

import numpy as np
import pytest

import qlib.data.ops as ops
from qlib.data.base import Expression, ExpressionOps, Feature
from qlib.data.expression import OPERATORS, build_plan, evaluate
from qlib.data.ops import Abs, Corr, If, Mean, Quantile, Ref, Skew, Std
from qlib.data.panel import Panel
from qlib.errors import ExpressionError

close, volume = Feature("close"), Feature("volume")

TEXTS = {
    "$close": close,
    "Mean($close,5)": Mean(close, 5),
    "Mean($volume,7)": Mean(feature=volume, N=7),
    "Quantile($close,5,0.8)": Quantile(close, 5, qscore=0.8),
    "Sub(Div($close,Ref($close,1)),1)": close / Ref(close, 1) - 1,
    "Mul($close,2)": 2 * close,
    "Sub(2,$close)": 2 - close,
    "Div(1,$close)": 1 / close,
    "Power(2,$close)": 2**close,
    "Power($close,2)": close**2,
    "Lt($close,1)": close < 1,
    "Ge($close,1)": close >= 1,
    "Eq($close,$volume)": close == volume,
    "Ne($close,1)": close != 1,
    "And(Gt($close,1),Or(Lt($volume,2),Le($close,$volume)))": (close > 1) & ((volume < 2) | (close <= volume)),
    "Sub(0,$close)": -close,
    "Not(Gt($close,1))": ~(close > 1),
    "Mod(FloorDiv($close,2),3)": close // 2 % 3,
    "Mod(3,FloorDiv(2,$close))": 3 % (2 // close),
    "If(Gt($close,1),$close,0)": If(close > 1, close, 0),
    "Corr($close,Abs($volume),10)": Corr(close, Abs(volume), 10),
    "Corr($close,$volume,0)": Corr(close, volume, 0),
    "Std($close,0.3)": Std(close, 0.3),
}


@pytest.mark.parametrize("text", TEXTS)
def test_an_object_prints_the_text_that_means_the_same(text):
    thing = TEXTS[text]
    assert isinstance(thing, Expression) and str(thing) == repr(thing) == text
    assert build_plan([thing]).roots[0] is build_plan([text]).roots[0]
    assert str(pickle.loads(pickle.dumps(thing))) == text


def test_objects_are_fields():
    panel = Panel(("A",), np.array([0, 3]), np.array([0]), {"close": np.array([1, 2, 4], "f4")})
    assert evaluate(build_plan([close / Ref(close, 1) - 1]), panel)[0][1:].tolist() == [1, 1]


def test_every_operator_of_the_table_has_its_class_with_qlibs_signature():
    for name, operator in OPERATORS.items():
        if name == "Rolling":
            continue
        made = getattr(ops, name)
        assert issubclass(made, ExpressionOps) and made.__doc__ == operator.__doc__
        assert list(inspect.signature(made).parameters) == [p.name for p in operator.parameters]
        assert name in ops.__all__


def test_arguments_stand_as_attributes():
    thing = Quantile(close, 5, qscore=0.8)
    assert (thing.feature, thing.N, thing.qscore) == (thing.feature, 5, 0.8) and thing.feature is close


def test_the_window_is_qlibs():
    assert Ref(Ref(close, -1), 1).get_extended_window_size() == (1, 1)
    assert Mean(close, 0.3).get_extended_window_size() == (37, 0)
    with pytest.raises(ExpressionError, match="refused by Qlib"):
        Corr(close, volume, 0).get_extended_window_size()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Skew(close, 2), "from 3"),
        (lambda: Mean(close), "lacks N"),
        (lambda: Mean(close, 5.0), "whole number"),
        (lambda: Mean(close, M=5), "no argument M"),
        (lambda: Mean("$close", 5), "feature must be a formula, received '\\$close'"),
        (lambda: close & volume, "joins questions"),
        (Feature, "needs a name"),
    ],
)
def test_what_makes_no_sense_is_refused_at_once(make, said):
    with pytest.raises(ExpressionError, match=said):
        make()


def test_objects_are_not_keys_and_not_added_to_texts():
    with pytest.raises(TypeError, match="unhashable"):
        set().add(close)
    with pytest.raises(TypeError, match="unsupported operand"):
        print(close + "1")
