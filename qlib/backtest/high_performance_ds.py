"""Quotes and numbers of orders, at Qlib's path.

    NumpyQuote, PandasQuote, BaseQuote        the arrays of quote.py
    PandasSingleMetric                        one number per instrument, with arithmetic by name
    NumpyOrderIndicator, PandasOrderIndicator several such numbers for the orders of a step: arrays, in both

>>> orders = NumpyOrderIndicator()
>>> orders.assign("amount", {"A": 10.0, "B": -4.0})
>>> orders.assign("deal_amount", {"A": 5.0, "B": -4.0})
>>> orders.transfer(lambda deal_amount, amount: deal_amount / amount, "ffr")
>>> orders.get_metric_series("ffr").to_dict()
{'A': 0.5, 'B': 1.0}
"""

from __future__ import annotations

import inspect
import numbers
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from qlib.backtest.quote import BaseQuote, NumpyQuote, PandasQuote
from qlib.errors import InputError, MissingDataError, did_you_mean

__all__ = [
    "BaseOrderIndicator",
    "BaseQuote",
    "BaseSingleMetric",
    "NumpyOrderIndicator",
    "NumpyQuote",
    "PandasOrderIndicator",
    "PandasQuote",
    "PandasSingleMetric",
    "SingleMetric",
]

Array = np.ndarray[Any, np.dtype[np.float64]]


class BaseSingleMetric:
    """One number per instrument: what arithmetic and summaries there are. A subclass says how."""

    def __init__(self, metric: Any) -> None:
        raise NotImplementedError(f"{type(self).__name__} does not say how it keeps its numbers")

    def __add__(self, other: Any) -> Any:
        raise NotImplementedError

    def __radd__(self, other: Any) -> Any:
        return self + other

    def __sub__(self, other: Any) -> Any:
        raise NotImplementedError

    def __rsub__(self, other: Any) -> Any:
        raise NotImplementedError

    def __mul__(self, other: Any) -> Any:
        raise NotImplementedError

    def __truediv__(self, other: Any) -> Any:
        raise NotImplementedError

    def __eq__(self, other: object) -> Any:
        raise NotImplementedError

    def __gt__(self, other: Any) -> Any:
        raise NotImplementedError

    def __lt__(self, other: Any) -> Any:
        raise NotImplementedError

    def __len__(self) -> int:
        raise NotImplementedError

    __hash__ = None  # type: ignore[assignment]  # `==` answers per instrument, so there is nothing to hash

    def sum(self) -> float:
        """Return the sum of the numbers."""
        raise NotImplementedError

    def mean(self) -> float:
        """Return the mean of the numbers."""
        raise NotImplementedError

    def count(self) -> int:
        """Return how many numbers there are, missing ones left out."""
        raise NotImplementedError

    def abs(self) -> Any:
        """Return the sizes without signs."""
        raise NotImplementedError

    def add(self, other: Any, fill_value: float | None = None) -> Any:
        """Return the sum by instrument; `fill_value` stands for what one of the two lacks."""
        raise NotImplementedError

    def replace(self, replace_dict: Mapping[Any, Any]) -> Any:
        """Return the metric with some values exchanged for others."""
        raise NotImplementedError

    def apply(self, func: Callable[[Any], Any]) -> Any:
        """Return the metric of `func` of each number."""
        raise NotImplementedError

    @property
    def empty(self) -> bool:
        """True without any instrument."""
        raise NotImplementedError


class SingleMetric(BaseSingleMetric):
    """Arithmetic with numbers and with metrics of the same class, by what `metric` can do."""

    def __init__(self, metric: Any) -> None:
        self.metric = metric

    def _with(self, other: Any, calculate: Callable[[Any, Any], Any]) -> Any:
        if isinstance(other, numbers.Number):
            return type(self)(calculate(self.metric, other))
        if isinstance(other, type(self)):
            return type(self)(calculate(self.metric, other.metric))
        return NotImplemented

    def __add__(self, other: Any) -> Any:
        return self._with(other, operator.add)

    def __sub__(self, other: Any) -> Any:
        return self._with(other, operator.sub)

    def __rsub__(self, other: Any) -> Any:
        return self._with(other, lambda mine, its: its - mine)

    def __mul__(self, other: Any) -> Any:
        return self._with(other, operator.mul)

    def __truediv__(self, other: Any) -> Any:
        return self._with(other, operator.truediv)

    def __eq__(self, other: object) -> Any:
        return self._with(other, operator.eq)

    def __gt__(self, other: Any) -> Any:
        return self._with(other, operator.gt)

    def __lt__(self, other: Any) -> Any:
        return self._with(other, operator.lt)

    def __len__(self) -> int:
        return len(self.metric)

    __hash__ = None


