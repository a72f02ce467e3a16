"""Operators of users: what pyqlib answers for them, what they may rely on, and what they are told."""

from __future__ import annotations

import json
import logging
import pickle
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import users_operators as users
from hypothesis import given, settings
from hypothesis import strategies as st
from joblib import Parallel, delayed

import qlib
import qlib.data.ops as ops
from qlib.config import C, build_settings
from qlib.data import D
from qlib.data.data import ExpressionD
from qlib.data.expression import build_plan, evaluate, parse
from qlib.data.expression.legacy import OperatorError, declare
from qlib.data.ops import (
    Corr,
    ElemOperator,
    Feature,
    If,
    Mean,
    NpElemOperator,
    Operators,
    OpsList,
    OpsWrapper,
    PairRolling,
    Power,
    Ref,
    Rolling,
    TOpsList,
    register_all_ops,
)
from qlib.data.panel import Panel, Surroundings
from qlib.data.provider import Provider
from qlib.data.storage.writer import write_store
from qlib.errors import ConfigError, ExpressionError
from qlib.session import Session

DAYS = users.DAYS
GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "users_operators.json").read_text())
close = Feature("close")


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return write_store(users.bars(), tmp_path_factory.mktemp("p") / "s", "day")


def session(root: Path, *more: type, **settings) -> Session:
    return Session(build_settings(provider_uri=root, custom_ops=[*users.OPS, *more], **settings)).activate()


@pytest.fixture
def told():
    messages: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())
    logging.getLogger("qlib").addHandler(handler)
    yield messages
    logging.getLogger("qlib").removeHandler(handler)


# ------------------------------------------------------------------------------------------------ pyqlib's answers
# Rows that an operator adds to those of its formulas are left out: Excess loads another instrument by itself.
FEWER_ROWS = {field for field in users.FIELDS if "Excess" in field}
# pandas 2, on which the answers were made, divides by the root of n - 1.
SEM = {field for field in users.FIELDS if "Sem" in field}


@pytest.mark.parametrize("compat", [None, "qlib"])
def test_operators_of_users_answer_what_they_do_under_pyqlib(root, compat):
    session(root, compat=compat)
    ours = json.loads(json.dumps(users.answers(D.features)))
    assert list(ours) == list(GOLDEN) and all(list(ours[q]) == list(GOLDEN[q]) for q in GOLDEN)
    for query, fields in GOLDEN.items():
        for field, rows in fields.items():
            if field in SEM and compat is None:
                continue
            got, wanted = (
                pd.DataFrame(
                    {n: pd.Series(v, pd.date_range(day, periods=len(v)), dtype="f8") for n, (day, v) in r.items()}
                )
                for r in (ours[query][field], rows)
            )
            if field in FEWER_ROWS:
                wanted = wanted.reindex(got.index)
            else:
                assert {n: (r[0], len(r[1])) for n, r in rows.items()} == {
                    n: (r[0], len(r[1])) for n, r in ours[query][field].items()
                }, f"{field}: other rows"
            np.testing.assert_allclose(got[list(wanted)], wanted, rtol=2e-5, atol=1e-6, err_msg=f"{query} {field}")


def test_the_standard_error_divides_by_the_root_of_n(root):
    session(root)
    found = D.features(["AAA"], ["Sem($close,5)", 'Rolling($close,5,"sem")', "Std($close,5)/Count($close,5)**0.5"])
    np.testing.assert_array_equal(found.iloc[:, 0], found.iloc[:, 2])
    np.testing.assert_array_equal(found.iloc[:, 1], found.iloc[:, 2])


# ------------------------------------------------------------------------------------------------ laws
HONEST = [f for f in users.FIELDS if "CumSum" not in f and "Fill" not in f]


@given(data=st.data(), start=st.integers(0, 39), length=st.integers(0, 20))
@settings(max_examples=25, deadline=None)
def test_an_honest_operators_values_do_not_depend_on_where_the_query_begins(root, data, start, length):
    p = session(root).provider
    fields = data.draw(st.lists(st.sampled_from(HONEST), min_size=1, max_size=4, unique=True))
    whole = p.features(users.NAMES, fields)
    part = p.features(users.NAMES, fields, DAYS[start], DAYS[min(start + length, 39)])
    same = whole.loc[part.index]
    assert len(same) == len(part)
    if len(part):  # of two empty frames pandas 2 compares what their indexes might have held
        pd.testing.assert_frame_equal(part, same, check_exact=True)


