"""The naive way to compute any formula over one instrument's rows, with a bound for what rounding may change.

    Bounded(v, e, u)      values as float64; how far a right answer may be away; whether nothing can be said at all

Numbers are computed as the contract says (numpy's dtypes, long doubles inside windows), so a formula of single rows
must be met to the last bit.  Behind a window the last bits are free, and what they may do is carried along: a mean
passes on the largest error of its rows, a product that of both sides; and where a question is asked of numbers that
rounding could turn over (is a mean above another, which of two maxima comes first), nothing is said of that row.

`compat="qlib"` is Qlib's own arithmetic where that differs, see docs/deviations.md.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from qlib.data.expression.node import STORED, Column, Node, walk
from qlib.data.expression.operators.rolling import FLAT, QLIB_FLAT, rows_that_weigh
from qlib.data.kernels import reference
from qlib.data.panel import Panel

EPS = {np.dtype("f4"): 2.0**-23, np.dtype("f8"): 2.0**-52}
WINDOWED = 1e-9  # relative error that a statistic of a window may have
HUGE, TINY = 1e60, 1e-60  # beyond, fourth powers leave the range of float64


@dataclass
class Bounded:
    """A column of one instrument; `dtype` is numpy's, of the value as the engine holds it."""

    v: np.ndarray
    e: np.ndarray
    u: np.ndarray
    dtype: np.dtype

    @classmethod
    def exact(cls, values: np.ndarray) -> Bounded:
        rows = len(values)
        return cls(values.astype("f8"), np.zeros(rows), np.zeros(rows, bool), values.dtype)

    def as_(self, dtype: np.dtype) -> Bounded:
        """Return the same as float32 or float64, rounded."""
        v = self.v.astype(dtype).astype("f8")
        e = np.where(self.e > 0, self.e + np.abs(v) * EPS[dtype] + float(np.finfo(dtype).tiny), 0)
        u = self.u | ((self.e > 0) & (np.isinf(v) | np.isinf((self.v + self.e).astype(dtype))))
        return Bounded(v, e, u, dtype)


def known(e: np.ndarray, v: np.ndarray) -> np.ndarray:
    """An error of nothing (NaN, infinity) is none."""
    return np.where(np.isfinite(v), np.nan_to_num(e, nan=np.inf, posinf=np.inf), 0)


# ------------------------------------------------------------------------------------------------ single rows
def corners(function: Callable[..., np.ndarray], sides: list[Bounded], at: list[np.ndarray]) -> np.ndarray:
    """Return how far a function that is monotone in each side moves at most, its sides moving by their errors."""
    middle = function(*at)
    most = np.zeros(len(middle))
    for signs in np.ndindex(*(3 for _ in sides)):
        moved = [x + (s - 1) * side.e for x, s, side in zip(at, signs, sides, strict=True)]
        most = np.fmax(most, np.abs(function(*moved) - middle))
    return most


ROWS: dict[str, Any] = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Div": np.divide,
    "Power": np.power,
    "FloorDiv": np.floor_divide,
    "Mod": np.remainder,
    "Greater": np.maximum,
    "Less": np.minimum,
    "Abs": np.abs,
    "Log": np.log,
    "Sign": np.sign,
    "Gt": np.greater,
    "Ge": np.greater_equal,
    "Lt": np.less,
    "Le": np.less_equal,
    "Eq": np.equal,
    "Ne": np.not_equal,
    "And": np.bitwise_and,
    "Or": np.bitwise_or,
    "Not": np.invert,
}
QUESTIONS = ("Gt", "Ge", "Lt", "Le", "Eq", "Ne")
LOGICAL = ("And", "Or", "Not")
FLOATING = ("Power", "FloorDiv", "Mod")  # of whole numbers too
BY_LIBRARY = ("Power", "Log")  # numpy and the C library differ in the last bits
STEPS = ("FloorDiv", "Mod", "Sign")  # jump wherever the error is enough


