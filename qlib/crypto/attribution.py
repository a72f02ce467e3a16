"""Where the money of a finished back-test went: by coin, by side, by day.

    parts = attribution(executor.trade_account, market)                                 every bar, coin and side
    parts = attribution(executor.trade_account, market, by=("day", "instrument", "side"))

    pnl = price + funding + borrow - fee - spread - impact - liquidation

price         earned by marks, and by fills against the undisturbed deal price
funding       received (below 0: paid), each payment by who held the coin at its moment
borrow        received for holding a short (below 0: paid)
fee           of orders                        spread, impact   lost by fills to half the spread, and to their size
liquidation   fee of what was closed by force, less what the venue's fund paid

It is put together from what the account keeps: trades, positions at the end of every step, payments and marks. A fill
through zero is cut in two: what it closes belongs to the side that it closes. Added up over coins and sides, every bar
is that of `Account.get_attribution()`, or RunError is raised: nothing is spread over coins to make sums right, but two
numbers that exist for the account only. Borrow is shared by value of the shorts, which is how it is charged; the fund's
payment for a cross account by value of what was closed.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd

from qlib.backtest.account import Account
from qlib.backtest.attribution import carry_names
from qlib.backtest.exchange import Exchange
from qlib.backtest.rules.fee import NOTHING
from qlib.crypto.currencies import Leg
from qlib.crypto.funding import Funding
from qlib.crypto.market import SECOND, Perpetuals
from qlib.errors import InputError, RunError, did_you_mean

PARTS: Final = ("price", "funding", "borrow", "fee", "spread", "impact", "liquidation")
GAINS: Final = PARTS[:3]
BY: Final = ("datetime", "day", "instrument", "side")
SIDES: Final = np.array(["long", "short"], dtype=object)
CARRIES: Final = ("funding", "insurance", "borrow")
FORCED: Final = "liquidation"
EXACT: Final = 1e-9  # of the money that moved, on every bar
TINY: Final = 1e-12  # of an amount: what rounding leaves of it


def attribution(
    account: Account,
    exchange: Exchange,
    *,
    by: Sequence[str] = ("datetime", "instrument", "side"),
    start: Mapping[str, Mapping[str, float]] | None = None,
) -> pd.DataFrame:
    """Return the parts of the profit; see the module.

    Parameters
    ----------
    account
        Of the level that traded, after the back-test; it has to have kept a report.
    exchange
        Where it traded.
    by
        What one row is of: some of datetime (the start of a step), day (UTC), instrument, side.
    start
        Holdings before the first step, {instrument: {"amount": ..., "price": ...}}, where there were any.

    Returns
    -------
    pandas.DataFrame
        Index as `by` says, columns `PARTS` and pnl, money. Rows exist where something was held or traded.

    Raises
    ------
    InputError
        No report, an unknown word in `by`, steps that are no bars of the market, or holdings that nobody bought.
    RunError
        The sum over the coins is not what the account says, on the bar that is named.
    """
    for word in by:
        if word not in BY:
            raise InputError(f"by: received {word!r}; allowed are {', '.join(BY)}{did_you_mean(word, BY)}")
    if not by:
        raise InputError(f"by: received nothing; some of {', '.join(BY)} are needed")
    totals = account.get_attribution()
    unknown = [name for name in carry_names(totals) if name not in CARRIES]
    if unknown:
        raise InputError(f"attribution: the account pays {unknown[0]}, of which nobody knows for which coin")
    times = pd.DatetimeIndex(totals.index)
    log = account.trades.frame()
    bare = [name for name in log["instrument"].unique() if _leg(exchange, name) is not None]
    booked = log["value"] > np.where(log["instrument"].isin(bare), 0.0, NOTHING)  # less is not
    log = log[booked].reset_index(drop=True)
    cells = _Cells.of(account, log, times, dict(start or {}))
    fills = _Portions.of(log, cells, exchange)
    parts = {
        "price": cells.worth_after - cells.worth_before - fills.summed("paid") + fills.summed("slippage"),
        "fee": fills.summed("fee"),
        "spread": fills.summed("spread"),
        "impact": fills.summed("slippage") - fills.summed("spread"),
        "funding": -cells.by_side(_funding(cells, exchange)),
        "borrow": -_borrow(cells, totals, exchange),
        "liquidation": fills.summed("forced") + _insurance(cells, fills, totals, account, exchange),
    }
    _check(parts, cells, fills, totals)
    return _table(parts, cells, times, by)


@dataclass
class _Cells:
    """A cell for each step and coin that was held before or after it, or traded in it; ordered by step and coin."""

    names: list[str]
    step: np.ndarray
    code: np.ndarray
    before: np.ndarray  # amounts; prices are the marks at which the account valued them
    price_before: np.ndarray
    after: np.ndarray
    price_after: np.ndarray
    marks: dict[str, np.ndarray]  # "mark" and "rate" before and after, of contracts that are not paid for
    key: np.ndarray  # step * len(names) + code
    steps: np.ndarray  # the start of each, int64 ns

    @classmethod
    def of(
        cls, account: Account, log: pd.DataFrame, times: pd.DatetimeIndex, start: dict[str, Mapping[str, float]]
    ) -> _Cells:
        history = account.hist_positions
        held_step, columns = history.columns("amount", "price", "mark", "rate")
        held_names, values = history.instruments(), np.column_stack(list(columns.values()))
        names = sorted({*held_names.tolist(), *log["instrument"], *start})
        index = pd.Index(names, dtype=object)
        width = max(len(names), 1)
        steps = times.as_unit("ns").asi8
        held = held_step * width + index.get_indexer(pd.Index(held_names, dtype=object))
        first = index.get_indexer(pd.Index(list(start), dtype=object)).astype(np.int64)
        carried = np.concatenate([first, held[held_step + 1 < len(steps)] + width])
        unknown = math.nan
        begun = np.array([[one["amount"], one["price"], unknown, unknown] for one in start.values()]).reshape(-1, 4)
        earlier = np.concatenate([begun, values[held_step + 1 < len(steps)]])
        traded_in = np.searchsorted(steps, log["time"].astype("M8[ns]").to_numpy().astype(np.int64), "right") - 1
        traded = traded_in * width + index.get_indexer(pd.Index(log["instrument"], dtype=object))
        every = np.sort(np.concatenate([held, carried, traded]), kind="stable")  # np.unique would hash them
        key = every[np.append(True, every[1:] != every[:-1])[: len(every)]]
        state = np.zeros((8, len(key)))
        state[:4, np.searchsorted(key, carried)] = earlier.T
        state[4:, np.searchsorted(key, held)] = values.T
        before, price_before, mark_before, rate_before, after, price_after, mark_after, rate_after = state
        marks = {"before": mark_before, "rate_before": rate_before, "after": mark_after, "rate_after": rate_after}
        return cls(names, key // width, key % width, before, price_before, after, price_after, marks, key, steps)

    @property
    def worth_before(self) -> np.ndarray:
        return self.by_side(self.before * self.price_before, self.before)

    @property
    def worth_after(self) -> np.ndarray:
        return self.by_side(self.after * self.price_after, self.after)

    def by_side(self, money: Any, amount: np.ndarray | None = None) -> np.ndarray:
        """Return (cell, side): what belongs to an amount, by its sign; two columns stay as they are."""
        if amount is None:
            return np.asarray(money)
        return np.column_stack([np.where(amount > 0, money, 0.0), np.where(amount < 0, money, 0.0)])

    def place(self, step: np.ndarray, code: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the cells of steps and coins, and which of these exist."""
        wanted = step * max(len(self.names), 1) + code
        at = np.minimum(np.searchsorted(self.key, wanted), max(len(self.key) - 1, 0))
        there = (self.key[at] == wanted) & (code >= 0) if len(self.key) else np.zeros(len(wanted), bool)
        return at, there