@pytest.mark.parametrize("compat", [None, "qlib"])
def test_what_else_is_asked_changes_no_value_not_even_of_one_that_looks_further_than_it_says(root, compat):
    p = session(root, compat=compat).provider
    beside = ["EMA($close,5)", "Sum($x,0)", "Ref($close,-3)", "Mask($close,'IDX')", "Mean($close,9)"]
    mine = ["CumSum($volume)", "Fill($x)", "Above($close,5)", "Mean(Fill($x),3)", "Mask(CumSum($volume),'LATE')"]
    together = p.features(users.NAMES, [*mine, *beside], DAYS[12], DAYS[30])
    for field in mine:
        alone = p.features(users.NAMES, [field], DAYS[12], DAYS[30])
        pd.testing.assert_frame_equal(together[[field]].loc[alone.index], alone, check_exact=True)


class Chosen(ElemOperator):
    """Returns some of its rows, in any order, and some that the instrument does not have."""

    def __init__(self, feature, seed):
        super().__init__(feature)
        self.seed = seed

    def _load_internal(self, instrument, start_index, end_index, *args):
        series = self.feature.load(instrument, start_index, end_index, *args)
        more = pd.Series(-1.0, index=[start_index - 2, end_index + 3])
        rng = np.random.default_rng([self.seed, len(series)])
        return pd.concat([series.astype("f8"), more]).sample(frac=0.6, random_state=rng)


@given(
    spans=st.lists(st.tuples(st.integers(3, 30), st.integers(0, 9)), min_size=1, max_size=4), seed=st.integers(0, 99)
)
@settings(max_examples=60, deadline=None)
def test_what_is_returned_stands_at_its_calendar_position(spans, seed):
    lengths = [n for _, n in spans]
    values = np.arange(sum(lengths), dtype="f4") + 0.5
    panel = Panel(
        tuple(f"i{k}" for k in range(len(spans))),
        np.cumsum([0, *lengths]),
        np.array([a for a, _ in spans]),
        {"x": values},
    )
    registry = OpsWrapper().registry
    registry.register(declare(Chosen))
    (got,) = evaluate(build_plan([f"Chosen($x,{seed})"], registry=registry), panel)
    for (first, n), low, high in zip(spans, panel.start[:-1], panel.start[1:], strict=True):
        own = pd.Series(values[low:high], index=pd.RangeIndex(first, first + n))
        if not n:
            continue
        more = pd.Series(-1.0, index=[first - 2, first + n - 1 + 3])
        rows = pd.concat([own.astype("f8"), more]).sample(frac=0.6, random_state=np.random.default_rng([seed, n]))
        np.testing.assert_array_equal(got[low:high], rows.reindex(own.index).to_numpy("f4"))


def test_arguments_are_computed_by_the_engine_and_handed_out(root):
    """A panel without a store: what the operator loads is what the plan computed, in its own dtype."""
    seen = {}

    class Look(ElemOperator):
        def _load_internal(self, instrument, start_index, end_index, *args):
            series = self.feature.load(instrument, start_index, end_index, *args)
            seen[instrument] = (series.dtype.name, series.name, list(series.index), args)
            series[:] = series.iloc[0]  # a copy: nothing of ours changes
            return series

    registry = OpsWrapper().registry
    for made in (Look, users.Above):
        registry.register(declare(made))
    panel = Panel(("a", "b", "none"), np.array([0, 3, 5, 5]), np.array([4, 0, 0]), {"x": np.arange(5, dtype="f4")})
    texts = ["Look($x)", "Look($x>1)", "Look(Mean($x,2))", "Look(Above($x,2))", "$x>1", "Mean($x,2)"]
    expected = ["float32", "bool", "float64", "bool"]
    got = evaluate(build_plan(texts, registry=registry), panel)
    assert got[4].tolist() == [0, 0, 1, 1, 1] and got[5].tolist() == [0, 0.5, 1.5, 3, 3.5]
    for text, dtype in zip(texts, expected, strict=False):
        seen.clear()
        evaluate(build_plan([text], registry=registry), panel)
        assert {i: s[0] for i, s in seen.items()} == {"a": dtype, "b": dtype}, text
        assert seen["a"][2] == [4, 5, 6] and seen["b"][2] == [0, 1] and seen["a"][3] == ()
    evaluate(build_plan(["Look($x)"], registry=registry), Panel(*_fields(panel), Surroundings(freq="60min")))
    assert seen["a"][1] == "$x" and seen["a"][3] == ("60min",)