def of_rows(name: str, sides: list[Bounded | float], kind: str, rows: int) -> Bounded:
    """A function of single rows, computed by numpy in numpy's dtypes."""
    columns = [s for s in sides if isinstance(s, Bounded)]
    unknown = np.any([s.u for s in columns], axis=0)
    arrays: list[Any] = []
    for s in sides:
        if not isinstance(s, Bounded):
            arrays.append(s)
        elif name in LOGICAL and s.dtype.kind == "f":  # a flag: missing is False
            arrays.append(s.v == 1)
        else:
            held = np.where(np.isnan(s.v), 0, s.v) if s.dtype.kind in "bi" else s.v
            held = held.astype(s.dtype)
            widened = name in FLOATING and held.dtype.kind in "bi"
            narrow = held.dtype.kind == "b" and STORED[kind] == "float32"
            arrays.append(held.astype("f8") if widened else held.astype("f4") if narrow else held)
    result = np.asarray(ROWS[name](*arrays))
    if name in QUESTIONS:
        left, right = (s if isinstance(s, Bounded) else Bounded.exact(np.full(rows, s, "f8")) for s in sides)
        slack = left.e + right.e
        unknown = unknown | ((slack > 0) & (np.abs(left.v - right.v) <= slack * (1 + 1e-6)))
    out = result.astype(STORED[kind])
    v, dtype = out.astype("f8"), out.dtype
    e = np.zeros(rows)
    moving = [s for s in columns if s.e.any()]
    if moving and name not in QUESTIONS + LOGICAL:
        if name in STEPS:
            unknown = unknown | np.any([s.e > 0 for s in moving], axis=0)
        else:

            def function(*moved: np.ndarray) -> np.ndarray:
                given = iter(moved)
                return ROWS[name](*(next(given) if isinstance(s, Bounded) else float(s) for s in sides)).astype("f8")

            e = corners(function, columns, [s.v for s in columns])
            if name == "Div" and isinstance(sides[1], Bounded):  # the divisor may be 0, or on either side of it
                unknown = unknown | ((sides[1].e > 0) & (np.abs(sides[1].v) <= 2 * sides[1].e))
            if name in BY_LIBRARY:
                base = sides[0] if isinstance(sides[0], Bounded) else None
                if base is not None:
                    unknown = unknown | ((base.e > 0) & (base.v <= 2 * base.e))
            if name == "Power":
                unknown = unknown | cliff(*sides, rows)
        moved_ = np.any([s.e > 0 for s in moving], axis=0)
        e = np.where(moved_, e * (1 + 1e-6) + np.abs(v) * 2 * EPS.get(dtype, 0) + TINY, e)
        edge = np.abs(v) + e > float(np.finfo(dtype).max) if dtype.kind == "f" else np.zeros(rows, bool)
        unknown = unknown | (moved_ & (edge | ~np.isfinite(e)))
    if name in BY_LIBRARY and dtype.kind == "f":
        e = e + np.where(np.isfinite(v), np.abs(v) * 8 * EPS[dtype] + float(np.finfo(dtype).tiny), 0)
        unknown = unknown | (np.isinf(v) & (np.abs(result) > 0) & (name == "Power"))
    return Bounded(v, known(e, v), unknown, dtype)


def cliff(base: Bounded | float, exponent: Bounded | float, rows: int) -> np.ndarray:
    """Where rounding decides whether a power is a number: -2 ** 1.0000001, 1.0000001 ** NaN, NaN ** 1e-9."""
    b, x = (s if isinstance(s, Bounded) else Bounded.exact(np.full(rows, s, "f8")) for s in (base, exponent))
    return (
        ((x.e > 0) & (b.v <= b.e))
        | ((b.e > 0) & np.isnan(x.v) & (np.abs(b.v - 1) <= b.e))
        | ((x.e > 0) & np.isnan(b.v) & (np.abs(x.v) <= x.e))
    )


def choice(condition: Bounded, left: Bounded | float, right: Bounded | float, node: Node) -> Bounded:
    rows = len(condition.v)
    holds = (condition.v != 0) & ~(np.isnan(condition.v) & (node.compat != "qlib"))
    unsure = condition.u | ((condition.e > 0) & (np.abs(condition.v) <= condition.e))
    dtype = np.dtype(STORED[node.dtype])
    sides = []
    for side in (left, right):
        side = side if isinstance(side, Bounded) else Bounded.exact(np.full(rows, side, "f8"))
        sides.append(side.as_(dtype) if dtype.kind == "f" else side)
    a, b = sides
    pick = np.where
    return Bounded(pick(holds, a.v, b.v), pick(holds, a.e, b.e), unsure | pick(holds, a.u, b.u), dtype)


# ------------------------------------------------------------------------------------------------ windows
@dataclass
class Seen:
    """One window: its rows (NaN where missing), the errors of those seen, and how large and how spread they are."""

    w: np.ndarray
    e: float  # the largest error
    errors: np.ndarray

    @property
    def x(self) -> np.ndarray:
        return self.w[np.isfinite(self.w)]

    @property
    def level(self) -> float:
        return float(np.abs(self.x).max(initial=0))

    @property
    def spread(self) -> float:
        x = self.x
        with np.errstate(all="ignore"):
            return float((x - x.mean()).std()) if len(x) > 1 else 0.0


