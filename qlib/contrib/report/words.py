"""How the report writes a number, and what each number means.

    show(0.01234, "percent")   '1.23 %'
    show(-0.2, "change")       '−20.0 %'
    TERMS["icir"].meaning      'IC mean divided by ...'

Every figure on the page goes through `show`; the JSON twin keeps the full value.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

MINUS = "\u2212"
GAP = "\u00a0"  # no-break space: a number and its sign stay on one line
NONE = "n/a"
HUGE = 1e15


@dataclass(frozen=True, slots=True)
class Term:
    """One word of the report: its label, the kind of number it is, and its meaning in one sentence."""

    label: str
    kind: str
    meaning: str


TERMS: dict[str, Term] = {
    "ic": Term(
        "IC",
        "coefficient",
        "Information coefficient: the correlation between scores and what followed, "
        "per period, averaged. 0 is a guess; 0.02 to 0.05 is already a useful signal.",
    ),
    "icir": Term(
        "ICIR",
        "ratio",
        "Mean IC divided by its standard deviation from period to period (not scaled to a year): "
        "how steady the signal is.",
    ),
    "rank_ic": Term(
        "Rank IC",
        "coefficient",
        "The same correlation between ranks, so that a few extreme moves cannot make it.",
    ),
    "ic_t": Term(
        "t of the IC",
        "ratio",
        "Mean IC divided by its standard error (Newey-West). Between \u22122 and 2 it cannot be told from chance.",
    ),
    "annual_net": Term(
        "Return a year, net",
        "change",
        "Growth of the account a year after costs, compounded.",
    ),
    "annual_gross": Term(
        "Return a year, gross",
        "change",
        "The same before costs: what was lost to trading lies between the two.",
    ),
    "annual_excess": Term(
        "Excess a year, net",
        "change",
        "Net return less the benchmark's: mean per period times periods a year, as Qlib counts it.",
    ),
    "total_net": Term(
        "Return, net",
        "change",
        "Growth of the account over the whole period, after costs. The history is too short for a yearly figure.",
    ),
    "total_gross": Term(
        "Return, gross",
        "change",
        "The same before costs: what was lost to trading lies between the two.",
    ),
    "total_excess": Term(
        "Excess, net",
        "change",
        "Net return less the benchmark's, added up period by period.",
    ),
    "total_cost": Term(
        "Cost",
        "percent",
        "Fees and other trading costs divided by the account, added up over the whole period.",
    ),
    "sharpe": Term(
        "Sharpe ratio, net",
        "ratio",
        "Mean net return divided by its standard deviation, scaled to a year; cash is taken to earn nothing.",
    ),
    "information_ratio": Term(
        "Information ratio",
        "ratio",
        "The same of the excess over the benchmark, after costs.",
    ),
    "max_drawdown": Term(
        "Deepest drawdown",
        "change",
        "Largest fall of the net account from an earlier high; the starting capital counts as a high.",
    ),
    "turnover": Term(
        "Turnover a period",
        "percent",
        "Value bought and sold in a period divided by the account; replacing everything is 200 %.",
    ),
    "cost": Term(
        "Cost a year",
        "percent",
        "Fees and other trading costs divided by the account, a year.",
    ),
    "leverage": Term(
        "Highest leverage",
        "ratio",
        "Value of all holdings, long and short together, divided by the account.",
    ),
    "margin": Term(
        "Most margin in use",
        "percent",
        "Margin of all holdings divided by the account.",
    ),
    "distance": Term(
        "Nearest to a forced close",
        "percent",
        "Smallest move of prices against what was held, after any step, that would have led to a forced close.",
    ),
    "trials": Term(
        "Trials on these data",
        "count",
        "Different tries that were made on the same data and universe, this one and failed ones included.",
    ),
    "psr": Term(
        "Probability to be above 0",
        "percent",
        "Probabilistic Sharpe ratio: how probable it is that the true ratio is above 0, were this the only trial.",
    ),
    "dsr": Term(
        "Probability to be skill",
        "percent",
        "Deflated Sharpe ratio: how probable it is that the true ratio is above what the best of so many worthless "
        "tries would show. Below 95 % it may be luck.",
    ),
    "track_record": Term(
        "Sure after, periods",
        "count",
        "Minimum track record: how long such a result would have to go on to be 95 % sure, counting all trials.",
    ),
    "forced_closes": Term(
        "Forced closes",
        "count",
        "Fills by which the market closed a holding whose margin was used up.",
    ),
}


def show(value: Any, kind: str) -> str:
    """Write `value` for a reader.

    Parameters
    ----------
    value : number, str or None
        None and NaN become "n/a"; text passes unchanged.
    kind : str
        One of percent, change (a percent with its sign), points (the same, for a table headed "in %"), coefficient,
        ratio, count, money, quantity (an amount or a price: six figures), decimal, plain (five figures), text.

    Examples
    --------
    >>> show(12345, "count"), show(None, "ratio"), show(0.000012, "percent"), show(1.5, "change")
    ('12,345', 'n/a', '0.0012\\xa0%', '+150\\xa0%')
    >>> [show(value, "quantity") for value in (64123.456789, 1234567.8, 0.000123456789, 100.0)]
    ['64,123.5', '1,234,568', '0.000123457', '100']
    """
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return NONE
    if kind == "text" or isinstance(value, str):
        return str(value)
    if abs(value) >= (HUGE / 100 if kind in ("percent", "change", "points") else HUGE):
        return _signed(f"{value:.2e}")
    return _WRITERS[kind](value)


def _signed(text: str) -> str:
    return text.replace("-", MINUS)


def _zero_has_no_sign(text: str) -> str:
    return text.lstrip("+-") if not text.strip("+-0.,") else text


def _fixed(value: float, places: int, sign: str = "-") -> str:
    return _signed(_zero_has_no_sign(f"{value:{sign},.{places}f}"))


def _places_of_percent(percent: float) -> int:
    size = float(f"{abs(percent):.3g}")  # 9.9999 will be written as ten
    if size < 1e-6 or size >= 0.1:
        return 0 if size >= 100 else 1 if size >= 10 else 2
    return min(6, 1 - math.floor(math.log10(size)))  # two figures of a small number


def _percent(value: float) -> str:
    return _fixed(value * 100, _places_of_percent(value * 100)) + GAP + "%"


def _change(value: float) -> str:
    return _fixed(value * 100, _places_of_percent(value * 100), "+") + GAP + "%"


def _points(value: float) -> str:
    return _fixed(value * 100, 1 if abs(value) < 10 else 0, "+")


def _coefficient(value: float) -> str:
    return _fixed(value, 4 if abs(value) < 0.1 else 3)


def _ratio(value: float) -> str:
    return _fixed(value, 2 if abs(value) < 100 else 0)


def _count(value: float) -> str:
    return _fixed(value, 0)


def _decimal(value: float) -> str:
    return _fixed(value, 1 if abs(value) < 1000 else 0)


def _money(value: float) -> str:
    size = abs(value)
    if 1e-6 <= size < 0.01:  # the fee of a small order is not nothing
        return _fixed(value, min(6, 1 - math.floor(math.log10(size))))
    return _fixed(value, 0 if size >= 1000 else 2)


def _quantity(value: float) -> str:
    size = float(f"{abs(value):.6g}")
    if 0 < size < 1e-9:
        return _signed(f"{value:.6g}")
    places = 0 if size >= 1e5 or not size else 5 - math.floor(math.log10(size))
    text = _fixed(value, places)
    return text.rstrip("0").rstrip(".") if places else text


def _plain(value: float) -> str:
    return _signed(_zero_has_no_sign(f"{value:,.5g}"))


_WRITERS = {
    "percent": _percent,
    "change": _change,
    "points": _points,
    "coefficient": _coefficient,
    "ratio": _ratio,
    "count": _count,
    "decimal": _decimal,
    "money": _money,
    "quantity": _quantity,
    "plain": _plain,
}


def plural(count: float, one: str, many: str = "") -> str:
    """'1 day', '3 days'.

    >>> plural(1, "day"), plural(1200, "row"), plural(2, "entry", "entries")
    ('1 day', '1,200 rows', '2 entries')
    """
    return f"{_count(count)} {one if count == 1 else many or one + 's'}"