def _fields(panel: Panel) -> tuple:
    return panel.instruments, panel.start, panel.first, panel.columns


def test_an_operator_may_load_more_than_its_rows(root):
    """Ten rows before the query, which it did not declare: they are read for it, as in Qlib."""

    class Before(ElemOperator):
        def _load_internal(self, instrument, start_index, end_index, *args):
            series = self.feature.load(instrument, max(start_index - 10, 0), end_index, *args)
            return series.rolling(10, min_periods=1).mean().loc[start_index:end_index]

    p = session(root, Before).provider
    part = p.features(["AAA"], ["Before($close)", "Mean($close,10)"], DAYS[15], DAYS[18])
    np.testing.assert_allclose(part.iloc[:, 0], part.iloc[:, 1], rtol=1e-6)


def test_windows_are_added_to_those_of_the_arguments(root):
    p = session(root).provider

    def span(text: str) -> tuple[float, float]:
        plan = build_plan([text], registry=p.registry)
        return plan.span.back, plan.span.ahead

    assert span("Above($close,5)") == (4, 0) and span("Mean(Above(Ref($close,-2),5),3)") == (6, 2)
    assert span("Ahead(Mean($close,3))") == (2, 2) and span("TrueRange(5)") == (5, 0)
    assert span("Above(EMA($close,3),5)")[0] == np.inf, "all history, as the mean does; under Qlib's rules 2 + 4"
    assert build_plan(["Above(EMA($close,3),5)"], compat="qlib", registry=p.registry).span.back == 6
    assert span("Above(Corr($close,$open,0),5)")[0] == np.inf, "a formula that Qlib does not have"


# ------------------------------------------------------------------------------------------------ in formulas
def test_answers_are_questions_where_a_question_is_needed(root):
    p = session(root).provider
    node = parse("And(Above($close,5),$close>$open)", registry=p.registry)
    assert str(node) == "And(Above($close,5),Gt($close,$open))" and parse(str(node), registry=p.registry) is node
    found = p.features(["AAA", "LATE"], ["Above($close,5)|($x>0)", "Not(Above($close,5))", "Above($close,5)"])
    above, x = found.iloc[:, 2] == 1, p.features(["AAA", "LATE"], ["$x"]).iloc[:, 0]
    np.testing.assert_array_equal(found.iloc[:, 0], above | (x > 0))
    np.testing.assert_array_equal(found.iloc[:, 1], ~above)
    moved = p.features(
        ["AAA"], ["Ref(Above($close,5),1)&($x>0)", "Mask(Above($close,5),'AAA')|(1>$x)", "Above($close,5)"]
    )
    before, positive = moved.iloc[:, 2].shift(1) == 1, (x > 0).loc[["AAA"]]
    np.testing.assert_array_equal(moved.iloc[:, 0], before & positive)
    np.testing.assert_array_equal(moved.iloc[:, 1], (moved.iloc[:, 2] == 1) | (x < 1).loc[["AAA"]])
    sums = p.features(["AAA"], ["Above($close,5)+Above($close,3)-($close>$open)"]).iloc[:, 0]
    assert set(sums) == {-1, 0, 1, 2}
    with pytest.raises(
        OperatorError, match=r"RelativeTo\(\$close,2\) answered .* for AAA where true or false is needed"
    ):
        p.features(["AAA"], ["RelativeTo($close,2)&($x>0)"])


def test_a_class_that_only_names_a_statistic_is_that_statistic(root):
    p = session(root).provider

    class Same(Mean):
        """Nothing of its own."""

    Operators.register([Same])
    assert parse("Sem($x,5)", registry=p.registry) is parse('Rolling($x,5,"sem")')
    assert parse("Same($x,5)", registry=p.registry) is parse("Mean($x,5)")


