"""Records: steps that read what a run holds, compute, and keep the result in the run.

    SignalRecord      model + dataset  ->  pred.pkl, label.pkl
    SigAnaRecord      pred, label      ->  sig_analysis/ic.pkl, ric.pkl, ...              metrics IC, ICIR, Rank IC, ...
    PortAnaRecord     pred             ->  portfolio_analysis/report_normal_1day.pkl ...  metrics 1day.excess_return_...

A record finds what it needs by name, in its own folder or in that of the record it depends on, so each can be run again
alone. Artifact and metric names are Qlib's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import pandas as pd

from qlib.analysis.groups import calc_long_short_return
from qlib.analysis.ic import calc_ic
from qlib.analysis.risk import periods_per_year, risk_analysis
from qlib.analysis.trades import indicator_analysis
from qlib.backtest import backtest
from qlib.backtest.attribution import carry_names
from qlib.backtest.capacity import capacity_of
from qlib.backtest.executor import BaseExecutor
from qlib.config import active_settings
from qlib.data.active import active_provider
from qlib.data.dataset import DatasetH
from qlib.data.dataset.handler import DataHandlerLP
from qlib.errors import ConfigError, did_you_mean
from qlib.log import get_module_logger
from qlib.utils.data import deepcopy_basic_type
from qlib.utils.exceptions import LoadObjectError
from qlib.utils.nested import fill_placeholder, flatten_dict
from qlib.utils.objects import class_casting, get_callable_kwargs, init_instance_by_config
from qlib.utils.time import Freq
from qlib.workflow.recorder import Recorder

logger = get_module_logger("workflow")

DAYS_OF_A_YEAR = 252  # Qlib's default for signals, in every market that closes


class RecordTemp:
    """Base of all records.

    Class attributes: `artifact_path` (folder inside the run, None for the run's own), `depend_cls` (the record whose
    results are needed).
    """

    artifact_path: ClassVar[str | None] = None
    depend_cls: ClassVar[type[RecordTemp] | None] = None

    def __init__(self, recorder: Recorder | None) -> None:
        self._recorder = recorder

    @property
    def recorder(self) -> Recorder:
        """The run that is read and written."""
        if self._recorder is None:
            message = f"{type(self).__name__} has no recorder: pass one, such as R.get_recorder()"
            raise ConfigError(message)
        return self._recorder

    @classmethod
    def get_path(cls, path: str | None = None) -> str:
        """Return the name inside the run of a file of this record; of nothing, its folder."""
        return "/".join(part for part in (cls.artifact_path, path) if part)

    def save(self, **kwargs: Any) -> None:
        """Keep objects in this record's folder."""
        self.recorder.save_objects(artifact_path=self.get_path() or None, **kwargs)

    def load(self, name: str, parents: bool = True) -> Any:
        """Return an object of this record or, with `parents`, of those it depends on; else LoadObjectError."""
        try:
            return self.recorder.load_object(self.get_path(name))
        except LoadObjectError:
            if not parents or self.depend_cls is None:
                raise
        with class_casting(self, self.depend_cls):
            return self.load(name, parents=True)

    def list(self) -> list[str]:
        """Return the names of the files this record makes."""
        return []

    def check(self, include_self: bool = False, parents: bool = True) -> None:
        """Raise FileNotFoundError, naming what is missing, unless the files this record needs are there.

        Parameters
        ----------
        include_self
            Also the files that this record makes.
        parents
            Also those that the records it depends on depend on.
        """
        if include_self:
            there: dict[str, set[str]] = {}
            missing = []
            for name in map(self.get_path, self.list()):
                folder = name.rpartition("/")[0]
                if folder not in there:
                    there[folder] = set(self.recorder.list_artifacts(folder or None))
                if name not in there[folder]:
                    missing.append(name)
            if missing:
                raise FileNotFoundError(f"run {self.recorder.id} holds no {', '.join(missing)}")
        if parents and self.depend_cls is not None:
            with class_casting(self, self.depend_cls):
                self.check(include_self=True, parents=True)

    def generate(self, **kwargs: Any) -> Any:
        """Compute and keep the results."""
        raise NotImplementedError(f"{type(self).__name__} must say what it generates")


