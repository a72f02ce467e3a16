"""One kernel on arrays, as the tests of kernels call it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
from qlib.data.kernels.program import Work, run

from qlib.data.expression.engine import Wanted, grouped
from qlib.data.expression.lowering import FOREVER, Builder, Result, allocated, ordered
from qlib.data.panel import Columns

_WHAT = {
    "max": ("max", "best"),
    "min": ("min", "best"),
    "idxmax": ("max", "place"),
    "idxmin": ("min", "place"),
    "idxmax_gap_first": ("max_place_or_gap", "place"),
    "idxmin_gap_first": ("min_place_or_gap", "place"),
    "count_infinite_too": ("count_infinite_too", "count"),
    "sum": ("sum", "sum"),
    "quantile": ("order", "quantile"),
    "rank": ("order", "rank"),
    "cov": ("pair", "cov"),
    "corr": ("pair", "corr"),
}


def _value(build: Builder, kernel: str, inputs: list[Result], window: int, parameter: float) -> Result:
    match kernel:
        case "shift":
            return build.shift(inputs[0], window)
        case "origin":
            return build.series("origin", *inputs, wide=inputs[0].wide)
        case "ema":
            return build.series("ema", *inputs, parameter=parameter)
        case "ema_expanding":
            return build.series("ema_expanding", *inputs, parameter=parameter, looks_back=FOREVER)
        case "mad":
            return build.series("mad", *inputs, window=window, looks_back=window or FOREVER)
        case "wma":
            return build.statistic("moments", "wma_again" if parameter else "wma", *inputs, window=window)
    family, what = _WHAT.get(kernel, ("moments", kernel))
    return build.statistic(family, what, *inputs, window=window, parameter=parameter)


def roll(
    kernel: str,
    left: np.ndarray,
    right: np.ndarray | None,
    start: np.ndarray,
    first: np.ndarray,
    window: int,
    parameter: float,
    out: np.ndarray,
) -> None:
    """Fill `out` with the statistic of each instrument's last `window` rows; instrument k owns start[k]:start[k+1]."""
    build = Builder()
    node: Any = SimpleNamespace()
    sides = [left] if right is None else [left, right]
    inputs = [build.source(node, side.dtype == np.float64) for side in sides]
    value = build.converted(_value(build, kernel, inputs, window, parameter), True)
    build.settle()
    compiled = allocated(ordered([value]), build, [value])
    begin, end = first, first + np.diff(start)
    columns = Columns(tuple("i" * len(first)), begin, end, {}, lambda: None)  # type: ignore[arg-type, return-value]
    wanted = Wanted.everything(columns)
    places = [(side, start[:-1], first, np.diff(start)) for side in sides]
    far = 1 << 60
    work = Work(
        begin, end, places, [(out, True)], wanted.of, wanted.low, wanted.high, wanted.to, wanted.to, -far, far, far
    )
    run(compiled.program, work, grouped(columns, end > begin))
