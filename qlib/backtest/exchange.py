"""The exchange: quotes as arrays, the rules of a market, and what becomes of an order.

    Exchange(freq, start_time, end_time, codes, ...)     Qlib's arguments -> rules.Market, quotes -> NumpyQuote
    exchange.deal_order(order, trade_account=...)        1 tradable?  2 price  3 volume cap  4 cash and holdings,
                                                         5 lot  6 cost  7 booking

A step is a closed time range [start, end]; the bars that open inside it are looked up once and kept, so a question
about an instrument in a step is a dictionary look-up and an array element. Amounts and prices are adjusted; real
shares are amount * factor.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from qlib.backtest.dealing import equity_and_exposure, fill
from qlib.backtest.decision import Order, OrderDir, OrderHelper
from qlib.backtest.holdings import marks
from qlib.backtest.loading import load_quotes
from qlib.backtest.position import BasePosition, Position
from qlib.backtest.quote import Bar, BaseQuote, NumpyQuote
from qlib.backtest.rules.fee import NOTHING
from qlib.backtest.rules.limit import EXPRESSIONS, NONE, NUMBER
from qlib.backtest.rules.lot import Lot
from qlib.backtest.rules.market import Market, market_of
from qlib.backtest.step import TINY_PRICE, StepQuotes
from qlib.backtest.trades import ORDER, Fill
from qlib.data.provider import active_provider
from qlib.errors import ConfigError, InputError, did_you_mean
from qlib.log import get_module_logger

if TYPE_CHECKING:
    from qlib.backtest.account import Account

NO_DEALS: Mapping[str, float] = {}
REGION = "region"  # the region's own
KEPT_STEPS = 8  # steps whose market is remembered: the current one, the one before, those of outer levels


class Exchange:
    """Qlib's exchange.

    Parameters
    ----------
    freq
        Bar size of the quotes; it must not be coarser than the steps of the executor.
    start_time, end_time
        Range of the quotes, both included.
    codes
        A market's name, a list of instruments, or what `D.instruments` returned.
    deal_price
        "close", "$vwap", or a pair (buy formula, sell formula). None: the region's.
    subscribe_fields
        More formulas to load, for `get_quote_info`.
    limit_threshold
        A number, a pair of formulas, "region" for the region's, or None for no limit (under compat="qlib" the
        region's); see `rules.limit`.
    volume_threshold
        See `rules.volume`.
    open_cost, close_cost, min_cost, impact_cost
        Cost shares of a buy and a sell, least cost of an order in money, coefficient of `rules.impact`.
    extra_quote
        More quotes: a frame with index (instrument, datetime) and at least the column "$close".
    quote_cls
        Qlib's argument; NumpyQuote and PandasQuote, which are the same arrays here, are allowed.
    trade_unit
        Lot in real shares; None for none. Left out: the region's.
    provider
        Where quotes come from; None means the session's.
    fills
        Spread, impact of size, stops: see `rules.fills`.
    short, carry
        Positions below zero, and what holding costs (which alone may push cash below 0): see `rules.short`.

    Raises ConfigError naming the argument that cannot be used.
    """

    LT_TP_EXP = EXPRESSIONS
    LT_FLT = NUMBER
    LT_NONE = NONE

    def __init__(
        self,
        freq: str = "day",
        start_time: pd.Timestamp | str | None = None,
        end_time: pd.Timestamp | str | None = None,
        codes: Sequence[str] | str = "all",
        deal_price: str | Sequence[str] | None = None,
        subscribe_fields: Sequence[str] = [],
        limit_threshold: Sequence[str] | float | str | None = REGION,
        volume_threshold: Sequence[str] | Mapping[str, Sequence[str]] | None = None,
        open_cost: float = 0.0015,
        close_cost: float = 0.0025,
        min_cost: float = 5.0,
        impact_cost: float = 0.0,
        extra_quote: pd.DataFrame | None = None,
        quote_cls: type[BaseQuote] = NumpyQuote,
        **kwargs: Any,
    ) -> None:
        unknown = [name for name in kwargs if name not in self.known_kwargs()]
        if unknown:
            hint = did_you_mean(unknown[0], (*_ARGUMENTS, *self.known_kwargs()))
            raise ConfigError(f"Exchange takes no argument {unknown[0]}{hint}")
        if not (isinstance(quote_cls, type) and issubclass(quote_cls, NumpyQuote)):
            raise ConfigError(f"quote_cls: received {quote_cls!r}; NumpyQuote, PandasQuote or a subclass is allowed")
        self.provider = kwargs["provider"] if kwargs.get("provider") is not None else active_provider()
        settings = self.provider.settings
        self.logger = get_module_logger("online operator")
        self.freq = freq
        self.start_time = None if start_time is None else pd.Timestamp(start_time)
        self.end_time = None if end_time is None else pd.Timestamp(end_time)
        if self.start_time is not None and self.end_time is not None and self.start_time > self.end_time:
            raise ConfigError(f"exchange: start_time {self.start_time} is after end_time {self.end_time}")
        self.codes = codes
        self.subscribe_fields = tuple(subscribe_fields)
        self.extra_quote = extra_quote
        self.quote_cls = quote_cls
        regional = limit_threshold == REGION or (limit_threshold is None and settings.compat == "qlib")
        self.limit_threshold = settings.limit_threshold if regional else limit_threshold
        self.volume_threshold = volume_threshold
        self.market: Market = market_of(
            deal_price=settings.deal_price if deal_price is None else deal_price,
            limit_threshold=self.limit_threshold,
            volume_threshold=volume_threshold,
            open_cost=open_cost,
            close_cost=close_cost,
            min_cost=min_cost,
            impact_cost=impact_cost,
            trade_unit=kwargs.get("trade_unit", settings.trade_unit),
            compat=settings.compat,
            fills=kwargs.get("fills"),
            short=kwargs.get("short"),
            carry=kwargs.get("carry"),
        )
        self.get_quote_from_qlib()

    def __getstate__(self) -> dict[str, Any]:
        """Without the steps that are remembered, which are views of the quotes."""
        return {**self.__dict__, "_steps": {}, "_seen": None}

    @classmethod
    def known_kwargs(cls) -> tuple[str, ...]:
        """Names that `**kwargs` may hold."""
        return ("trade_unit", "provider", "fills", "short", "carry")

    # -------------------------------------------------------------------------------------------- the rules, by name
    @property
    def compat(self) -> str | None:
        """None for the right numbers, "qlib" for Qlib's."""
        return self.market.compat

    @property
    def buy_price(self) -> str:
        return self.market.buy_price

    @property
    def sell_price(self) -> str:
        return self.market.sell_price

    @property
    def open_cost(self) -> float:
        return self.market.fee.buy

    @property
    def close_cost(self) -> float:
        return self.market.fee.sell

    @property
    def min_cost(self) -> float:
        return self.market.fee.minimum

    @property
    def impact_cost(self) -> float:
        return self.market.impact.coefficient

    @property
    def trade_unit(self) -> float | None:
        return self.market.lot.unit

    @property
    def limit_type(self) -> str:
        return self.market.limit.kind

    @property
    def buy_vol_limit(self) -> tuple[tuple[str, str], ...]:
        return self.market.volume.buy

    @property
    def sell_vol_limit(self) -> tuple[tuple[str, str], ...]:
        return self.market.volume.sell

    @property
    def all_fields(self) -> list[str]:
        """Formulas loaded for the rules and for subscribers."""
        return list(dict.fromkeys((*self.market.fields, *self.subscribe_fields)))

    # ----------------------------------------------------------------------------------------------------- quotes
    def get_quote_from_qlib(self) -> None:
        """Load the quotes, and see whether real shares are known (`trade_w_adj_price` is True where they are not)."""
        quote = load_quotes(
            self.provider,
            self.codes,
            self.market,
            self.subscribe_fields,
            start_time=self.start_time,
            end_time=self.end_time,
            freq=self.freq,
            extra_quote=self.extra_quote,
            quote_cls=self.quote_cls,
        )
        close, factor = quote.fields["$close"], quote.fields["$factor"]
        self.trade_w_adj_price = bool((np.isnan(factor) & ~np.isnan(close)).any())
        if self.trade_w_adj_price and self.trade_unit is not None:
            where = "is not applied" if self.compat == "qlib" else "is not applied to these"
            self.logger.warning(
                f"some instruments have a close but no $factor, so real shares are unknown: trade_unit "
                f"{self.trade_unit} {where}, orders use adjusted amounts"
            )
        for side, price in (("buy", self.buy_price), ("sell", self.sell_price)):
            if price != "$close":
                absent = int((np.isnan(quote.fields[price]) & ~np.isnan(close)).sum())
                if absent:
                    self.logger.warning(
                        f"{side} price {price} is missing in {absent} bars that have a close: close is used"
                    )
        self.quote: NumpyQuote = quote
        self._lot = Lot(None) if self.trade_w_adj_price and self.compat == "qlib" else self.market.lot
        self._column = quote.column
        self._steps: dict[tuple[int, int], StepQuotes] = {}
        self._seen: tuple[Any, Any, StepQuotes] | None = None

    @property
    def quote_df(self) -> pd.DataFrame:
        """The quotes as a frame with index (instrument, datetime), with the columns limit_buy and limit_sell."""
        return self.quote.frame()

    def bar(self, start_time: pd.Timestamp, end_time: pd.Timestamp) -> Bar:
        """Return the bars that open inside the closed range, as one."""
        return self.at(start_time, end_time).bar

    def at(self, start_time: pd.Timestamp, end_time: pd.Timestamp) -> StepQuotes:
        """Return the market of a step as arrays over `quote.instruments`: tradable flags, prices, factors.

        See `StepQuotes`, and `columns` for the places of instruments in them. A subclass that answers otherwise in
        `is_stock_tradable`, `get_deal_price` ... is not asked here: `vector` says whether there is one.
        """
        seen = self._seen
        if seen is not None and seen[0] is start_time and seen[1] is end_time:
            return seen[2]
        bar = self.quote.bar(pd.Timestamp(start_time), pd.Timestamp(end_time))
        found = self._steps.get((bar.lo, bar.hi))
        if found is None:
            if len(self._steps) >= KEPT_STEPS:
                self._steps.clear()
            found = self._steps[bar.lo, bar.hi] = StepQuotes(bar, self.buy_price, self.sell_price)
        self._seen = (start_time, end_time, found)
        return found

    def columns(self, instruments: Iterable[str]) -> np.ndarray[Any, Any]:
        """Return the place of each instrument in the arrays of `at`; -1 for one without quotes."""
        column = self._column
        return np.array([column.get(instrument, -1) for instrument in instruments], dtype=np.int64)

    marks_by_row: ClassVar[bool] = True  # `revalue` answers with the row of `mark_prices`
    vector: ClassVar[bool] = True  # the arrays of `at` answer as the questions for one instrument do

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.vector = all(getattr(cls, name) is getattr(Exchange, name) for name in _QUESTIONS)
        cls.marks_by_row = cls.revalue is Exchange.revalue and cls.marks is Exchange.marks

    def calendar_range(self, start_time: pd.Timestamp, end_time: pd.Timestamp) -> tuple[int, int]:
        """Return the positions of the first and last bar of the data's calendar inside the closed range."""
        return self.provider.locate(self.freq, False).locate(start_time, end_time)

    def marks(self, instruments: Iterable[str], start_time: pd.Timestamp, end_time: pd.Timestamp) -> list[float | None]:
        """Return the close of each instrument in the step; None for a suspended one, which keeps its last price."""
        return marks(self._column, self.mark_prices(start_time, end_time), instruments)

    def revalue(
        self,
        position: BasePosition,  # noqa: ARG002
        names: list[str],
        start_time: pd.Timestamp,
        end_time: pd.Timestamp,
    ) -> list[float | None]:
        """Return the price at which each holding of a position is valued at the end of a step: its mark here."""
        return self.marks(names, start_time, end_time)

    # -------------------------------------------------------------------------------------------------- tradability
    def check_stock_suspended(self, stock_id: str, start_time: pd.Timestamp, end_time: pd.Timestamp) -> bool:
        """Return True where the instrument has no close in the step."""
        column = self._column.get(stock_id)
        if column is None:
            return True
        return math.isnan(self.at(start_time, end_time).close.item(column))

    def check_stock_limit(
        self, stock_id: str, start_time: pd.Timestamp, end_time: pd.Timestamp, direction: int | None = None
    ) -> bool:
        """Return True where the price limit blocks the side (None: either side) in every bar of the step."""
        column = self._column.get(stock_id)
        if column is None:
            return True
        bar = self.bar(start_time, end_time)
        if direction is None:
            return bar.every("limit_buy").item(column) or bar.every("limit_sell").item(column)
        if direction == Order.BUY:
            return bar.every("limit_buy").item(column)
        if direction == Order.SELL:
            return bar.every("limit_sell").item(column)
        raise InputError(f"direction: received {direction!r}; allowed are Order.BUY, Order.SELL and None")

    def is_stock_tradable(
        self, stock_id: str, start_time: pd.Timestamp, end_time: pd.Timestamp, direction: int | None = None
    ) -> bool:
        """Return True where the instrument is neither suspended nor limited on the side (None: on either side)."""
        if not self.vector:
            return not (
                self.check_stock_suspended(stock_id, start_time, end_time)
                or self.check_stock_limit(stock_id, start_time, end_time, direction)
            )
        column = self._column.get(stock_id)
        if column is None:
            return False
        market = self.at(start_time, end_time)
        if direction is None:
            return not (market.no_buy.item(column) or market.no_sell.item(column))
        if direction not in (0, 1):
            raise InputError(f"direction: received {direction!r}; allowed are Order.BUY, Order.SELL and None")
        return not (market.no_buy if direction == Order.BUY else market.no_sell).item(column)

    def check_order(self, order: Order) -> bool:
        """Return True where the order's instrument is tradable on the order's side."""
        return self.is_stock_tradable(order.stock_id, order.start_time, order.end_time, order.direction)

    # ------------------------------------------------------------------------------------------------------- prices
    def get_quote_info(
        self,
        stock_id: str,
        start_time: pd.Timestamp,
        end_time: pd.Timestamp,
        field: str,
        method: str | None = "ts_data_last",
    ) -> Any:
        """Return a loaded field of an instrument in the step; see `NumpyQuote.get_data`."""
        return self.quote.get_data(stock_id, pd.Timestamp(start_time), pd.Timestamp(end_time), field, method)

    def get_close(
        self, stock_id: str, start_time: pd.Timestamp, end_time: pd.Timestamp, method: str | None = "ts_data_last"
    ) -> Any:
        return self.get_quote_info(stock_id, start_time, end_time, "$close", method)

    def get_volume(
        self, stock_id: str, start_time: pd.Timestamp, end_time: pd.Timestamp, method: str | None = "sum"
    ) -> Any:
        """Return the total adjusted volume of the step."""
        return self.get_quote_info(stock_id, start_time, end_time, "$volume", method)

    def get_factor(self, stock_id: str, start_time: pd.Timestamp, end_time: pd.Timestamp) -> float | None:
        """Return adjusted / real price of the step; None for an unknown instrument or no number."""
        column = self._column.get(stock_id)
        if column is None:
            return None
        factor = self.at(start_time, end_time).factor.item(column)
        return None if math.isnan(factor) else factor

    def get_deal_price(
        self,
        stock_id: str,
        start_time: pd.Timestamp,
        end_time: pd.Timestamp,
        direction: OrderDir,
        method: str | None = "ts_data_last",
    ) -> Any:
        """Return the price of a trade on that side; the close where the deal price is missing or not above 0."""
        if direction not in (0, 1):
            raise InputError(f"direction: received {direction!r}; allowed are Order.BUY and Order.SELL")
        field = self.buy_price if direction == Order.BUY else self.sell_price
        if method == "ts_data_last":
            column = self._column.get(stock_id)
            if column is None:
                return None
            market = self.at(start_time, end_time)
            return (market.buy_price if direction == Order.BUY else market.sell_price).item(column)
        price = self.get_quote_info(stock_id, start_time, end_time, field, method)
        if not isinstance(price, int | float) or price > TINY_PRICE:
            return price
        return self.get_close(stock_id, start_time, end_time, method)

    # --------------------------------------------------------------------------------------------------------- lots
    def _factor(
        self,
        factor: float | None,
        stock_id: str | None,
        start_time: pd.Timestamp | None,
        end_time: pd.Timestamp | None,
    ) -> float:
        if factor is not None:
            return factor
        if stock_id is None or start_time is None or end_time is None:
            raise InputError("a lot needs factor, or stock_id with start_time and end_time to look it up")
        found = self.get_factor(stock_id, start_time, end_time)
        if found is None:
            raise InputError(f"no $factor of {stock_id} from {start_time} to {end_time}, so its lot is unknown")
        return found

    def _unreal(
        self,
        factor: float | None,
        stock_id: str | None,
        start_time: pd.Timestamp | None,
        end_time: pd.Timestamp | None,
    ) -> bool:
        """Whether the instrument is one of those whose real shares are unknown, at that time."""
        if factor is not None or not self.trade_w_adj_price:
            return False
        if stock_id is None or start_time is None or end_time is None:
            return True
        return self.get_factor(stock_id, start_time, end_time) is None

    def get_amount_of_trade_unit(
        self,
        factor: float | None = None,
        stock_id: str | None = None,
        start_time: pd.Timestamp | None = None,
        end_time: pd.Timestamp | None = None,
    ) -> float | None:
        """Return one lot in adjusted amount; None where amounts are not rounded."""
        if self._lot.unit is None or self._unreal(factor, stock_id, start_time, end_time):
            return None
        return self._lot.size(self._factor(factor, stock_id, start_time, end_time))

    def round_amount_by_trade_unit(
        self,
        deal_amount: float,
        factor: float | None = None,
        stock_id: str | None = None,
        start_time: pd.Timestamp | None = None,
        end_time: pd.Timestamp | None = None,
    ) -> float:
        """Return the largest amount of whole lots up to `deal_amount`, which is unchanged where there are no lots.

        Without a factor, where some are not known, the instrument counts as one of those: its real shares are unknown.
        """
        if self._lot.unit is None or self._unreal(factor, stock_id, start_time, end_time):
            return deal_amount
        return self._lot.floor(deal_amount, self._factor(factor, stock_id, start_time, end_time))

    def get_real_deal_amount(self, current_amount: float, target_amount: float, factor: float | None = None) -> float:
        """Return what to trade to get from one amount to another: signed, in whole lots, but all of it down to 0."""
        if current_amount == target_amount:
            return 0.0
        if current_amount < target_amount:
            return self.round_amount_by_trade_unit(target_amount - current_amount, factor)
        if target_amount == 0:
            return -current_amount
        return -self.round_amount_by_trade_unit(current_amount - target_amount, factor)

    # ---------------------------------------------------------------------------------------------- target portfolios
    def generate_amount_position_from_weight_position(
        self,
        weight_position: Mapping[str, float],
        cash: float,
        start_time: pd.Timestamp,
        end_time: pd.Timestamp,
        direction: OrderDir = OrderDir.BUY,
    ) -> dict[str, float]:
        """Return whole adjusted amounts that spend `cash` by weight over the tradable instruments.

        The weights of those that can be traded are stretched to 1. Raises InputError for a weight outside [0, 1] and
        for weights of more than 1 together.
        """
        tradable: dict[str, float] = {}
        total = 0.0
        for stock, weight in weight_position.items():
            if not 0 <= weight <= 1:
                raise InputError(f"weight of {stock}: received {weight!r}; 0 to 1 is allowed")
            if self.is_stock_tradable(stock, start_time, end_time):
                total += weight
                if weight > 0:
                    tradable[stock] = weight
        if total - 1 >= 1e-5:
            raise InputError(f"the weights of the tradable instruments add up to {total}; at most 1 is allowed")
        return {
            stock: cash * weight / total // self.get_deal_price(stock, start_time, end_time, direction)
            for stock, weight in tradable.items()
        }

    def generate_order_for_target_amount_position(
        self,
        target_position: Mapping[str, float],
        current_position: Mapping[str, float],
        start_time: pd.Timestamp,
        end_time: pd.Timestamp,
    ) -> list[Order]:
        """Return the orders, sells first, that lead from one set of amounts to another.

        Instruments that are suspended or limited on either side are left alone. Inside a side the order is a fixed
        shuffle of the names, so that no name is always the one for which cash runs out.
        """
        sells: list[Order] = []
        buys: list[Order] = []
        names = sorted(set(current_position) | set(target_position))
        random.Random(0).shuffle(names)  # noqa: S311  Qlib's order: a shuffle with seed 0
        for stock in names:
            if not self.is_stock_tradable(stock, start_time, end_time):
                continue
            amount = self.get_real_deal_amount(
                current_position.get(stock, 0.0),
                target_position.get(stock, 0.0),
                self.get_factor(stock, start_time, end_time),
            )
            if amount > 0:
                buys.append(Order(stock, amount, Order.BUY, start_time, end_time))
            elif amount < 0:
                sells.append(Order(stock, -amount, Order.SELL, start_time, end_time))
        return sells + buys

    def calculate_amount_position_value(
        self,
        amount_dict: Mapping[str, float],
        start_time: pd.Timestamp,
        end_time: pd.Timestamp,
        only_tradable: bool = False,
        direction: OrderDir = OrderDir.SELL,
    ) -> float:
        """Return the value of the amounts at deal prices; a suspended instrument counts at its last close, if any."""
        value = 0.0
        for stock, amount in amount_dict.items():
            if self.check_stock_suspended(stock, start_time, end_time):
                if not only_tradable:
                    value += amount * self._last_close(stock, start_time, end_time)
            elif not only_tradable or not self.check_stock_limit(stock, start_time, end_time):
                value += amount * self.get_deal_price(stock, start_time, end_time, direction)
        return value

    def _last_close(self, stock: str, start_time: pd.Timestamp, end_time: pd.Timestamp) -> float:
        column = self._column.get(stock)
        if column is None:
            return 0.0
        closes = self.quote.fields["$close"][: self.bar(start_time, end_time).lo, column]
        known = np.flatnonzero(~np.isnan(closes))
        return closes.item(known[-1]) if len(known) else 0.0

    # ------------------------------------------------------------------------------------------------------- dealing
    def deal_order(
        self,
        order: Order,
        trade_account: Account | None = None,
        position: BasePosition | None = None,
        dealt_order_amount: Mapping[str, float] = NO_DEALS,
    ) -> tuple[float, float, float]:
        """Execute an order and return (value traded, cost, price); `order.deal_amount` and `.factor` are written.

        Parameters
        ----------
        trade_account, position
            What pays and is booked: an account, or a position alone; neither means no limit of cash or holdings.
        dealt_order_amount
            Amount per instrument dealt earlier that day, for "cum" volume limits.

        An order that cannot be traded returns (0.0, 0.0, nan).
        """
        if trade_account is not None and position is not None:
            raise InputError("deal_order takes a trade_account or a position, not both")
        if not self.check_order(order):
            order.deal_amount = 0.0
            if order.reason is ORDER:
                suspended = self.check_stock_suspended(order.stock_id, order.start_time, order.end_time)
                order.reason = "suspended" if suspended else "limit"
            return 0.0, 0.0, math.nan
        holding = position if trade_account is None else trade_account.current_position
        price, value, cost = fill(self, order, holding, dealt_order_amount, trade_account)
        if value > NOTHING:
            if trade_account is not None:
                trade_account.update_order(order=order, trade_val=value, cost=cost, trade_price=price)
            elif position is not None:
                position.update_order(order=order, trade_val=value, cost=cost, trade_price=price)
        return value, cost, price

    # ------------------------------------------------------------------- what a market of its own may answer otherwise
    def fee_rate(self, order: Order, account: Account | None) -> float:  # noqa: ARG002
        """Return the share of its value that an order costs; `account` is who trades, None where nobody does."""
        fee = self.market.fee
        return fee.buy if order.direction == Order.BUY else fee.sell

    def room(self, order: Order, holding: BasePosition, against: float, price: float, rate: float) -> float:
        """Return the money of new exposure that an order may open, after `against` of it closed what was held."""
        short, fee = self.market.short, self.market.fee
        assert short is not None
        equity, exposure = equity_and_exposure(holding)
        if against:
            exposure -= against * holding.get_stock_price(order.stock_id)
        return short.margin.room(equity - fee.cost(against * price, rate), exposure, rate, fee.minimum)

    def mark_prices(self, start_time: pd.Timestamp, end_time: pd.Timestamp) -> np.ndarray[Any, Any]:
        """Return the price at which every instrument is valued at the end of a step: the close here."""
        return self.at(start_time, end_time).close

    def open_step(self, account: Account, start_time: pd.Timestamp, end_time: pd.Timestamp) -> list[Fill]:  # noqa: ARG002
        """Do what happens to the holdings in a step before its orders are dealt; return the fills: none here."""
        return []

    def whole_lots(self, amount: float, factor: float | None, order: Order) -> float:  # noqa: ARG002
        """Return the largest amount of whole lots up to `amount`; all of it where real shares are unknown."""
        if not self.vector:
            return self.round_amount_by_trade_unit(amount, factor)
        if self._lot.unit is None or factor is None:
            return amount
        return self._lot.floor(amount, factor)

    def liquidate(self, account: Account, start_time: pd.Timestamp, end_time: pd.Timestamp) -> list[Fill]:
        """Close what the market's liquidation rule closes by force in a step; return the fills."""
        short = self.market.short
        position = account.current_position
        if short is None or short.liquidation is None or not isinstance(position, Position):
            return []
        fills: list[Fill] = []
        fee = self.market.fee
        for stock, price in list(short.liquidation.forced(position, self, start_time, end_time)):
            held = position.get_stock_amount(stock)
            order = Order(stock, abs(held), Order.SELL if held > 0 else Order.BUY, start_time, end_time)
            order.deal_amount, order.reason = order.amount, "liquidation"
            order.factor = self.get_factor(stock, start_time, end_time)
            value = order.amount * price
            cost = fee.cost(value, fee.sell if held > 0 else fee.buy)
            account.update_order(order=order, trade_val=value, cost=cost, trade_price=price)
            fills.append((order, value, cost, price))
        return fills

    def get_order_helper(self) -> OrderHelper:
        """Return a maker of orders for this exchange."""
        return OrderHelper(self)


_ARGUMENTS = tuple(name for name in Exchange.__init__.__code__.co_varnames[1 : Exchange.__init__.__code__.co_argcount])
_QUESTIONS = (
    "bar", "check_order", "check_stock_suspended", "check_stock_limit", "is_stock_tradable", "get_deal_price",
    "get_factor", "round_amount_by_trade_unit",
)  # fmt: skip