class PandasSingleMetric(SingleMetric):
    """One number per instrument, kept as a Series.

    Two metrics are added by name, an instrument that one of them lacks being missing in the result; compared are only
    metrics of the same instruments. Missing numbers are left out of sums, means and counts.

    Parameters
    ----------
    metric
        A dict or a Series by instrument.

    >>> PandasSingleMetric({"A": 1.0, "B": 2.0}) + PandasSingleMetric({"B": 3.0, "A": 1.0})
    A    2.0
    B    5.0
    dtype: float64
    """

    def __init__(self, metric: Mapping[str, float] | pd.Series = {}) -> None:
        if isinstance(metric, Mapping):
            metric = pd.Series(dict(metric), dtype=None if metric else np.float64)
        if not isinstance(metric, pd.Series):
            raise InputError(f"metric: received {type(metric).__name__}; a dict or a Series by instrument is needed")
        super().__init__(metric)

    def sum(self) -> float:
        return float(self.metric.sum())

    def mean(self) -> float:
        return float(self.metric.mean())

    def count(self) -> int:
        return int(self.metric.count())

    def abs(self) -> PandasSingleMetric:
        return type(self)(self.metric.abs())

    def add(self, other: PandasSingleMetric, fill_value: float | None = None) -> PandasSingleMetric:
        return type(self)(self.metric.add(other.metric, fill_value=fill_value))

    def replace(self, replace_dict: Mapping[Any, Any]) -> PandasSingleMetric:
        return type(self)(self.metric.replace(dict(replace_dict)))

    def apply(self, func: Callable[[Any], Any]) -> PandasSingleMetric:
        return type(self)(self.metric.apply(func))

    def reindex(self, index: Iterable[str], fill_value: float) -> PandasSingleMetric:
        """Return the metric of these instruments, in their order; new ones have `fill_value`."""
        return type(self)(self.metric.reindex(list(index), fill_value=fill_value))

    @property
    def empty(self) -> bool:
        return bool(self.metric.empty)

    @property
    def index(self) -> list[str]:
        """The instruments."""
        return list(self.metric.index)

    def __repr__(self) -> str:
        return repr(self.metric)


class BaseOrderIndicator:
    """Numbers of the orders of one step, by name of the metric. A subclass says how they are kept."""

    def __init__(self) -> None:
        self.data: Any = {}

    def assign(self, col: str, metric: Any) -> None:
        """Set a metric."""
        raise NotImplementedError

    def transfer(self, func: Callable[..., Any], new_col: str | None = None) -> Any:
        """Call `func` with the metrics that its parameters name; keep the result as `new_col`, or return it."""
        names = inspect.signature(func).parameters
        absent = [name for name in names if name not in self.data]
        if absent:
            raise MissingDataError(
                f"transfer: there is no metric {absent[0]}; there are {', '.join(self.data) or 'none'}"
                f"{did_you_mean(absent[0], self.data)}"
            )
        result = func(**{name: self.get_index_data(name) for name in names})
        if new_col is None:
            return result
        self.assign(new_col, result.metric.to_dict() if isinstance(result, PandasSingleMetric) else result)
        return None

    def get_metric_series(self, metric: str) -> pd.Series:
        """Return one metric by instrument; an empty Series for an unknown one."""
        raise NotImplementedError

    def get_index_data(self, metric: str) -> PandasSingleMetric:
        """Return one metric to calculate with; an empty one for an unknown name."""
        return PandasSingleMetric(self.get_metric_series(metric))

    @staticmethod
    def sum_all_indicators(
        order_indicator: BaseOrderIndicator,
        indicators: Sequence[BaseOrderIndicator],
        metrics: str | Sequence[str],
        fill_value: float = 0,
    ) -> None:
        """Set the metrics of `order_indicator` to their sums over `indicators`, instrument by instrument.

        What an indicator lacks, or has no number for, counts `fill_value`.
        """
        raise NotImplementedError

    def to_series(self) -> dict[str, pd.Series]:
        """Return every metric by instrument."""
        return {metric: self.get_metric_series(metric) for metric in self.data}


class NumpyOrderIndicator(BaseOrderIndicator):
    """Numbers of the orders of one step: `data[metric]` is an array, one number per entry of `instruments`.

    An instrument may stand there several times: once for each of its orders.
    """

    def __init__(self, instruments: Sequence[str] = (), data: Mapping[str, Array] | None = None) -> None:
        self.instruments = tuple(instruments)
        self.data: dict[str, Array] = dict(data or {})

    def assign(self, col: str, metric: Mapping[str, float] | pd.Series | Array) -> None:
        """Set a metric from an array, or by instrument: NaN where it has none; new instruments are NaN elsewhere."""
        if isinstance(metric, Mapping | pd.Series):
            known, names = set(self.instruments), list(metric.keys())  # iterating a Series gives its values
            new = tuple(name for name in names if name not in known)
            if new:
                self.instruments += new
                gap = np.full(len(new), np.nan)
                self.data = {name: np.concatenate([values, gap]) for name, values in self.data.items()}
            self.data[col] = np.array([metric.get(name, np.nan) for name in self.instruments], dtype=np.float64)
            return
        if len(metric) != len(self.instruments):
            raise InputError(f"{col}: received {len(metric)} numbers for {len(self.instruments)} orders")
        self.data[col] = metric

    def get_metric_series(self, metric: str) -> pd.Series:
        if metric not in self.data:
            return pd.Series(dtype=np.float64)
        return pd.Series(self.data[metric], index=pd.Index(self.instruments), name=metric)

    @staticmethod
    def sum_all_indicators(
        order_indicator: BaseOrderIndicator,
        indicators: Sequence[BaseOrderIndicator],
        metrics: str | Sequence[str],
        fill_value: float = 0,
    ) -> None:
        for metric in [metrics] if isinstance(metrics, str) else metrics:
            parts = []
            for indicator in indicators:
                if metric not in indicator.data:
                    raise MissingDataError(
                        f"sum_all_indicators: one has no metric {metric}; it has "
                        f"{', '.join(indicator.data) or 'none'}{did_you_mean(metric, indicator.data)}"
                    )
                # orders of one instrument in one step are one number of it
                part = indicator.get_metric_series(metric)
                parts.append(part.fillna(fill_value).groupby(level=0, sort=False).sum())
            names = list(dict.fromkeys(name for part in parts for name in part.index))
            total = sum(part.reindex(names, fill_value=fill_value).to_numpy() for part in parts)
            order_indicator.assign(metric, dict(zip(names, np.asarray(total).tolist(), strict=True)) if names else {})

    def __repr__(self) -> str:
        return f"OrderIndicator({len(self.instruments)} orders: {', '.join(self.data)})"


class PandasOrderIndicator(NumpyOrderIndicator):
    """Qlib's other name for the same numbers."""
