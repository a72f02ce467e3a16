"""Trades -> bars, chunk after chunk: by time, by number, by volume, by money, by information.

    bars_of(trades, "time:1min")                      a frame of trades, or an iterable of chunks of them
    bars_of(trades, "tick:1000")                      a thousand trades a bar
    bars_of(trades, "volume:50"), "dollar:1000000"    so much of the base currency, of the quote currency
    bars_of(trades, "tick_imbalance:1000")            and volume_, dollar_imbalance; tick_, volume_, dollar_run

    maker = TradeBars("volume:50")                    the same for what never ends
    for chunk in chunks: finished = maker.add(chunk)
    maker.rest()                                      the bar that is not over

Trades are rows of `ts` (int64 ms UTC, ascending; trades of one millisecond in the venue's order), `price`, `size` (base
units) and perhaps `side` of the taker ("buy" or "sell"). A bar is a row of

    ts                     its opening: of the grid for time bars, of its first trade for all others
    known                  ms from which on it is known: the end of a time bar, the last trade of any other
    open high low close
    volume amount vwap     base units, quote units, amount / volume
    trades                 how many
    buy_volume             what takers bought, base units; NaN where the sides are not known

A bar without trades does not exist. Numbers are the decimals that the venue wrote (qlib/collect/decimals.py) and their
sums are exact: ten trades of 0.1 fill a bar of volume 1, and chunks of any size give the bits that the whole gives.

**Which trade ends a bar.** The one with which the sum since the bar began reaches the size; a trade is never split, and
what lies beyond the size does not count for the next bar. Bars driven by information follow Lopez de Prado, Advances in
Financial Machine Learning, 2.3.2. With b = +1 for a buy and -1 for a sale (without sides: the sign of the last change
of the price, 0 before the first) and v = 1, the size or the amount of a trade,

    imbalance      |sum of b v|                           >=  E[T] |E[b v]|
    run            max(sum of v of buys, that of sales)   >=  E[T] max(P[buy] E[v | buy], P[sale] E[v | sale])

The first bar has as many trades as the rule says and gives the first expectations; thereafter each is an exponentially
weighted mean over the bars before, weight `alpha` for the latest. As the book warns, E[T] may run away: `limits` holds
it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import numpy as np
import pandas as pd

from qlib.collect.bar_rules import KINDS, Chunk, Ender, Rule, ender_of
from qlib.collect.decimals import packed, product, roomy, scaled, unscaled
from qlib.errors import InputError, did_you_mean

__all__ = ["COLUMNS", "KINDS", "Rule", "TradeBars", "bars_of"]

COLUMNS: Final = (
    "ts", "known", "open", "high", "low", "close", "volume", "amount", "vwap", "trades", "buy_volume",
)  # fmt: skip


def bars_of(trades: pd.DataFrame | Iterable[pd.DataFrame], rule: str | Rule, *, rest: bool = True) -> pd.DataFrame:
    """Return the bars of trades.

    Parameters
    ----------
    trades
        A frame with columns ts, price, size and perhaps side, or an iterable of such frames, each going on where the
        one before ended; one chunk is held at a time.
    rule
        See the module.
    rest
        Whether the last bar is returned that is not over yet.

    Raises
    ------
    InputError
        A column is missing, a number is none or not above 0, time goes back; the message says in which row.

    Examples
    --------
    >>> trades = pd.DataFrame({"ts": [0, 5, 9, 70_000], "price": [10.0, 9, 11, 12], "size": [0.1, 0.2, 0.7, 3]})
    >>> print(bars_of(trades, "volume:1")[["ts", "known", "open", "low", "volume", "trades"]].to_string(index=False))
       ts  known  open  low  volume  trades
        0      9  10.0  9.0     1.0       3
    70000  70000  12.0 12.0     3.0       1
    """
    maker = TradeBars(rule)
    pieces = [maker.add(chunk) for chunk in ([trades] if isinstance(trades, pd.DataFrame) else trades)]
    pieces += [maker.rest()] if rest else []
    pieces = [piece for piece in pieces if len(piece)]
    return pd.concat(pieces, ignore_index=True) if pieces else _frame(_no_bars())


class TradeBars:
    """Makes bars of one instrument while its trades come in; remembers the bar that is open, not its trades."""

    def __init__(self, rule: str | Rule) -> None:
        self.rule = rule if isinstance(rule, Rule) else Rule.of(rule)
        self._ender = ender_of(self.rule)
        self._open: dict[str, Any] | None = None  # the bar that is not over
        self._digits = (0, 0)  # of prices and sizes, never fewer than before
        self._last = -(2**63)
        self._tick = (float("nan"), 0)  # last price, sign of its last change
        self._rows = 0
        self._sided: bool | None = None

    def add(self, trades: pd.DataFrame) -> pd.DataFrame:
        """Return the bars that are over with these trades."""
        chunk = self._chunk(trades)
        if chunk is None:
            return _frame(_no_bars())
        cuts = self._ender.cuts(chunk)
        bars, self._open = _reduced(chunk, cuts, self._open, self._ender)
        return _frame(bars)

    def rest(self) -> pd.DataFrame:
        """Return the bar that is not over, as it stands: one row, or none."""
        if self._open is None:
            return _frame(_no_bars())
        return _frame(
            {name: np.array([value]) for name, value in self._open.items() if name != "digits"}, self._open["digits"]
        )

    def _chunk(self, trades: pd.DataFrame) -> Chunk | None:
        columns = [str(name) for name in trades.columns]
        for name in ("ts", "price", "size"):
            if name not in columns:
                raise InputError(f"trades: no column {name!r} among {', '.join(columns)}{did_you_mean(name, columns)}")
        if not len(trades):
            return None
        if not pd.api.types.is_integer_dtype(trades["ts"].dtype):
            raise InputError(f"trades: ts is {trades['ts'].dtype}; whole milliseconds UTC (int64) are needed")
        for name in ("price", "size"):
            if not pd.api.types.is_numeric_dtype(trades[name].dtype):
                raise InputError(f"trades: {name} is {trades[name].dtype}; numbers are needed")
        ts = trades["ts"].to_numpy(np.int64)
        price, size = (trades[name].to_numpy(np.float64, na_value=np.nan) for name in ("price", "size"))
        for name, values in (("price", price), ("size", size)):
            if len(odd := np.flatnonzero(~((values > 0) & (values < np.inf)))):
                row = odd[0]
                raise InputError(f"trades: row {self._rows + row} has the {name} {values[row]}; more than 0 is needed")
        if len(back := np.flatnonzero(np.diff(ts, prepend=self._last if self._rows else ts[0]) < 0)):
            row = back[0]
            raise InputError(
                f"trades: row {self._rows + row} is of {ts[row]}, earlier than the row before it; sort them by ts (and "
                "by trade_id)"
            )
        sided = "side" in columns
        if self._sided is not None and sided != self._sided:
            raise InputError("trades: some chunks have a column side and others do not")
        direction, self._tick = _sides(trades["side"], self._rows) if sided else (None, self._tick)
        if direction is None:
            direction, self._tick = _tick_rule(price, *self._tick)
        self._sided, self._rows, self._last = sided, self._rows + len(ts), int(ts[-1])
        prices, price_digits = scaled(price, self._digits[0])
        sizes, size_digits = scaled(size, self._digits[1])
        self._digits = price_digits, size_digits
        digits = {"volume": size_digits, "amount": price_digits + size_digits}
        if self._open is not None:
            _rescale(self._open, digits)
        self._ender.rescale(digits)
        return Chunk(ts, price, sizes, product(prices, sizes), direction, sided, digits)


def _sides(column: pd.Series, rows: int) -> tuple[np.ndarray, tuple[float, int]]:
    sides = column.to_numpy(object)
    direction = (sides == "buy").astype(np.int64) - (sides == "sell").astype(np.int64)
    if len(odd := np.flatnonzero(direction == 0)):
        raise InputError(f"trades: row {rows + odd[0]} has the side {sides[odd[0]]!r}; buy and sell are allowed")
    return direction, (float("nan"), 0)


def _tick_rule(price: np.ndarray, last: float, sign: int) -> tuple[np.ndarray, tuple[float, int]]:
    """Return the sign of the last change of the price at each trade."""
    change = np.sign(np.diff(price, prepend=price[0] if np.isnan(last) else last)).astype(np.int64)
    at = np.maximum.accumulate(np.where(change != 0, np.arange(len(price)), -1))
    signs = np.where(at < 0, sign, change[np.maximum(at, 0)])
    return signs, (float(price[-1]), int(signs[-1]))


# ---------------------------------------------------------------------- bars
def _reduced(
    chunk: Chunk, cuts: np.ndarray, before: dict[str, Any] | None, ender: Ender
) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Return the bars that are over, and the one that is not."""
    rows = len(chunk.ts)
    if before is not None and len(cuts) and cuts[0] == 0:  # the open bar was over when this chunk began
        bars, after = _reduced(chunk, cuts[1:], None, ender)
        return _joined(before, bars), after
    starts = np.concatenate([[0], cuts])
    starts = starts[starts < rows]
    bars = _bars(chunk, starts, ender)
    if before is not None:
        _carry(bars, before)
    over = len(cuts)
    after = {name: values[-1] for name, values in bars.items() if name != "digits"} | {"digits": dict(chunk.digits)}
    digits = bars.pop("digits")
    done: dict[str, Any] = {name: values[:over] for name, values in bars.items()}
    return done | {"digits": digits}, after if len(starts) > over else None


