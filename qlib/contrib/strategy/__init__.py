"""Strategies at Qlib's path."""

from qlib.contrib.strategy.cost_control import SoftTopkStrategy
from qlib.contrib.strategy.enhanced_indexing import EnhancedIndexingStrategy
from qlib.contrib.strategy.rule_strategy import SBBStrategyBase, SBBStrategyEMA, TWAPStrategy
from qlib.contrib.strategy.signal_strategy import TopkDropoutStrategy, WeightStrategyBase

__all__ = [
    "EnhancedIndexingStrategy",
    "SBBStrategyBase",
    "SBBStrategyEMA",
    "SoftTopkStrategy",
    "TWAPStrategy",
    "TopkDropoutStrategy",
    "WeightStrategyBase",
]
