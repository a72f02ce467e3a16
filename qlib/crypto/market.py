"""Markets of coins, as exchanges of the backtest: their fees, lots, funding and liquidations.

    backtest(..., exchange_kwargs={"exchange": {"class": "Perpetuals", "module_path": "qlib.crypto.market", "kwargs": {
        "freq": "60min", "codes": "all", "deal_price": "close", "leverage": 3, "margin": "isolated", "mmr": 0.005,
        "funding": "data/funding.parquet", "contracts": "data/klines"}}})

Spot           coins, bought with cash; fees by 30-day volume, lots and least orders as of the date
Perpetuals     linear swaps and futures: shorts, leverage, funding at its own times, liquidation on the mark price
okx_spot, okx_swap, okx_futures      the same with that venue's regular fees ("class": "okx_swap")

Everything else is the exchange of `qlib.backtest`: its decisions, fills, records. What is special here is answered at
the seams it has for it: `fee_rate`, `whole_lots`, `room`, `marks`, `open_step`, `liquidate`.

Account and value: cash + amount x mark price of all holdings. For a linear contract that is the balance of the venue's
account with its unrealised profit, to the cent: what a position cost when it was opened is in the cash.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from inspect import signature
from typing import TYPE_CHECKING, Any, Final, cast
from weakref import WeakKeyDictionary

import numpy as np
import pandas as pd

from qlib.backtest.decision import Order
from qlib.backtest.exchange import NO_DEALS, Exchange
from qlib.backtest.position import SPECIAL, BasePosition, Position
from qlib.backtest.rules.fee import NOTHING
from qlib.backtest.rules.short import Short
from qlib.backtest.trades import Fill
from qlib.crypto.contracts import Contracts
from qlib.crypto.fees import FeeTiers, traded_before
from qlib.crypto.funding import Funding, Schedule, stored_payments
from qlib.crypto.margin import MODES, Tiers, liquidation_price
from qlib.errors import ConfigError, InputError, did_you_mean

if TYPE_CHECKING:
    from qlib.backtest.account import Account

SECOND: Final = pd.Timedelta(seconds=1)
OKX_SPOT_FEES: Final = (0.0008, 0.001)  # of the regular tier: maker, taker
OKX_SWAP_FEES: Final = (0.0002, 0.0005)


class Spot(Exchange):
    """Coins for cash.

    Parameters
    ----------
    contracts
        Lots and least orders: see `crypto.contracts.Contracts.of`.
    fees
        See `crypto.fees.FeeTiers.of`.
    maker
        Orders pay the maker's share.
    kwargs
        Those of `qlib.backtest.exchange.Exchange`, but the costs, lots and price limits of a stock exchange.
    """

    short_allowed = False

    def __init__(self, *args: Any, contracts: Any = None, fees: Any, maker: bool = False, **kwargs: Any) -> None:
        for name in ("open_cost", "close_cost", "min_cost", "trade_unit", "short", "limit_threshold"):
            if kwargs.pop(name, None) is not None:
                raise ConfigError(f"{type(self).__name__}: {name} is said by fees, contracts and leverage here")
        self.contracts = Contracts.of(contracts)
        self.fees = FeeTiers.of(fees)
        self.maker = maker
        self._shares: WeakKeyDictionary[Account, tuple[pd.Timestamp, float]] = WeakKeyDictionary()
        kwargs |= {"open_cost": 0.0, "close_cost": 0.0, "min_cost": 0.0, "trade_unit": None, "limit_threshold": None}
        if self.short_allowed:
            kwargs["short"] = Short(margin=_ByPosition())
        super().__init__(*args, **kwargs)

    @classmethod
    def known_kwargs(cls) -> tuple[str, ...]:
        """Names that `**kwargs` may hold, and those of this market: a misspelled one is told the nearest."""
        own = [name for kind in (Spot, cls) for name in signature(kind.__init__).parameters]
        return tuple(dict.fromkeys((*super().known_kwargs(), *(n for n in own if n not in ("self", "args", "kwargs")))))

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_shares": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._shares = WeakKeyDictionary()

    def fee_rate(self, order: Order, account: Account | None) -> float:
        """Return the share of the tier that the account's trades of 30 days reach."""
        if account is None or len(self.fees.rows) == 1:
            return self.fees.rate(0.0, maker=self.maker)
        day = order.start_time.normalize()
        known = self._shares.get(account)
        if known is None or known[0] != day:
            rate = self.fees.rate(traded_before(account.trades, day), maker=self.maker)
            known = self._shares[account] = (day, rate)
        return known[1]

    def whole_lots(self, amount: float, factor: float | None, order: Order) -> float:  # noqa: ARG002
        """Return the largest amount of whole lots that may be ordered on the day."""
        if not math.isfinite(amount):
            return amount
        return self.contracts.at(order.stock_id, order.start_time).floor(amount)

    def deal_order(
        self,
        order: Order,
        trade_account: Account | None = None,
        position: BasePosition | None = None,
        dealt_order_amount: Mapping[str, float] = NO_DEALS,
    ) -> tuple[float, float, float]:
        """Execute an order, see `Exchange.deal_order`.

        Raises InputError for an order of something that is not traded at that time.
        """
        terms = self.contracts.at(order.stock_id, order.start_time)
        if not terms.trades_at(order.start_time):
            raise InputError(
                f"order {_said(order)}: {order.stock_id} is traded from {terms.listed} to {terms.delisted}, not then"
            )
        return super().deal_order(order, trade_account, position, dealt_order_amount)


