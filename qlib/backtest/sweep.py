"""Many back-tests over one loaded exchange.

    from qlib.backtest.sweep import sweep
    from qlib.data.distributed import JoblibExecutor, RayExecutor

    runs = {f"top {k}": {"strategy": {"class": "TopkDropoutStrategy", "module_path": "qlib.contrib.strategy",
                                      "kwargs": {"signal": scores, "topk": k, "n_drop": 5}}} for k in (20, 30, 50)}
    with JoblibExecutor() as workers:                    # or RayExecutor(): a cluster
        found = sweep(runs, executor=daily, start_time="2017-01-01", end_time="2020-08-01", benchmark="SH000300",
                      exchange_kwargs={"deal_price": "close"}, workers=workers)
    report, positions = found["top 20"][0]["1day"]

Quotes are read once. Processes of this machine map the quotes' and the signals' large arrays instead of copying them.
A run's result is that of `backtest` with the same arguments, to the last digit, whoever computed it.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from qlib.backtest import backtest, get_exchange
from qlib.backtest.exchange import Exchange
from qlib.data.active import fill
from qlib.data.distributed import Executor
from qlib.errors import ConfigError, did_you_mean

ARGUMENTS = ("start_time", "end_time", "strategy", "executor", "benchmark", "account", "pos_type")
NEEDED = ("start_time", "end_time", "strategy", "executor")
Keep = Callable[[Any, Any], Any]


@dataclass(frozen=True, slots=True)
class _Work:
    """What all runs share; called with the arguments of one."""

    exchange: Exchange
    keep: Keep | None
    driver: int  # number of the process that asks

    def __call__(self, run: tuple[Any, Mapping[str, Any]]) -> Any:
        name, arguments = run
        if os.getpid() != self.driver:  # a worker: strategies may ask for the session's data
            fill(self.exchange.provider)
        try:
            found = backtest(**arguments, exchange_kwargs={"exchange": self.exchange})
        except Exception as error:
            error.add_note(f"in the run {name!r} of a sweep")
            raise
        return found if self.keep is None else self.keep(*found)


def sweep(
    runs: Mapping[Any, Mapping[str, Any]],
    *,
    exchange: Exchange | None = None,
    exchange_kwargs: Mapping[str, Any] = {},
    workers: Executor | None = None,
    keep: Keep | None = None,
    **common: Any,
) -> dict[Any, Any]:
    """Run `backtest` once per entry of `runs` and return {name: (portfolio_dict, indicator_dict)}.

    Parameters
    ----------
    runs
        {name: arguments of `backtest` of this run}: strategy, executor, account, benchmark, start_time, end_time,
        pos_type. Strategies and executors are configurations, or objects, of which each run gets a copy of its own.
    exchange, exchange_kwargs
        A ready exchange, or the arguments to make one for the common range.
    workers
        Who computes: a `JoblibExecutor`, a `RayExecutor`, or anything with a `map`; None: this process.
    keep
        What to keep of a result, called with (portfolio_dict, indicator_dict) where it was computed: a hundred whole
        histories are large, and a report may be all that is wanted. A function of a module where processes are used.
    **common
        Arguments of `backtest` of every run that does not say otherwise.

    Raises ConfigError naming a run and its argument before anything is computed.
    """
    made: dict[Any, dict[str, Any]] = {name: _arguments(name, {**common, **run}) for name, run in runs.items()}
    if exchange is None:
        span: dict[str, Any] = {part: common[part] for part in ("start_time", "end_time") if part in common}
        exchange = get_exchange(**{**span, **exchange_kwargs})
    elif exchange_kwargs:
        raise ConfigError("sweep takes an exchange or exchange_kwargs, not both")
    work, shards = _Work(exchange, keep, os.getpid()), list(made.items())
    results = list(map(work, shards)) if workers is None else workers.map(work, shards)
    return dict(zip(made, results, strict=True))


def _arguments(name: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the checked arguments of a run, with its own copies of what a run changes."""
    for argument in given:
        if argument not in ARGUMENTS:
            raise ConfigError(
                f"sweep, run {name!r}: received {argument!r}; allowed are {', '.join(ARGUMENTS)}"
                f"{did_you_mean(str(argument), ARGUMENTS)}"
            )
    absent = [argument for argument in NEEDED if argument not in given]
    if absent:
        raise ConfigError(f"sweep, run {name!r}: {', '.join(absent)} is missing, in the run and for all runs")
    own = dict(given)
    for part in ("strategy", "executor"):
        if not isinstance(own[part], dict | str):
            own[part] = copy.deepcopy(own[part])
    return own
