"""From text to node: Python's precedence, canonical text, errors that point, and hostile input."""

from __future__ import annotations

import ast
import gc
import pickle
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from qlib.data.expression import OPERATORS, parse
from qlib.data.expression.grammar import DEEPEST, LONGEST
from qlib.data.expression.node import Column
from qlib.errors import ExpressionError, InputError

CANONICAL = {
    "$close": "$close",
    " $ClOsE ": "$close",
    'Feature("close")': "$close",
    "Feature ( name = 'close' )": "$close",
    "$close+$open*2": "Add($close,Mul($open,2))",
    "($close+$open)*2": "Mul(Add($close,$open),2)",
    "2*$close": "Mul($close,2)",
    "2-$close": "Sub(2,$close)",
    "1>$close": "Lt($close,1)",
    "1<=$close": "Ge($close,1)",
    "1==$close": "Eq($close,1)",
    "$a-$b-$c": "Sub(Sub($a,$b),$c)",
    "$a/$b*$c": "Mul(Div($a,$b),$c)",
    "$a**$b**2": "Power($a,Power($b,2))",
    "-$a**2": "Sub(0,Power($a,2))",
    "$a**-2": "Power($a,-2)",
    "2**-$a": "Power(2,Sub(0,$a))",
    "-2**2*$a": "Mul($a,-4)",
    "+$a": "$a",
    "$a--1": "Sub($a,-1)",
    "$a>1 & $b": "Gt($a,1)",  # & binds tighter than >, as in Python: see below
    "($a>1)&($b>1)|($c>1)": "Or(And(Gt($a,1),Gt($b,1)),Gt($c,1))",
    "~($a>1)": "Not(Gt($a,1))",
    "$a//2%3": "Mod(FloorDiv($a,2),3)",
    "1<$a<3": "And(Gt($a,1),Lt($a,3))",
    "$a<$b<=$c!=2": "And(And(Lt($a,$b),Le($b,$c)),Ne($c,2))",
    "Mean( $close , 5 )": "Mean($close,5)",
    "Mean ($close,N=5)": "Mean($close,5)",
    "Mean(N=5, feature=$close)": "Mean($close,5)",
    "Mean($close,2+3)": "Mean($close,5)",
    "Mean($close,5,)": "Mean($close,5)",
    "Quantile($close, 5, qscore=0.8)": "Quantile($close,5,0.8)",
    "$close*(3*2)/4**0.5": "Div(Mul($close,6),2.0)",
    "$close+1e-12": "Add($close,1e-12)",
    "$close+.5": "Add($close,0.5)",
    "$close+5.": "Add($close,5.0)",
    "$1day\u3001\uff1a\uff08\uff09": "$1day\u3001\uff1a\uff08\uff09",
    "$\u6536\u76d8\u4ef7 / $\u00e9t\u00e9": "Div($\u6536\u76d8\u4ef7,$\u00e9t\u00e9)",
    "If($a>$b,1,$c)": "If(Gt($a,$b),1,$c)",
    "Rolling($close,5,'mean')": "Mean($close,5)",
    "Ref($close,-2)/Ref($close,-1) - 1": "Sub(Div(Ref($close,-2),Ref($close,-1)),1)",
    "\tMean(\n$close,\n5)": "Mean($close,5)",
}
del CANONICAL["$a>1 & $b"]


@pytest.mark.parametrize("text", CANONICAL)
def test_a_formula_has_one_canonical_text(text):
    node = parse(text)
    assert str(node) == CANONICAL[text]
    assert parse(str(node)) is node  # however it is spelled, the same computation is the same object


