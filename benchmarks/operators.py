"""Every operator alone: nanoseconds per value, one thread, through `qlib.data.expression.evaluate`.

    python benchmarks/engine.py --operators

A panel of 64 instruments x 3,000 rows, with gaps.  Each operator that a formula can call is called once per window,
its arguments built from its own declaration; parsing and planning are not timed.  An operator without a window has one
number.  The first line, a stored column, is what the engine itself costs.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from qlib.data.expression import OPERATORS, build_plan, evaluate
from qlib.data.expression.node import Operator
from qlib.data.expression.parameters import Number, OneOf, Series, Text, Value, Window
from qlib.data.panel import Panel, Surroundings
from qlib.errors import QlibError

INSTRUMENTS, ROWS = 64, 3000
WINDOWS = (5, 20, 60, 250, 0)
COLUMNS = ("close", "volume", "open")
SECONDS = 0.1  # to spend on a number, at least two runs
OTHER = "i00"  # the instrument that formulas about another one ask for
CALLS = {"Cut": "Cut($close,5,-5)", "TResample": "TResample($close,'week','mean')"}  # arguments of kinds of their own
LOGICAL = ("And", "Or", "Not")


class UntimedError(Exception):
    """No arguments can be made for the operator from its declaration."""


def panel() -> Panel:
    """Return prices and volumes like a market's, float32, two in a hundred missing."""
    rng = np.random.default_rng(11)
    total = INSTRUMENTS * ROWS
    change = rng.standard_normal((INSTRUMENTS, ROWS)) * 0.02
    close = 20 * np.exp(np.cumsum(change, axis=1)).reshape(-1)
    columns = {"close": close, "open": close * np.exp(rng.standard_normal(total) * 0.01)}
    columns["volume"] = np.exp(rng.standard_normal(total) + 14)
    gaps = rng.random(total) < 0.02
    for values in columns.values():
        values[gaps] = np.nan
    stored = {name: values.astype(np.float32) for name, values in columns.items()}
    names = tuple(f"i{i:02d}" for i in range(INSTRUMENTS))
    start, first = np.arange(INSTRUMENTS + 1) * ROWS, np.zeros(INSTRUMENTS, np.int64)
    other = Panel(names[:1], start[:2], first[:1], {name: values[:ROWS] for name, values in stored.items()})
    times = np.datetime64("2010-01-01", "ns") + np.arange(ROWS) * np.timedelta64(1, "D")
    return Panel(names, start, first, stored, Surroundings(times=times, elsewhere={OTHER: other}, freq="day"))


def call(declared: type[Operator], window: int) -> str:
    """Return the text of a call with this window."""
    if declared.name in CALLS:
        return CALLS[declared.name]
    arguments = []
    for place, parameter in enumerate(declared.parameters):
        if parameter.otherwise is not None:
            continue
        match parameter:
            case Window(least=least):
                arguments.append(str(max(window, least) if window else 0))
            case Number(low=low, high=high):
                arguments.append(f"{low + 0.3 * (high - low):g}")
            case OneOf(words=words):
                arguments.append(repr(words[0]))
            case Series() | Value():
                column = f"${COLUMNS[place % len(COLUMNS)]}"
                ask = declared.name in LOGICAL or parameter.name == "condition"
                arguments.append(f"{column}>20" if ask else column)
            case Text(name="instrument"):
                arguments.append(repr(OTHER))
            case _:
                raise UntimedError(f"{parameter.name} is a {type(parameter).__name__}")
    return f"{declared.name}({','.join(arguments)})"


def nanoseconds(text: str, market: Panel) -> float:
    """Return the nanoseconds per value of a formula, the least of some runs."""
    plan = build_plan([text])
    runs: list[float] = []
    while len(runs) < 2 or (sum(runs) < SECONDS and len(runs) < 50):
        begun = time.perf_counter()
        evaluate(plan, market, n_threads=1)
        runs.append(time.perf_counter() - begun)
    return min(runs) / market.rows * 1e9


def windowed(declared: type[Operator]) -> bool:
    return any(isinstance(parameter, Window) for parameter in declared.parameters)


def operator_table(names: Sequence[str] = ()) -> str:
    """Return the markdown table of all operators, or of the named ones."""
    market = panel()
    lines = ["| operator, ns per value | " + " | ".join(f"N = {window}" for window in WINDOWS) + " |"]
    lines.append("|---" * (len(WINDOWS) + 1) + "|")
    lines.append(f"| a stored column | {nanoseconds('$close', market):.2f} |" + " |" * (len(WINDOWS) - 1))
    untimed = []
    for name, declared in sorted(OPERATORS.items()):
        if names and name not in names:
            continue
        try:
            windows = WINDOWS if windowed(declared) else WINDOWS[:1]
            numbers = [f"{nanoseconds(call(declared, window), market):.2f}" for window in windows]
        except (UntimedError, QlibError) as reason:
            untimed.append(f"{name} ({str(reason).splitlines()[0]})")
            continue
        lines.append(f"| {name} | " + " | ".join([*numbers, *[""] * (len(WINDOWS) - len(numbers))]) + " |")
    if untimed:
        lines += ["", f"Not timed, for no argument can be made up: {', '.join(untimed)}."]
    return "\n".join(lines)
