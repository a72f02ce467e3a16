"""A softer top k: weights move towards the ideal by at most a limit a step, which bounds turnover.

backtest(..., strategy=SoftTopkStrategy(signal=scores, topk=50, max_sold_weight=0.01), ...)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd

from qlib.contrib.strategy.deciding import first_bar, holding_values, open_names
from qlib.contrib.strategy.order_generator import OrderGenerator, OrderGenWInteract
from qlib.contrib.strategy.signal_strategy import WeightStrategyBase
from qlib.errors import ConfigError

DUST = 1e-8  # a weight at or below this is none


class SoftTopkStrategy(WeightStrategyBase):
    """Move towards equal weights in the k best names, no name by more than a limit a step.

    Parameters
    ----------
    model, dataset
        The signal, in Qlib's older way; `signal=` goes to the base class.
    topk
        Number of names to hold.
    max_sold_weight, trade_impact_limit
        Most weight a name may lose or gain in a step; `trade_impact_limit` wins where both are given.
    risk_degree
        Share of the money to invest.
    buy_method
        Qlib's argument; every missing weight is filled pro rata.

    Weights are shares of the account's value at the prices of the step's first bar, ideally risk degree / k each. A
    name that cannot be traded keeps its weight. More than the risk degree in all is scaled down to it.

    Under compat="qlib", as in Qlib, weights are shares of the holdings alone, which makes a fully invested account look
    overweight, and the order generator stretches them to the whole budget, whatever the limit.
    """

    def __init__(
        self,
        model: Any = None,
        dataset: Any = None,
        topk: int | None = None,
        order_generator_cls_or_obj: type[OrderGenerator] | OrderGenerator = OrderGenWInteract,
        max_sold_weight: float = 1.0,
        trade_impact_limit: float | None = None,
        risk_degree: float = 0.95,
        buy_method: str = "first_fill",
        **kwargs: Any,
    ) -> None:
        super().__init__(
            model=model,
            dataset=dataset,
            order_generator_cls_or_obj=order_generator_cls_or_obj,
            risk_degree=risk_degree,
            **kwargs,
        )
        if topk is None or not topk >= 1 or topk % 1:
            raise ConfigError(f"topk: received {topk!r}; a whole number of at least 1 is needed")
        self.topk = int(topk)
        self.trade_impact_limit = max_sold_weight if trade_impact_limit is None else trade_impact_limit
        if not self.trade_impact_limit >= 0:
            name = "max_sold_weight" if trade_impact_limit is None else "trade_impact_limit"
            raise ConfigError(f"{name}: received {self.trade_impact_limit!r}; a weight of at least 0 is allowed")
        self.buy_method = buy_method

    def generate_target_weight_position(
        self,
        score: pd.Series | pd.DataFrame,
        current: Any,
        trade_start_time: pd.Timestamp,
        trade_end_time: pd.Timestamp,
        **kwargs: Any,  # noqa: ARG002
    ) -> dict[str, float]:
        """Return the weights after one step towards the ideal, of the invested money."""
        series = score.iloc[:, 0] if isinstance(score, pd.DataFrame) else score
        best = series.dropna().sort_values(ascending=False, kind="stable").head(self.topk).index.tolist()
        exchange = self.trade_exchange
        if exchange.compat == "qlib":
            return self._qlibs_weights(best, current)
        degree = self.get_risk_degree(self.trade_calendar.get_trade_step())
        now = first_bar(exchange, trade_start_time, trade_end_time)
        held = current.get_stock_list()
        values = holding_values(exchange, current, held, *now)
        account = sum(values) + current.get_cash(include_settle=True)
        if not degree > 0 or account <= 0:
            return {}
        weights = {name: value / account for name, value in zip(held, values, strict=True)}
        tradable = open_names(exchange, *now, None)
        self._step(weights, [name for name in best if tradable(name)], best, tradable, degree)
        whole = max(sum(weights.values()), degree)
        return {name: weight / whole for name, weight in weights.items() if weight > DUST}

    def _step(
        self,
        weights: dict[str, float],
        buyable: list[str],
        best: list[str],
        tradable: Callable[[str], bool],
        degree: float,
    ) -> None:
        """Move `weights` towards `degree` / k for each of the best."""
        limit, ideal, wanted = self.trade_impact_limit, degree / self.topk, set(best)
        for name, weight in weights.items():
            if tradable(name):
                weights[name] = weight - min(max(weight - (ideal if name in wanted else 0.0), 0.0), limit)
        short = {name: max(ideal - weights.get(name, 0.0), 0.0) for name in buyable}
        total, budget = sum(short.values()), degree - sum(weights.values())
        if total > 0 and budget > 0:
            share = min(budget / total, 1.0)
            for name, missing in short.items():
                weights[name] = weights.get(name, 0.0) + min(missing * share, limit)

    def _qlibs_weights(self, best: list[str], current: Any) -> dict[str, float]:
        degree = self.get_risk_degree()
        weights: dict[str, float] = dict(current.get_stock_weight_dict(only_stock=True))
        self._step(weights, best, best, lambda _: True, degree)
        return {name: weight for name, weight in weights.items() if weight > DUST}