class SignalRecord(RecordTemp):
    """The prediction of the test segment, and the label that it is measured against.

    `pred.pkl` is a frame (datetime, instrument) with the column `score`; `label.pkl` holds the unprocessed labels of
    the same segment, None when the dataset forgot its raw data.
    """

    def __init__(self, model: Any = None, dataset: Any = None, recorder: Recorder | None = None) -> None:
        super().__init__(recorder)
        self.model = model
        self.dataset = dataset

    @staticmethod
    def generate_label(dataset: DatasetH) -> pd.DataFrame | None:
        """Return the unprocessed labels of segment "test"; None when they are gone."""
        with class_casting(dataset, DatasetH):  # other datasets hand out samplers, not frames
            asked = {"segments": "test", "col_set": "label"}
            try:
                if isinstance(dataset.handler, DataHandlerLP):
                    asked["data_key"] = DataHandlerLP.DK_R
                return dataset.prepare(**asked)
            except AttributeError as error:
                logger.warning(f"no label is kept: {error}")
                return None

    def generate(self, **kwargs: Any) -> None:
        if self.model is None or self.dataset is None:
            message = "SignalRecord needs a model and a dataset to predict"
            raise ConfigError(message)
        pred = self.model.predict(self.dataset)
        if isinstance(pred, pd.Series):
            pred = pred.to_frame("score")
        self.save(**{"pred.pkl": pred})
        logger.info(f"pred.pkl: {_extent(pred)}")
        if isinstance(self.dataset, DatasetH):
            self.save(**{"label.pkl": self.generate_label(self.dataset)})

    def list(self) -> list[str]:
        return ["pred.pkl", "label.pkl"]


def _extent(frame: pd.DataFrame) -> str:
    """Rows, dates and instruments of a prediction, in words."""
    if not len(frame) or frame.index.nlevels < 2:
        return f"{len(frame)} rows"
    dates, names = frame.index.get_level_values(0), frame.index.get_level_values(1)
    first, last = (str(date).removesuffix(" 00:00:00") for date in (dates.min(), dates.max()))
    return f"{len(frame)} rows, {first} to {last}, {names.nunique()} instruments"


def _words(figures: Mapping[Any, float]) -> str:
    """Figures in one line, such as "IC 0.041, ICIR 0.38"."""
    return ", ".join(f"{str(name).replace('_', ' ')} {value:.4g}" for name, value in figures.items())


class ACRecordTemp(RecordTemp):
    """A record that looks first whether its work can be, or need be, done.

    Parameters
    ----------
    skip_existing
        Do nothing when the results are there already.
    """

    def __init__(self, recorder: Recorder | None, skip_existing: bool = False) -> None:
        self.skip_existing = skip_existing
        super().__init__(recorder)

    def generate(self, *args: Any, **kwargs: Any) -> Any:
        """Compute and keep the results; when what they depend on is missing, only a warning is written."""
        if self.skip_existing:
            try:
                self.check(include_self=True, parents=False)
            except FileNotFoundError:
                pass
            else:
                logger.info(f"{type(self).__name__}: the results are there already, nothing is done")
                return None
        try:
            self.check()
        except FileNotFoundError as error:
            logger.warning(f"{type(self).__name__} is left out: {error}")
            return None
        made = self._generate(*args, **kwargs)
        if isinstance(made, dict):
            self.save(**made)
        return made

    def _generate(self, *args: Any, **kwargs: Any) -> dict[str, Any] | None:
        """Compute the results: a dict name -> object, which is kept."""
        raise NotImplementedError(f"{type(self).__name__} must say what it generates")