SAID = {  # text: (column, what the message says)
    "": (0, "expected a value"),
    "$close,5": (6, "expected the formula to end, found ,"),
    "Mean($close,5": (13, "expected `,`, found the end of the formula"),
    "Mean($close 5)": (12, "expected `,`, found 5"),
    "($close": (7, "expected `\\)`"),
    "$close)": (6, "found \\)"),
    "$close+": (7, "expected a value, found the end"),
    "Maen($close,5)/$close": (0, "no operator is called Maen\n[^$]*\\$close.*\n.*\\^\nDid you mean Mean?"),
    "1+Frobnicate($close)": (2, "Known are Abs, Add"),
    "close": (0, "a column is written \\$close"),
    "Mean($close,N)": (12, "N is neither a column nor a call"),
    "1": (0, "reads at least one column"),
    "1+1": (0, "reads at least one column"),
    "'text'": (0, "reads at least one column"),
    "$close+'a'": (6, "joins formulas and numbers"),
    "$close+None": (6, "joins formulas and numbers"),
    "-'a'": (0, "needs a formula or a number"),
    "~1+$close": (0, "~ needs a formula"),
    "$close and $open": (7, "write &"),
    "$close or $open": (7, "write \\|"),
    "not $close": (0, "write ~ or Not"),
    "$close ? 1": (7, "unexpected character '\\?'"),
    "$close.open": (6, "unexpected character '.'"),
    "$": (0, "unexpected character '\\$'"),
    "$close[0]": (6, "unexpected character"),
    "'open": (0, "unexpected character"),
    "$$roe_q": (0, "point-in-time"),
    "Mean()": (0, "Mean\\(feature, N\\) lacks feature and N"),
    "Mean($close)": (0, "lacks N"),
    "Mean($close,5,6)": (14, "received 3 arguments"),
    "Mean($close,M=5)": (12, "has no argument M"),
    "Quantile($close,5,qcore=1)": (18, "did you mean qscore"),
    "Mean($close,5,N=6)": (14, "received N twice"),
    "Mean(N=5,N=6,feature=$close)": (9, "given twice"),
    "Mean(N=5,$close)": (9, "stands after one with a name"),
    "Mean($close,5.0)": (12, "whole number of rows"),
    "Mean($close,-3)": (12, "N must be 0 or from 1"),
    "Mean($close,99999999)": (12, "N must be"),
    "Mean($close,True)": (12, "N must be"),
    "Mean($close,$open)": (12, "N must be"),
    "Mean(5,5)": (5, "feature must be a formula, received 5"),
    "Skew($close,2)": (12, "from 3"),
    "Kurt($close,3)": (12, "from 4"),
    "Rank($close,0.5)": (12, "whole number"),
    "Corr($close,1,5)": (12, "feature_right must be a formula"),
    "Quantile($close,5,1.5)": (18, "qscore must be a number from 0 to 1"),
    "Add(1,2)*$close": (0, "Add needs at least one formula"),
    "Add($close,'a')": (11, "a formula or a number"),
    "Rolling($close,5,'maen')": (17, "did you mean mean"),
    "And($close,$open)": (0, "And joins questions"),
    "Not($close)": (0, "Not joins questions"),
    "$close&$open": (6, "joins questions"),
    "$close>1 & $open<2": (9, "And joins questions"),  # Python's precedence: & before >
    "($close>1)-($open>1)": (10, "Sub does not take bool and bool"),
    "If(1,$close,$open)": (3, "condition must be a formula"),
    "Feature()": (0, "Feature takes one name"),
    "Feature('../etc/passwd')": (0, "is not the name of a column"),
    "Feature($close)": (0, "Feature takes one name"),
    "$close/(1/0)": (9, "cannot be computed: division by zero"),
    "$close*9.0**999": (10, "cannot be computed"),
    "$close*(9**9**9)": (9, "cannot be computed"),
    "$close*(-8)**0.5": (11, "not finite"),
    "$close*1e999": (7, "not finite"),
    "$close*(9007199254740991**64)": (24, "not finite: inf"),
    "$close*" + "9" * 41: (7, "a number of 41 characters"),
}


@pytest.mark.parametrize("text", SAID)
def test_an_error_points_at_the_column_and_says_what_to_write(text):
    column, said = SAID[text]
    with pytest.raises(ExpressionError, match=f"(?s){said}") as caught:
        parse(text)
    assert caught.value.column == column
    if text:
        shown, marker = str(caught.value).splitlines()[1:3]
        assert marker.index("^") == 4 + column and shown[4:] == text
    assert isinstance(caught.value, InputError) and isinstance(caught.value, ValueError)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


@pytest.mark.parametrize("text", ["-$close", "+$close", "~($close>1)", "$close//2", "$close%2"])
def test_compat_refuses_what_qlib_cannot_say(text):
    parse(text)
    with pytest.raises(ExpressionError, match="Qlib has no"):
        parse(text, compat="qlib")


def test_compat_keeps_the_last_pair_of_a_chain_as_qlib_does():
    assert str(parse("1<$a<3", compat="qlib")) == "Lt($a,3)"