def test_the_text_of_a_call_is_read_as_the_same_node(root):
    class Many(ElemOperator):
        def __init__(self, feature, *names, low=0.5, word="no"):
            super().__init__(feature)
            self.given = (*names, low, word)

        def _load_internal(self, *args):
            return self.feature.load(*args)

    p = session(root, Many).provider
    texts = {
        "Above($x,N=3)": "Above($x,3)",
        "Many( $x )": "Many($x)",
        "Many($x, 'a', 2, word='b')": "Many($x,'a',2,word='b')",
        "Corr(Tanh(Above($x)), Many($y, low=-1.5), 6)": "Corr(Tanh(Above($x)),Many($y,low=-1.5),6)",
    }
    for text, canonical in texts.items():
        node = parse(text, registry=p.registry)
        assert str(node) == canonical and parse(canonical, registry=p.registry) is node
    assert parse("Many($x,'a',2,word='b')", registry=p.registry).made.given == ("a", 2, 0.5, "b")


@pytest.mark.parametrize(
    "name", ["sum", "mean", "kurt", "median", "sem", "rank", "first", "last", "nunique", "corr", "cov"]
)
def test_rolling_takes_the_names_of_pandas(name):
    x = np.array([1, 2, 2, np.nan, 5, 1, 1, 3, 8, -4], "f4")
    panel = Panel(("a",), np.array([0, 10]), np.array([0]), {"x": x})
    (got,) = evaluate(build_plan([f"Rolling($x, 4, {name!r})"]), panel)
    if not hasattr(pd.Series().rolling(4), name):
        pytest.skip(f"this pandas has no rolling {name}")
    wanted = getattr(pd.Series(x).astype("f8").rolling(4, min_periods=1), name)()
    if name == "sem" and pd.__version__ < "3":
        wanted *= np.sqrt(1 - 1 / pd.Series(x).rolling(4, min_periods=1).count())
    if name == "corr":  # pandas: of constant windows 1 or not, as it rounds
        wanted = wanted.where(pd.Series(x).rolling(4, min_periods=1).std() > 0)
    np.testing.assert_allclose(got, wanted, rtol=1e-5)


def test_names_that_need_more_than_a_window_say_what_to_write():
    for name, hint in (("quantile", "write Quantile"), ("apply", "make an operator of your own")):
        with pytest.raises(ExpressionError, match=f"{name} needs more than a window; .*{hint}"):
            parse(f"Rolling($x,4,{name!r})")
    with pytest.raises(ExpressionError, match="func must be one of mean.*did you mean median"):
        parse("Rolling($x,4,'medain')")


# ------------------------------------------------------------------------------------------------ as objects
def test_objects_compose_load_and_print(root):
    p = session(root).provider
    above = users.Above(close, 5)
    both = Mean(above, 3)
    assert str(both) == "Mean(Above($close,5),3)" and str(pickle.loads(pickle.dumps(both))) == str(both)
    frame = p.features(["AAA"], [both, above & (close > 5)])
    assert list(frame) == ["Mean(Above($close,5),3)", "And(Above($close,5),Gt($close,5))"]
    series = both.load("AAA", 10, 14, "day")
    assert series.name == str(both) and series.dtype == "f8" and list(series.index) == [10, 11, 12, 13, 14]
    np.testing.assert_allclose(series, frame.iloc[10:15, 0], rtol=1e-6)
    assert above.load("AAA", 10, 14).dtype == bool
    assert (both.feature.N, both.N) == (5, 3) and both.feature.feature is close
    assert Mean(close, 5).load("AAA", None, None).shape == (40,)
    with pytest.raises(ValueError, match="Invalid index range: 6 3"):
        close.load("AAA", 6, 3, "day")
    assert str(NpElemOperator(close, "sqrt")) == "NpElemOperator($close,'sqrt')"
    np.testing.assert_allclose(NpElemOperator(close, "sqrt").load("AAA", 0, 3) ** 2, close.load("AAA", 0, 3), rtol=1e-6)


