"""Compiled passes over arrays: columns whose rows stand date after date, and windows of rows that stand in time."""

from qlib.data.dataset.kernels.dates import fill_mean, medians, moments, rank, robust, zscore
from qlib.data.dataset.kernels.windows import Windows

__all__ = ["Windows", "fill_mean", "medians", "moments", "rank", "robust", "zscore"]
