"""The strategy that follows a benchmark, a little better.

bar before the step    scores, risk model in files, benchmark weights, who was traded
step                   weights of EnhancedIndexingOptimizer over them, orders by the order generator
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from qlib.contrib.strategy.optimizer import EnhancedIndexingOptimizer
from qlib.contrib.strategy.risk_data import NAMES, RiskData, file_names, read_risk_data
from qlib.contrib.strategy.signal_strategy import WeightStrategyBase
from qlib.errors import ConfigError, MissingDataError
from qlib.log import get_module_logger

logger = get_module_logger("EnhancedIndexingStrategy")


class EnhancedIndexingStrategy(WeightStrategyBase):
    """Follow a benchmark, a little better: weights of `EnhancedIndexingOptimizer` over a risk model in files.

    Everything is known at the bar before the step: scores, risk model, benchmark weights and who was traded. Names
    without volume are held, names on the blacklist sold. A day without a risk model makes no orders.

    Parameters
    ----------
    riskmodel_root
        Folder with a folder YYYYMMDD per day; see `qlib.contrib.strategy.risk_data`.
    market
        Benchmark: its weights are the field `$<market>_weight`.
    turn_limit
        Most turnover of a step; None leaves it to `optimizer_kwargs["delta"]`.
    name_mapping
        Other file names, by the keys factor_exp, factor_cov, specific_risk, blacklist.
    optimizer_kwargs
        For the optimizer.
    verbose
        Log what the optimizer did.
    """

    FACTOR_EXP_NAME = NAMES["factor_exp"]
    FACTOR_COV_NAME = NAMES["factor_cov"]
    SPECIFIC_RISK_NAME = NAMES["specific_risk"]
    BLACKLIST_NAME = NAMES["blacklist"]

    def __init__(
        self,
        *,
        riskmodel_root: str | Path,
        market: str = "csi500",
        turn_limit: float | None = None,
        name_mapping: Mapping[str, str] = {},
        optimizer_kwargs: Mapping[str, Any] = {},
        verbose: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.riskmodel_root = Path(riskmodel_root).expanduser()
        if not self.riskmodel_root.is_dir():
            raise ConfigError(f"riskmodel_root: {self.riskmodel_root} is no folder")
        self.market = market
        self.turn_limit = turn_limit
        self.names = file_names(name_mapping)
        self.verbose = verbose
        limit = {} if turn_limit is None else {"delta": turn_limit}
        self.optimizer = EnhancedIndexingOptimizer(**{**optimizer_kwargs, **limit})
        self._newest: tuple[pd.Timestamp, RiskData | None] | None = None

    def get_risk_data(self, date: pd.Timestamp) -> RiskData | None:
        """Return the risk model of a day, or None where there is none; the newest is kept."""
        if self._newest is None or self._newest[0] != date:
            self._newest = date, read_risk_data(self.riskmodel_root / f"{date:%Y%m%d}", self.names)
        return self._newest[1]

    def generate_target_weight_position(
        self,
        score: pd.Series | pd.DataFrame,
        current: Any,
        trade_start_time: pd.Timestamp,
        trade_end_time: pd.Timestamp,  # noqa: ARG002
    ) -> dict[str, float] | None:
        """Return the weights above 0, or None without a risk model of the bar before."""
        date = self.trade_calendar.get_step_time(shift=1)[0]
        risk = self.get_risk_data(date)
        if risk is None:
            logger.warning(
                f"no risk model of {date:%Y-%m-%d} in {self.riskmodel_root}: no orders at {trade_start_time}"
            )
            return None
        universe = pd.Index(risk.universe)
        scores = (score.iloc[:, 0] if isinstance(score, pd.DataFrame) else score).reindex(universe)
        if scores.isna().all():
            raise MissingDataError(
                f"none of the {len(universe)} names of the risk model of {date:%Y-%m-%d} has a score"
            )
        field = f"${self.market}_weight"
        exchange = self.trade_exchange
        panel, _ = exchange.provider.panel(list(universe), [field, "$volume"], date, date, exchange.freq)
        known = pd.DataFrame(panel.columns, index=np.repeat(panel.instruments, np.diff(panel.start))).reindex(universe)
        benchmark = known[field].fillna(0.0).to_numpy(np.float64)
        if not benchmark.sum() > 0:
            raise MissingDataError(f"the store has no {field} on {date:%Y-%m-%d}: the benchmark's weights are needed")
        held = pd.Series(current.get_stock_weight_dict(only_stock=False), dtype=float).reindex(universe).fillna(0.0)
        now = held.to_numpy(np.float64) / self.get_risk_degree(self.trade_calendar.get_trade_step())
        weights = self.optimizer(
            r=scores.fillna(scores.min()).to_numpy(np.float64),
            F=risk.factor_exp,
            cov_b=risk.factor_cov,
            var_u=risk.specific_risk**2,
            w0=now,
            wb=benchmark / benchmark.sum(),
            mfh=~(known["$volume"] > 0).to_numpy(),
            mfs=universe.isin(risk.blacklist),
        )
        if self.verbose:
            moved = float(np.abs(weights - now).sum())
            logger.info(f"{trade_start_time}: {int((weights > 0).sum())} names, turnover {moved:.4f}")
        return {name: weight for name, weight in zip(risk.universe, weights.tolist(), strict=True) if weight > 0}
