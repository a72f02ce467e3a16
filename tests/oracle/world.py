"""A market in which every operator has what it asks for, and calls of every operator that is registered.

Calls are made from the declared parameters, so a new operator is covered by all laws as soon as it is registered; one
whose parameter is of a new kind fails them with "no argument is known for ...", and is given one here.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd

from qlib.data.expression import OPERATORS
from qlib.data.expression.node import Operator
from qlib.data.expression.operators.days import Clock
from qlib.data.expression.operators.resample import Stretch
from qlib.data.expression.operators.select import Rows
from qlib.data.expression.parameters import Many, Number, OneOf, Parameter, Series, Text, Value, Window
from qlib.data.expression.pit import OverPeriods, Period
from qlib.data.panel import Panel, Surroundings
from qlib.data.periods import Records

ELSEWHERE = ("bench", "major")
LOGICAL = ("And", "Or", "Not")
COLUMNS = ("$x", "$y", "$z")
QUESTIONS = ("$x>$y", "Ref($y,1)<=$z")
REPORTED = ("$$a_q", "Mean($$b_q,3)")
LATE = 1 << 40  # a bar that never comes
FIRST_QUARTER = 8072  # 201801


# ------------------------------------------------------------------------------------------------ a market
SESSIONS = [*range(570, 690, 30), *range(780, 900, 30)]  # minutes of the day at which bars open: Qlib's whole day


def clock(days: int, *, chinese: bool = False) -> np.ndarray:
    """Half hours of two sessions; unless `chinese`, every Wednesday is around the clock, by four hours. No Sundays."""
    times = []
    for day in pd.date_range("2024-02-26", periods=days, freq="D"):
        minutes = range(0, 1440, 240) if day.weekday() == 2 and not chinese else SESSIONS
        times += [day + pd.Timedelta(minutes=minute) for minute in minutes if day.weekday() != 6]
    return np.array(times, dtype="datetime64[ns]")


def values(rng: np.random.Generator, rows: int) -> dict[str, np.ndarray]:
    """Prices in x, volumes in y, small whole numbers in z; gaps, infinity, ties and a constant run."""
    x = np.exp(rng.normal(0, 0.02, rows).cumsum()).round(3)
    y = rng.lognormal(3, 1, rows).round(1)
    z = rng.integers(-3, 4, rows).astype("f8")
    x[rng.random(rows) < 0.05], y[rng.random(rows) < 0.02], z[rng.random(rows) < 0.05] = np.nan, np.inf, np.nan
    x[rows // 3 : rows // 3 + rows // 6] = 1.25
    return {name: column.astype("f4") for name, column in (("x", x), ("y", y), ("z", z))}


def world(seed: int, *, instruments: int = 9, days: int = 24, chinese: bool = False) -> Panel:
    """Ragged instruments, two others elsewhere, members that come and go, reported periods with revisions.

    With `chinese`, all days have the bars of Qlib's, and instruments begin and end with a day.
    """
    rng = np.random.default_rng(seed)
    times = clock(days, chinese=chinese)
    last = len(times)
    first = rng.integers(0, last // 2, instruments)
    lengths = rng.integers(2, last, instruments)
    first[:3], lengths[:3] = (0, last - 3, 5), (last, 1, 0)
    lengths = np.minimum(lengths, last - first)
    if chinese:
        first, lengths = first // len(SESSIONS) * len(SESSIONS), lengths // len(SESSIONS) * len(SESSIONS)
    names = tuple(f"i{k}" for k in range(instruments))
    elsewhere = {}
    for name, begin, end in zip(ELSEWHERE, (0, last // 4), (last, 3 * last // 4), strict=True):
        columns = values(rng, end - begin)
        elsewhere[name] = Panel((name,), np.array([0, end - begin]), np.array([begin]), columns)
    known = {
        (name, field): announced(rng, last, yearly=field.endswith("_a"))
        for name in (*names, *ELSEWHERE)
        for field in ("a_q", "b_q", "c_a")
        if rng.random() < 0.8
    }
    members = {name: [(3 + k, last // 2 + 2 * k), (last // 2 + 20, last)] for k, name in enumerate(names) if k % 3}
    around = Surroundings(
        times=times, members=members, elsewhere=elsewhere, periods=lambda *key: known.get(key), freq="30min"
    )
    start = np.concatenate([[0], np.cumsum(lengths)])
    return Panel(names, start, first, values(rng, int(start[-1])), around)


def announced(rng: np.random.Generator, last: int, *, yearly: bool) -> Records:
    count = int(rng.integers(3, 14))
    low, high = (2015, 2021) if yearly else (FIRST_QUARTER, FIRST_QUARTER + 9)
    period, value = rng.integers(low, high, count), rng.normal(size=count).round(1)
    return Records(np.sort(rng.integers(0, last, count)), period, value)


def before(panel: Panel, t: int) -> tuple[Panel, np.ndarray]:
    """Return the world as it is known at calendar position t, and the numbers of its rows in the whole."""
    early, kept = panel.between(0, t)
    return replace(early, around=_changed(panel.around, t, poison=False)), kept


def poisoned(panel: Panel, t: int) -> Panel:
    """Return the world with everything that comes after calendar position t replaced by something else."""
    late = panel.positions() > t
    columns = {name: np.where(late, np.float32(np.inf), column) for name, column in panel.columns.items()}
    return replace(panel, columns=columns, around=_changed(panel.around, t, poison=True))


def _changed(around: Surroundings, t: int, *, poison: bool) -> Surroundings:
    assert around.times is not None and around.members is not None and around.elsewhere is not None
    others = {}
    for name, panel in around.elsewhere.items():
        late = panel.positions() > t
        wrong = {column: np.where(late, np.float32(-np.inf), own) for column, own in panel.columns.items()}
        others[name] = replace(panel, columns=wrong) if poison else panel.between(0, t)[0]
    spans = {}
    for name, own in around.members.items():
        spans[name] = [(a, min(b, t + 1)) for a, b in own if a <= t]
        if poison and (not spans[name] or spans[name][-1][1] <= t):  # who is no member is one from then on
            spans[name].append((t + 1, LATE))

    def periods(name: str, field: str) -> Records | None:
        own = around.periods(name, field)  # type: ignore[misc]
        if own is None:
            return None
        early = own.known <= t
        if not poison:
            return Records(own.known[early], own.period[early], own.value[early])
        return Records(own.known, own.period, np.where(early, own.value, np.inf))

    times = around.times[: t + 1]
    if poison:  # another calendar from then on: one bar a day
        days = times[-1].astype("datetime64[D]") + np.arange(1, len(around.times) - t)
        times = np.concatenate([times, days.astype(times.dtype)])
    return replace(around, times=times, members=spans, elsewhere=others, periods=periods)


# ------------------------------------------------------------------------------------------------ calls
def written(parameter: Parameter, place: int, operator: type[Operator], window: int) -> list[str]:
    """Return the arguments, as texts, that a parameter is tried with."""
    match parameter:
        case Window(ahead=True):
            return [str(window), str(-window)]
        case Window(least=least, fraction=fraction):
            return [str(max(window, least) if window else 0), *(["0.3"] if fraction else [])]
        case Number(low=low, high=high):
            return ["30" if high == 1440 else repr(max(low, min(0.3, high)))]
        case OneOf(words=words):
            return [repr(word) for word in words]
        case Clock(default=default):
            return [repr(default)]
        case Stretch():
            return ["'60min'", "'day'", "'week'"]
        case Period():
            return ["201803"]
        case Rows(sign=sign):
            return [str(2 * sign)]
        case Text():
            return [repr(name) for name in ELSEWHERE]
        case Many():
            return ["$y", "$y,$z"]
        case Series() | Value():
            if issubclass(operator, OverPeriods):
                return list(REPORTED)
            numbers = ["0", "2"] if isinstance(parameter, Value) else []
            if operator.name in LOGICAL or parameter.name == "condition":
                return [QUESTIONS[place % 2], *numbers]
            return [COLUMNS[place % 3], *([QUESTIONS[0]] if place == 0 else []), *numbers]
    raise AssertionError(f"no argument is known for {operator.name}({parameter!r}): write one in tests/oracle/world.py")


def calls(window: int) -> Iterator[tuple[str, str]]:
    """Yield (name of the operator, call) with every combination of arguments; some of them make no sense."""
    for name, operator in OPERATORS.items():
        tried = [written(p, place, operator, window) for place, p in enumerate(operator.parameters)]
        for arguments in product(*tried):
            yield name, f"{name}({','.join(arguments)})"


# ------------------------------------------------------------------------------------------------ random calls
WINDOWS = (0, 1, 2, 3, 5, 8, 40, 200)
ALONG_PERIODS = ("Mean", "Sum", "Ref", "Delta", "Std", "Max", "Add", "Sub", "Rank", "EMA")
NUMBERS = ("2", "0", "-1.5", "1e-12", "True")


def formula(r: random.Random, depth: int, kind: str = "number", names: Sequence[str] = ()) -> str:
    """Return a random formula of the operators `names` (none: all that are registered).

    kind: a number, a question, or a formula over periods.
    """
    names = names or tuple(OPERATORS)
    if kind == "question":
        if depth <= 0 or r.random() < 0.5:
            return r.choice(QUESTIONS)
        name = r.choice(("Gt", "Ge", "Lt", "Le", "Eq", "Ne", "And", "Or", "Not", "IsNull", "IsInf"))
        return call(r, name, depth - 1, "question" if name in LOGICAL else "number", names)
    if depth <= 0 or r.random() < 0.2:
        return r.choice(COLUMNS if kind == "number" else REPORTED)
    if kind == "period":
        return call(r, r.choice(ALONG_PERIODS), depth - 1, kind, names)
    return call(r, r.choice(names), depth - 1, "number", names)


def call(r: random.Random, name: str, depth: int, kind: str, names: Sequence[str]) -> str:
    """Return a call of an operator with random arguments that it is likely to take."""
    operator = OPERATORS[name]
    arguments = []
    for parameter in operator.parameters:
        match parameter:
            case Window(ahead=True) if kind == "number":
                arguments.append(str(r.choice(WINDOWS) * r.choice((1, -1))))
            case Window():
                arguments.append(str(r.choice(WINDOWS)) if r.random() < 0.95 else "0.25")
            case Number(low=low, high=high):
                arguments.append(repr(r.choice((low, high, (low + high) / 2, 30))))
            case Many():
                arguments += [formula(r, depth - 1, kind, names) for _ in range(r.randrange(1, 4))]
            case Series() | Value():
                own = "question" if parameter.name == "condition" or name in LOGICAL else kind
                own = "period" if issubclass(operator, OverPeriods) else own
                number = isinstance(parameter, Value) and r.random() < 0.2
                arguments.append(r.choice(NUMBERS) if number else formula(r, depth - 1, own, names))
            case _:
                arguments.append(r.choice(written(parameter, 0, operator, 3)))
    return f"{name}({','.join(arguments)})"