@pytest.mark.parametrize("compat", [None, "qlib"])
def test_a_formula_that_is_loaded_by_its_rows(root, compat):
    """By Qlib's rules a window begins with what is loaded, by ours at the listing."""
    session(root, compat=compat)
    whole, part = (Mean(close, 5).load("AAA", first, 14) for first in (0, 12))
    np.testing.assert_allclose(part.iloc[-1], whole.iloc[-1] if compat is None else close.load("AAA", 12, 14).mean())
    assert Mean(Feature("nothing"), 5).load("AAA", 0, 9).empty and close.load("LATE", 0, 9).empty


def test_an_object_of_a_formula_has_its_operators_class(root):
    session(root)
    found = ExpressionD.get_expression_instance("Corr($close/2, Above($x, 4), 10)")
    assert isinstance(found, Corr) and isinstance(found, PairRolling) and found.N == 10
    assert isinstance(found.feature_right, users.Above) and found.feature_right.N == 4
    assert isinstance(found.feature_left, ops.Div) and type(found.feature_left.feature_right) is int
    assert found.get_extended_window_size() == (12, 0) and str(found) == "Corr(Div($close,2),Above($x,4),10)"
    assert ExpressionD.get_expression_instance("Corr($close/2, Above($x, 4), 10)") is found


@pytest.mark.parametrize(
    ("made", "back", "window"),
    [  # what pyqlib answers
        (close, 0, (0, 0)),
        (Mean(close, 5), 4, (4, 0)),
        (Mean(close, 0), np.inf, (0, 0)),
        (Mean(close, 0.3), 38, (37, 0)),
        (Ref(close, 3), 3, (3, 0)),
        (Ref(close, -2), -2, (0, 2)),
        (Ref(close, 0), np.inf, (0, 0)),
        (ops.Delta(close, 3), 2, (2, 0)),
        (Corr(close, close, 10), 0, (9, 0)),
        (Corr(Mean(close, 4), close, 3), 3, (5, 0)),
        (If(close > 1, Mean(close, 4), 2), 3, (3, 0)),
        (ops.EMA(close, 5), 4, (4, 0)),
        (Power(close, 2), 0, (0, 0)),
        (2 * close, 0, (0, 0)),
        (ops.ChangeInstrument("IDX", Mean(close, 4)), 3, (3, 0)),
        (ops.Mask(Mean(close, 3), "IDX"), 2, (2, 0)),
        (Ref(Mean(close, 5), -7), -3, (4, 7)),
        (Rolling(close, 5, "sem"), 4, (4, 0)),
        (PairRolling(close, close, 5, "corr"), 0, (4, 0)),
        (NpElemOperator(close, "sqrt"), 0, (0, 0)),
        (ops.NpPairOperator(close, 2, "fmod"), 0, (0, 0)),
        (users.Surprise(close, 10), 10, (10, 0)),
        (Mean(users.Above(close, 5), 3), 6, (6, 0)),
    ],
    ids=str,
)
def test_windows_of_objects_are_qlibs(made, back, window):
    assert made.get_longest_back_rolling() == back and made.get_extended_window_size() == window


def test_old_division_and_the_bases_are_there():
    assert str(close.__div__(2)) == "Div($close,2)" and str(close.__rdiv__(2)) == "Div(2,$close)"
    assert issubclass(Mean, Rolling) and issubclass(Ref, Rolling) and issubclass(Corr, PairRolling)
    assert issubclass(ops.Abs, NpElemOperator) and issubclass(ops.Add, ops.NpPairOperator)
    assert issubclass(ops.ChangeInstrument, ElemOperator) and issubclass(ops.Mask, NpElemOperator)
    for wrong in (lambda: Rolling(close, 5, "smu"), lambda: PairRolling(close, close, 5, "sum")):
        with pytest.raises(ExpressionError, match="func must be one of"):
            wrong()


def test_a_text_reaches_no_function_of_numpy_but_those_that_work_row_by_row(root):
    session(root, NpElemOperator, ops.NpPairOperator)
    found = D.features(["AAA"], ["NpElemOperator($close,'sqrt')", "NpPairOperator($close,2,'fmod')", "$close"])
    np.testing.assert_allclose(found.iloc[:, 0] ** 2, found.iloc[:, 2], rtol=1e-6)
    np.testing.assert_allclose(found.iloc[:, 1], found.iloc[:, 2] % 2, rtol=1e-6)
    for text, hint in (("NpElemOperator($close,'load')", "such as"), ("NpElemOperator($close,'sqrtt')", "mean sqrt")):
        with pytest.raises(ExpressionError, match=f"function of numpy that works row by row.*{hint}"):
            D.features(["AAA"], [text])