class Perpetuals(Spot):
    """Linear swaps and futures with margin.

    Parameters
    ----------
    leverage
        Value / margin of a position when it is opened: one number, or by instrument with "default".
    margin
        "isolated" or "cross".
    mmr
        Maintenance margin rate, or tables of tiers: see `crypto.margin.Tiers.of`.
    liquidation_fee
        Share of the value that a liquidation costs.
    mark
        Formula of the mark price at the end of a bar; "$close" where the store has no "$mark".
    mark_path
        (first, lowest, highest) mark price of a bar, formulas. None: only the mark at the end of a bar is looked at,
        and a position that is beyond its liquidation price then is closed at that mark.
    funding
        See `crypto.funding.Funding.of`; "field": the store's own `$funding` (`crypto.funding.stored_payments`); None:
        this market knows none (dated futures).
    borrow
        What borrowed coins cost a day, as a share of their value: then coins of kind "spot" may be sold short too.
        None: they may not.
    trades_at
        "close" or "open": whether orders are dealt at the end or the beginning of a bar. Left out, the deal price says.
    """

    short_allowed = True

    def __init__(
        self,
        *args: Any,
        leverage: float | Mapping[str, float] = 1.0,
        margin: str = "isolated",
        mmr: Any = 0.005,
        liquidation_fee: float = 0.0005,
        mark: str = "$mark",
        mark_path: tuple[str, str, str] | None = None,
        funding: Any = None,
        borrow: float | None = None,
        trades_at: str | None = None,
        fees: Any,
        **kwargs: Any,
    ) -> None:
        if margin not in MODES:
            raise ConfigError(
                f"margin: received {margin!r}; allowed are {', '.join(MODES)}{did_you_mean(margin, MODES)}"
            )
        self.isolated = margin == "isolated"
        self.leverage = leverage if isinstance(leverage, Mapping) else {"default": float(leverage)}
        if any(not number > 0 for number in self.leverage.values()):
            raise ConfigError(f"leverage: received {leverage!r}; numbers above 0 are allowed")
        self.tiers = Tiers.of(mmr)
        if not liquidation_fee >= 0:
            raise ConfigError(f"liquidation_fee: received {liquidation_fee!r}; a share of at least 0 is allowed")
        self.liquidation_fee = liquidation_fee
        self.mark, self.mark_path = mark, None if mark_path is None else tuple(mark_path)
        if self.mark_path is not None and len(self.mark_path) != 3:
            raise ConfigError(
                f"mark_path: received {mark_path!r}; formulas of the first, lowest and highest are needed"
            )
        self.funding = None if isinstance(funding, str) and funding == "field" else Funding.of(funding)
        deals = str(kwargs.get("deal_price") or "close").lstrip("$")
        self.trades_at = trades_at or deals
        if self.trades_at not in ("open", "close"):
            raise ConfigError(
                f"trades_at: received {self.trades_at!r}; with the deal price {deals!r} say 'open' or 'close': are "
                "orders dealt at the beginning or the end of a bar?"
            )
        self._closed: WeakKeyDictionary[Account, tuple[pd.Timestamp, set[str]]] = WeakKeyDictionary()
        self._schedule: Schedule | None = None
        kwargs["subscribe_fields"] = [*kwargs.get("subscribe_fields", ()), mark, *(self.mark_path or ())]
        if borrow is not None and not borrow >= 0:
            raise ConfigError(f"borrow: received {borrow!r}; a share a day of at least 0, or None, is allowed")
        self.borrow = borrow
        kwargs["carry"] = _Funded(self), _Insured(), *([] if borrow is None else [_Borrowed(borrow)])
        super().__init__(*args, fees=fees, **kwargs)
        if isinstance(funding, str) and funding == "field":
            times, names = self.quote.times, self.quote.instruments
            self.funding = Funding(stored_payments(self.provider, names, times[0], times[-1], self.freq))

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_closed": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._closed = WeakKeyDictionary()

    # ------------------------------------------------------------------------------------------------------ positions
    def deal_order(
        self,
        order: Order,
        trade_account: Account | None = None,
        position: BasePosition | None = None,
        dealt_order_amount: Mapping[str, float] = NO_DEALS,
    ) -> tuple[float, float, float]:
        """Execute an order, see `Exchange.deal_order`; what it opens gets its entry price and its margin."""
        if self.contracts.at(order.stock_id, order.start_time).inverse:
            raise InputError(
                f"order {_said(order)}: an inverse contract pays in coins; this account is kept in one currency and "
                "needs linear contracts"
            )
        if trade_account is not None:
            time, names = self._closed.get(trade_account, (None, ()))
            if time == order.start_time and order.stock_id in names:
                order.deal_amount, order.reason = 0.0, "liquidated"
                return 0.0, 0.0, math.nan
        holding = position if trade_account is None else trade_account.current_position
        if not isinstance(holding, Position):
            return super().deal_order(order, trade_account, position, dealt_order_amount)
        self._complete(holding, order.start_time)
        before = holding.get_stock_amount(order.stock_id)
        opens = order.direction == Order.SELL and order.amount > max(before, 0.0) * (1 + 1e-9)
        if opens and self.borrow is None and self.contracts.at(order.stock_id, order.start_time).kind == "spot":
            raise InputError(f"order {_said(order)}: {before:g} are held, and spot cannot be sold short without borrow")
        value, cost, price = super().deal_order(order, trade_account, position, dealt_order_amount)
        if value > NOTHING:
            self._book(holding, order.stock_id, before, price, order.start_time)
        return value, cost, price

    def _book(self, position: Position, stock: str, before: float, price: float, time: pd.Timestamp) -> None:
        held = position.position.get(stock)
        if held is None:
            return
        after, margin = held["amount"], price / self.leverage_of(stock)
        if not before or (before < 0) != (after < 0):
            held["entry"], held["margin"] = price, abs(after) * margin
        elif abs(after) > abs(before):
            held["entry"] = (before * held["entry"] + (after - before) * price) / after
            held["margin"] += abs(after - before) * margin
        else:
            held["margin"] *= after / before
        self._bound(stock, held, time)

    def _bound(self, stock: str, held: dict[str, Any], time: pd.Timestamp) -> None:
        """Set the maintenance margin rate and the liquidation price of a holding; cross has none (NaN) of its own."""
        contract = self.contracts.at(stock, time).contract
        held["mmr"] = self.tiers.of_size(stock, abs(held["amount"]) / contract).mmr
        held["limit"] = math.nan
        if self.isolated:
            held["limit"] = liquidation_price(held["amount"], held["entry"], held["margin"], held["mmr"])

    def _complete(self, position: Position, time: pd.Timestamp) -> None:
        """Give holdings that were there before trading began their entry and margin: those of their price then."""
        for name, held in position.position.items():
            if name not in SPECIAL and "entry" not in held:
                held["entry"] = held["price"]
                held["margin"] = abs(held["amount"]) * held["price"] / self.leverage_of(name)
                self._bound(name, held, time)

    def leverage_of(self, stock: str) -> float:
        """Return value / margin of a new position."""
        leverage = self.leverage.get(stock, self.leverage.get("default"))
        if leverage is None:
            raise ConfigError(f"leverage: none of {stock}{did_you_mean(stock, self.leverage)}, and no default")
        return float(leverage)

    def room(self, order: Order, holding: BasePosition, against: float, price: float, rate: float) -> float:
        """Return the money of new exposure that the margin allows; see `Exchange.room`.

        Raises InputError for a leverage above what the tier of the new position allows.
        """
        stock, position = order.stock_id, cast("Position", holding)
        leverage = self.leverage_of(stock)
        contract = self.contracts.at(stock, order.start_time).contract
        size = order.amount - against + (0.0 if against else abs(position.get_stock_amount(stock)))
        tier = self.tiers.of_size(stock, size / contract)
        if leverage > tier.max_leverage:
            raise InputError(
                f"order {_said(order)}: leverage {leverage:g} is above the {tier.max_leverage:g} that a position of "
                f"{size / contract:g} contracts of {stock} may have"
            )
        free = position.get_cash(include_settle=True)
        for name in position.get_stock_list():
            held = position.position[name]
            closed = against and name == stock
            if self.isolated:  # what is gained and not realised is of no use to others
                free += held["amount"] * (price if closed else held["entry"]) - (0.0 if closed else held["margin"])
            else:
                value = held["amount"] * (price if closed else held["price"])
                free += value - (0.0 if closed else abs(value) / self.leverage_of(name))
        return (free - against * price * rate) / (1 / leverage + rate)

    # -------------------------------------------------------------------------------------------------------- a step
    def mark_prices(self, start_time: pd.Timestamp, end_time: pd.Timestamp) -> np.ndarray[Any, Any]:
        """Return the mark price of every column at the end of the step."""
        return self.at(start_time, end_time).field(self.mark)

    def open_step(self, account: Account, start_time: pd.Timestamp, end_time: pd.Timestamp) -> list[Fill]:
        """Where orders are dealt at the end of a bar: pay the funding within it, and close by force, before them."""
        if self.trades_at != "close" or not isinstance(account.current_position, Position):
            return []
        paid = self._due_in_bar(account.current_position, start_time, end_time, within=True, at_end=False)
        if paid:
            account.pay("funding", paid)
        return self._forced(account, account.current_position, start_time, end_time)

    def liquidate(self, account: Account, start_time: pd.Timestamp, end_time: pd.Timestamp) -> list[Fill]:
        """Where orders are dealt at the beginning of a bar: close by force after them."""
        if self.trades_at != "open" or not isinstance(account.current_position, Position):
            return []
        return self._forced(account, account.current_position, start_time, end_time)

    def funding_due(self, position: Position, after: pd.Timestamp, until: pd.Timestamp) -> float:
        """Return what the holdings pay (below 0: receive) at the payments after `after`, up to and with `until`."""
        if self.funding is None:
            return 0.0
        due = 0.0
        for name in position.get_stock_list():
            if self.contracts.at(name, after).kind == "spot":
                continue
            held = position.position[name]
            for payment in self.funding.between(name, after, until):
                mark = held["price"] if math.isnan(payment.mark) else payment.mark
                due += held["amount"] * mark * payment.rate
        return due

    def _due_in_bar(
        self, position: Position, start: pd.Timestamp, end: pd.Timestamp, *, within: bool, at_end: bool
    ) -> float:
        """Do what `funding_due` does for one bar, sooner: the payments within it, or at its very end, or both."""
        bar = self.bar(start, end)
        schedule = self._schedule
        if self.funding is None or bar.hi - bar.lo != 1 or self.quote.times[bar.lo] != start.to_datetime64():
            return self.funding_due(position, start if within else end, end + SECOND if at_end else end)
        if schedule is None:
            schedule = self._schedule = self.funding.schedule(self.quote.times, self.quote.instruments)
        names = position.get_stock_list()
        if not schedule.all_known[bar.lo]:
            known = schedule.known[bar.lo]
            odd = [n for n in names if n not in self._column or not known[self._column[n]]]
            if any(self.contracts.at(name, start).kind != "spot" for name in odd):
                return self.funding_due(position, start if within else end, end + SECOND if at_end else end)
        low, high = schedule.starts[bar.lo], schedule.starts[bar.lo + 1]
        if low == high:
            return 0.0
        holdings, instruments = position.position, self.quote.instruments
        due = 0.0
        for k in range(low, high):
            name = instruments[schedule.column[k]]
            held = holdings.get(name)
            if held is None or not (at_end if schedule.at_end[k] else within):
                continue
            if self.contracts.at(name, start).kind == "spot":
                continue
            mark = float(schedule.mark[k])
            due += held["amount"] * (held["price"] if math.isnan(mark) else mark) * float(schedule.rate[k])
        return due

    def _forced(
        self, account: Account, position: Position, start_time: pd.Timestamp, end_time: pd.Timestamp
    ) -> list[Fill]:
        names = position.get_stock_list()
        if not names:
            return []
        self._complete(position, start_time)
        found = self._isolated if self.isolated else self._cross
        closed = found(position, names, start_time, end_time)
        if not closed:
            return []
        fills = []
        for name, price in closed:
            held = position.position[name]
            amount, margin, entry = held["amount"], held["margin"], held["entry"]
            order = Order(name, abs(amount), Order.SELL if amount > 0 else Order.BUY, start_time, end_time)
            order.deal_amount, order.reason = order.amount, "liquidation"
            order.factor = self.get_factor(name, start_time, end_time)
            value = order.amount * price
            cost = value * self.liquidation_fee
            account.update_order(order=order, trade_val=value, cost=cost, trade_price=price)
            fills.append((order, value, cost, price))
            left = margin + amount * (price - entry) - cost
            if self.isolated and left < 0:  # a position loses its margin, and no more: the venue's fund pays the rest
                account.pay("insurance", left)
        if not self.isolated and not position.get_stock_list() and (left := position.calculate_value()) < 0:
            account.pay("insurance", left)
        self._closed[account] = (start_time, {name for name, _ in closed})
        return fills

    def _path(self, start_time: pd.Timestamp, end_time: pd.Timestamp) -> list[Any]:
        """Return the first, lowest and highest mark of the step by column; the last one only where no path is known."""
        step = self.at(start_time, end_time)
        if self.mark_path is None or step.bar.lo == step.bar.hi:
            return [step.field(self.mark)] * 3
        first, low, high = (self.quote.fields[name][step.bar.lo : step.bar.hi] for name in self.mark_path)
        return [first[0], np.fmin.reduce(low, axis=0), np.fmax.reduce(high, axis=0)]

    def _isolated(
        self, position: Position, names: list[str], start_time: pd.Timestamp, end_time: pd.Timestamp
    ) -> list[tuple[str, float]]:
        first, low, high = self._path(start_time, end_time)
        closed = []
        for name in names:
            held, place = position.position[name], self._column.get(name)
            if place is None:
                continue
            limit = held["limit"]
            if held["amount"] > 0:
                opened, beyond = first.item(place), low.item(place) <= limit
                gapped = opened <= limit
            else:
                opened, beyond = first.item(place), high.item(place) >= limit
                gapped = opened >= limit
            if gapped or beyond:  # at the gap, where it was beyond the price at once
                closed.append((name, opened if gapped else limit))
        return closed

    def _cross(
        self, position: Position, names: list[str], start_time: pd.Timestamp, end_time: pd.Timestamp
    ) -> list[tuple[str, float]]:
        """All is closed where the account is worth less than the maintenance margin: at the first mark, or the last."""
        path = self._path(start_time, end_time)
        for marks in (path[0], self.at(start_time, end_time).field(self.mark)):
            worth, needed, priced = position.get_cash(include_settle=True), 0.0, []
            for name in names:
                held, place = position.position[name], self._column.get(name)
                mark = math.nan if place is None else marks.item(place)
                if math.isnan(mark):
                    mark = held["price"]
                else:
                    priced.append((name, mark))
                worth += held["amount"] * mark
                needed += abs(held["amount"]) * mark * held["mmr"]
            if worth <= needed:
                return priced
        return []


