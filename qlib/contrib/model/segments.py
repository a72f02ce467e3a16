"""What every tabular model asks of a dataset: features, one label and weights of a segment, checked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd

from qlib.config import active_settings
from qlib.data.dataset import DatasetH
from qlib.data.dataset.handler import DataHandlerLP
from qlib.data.dataset.utils import date_range, fetch_df_by_col
from qlib.data.dataset.weight import Reweighter
from qlib.errors import ConfigError, InputError, MissingDataError, did_you_mean
from qlib.log import get_module_logger
from qlib.workflow import R

_KEPT: Final[ContextVar[bool]] = ContextVar("_KEPT", default=True)


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of one segment: `features` (rows, columns), `label` (rows), `weights` (rows) or None."""

    index: pd.Index
    names: list[str]
    features: np.ndarray
    label: np.ndarray
    weights: np.ndarray | None


def learning_rows(
    dataset: DatasetH, segment: str, reweighter: Reweighter | None = None, *, drop_missing: bool = False
) -> Rows:
    """Return what a model learns from in one segment.

    Parameters
    ----------
    drop_missing
        Leave out rows with a NaN in any feature or in the label.

    Rows without a label are left out with a warning (under compat="qlib" they stay, and LightGBM takes them as 0).

    Raises MissingDataError for a segment that the dataset does not have, InputError when it has no rows, when no label
    or more than one is there, or when no row has a label.
    """
    segments = getattr(dataset, "segments", {})
    if segment not in segments:
        raise MissingDataError(
            f"the dataset has no segment {segment!r}; it has {', '.join(segments) or '(none)'}"
            f"{did_you_mean(segment, segments)}"
        )
    df = dataset.prepare(segment, col_set=["feature", "label"], data_key=DataHandlerLP.DK_L)
    if drop_missing:
        df = df.dropna()
    if df.empty:
        raise InputError(_nothing_left(dataset, segment, drop_missing))
    label = fetch_df_by_col(df, "label")
    if label.shape[1] != 1:
        raise InputError(
            f"one label is needed; received {label.shape[1]} ({', '.join(map(str, label.columns[:5]))}): "
            "a model of this kind predicts one number"
        )
    missing = np.isnan(label.iloc[:, 0].to_numpy())
    if missing.all():
        raise InputError(f"segment {segment}: the label {label.columns[0]} is NaN in all {len(missing)} rows")
    if missing.any() and active_settings().compat != "qlib":
        get_module_logger("model").warning(
            f"segment {segment}: {missing.sum()} of {len(missing)} rows have no label and are left out; "
            "DropnaLabel in learn_processors says so in the configuration"
        )
        df = df.iloc[~missing]
        label = label.iloc[~missing]
    target = label.iloc[:, 0].to_numpy()
    features = fetch_df_by_col(df, "feature")
    return Rows(df.index, [str(c) for c in features.columns], features.to_numpy(), target, _weights(reweighter, df))


def _weights(reweighter: Any, df: pd.DataFrame) -> np.ndarray | None:
    if reweighter is None:
        return None
    if not isinstance(reweighter, Reweighter):
        raise ConfigError(
            f"reweighter: received {type(reweighter).__name__}; a qlib.data.dataset.weight.Reweighter is allowed"
        )
    weights = np.asarray(reweighter.reweight(df), dtype=np.float64).reshape(-1)
    if len(weights) != len(df):
        raise InputError(f"{type(reweighter).__name__} gave {len(weights)} weights for {len(df)} rows")
    return weights


def _nothing_left(dataset: DatasetH, segment: str, drop_missing: bool) -> str:
    bounds = dataset.segments[segment]
    start, end = (bounds.start, bounds.stop) if isinstance(bounds, slice) else bounds
    first, last = date_range(dataset.handler.fetch(col_set=DataHandlerLP.CS_RAW).index)
    reason = "every row has a missing value" if drop_missing else "the learn processors left no row"
    return f"segment {segment} [{start}, {end}] is empty: {reason}; the data reach from {first} to {last}"


def features_of(dataset: DatasetH, segment: Any) -> pd.DataFrame:
    """Return the features a model predicts from."""
    return dataset.prepare(segment, col_set="feature", data_key=DataHandlerLP.DK_I)


def require_fitted(fitted: bool, model: Any) -> None:
    """Raise InputError unless the model has learned something."""
    if not fitted:
        raise InputError(f"model is not fitted yet! call {type(model).__name__}.fit(dataset) before predict")


def require_same_columns(names: list[str] | None, df: pd.DataFrame) -> None:
    """Raise InputError when the columns are not those the model learned from."""
    received = [str(column) for column in df.columns]
    if names is None or received == names:
        return
    new, gone = [n for n in received if n not in names][:3], [n for n in names if n not in received][:3]
    raise InputError(
        f"the model learned from {len(names)} features and received {len(received)}; new {new}, missing {gone}"
        + ("" if new or gone else ": the same names in another order")
    )


@contextmanager
def history_kept(kept: bool) -> Iterator[None]:
    """Say whether `keep_history` writes: a run has one learning curve of a name, and some models are fitted often."""
    token = _KEPT.set(kept and _KEPT.get())
    try:
        yield
    finally:
        _KEPT.reset(token)


def keep_history(history: dict[str, list[float]]) -> None:
    """Write series of metrics to the run that is going on, if there is one, in one go."""
    if _KEPT.get() and R.filled and R.exp_manager.active_experiment is not None:
        R.log_metric_history({name.replace("@", "_"): values for name, values in history.items()})