class SigAnaRecord(ACRecordTemp):
    """How well the prediction orders what followed.

    Parameters
    ----------
    ana_long_short
        Also what the best fifth earned over the worst, and all on average.
    ann_scaler
        Dates in a year, for annualised figures; None: 252, or in a market that never closes as many as the spacing of
        the prediction's dates gives.
    label_col
        Position of the label that counts.
    """

    artifact_path = "sig_analysis"
    depend_cls = SignalRecord

    def __init__(
        self,
        recorder: Recorder | None,
        ana_long_short: bool = False,
        ann_scaler: float | None = None,
        label_col: int = 0,
        skip_existing: bool = False,
    ) -> None:
        super().__init__(recorder=recorder, skip_existing=skip_existing)
        self.ana_long_short = ana_long_short
        self.ann_scaler = ann_scaler
        self.label_col = label_col

    def _generate(self, label: pd.DataFrame | None = None, **kwargs: Any) -> dict[str, Any] | None:
        """Return the series to keep; `label` stands in for the run's own label.pkl."""
        pred = self.load("pred.pkl")
        label = self.load("label.pkl") if label is None else label
        if label is None or not isinstance(label, pd.DataFrame) or label.empty:
            logger.warning("SigAnaRecord is left out: the run holds no label")
            return None
        if not 0 <= self.label_col < label.shape[1]:
            message = f"label_col: received {self.label_col}; the label has {label.shape[1]} column(s), counted from 0"
            raise ConfigError(message)
        score, truth = pred.iloc[:, 0], label.iloc[:, self.label_col]
        ic, ric = calc_ic(score, truth)
        metrics: dict[str, Any] = {
            "IC": ic.mean(),
            "ICIR": ic.mean() / ic.std(),
            "Rank IC": ric.mean(),
            "Rank ICIR": ric.mean() / ric.std(),
        }
        made: dict[str, Any] = {"ic.pkl": ic, "ric.pkl": ric}
        if self.ana_long_short:
            # Qlib takes ties in row order; sharing the places needs no order
            ties: Any = "first" if active_settings().get("compat") == "qlib" else "average"
            long_short, long_avg = calc_long_short_return(score, truth, ties=ties)
            scaler = self._scaler(long_short.index)
            for name, series in (("Long-Short", long_short), ("Long-Avg", long_avg)):
                metrics[f"{name} Ann Return"] = series.mean() * scaler
                metrics[f"{name} Ann Sharpe"] = series.mean() / series.std() * scaler**0.5
            made |= {"long_short_r.pkl": long_short, "long_avg_r.pkl": long_avg}
        self.recorder.log_metrics(**metrics)
        logger.info(_words(metrics))
        return made

    def _scaler(self, dates: pd.Index) -> float:
        if self.ann_scaler is not None:
            return self.ann_scaler
        region = active_settings().region
        spacing = pd.Series(pd.DatetimeIndex(dates).unique().sort_values()).diff().median()
        if not region.always_open or pd.isna(spacing):
            return DAYS_OF_A_YEAR
        return region.days_per_year * (pd.Timedelta(days=1) / spacing)

    def list(self) -> list[str]:
        names = ["ic.pkl", "ric.pkl"]
        return [*names, "long_short_r.pkl", "long_avg_r.pkl"] if self.ana_long_short else names


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
        values = {"<PRED>": pred}
        strategy = fill_placeholder(self.strategy_config, values)
        executor: BaseExecutor = init_instance_by_config(
            fill_placeholder(self.executor_config, values), accept_types=BaseExecutor
        )
        portfolio, indicators = backtest(executor=executor, strategy=strategy, **self._backtest_arguments(pred))

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

    def _backtest_arguments(self, pred: pd.DataFrame) -> dict[str, Any]:
        """Return the backtest's arguments with open ends closed and the quotes' bar size said."""
        arguments = dict(self.backtest_config)
        times = pd.DatetimeIndex(pred.index.get_level_values("datetime"))
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
        settings = active_settings()
        compat = settings.get("compat")
        year = periods_per_year(freq, None if compat == "qlib" else settings.region)
        bench = report["bench"].fillna(0.0) if "bench" in report else 0.0
        excess = {
            "excess_return_without_cost": report["return"] - bench,
            "excess_return_with_cost": report["return"] - bench - report["cost"],
        }
        analysis = pd.concat({name: risk_analysis(series, N=year, compat=compat) for name, series in excess.items()})
        figures = {name: analysis["risk"].xs(name).to_dict() for name in excess}
        for name, values in figures.items():
            logger.info(f"{freq} {name.replace('_', ' ')}: {_words(values)}")
        self._keep(freq, figures)
        return analysis

    def _analyse_indicators(self, freq: str, frame: pd.DataFrame) -> pd.DataFrame:
        method = self.indicator_analysis_method
        analysis = indicator_analysis(frame) if method is None else indicator_analysis(frame, method=method)
        figures = analysis["value"].to_dict()
        logger.info(f"{freq} execution: {_words(figures)}")
        self._keep(freq, figures)
        return analysis

    def _keep(self, freq: str, figures: Mapping[Any, Any]) -> None:
        flat: dict[str, Any] = {f"{freq}.{name}": float(value) for name, value in flatten_dict(figures).items()}
        self.recorder.log_metrics(**flat)

    def list(self) -> list[str]:
        names = [f"{kind}_normal_{freq}.pkl" for freq in self.all_freq for kind in ("report", "positions")]
        names += [f"port_analysis_{freq}.pkl" for freq in self.risk_analysis_freq]
        return names + [f"indicator_analysis_{freq}.pkl" for freq in self.indicator_analysis_freq]


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
