"""Strategies that follow scores of the bar before.

TopkDropoutStrategy     hold k names; each step replace the worst n_drop of them by better ones
WeightStrategyBase      say target weights; an order generator turns them into orders

    backtest(..., strategy=TopkDropoutStrategy(signal=scores, topk=50, n_drop=5), ...)
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from qlib.backtest.decision import BaseTradeDecision, Order, TradeDecisionWO
from qlib.backtest.position import BasePosition, Position
from qlib.backtest.signal import Scores, Signal, SignalWCache, create_signal_from
from qlib.contrib.strategy.deciding import buying_terms, first_bar, holding_values, open_names, sell_all
from qlib.contrib.strategy.order_generator import OrderGenerator, OrderGenWOInteract
from qlib.contrib.strategy.ranking import Ranking
from qlib.errors import ConfigError, did_you_mean
from qlib.log import get_module_logger
from qlib.strategy.base import BaseStrategy

if TYPE_CHECKING:
    from qlib.backtest.exchange import Exchange
    from qlib.backtest.utils import CommonInfrastructure, LevelInfrastructure
    from qlib.data.dataset import Dataset
    from qlib.model.base import BaseModel

logger = get_module_logger("strategy")


class BaseSignalStrategy(BaseStrategy, ABC):
    """A strategy with a signal.

    Parameters
    ----------
    signal
        Scores: a Series or DataFrame over (datetime, instrument), a file of one, a pair (model, dataset), a `Signal`,
        or the configuration of one.
    model, dataset
        Qlib's older way to say `signal=(model, dataset)`.
    risk_degree
        Share of the account to invest.

    Before the first step ConfigError is raised where nothing can come of the scores (`SignalWCache.doubts`).
    """

    def __init__(
        self,
        *,
        signal: Signal
        | pd.Series
        | pd.DataFrame
        | tuple[Any, Any]
        | list[Any]
        | dict[str, Any]
        | str
        | Path
        | None = None,
        model: BaseModel | None = None,
        dataset: Dataset | None = None,
        risk_degree: float = 0.95,
        trade_exchange: Exchange | None = None,
        level_infra: LevelInfrastructure | None = None,
        common_infra: CommonInfrastructure | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(level_infra=level_infra, common_infra=common_infra, trade_exchange=trade_exchange, **kwargs)
        if not risk_degree >= 0:
            raise ConfigError(f"risk_degree: received {risk_degree!r}; a share of at least 0 is allowed")
        self.risk_degree = risk_degree
        if model is not None and dataset is not None:
            logger.warning("model and dataset are given apart: signal=(model, dataset) says the same")
            signal = (model, dataset)
        if signal is None:
            raise ConfigError(f"{type(self).__name__} needs a signal: scores, or signal=(model, dataset)")
        self.signal: Signal = create_signal_from(signal)

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
        if level_infra is not None and known and not hasattr(self, "outer_trade_decision"):
            self._check_signal()

    def _check_signal(self) -> None:
        """Raise where nothing can come of the scores (compat="qlib": warn), and warn of what is odd about them."""
        if not isinstance(self.signal, SignalWCache):
            return  # only scores that are in memory can be looked through
        calendar, exchange = self.trade_calendar, self.trade_exchange
        ranges = [calendar.get_step_time(step, shift=1) for step in range(calendar.get_trade_len())]
        wrong, odd = self.signal.doubts(exchange.quote.column, ranges)
        if wrong is not None and exchange.compat != "qlib":
            raise ConfigError(wrong)
        for sentence in odd if wrong is None else [wrong]:
            logger.warning(sentence)

    def get_risk_degree(self, trade_step: int | None = None) -> float:  # noqa: ARG002  subclasses vary it by step
        """Return the share of the money to invest at a step; override it for a dynamic share."""
        return self.risk_degree


class TopkDropoutStrategy(BaseSignalStrategy):
    """Hold the k best names, replacing at most n_drop of them a step.

    Each step: held names and the best new ones are ranked together by score (equal scores: what is held first); held
    names among the last n_drop are sold, and as many new ones bought as fit into k.

    - Never more than k names: one that cannot be sold (suspended, at a limit, held too briefly, sold in part) keeps its
      slot, and a buy less is made.
    - Money: account value x `get_risk_degree(step)`, less the value of what is kept, in equal parts for the open slots;
      everything valued at the prices of the step's first bar. Holdings that outgrow it are not trimmed.
    - A buy that cannot be made is skipped. Its part stays in cash, its slot stays open, and the next step fills it.

    Parameters
    ----------
    topk
        Number of names to hold.
    n_drop
        Most names to sell in a step.
    method_sell
        "bottom": the worst scored; "random": any.
    method_buy
        "top": the best scored; "random": any of the k best.
    hold_thresh
        Least number of bars to hold a name.
    only_tradable
        Choose among the names that can be traded in the step; else a choice that cannot be traded is skipped.
    forbid_all_trade_at_limit
        A name at a limit is traded on neither side; else only the blocked side is skipped.
    seed
        Of the random methods: a step's choice depends on it and on the step's time, on nothing else.

    A sale that the execution leaves unfinished in ways that the first bar does not show (an inner strategy that splits
    it) leaves the name, too: the next step counts it and buys less.

    Under compat="qlib", as in Qlib: blocked sells are counted as sold, so there may be more than k names; the buys made
    share free cash x risk degree; orders of nothing are kept; n_drop=0 sells every holding each step; a portfolio of
    more than topk + n_drop names slices its list of candidates from the end; several bars of a step are known at once;
    numpy's global generator is used.
    """

    def __init__(
        self,
        *,
        topk: int,
        n_drop: int,
        method_sell: str = "bottom",
        method_buy: str = "top",
        hold_thresh: int = 1,
        only_tradable: bool = False,
        forbid_all_trade_at_limit: bool = True,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        for name, number, least in (("topk", topk, 1), ("n_drop", n_drop, 0), ("seed", seed, 0)):
            whole = isinstance(number, int | float | np.number) and not isinstance(number, bool) and not number % 1
            if not whole or number < least:
                raise ConfigError(f"{name}: received {number!r}; a whole number of at least {least} is allowed")
        for name, method, allowed in (
            ("method_sell", method_sell, ("bottom", "random")),
            ("method_buy", method_buy, ("top", "random")),
        ):
            if method not in allowed:
                raise ConfigError(
                    f"{name}: received {method!r}; allowed are {allowed[0]!r} and {allowed[1]!r}"
                    f"{did_you_mean(str(method), allowed)}"
                )
        self.topk = int(topk)
        self.n_drop = int(n_drop)
        self.method_sell = method_sell
        self.method_buy = method_buy
        self.hold_thresh = hold_thresh
        self.only_tradable = only_tradable
        self.forbid_all_trade_at_limit = forbid_all_trade_at_limit
        self.seed = int(seed)

    @property
    def compat(self) -> str | None:
        """None for the right flow, "qlib" for Qlib's: the exchange's, unless a subclass says otherwise."""
        return self.trade_exchange.compat

    def generate_trade_decision(self, execute_result: list[Any] | None = None) -> BaseTradeDecision:  # noqa: ARG002
        """Return sells, then buys."""
        calendar, exchange = self.trade_calendar, self.trade_exchange
        step = calendar.get_trade_step()
        scores = self.signal.get_scores(*calendar.get_step_time(step, shift=1))
        if scores is None:
            return TradeDecisionWO([], self)
        start, end = first_bar(exchange, *calendar.get_step_time(step))
        held = self.trade_position.get_stock_list()
        tradable = open_names(exchange, start, end, None) if self.only_tradable else None
        sells, buys = self._choose(_ranking(scores, held), held, tradable)
        after = _copy_for(self.trade_position, sells)
        orders = self._sell([name for name in held if name in sells], after, start, end)
        if self.compat == "qlib":
            cash = max(after.get_cash(include_settle=True), 0.0)  # Qlib's lots may have spent a little too much
            money = cash * self.get_risk_degree(step) / len(buys) if buys else 0.0
        else:
            kept = [name for name in held if name not in sells or after.check_stock(name)]
            slots = max(self.topk - len(kept), 0)
            buys = buys[:slots]
            money = self._money_per_slot(after, kept, slots, start, end) if buys else 0.0
        orders += self._buy(buys, money, start, end)
        return self._decide(orders, step)

    def _decide(self, orders: list[Order], step: int) -> TradeDecisionWO:
        """Return the decision; its orders are valid during the whole step."""
        start, end = self.trade_calendar.get_step_time(step)
        for order in orders:
            order.start_time, order.end_time = start, end
        return TradeDecisionWO(orders, self)

    def _choose(
        self, ranking: Ranking, held: list[str], tradable: Callable[[str], bool] | None
    ) -> tuple[set[str], list[str]]:
        """Return (names to sell, names to buy, best first); `tradable` None: choose without asking."""
        qlib = self.compat == "qlib"
        room = self.n_drop + self.topk - len(held)
        if not qlib:
            room = max(room, 0)
        if self.method_buy == "top":
            new = _first(ranking.others(room if tradable is None else 0), room, tradable)
        else:
            best = [name for name in _first(ranking.all(), self.topk, tradable) if name not in ranking.held]
            new = self._pick(best, min(max(room, 0), len(best)))
        if self.method_sell == "bottom":
            together = ranking.sort(held, new)
            worst = _first(reversed(together), self.n_drop, tradable)
            if qlib and self.n_drop == 0 and tradable is None:
                worst = together
            sells = ranking.held.intersection(worst)
        else:
            able = [name for name in ranking.sort(held, []) if tradable is None or tradable(name)]
            sells = set(self._pick(able, min(self.n_drop, len(able))))
        if qlib:
            new = new[: len(sells) + self.topk - len(held)]  # a negative number leaves out that many at the end
        return sells, new

    def _pick(self, names: list[str], count: int) -> list[str]:
        """Return `count` of the names at random."""
        if not count:
            return []
        if self.compat == "qlib":
            return [str(name) for name in np.random.choice(names, count, replace=False)]
        start, _ = self.trade_calendar.get_step_time()
        chosen = np.random.default_rng((self.seed, abs(start.value))).choice(len(names), count, replace=False)
        return [names[i] for i in chosen.tolist()]

    def _sell(self, sells: list[str], after: BasePosition, start: pd.Timestamp, end: pd.Timestamp) -> list[Order]:
        """Return the sell orders; `after` becomes the position after them, as far as the first bar fills them."""
        exchange, bar = self.trade_exchange, self.trade_calendar.get_freq()
        tradable = open_names(exchange, start, end, None if self.forbid_all_trade_at_limit else Order.SELL)
        orders = []
        for name in filter(tradable, sells):
            if after.get_stock_count(name, bar=bar) < self.hold_thresh:  # type: ignore[attr-defined]
                continue
            orders.append(Order(name, after.get_stock_amount(name), Order.SELL, start, end))
            if not sell_all(exchange, orders[-1], after):
                exchange.deal_order(copy.copy(orders[-1]), position=after)
        return orders

    def _money_per_slot(
        self, after: BasePosition, kept: list[str], slots: int, start: pd.Timestamp, end: pd.Timestamp
    ) -> float:
        """Return the money for each open slot: account value x risk degree less what is kept, in equal parts."""
        step = self.trade_calendar.get_trade_step()
        degree = self.get_risk_degree(step)
        if not degree >= 0:
            raise ConfigError(f"get_risk_degree({step}) returned {degree!r}; a share of at least 0 is allowed")
        value = sum(holding_values(self.trade_exchange, after, kept, start, end))
        cash = after.get_cash(include_settle=True)
        most = cash / (1 + self.trade_exchange.open_cost)  # so that the last one is no smaller for want of the fees
        return max(min((cash + value) * degree - value, most), 0.0) / slots

    def _buy(self, buys: list[str], money: float, start: pd.Timestamp, end: pd.Timestamp) -> list[Order]:
        """Return the buy orders, equal in value before rounding."""
        exchange = self.trade_exchange
        tradable = open_names(exchange, start, end, None if self.forbid_all_trade_at_limit else Order.BUY)
        terms = buying_terms(exchange, start, end)
        empty = self.compat == "qlib"  # orders of nothing, too
        orders = []
        for name in filter(tradable, buys):
            price, factor = terms(name)
            amount = exchange.round_amount_by_trade_unit(money / price, factor)
            if amount > 0 or empty:
                orders.append(Order(name, amount, Order.BUY, start, end))
        return orders


def _copy_for(position: BasePosition, sold: Iterable[str]) -> BasePosition:
    """Return a copy in which the names to be sold, and the cash, may change."""
    if type(position) is not Position:
        return copy.deepcopy(position)
    other = Position.__new__(Position)
    other.__dict__.update(position.__dict__)
    other.position = dict(position.position)
    for name in sold:
        other.position[name] = dict(other.position[name])
    return other


def _ranking(scores: Scores, held: list[str]) -> Ranking:
    column = scores.column if type(scores.column) is dict else dict(scores.column)
    return Ranking(scores.names, column, scores.values, held)


def _first(names: Iterable[str], count: int, tradable: Callable[[str], bool] | None) -> list[str]:
    """Return the first `count` tradable names; a negative count leaves out that many at the end (Qlib's slice)."""
    able = names if tradable is None else filter(tradable, names)
    return list(able)[:count] if count < 0 else list(islice(able, count))


class WeightStrategyBase(BaseSignalStrategy):
    """A strategy that says target weights.

    Parameters
    ----------
    order_generator_cls_or_obj
        What turns weights into orders: a class of `order_generator`, or an object of one.
    """

    def __init__(
        self,
        *,
        order_generator_cls_or_obj: type[OrderGenerator] | OrderGenerator = OrderGenWOInteract,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        given = order_generator_cls_or_obj
        self.order_generator: OrderGenerator = given() if isinstance(given, type) else given

    @abstractmethod
    def generate_target_weight_position(
        self,
        score: pd.Series | pd.DataFrame,
        current: Any,
        trade_start_time: pd.Timestamp,
        trade_end_time: pd.Timestamp,
    ) -> dict[str, float] | None:
        """Return the weight of each name to hold (of the invested money, cash apart), or None for no orders.

        `score` is by instrument; `current` a copy of the position.
        """
        raise NotImplementedError

    def generate_trade_decision(self, execute_result: list[Any] | None = None) -> BaseTradeDecision:  # noqa: ARG002
        """Return the orders that lead to the target weights."""
        step = self.trade_calendar.get_trade_step()
        start, end = self.trade_calendar.get_step_time(step)
        pred_start, pred_end = self.trade_calendar.get_step_time(step, shift=1)
        score = self.signal.get_signal(start_time=pred_start, end_time=pred_end)
        if score is None:
            return TradeDecisionWO([], self)
        current = copy.deepcopy(self.trade_position)
        target = self.generate_target_weight_position(
            score=score, current=current, trade_start_time=start, trade_end_time=end
        )
        orders = self.order_generator.generate_order_list_from_target_weight_position(
            current=current,
            trade_exchange=self.trade_exchange,
            target_weight_position=target,
            risk_degree=self.get_risk_degree(step),
            pred_start_time=pred_start,
            pred_end_time=pred_end,
            trade_start_time=start,
            trade_end_time=end,
        )
        return TradeDecisionWO(orders, self)


def __getattr__(name: str) -> Any:
    """Return EnhancedIndexingStrategy, which has a room of its own, at Qlib's path."""
    if name == "EnhancedIndexingStrategy":
        from qlib.contrib.strategy.enhanced_indexing import EnhancedIndexingStrategy  # noqa: PLC0415  built on this

        return EnhancedIndexingStrategy
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
