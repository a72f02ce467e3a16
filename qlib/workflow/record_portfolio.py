"""Records of the portfolio: the prediction traded on paper, once or many times, and what came of it.

PortAnaRecord             pred  ->  portfolio_analysis/report_normal_1day.pkl ...      metrics 1day.excess_return_...
MultiPassPortAnaRecord    pred  ->  portfolio_analysis/multi_pass_port_analysis_1day.pkl      mean.excess_return_...
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from qlib.analysis.risk import periods_per_year, risk_analysis
from qlib.analysis.trades import indicator_analysis
from qlib.backtest import backtest, get_exchange
from qlib.backtest.attribution import carry_names
from qlib.backtest.capacity import capacity_of
from qlib.backtest.exchange import Exchange
from qlib.backtest.executor import BaseExecutor
from qlib.config import active_settings
from qlib.data.active import active_provider
from qlib.errors import ConfigError, did_you_mean
from qlib.log import get_module_logger
from qlib.utils.data import deepcopy_basic_type
from qlib.utils.nested import fill_placeholder, flatten_dict
from qlib.utils.objects import get_callable_kwargs, init_instance_by_config
from qlib.utils.time import Freq
from qlib.workflow.record_base import ACRecordTemp, figures_in_words
from qlib.workflow.record_signal import SignalRecord
from qlib.workflow.recorder import Recorder

logger = get_module_logger("workflow")


class PortAnaRecord(ACRecordTemp):
    """The prediction traded on paper, and what came of it.

    Parameters
    ----------
    config
        `{"strategy": ..., "executor": ..., "backtest": {start_time, end_time, account, benchmark, exchange_kwargs}}`;
        what is left out is Qlib's default: TopkDropoutStrategy (50 held, 5 exchanged), a daily SimulatorExecutor. In
        strategy and executor `<PRED>` is the prediction. `start_time` None is the prediction's first time, `end_time`
        None the bar after its last; `benchmark` left out is the region's, None is none at all: excess returns are then
        the returns themselves.
    risk_analysis_freq, indicator_analysis_freq
        Bar sizes to analyse, one or a list ("day", "30min"); None: that of the outermost executor with metrics.
    indicator_analysis_method
        Weights of the indicators: "mean" (also None), "amount_weighted", "value_weighted".
    trade_log
        How the log of all fills is kept: "parquet" (`trades.parquet`), "csv" (`trades.csv`), or a list of both.
    """

    artifact_path = "portfolio_analysis"
    depend_cls = SignalRecord

    def __init__(
        self,
        recorder: Recorder | None,
        config: Mapping[str, Any] | None = None,
        risk_analysis_freq: str | Iterable[str] | None = None,
        indicator_analysis_freq: str | Iterable[str] | None = None,
        indicator_analysis_method: str | None = None,
        skip_existing: bool = False,
        trade_log: str | Iterable[str] = "parquet",
        **kwargs: Any,
    ) -> None:
        super().__init__(recorder=recorder, skip_existing=skip_existing)
        self.trade_log = [trade_log] if isinstance(trade_log, str) else list(trade_log)
        for kind in self.trade_log:
            if kind not in TRADE_LOGS:
                message = f"trade_log: received {kind!r}; allowed are {', '.join(TRADE_LOGS)} and a list of them"
                raise ConfigError(message + did_you_mean(str(kind), TRADE_LOGS))
        given: dict[str, Any] = deepcopy_basic_type(dict(config or {}))
        for part in given:
            if part not in PORTFOLIO_PARTS:
                message = f"PortAnaRecord: config has no part {part!r}; its parts are {', '.join(PORTFOLIO_PARTS)}"
                raise ConfigError(message + did_you_mean(str(part), PORTFOLIO_PARTS))
        self.strategy_config = given.get("strategy", DEFAULT_STRATEGY)
        self.executor_config = given.get("executor", DEFAULT_EXECUTOR)
        self.backtest_config = given.get("backtest", DEFAULT_BACKTEST)
        levels = executor_levels(self.executor_config)
        self.all_freq = [freq for freq, has_metrics in levels if has_metrics]
        self._indicator_freqs = [freq for freq, _ in levels]
        self._finest = levels[-1][0]
        self.risk_analysis_freq = _freqs(risk_analysis_freq, self.all_freq, "risk_analysis_freq")
        self.indicator_analysis_freq = _freqs(indicator_analysis_freq, self.all_freq, "indicator_analysis_freq")
        self.indicator_analysis_method = indicator_analysis_method

    def _generate(self, **kwargs: Any) -> dict[str, Any]:
        pred = self.load("pred.pkl")
        executor, portfolio, indicators = self._trade(pred)

        made: dict[str, Any] = {}
        for freq, (report, positions) in portfolio.items():
            made |= {f"report_normal_{freq}.pkl": report, f"positions_normal_{freq}.pkl": positions}
        for freq, (frame, indicator) in indicators.items():
            made |= {f"indicators_normal_{freq}.pkl": frame, f"indicators_normal_{freq}_obj.pkl": indicator}
        made |= _attributions(executor) | _capacity(executor)
        for kind in self.trade_log:  # one log for all levels
            self.recorder.save_file(self.get_path(f"trades.{kind}"), indicator.trades.save)
        for freq in self.risk_analysis_freq:
            made[f"port_analysis_{freq}.pkl"] = self._analyse_risk(freq, portfolio[freq][0])
        for freq in self.indicator_analysis_freq:
            made[f"indicator_analysis_{freq}.pkl"] = self._analyse_indicators(freq, indicators[freq][0])
        return made

    def _trade(self, pred: pd.DataFrame) -> tuple[BaseExecutor, dict[str, Any], dict[str, Any]]:
        """Trade a prediction on paper: the executor, and by bar size (report, positions) and (table, indicator)."""
        values = {"<PRED>": pred}
        times = pd.DatetimeIndex(pred.index.get_level_values("datetime"))
        strategy = fill_placeholder(self.strategy_config, values)
        executor: BaseExecutor = init_instance_by_config(
            fill_placeholder(self.executor_config, values), accept_types=BaseExecutor
        )
        portfolio, indicators = backtest(executor=executor, strategy=strategy, **self._backtest_arguments(times))
        return executor, portfolio, indicators

    def exchange(self, times: pd.DatetimeIndex) -> Exchange:
        """Return the exchange that a prediction of these times would be traded on, with all that it reads."""
        arguments = self._backtest_arguments(times)
        told = {"start_time": arguments["start_time"], "end_time": arguments["end_time"]}
        return get_exchange(**told | arguments["exchange_kwargs"])

    def _backtest_arguments(self, times: pd.DatetimeIndex) -> dict[str, Any]:
        """Return the backtest's arguments with open ends closed and the quotes' bar size said."""
        arguments = dict(self.backtest_config)
        if arguments.get("start_time") is None:
            arguments["start_time"] = times.min()
        if arguments.get("end_time") is None:
            arguments["end_time"] = self._bar_after(times.max())
        arguments.setdefault("benchmark", active_settings().region.benchmark)
        exchange = dict(arguments.get("exchange_kwargs") or {})
        if Freq(self._finest).intraday:
            exchange.setdefault("freq", self._finest)
        arguments["exchange_kwargs"] = exchange
        return arguments

    def _bar_after(self, last: pd.Timestamp) -> pd.Timestamp:
        """Return the first bar after `last`, which the last prediction is traded in; `last` itself where data end."""
        freq = self._finest if Freq(self._finest).intraday else "day"
        bars = pd.DatetimeIndex(active_provider().calendar(freq=freq))
        later = int(bars.searchsorted(last, side="right"))
        return bars[later] if later < len(bars) else last

    def _analyse_risk(self, freq: str, report: pd.DataFrame) -> pd.DataFrame:
        analysis = excess_risk(freq, report)
        figures = {name: analysis["risk"].xs(name).to_dict() for name in EXCESS}
        for name, values in figures.items():
            logger.info(f"{freq} {name.replace('_', ' ')}: {figures_in_words(values)}")
        self._keep(freq, figures)
        return analysis

    def _analyse_indicators(self, freq: str, frame: pd.DataFrame) -> pd.DataFrame:
        method = self.indicator_analysis_method
        analysis = indicator_analysis(frame) if method is None else indicator_analysis(frame, method=method)
        figures = analysis["value"].to_dict()
        logger.info(f"{freq} execution: {figures_in_words(figures)}")
        self._keep(freq, figures)
        return analysis

    def _keep(self, freq: str, figures: Mapping[Any, Any]) -> None:
        flat: dict[str, Any] = {f"{freq}.{name}": float(value) for name, value in flatten_dict(figures).items()}
        self.recorder.log_metrics(**flat)

    def list(self) -> list[str]:
        names = [f"{kind}_normal_{freq}.pkl" for freq in self.all_freq for kind in ("report", "positions")]
        names += [f"port_analysis_{freq}.pkl" for freq in self.risk_analysis_freq]
        return names + [f"indicator_analysis_{freq}.pkl" for freq in self.indicator_analysis_freq]


class MultiPassPortAnaRecord(PortAnaRecord):
    """The same backtest many times, each from other first holdings: how much of the result is where one began?

    Parameters
    ----------
    pass_num
        How many times.
    shuffle_init_score
        Shuffle the scores that the first holdings are bought by (under compat="qlib" those of the backtest's first
        date, as Qlib does); otherwise all passes are the same.
    seed
        Beginning of the random numbers: the same seed, the same passes.
    kwargs
        Those of PortAnaRecord.

    Kept is `multi_pass_port_analysis_<freq>.pkl`: rows (excess_return_with_cost | excess_return_without_cost,
    annualized_return | information_ratio), columns mean, std (ddof 1) and mean_std (their ratio) over the passes.
    """

    depend_cls = SignalRecord

    def __init__(
        self,
        recorder: Recorder | None,
        pass_num: int = 10,
        shuffle_init_score: bool = True,
        *,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(recorder, **kwargs)
        if isinstance(pass_num, bool) or pass_num != int(pass_num) or pass_num < 1:
            message = f"pass_num: received {pass_num!r}; a whole number of at least 1 is needed"
            raise ConfigError(message)
        self.pass_num = int(pass_num)
        self.shuffle_init_score = shuffle_init_score
        self.seed = seed
        self.original_strategy = self.strategy_config
        self._rng = np.random.default_rng(seed)
        if shuffle_init_score and not self._has_signal():
            message = "MultiPassPortAnaRecord: shuffled scores need a strategy given as a dict with the argument signal"
            raise ConfigError(message)

    def _has_signal(self) -> bool:
        return isinstance(self.original_strategy, Mapping) and "signal" in self.original_strategy.get("kwargs", {})

    def random_init(self) -> None:
        """Give the strategy the prediction with the scores of one date shuffled among its instruments."""
        pred = self.load("pred.pkl").copy()
        times = pd.DatetimeIndex(pred.index.get_level_values("datetime"))
        start = self.backtest_config.get("start_time")
        first = times.min() if start is None else pd.Timestamp(start)
        if active_settings().get("compat") != "qlib":
            earlier = times[times < first]
            later = times[times >= first]
            first = earlier.max() if len(earlier) else later.min() if len(later) else first
        rows = np.flatnonzero(times == first)
        values = pred.to_numpy(copy=True)
        values[rows] = values[self._rng.permutation(rows)]
        shuffled = pd.DataFrame(values, index=pred.index, columns=pred.columns)
        kwargs = {**self.original_strategy["kwargs"], "signal": shuffled}
        self.strategy_config = {**self.original_strategy, "kwargs": kwargs}

    def _generate(self, **kwargs: Any) -> dict[str, Any]:
        self._rng = np.random.default_rng(self.seed)
        passes: dict[str, list[pd.Series]] = {freq: [] for freq in self.risk_analysis_freq}
        pred = self.load("pred.pkl")
        for number in range(self.pass_num):
            if self.shuffle_init_score:
                self.random_init()
            _, portfolio, _ = self._trade(pred)
            for freq, found in passes.items():
                found.append(excess_risk(freq, portfolio[freq][0])["risk"])
            logger.info(f"pass {number + 1} of {self.pass_num}")
        self.strategy_config = self.original_strategy
        made = {f"multi_pass_port_analysis_{freq}.pkl": spread_of(found) for freq, found in passes.items()}
        for table in list(made.values())[:1]:  # the outermost level; metrics bear no bar size
            rows = [".".join(row) for row in table.index.to_flat_index()]
            flat: dict[str, Any] = {
                f"{what}.{row}": value for what in table for row, value in zip(rows, table[what].tolist(), strict=True)
            }
            self.recorder.log_metrics(**flat)
            for name in EXCESS:
                logger.info(f"{name.replace('_', ' ')} over the passes: {table.loc[name].round(4).to_dict()}")
        return made

    def list(self) -> list[str]:
        return [f"multi_pass_port_analysis_{freq}.pkl" for freq in self.risk_analysis_freq]


EXCESS = ("excess_return_without_cost", "excess_return_with_cost")
SPREAD = ("annualized_return", "information_ratio")


def excess_risk(freq: str, report: pd.DataFrame) -> pd.DataFrame:
    """Return the risk figures of the returns over the benchmark, without and with cost: rows (which, figure)."""
    settings = active_settings()
    compat = settings.get("compat")
    year = periods_per_year(freq, None if compat == "qlib" else settings.region)
    gross = report["return"] - (report["bench"].fillna(0.0) if "bench" in report else 0.0)
    series = dict(zip(EXCESS, (gross, gross - report["cost"]), strict=True))
    return pd.concat({name: risk_analysis(one, N=year, compat=compat) for name, one in series.items()})


def spread_of(passes: Sequence[pd.Series]) -> pd.DataFrame:
    """Return mean, standard deviation and their ratio of the same figures of several passes.

    >>> figures = [pd.Series({("excess_return_with_cost", name): value for name in SPREAD}) for value in (1.0, 3.0)]
    >>> spread_of(figures).iloc[0].round(4).to_dict()
    {'mean': 2.0, 'std': 1.4142, 'mean_std': 1.4142}
    """
    rows = sorted(key for key in passes[0].index if key[1] in SPREAD)
    table = np.array([[one[key] for key in rows] for one in passes], dtype=np.float64)
    index = pd.MultiIndex.from_tuples(rows)
    mean = pd.Series(table.mean(axis=0), index)
    std = pd.Series(table.std(axis=0, ddof=1) if len(table) > 1 else np.nan, index)
    std = std.mask((table == table[0]).all(axis=0) & (len(table) > 1), 0.0)  # whatever rounding makes of the mean
    with np.errstate(divide="ignore"):
        ratio = mean / std
    if active_settings().get("compat") != "qlib":
        ratio = ratio.mask(std == 0)  # what never varies has no ratio
    return pd.DataFrame({"mean": mean, "std": std, "mean_std": ratio})


def _attributions(executor: BaseExecutor) -> dict[str, pd.DataFrame]:
    """Return where the money of every step went, for each level with a report, where holding costs something."""
    found = {}
    for level in executor.get_all_executors():
        if level.trade_account.is_port_metr_enabled():
            frame = level.trade_account.get_attribution()
            if carry_names(frame):
                count, base = Freq.parse(level.time_per_step)
                found[f"attribution_normal_{count}{base}.pkl"] = frame
    return found


def _capacity(executor: BaseExecutor) -> dict[str, Any]:
    """Return how much money the run could have carried, where something was traded and the store knows volumes."""
    levels = executor.get_all_executors()
    for level in levels:
        if level.trade_account.is_port_metr_enabled():
            settings = active_settings()
            year = periods_per_year(level.time_per_step, None if settings.get("compat") == "qlib" else settings.region)
            found = capacity_of(level.trade_account, levels[-1].trade_exchange, year=year)
            return {} if found is None else {"capacity.pkl": found}
    return {}


TRADE_LOGS = ("parquet", "csv")
PORTFOLIO_PARTS = ("strategy", "executor", "backtest")

DEFAULT_STRATEGY: Mapping[str, Any] = {
    "class": "TopkDropoutStrategy",
    "module_path": "qlib.contrib.strategy",
    "kwargs": {"signal": "<PRED>", "topk": 50, "n_drop": 5},
}
DEFAULT_EXECUTOR: Mapping[str, Any] = {
    "class": "SimulatorExecutor",
    "module_path": "qlib.backtest.executor",
    "kwargs": {"time_per_step": "day", "generate_portfolio_metrics": True},
}
DEFAULT_BACKTEST: Mapping[str, Any] = {
    "start_time": None,
    "end_time": None,
    "account": 100000000,
    "exchange_kwargs": {"deal_price": "close", "open_cost": 0.0005, "close_cost": 0.0015, "min_cost": 5},
}


def executor_levels(executor: Any) -> list[tuple[str, bool]]:
    """Return (bar size, has portfolio metrics) of an executor and those inside it, outermost first.

    >>> executor_levels(DEFAULT_EXECUTOR)
    [('1day', True)]
    """
    if isinstance(executor, BaseExecutor):
        return [(_name_of(e.time_per_step), bool(e.generate_portfolio_metrics)) for e in executor.get_all_executors()]
    kwargs = get_callable_kwargs(executor)[1]
    if "time_per_step" not in kwargs:
        message = f"the executor {executor} needs time_per_step, such as 'day' or '30min'"
        raise ConfigError(message)
    own = (_name_of(kwargs["time_per_step"]), bool(kwargs.get("generate_portfolio_metrics", False)))
    inner = kwargs.get("inner_executor")
    return [own] if inner is None else [own, *executor_levels(inner)]


def _name_of(freq: str) -> str:
    """Return a bar size as the backtest names its results: "1day", "30min"."""
    return "{}{}".format(*Freq.parse(freq))


def _freqs(asked: str | Iterable[str] | None, there: list[str], argument: str) -> list[str]:
    """Return the bar sizes to analyse, each of which must have metrics."""
    if asked is None:
        return there[:1]
    names = [_name_of(freq) for freq in ([asked] if isinstance(asked, str) else asked)]
    for name in names:
        if name not in there:
            message = (
                f"{argument}: received {name}; the executors with generate_portfolio_metrics have "
                f"{', '.join(there) or 'none'}"
            )
            raise ConfigError(message)
    return names
