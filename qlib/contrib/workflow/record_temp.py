"""More records of the signal.

SignalMseRecord    pred, label      ->  sig_analysis/mse.pkl, rmse.pkl      metrics MSE, RMSE
MultiSegRecord     model, dataset   ->  results-<name>.pkl: coefficients of a segment
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from qlib.analysis.ic import calc_ic
from qlib.data.dataset import DatasetH
from qlib.data.dataset.handler import DataHandlerLP
from qlib.errors import ConfigError
from qlib.log import get_module_logger
from qlib.workflow.record_temp import RecordTemp, SignalRecord
from qlib.workflow.recorder import Recorder

logger = get_module_logger("workflow")


class SignalMseRecord(RecordTemp):
    """How far the prediction lies from the label: mean squared error and its root, where both are there."""

    artifact_path = "sig_analysis"
    depend_cls = SignalRecord

    def __init__(self, recorder: Recorder | None, **kwargs: Any) -> None:
        super().__init__(recorder, **kwargs)

    def generate(self, **kwargs: Any) -> None:
        pred, label = self.load("pred.pkl"), self.load("label.pkl")
        if label is None or label.empty:
            logger.warning("SignalMseRecord is left out: the run holds no label")
            return
        away = (pred.iloc[:, 0] - label.iloc[:, 0]).dropna().to_numpy(dtype=np.float64)
        mse = float(np.mean(away**2)) if len(away) else np.nan
        rmse = float(np.sqrt(mse))
        self.recorder.log_metrics(MSE=mse, RMSE=rmse)
        logger.info(f"MSE {mse:.4g}, RMSE {rmse:.4g} over {len(away)} rows")
        self.save(**{"mse.pkl": mse, "rmse.pkl": rmse})

    def list(self) -> list[str]:
        return ["mse.pkl", "rmse.pkl"]


class MultiSegRecord(RecordTemp):
    """Coefficients of a model's predictions on any segments of a dataset."""

    def __init__(self, model: Any, dataset: DatasetH, recorder: Recorder | None = None) -> None:
        super().__init__(recorder)
        if not isinstance(dataset, DatasetH):
            message = f"MultiSegRecord: the dataset is a {type(dataset).__name__}; a DatasetH is needed"
            raise ConfigError(message)
        self.model = model
        self.dataset = dataset

    # Qlib's signature: a record of segments must be told which
    def generate(  # type: ignore[override]
        self, segments: Mapping[str, Any], save: bool = False, **kwargs: Any
    ) -> dict[str, dict[str, Any]]:
        """Return `{name: {"all-IC": Series, "mean-IC": ..., "all-Rank-IC": ..., "mean-Rank-IC": ...}}`.

        Parameters
        ----------
        segments
            Names and segments: what the dataset calls them, or slices.
        save
            Keep each as `results-<name>.pkl`.
        """
        made = {}
        for name, segment in segments.items():
            pred = self.model.predict(self.dataset, segment)
            asked: dict[str, Any] = {"col_set": "label"}
            if isinstance(self.dataset.handler, DataHandlerLP):
                asked["data_key"] = DataHandlerLP.DK_R
            label = self.dataset.prepare(segment, **asked)
            ic, ric = calc_ic(pred.iloc[:, 0] if pred.ndim > 1 else pred, label.iloc[:, 0])
            made[name] = {"all-IC": ic, "mean-IC": ic.mean(), "all-Rank-IC": ric, "mean-Rank-IC": ric.mean()}
            logger.info(f"segment {name}: IC {ic.mean():.4g}, Rank IC {ric.mean():.4g}")
            if save:
                self.save(**{f"results-{name}.pkl": made[name]})
        return made