@dataclass
class _Portions:
    """Fills, cut where they pass through zero, each with the side to which it belongs."""

    cells: int
    log: pd.DataFrame  # the fills, with `cell` and `held`: the amount before the fill
    cell: np.ndarray
    side: np.ndarray
    parts: dict[str, np.ndarray]

    @classmethod
    def of(cls, log: pd.DataFrame, cells: _Cells, exchange: Exchange) -> _Portions:
        step = np.searchsorted(cells.steps, log["time"].astype("M8[ns]").to_numpy().astype(np.int64), "right") - 1
        code = pd.Index(cells.names, dtype=object).get_indexer(pd.Index(log["instrument"], dtype=object))
        cell, _ = cells.place(step, code)
        sign = np.where(log["side"] == "buy", 1.0, -1.0)
        legs = {name: leg for name in cells.names if (leg := _leg(exchange, name)) is not None}
        bare = log["instrument"].isin(list(legs)).to_numpy(bool)  # of contracts that are not paid for
        size = np.where(bare, log["amount"], log["value"] / log["price"])
        sums = pd.Series(sign * size).groupby(cell).cumsum().to_numpy(np.float64)
        held = cells.before[cell] + sums - sign * size
        most = pd.Series(np.abs(sums)).groupby(cell).transform("max").to_numpy(np.float64) + np.abs(cells.before[cell])
        held[np.abs(held) <= TINY * most] = 0.0
        closes = np.where(held * sign < 0, np.minimum(np.abs(held), size), 0.0)
        closes = np.where(np.abs(size - closes) <= TINY * size, size, closes)
        share = np.divide(closes, size, out=np.zeros_like(size), where=size > 0)
        slippage = log["slippage"].to_numpy(np.float64)
        forced = (log["reason"] == FORCED).to_numpy(bool)
        fee = log["fee"].to_numpy(np.float64)
        rules = exchange.market.fills
        inverse = log["instrument"].isin([name for name, leg in legs.items() if leg.inverse]).to_numpy(bool)
        undisturbed = log["value"].to_numpy(np.float64) - np.where(inverse, 0.0, sign * slippage)
        spread = np.minimum(slippage, (0.0 if rules is None else rules.half_spread) * undisturbed)
        money = {
            "paid": sign * log["value"].to_numpy(np.float64),
            "slippage": slippage,
            "spread": spread,
            "fee": np.where(forced, 0.0, fee),
            "forced": np.where(forced, fee, 0.0),
        }
        parts = {name: np.concatenate([share * one, (1 - share) * one]) for name, one in money.items()}
        if bare.any():  # the cash of such a fill is what the part that it closes has earned
            realised = _realised(log, sign * size, legs)
            parts["paid"][: len(log)][bare] = -realised[bare]
            parts["paid"][len(log) :][bare] = 0.0
        return cls(
            len(cells.key),
            log.assign(cell=cell, held=held, sign=sign, size=size),
            np.concatenate([cell, cell]),
            np.concatenate([held < 0, sign < 0]).astype(np.int64),
            parts,
        )

    def summed(self, name: str) -> np.ndarray:
        """Return (cell, side) of a part."""
        flat = np.bincount(2 * self.cell + self.side, self.parts[name], minlength=2 * self.cells)
        return flat[: 2 * self.cells].reshape(-1, 2)


