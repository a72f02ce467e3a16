"""How well orders were executed, per order and per step.

    per order      amount, deal_amount (signed), trade_price, trade_value, trade_cost, ffr = deal_amount / amount, pa
    per step       ffr and pa averaged over the orders, pos = share of orders with pa > 0, sums, number of orders

pa (price advantage) is what execution gained against the market's average price while the order was open: a level that
executes by itself (`atomic`) has none, it is 0 there; a level that hands its orders down has (1 - 2 * direction) *
(trade price / base price - 1) with direction 1 for a buy, so cheaper buying and dearer selling are above 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from qlib.backtest.decision import Order
from qlib.backtest.high_performance_ds import NumpyOrderIndicator
from qlib.backtest.trades import Fill, TradeLog
from qlib.errors import InputError, did_you_mean
from qlib.log import get_module_logger

if TYPE_CHECKING:
    from qlib.backtest.decision import BaseTradeDecision
    from qlib.backtest.exchange import Exchange

WEIGHTS = ("mean", "amount_weighted", "value_weighted")
ROUNDING = 1e-12  # a price advantage of this size is the last bit of a float, not an advantage
TINY_PRICE = 1e-8  # a price at or below this is no price
SUMMED = ("inner_amount", "deal_amount", "trade_value", "trade_cost", "trade_dir")
STEP_COLUMNS = ("ffr", "pa", "pos", "deal_amount", "value", "count")
Array = np.ndarray[Any, np.dtype[np.float64]]
logger = get_module_logger("indicator")


OrderIndicator = NumpyOrderIndicator


class History(MutableMapping[pd.Timestamp, Any]):
    """Something per step, by time; what was recorded as rows of the trade log is made when it is asked for."""

    def __init__(self, make: Callable[[tuple[int, int]], Any]) -> None:
        self.kept: dict[pd.Timestamp, Any] = {}
        self._make = make

    def __getitem__(self, time: pd.Timestamp) -> Any:
        kept = self.kept[time]
        return self._make(kept) if type(kept) is tuple else kept

    def __setitem__(self, time: pd.Timestamp, what: Any) -> None:
        self.kept[time] = what

    def __delitem__(self, time: pd.Timestamp) -> None:
        del self.kept[time]

    def __iter__(self) -> Iterator[pd.Timestamp]:
        return iter(self.kept)

    def __len__(self) -> int:
        return len(self.kept)

    def __repr__(self) -> str:
        return f"History({len(self.kept)} steps)"


class Indicator:
    """Order and step indicators of a level, and their history by time.

    Parameters
    ----------
    order_indicator_cls
        Class that holds the numbers of the orders.
    compat
        None: every order counts, and a `pa` of rounding size is no advantage. "qlib": of several orders for one
        instrument in one step only the last counts, and any pa above 0 is an advantage.
    trades
        The log that orders dealt at this level are written to; None makes one.

    Orders dealt at this level stay rows of the log, from which their indicators are computed when asked for and, for
    the table of all steps, together.
    """

    def __init__(
        self,
        order_indicator_cls: type[OrderIndicator] = NumpyOrderIndicator,
        *,
        compat: str | None = None,
        trades: TradeLog | None = None,
    ) -> None:
        self.order_indicator_cls = order_indicator_cls
        self.compat = compat
        self.trades = TradeLog() if trades is None else trades
        self.order_indicator_his = History(self._orders_of)
        self.trade_indicator_his = History(self._step_of)
        self._config: Mapping[str, Any] = {}
        self.reset()

    def __getstate__(self) -> dict[str, Any]:
        histories = {name: getattr(self, name).kept for name in ("order_indicator_his", "trade_indicator_his")}
        return {**self.__dict__, **histories}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take the state of a pickle, also of one that kept every step in a plain dict."""
        self.__init__(compat=state.get("compat"))  # type: ignore[misc]
        histories = {"order_indicator_his", "trade_indicator_his"}
        self.__dict__.update({name: value for name, value in state.items() if name not in histories})
        for name in histories:
            getattr(self, name).kept = state[name]

    def reset(self) -> None:
        """Begin a new step."""
        self._order: Any = None
        self._step: Any = {}

    @property
    def order_indicator(self) -> OrderIndicator:
        """The current step's orders."""
        if self._order is None:
            self._order = self.order_indicator_cls()
        elif type(self._order) is tuple:
            self._order = self._orders_of(self._order)
        found: OrderIndicator = self._order
        return found

    @order_indicator.setter
    def order_indicator(self, indicator: OrderIndicator) -> None:
        self._order = indicator

    @property
    def trade_indicator(self) -> dict[str, float]:
        """The current step's row."""
        if type(self._step) is tuple:
            self._step = self._step_of(self._step)
        found: dict[str, float] = self._step
        return found

    @trade_indicator.setter
    def trade_indicator(self, row: dict[str, float]) -> None:
        self._step = row

    def record(self, trade_start_time: pd.Timestamp) -> None:
        """Remember the step under its time."""
        self.order_indicator_his.kept[trade_start_time] = self.order_indicator if self._order is None else self._order
        self.trade_indicator_his.kept[trade_start_time] = self._step

    def update_order_indicators(self, trade_info: Sequence[Fill], trade_start_time: pd.Timestamp | None = None) -> None:
        """Take (order, value, cost, price) of every order that was executed directly."""
        self._order = self.trades.extend(trade_start_time, trade_info)

    def _orders_of(self, rows: tuple[int, int]) -> OrderIndicator:
        found = self.trades.rows(*rows)
        code = found["code"].tolist()
        if self.compat == "qlib" and len(set(code)) < len(code):
            last = {name: i for i, name in enumerate(code)}
            kept = list(last.values())
            found = {name: values[kept] for name, values in found.items()}
            code = list(last)
        sign = np.where(found["side"] == 1, 1.0, -1.0)
        amount, dealt = found["ordered"] * sign, found["amount"] * sign
        data = {
            "amount": amount,
            "inner_amount": amount,
            "deal_amount": dealt,
            "trade_price": found["price"],
            "trade_value": found["value"] * sign,
            "trade_cost": found["fee"],
            "trade_dir": found["side"].astype(np.float64),
            "pa": np.zeros(len(code)),
            "ffr": _fill_rate(dealt, amount),
        }
        names = self.trades.names
        return self.order_indicator_cls([names[i] for i in code], data)

    def _step_of(self, rows: tuple[int, int]) -> dict[str, float]:
        return _step_row(self._orders_of(rows).data, self._config, self.compat)

    def agg_order_indicators(
        self,
        inner_order_indicators: Sequence[OrderIndicator],
        decision_list: Sequence[tuple[BaseTradeDecision, pd.Timestamp, pd.Timestamp]],
        outer_trade_decision: BaseTradeDecision,
        trade_exchange: Exchange,
        indicator_config: Mapping[str, Any] = {},
    ) -> None:
        """Add up what the steps of the level below did for the orders of this level, instrument by instrument.

        Parameters
        ----------
        inner_order_indicators
            One per inner step.
        decision_list
            (decision, start, end) of the same steps.
        indicator_config
            `pa_config.agg`: "twap" (default) or "vwap", the average that trade prices are compared with;
            `pa_config.price`: "deal_price", the only price there is.
        """
        wanted = {order.stock_id: order.amount_delta for order in outer_trade_decision.get_decision()}
        names = list(dict.fromkeys([name for inner in inner_order_indicators for name in inner.instruments]))
        names += [name for name in wanted if name not in set(names)]
        row = {name: i for i, name in enumerate(names)}
        sums = {metric: [0.0] * len(names) for metric in (*SUMMED, "paid")}
        for inner in inner_order_indicators:  # a step has few orders: lists are quicker than arrays
            rows = [row[name] for name in inner.instruments]
            for metric in SUMMED:
                _add(sums[metric], rows, inner.data[metric].tolist())
            _add(sums["paid"], rows, (inner.data["trade_price"] * inner.data["deal_amount"]).tolist())
        data = {metric: np.array(total) for metric, total in sums.items()}
        with np.errstate(invalid="ignore", divide="ignore"):
            price = data["trade_price"] = data.pop("paid") / data["deal_amount"]
        side = data["trade_dir"] = (data["trade_dir"] > 0).astype(np.float64)
        data["amount"] = np.array([wanted.get(name, np.nan) for name in names], dtype=np.float64)
        data["ffr"] = _fill_rate(data["deal_amount"], data["amount"])
        base, data["base_volume"] = _base_prices(
            names, side, inner_order_indicators, decision_list, trade_exchange, indicator_config.get("pa_config", {})
        )
        data["base_price"] = base
        data["pa"] = (1 - 2 * side) * (price / base - 1)
        self.order_indicator = self.order_indicator_cls(names, data)

    def cal_trade_indicators(
        self,
        trade_start_time: pd.Timestamp,
        freq: str,
        indicator_config: Mapping[str, Any] = {},
    ) -> None:
        """Average the orders into one row for the step.

        `indicator_config` keys: show_indicator (log the row), ffr_config.weight_method and pa_config.weight_method
        ("mean", "amount_weighted", "value_weighted").
        """
        self._config = indicator_config
        _check_weights(indicator_config)
        self._step = self._order
        if type(self._order) is not tuple:
            self._step = _step_row(self.order_indicator.data, indicator_config, self.compat)
        if indicator_config.get("show_indicator", False):
            row = ", ".join(f"{name} {number:.6g}" for name, number in self.trade_indicator.items())
            logger.info(f"[{freq}] {trade_start_time}: {row}")

    def get_order_indicator(self, raw: bool = True) -> OrderIndicator | dict[str, pd.Series]:
        """Return the current step's orders; with raw=False as Series by metric."""
        return self.order_indicator if raw else self.order_indicator.to_series()

    def get_trade_indicator(self) -> dict[str, float]:
        return self.trade_indicator

    def generate_trade_indicators_dataframe(self) -> pd.DataFrame:
        """Return one row per step with the columns ffr, pa, pos, deal_amount, value, count."""
        kept = list(self.trade_indicator_his.kept.values())
        table = np.full((len(kept), len(STEP_COLUMNS)), np.nan)
        logged = [i for i, row in enumerate(kept) if type(row) is tuple]
        if logged:
            table[logged] = self._steps_of(np.array([kept[i] for i in logged], dtype=np.int64))
        for i, row in enumerate(kept):
            if type(row) is not tuple:
                table[i] = [row[name] for name in STEP_COLUMNS]
        frame = pd.DataFrame(
            table,
            columns=list(STEP_COLUMNS),
            index=pd.DatetimeIndex(list(self.trade_indicator_his.kept)).as_unit("ns"),
        )
        return frame.astype({"count": np.int64})

    def _steps_of(self, spans: np.ndarray[Any, Any]) -> Array:
        """Return the rows of steps whose orders are rows `spans[i, 0]:spans[i, 1]` of the log; as `_step_row`."""
        count = spans[:, 1] - spans[:, 0]
        step = np.repeat(np.arange(len(spans)), count)
        place = np.arange(len(step)) + np.repeat(spans[:, 0] - np.cumsum(count) + count, count)
        found = {name: values[place] for name, values in self.trades.rows().items()}
        if self.compat == "qlib":  # the last of several orders for one instrument
            key = step * (len(self.trades.names) + 1) + found["code"]
            _, last = np.unique(key[::-1], return_index=True)
            kept = len(key) - 1 - last
            found, step = {name: values[kept] for name, values in found.items()}, step[kept]

        def total(values: Array) -> Array:
            return np.bincount(step, weights=values, minlength=len(spans)).astype(np.float64)

        dealt, value = found["amount"], np.abs(found["value"])
        filled = _fill_rate(dealt, found["ordered"])
        known = ~np.isnan(filled)
        weights = {"mean": np.ones(len(step)), "amount_weighted": dealt, "value_weighted": value}
        method = {name: self._config.get(name, {}).get("weight_method", "mean") for name in ("ffr_config", "pa_config")}
        orders = total(np.ones(len(step)))
        with np.errstate(invalid="ignore", divide="ignore"):
            weight = np.where(known, weights[method["ffr_config"]], 0.0)
            ffr = total(np.where(known, filled, 0.0) * weight) / total(weight)
            pa = 0.0 / total(weights[method["pa_config"]])  # an order dealt here has none; NaN without weight
            pos = 0.0 / orders
        return np.stack([ffr, pa, pos, total(dealt), total(value), orders], axis=1)


