"""What the oracle tests share: panels, a sample call of every operator, and the naive way to compute a formula."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from qlib.data.expression import OPERATORS
from qlib.data.expression.node import Column, Node, PanelOperator, walk
from qlib.data.expression.parameters import Number, OneOf, Series, Value, Window
from qlib.data.kernels import reference
from qlib.data.panel import Panel

FIELDS = ("x", "y")
odd = st.sampled_from([np.nan, np.nan, np.inf, -np.inf])
plain = st.floats(2**-8, 2**12, width=32) | st.integers(-3, 3).map(float)


@st.composite
def panels(draw, elements=plain | odd, longest=12):
    """Ragged panels: unequal listing dates, empty and one-row instruments, NaN, infinity, ties, constant runs."""
    lengths = draw(st.lists(st.integers(0, longest), min_size=1, max_size=4))
    rows = sum(lengths)
    columns = {}
    for name in FIELDS:
        values = draw(arrays("f4", rows, elements=elements))
        if rows and draw(st.booleans()):  # a constant run
            low, high = sorted((draw(st.integers(0, rows)), draw(st.integers(0, rows))))
            values[low:high] = 0.1
        columns[name] = values
    first = np.array([draw(st.integers(0, 9)) for _ in lengths], dtype=np.int64)
    return Panel(tuple(f"i{k}" for k in range(len(lengths))), np.cumsum([0, *lengths]), first, columns)


def market(seed: int, instruments: int = 7, rows: int = 120) -> Panel:
    """A panel like a market: prices in x, volumes in y, gaps, an infinite volume, different listings."""
    rng = np.random.default_rng(seed)
    lengths = [0, 1, *rng.integers(2, rows, instruments - 3).tolist(), rows]
    total = sum(lengths)
    x = np.exp(rng.normal(0, 0.02, total).cumsum())
    y = rng.lognormal(3, 1, total).round(1)
    x[rng.random(total) < 0.05] = np.nan
    y[rng.random(total) < 0.02] = np.inf
    columns = {"x": x.astype("f4"), "y": y.astype("f4")}
    return Panel(
        tuple(f"i{k}" for k in range(len(lengths))),
        np.cumsum([0, *lengths]),
        rng.integers(0, 40, len(lengths)),
        columns,
    )


def samples(window: int) -> list[str]:
    """Return one call of every operator that needs nothing but rows, with the given window where there is one.

    Operators that look elsewhere (another instrument, records of periods) have their laws in their own tests.
    """
    texts = []
    for name, operator in OPERATORS.items():
        if issubclass(operator, PanelOperator) and not operator.across:
            continue
        logical = name in ("And", "Or", "Not")
        arguments = []
        for place, parameter in enumerate(operator.parameters):
            match parameter:
                case Window(least=least):
                    arguments.append(str(max(window, least) if window else 0))
                case Number():
                    arguments.append("0.3")
                case OneOf(words=words):
                    arguments.append(repr(words[0]))
                case Series() | Value():
                    column = f"${FIELDS[place % 2]}"
                    arguments.append(f"{column}>1" if logical or parameter.name == "condition" else column)
        texts.append(f"{name}({','.join(arguments)})")
    return texts


# ------------------------------------------------------------------------------------------------ the naive way
def _rolled(kernel: str, parameter: float = 0.0) -> Callable[..., pd.Series]:
    def sentence(x: pd.Series, window: int) -> pd.Series:
        return pd.Series(reference.one(kernel, x.to_numpy(dtype="f8"), window, parameter))

    return sentence


def _shift(x: pd.Series, n: int) -> pd.Series:
    return x if n == 0 else x.astype("f4" if x.dtype == bool else x.dtype).shift(n)


NAIVE: dict[str, Callable[..., pd.Series]] = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Greater": np.maximum,
    "Less": np.minimum,
    "Abs": np.abs,
    "Gt": np.greater,
    "Le": np.less_equal,
    "And": np.bitwise_and,
    "Not": np.invert,
    "If": lambda c, a, b: pd.Series(np.where(c, a, b)),
    "Ref": _shift,
    "Delta": lambda x, n: x - (_shift(x, n) if n else (x.iloc[0] if len(x) else x)),
    "Mean": _rolled("mean"),
    "Sum": _rolled("sum"),
    "Std": _rolled("std"),
    "Var": _rolled("var"),
    "Max": _rolled("max"),
    "Min": _rolled("min"),
    "Med": _rolled("quantile", 0.5),
    "Mad": _rolled("mad"),
    "Count": _rolled("count"),
    "Rank": _rolled("rank"),
    "IdxMax": _rolled("idxmax"),
    "WMA": _rolled("wma"),
    "Slope": _rolled("slope"),
    "Resi": _rolled("resi"),
    "EMA": lambda x, n: x.where(np.isfinite(x)).astype("f8").ewm(span=n, min_periods=1).mean(),
    "Cov": lambda x, y, n: pd.Series(reference.two("cov", x.to_numpy("f8"), y.to_numpy("f8"), n)),
    "Corr": lambda x, y, n: pd.Series(reference.two("corr", x.to_numpy("f8"), y.to_numpy("f8"), n, 1e-7)),
}


def naive(node: Node, panel: Panel, instrument: int) -> tuple[np.ndarray, float]:
    """Compute one instrument's rows without plan, tiles or kernels; also return the largest number on the way."""
    rows = slice(*panel.start[instrument : instrument + 2])
    done: dict[Node, pd.Series] = {}
    largest = 1.0
    with np.errstate(all="ignore"):
        for part in walk(node):
            if isinstance(part, Column):
                value = pd.Series(panel.columns[part.name][rows])
            else:
                arguments = [done[a] if isinstance(a, Node) else a for a in part.arguments]
                value = pd.Series(NAIVE[type(part).__name__](*arguments))
            done[part] = value
            sizes = np.abs(value.to_numpy(dtype="f8"))
            largest = max(largest, sizes[np.isfinite(sizes)].max(initial=0))
        return done[node].to_numpy(dtype="f4"), largest