def _bars(chunk: Chunk, starts: np.ndarray, ender: Ender) -> dict[str, Any]:
    ends = np.append(starts[1:], len(chunk.ts))
    opens, last = ender.opened(chunk.ts[starts]), chunk.ts[ends - 1]
    bought = np.where(chunk.direction > 0, chunk.volume, 0)
    return {
        "ts": opens,
        "known": ender.known(opens, last),
        "open": chunk.price[starts],
        "high": np.maximum.reduceat(chunk.price, starts),
        "low": np.minimum.reduceat(chunk.price, starts),
        "close": chunk.price[ends - 1],
        "volume": np.add.reduceat(roomy(chunk.volume), starts),
        "amount": np.add.reduceat(roomy(chunk.amount), starts),
        "bought": np.add.reduceat(roomy(bought), starts),
        "trades": ends - starts,
        "sided": np.full(len(starts), chunk.sided),
        "digits": chunk.digits,
    }


def _carry(bars: dict[str, Any], before: dict[str, Any]) -> None:
    """Let the first bar begin with what was there before."""
    bars["ts"][0], bars["open"][0] = before["ts"], before["open"]
    bars["high"][0] = max(bars["high"][0], before["high"])
    bars["low"][0] = min(bars["low"][0], before["low"])
    bars["trades"][0] += before["trades"]
    for name in ("volume", "amount", "bought"):
        sums = bars[name].astype(object)
        sums[0] = int(sums[0]) + int(before[name])
        bars[name] = packed(sums)


