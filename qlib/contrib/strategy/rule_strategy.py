"""Strategies that follow a rule instead of a score.

TWAPStrategy            splits an outer order evenly over the inner steps
SBBStrategyEMA          of each pair of bars uses the one that a trend says is better
ACStrategy              Almgren and Chriss: early where the price is volatile, evenly where it is calm
RandomOrderStrategy     orders of a share of the usual volume, for a random part of a market
FileOrderStrategy       orders listed in a file
"""

from __future__ import annotations

import math
from abc import abstractmethod
from pathlib import Path
from typing import IO, Any, ClassVar

import numpy as np
import pandas as pd

from qlib.backtest.decision import BaseTradeDecision, Order, OrderDir, TradeDecisionWO, TradeRange
from qlib.backtest.utils import CommonInfrastructure, LevelInfrastructure
from qlib.contrib.strategy.splitting import (
    DUST,
    FormulaSplitStrategy,
    FormulaValues,
    SplitStrategy,
    even_share,
    nearest_lots,
)
from qlib.errors import ConfigError, InputError
from qlib.log import get_module_logger
from qlib.strategy.base import BaseStrategy

logger = get_module_logger("strategy")


class TWAPStrategy(SplitStrategy):
    """Split every outer order evenly over the inner steps in which it may be executed.

    After step k of n, (k + 1) / n of the order should be done; each step orders what is missing, rounded to the nearest
    trade unit, and the last one whatever is left. Suspended instruments are skipped.
    """

    def share(self, order: Order, left: float, unit: float | None, place: int, count: int) -> float:
        if place == count - 1:
            return left
        return nearest_lots(order.amount / count * (place + 1) - (order.amount - left), unit)


class SBBStrategyBase(SplitStrategy):
    """Select the better bar: of each pair of bars use the one in which the price should be better.

    Before each pair a trend is predicted. While the price rises, a buy is better in the first bar and a sale in the
    second; while it falls, the other way round. The better bar gets the share of both; without a trend every bar gets
    an even share of what is left.

    With a trade range the bars are counted inside it, and its last bar orders whatever is left. Under compat="qlib"
    the bars of the whole level are counted, so that most of an order with a short range is never ordered.
    """

    TREND_MID: ClassVar[int] = 0
    TREND_SHORT: ClassVar[int] = 1
    TREND_LONG: ClassVar[int] = 2

    def reset(self, outer_trade_decision: BaseTradeDecision | None = None, **kwargs: Any) -> None:  # type: ignore[override]
        """Begin a new outer decision, without a trend."""
        super().reset(outer_trade_decision=outer_trade_decision, **kwargs)
        if outer_trade_decision is not None:
            self._trend: dict[str, int] = {}

    def _usable(self) -> tuple[int, int]:
        if self.trade_exchange.compat == "qlib":
            return 0, self.trade_calendar.get_trade_len() - 1
        return super()._usable()

    def waits(self, order: Order, start: pd.Timestamp, end: pd.Timestamp) -> bool:
        exchange = self.trade_exchange
        if exchange.compat != "qlib":
            return super().waits(order, start, end)
        if self.trade_calendar.get_trade_step() % 2 == 0:
            self._predict(order)  # also for a bar that is left out
        return not exchange.is_stock_tradable(order.stock_id, start, end)  # a limit on either side stops both

    def share(self, order: Order, left: float, unit: float | None, place: int, count: int) -> float:
        qlib, steps = self.trade_exchange.compat == "qlib", count - place
        first_of_pair, selling = place % 2 == 0, order.direction == Order.SELL
        if first_of_pair and not qlib:
            self._predict(order)
        trend = self._trend.get(order.stock_id, self.TREND_MID)
        if steps == 1 and not qlib:
            return left
        better_first = (trend == self.TREND_LONG) != selling
        if trend == self.TREND_MID:
            due = even_share(left, unit, steps)
        elif better_first != first_of_pair:
            return 0.0
        else:  # twice the share of a bar; a second bar counts the first one, which was left out
            due = 2 * even_share(left, unit, steps + (qlib or not first_of_pair))
        return left if qlib and selling and (steps == 1 or due <= DUST) else due

    def _predict(self, order: Order) -> None:
        before = self.trade_calendar.get_step_time(shift=1)
        self._trend[order.stock_id] = self._pred_price_trend(order.stock_id, *before)

    @abstractmethod
    def _pred_price_trend(
        self, stock_id: str, pred_start_time: pd.Timestamp | None = None, pred_end_time: pd.Timestamp | None = None
    ) -> int:
        """Return the trend of an instrument's price over the next two bars: TREND_LONG, TREND_SHORT or TREND_MID.

        The times are those of the bar before, the newest that may be used.
        """
        raise NotImplementedError