def _leg(exchange: Exchange, name: str) -> Leg | None:
    return exchange.legs.get(name) if isinstance(exchange, Perpetuals) else None


def _realised(log: pd.DataFrame, change: np.ndarray, legs: Mapping[str, Leg]) -> np.ndarray:
    """Return what every fill of a contract that is not paid for realised, in money of the account; 0 for others."""
    found, state = np.zeros(len(log)), dict.fromkeys(legs, (0.0, 0.0))
    columns = (log[name].to_numpy() for name in ("instrument", "price", "value", "amount"))
    for row, (name, price, value, amount) in enumerate(zip(*columns, strict=True)):
        leg = legs.get(name)
        if leg is None:
            continue
        (held, entry), moved = state[name], float(change[row])
        after = held + moved
        if held * moved < 0:
            closed = held if abs(moved) >= abs(held) else -moved
            found[row] = leg.profit(closed, entry, price) * value / (amount * leg.worth(price))
            if abs(after) <= TINY * abs(held):
                after = 0.0
            elif held * after < 0:
                entry = price
        else:
            entry = leg.entry(held, entry, moved, price) if held else price
        state[name] = after, entry
    return found


# ------------------------------------------------------------------------------------------------- what holding costs
def _funding(cells: _Cells, exchange: Exchange) -> np.ndarray:
    """Return (cell, side): what was paid, by the rules of `Perpetuals`."""
    due = np.zeros((len(cells.key), 2))
    funding = getattr(exchange, "funding", None)
    if not isinstance(exchange, Perpetuals) or funding is None or not len(cells.key):
        return due
    quote = exchange.quote
    bars = np.asarray(quote.times).astype("M8[ns]").astype(np.int64)
    bar = np.searchsorted(bars, cells.steps)
    if not (np.isin(cells.steps, bars).all() and (np.diff(bar) == 1).all()):
        raise InputError(
            "attribution: the steps of the account are not the bars of the market; give the account of the level that "
            "trades, and a market of its bars"
        )
    schedule = funding.schedule(quote.times, quote.instruments)
    code_of = pd.Index(cells.names, dtype=object).get_indexer(pd.Index(quote.instruments, dtype=object))
    column_of = pd.Index(quote.instruments, dtype=object).get_indexer(pd.Index(cells.names, dtype=object))
    bar_of_cell = bar[cells.step]
    known = (column_of[cells.code] >= 0) & schedule.known[bar_of_cell, column_of[cells.code]]

    entry_bar = np.repeat(np.arange(len(bars)), np.diff(schedule.starts))
    at, there = cells.place(entry_bar - bar[0], code_of[schedule.column])
    there &= (entry_bar >= bar[0]) & (entry_bar <= bar[-1])
    there[there] &= known[at[there]]
    at, entries = at[there], np.flatnonzero(there)
    earlier = (exchange.trades_at == "close") & ~schedule.at_end[entries]  # due from what was held before the orders
    amount = np.where(earlier, cells.before[at], cells.after[at])
    mark = np.where(earlier, cells.price_before[at], cells.price_after[at])
    mark = np.where(np.isnan(schedule.mark[entries]), mark, schedule.mark[entries])
    bare = [k for k, name in enumerate(cells.names) if _leg(exchange, name) is not None]
    if bare:  # their price is what they earned: they pay on their own mark, at the rate of that time
        there = np.isin(cells.code[at], bare)
        own = np.where(earlier, cells.marks["before"][at], cells.marks["after"][at])
        own = np.where(np.isnan(schedule.mark[entries]), own, schedule.mark[entries])
        inverse = np.isin(cells.code[at], [k for k in bare if exchange.legs[cells.names[k]].inverse])  # type: ignore[union-attr]
        worth = np.where(inverse, np.divide(1.0, own, out=np.zeros_like(own), where=own > 0), own)
        rate = np.where(earlier, cells.marks["rate_before"][at], cells.marks["rate_after"][at])
        mark = np.where(there, worth * np.where(amount != 0, rate, 0.0), mark)
    flat = np.bincount(2 * at + (amount < 0), amount * mark * schedule.rate[entries], minlength=due.size)
    due += flat.reshape(-1, 2)
    for cell in np.flatnonzero(~known & ((cells.before != 0) | (cells.after != 0))):  # the policy of the run says what
        _by_policy(due, int(cell), cells, exchange, copy.copy(funding), bars)
    return due


