"""Records of the signal: the prediction, and how well it orders what followed.

SignalRecord      model + dataset  ->  pred.pkl, label.pkl
SigAnaRecord      pred, label      ->  sig_analysis/ic.pkl, ric.pkl, ...      metrics IC, ICIR, Rank IC, ...
HFSignalRecord    pred, label      ->  hg_sig_analysis/ic.pkl, long_pre.pkl, ...      and Long precision, ...
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from qlib.analysis.groups import Ties, calc_long_short_prec, calc_long_short_return
from qlib.analysis.ic import calc_ic
from qlib.config import active_settings
from qlib.data.dataset import DatasetH
from qlib.data.dataset.handler import DataHandlerLP
from qlib.errors import ConfigError
from qlib.log import get_module_logger
from qlib.utils.objects import class_casting
from qlib.workflow.record_base import ACRecordTemp, RecordTemp, figures_in_words
from qlib.workflow.recorder import Recorder

DAYS_OF_A_YEAR = 252  # Qlib's default for signals, in every market that closes

logger = get_module_logger("workflow")


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
            long_short, long_avg = calc_long_short_return(score, truth, ties=_ties())
            scaler = self._scaler(long_short.index)
            for name, series in (("Long-Short", long_short), ("Long-Avg", long_avg)):
                metrics[f"{name} Ann Return"] = series.mean() * scaler
                metrics[f"{name} Ann Sharpe"] = series.mean() / series.std() * scaler**0.5
            made |= {"long_short_r.pkl": long_short, "long_avg_r.pkl": long_avg}
        self.recorder.log_metrics(**metrics)
        logger.info(figures_in_words(metrics))
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


class HFSignalRecord(SignalRecord):
    """How well a prediction for many bars a day orders what followed: coefficients, hit rates, best against worst.

    The hit rates are those of the best and the worst fifth of a bar, with the bar's mean label taken off. Kept are, in
    `hg_sig_analysis`, one Series over the bars each: ic, ric, long_pre, short_pre, long_short_r, long_avg_r (.pkl).
    Nothing is annualised.
    """

    artifact_path = "hg_sig_analysis"
    depend_cls = SignalRecord

    def __init__(self, recorder: Recorder | None = None, **kwargs: Any) -> None:
        super().__init__(recorder=recorder, **kwargs)

    def generate(self, **kwargs: Any) -> None:
        pred, label = self.load("pred.pkl"), self.load("label.pkl")
        if label is None or label.empty:
            logger.warning("HFSignalRecord is left out: the run holds no label")
            return
        score, truth = pred.iloc[:, 0], label.iloc[:, 0]
        ties = _ties()
        ic, ric = calc_ic(score, truth)
        long_pre, short_pre = calc_long_short_prec(score, truth, is_alpha=True, ties=ties)
        long_short, long_avg = calc_long_short_return(score, truth, ties=ties)
        metrics: dict[str, Any] = {
            "IC": ic.mean(),
            "ICIR": ic.mean() / ic.std(),
            "Rank IC": ric.mean(),
            "Rank ICIR": ric.mean() / ric.std(),
            "Long precision": long_pre.mean(),
            "Short precision": short_pre.mean(),
            "Long-Short Average Return": long_short.mean(),
            "Long-Short Average Sharpe": long_short.mean() / long_short.std(),
        }
        self.recorder.log_metrics(**metrics)
        logger.info(figures_in_words(metrics))
        series = (ic, ric, long_pre, short_pre, long_short, long_avg)
        self.save(**dict(zip(self.list(), series, strict=True)))

    def list(self) -> list[str]:
        return [f"{name}.pkl" for name in ("ic", "ric", "long_pre", "short_pre", "long_short_r", "long_avg_r")]


def _ties() -> Ties:
    """How equal scores share places: Qlib takes them in row order; sharing the places needs no order."""
    return "first" if active_settings().get("compat") == "qlib" else "average"