class SBBStrategyEMA(SBBStrategyBase, FormulaSplitStrategy):
    """`SBBStrategyBase` with the sign of EMA($close, 10) - EMA($close, 20) in the bar before as trend.

    Parameters
    ----------
    instruments, freq
        See `FormulaSplitStrategy`; `freq` is usually the step of the level.
    """

    @property
    def formula(self) -> str:
        return "EMA($close, 10)-EMA($close, 20)"

    def _pred_price_trend(
        self,
        stock_id: str,
        pred_start_time: pd.Timestamp | None = None,  # noqa: ARG002
        pred_end_time: pd.Timestamp | None = None,  # noqa: ARG002
    ) -> int:
        spread = self.value(stock_id)
        if spread > 0:
            return self.TREND_LONG
        return self.TREND_SHORT if spread < 0 else self.TREND_MID


class ACStrategy(FormulaSplitStrategy):
    """Almgren and Chriss: trade early where the price is volatile, evenly where it is calm.

    With cosh(kappa) = 1 + lamb / eta * sigma**2 / 2 and R usable steps left, a step is due the share
    1 - sinh(kappa * (R - 1)) / sinh(kappa * R) of what is left; kappa = 0 is the even share 1 / R. Under one sigma
    this is their schedule (sinh(kappa * R) - sinh(kappa * (R - 1))) / sinh(kappa * T) of the whole, and whatever sigma
    does, the last step orders all that is left.

    Parameters
    ----------
    lamb
        Aversion to risk, per money.
    eta
        Temporary impact: price per amount traded in a step.
    window_size
        Bars over which sigma, the standard deviation of log returns, is taken.
    instruments, freq
        See `FormulaSplitStrategy`. An instrument without a sigma is split evenly.

    Under compat="qlib" every step is due its share of the whole order, whatever happened before.
    """

    def __init__(
        self,
        lamb: float = 1e-6,
        eta: float = 2.5e-6,
        window_size: int = 20,
        outer_trade_decision: BaseTradeDecision | None = None,
        instruments: Any = "csi300",
        freq: str = "day",
        trade_exchange: Any = None,
        level_infra: LevelInfrastructure | None = None,
        common_infra: CommonInfrastructure | None = None,
        **kwargs: Any,
    ) -> None:
        if not (math.isfinite(lamb) and lamb >= 0 and math.isfinite(eta) and eta > 0):
            raise ConfigError(
                f"ACStrategy: received lamb={lamb!r}, eta={eta!r}; lamb of at least 0 and eta above 0 are allowed"
            )
        if isinstance(window_size, bool) or window_size != int(window_size) or window_size < 2:
            raise ConfigError(f"window_size: received {window_size!r}; a whole number of at least 2 is allowed")
        self.lamb, self.eta, self.window_size = lamb, eta, int(window_size)
        super().__init__(
            outer_trade_decision=outer_trade_decision,
            instruments=instruments,
            freq=freq,
            trade_exchange=trade_exchange,
            level_infra=level_infra,
            common_infra=common_infra,
            **kwargs,
        )

    @property
    def formula(self) -> str:
        return f"Std(Log($close/Ref($close,1)),{self.window_size})"

    def _usable(self) -> tuple[int, int]:
        if self.trade_exchange.compat == "qlib":
            return 0, self.trade_calendar.get_trade_len() - 1
        return super()._usable()

    def share(self, order: Order, left: float, unit: float | None, place: int, count: int) -> float:
        sigma, steps = self.value(order.stock_id), count - place
        qlib, selling = self.trade_exchange.compat == "qlib", order.direction == Order.SELL
        if steps == 1 and not qlib:
            return left
        if math.isnan(sigma):
            due = even_share(left, unit, steps)
        else:
            kappa = math.acosh(self.lamb / self.eta * sigma * sigma / 2 + 1)
            if qlib:
                due = order.amount * (_decay(kappa, steps, count) - _decay(kappa, steps - 1, count))
                due = due if unit is None else self._floor(order, due)
            else:
                due = nearest_lots(left * (1 - _decay(kappa, steps - 1, steps)), unit)
        return left if qlib and selling and (steps == 1 or due <= DUST) else due

    def _floor(self, order: Order, amount: float) -> float:
        step = self.trade_calendar.get_step_time()
        factor = self.trade_exchange.get_factor(order.stock_id, *step)
        return float(self.trade_exchange.round_amount_by_trade_unit(amount, factor))