# ------------------------------------------------------------------------------------------------ random formulas
# Operators that jump (a comparison, a rank) see columns only: on computed values a last bit would decide.
_columns = st.sampled_from([f"${name}" for name in FIELDS])
_near = _columns | st.builds("Ref({},{})".format, _columns, st.integers(-2, 3))
_windows = st.sampled_from([0, 1, 2, 3, 5, 8])
_questions = st.builds("{}({},{})".format, st.sampled_from(["Gt", "Le"]), _near, st.sampled_from(["1", "$y", "0.5"]))
_jumps = st.builds("{}({},{})".format, st.sampled_from(["Rank", "IdxMax", "Count"]), _near, _windows) | st.builds(
    "Corr({},{},{})".format, _columns, _columns, st.sampled_from([2, 4, 7])
)


def _grown(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    two = st.builds(
        "{}({},{})".format, st.sampled_from(["Add", "Sub", "Mul", "Greater", "Less"]), inner, inner | st.just("2")
    )
    smooth = ["Mean", "Sum", "Std", "Max", "Min", "Med", "Mad", "WMA", "Slope", "Resi"]
    rolling = st.builds("{}({},{})".format, st.sampled_from(smooth), inner, _windows)
    moved = st.builds("{}({},{})".format, st.sampled_from(["Ref", "Delta"]), inner, st.integers(-2, 3))
    choice = st.builds("If(And({},Not({})),{},{})".format, _questions, _questions, inner, inner | st.just("1"))
    other = st.builds("EMA({},{})".format, inner, st.sampled_from([2, 5])) | st.builds("Abs({})".format, inner)
    return (
        two
        | rolling
        | moved
        | choice
        | other
        | st.builds("Cov({},{},{})".format, inner, inner, st.sampled_from([2, 4]))
    )


formulas = st.recursive(_near | _jumps, _grown, max_leaves=8)