UNKNOWN = np.inf  # an error of which nothing is known
Rule = Callable[[Seen, float], float]  # window and value to its error


def _moment(s: Seen, value: float) -> float:
    """Skew and Kurt: relative to the spread, which must be well above what rounding does."""
    if s.e > 1e-3 * s.spread or s.spread <= 4 * FLAT * s.level:
        return UNKNOWN if s.e > 0 or 0 < s.spread <= 4 * FLAT * s.level else 1e-7 * (1 + abs(value))
    n = len(s.x)
    return (1e-7 + 50 * n * s.e / s.spread) * (1 + abs(value)) if s.spread else 1e-7


def _share(s: Seen, value: float) -> float:
    """Rsquare: relative to the spread, too."""
    if s.spread <= 4 * FLAT * s.level or s.e > 1e-3 * s.spread:
        return UNKNOWN if s.e > 0 or 0 < s.spread <= 4 * FLAT * s.level else 1e-8
    return 1e-8 + 20 * s.e / s.spread


def _ranked(s: Seen, _: float) -> float:
    now, others = s.w[-1], s.w[:-1]
    slack = s.errors[-1] + s.errors[:-1]
    return UNKNOWN if bool(((slack > 0) & (np.abs(others - now) <= slack)).any()) else 1e-12


def _first_of(best: Callable[[np.ndarray], float]) -> Rule:
    def rule(s: Seen, value: float) -> float:
        if not s.e or np.isnan(value):
            return 0.0
        gap = np.abs(s.w - best(s.x))
        return UNKNOWN if int((gap <= 2 * s.e).sum()) > 1 else 0.0

    return rule


def _slope(s: Seen, _: float) -> float:
    n = max(len(s.x), 2)
    return 4 * s.e + WINDOWED * s.spread + 1e-15 * n * s.level


RULES: dict[str, Rule] = {
    "mean": lambda s, _: s.e + 1e-14 * s.level,
    "sum": lambda s, _: len(s.x) * (s.e + 1e-14 * s.level),
    "max": lambda s, _: s.e,
    "min": lambda s, _: s.e,
    "quantile": lambda s, _: s.e + 1e-15 * s.level,
    "mad": lambda s, _: 2 * s.e + 1e-13 * s.level,
    "wma": lambda s, _: s.e + 1e-13 * s.level,
    "ema": lambda s, _: s.e + 1e-13 * s.level,
    "std": lambda s, v: 1.5 * s.e + WINDOWED * v + 1e-15 * s.level,
    "var": lambda s, v: (2 * v**0.5 + 2 * s.e + 1e-15 * s.level) * (1.5 * s.e + 1e-15 * s.level) + WINDOWED * v,
    "skew": _moment,
    "kurt": _moment,
    "slope": _slope,
    "resi": _slope,
    "rsquare": _share,
    "count": lambda _s, _v: 0.0,
    "rank": _ranked,
    "idxmax": _first_of(np.max),
    "idxmin": _first_of(np.min),
}
KERNELS = {
    "Mean": "mean", "Sum": "sum", "Std": "std", "Var": "var", "Max": "max", "Min": "min", "Med": "quantile",
    "Quantile": "quantile", "Count": "count", "Skew": "skew", "Kurt": "kurt", "Mad": "mad", "Rank": "rank",
    "IdxMax": "idxmax", "IdxMin": "idxmin", "WMA": "wma", "EMA": "ema", "Slope": "slope", "Resi": "resi",
    "Rsquare": "rsquare",
}  # fmt: skip
# Statistics that square their deviations, or raise them to the fourth power.
POWERS = {"var", "std", "slope", "resi", "rsquare", "skew", "kurt", "cov", "corr"}


def of_window(node: Node, x: Bounded, sentence: str, parameter: float) -> Bounded:
    """A statistic of one series: a sentence of reference.py, row by row."""
    window = node.arguments[1]
    kernel = KERNELS[type(node).__name__]
    exponential = sentence.startswith("ema")
    rows = 0 if exponential or window == 0 else rows_that_weigh(window) if window < 1 else window  # type: ignore[operator,arg-type]
    with np.errstate(all="ignore"):
        v = reference.one(sentence, x.v, rows, parameter)
    e, u = np.zeros(len(v)), np.zeros(len(v), bool)
    for i in range(len(v)):
        here = slice(max(i - rows + 1, 0) if rows else 0, i + 1)
        seen = np.isfinite(x.v[here])
        errors = np.where(seen, x.e[here], 0)
        s = Seen(np.where(seen, x.v[here], np.nan), float(errors.max(initial=0)), errors)
        u[i] = x.u[here].any() or (kernel in POWERS and not (TINY < s.level < HUGE) and s.level > 0)
        e[i] = RULES[kernel](s, v[i] if np.isfinite(v[i]) else 0.0)
    u |= ~np.isfinite(e) | np.isinf(v)
    return Bounded(v, known(e, v), u, np.dtype("f8"))


