"""A market in memory with the face of a Provider: quick enough for property tests."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from qlib.backtest import backtest
from qlib.backtest.decision import Order, TradeDecisionWO
from qlib.backtest.exchange import Exchange
from qlib.backtest.sweep import sweep
from qlib.config import build_settings
from qlib.data.calendar import Calendar
from qlib.data.expression.engine import evaluate
from qlib.data.expression.plan import build_plan
from qlib.data.panel import Panel
from qlib.strategy.base import BaseStrategy


class MemoryProvider:
    """Bars of `fields[name]` with shape (times, instruments); every instrument exists all the time."""

    def __init__(
        self,
        times: Any,
        names: list[str],
        fields: dict[str, np.ndarray],
        *,
        freq: str = "day",
        region: str = "us",
        compat: str | None = None,
        **settings: Any,
    ) -> None:
        self.settings = build_settings(region=region, compat=compat, logging_level=50, **settings)
        self.clock = Calendar(freq, times)
        self.freq, self.names, self.values = freq, names, fields

    def locate(self, freq: str = "day", future: bool = False) -> Calendar:
        return self.clock if freq == self.freq else self.clock.resample(freq, self.settings.region.sessions)

    def instruments(self, market: Any = "all", filter_pipe: Any = None) -> Any:
        return list(self.names)

    def list_instruments(self, instruments: Any, *args: Any, **kwargs: Any) -> Any:
        return list(instruments)

    def stored_freqs(self) -> list[str]:
        return [self.freq]

    def stored_fields(self, instrument: str, freq: str = "day") -> list[str]:
        return sorted(self.values) if instrument in self.names else []

    def panel(self, instruments: Any, fields: Any, start: Any = None, end: Any = None, freq: str = "day", **_: Any):
        known = [name for name in instruments if name in self.names]
        low, high = self.clock.locate(start, end)
        plan = build_plan(list(fields), compat=self.settings["compat"])
        rows = len(self.clock)
        where = [self.names.index(name) for name in known]
        whole = Panel(
            tuple(known),
            np.arange(len(known) + 1) * rows,
            np.zeros(len(known)),
            {
                field: self.values[field][:, where].T.astype(np.float32).ravel()
                if field in self.values
                else np.full(rows * len(known), np.nan, np.float32)
                for field in plan.reads
            },
        )
        columns = dict(zip(plan.fields, evaluate(plan, whole), strict=True))
        kept = high - low + 1
        inside = np.arange(rows * len(known)) % rows
        inside = (inside >= low) & (inside <= high)
        cut = {text: values[inside] for text, values in columns.items()}
        panel = Panel(tuple(known), np.arange(len(known) + 1) * kept, np.zeros(len(known)), cut)
        return panel, self.clock.times[low : high + 1]

    def features(self, instruments: Any, fields: Any, start: Any = None, end: Any = None, freq: str = "day"):
        panel, times = self.panel(instruments, fields, start, end, freq)
        index = pd.MultiIndex.from_product([panel.instruments, times], names=["instrument", "datetime"])
        return pd.DataFrame(dict(panel.columns), index=index)


def random_market(
    seed: int = 0, bars: int = 30, names: int = 8, *, gaps: float = 0.0, freq: str = "day", **kwargs: Any
) -> MemoryProvider:
    """Random walks; `gaps` is the share of bars in which an instrument is suspended."""
    rng = np.random.default_rng(seed)
    step = {"day": "D"}.get(freq, freq)
    times = pd.date_range("2024-01-01", periods=bars, freq=step).to_numpy()
    change = rng.normal(0, 0.03, (bars, names))
    close = 20 * np.exp(np.cumsum(change, axis=0))
    close[rng.random((bars, names)) < gaps] = np.nan
    fields = {
        "close": close,
        "open": close * np.exp(rng.normal(0, 0.01, (bars, names))),
        "volume": rng.integers(0, 5_000, (bars, names)).astype(float),
        "factor": np.broadcast_to(rng.choice([0.5, 1.0, 3.0], names), (bars, names)).copy(),
        "change": change,
    }
    return MemoryProvider(times, [f"N{i}" for i in range(names)], fields, freq=freq, **kwargs)


def random_signal(provider: MemoryProvider, seed: int = 1, missing: float = 0.0) -> pd.Series:
    """Scores over every bar and instrument, some of them missing."""
    rng = np.random.default_rng(seed)
    index = pd.MultiIndex.from_product(
        [pd.DatetimeIndex(provider.clock.times), provider.names], names=["datetime", "instrument"]
    )
    scores = pd.Series(rng.normal(size=len(index)), index=index, name="score")
    return scores[rng.random(len(scores)) >= missing]


def run(provider: MemoryProvider, strategy: Any, *, executor: Any = None, **kwargs: Any):
    """Backtest over the whole market but the first bar; return (report, positions, fills, executor)."""
    from qlib.backtest import backtest_loop, get_strategy_executor
    from qlib.backtest.executor import SimulatorExecutor

    fills: list[Any] = []

    class Recording(type(strategy)):  # type: ignore[misc]
        def post_exe_step(self, execute_result):
            fills.extend(execute_result or [])
            return super().post_exe_step(execute_result)

    strategy.__class__ = Recording
    exchange = {"freq": provider.freq, "provider": provider, **kwargs.pop("exchange_kwargs", {})}
    start = kwargs.pop("start_time", pd.Timestamp(provider.clock.times[1]))
    end = kwargs.pop("end_time", pd.Timestamp(provider.clock.times[-1]))
    made = executor or SimulatorExecutor(provider.freq, generate_portfolio_metrics=True)
    strategy, made = get_strategy_executor(
        start, end, strategy, made, kwargs.pop("benchmark", None), kwargs.pop("account", 1e6), exchange, **kwargs
    )
    portfolio, indicators = backtest_loop(start, end, strategy, made)
    report, positions = next(iter(portfolio.values()))
    return report, positions, fills, next(iter(indicators.values()))


class Given(BaseStrategy):
    """The orders of a step, as (instrument, signed amount); step 0 is the first that is traded."""

    def __init__(self, orders, **kwargs):
        super().__init__(**kwargs)
        self.orders = orders

    def generate_trade_decision(self, execute_result=None):
        step = self.trade_calendar.get_trade_step()
        made = [
            Order(name, abs(amount), Order.BUY if amount > 0 else Order.SELL, *self.trade_calendar.get_step_time())
            for name, amount in self.orders.get(step, ())
        ]
        return TradeDecisionWO(made, self)


DAILY = {
    "class": "SimulatorExecutor",
    "module_path": "qlib.backtest.executor",
    "kwargs": {"time_per_step": "day", "generate_portfolio_metrics": True},
}


def runs_equal_back_tests_alone(workers: Any) -> None:
    """Four runs over one exchange, computed by `workers`, are four back-tests, to the last digit."""
    provider = random_market(3, bars=30, gaps=0.1)
    span = {"start_time": "2024-01-02", "end_time": "2024-01-30", "benchmark": None, "account": 1e6}

    def topk(k: int) -> dict[str, Any]:
        kwargs = {"signal": random_signal(provider), "topk": k, "n_drop": 1}
        return {"class": "TopkDropoutStrategy", "module_path": "qlib.contrib.strategy", "kwargs": kwargs}

    runs = {f"top {k}": {"strategy": topk(k)} for k in (1, 2, 3)} | {"small": {"strategy": topk(2), "account": 5e4}}
    found = sweep(runs, exchange=Exchange(provider=provider), executor=DAILY, workers=workers, **span)
    assert list(found) == list(runs)
    for name, run in runs.items():
        alone, steps = backtest(executor=DAILY, exchange_kwargs={"provider": provider}, **{**span, **run})
        portfolio, indicators = found[name]
        pd.testing.assert_frame_equal(portfolio["1day"][0], alone["1day"][0], check_exact=True)
        pd.testing.assert_frame_equal(indicators["1day"][0], steps["1day"][0], check_exact=True)
        for time, position in alone["1day"][1].items():
            assert portfolio["1day"][1][time].position == position.position
        pd.testing.assert_frame_equal(indicators["1day"][1].trades.frame(), steps["1day"][1].trades.frame())
