"""Compiled passes over one column whose rows stand date after date: arrays only."""

from qlib.data.dataset.kernels.dates import fill_mean, medians, moments, rank, robust, zscore

__all__ = ["fill_mean", "medians", "moments", "rank", "robust", "zscore"]