def of_pair(name: str, x: Bounded, y: Bounded, rows: int, tolerance: float) -> Bounded:
    """Cov and Corr."""
    kernel = name.lower()
    with np.errstate(all="ignore"):
        v = reference.two(kernel, x.v, y.v, rows, tolerance)
    both = np.isfinite(x.v) & np.isfinite(y.v)
    e, u = np.zeros(len(v)), np.zeros(len(v), bool)
    for i in range(len(v)):
        here = slice(max(i - rows + 1, 0) if rows else 0, i + 1)
        sides = []
        for side in (x, y):
            errors = np.where(both[here], side.e[here], 0)
            sides.append(Seen(np.where(both[here], side.v[here], np.nan), float(errors.max(initial=0)), errors))
        a, b = sides
        u[i] = (x.u | y.u)[here].any() or any(s.level and not TINY < s.level < HUGE for s in sides)
        if kernel == "cov":
            loose = [1.5 * s.e + 1e-15 * s.level for s in sides]
            e[i] = 2 * (a.spread * loose[1] + b.spread * loose[0] + loose[0] * loose[1]) + 2e-9 * a.spread * b.spread
        else:
            e[i] = max(_share(a, 0), _share(b, 0))
    u |= ~np.isfinite(e) | np.isinf(v)
    return Bounded(v, known(e, v), u, np.dtype("f8"))


def blank_where_flat(value: Bounded, spread: Bounded) -> Bounded:
    """Qlib's absolute cut-off."""
    unsure = value.u | spread.u | (np.abs(spread.v - QLIB_FLAT) <= spread.e + 1e-9 * QLIB_FLAT)
    return Bounded(np.where(spread.v <= QLIB_FLAT, np.nan, value.v), value.e, unsure, value.dtype)


def poisoned(value: Bounded, x: Bounded) -> Bounded:
    """Qlib's running sums: nothing is known after an infinite value."""
    infinite = np.maximum.accumulate(np.isinf(x.v)) if len(x.v) else np.zeros(0, bool)
    return Bounded(np.where(infinite, np.nan, value.v), value.e, value.u, value.dtype)


def rolled(node: Node, x: Bounded) -> Bounded:
    name, window, qlib = type(node).__name__, node.arguments[1], node.compat == "qlib"
    kernel = KERNELS[name]
    if name == "EMA" and window == 1:  # the newest weight is all there is: the last value seen
        seen = np.maximum.accumulate(np.where(np.isfinite(x.v), np.arange(len(x.v)), -1))
        at, none = np.maximum(seen, 0), seen < 0
        unsure = np.maximum.accumulate(x.u)
        return Bounded(np.where(none, np.nan, x.v[at]), np.where(none, 0, x.e[at]), unsure, np.dtype("f8"))
    if name == "EMA" and window == 0:
        return of_window(node, x, "ema_expanding", float(qlib))
    if name == "EMA":
        return of_window(node, x, "ema", 2 / (window + 1) if window >= 1 else float(window))  # type: ignore[operator,arg-type]
    if isinstance(window, float) and (qlib or name == "Mean"):
        value = of_window(node, x, "ema", window)
        return Bounded(value.v, value.e + 1e-12 * np.abs(np.nan_to_num(value.v)), value.u, value.dtype)
    if not qlib:
        parameter = {"Med": 0.5, "Quantile": node.arguments[-1]}.get(name, FLAT if kernel in ("skew", "kurt") else 0.0)
        return of_window(node, x, kernel, FLAT if kernel == "rsquare" else parameter)  # type: ignore[arg-type]
    sentence = {"Count": "count_infinite_too", "IdxMax": "idxmax_gap_first", "IdxMin": "idxmin_gap_first"}.get(
        name, kernel
    )
    parameter = {"Med": 0.5, "Quantile": node.arguments[-1], "WMA": 1.0}.get(name, 0.0)
    value = of_window(node, x, sentence, parameter)  # type: ignore[arg-type]
    if kernel in ("skew", "kurt"):
        value = varying(value, node, x, 0.0 if kernel == "skew" else -3.0)
    if kernel == "rsquare" and window:
        value = blank_where_flat(value, of_window_as(node, x, "std"))
    return poisoned(value, x) if kernel in ("slope", "resi", "rsquare") else value


