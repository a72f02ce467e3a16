"""The report of a backtest: one row per step.

    account         total value at the step's close             value       of which holdings
    return          (earning + cost) / value before: gross      cash        of which cash
    turnover        value traded in the step / value before     total_turnover   in money, since the start
    cost            cost of the step / value before             total_cost       in money, since the start
    bench           return of the benchmark in the step

    net return = return - cost          excess return = return - bench [- cost]

Without a benchmark `bench` is 0.0 in every row and `report.attrs["benchmark"]` is None, so an excess return is then the
return itself.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from qlib.backtest.indicator import Indicator
from qlib.data.provider import active_provider
from qlib.errors import ConfigError, InputError, MissingDataError, did_you_mean
from qlib.log import get_module_logger
from qlib.utils.time import Freq

__all__ = ["Indicator", "PortfolioMetrics"]

COLUMNS = ("account", "return", "total_turnover", "turnover", "total_cost", "cost", "value", "cash", "bench")
WIDTH = len(COLUMNS)
FALLBACK = ("day", "1min")
RETURN = "$close/Ref($close,1)-1"
logger = get_module_logger("report")


class PortfolioMetrics:
    """Rows of the report, and the benchmark's returns.

    Parameters
    ----------
    freq
        Bar size of the rows.
    benchmark_config
        `{"benchmark": ..., "start_time": ..., "end_time": ...}`. The benchmark is an instrument, several of them (their
        mean return counts), a ready Series of returns per bar, or None for no benchmark. It is read on first use.
    provider
        Where the benchmark's prices come from; None means the session's.
    """

    def __init__(self, freq: str = "day", benchmark_config: Mapping[str, Any] = {}, *, provider: Any = None) -> None:
        self.provider = provider
        self.init_vars()
        self.init_bench(freq=freq, benchmark_config=benchmark_config)

    def init_vars(self) -> None:
        """Forget every row."""
        self._rows = array("d")  # COLUMNS of the first row, of the second, ...
        self._times: list[pd.Timestamp] = []
        self.latest_pm_time: pd.Timestamp | None = None
        self._missing = 0

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_rows": np.array(self._rows)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._rows = array("d", np.asarray(state["_rows"], dtype=np.float64).ravel().tolist())

    def init_bench(self, freq: str | None = None, benchmark_config: Mapping[str, Any] | None = None) -> None:
        """Change bar size or benchmark."""
        if freq is not None:
            self.freq = freq
        if benchmark_config is not None:
            self.benchmark_config = benchmark_config
        self._bench: pd.Series | None = None
        self._bench_read = False

    @property
    def bench(self) -> pd.Series | None:
        """Returns of the benchmark by time; None without a benchmark. Raises MissingDataError for an unknown one."""
        self.load_benchmark()
        return self._bench

    def load_benchmark(self) -> None:
        """Read the benchmark, once. Raises MissingDataError for an unknown one: ask before the run, not during it."""
        if self._bench_read:
            return
        self._bench = self._read_bench()
        self._bench_read = True
        if self._bench is not None:
            times = pd.DatetimeIndex(self._bench.index).to_numpy().astype("datetime64[ns]")
            self._ticks: list[int] = times.astype(np.int64).tolist()
            self._growth = (1 + self._bench.to_numpy(dtype=np.float64)).tolist()

    def _read_bench(self) -> pd.Series | None:
        benchmark = self.benchmark_config.get("benchmark")
        if benchmark is None:
            return None
        if isinstance(benchmark, pd.Series):
            if not isinstance(benchmark.index, pd.DatetimeIndex):
                raise ConfigError(
                    f"benchmark: the Series of returns has an index of {benchmark.index.dtype}; one of times is needed"
                )
            return benchmark.sort_index().fillna(0.0)
        if not isinstance(benchmark, str | Sequence | Mapping) or not len(benchmark):
            raise ConfigError(
                f"benchmark: received {benchmark!r}; allowed are an instrument, several of them, a Series of returns "
                "and None for no benchmark"
            )
        codes = [benchmark] if isinstance(benchmark, str) else list(benchmark)
        start, end = self.benchmark_config.get("start_time"), self.benchmark_config.get("end_time")
        provider = active_provider() if self.provider is None else self.provider
        freq = self._freq_of(provider, codes)
        returns = provider.features(codes, [RETURN], start, end, freq=freq).iloc[:, 0]
        if not len(returns):
            raise MissingDataError(f"benchmark {', '.join(codes)}: no {freq} close from {start} to {end}")
        return returns.groupby(level="datetime").mean().astype(np.float64).fillna(0.0).rename(RETURN)

    def _freq_of(self, provider: Any, codes: Sequence[str]) -> str:
        """Bar size in which every one of the instruments is stored: that of the report, else day, else 1min."""
        asked = str(Freq(self.freq))
        for freq in dict.fromkeys((asked, *FALLBACK)):
            stored = freq in {str(Freq(name)) for name in provider.stored_freqs()}
            if stored and all("close" in provider.stored_fields(code, freq) for code in codes):
                return freq
        unknown = codes[0]
        names: list[str] = []
        for freq in dict.fromkeys((asked, *FALLBACK)):
            if freq in {str(Freq(name)) for name in provider.stored_freqs()}:
                absent = [code for code in codes if "close" not in provider.stored_fields(code, freq)]
                unknown = absent[0] if absent else unknown
                names = provider.list_instruments(provider.instruments("all"), freq=freq, as_list=True)
                break
        raise MissingDataError(
            f"benchmark {unknown}: the data hold no close of it at {asked}, day or 1min{did_you_mean(unknown, names)}; "
            "benchmark=None runs without one"
        )

    def _bench_return(self, start: pd.Timestamp, end: pd.Timestamp) -> float:
        if not self._bench_read:
            self.load_benchmark()
        if self._bench is None:
            return 0.0
        lo = bisect_left(self._ticks, start.value)
        hi = bisect_right(self._ticks, end.value, lo)
        if lo == hi:
            self._missing += 1
            return 0.0
        return (self._growth[lo] if hi - lo == 1 else math.prod(self._growth[lo:hi])) - 1

    # ---------------------------------------------------------------------------------------------------- questions
    def is_empty(self) -> bool:
        return not self._times

    def get_latest_date(self) -> pd.Timestamp | None:
        return self.latest_pm_time

    def get_latest_account_value(self) -> float:
        return self._rows[-WIDTH]

    def get_latest_total_turnover(self) -> float:
        return self._rows[-WIDTH + 2]

    def get_latest_total_cost(self) -> float:
        return self._rows[-WIDTH + 4]

    def update_portfolio_metrics_record(
        self,
        trade_start_time: str | pd.Timestamp | None = None,
        trade_end_time: str | pd.Timestamp | None = None,
        account_value: float | None = None,
        cash: float | None = None,
        return_rate: float | None = None,
        total_turnover: float | None = None,
        turnover_rate: float | None = None,
        total_cost: float | None = None,
        cost_rate: float | None = None,
        stock_value: float | None = None,
        bench_value: float | None = None,
    ) -> None:
        """Add a row; without `bench_value` the benchmark's return from start to end is taken."""
        given = {
            "trade_start_time": trade_start_time,
            "account_value": account_value,
            "cash": cash,
            "return_rate": return_rate,
            "total_turnover": total_turnover,
            "turnover_rate": turnover_rate,
            "total_cost": total_cost,
            "cost_rate": cost_rate,
            "stock_value": stock_value,
        }
        absent = [name for name, value in given.items() if value is None]
        if absent or (trade_end_time is None and bench_value is None):
            absent += ["trade_end_time (or bench_value)"] * (trade_end_time is None and bench_value is None)
            raise InputError(f"a row of the report needs {', '.join(absent)}")
        time = pd.Timestamp(trade_start_time)  # type: ignore[arg-type]
        if bench_value is None:
            bench_value = self._bench_return(time, pd.Timestamp(trade_end_time))  # type: ignore[arg-type]
        self._add(
            time,
            account_value,  # type: ignore[arg-type]
            return_rate,  # type: ignore[arg-type]
            total_turnover,  # type: ignore[arg-type]
            turnover_rate,  # type: ignore[arg-type]
            total_cost,  # type: ignore[arg-type]
            cost_rate,  # type: ignore[arg-type]
            stock_value,  # type: ignore[arg-type]
            cash,  # type: ignore[arg-type]
            bench_value,
        )

    def _add(self, time: pd.Timestamp, *row: float) -> None:
        self._rows.extend(row)
        self._times.append(time)
        self.latest_pm_time = time

    def add_step(
        self,
        start: pd.Timestamp,
        end: pd.Timestamp,
        *,
        last_value: float,
        value: float,
        stock_value: float,
        cash: float,
        turnover: float,
        cost: float,
    ) -> None:
        """Add the row of a step from money: values at its end, the value before it, turnover and cost so far."""
        first = not self._times
        spent = cost if first else cost - self._rows[-WIDTH + 4]
        traded = turnover if first else turnover - self._rows[-WIDTH + 2]
        earned = value - last_value
        base = last_value or math.inf  # an account that has lost everything earns nothing more
        self._add(
            start, value, (earned + spent) / base, turnover, traded / base, cost, spent / base,
            stock_value, cash, self._bench_return(start, end),
        )  # fmt: skip

    def generate_portfolio_metrics_dataframe(self) -> pd.DataFrame:
        """Return the report; its index is named `datetime`."""
        if self._missing:
            logger.warning(f"the benchmark has no bar in {self._missing} of {len(self._times)} steps: 0 is used there")
        frame = pd.DataFrame(
            np.array(self._rows, dtype=np.float64).reshape(-1, len(COLUMNS)),
            index=pd.DatetimeIndex(self._times, name="datetime").as_unit("ns"),
            columns=list(COLUMNS),
        )
        frame.attrs["benchmark"] = self._bench_name()
        return frame

    def _bench_name(self) -> str | None:
        benchmark = self.benchmark_config.get("benchmark")
        if benchmark is None or isinstance(benchmark, str):
            return benchmark
        return "a series of returns" if isinstance(benchmark, pd.Series) else f"mean of {', '.join(benchmark)}"

    def save_portfolio_metrics(self, path: str | Path) -> None:
        """Write the report as CSV."""
        self.generate_portfolio_metrics_dataframe().to_csv(path)

    def load_portfolio_metrics(self, path: str | Path) -> None:
        """Replace the rows by those of a CSV that `save_portfolio_metrics` wrote.

        Raises InputError naming the columns that are missing.
        """
        frame = pd.read_csv(path, index_col=0, parse_dates=True)
        absent = [name for name in COLUMNS if name not in frame.columns]
        if absent or not isinstance(frame.index, pd.DatetimeIndex):
            raise InputError(f"{path} is not a report: it lacks {', '.join(absent) or 'an index of times'}")
        self.init_vars()
        for row in frame[list(COLUMNS)].itertuples():
            self._add(pd.Timestamp(row[0]), *(float(value) for value in row[1:]))