def _by_policy(
    due: np.ndarray, cell: int, cells: _Cells, exchange: Perpetuals, funding: Funding, bars: np.ndarray
) -> None:
    name, start = cells.names[cells.code[cell]], pd.Timestamp(int(cells.steps[cells.step[cell]]))
    place = int(np.searchsorted(bars, start.value))
    length = bars[place + 1] - bars[place] if place + 1 < len(bars) else bars[place] - bars[place - 1]
    end = pd.Timestamp(int(start.value + length)) - SECOND
    if exchange.contracts.at(name, start).kind == "spot":
        return
    leg, marks = exchange.legs.get(name), {key: float(one[cell]) for key, one in cells.marks.items()}
    before = float(cells.before[cell]), float(cells.price_before[cell]), marks["before"], marks["rate_before"]
    after = float(cells.after[cell]), float(cells.price_after[cell]), marks["after"], marks["rate_after"]
    closes = exchange.trades_at == "close"
    spans = [(before, start, end), (after, end, end + SECOND)] if closes else [(after, start, end + SECOND)]
    for (amount, price, mark, rate), low, high in spans:
        if amount:
            for one in funding.between(name, low, high):
                if leg is None:
                    worth = price if np.isnan(one.mark) else one.mark
                else:
                    worth = leg.worth(mark if np.isnan(one.mark) else one.mark) * rate
                due[cell, int(amount < 0)] += amount * worth * one.rate


