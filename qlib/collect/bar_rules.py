"""Which trade ends a bar: by time, by sums, by information (the definitions are in qlib/collect/trade_bars.py).

ender = ender_of(Rule.of("volume:50"))
ender.cuts(chunk)                         the rows before which a bar is over; what is open is remembered
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final

import numpy as np

from qlib.collect.decimals import roomy
from qlib.data.grid import Grid
from qlib.errors import InputError, did_you_mean
from qlib.utils.time import Freq

_WEIGHTS: Final = ("tick", "volume", "dollar")
KINDS: Final = (
    "time", *_WEIGHTS, *(f"{weight}_imbalance" for weight in _WEIGHTS), *(f"{weight}_run" for weight in _WEIGHTS)
)  # fmt: skip
_WINDOW: Final = 256  # trades that are looked at first for the end of a bar of imbalance


@dataclass(frozen=True)
class Rule:
    """When a bar is over.

    Parameters
    ----------
    kind
        One of KINDS.
    size
        A bar size ("1min") for time bars; else a number above 0: trades, base units, quote units. For bars driven by
        information, the trades of the first bar.
    alpha
        Weight of the latest bar in the expectations, 0 < alpha <= 1.
    limits
        Least and greatest E[T].
    """

    kind: str
    size: Any
    alpha: float = 0.1
    limits: tuple[float, float] = (1.0, float("inf"))

    @classmethod
    def of(cls, text: str, **options: Any) -> Rule:
        """Read a rule.

        >>> Rule.of("volume:2.5").size, Rule.of("tick_run:100", alpha=0.05).kind
        (2.5, 'tick_run')
        """
        kind, _, size = str(text).partition(":")
        if kind not in KINDS or not size:
            raise InputError(
                f"rule: received {text!r}; a kind and a size such as time:1min or volume:100 are allowed, kinds are "
                f"{', '.join(KINDS)}{did_you_mean(kind, KINDS)}"
            )
        if kind == "time":
            return cls(kind, size, **options)
        try:
            return cls(kind, float(size), **options)
        except ValueError:
            raise InputError(f"rule: received {text!r}; {size!r} is no number") from None

    def __post_init__(self) -> None:
        if self.kind == "time":
            freq = Freq(self.size)
            if not freq.intraday and freq != Freq("day"):
                raise InputError(f"rule: received time:{self.size}; bars of up to a day are made of trades")
            return
        whole = self.kind.startswith("tick") or self.informed
        if not 0 < self.size < float("inf") or (whole and self.size != int(self.size)):
            raise InputError(
                f"rule: received {self.kind}:{self.size}; a {'whole ' if whole else ''}number above 0 is allowed"
            )
        if not 0 < self.alpha <= 1:
            raise InputError(f"alpha: received {self.alpha}; more than 0 and at most 1 is allowed")
        if not 0 < self.limits[0] <= self.limits[1]:
            raise InputError(f"limits: received {self.limits}; the least and the greatest number of trades are needed")

    @property
    def informed(self) -> bool:
        """Whether the ends depend on what the bars before let expect."""
        return "_" in self.kind


@dataclass(frozen=True)
class Chunk:
    """Checked trades."""

    ts: np.ndarray
    price: np.ndarray
    volume: np.ndarray  # whole numbers of 10**-digits["volume"]
    amount: np.ndarray
    direction: np.ndarray  # +1 a buy, -1 a sale, 0 unknown
    sided: bool
    digits: dict[str, int]

    def weight(self, name: str) -> np.ndarray:
        """Return what each trade counts: 1, its size, or its amount."""
        if name == "tick":
            return np.ones(len(self.ts), np.int64)
        return self.volume if name == "volume" else self.amount


class Ender:
    """Finds the ends of bars."""

    def cuts(self, chunk: Chunk) -> np.ndarray:
        """Return the rows before which a bar is over, 0 ... len(chunk), and remember the bar that is open."""
        raise NotImplementedError

    def rescale(self, digits: dict[str, int]) -> None:
        """Take note of finer units."""

    def opened(self, ts: np.ndarray) -> np.ndarray:
        """Return the stamps of bars whose first trades are at `ts`."""
        return ts

    def known(self, opens: np.ndarray, last: np.ndarray) -> np.ndarray:
        """Return when bars are known, by their stamps and their last trades."""
        return last


class _ByTime(Ender):
    def __init__(self, size: str) -> None:
        self.freq, self.grid = Freq(size), Grid.of()
        self.last: int | None = None

    def cuts(self, chunk: Chunk) -> np.ndarray:
        opens = self.opened(chunk.ts)
        before = opens[0] if self.last is None else self.last
        self.last = int(opens[-1])
        return np.flatnonzero(np.diff(opens, prepend=before))

    def opened(self, ts: np.ndarray) -> np.ndarray:
        return _ms(self.grid.opens(ts.astype("M8[ms]").astype("M8[ns]"), self.freq))

    def known(self, opens: np.ndarray, last: np.ndarray) -> np.ndarray:
        return _ms(self.grid.ends(opens.astype("M8[ms]").astype("M8[ns]"), self.freq))


def _ms(times: np.ndarray) -> np.ndarray:
    return times.astype("M8[ms]").astype(np.int64)


class _BySum(Ender):
    """Trades, base units or quote units reach a size."""

    def __init__(self, weight: str, size: float) -> None:
        self.weight = weight
        self.size = Fraction(str(size))
        self.digits = 0
        self.have = 0  # in the open bar

    def rescale(self, digits: dict[str, int]) -> None:
        wanted = digits.get({"dollar": "amount"}.get(self.weight, self.weight), 0)
        self.have *= 10 ** (wanted - self.digits)
        self.digits = wanted

    def cuts(self, chunk: Chunk) -> np.ndarray:
        size = -int(-self.size * 10**self.digits // 1)  # upwards
        total = np.cumsum(roomy(chunk.weight(self.weight), self.have + size))
        found, base, rows = [], -self.have, len(total)
        while (row := _reached(total, base + size)) < rows:
            found.append(row + 1)
            base = int(total[row])
        self.have = int(total[-1]) - base
        return np.array(found, np.int64)


def _reached(total: np.ndarray, goal: int, start: int = 0) -> int:
    """Return the first row from `start` on at which an ascending sum is at least `goal`; else the number of rows."""
    if total.dtype != object and goal >= 2**63:
        return len(total)
    return start + int(np.searchsorted(total[start:], goal))


class _Informed(Ender):
    """Imbalance or runs go beyond what the bars before let expect."""

    def __init__(self, rule: Rule) -> None:
        self.weight, self.kind = rule.kind.split("_")
        self.rule = rule
        self.digits = 0
        self.ticks = 0  # of the open bar
        self.buys = self.sales = 0  # trades of it
        self.bought = self.sold = 0  # their weights
        self.expected: dict[str, float] = {}

    def rescale(self, digits: dict[str, int]) -> None:
        wanted = digits.get({"dollar": "amount"}.get(self.weight, self.weight), 0)
        self.bought *= 10 ** (wanted - self.digits)
        self.sold *= 10 ** (wanted - self.digits)
        self.digits = wanted

    def cuts(self, chunk: Chunk) -> np.ndarray:
        weight = roomy(chunk.weight(self.weight), self.bought + self.sold)
        buy, sale = chunk.direction > 0, chunk.direction < 0
        bought, sold = _sums(np.where(buy, weight, 0)), _sums(np.where(sale, weight, 0))
        buys, sales = _sums(buy.astype(np.int64)), _sums(sale.astype(np.int64))
        found, start, rows = [], 0, len(weight)
        while (cut := self._end(bought, sold, start)) <= rows:
            self._count(bought, sold, buys, sales, start, cut)
            self._learn()
            found.append(cut)
            start = cut
        self._count(bought, sold, buys, sales, start, rows)
        return np.array(found, np.int64)

    def _count(self, bought: Any, sold: Any, buys: Any, sales: Any, start: int, cut: int) -> None:
        self.ticks += cut - start
        self.bought += int(bought[cut] - bought[start])
        self.sold += int(sold[cut] - sold[start])
        self.buys += int(buys[cut] - buys[start])
        self.sales += int(sales[cut] - sales[start])

    def _end(self, bought: np.ndarray, sold: np.ndarray, start: int) -> int:
        """Return the row before which the bar that goes on at `start` is over; more than there are rows: not yet."""
        rows = len(bought) - 1
        if not self.expected:
            return start + int(self.rule.size) - self.ticks
        goal = self._goal()
        if self.kind == "run":
            high = _reached(bought, int(bought[start]) - self.bought + goal, start + 1)
            low = _reached(sold, int(sold[start]) - self.sold + goal, start + 1)
            return min(high, low)
        window, at = _WINDOW, start
        before = self.bought - self.sold - (int(bought[start]) - int(sold[start]))
        while at < rows:
            upto = min(at + window, rows)
            balance = np.abs(bought[at + 1 : upto + 1] - sold[at + 1 : upto + 1] + before)
            there = np.flatnonzero(balance >= goal)
            if len(there):
                return at + 1 + int(there[0])
            at, window = upto, 2 * window
        return rows + 1

    def _goal(self) -> int:
        expected = self.expected
        each = max(expected["buy"], expected["sale"]) if self.kind == "run" else abs(expected["balance"])
        return -int(-Fraction(expected["ticks"]) * Fraction(each) * 10**self.digits // 1)  # upwards

    def _learn(self) -> None:
        """Take the bar that is over into the expectations."""
        unit = 10**self.digits
        bought, sold = self.bought / unit, self.sold / unit
        latest = {"ticks": float(self.ticks)}
        if self.kind == "run":
            share = self.buys / self.ticks
            latest |= {"p_buy": share, "p_sale": self.sales / self.ticks}
            latest |= {"v_buy": bought / self.buys} if self.buys else {}
            latest |= {"v_sale": sold / self.sales} if self.sales else {}
        else:
            latest["balance"] = (self.bought - self.sold) / unit / self.ticks
        alpha = self.rule.alpha
        for name, value in latest.items():
            known = self.expected.get(name, value)
            self.expected[name] = known + alpha * (value - known)
        self.expected["ticks"] = min(max(self.expected["ticks"], self.rule.limits[0]), self.rule.limits[1])
        if self.kind == "run":
            for side in ("buy", "sale"):
                self.expected[side] = self.expected[f"p_{side}"] * self.expected.get(f"v_{side}", 0.0)
        self.ticks = self.buys = self.sales = self.bought = self.sold = 0


def _sums(values: np.ndarray) -> np.ndarray:
    """Return the sums of the first 0, 1, 2 ... values."""
    return np.concatenate([np.zeros(1, values.dtype), np.cumsum(values)])


def ender_of(rule: Rule) -> Ender:
    """Return what finds the ends of bars of a rule."""
    if rule.kind == "time":
        return _ByTime(rule.size)
    return _Informed(rule) if rule.informed else _BySum(rule.kind, rule.size)