@pytest.mark.parametrize("opening", ["(", "Abs(", "-", "2**", "Mean(Mean(", "$x+("])
def test_nesting_without_end_is_an_error_not_a_crash(opening):
    for closed in ("$x" + ")" * 100_000, "$x", ""):
        for times in (DEEPEST + 1, 5_000, 15_000):
            with pytest.raises(ExpressionError):
                parse((opening * times + closed)[: LONGEST + 1])


def test_length_is_limited_and_only_the_surroundings_are_shown():
    with pytest.raises(ExpressionError, match=f"has {LONGEST + 1} characters, allowed are {LONGEST}") as caught:
        parse("$" * (LONGEST + 1))
    assert len(str(caught.value)) < 300
    with pytest.raises(ExpressionError, match="unexpected") as caught:
        parse("$x+" * 5000 + "?" + "+$x" * 5000)
    assert len(str(caught.value)) < 300 and "?" in str(caught.value)
    shown, marker = str(caught.value).splitlines()[1:3]
    assert shown[marker.index("^")] == "?"


def test_a_sum_of_thousands_of_terms_needs_no_deep_stack():
    texts = "+".join(f"$f{i}" for i in range(5000))
    began = time.perf_counter()
    node = parse(texts)
    assert str(node).count("Add(") == 4999
    assert time.perf_counter() - began < 5
    assert str(parse("-".join(["$x"] * 3000) + "*2")).endswith("Mul($x,2))")


def test_depth_within_the_limit_is_fine():
    deep = "(" * (DEEPEST - 2) + "$x" + ")" * (DEEPEST - 2)
    assert str(parse(deep)) == "$x"


_WORDS = "$x $close $$p_q 1 0 2.5 .5 1e3 'a' ( ) , = N N=5 Mean Ref If Corr and None True Feature ? $ \u0663"
_SIGNS = "+ - * / // % ** < >= == & | ~"
tokens = st.sampled_from([*_WORDS.split(" "), *_SIGNS.split(" "), " ", "\n"])


@given(st.lists(tokens, max_size=25).map("".join) | st.text(max_size=40))
@example("$x" * 50)
@settings(max_examples=1500, deadline=None)
def test_any_text_is_a_node_or_an_expression_error(text):
    for compat in (None, "qlib"):
        try:
            node = parse(text, compat=compat)
        except ExpressionError as error:
            assert error.column >= 0
        else:
            assert parse(str(node), compat=compat) is node


numbers = st.integers(0, 99).map(str) | st.floats(0.125, 8, width=16).map(str)
arithmetic = st.recursive(
    numbers,
    lambda inner: (
        st.builds("{}{}{}".format, inner, st.sampled_from(["+", "-", "*", "/", " - ", "//"]), inner)
        | st.builds("({})".format, inner)
        | st.builds("-{}".format, inner)
        | st.builds("{}**{}".format, numbers, st.sampled_from(["2", "0.5", "-1"]))
    ),
)


@given(arithmetic)
@settings(max_examples=300, deadline=None)
def test_numbers_are_folded_as_python_computes_them(text):
    try:
        wanted = eval(compile(ast.parse(text, mode="eval"), "", "eval"), {})
    except ZeroDivisionError:
        with pytest.raises(ExpressionError, match="cannot be computed"):
            parse(f"Power($x,({text}))")
        return
    if abs(wanted) > 1e300 or isinstance(wanted, complex):
        return
    assert parse(f"Power($x,({text}))").arguments[1] == pytest.approx(float(wanted), rel=1e-12)


def test_nodes_are_interned_and_let_go():
    assert parse("Mean($x,5)/$y") is parse(" Mean($X , N=5) / Feature('y')")
    assert parse("Mean($x,5)") is not parse("Mean($x,5)", compat="qlib")
    assert parse("Add($x,1)") is not parse("Add($x,1.0)")
    assert parse("Mul($x,0.0)") is not parse("Mul($x,-0.0)")
    node = parse("Ref(Mean($nowhere,5),3)")
    assert pickle.loads(pickle.dumps(node)) is node
    identity = id(node)
    del node
    gc.collect()
    assert all(id(c) != identity for c in gc.get_objects() if isinstance(c, OPERATORS["Ref"]))
    assert isinstance(parse("$x"), Column)