def _borrow(cells: _Cells, totals: pd.DataFrame, exchange: Exchange) -> np.ndarray:
    due = np.zeros((len(cells.key), 2))
    if "borrow" in totals and len(cells.key):
        short = np.where(cells.after < 0, -cells.after * cells.price_after, 0.0)
        if isinstance(exchange, Perpetuals):  # a perpetual is sold, not borrowed
            kinds = [exchange.contracts.at(name, pd.Timestamp(int(cells.steps[0]))).kind for name in cells.names]
            short = short * np.array([kind == "spot" for kind in kinds])[cells.code]
        due[:, 1] = _shared(short, cells.step, totals["borrow"].to_numpy(np.float64))
    return due


def _shared(weight: np.ndarray, step: np.ndarray, total: np.ndarray) -> np.ndarray:
    """Return each step's total, shared by weight."""
    sums = np.bincount(step, weight, minlength=len(total))
    return weight * np.divide(total, sums, out=np.zeros(len(total)), where=sums != 0)[step]


def _insurance(
    cells: _Cells, fills: _Portions, totals: pd.DataFrame, account: Account, exchange: Exchange
) -> np.ndarray:
    """Return (cell, side): what the venue's fund paid (below 0), for positions that lost more than their margin."""
    due = np.zeros((len(cells.key), 2))
    if not isinstance(exchange, Perpetuals) or not (totals["insurance"] != 0).any():
        return due
    log = fills.log
    forced = np.flatnonzero((log["reason"] == FORCED) & (totals["insurance"].to_numpy()[cells.step[log["cell"]]] != 0))
    weight = log["value"].to_numpy(np.float64)[forced]
    if exchange.isolated:
        weight = np.array([_beyond(int(row), fills, cells, account, exchange) for row in forced])
    cell = log["cell"].to_numpy()[forced]
    shares = _shared(weight, cells.step[cell], totals["insurance"].to_numpy(np.float64))
    np.add.at(due, (cell, (log["held"].to_numpy()[forced] < 0).astype(np.int64)), shares)
    return due


def _beyond(row: int, fills: _Portions, cells: _Cells, account: Account, exchange: Perpetuals) -> float:
    """Return what a position that was closed by force lost beyond its margin: entry and margin as `Perpetuals` has."""
    log, one = fills.log, fills.log.iloc[row]
    cell, name = int(one["cell"]), one["instrument"]
    step = int(cells.step[cell])
    earlier = account.hist_positions[pd.Timestamp(int(cells.steps[step - 1]))].position.get(name, {}) if step else {}
    leverage, leg = exchange.leverage_of(name), exchange.legs.get(name) or Leg(name, "", inverse=False)
    if abs(one["held"] + one["sign"] * one["size"]) > TINY * abs(one["held"]):
        return 0.0  # a part: what is left of the margin pays for the rest
    entry = earlier.get("entry", float(cells.price_before[cell]))
    margin = earlier.get("pocket", earlier.get("margin", abs(float(cells.before[cell])) * entry / leverage))
    for other in log[(log["cell"] == cell) & (log.index < log.index[row])].itertuples():
        held, change = other.held, other.sign * other.size
        after, opened = held + change, leg.worth(other.price) / leverage
        if not held or (held < 0) != (after < 0):
            entry, margin = other.price, abs(after) * opened
        elif abs(after) > abs(held):
            entry, margin = leg.entry(held, entry, change, other.price), margin + abs(change) * opened
        elif other.reason == FORCED:
            margin += (
                leg.profit(-change, entry, other.price) - other.fee * other.size * leg.worth(other.price) / other.value
            )
        else:
            margin *= after / held
    rate = one["value"] / (one["size"] * leg.worth(one["price"]))
    return max(0.0, one["fee"] - rate * (margin + leg.profit(one["held"], entry, one["price"])))


