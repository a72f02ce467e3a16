"""Portfolio optimizers at Qlib's path."""

from qlib.contrib.strategy.optimizer.base import BaseOptimizer
from qlib.contrib.strategy.optimizer.enhanced_indexing import EnhancedIndexingOptimizer
from qlib.contrib.strategy.optimizer.optimizer import PortfolioOptimizer

__all__ = ["BaseOptimizer", "EnhancedIndexingOptimizer", "PortfolioOptimizer"]