def _check_weights(config: Mapping[str, Any]) -> None:
    for name in ("ffr_config", "pa_config"):
        part = config.get(name)
        if part:
            _weights(part, name, [], [])


def _step_row(data: Mapping[str, Array], config: Mapping[str, Any], compat: str | None) -> dict[str, float]:
    """Average the orders of one step."""
    dealt, value = np.abs(data["deal_amount"]).tolist(), np.abs(data["trade_value"]).tolist()
    ffr, pa = data["ffr"].tolist(), data["pa"].tolist()  # a step has few orders: lists are quicker than arrays
    ffr_weight = _weights(config.get("ffr_config", {}), "ffr_config", dealt, value)
    pa_weight = _weights(config.get("pa_config", {}), "pa_config", dealt, value)
    least = 0.0 if compat == "qlib" else ROUNDING
    known = [advantage for advantage in pa if not math.isnan(advantage)]
    return {
        "ffr": _mean(ffr, ffr_weight),
        "pa": _mean(pa, pa_weight),
        "pos": sum(advantage > least for advantage in known) / len(known) if known else math.nan,
        "deal_amount": math.fsum(amount for amount in dealt if not math.isnan(amount)),
        "value": math.fsum(money for money in value if not math.isnan(money)),
        "count": len(pa),
    }