def _decay(kappa: float, steps: int, whole: int) -> float:
    """Return sinh(kappa * steps) / sinh(kappa * whole), for any kappa; steps is at most whole.

    >>> _decay(0.0, 1, 4), round(_decay(1.0, 1, 2), 6), _decay(1e4, 3, 4)
    (0.25, 0.324027, 0.0)
    """
    if kappa * whole < 1e-9:
        return steps / whole
    return math.exp(kappa * (steps - whole)) * math.expm1(-2 * kappa * steps) / math.expm1(-2 * kappa * whole)


class RandomOrderStrategy(BaseStrategy):
    """Order, at every step, a share of the usual volume of a random part of a market.

    The usual volume is the mean of the ten bars before the step, so a bar's own volume plays no part in its orders.

    Parameters
    ----------
    trade_range
        Part of the step in which the orders may be executed: a TradeRange, (first, last) inner step, or None.
    sample_ratio
        Share of the instruments, of 0 to 1, that get an order.
    volume_ratio
        Amount of an order as a share of the usual volume.
    market
        A market's name.
    direction
        Order.BUY or Order.SELL.
    seed
        A step's choice depends on it and on the step's time, on nothing else. Under compat="qlib" numpy's global
        generator chooses.
    """

    def __init__(
        self,
        trade_range: tuple[int, int] | TradeRange | None = None,
        sample_ratio: float = 1.0,
        volume_ratio: float = 0.01,
        market: str = "all",
        direction: int = Order.BUY,
        *args: Any,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        if not 0 <= sample_ratio <= 1:
            raise ConfigError(f"sample_ratio: received {sample_ratio!r}; a share of 0 to 1 is allowed")
        if not 0 <= volume_ratio < math.inf:
            raise ConfigError(f"volume_ratio: received {volume_ratio!r}; a share of at least 0 is allowed")
        if isinstance(seed, bool) or seed != int(seed) or seed < 0:
            raise ConfigError(f"seed: received {seed!r}; a whole number of at least 0 is allowed")
        self.trade_range = trade_range
        self.sample_ratio = sample_ratio
        self.volume_ratio = volume_ratio
        self.market = market
        self.direction = Order.BUY if Order.parse_dir(direction) == Order.BUY else Order.SELL
        self.seed = int(seed)
        self._usual: FormulaValues | None = None
        self._of: Any = None

    def generate_trade_decision(self, execute_result: list[Any] | None = None) -> BaseTradeDecision:  # noqa: ARG002
        """Return the orders of this step."""
        exchange, (start, end) = self.trade_exchange, self.trade_calendar.get_step_time()
        if self._usual is None or self._of is not exchange:
            self._of = exchange
            freq, formula = self.trade_calendar.get_freq(), "Mean($volume,10)"
            self._usual = FormulaValues.of_backtest(exchange, self.market, formula, freq)
        row = self._usual.known_at(start)
        if row is None:
            return TradeDecisionWO([], self, self.trade_range)
        amounts = self.volume_ratio * row.astype(np.float64)
        able = np.flatnonzero(amounts > DUST)
        names = self._usual.names
        count = round(len(able) * self.sample_ratio)
        if exchange.compat == "qlib":
            chosen = np.random.choice(able, count, replace=False)
        else:
            chosen = np.random.default_rng((self.seed, abs(start.value))).choice(able, count, replace=False)
        orders = [Order(names[i], amounts.item(i), self.direction, start, end) for i in sorted(chosen.tolist())]
        return TradeDecisionWO(orders, self, self.trade_range)


class FileOrderStrategy(BaseStrategy):
    """Execute the orders of a list, each in the step that starts at its time, in the order of the list.

    Parameters
    ----------
    file
        CSV (path or open file) or DataFrame with the columns datetime, instrument, amount, direction; a direction is
        "buy", "sell" or a number (above 0 buys).
    trade_range
        Part of the step in which the orders may be executed: a TradeRange, or (first, last) inner step.

    Under compat="qlib" the orders of a step are in the order of their instruments. Before the first step ConfigError is
    raised where no order of the list can be given (under compat="qlib" it is warned of); a part of them at other
    times, or for instruments without quotes, is warned of.
    """

    def __init__(
        self,
        file: IO[Any] | str | Path | pd.DataFrame,
        trade_range: tuple[int, int] | TradeRange | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        orders = file.copy() if isinstance(file, pd.DataFrame) else pd.read_csv(file, dtype={"datetime": str})
        absent = [name for name in ("datetime", "instrument", "amount", "direction") if name not in orders.columns]
        if absent:
            raise InputError(f"list of orders: it has the columns {list(orders.columns)} and lacks {', '.join(absent)}")
        orders["direction"] = [int(Order.parse_dir(direction)) for direction in orders["direction"]]
        orders["datetime"] = _times(orders["datetime"])
        orders["amount"] = _amounts(orders)
        self.order_df = orders.set_index(["datetime", "instrument"])
        self.trade_range = trade_range

    def reset(
        self,
        level_infra: LevelInfrastructure | None = None,
        common_infra: CommonInfrastructure | None = None,
        outer_trade_decision: BaseTradeDecision | None = None,
        **kwargs: Any,
    ) -> None:
        """Begin anew with what is given; called before a range of steps."""
        super().reset(level_infra, common_infra, outer_trade_decision, **kwargs)
        known = hasattr(self, "common_infra") or self._trade_exchange is not None
        inner = hasattr(self, "outer_trade_decision")  # one step of the level above may well have no order
        if level_infra is not None and known and not inner and len(self.order_df):
            self._check_orders()

    def _check_orders(self) -> None:
        """Raise where no order can be given, and warn of those that cannot."""
        calendar, exchange = self.trade_calendar, self.trade_exchange
        starts = [calendar.get_step_time(step)[0] for step in range(calendar.get_trade_len())]
        times, names = (self.order_df.index.get_level_values(level) for level in ("datetime", "instrument"))
        for good, what in (
            (times.isin(starts), f"at a time at which a step starts ({starts[0]} to {starts[-1]})"),
            (names.astype(str).isin(list(exchange.quote.column)), "of an instrument with quotes"),
        ):
            if good.all():
                continue
            time, name = self.order_df.index[int(np.argmin(good))]
            missing, count = int((~good).sum()), len(good)
            which = f"none of its {count} orders is" if missing == count else f"{missing} of its {count} orders are not"
            sentence = f"list of orders: {which} {what}, the first of these is {name} at {time}: they are never given"
            if missing == count and exchange.compat != "qlib":
                raise ConfigError(sentence)
            logger.warning(sentence)

    def generate_trade_decision(self, execute_result: list[Any] | None = None) -> BaseTradeDecision:  # noqa: ARG002
        """Return the orders listed for the start of this step."""
        start, end = self.trade_calendar.get_step_time()
        here = self.order_df[self.order_df.index.get_level_values("datetime") == start]
        if self.trade_exchange.compat == "qlib":
            here = here.sort_index(kind="stable")
        orders = [
            Order(str(instrument), float(amount), OrderDir(direction), start, end)
            for (_, instrument), amount, direction in zip(here.index, here["amount"], here["direction"], strict=True)
        ]
        return TradeDecisionWO(orders, self, self.trade_range)


def _times(column: pd.Series) -> pd.Series:
    try:
        return pd.to_datetime(column)
    except (ValueError, TypeError) as error:
        raise InputError(f"list of orders: its column datetime holds no times ({error})") from None


def _amounts(orders: pd.DataFrame) -> pd.Series:
    amounts = pd.to_numeric(orders["amount"], errors="coerce")
    wrong = np.flatnonzero(~(np.isfinite(amounts) & (amounts >= 0)))
    if len(wrong):
        row = orders.iloc[wrong[0]]
        raise InputError(
            f"list of orders: the amount of {row['instrument']} at {row['datetime']} is {row['amount']}; "
            "a finite number of at least 0 is allowed, the direction says buy or sell"
        )
    return amounts.astype(float)
