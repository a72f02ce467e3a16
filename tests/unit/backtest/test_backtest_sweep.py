"""A sweep is as many back-tests, over one exchange, to the last digit, whoever computes them."""

from __future__ import annotations

import numpy as np
import pytest
from backtest_market import DAILY, random_market, random_signal, runs_equal_back_tests_alone

from qlib.backtest.exchange import Exchange
from qlib.backtest.executor import SimulatorExecutor
from qlib.backtest.sweep import sweep
from qlib.contrib.strategy import TopkDropoutStrategy
from qlib.data.distributed import JoblibExecutor
from qlib.errors import ConfigError, InputError

PROVIDER = random_market(3, bars=30, gaps=0.1)
SPAN = {"start_time": "2024-01-02", "end_time": "2024-01-30", "benchmark": None, "account": 1e6}


def last_account(portfolio, indicators) -> float:
    return float(portfolio["1day"][0]["account"].iloc[-1])


@pytest.mark.parametrize("backend", [None, "threading"], ids=["this process", "threading"])
def test_every_run_equals_the_back_test_alone(backend):
    """In other processes, too: test_distributed.py, where they have been started."""
    if backend is None:
        runs_equal_back_tests_alone(None)
    else:
        with JoblibExecutor(2, backend=backend) as workers:
            runs_equal_back_tests_alone(workers)


class Telling(TopkDropoutStrategy):
    """Stops at its first step and says where its quotes and its scores lie."""

    def generate_trade_decision(self, execute_result=None):
        arrays = {"quotes": self.trade_exchange.quote.fields["$close"], "scores": self.signal.signal_cache.to_numpy()}
        told = []
        for name, array in arrays.items():
            while array is not None and not isinstance(array, np.memmap):
                array = getattr(array, "base", None)
            told.append(f"{name} {'copied' if array is None else 'mapped'}")
        raise InputError(", ".join(told))


def test_processes_of_a_machine_map_large_quotes_and_scores_instead_of_copying_them():
    large = random_market(3, bars=1000, names=300)
    strategy = Telling(signal=random_signal(large), topk=2, n_drop=1)
    runs = {k: {"strategy": strategy, "account": 1e6 + k} for k in range(2)}
    with JoblibExecutor(2) as workers:
        if workers.workers == 1:
            pytest.skip("a machine of one CPU: joblib computes in this process")
        with pytest.raises(InputError, match="^quotes mapped, scores mapped"):
            sweep(runs, exchange=Exchange(provider=large), executor=DAILY, workers=workers, **SPAN)


def test_objects_are_copied_for_every_run_and_results_are_reduced_where_they_are_made():
    strategy = TopkDropoutStrategy(signal=random_signal(PROVIDER), topk=2, n_drop=1)
    executor = SimulatorExecutor("day", generate_portfolio_metrics=True)
    runs = {1: {}, 2: {}, 3: {"account": 2e6}}
    found = sweep(
        runs, strategy=strategy, executor=executor, exchange_kwargs={"provider": PROVIDER}, keep=last_account, **SPAN
    )
    assert found[1] == found[2] != found[3]
    assert not hasattr(executor, "trade_account")  # the given one was never used


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        ({"a": {"strategi": 1}}, "run 'a': received 'strategi'.*strategy"),
        ({"a": {}}, "run 'a': strategy is missing"),
    ],
)
def test_what_cannot_be_run_is_named_before_anything_runs(runs, message):
    with pytest.raises(ConfigError, match=message):
        sweep(runs, executor=DAILY, exchange_kwargs={"provider": PROVIDER}, **SPAN)
    with pytest.raises(ConfigError, match="not both"):
        sweep({}, exchange=Exchange(provider=PROVIDER), exchange_kwargs={"codes": "all"}, **SPAN)


def test_an_error_names_its_run():
    class Broken(TopkDropoutStrategy):
        def generate_trade_decision(self, execute_result=None):
            raise InputError("no")

    broken = Broken(signal=random_signal(PROVIDER), topk=2, n_drop=1)
    with pytest.raises(InputError) as caught:
        sweep({"bad": {"strategy": broken}}, executor=DAILY, exchange_kwargs={"provider": PROVIDER}, **SPAN)
    assert caught.value.__notes__ == ["in the run 'bad' of a sweep"]