def varying(value: Bounded, node: Node, x: Bounded, constant: float) -> Bounded:
    """The moments of pandas 2: those of a constant window, and none where the variance is below 1e-14."""
    variance = of_window_as(node, x, "var")
    highest, lowest, seen = (reference.one(k, x.v, int(node.arguments[1])) for k in ("max", "min", "count"))  # type: ignore[arg-type]
    enough = seen >= (3 if constant == 0 else 4)
    b = variance.v * (seen - 1) / seen
    v = np.where(enough & (highest == lowest), constant, np.where(b <= 1e-14, np.nan, value.v))
    e = np.where(highest == lowest, 0, value.e)
    unsure = (np.abs(b - 1e-14) < 1e-22 + 2 * variance.e) | (enough & (variance.e > 0) & (b <= 1e-14))
    return Bounded(v, e, value.u | variance.u | unsure, value.dtype)


def of_window_as(node: Node, x: Bounded, kernel: str) -> Bounded:
    """The spread of the window of another operator."""
    from qlib.data.expression import OPERATORS

    other = OPERATORS[{"std": "Std", "var": "Var"}[kernel]]
    return of_window(
        other(*node.children, node.arguments[-1] if isinstance(node.arguments[-1], int) else 0), x, kernel, 0
    )


# ------------------------------------------------------------------------------------------------ other rows
def shifted(x: Bounded, by: int, dtype: np.dtype) -> Bounded:
    rows = len(x.v)
    at = np.arange(rows) - by
    inside = (at >= 0) & (at < rows)
    at = np.where(inside, at, 0)
    if not rows:
        return Bounded(x.v, x.e, x.u, dtype)
    return Bounded(np.where(inside, x.v[at], np.nan), np.where(inside, x.e[at], 0), inside & x.u[at], dtype)


def moved(node: Node, x: Bounded) -> Bounded:
    by, qlib, rows = int(node.arguments[1]), node.compat == "qlib", len(x.v)  # type: ignore[arg-type]
    dtype = np.dtype("f4") if x.dtype.kind == "b" else np.dtype("f8") if x.dtype.kind == "i" else x.dtype
    first = np.zeros(rows, int)
    origin = Bounded(x.v[first], x.e[first], x.u[first], dtype)
    if type(node).__name__ == "Ref":
        if by:
            return shifted(x, by, dtype)
        return origin if qlib else Bounded(x.v, x.e, x.u, dtype)
    here = Bounded(x.v, x.e, x.u, dtype)
    before = shifted(x, by, dtype) if by else origin
    return of_rows("Sub", [here, before], node.dtype, rows)


def computed(root: Node, panel: Panel, instrument: int) -> Bounded:
    """Compute one instrument's rows of a formula of operators on rows."""
    low, high = panel.start[instrument : instrument + 2]
    done: dict[Node, Bounded] = {}
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for node in walk(root):
            if isinstance(node, Column):
                done[node] = Bounded.exact(panel.columns[node.name][low:high])
                continue
            name = type(node).__name__
            arguments: list[Any] = [done[a] if isinstance(a, Node) else a for a in node.arguments]
            if name in ROWS:
                done[node] = of_rows(name, arguments, node.dtype, high - low)
            elif name == "If":
                done[node] = choice(*arguments, node)
            elif name in ("Ref", "Delta"):
                done[node] = moved(node, arguments[0])
            elif name in ("Cov", "Corr"):
                x, y, rows = arguments
                tolerance = FLAT if node.compat is None and name == "Corr" else 0.0
                done[node] = of_pair(name, x, y, rows, tolerance)
                if node.compat and name == "Corr":
                    for side, own in ((x, node.children[0]), (y, node.children[-1])):
                        done[node] = blank_where_flat(done[node], spread_of(own, side, rows))
            elif name in ("IsNull", "IsInf"):
                (x,) = arguments
                asked = np.isnan(x.v) if name == "IsNull" else np.isinf(x.v)
                done[node] = Bounded(asked.astype("f8"), np.zeros(len(asked)), x.u, np.dtype(bool))
            else:
                done[node] = rolled(node, arguments[0])
    return done[root]


def spread_of(node: Node, x: Bounded, rows: int) -> Bounded:
    from qlib.data.expression import OPERATORS

    return of_window(OPERATORS["Std"](node, rows), x, "std", 0)