def _base_prices(
    names: Sequence[str],
    direction: Array,
    inner: Sequence[OrderIndicator],
    decisions: Sequence[tuple[BaseTradeDecision, pd.Timestamp, pd.Timestamp]],
    exchange: Exchange,
    pa_config: Mapping[str, Any],
) -> tuple[Array, Array]:
    """Return (average price, weight) of each instrument over the inner steps; NaN where there was no price."""
    agg, price_kind = str(pa_config.get("agg", "twap")).lower(), pa_config.get("price", "deal_price")
    if agg not in ("twap", "vwap"):
        raise InputError(f"indicator_config pa_config.agg: received {agg!r}; allowed are 'twap' and 'vwap'")
    if price_kind != "deal_price":
        raise InputError(f"indicator_config pa_config.price: received {price_kind!r}; allowed is 'deal_price'")
    value, weight = ([[0.0] * len(inner) for _ in names] for _ in range(2))
    for k, (indicator, (decision, start, end)) in enumerate(zip(inner, decisions, strict=True)):
        if decision.trade_range is not None:
            start, end = decision.trade_range.clip_time_range(start, end)
        known = {}
        if "base_price" in indicator.data:
            pairs = zip(indicator.data["base_price"].tolist(), indicator.data["base_volume"].tolist(), strict=True)
            known = dict(zip(indicator.instruments, pairs, strict=True))
        average = _averages(exchange, start, end, agg)
        for i, name in enumerate(names):
            price, size = known.get(name, (math.nan, 0.0))
            if math.isnan(price):
                price, size = average(name, Order.BUY if direction[i] else Order.SELL)
            if size > 0:
                value[i][k], weight[i][k] = price * size, size
    values, weights = (np.array(table).reshape(len(names), len(inner)) for table in (value, weight))
    total = weights.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return values.sum(axis=1) / total, total


