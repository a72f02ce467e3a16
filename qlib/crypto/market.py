"""Markets of coins, as exchanges of the backtest: their fees, lots, funding and liquidations.

    backtest(..., exchange_kwargs={"exchange": {"class": "Perpetuals", "module_path": "qlib.crypto.market", "kwargs": {
        "freq": "60min", "codes": "all", "deal_price": "close", "leverage": 3, "margin": "isolated", "mmr": 0.005,
        "funding": "data/funding.parquet", "contracts": "data/klines"}}})

Spot           coins, bought with cash; fees by 30-day volume, lots and least orders as of the date
Perpetuals     swaps and futures: shorts, leverage, funding at its own times, liquidation on the mark price
okx_spot, okx_swap, okx_futures      the same with that venue's regular fees ("class": "okx_swap")
crypto         either of them, for any venue ("kind": "swap")

Everything else is the exchange of `qlib.backtest`: its decisions, fills, records. What is special here is answered at
the seams it has for it: `fee_rate`, `whole_lots`, `room`, `marks`, `revalue`, `open_step`, `liquidate`.

Account and value: cash + amount x mark price of all holdings. For a linear contract that is the balance of the venue's
account with its unrealised profit, to the cent: what a position cost when it was opened is in the cash. A contract that
is settled in another currency, or in the coin (`currencies`), is not paid for: the "price" of such a holding is what
one unit of it has earned, in money of the account, and its prices at the market are its "entry" and "mark".
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, cast
from weakref import WeakKeyDictionary

import numpy as np
import pandas as pd

from qlib.backtest.dealing import fill
from qlib.backtest.decision import Order
from qlib.backtest.exchange import NO_DEALS, Exchange
from qlib.backtest.position import SPECIAL, BasePosition, Position
from qlib.backtest.rules.fee import NOTHING
from qlib.backtest.rules.short import carry_of
from qlib.backtest.trades import Fill
from qlib.crypto import settled
from qlib.crypto.cash_market import Spot, said, say_arguments
from qlib.crypto.contracts import KINDS
from qlib.crypto.currencies import Leg
from qlib.crypto.funding import Funding, Schedule, stored_payments
from qlib.crypto.liquidation import Forced
from qlib.crypto.margin import MODES, Tiers, liquidation_price
from qlib.errors import ConfigError, InputError, did_you_mean

if TYPE_CHECKING:
    from qlib.backtest.account import Account

SECOND: Final = pd.Timedelta(seconds=1)
WAYS: Final = ("tiers", "whole")
OKX_SPOT_FEES: Final = (0.0008, 0.001)  # of the regular tier: maker, taker
OKX_SWAP_FEES: Final = (0.0002, 0.0005)


class ByPosition:
    """Margin: `Perpetuals.room` knows; what a position costs may be owed."""

    debt = True

    def room(self, equity: float, exposure: float, rate: float, minimum: float) -> float:
        raise NotImplementedError("Perpetuals.room answers, for the instrument of the order")


class Perpetuals(Spot):
    """Swaps and futures with margin, linear and inverse.

    Parameters
    ----------
    leverage
        Value / margin of a position when it is opened: one number, or by instrument with "default".
    margin
        "isolated" or "cross".
    mmr
        Maintenance margin rate, tables of tiers, or the folder of those collected: see `crypto.margin.Tiers.of`.
    liquidation_fee
        Share of the value that a liquidation costs.
    fee_in_margin
        Whether that fee counts into what a position has to keep, as at OKX: it is then closed sooner.
    liquidation
        "tiers": a position above the first tier is cut tier by tier; "whole": all of it is closed at once.
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

    margined = ByPosition()

    def __init__(
        self,
        *args: Any,
        leverage: float | Mapping[str, float] = 1.0,
        margin: str = "isolated",
        mmr: Any = 0.005,
        liquidation_fee: float = 0.0005,
        fee_in_margin: bool = False,
        liquidation: str = "tiers",
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
        self.tiers = Tiers.of(mmr, mode=margin)
        self._tiers_change = self.tiers.change
        if not liquidation_fee >= 0:
            raise ConfigError(f"liquidation_fee: received {liquidation_fee!r}; a share of at least 0 is allowed")
        if liquidation not in WAYS:
            raise ConfigError(
                f"liquidation: received {liquidation!r}; allowed are {', '.join(WAYS)}{did_you_mean(liquidation, WAYS)}"
            )
        self.liquidation_fee, self.by_tiers = liquidation_fee, liquidation == "tiers"
        self._kept_too = liquidation_fee if fee_in_margin else 0.0
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
        own = (_Funded(self), _Insured(), *([] if borrow is None else [_Borrowed(borrow)]))
        kwargs["carry"] = (*own, *carry_of(kwargs.get("carry")))
        self.prices = (*Spot.prices, mark, *(self.mark_path or ())[1:])
        dealt = self._deal_fields(kwargs.get("deal_price")) if self.trades_at == "open" else ()
        self.early = (*Spot.early, *(self.mark_path or ())[:1], *dealt)
        super().__init__(*args, fees=fees, **kwargs)
        if isinstance(funding, str) and funding == "field":
            times, names = self.quote.times, self.quote.instruments
            self.funding = Funding(stored_payments(self.provider, names, times[0], times[-1], self.freq))

    @staticmethod
    def _deal_fields(deal_price: Any) -> tuple[str, ...]:
        names = (deal_price,) if isinstance(deal_price, str) or deal_price is None else tuple(deal_price)
        return tuple(name if name.startswith("$") else f"${name}" for name in names if name)

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
        if trade_account is not None:
            time, names = self._closed.get(trade_account, (None, ()))
            if time == order.start_time and order.stock_id in names:
                order.deal_amount, order.reason = 0.0, "liquidated"
                return 0.0, 0.0, math.nan
        leg = self.legs[order.stock_id] if order.stock_id in self.legs else self.leg_of(order)
        holding = position if trade_account is None else trade_account.current_position
        if not isinstance(holding, Position):
            if leg is not None:
                return self._deal_leg(leg, order, trade_account, holding, dealt_order_amount)
            return super().deal_order(order, trade_account, position, dealt_order_amount)
        self._complete(holding, order.start_time)
        before = holding.get_stock_amount(order.stock_id)
        opens = order.direction == Order.SELL and order.amount > max(before, 0.0) * (1 + 1e-9)
        if opens and self.borrow is None and order.stock_id in self.spots:
            raise InputError(f"order {said(order)}: {before:g} are held, and spot cannot be sold short without borrow")
        if leg is not None:
            return self._deal_leg(leg, order, trade_account, holding, dealt_order_amount)
        value, cost, price = super().deal_order(order, trade_account, position, dealt_order_amount)
        if value > NOTHING:
            self._book(holding, order.stock_id, before, price, order.start_time)
        return value, cost, price

    def _deal_leg(
        self,
        leg: Leg,
        order: Order,
        account: Account | None,
        holding: BasePosition | None,
        dealt: Mapping[str, float],
    ) -> tuple[float, float, float]:
        """Execute an order of a contract that is not paid for; the value and the cost are money of the account."""
        self._allowed(order)
        if not self.check_order(order):
            return super().deal_order(order)  # says why
        price, value, cost = fill(self, order, holding, dealt, account)
        if value <= NOTHING:  # in the currency of the price: in money of the account a trade may be less
            return 0.0, 0.0, price
        rate = self._rate(leg, order.start_time, order.end_time, late=self.trades_at == "close")
        money = order.deal_amount * leg.worth(price) * rate
        cost *= money / value
        if order.slippage:
            undisturbed = price - order.sign * order.slippage / order.deal_amount
            order.slippage = order.deal_amount * abs(leg.worth(undisturbed) - leg.worth(price)) * rate
        if isinstance(holding, Position):
            self._book_leg(leg, order, account, holding, price, rate, cost)
        return money, cost, price

    def _book_leg(
        self,
        leg: Leg,
        order: Order,
        account: Account | None,
        position: Position,
        price: float,
        rate: float,
        cost: float,
    ) -> float:
        """Book a fill; return the settle money that it realised."""
        realised = settled.book(
            leg, position, account, order.sign * order.deal_amount, price, rate,
            cost=cost, slippage=order.slippage, leverage=self.leverage_of(leg.name),
        )  # fmt: skip
        held = position.position.get(leg.name)
        if held is not None:
            self._bound(leg.name, held, order.start_time)
        return realised

    def _rate(self, leg: Leg, start: pd.Timestamp, end: pd.Timestamp, *, late: bool) -> float:
        """Return the rate of a leg's settle money at the end of a step, or at its beginning."""
        bar = self.bar(start, end)
        return self.currencies.rate(leg.settle, (bar.hi if late else bar.lo) - 1)

    def revalue(
        self, position: BasePosition, names: list[str], start_time: pd.Timestamp, end_time: pd.Timestamp
    ) -> list[float | None]:
        """Return the price of each holding at the end of a step: its mark, or what a unit of a contract has earned."""
        prices = self.marks(names, start_time, end_time)
        if self.any_leg:
            last, table = self.bar(start_time, end_time).hi - 1, cast("Position", position).position
            rates: dict[str, float] = {}
            for place, name in enumerate(names):
                leg, mark = self.legs.get(name), prices[place]
                if leg is not None and mark is not None:
                    rate = rates.get(leg.settle)
                    if rate is None:
                        rate = rates[leg.settle] = self.currencies.rate(leg.settle, last)
                    prices[place] = settled.value(leg, table[name], mark, rate)
        return prices

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
        held["mmr"] = self.tiers.of_size(stock, abs(held["amount"]) / contract, time).mmr + self._kept_too
        held["limit"] = math.nan
        if self.isolated:
            leg = self.legs.get(stock) if self.any_leg else None
            if leg is None:
                held["limit"] = liquidation_price(held["amount"], held["entry"], held["margin"], held["mmr"])
            else:
                held["limit"] = liquidation_price(
                    held["amount"], held["entry"], held["pocket"], held["mmr"], inverse=leg.inverse
                )

    def _complete(self, position: Position, time: pd.Timestamp) -> None:
        """Give holdings that were there before trading began their entry and margin: those of their price then.

        What is held is bound anew where tiers change: a table of today is asked of yesterday's positions, too.
        """
        for name, held in position.position.items():
            if name in SPECIAL:
                continue
            if "entry" not in held:
                if self.currencies.leg(name) is not None:
                    raise InputError(
                        f"the account holds {name} before the first step: a contract that is settled in another "
                        "currency, or in coins, is opened by an order, which says what it was opened at"
                    )
                held["entry"] = held["price"]
                held["margin"] = abs(held["amount"]) * held["price"] / self.leverage_of(name)
                self._bound(name, held, time)
            elif self._tiers_change:
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
        tier = self.tiers.of_size(stock, size / contract, order.start_time)
        if leverage > tier.max_leverage:
            raise InputError(
                f"order {said(order)}: leverage {leverage:g} is above the {tier.max_leverage:g} that a position of "
                f"{size / contract:g} contracts of {stock} may have"
            )
        leg = self.legs.get(stock) if self.any_leg else None
        unit = price  # money of the account
        if leg is not None:
            rate_now = self._rate(leg, order.start_time, order.end_time, late=self.trades_at == "close")
            unit = leg.worth(price) * rate_now
        free = position.get_cash(include_settle=True)
        for name in position.get_stock_list():
            held = position.position[name]
            closed = against and name == stock
            other = self.legs.get(name) if self.any_leg else None
            if other is not None:  # its profit alone is money
                if closed:
                    free += other.profit(held["amount"], held["entry"], price) * rate_now
                elif self.isolated:
                    free -= held["margin"]
                else:
                    free += held["amount"] * held["price"] - abs(held["exposure"]) / self.leverage_of(name)
            elif self.isolated:  # what is gained and not realised is of no use to others
                free += held["amount"] * (price if closed else held["entry"]) - (0.0 if closed else held["margin"])
            else:
                value = held["amount"] * (price if closed else held["price"])
                free += value - (0.0 if closed else abs(value) / self.leverage_of(name))
        return (free - against * unit * rate) / (1 / leverage + rate) * (price / unit)

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
            if name in self.spots:
                continue
            held = position.position[name]
            for payment in self.funding.between(name, after, until):
                due += self.exposure_of(name, held, payment.mark) * payment.rate
        return due

    def exposure_of(self, name: str, held: Mapping[str, float], mark: float) -> float:
        """Return what a holding is worth at a mark price (NaN: its last one) in money of the account, with its sign."""
        leg = self.legs.get(name) if self.any_leg else None
        if leg is None:
            return held["amount"] * (held["price"] if math.isnan(mark) else mark)
        return held["amount"] * leg.worth(held["mark"] if math.isnan(mark) else mark) * held["rate"]

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
            if any(name not in self.spots for name in odd):
                return self.funding_due(position, start if within else end, end + SECOND if at_end else end)
        part = slice(schedule.starts[bar.lo], schedule.starts[bar.lo + 1])
        if part.start == part.stop:
            return 0.0
        holdings, instruments, spots, due = position.position, self.quote.instruments, self.spots, 0.0
        columns = (one[part].tolist() for one in (schedule.column, schedule.at_end, schedule.mark, schedule.rate))
        for column, ends, mark, rate in zip(*columns, strict=True):
            if at_end if ends else within:
                name = instruments[column]
                held = holdings.get(name)
                if held is not None and name not in spots:
                    due += self.exposure_of(name, held, mark) * rate
        return due

    def _forced(
        self, account: Account, position: Position, start_time: pd.Timestamp, end_time: pd.Timestamp
    ) -> list[Fill]:
        names = position.get_stock_list()
        if not names:
            return []
        self._complete(position, start_time)
        forced = Forced(self, account, position, start_time, end_time)
        if self.isolated:
            forced.isolated(names)
        else:
            forced.cross(names)
        if forced.fills:
            self._closed[account] = (start_time, {fill[0].stock_id for fill in forced.fills})
        return forced.fills

    def close_part(
        self, order: Order, account: Account, position: Position, price: float, *, late: bool
    ) -> tuple[Fill, float]:
        """Book a forced order at a price; return the fill, and what is left of the position's margin.

        `late` says whether the bar had begun. The margin left pays for what the rest of the position may still lose.
        """
        name, leg = order.stock_id, self.legs.get(order.stock_id)
        held, part = position.position[name], -order.sign * order.amount
        if leg is None:
            rate, value = 1.0, order.amount * price
            cost = value * self.liquidation_fee
            left = held["margin"] + part * (price - held["entry"]) - cost
            account.update_order(order=order, trade_val=value, cost=cost, trade_price=price)
        else:
            rate = self._rate(leg, order.start_time, order.end_time, late=late)
            value = order.amount * leg.worth(price) * rate
            cost = value * self.liquidation_fee
            left = held["pocket"] - cost / rate
            left += self._book_leg(leg, order, account, position, price, rate, cost)
        if name in position.position:
            held["margin" if leg is None else "pocket"] = left
            if leg is not None:
                settled.value(leg, held, price, rate)
            self._bound(name, held, order.start_time)
        return (order, value, cost, price), left * rate


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
        spots, days = cast("Perpetuals", exchange).spots, (end + SECOND - start) / pd.Timedelta(days=1)
        short = sum(
            -held["amount"] * held["price"]
            for name, held in zip(position.get_stock_list(), position.holdings(), strict=True)
            if held["amount"] < 0 and name in spots
        )
        return self.a_day * days * short


class _Insured:
    """Carry: what a venue's fund has paid is booked when a position is closed; nothing is due at the end of a bar."""

    name = "insurance"

    def due(self, position: Position, exchange: Exchange, start: pd.Timestamp, end: pd.Timestamp) -> float:  # noqa: ARG002
        return 0.0


say_arguments(Perpetuals)


@say_arguments(Spot)
def okx_spot(*args: Any, fees: Any = OKX_SPOT_FEES, **kwargs: Any) -> Spot:
    """Return `Spot` with the fees of OKX's regular tier, which change from time to time: give your own as `fees`."""
    return Spot(*args, fees=fees, **kwargs)


@say_arguments(Perpetuals)
def okx_swap(*args: Any, fees: Any = OKX_SWAP_FEES, fee_in_margin: bool = True, **kwargs: Any) -> Perpetuals:
    """Return `Perpetuals` with OKX's way to count margin and the fees of its regular tier; funding must be given.

    Raises ConfigError where it is left out: a swap without funding is not one.
    """
    if kwargs.get("funding") is None:
        raise ConfigError("okx_swap: funding is needed, such as a Parquet file of the payments; okx_futures has none")
    return Perpetuals(*args, fees=fees, fee_in_margin=fee_in_margin, **kwargs)


@say_arguments(Perpetuals)
def okx_futures(*args: Any, fees: Any = OKX_SWAP_FEES, fee_in_margin: bool = True, **kwargs: Any) -> Perpetuals:
    """Return `Perpetuals` without funding: dated futures, as OKX counts margin, with the fees of its regular tier."""
    return Perpetuals(*args, fees=fees, fee_in_margin=fee_in_margin, **kwargs)


@say_arguments(Perpetuals)
def crypto(*args: Any, kind: str = "swap", fees: Any, **kwargs: Any) -> Spot:
    """Return the market of any venue: `Spot`, or `Perpetuals` for the kinds "swap" (with funding) and "futures"."""
    if kind not in KINDS:
        raise ConfigError(f"kind: received {kind!r}; allowed are {', '.join(KINDS)}{did_you_mean(kind, KINDS)}")
    if kind == "spot":
        return Spot(*args, fees=fees, **kwargs)
    if kind == "swap" and kwargs.get("funding") is None:
        raise ConfigError("crypto: funding is needed for swaps, such as a Parquet file of the payments")
    return Perpetuals(*args, fees=fees, **kwargs)
