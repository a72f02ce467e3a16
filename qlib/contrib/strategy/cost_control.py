"""A softer top k: weights move towards the ideal by at most a limit a step, which bounds turnover."""

from __future__ import annotations

from typing import Any

import pandas as pd

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
        if topk is None or topk < 1:
            raise ConfigError(f"topk: received {topk!r}; a whole number of at least 1 is needed")
        self.topk = topk
        self.trade_impact_limit = max_sold_weight if trade_impact_limit is None else trade_impact_limit
        self.buy_method = buy_method

    def generate_target_weight_position(
        self,
        score: pd.Series | pd.DataFrame,
        current: Any,
        trade_start_time: pd.Timestamp,  # noqa: ARG002
        trade_end_time: pd.Timestamp,  # noqa: ARG002
        **kwargs: Any,  # noqa: ARG002
    ) -> dict[str, float]:
        """Return the weights after one step towards the ideal."""
        series = score.iloc[:, 0] if isinstance(score, pd.DataFrame) else score
        ideal = self.get_risk_degree() / self.topk
        best = series.dropna().sort_values(ascending=False, kind="stable").head(self.topk).index.tolist()
        limit = self.trade_impact_limit
        weights: dict[str, float] = dict(current.get_stock_weight_dict(only_stock=True))
        if not weights:
            return dict.fromkeys(best, min(ideal, limit))
        released = 0.0
        for name, weight in weights.items():
            over = weight - (ideal if name in best else 0.0)
            cut = min(max(over, 0.0), limit)
            weights[name] = weight - cut
            released += cut
        short = {name: max(ideal - weights.get(name, 0.0), 0.0) for name in best}
        total = sum(short.values())
        before = sum(weights.values()) + released
        budget = released + (self.get_risk_degree() - before)
        if total > 0 and budget > 0:
            share = min(budget / total, 1.0)
            for name, missing in short.items():
                weights[name] = weights.get(name, 0.0) + min(missing * share, limit)
        return {name: weight for name, weight in weights.items() if weight > DUST}