def _add(total: list[float], rows: Sequence[int], numbers: Sequence[float]) -> None:
    for row, number in zip(rows, numbers, strict=True):
        if not math.isnan(number):
            total[row] += number


def _averages(
    exchange: Exchange, start: pd.Timestamp, end: pd.Timestamp, agg: str
) -> Callable[[str, Any], tuple[float, float]]:
    """Return the question for (average price, weight) of an instrument on a side in the range."""
    bar = exchange.bar(start, end)
    if not exchange.vector or agg != "twap" or bar.hi - bar.lo != 1:
        return lambda name, side: _average_price(exchange, name, start, end, side, agg)
    step, column = exchange.at(start, end), exchange.quote.column

    def of_one_bar(name: str, side: Any) -> tuple[float, float]:
        place = column.get(name)
        price = math.nan if place is None else (step.buy_price if side == Order.BUY else step.sell_price).item(place)
        return (price, 1.0) if price > TINY_PRICE else (math.nan, 0.0)

    return of_one_bar


def _average_price(
    exchange: Exchange, name: str, start: pd.Timestamp, end: pd.Timestamp, side: Any, agg: str
) -> tuple[float, float]:
    """Return (average deal price of the bars in the range, weight): time-weighted or volume-weighted."""
    prices = np.atleast_1d(np.asarray(exchange.get_deal_price(name, start, end, side, method=None), dtype=float))
    if agg == "vwap":
        volumes = np.atleast_1d(np.asarray(exchange.get_volume(name, start, end, method=None), dtype=float))
    else:
        volumes = np.ones(len(prices))
    good = (prices > TINY_PRICE) & ~np.isnan(volumes)
    weight = float(volumes[good].sum())
    return (float((prices[good] * volumes[good]).sum()) / weight, weight) if weight else (np.nan, 0.0)


def _fill_rate(dealt: Array, amount: Array) -> Array:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(amount != 0, dealt / amount, np.nan)


def _weights(config: Mapping[str, Any], name: str, dealt: list[float], value: list[float]) -> list[float] | None:
    method = config.get("weight_method", "mean")
    if method not in WEIGHTS:
        raise InputError(
            f"indicator_config {name}.weight_method: received {method!r}; allowed are {', '.join(WEIGHTS)}"
            f"{did_you_mean(str(method), WEIGHTS)}"
        )
    return None if method == "mean" else dealt if method == "amount_weighted" else value


def _mean(values: list[float], weights: list[float] | None) -> float:
    """Weighted mean of the numbers among `values`; NaN where there is none, or no weight."""
    pairs = [
        (value, weight)
        for value, weight in zip(values, [1.0] * len(values) if weights is None else weights, strict=True)
        if not math.isnan(value)
    ]
    total = math.fsum(weight for _, weight in pairs)
    return math.fsum(value * weight for value, weight in pairs) / total if total else math.nan