def _joined(first: dict[str, Any], bars: dict[str, Any]) -> dict[str, Any]:
    whole: dict[str, Any] = {"digits": bars["digits"]}
    for name, values in bars.items():
        if name != "digits":
            whole[name] = np.concatenate(
                [np.array([first[name]], dtype=values.dtype if name not in _SUMS else object), values]
            )
    return whole


_SUMS: Final = {"volume": "volume", "amount": "amount", "bought": "volume"}  # and whose digits they have


def _rescale(bar: dict[str, Any], digits: dict[str, int]) -> None:
    for name, unit in _SUMS.items():
        bar[name] = int(bar[name]) * 10 ** (digits[unit] - bar["digits"][unit])
    bar["digits"] = dict(digits)


def _no_bars() -> dict[str, Any]:
    names = ("ts", "known", "trades", *_SUMS)
    empty = {name: np.empty(0, np.int64) for name in names}
    floats = {name: np.empty(0) for name in ("open", "high", "low", "close")}
    return empty | floats | {"sided": np.empty(0, bool), "digits": {"volume": 0, "amount": 0}}


def _frame(bars: dict[str, Any], digits: dict[str, int] | None = None) -> pd.DataFrame:
    digits = bars["digits"] if digits is None else digits
    volume, amount, bought = (unscaled(bars[name], digits[unit]) for name, unit in _SUMS.items())
    columns = bars | {
        "volume": volume,
        "amount": amount,
        "vwap": amount / volume,
        "buy_volume": np.where(bars["sided"], bought, np.nan),
    }
    return pd.DataFrame({name: columns[name] for name in COLUMNS})
