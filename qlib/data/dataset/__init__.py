"""Qlib's path for datasets; they live in `dataset` and `sampler`."""

from qlib.data.dataset.dataset import Dataset, DatasetH
from qlib.data.dataset.sampler import TSDataSampler, TSDatasetH

__all__ = ["Dataset", "DatasetH", "TSDataSampler", "TSDatasetH"]