class _ByPosition:
    """Margin: `Perpetuals.room` knows; what a position costs may be owed."""

    debt = True

    def room(self, equity: float, exposure: float, rate: float, minimum: float) -> float:
        raise NotImplementedError("Perpetuals.room answers, for the instrument of the order")


class _Funded:
    """Carry: the payments that are due with the holdings at the end of a bar."""

    name = "funding"

    def __init__(self, market: Perpetuals) -> None:
        self.at_close = market.trades_at == "close"

    def due(self, position: Position, exchange: Exchange, start: pd.Timestamp, end: pd.Timestamp) -> float:
        within = not self.at_close  # else open_step has paid it
        return cast("Perpetuals", exchange)._due_in_bar(position, start, end, within=within, at_end=True)


class _Borrowed:
    """Carry: coins that were borrowed to be sold, by the time they are."""

    name = "borrow"

    def __init__(self, a_day: float) -> None:
        self.a_day = a_day

    def due(self, position: Position, exchange: Exchange, start: pd.Timestamp, end: pd.Timestamp) -> float:
        contracts, days = cast("Perpetuals", exchange).contracts, (end + SECOND - start) / pd.Timedelta(days=1)
        short = sum(
            -held["amount"] * held["price"]
            for name, held in zip(position.get_stock_list(), position.holdings(), strict=True)
            if held["amount"] < 0 and contracts.at(name, start).kind == "spot"
        )
        return self.a_day * days * short