# ------------------------------------------------------------------------------------------------ registering
def test_operators_by_name(root, told):
    live = session(root)
    assert Operators.Mean is Mean and Operators.Above is users.Above and Operators.Rolling is Rolling
    with pytest.raises(AttributeError, match=r"The operator \[Foo\] is not registered"):
        print(Operators.Foo)

    class Above(ElemOperator):
        def _load_internal(self, *args):
            return self.feature.load(*args) * 0 + 7

    Operators.register([Above])
    assert told == ["custom_ops: Above takes the place of the operator of that name"]
    assert (D.features(["LATE"], ["Above($close)"]).iloc[:, 0] == 7).all(), "at once, for the live session"
    other = Session(build_settings(provider_uri=root))
    with pytest.raises(ExpressionError, match="no operator is called Above"):
        other.provider.features(["LATE"], ["Above($close)"])
    register_all_ops(C)
    assert Operators.Above is users.Above and live.provider.registry["Above"] is declare(users.Above)
    Operators.reset()
    with pytest.raises(ExpressionError, match="no operator is called Mean"):
        D.features(["LATE"], ["Mean($close,3)"])
    register_all_ops(C)
    assert len(D.features(["LATE"], ["Mean($close,3)"])) == 26


def test_qlibs_list_of_operators():
    assert len(OpsList) == 50 and TOpsList == [ops.TResample] and OpsList[0] is ops.ChangeInstrument
    assert all(getattr(OpsWrapper(), made.__name__) is made for made in OpsList)
    table = OpsWrapper()
    table.register(OpsList)
    assert pickle.loads(pickle.dumps(table)).Mean is Mean


@pytest.mark.parametrize("wrong", [int, 3, "Mean", OpsWrapper, Mean(close, 5)])
def test_what_is_no_operator_is_not_registered(wrong):
    table = OpsWrapper()
    with pytest.raises(TypeError, match="custom_ops: received") as raised:
        table.register([users.Above, wrong])
    assert isinstance(raised.value, ConfigError) and "Above" not in vars(table)["_ops"]


def test_operators_may_be_named_by_their_module(root):
    qlib.init(provider_uri=root, custom_ops=[{"class": "Above", "module_path": "users_operators"}])
    assert D.features(["LATE"], ["Above($close, 5)"]).isin([0, 1]).all().all()
    with pytest.raises(AttributeError, match="no class or function Abov; did you mean Above"):
        qlib.init(provider_uri=root, custom_ops=[{"class": "Abov", "module_path": "users_operators"}])


# ------------------------------------------------------------------------------------------------ processes, threads
def _answers(provider: Provider, name: str) -> pd.DataFrame:
    return provider.features([name], ["Mean(Above($close,5),3)", "Beta($close,$open,6)", "TrueRange(3)"])


def test_plans_and_providers_travel_between_processes(root):
    p = session(root, kernels=1).provider
    plan = build_plan(["Mean(Above($close,N=5),3)"], registry=p.registry)
    assert pickle.loads(pickle.dumps(plan)).roots[0] is plan.roots[0]
    found = Parallel(n_jobs=2)(delayed(_answers)(p, name) for name in ("AAA", "LATE"))
    pd.testing.assert_frame_equal(pd.concat(found), pd.concat([_answers(p, n) for n in ("AAA", "LATE")]))


@pytest.mark.parametrize("threads", [2, 8])
def test_an_operator_is_asked_once_per_instrument_on_any_number_of_threads(root, threads):
    asked = []

    class Asked(ElemOperator):
        def _load_internal(self, instrument, start_index, end_index, *args):
            asked.append(instrument)
            return self.feature.load(instrument, start_index, end_index, *args)

    session(root, Asked, kernels=threads)
    found = D.features(["AAA", "DEAD", "LATE"], ["Mean(Asked($close),3)", "Ref(Asked($close),2)", "Mean($close,3)"])
    assert sorted(asked) == ["AAA", "DEAD", "LATE"]
    np.testing.assert_array_equal(found.iloc[:, 0], found.iloc[:, 2])