# ---------------------------------------------------------------------------------------------------------- the sums
def _check(parts: dict[str, np.ndarray], cells: _Cells, fills: _Portions, totals: pd.DataFrame) -> None:
    """Raise RunError where the coins together are not the account."""
    count = len(totals)
    moved = np.bincount(cells.step, np.abs(cells.before * cells.price_before), minlength=count)
    moved += np.bincount(cells.step, np.abs(cells.after * cells.price_after), minlength=count)
    moved += np.bincount(cells.step[fills.log["cell"]], fills.log["value"], minlength=count)
    scale = np.maximum(moved, totals["account"].abs().to_numpy(np.float64))

    def told(name: str) -> np.ndarray:
        return totals[name].to_numpy(np.float64) if name in totals else np.zeros(count)

    for what, own, theirs in (
        ("price", parts["price"], told("price")),
        ("funding", -parts["funding"], told("funding")),
        ("borrow", -parts["borrow"], told("borrow")),
        ("fee and liquidation", parts["fee"] + parts["liquidation"], told("fee") + told("insurance")),
        ("spread and impact", parts["spread"] + parts["impact"], told("impact")),
    ):
        found = np.bincount(cells.step, own.sum(axis=1), minlength=count)
        off = ~(np.abs(found - theirs) <= EXACT * scale)
        if off.any():
            row = int(np.flatnonzero(off)[0])
            hint = "; holdings before the first step are told by start=" if row == 0 and what == "price" else ""
            raise RunError(
                f"attribution: {what} at {totals.index[row]}: the coins together have {found[row]!r}, the account "
                f"{theirs[row]!r}{hint}"
            )


def _table(parts: dict[str, np.ndarray], cells: _Cells, times: pd.DatetimeIndex, by: Sequence[str]) -> pd.DataFrame:
    there = np.column_stack([(cells.before > 0) | (cells.after > 0), (cells.before < 0) | (cells.after < 0)])
    for one in parts.values():
        there |= one != 0
    cell, side = np.nonzero(there)
    frame = pd.DataFrame({name: parts[name][cell, side] for name in PARTS})
    frame["pnl"] = frame[list(GAINS)].sum(axis=1) - frame[list(PARTS[3:])].sum(axis=1)
    moments = times[cells.step[cell]]
    labels = {
        "datetime": (moments.asi8, None),
        "day": (moments.normalize().asi8, None),
        "instrument": (cells.code[cell], np.array(cells.names, dtype=object)),
        "side": (side, SIDES),
    }
    keys = [np.asarray(labels[word][0]) for word in by]
    if tuple(by) != ("datetime", "instrument", "side"):  # so they are already, each once and in order
        frame = frame.groupby(keys, sort=True).sum()
        keys = [frame.index.get_level_values(number).to_numpy() for number in range(len(by))]
    levels = []
    for word, own in zip(by, keys, strict=True):
        names = labels[word][1]
        levels.append(pd.DatetimeIndex(own.view("M8[ns]")) if names is None else names[own])
    frame.index = pd.Index(levels[0], name=by[0]) if len(by) == 1 else pd.MultiIndex.from_arrays(levels, names=list(by))
    return frame