class _Insured:
    """Carry: what a venue's fund has paid is booked when a position is closed; nothing is due at the end of a bar."""

    name = "insurance"

    def due(self, position: Position, exchange: Exchange, start: pd.Timestamp, end: pd.Timestamp) -> float:  # noqa: ARG002
        return 0.0


def okx_spot(*args: Any, fees: Any = OKX_SPOT_FEES, **kwargs: Any) -> Spot:
    """Return `Spot` with the fees of OKX's regular tier, which change from time to time: give your own as `fees`."""
    return Spot(*args, fees=fees, **kwargs)


def okx_swap(*args: Any, fees: Any = OKX_SWAP_FEES, **kwargs: Any) -> Perpetuals:
    """Return `Perpetuals` with the fees of OKX's regular tier; funding must be given.

    Raises ConfigError where it is left out: a swap without funding is not one.
    """
    if kwargs.get("funding") is None:
        raise ConfigError("okx_swap: funding is needed, such as a Parquet file of the payments; okx_futures has none")
    return Perpetuals(*args, fees=fees, **kwargs)


def okx_futures(*args: Any, fees: Any = OKX_SWAP_FEES, **kwargs: Any) -> Perpetuals:
    """Return `Perpetuals` without funding: dated futures, with the fees of OKX's regular tier."""
    return Perpetuals(*args, fees=fees, **kwargs)


def _said(order: Order) -> str:
    side = "buy" if order.direction == Order.BUY else "sell"
    return f"to {side} {order.amount:g} {order.stock_id} at {order.start_time}"