def test_two_threads_may_ask_at_once(root):
    p = session(root).provider
    wanted = p.features(users.NAMES, users.FIELDS)
    found: list[pd.DataFrame] = []
    threads = [threading.Thread(target=lambda: found.append(p.features(users.NAMES, users.FIELDS))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3
    for one in found:
        pd.testing.assert_frame_equal(one, wanted)


# ------------------------------------------------------------------------------------------------ what goes wrong
def failing(answer):
    class Mine(ElemOperator):
        def _load_internal(self, instrument, start_index, end_index, *args):
            return answer(self.feature.load(instrument, start_index, end_index, *args))

    return Mine


def explode(series):
    message = "no luck today"
    raise KeyError(message)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (explode, r"Mine failed for AAA in Mine\(\$close\): KeyError: 'no luck today'"),
        (
            lambda s: 3,
            r"Mine returned int, a pandas Series by calendar position is expected, for AAA in Mine\(\$close\)",
        ),
        (lambda s: s.to_numpy(), "Mine returned ndarray, a pandas Series by calendar position is expected"),
        (lambda s: s.astype(str), "Mine returned values such as '.*', numbers and booleans are expected"),
        (
            lambda s: s.set_axis(DAYS[: len(s)]),
            r"Mine returned an index of datetime64.*calendar positions are expected",
        ),
        (
            lambda s: pd.concat([s, s]),
            "Mine returned some calendar positions twice, for AAA|some calendar positions twice for",
        ),
        (lambda s: Mean(close, -1), r"Mine failed for AAA.*ExpressionError: Mean: N must be 0 or from 1"),
        (lambda s: close.load("AAA", 9, 3), "Mine failed for AAA.*Invalid index range: 9 3"),
        (
            lambda s: ops.CSRank(close).load("AAA", 0, 3),
            "compares the instruments of a query with each other, AAA is alone",
        ),
    ],
)
def test_a_failure_names_operator_instrument_and_formula(root, answer, said):
    session(root, failing(answer))
    with pytest.raises(OperatorError, match=said):
        D.features(["AAA", "LATE"], ["Mean(Mine($close),3)"])


def test_a_failure_further_in_is_told_once(root):
    session(root, failing(explode))
    with pytest.raises(OperatorError) as raised:
        D.features(["AAA"], ["Decay(Above(Mine($close),3),4)"])
    assert str(raised.value) == "Mine failed for AAA in Mine($close): KeyError: 'no luck today'"


class NoLoad(ElemOperator):
    """Forgot how it is computed."""


class NoWindow(ops.ExpressionOps):
    def __init__(self, feature):
        self.feature = feature

    def _load_internal(self, *args):
        return self.feature.load(*args)


class OddWindow(ElemOperator):
    def _load_internal(self, *args):
        return self.feature.load(*args)

    def get_extended_window_size(self):
        return "5"


class Odd(ElemOperator):
    def __init__(self, feature, n):
        super().__init__(feature)
        if n % 2 == 0:
            message = "n must be odd"
            raise ValueError(message)

    def _load_internal(self, *args):
        return self.feature.load(*args)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("NoLoad($x)", "NoLoad does not say how it is computed: its class defines no _load_internal"),
        ("NoWindow($x)", r"NoWindow.get_extended_window_size\(\) must return.*defines no get_extended_window_size"),
        ("OddWindow($x)", r"OddWindow.get_extended_window_size\(\) must return the rows before and after its own"),
        ("Odd($x, 4)", "Odd: ValueError: n must be odd"),
        ("1 + Odd($x)", r"Odd\(feature, n\): missing a required argument: 'n'"),
        ("Odd($x, 3, m=2)", r"Odd\(feature, n\): got an unexpected keyword argument 'm'"),
    ],
)
def test_what_cannot_work_is_refused_when_it_is_read(root, text, said):
    session(root, NoLoad, NoWindow, OddWindow, Odd)
    with pytest.raises(ExpressionError, match=said):
        D.features(["AAA"], [text])


def test_a_formula_holds_no_other_things():
    with pytest.raises(
        ExpressionError, match=r"Above: a formula's text holds formulas, numbers and texts.*received \[5\]"
    ):
        users.Above(close, [5]).node()
