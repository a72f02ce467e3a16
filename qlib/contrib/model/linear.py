"""Linear models on the features of a dataset.

LinearModel(estimator="ridge", alpha=0.05).fit(dataset)
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pandas as pd

from qlib.contrib.model.segments import (
    features_of,
    learning_rows,
    require_fitted,
    require_same_columns,
)
from qlib.data.dataset import DatasetH
from qlib.data.dataset.weight import Reweighter
from qlib.errors import ConfigError, did_you_mean
from qlib.model.base import Model


class LinearModel(Model):
    """score = features . coef_ + intercept_

    Parameters
    ----------
    estimator
        "ols" (least squares), "nnls" (coefficients not negative), "ridge" or "lasso" (scikit-learn's, penalty `alpha`).
    alpha
        Strength of the penalty; 0 except for ridge and lasso.
    fit_intercept
        Whether a constant is learned too.
    include_valid
        Learn from the segment "valid" as well.

    Rows with a missing value are left out in learning. After `fit`: `coef_` (one per feature), `intercept_`.
    """

    OLS: ClassVar[str] = "ols"
    NNLS: ClassVar[str] = "nnls"
    RIDGE: ClassVar[str] = "ridge"
    LASSO: ClassVar[str] = "lasso"

    def __init__(
        self, estimator: str = "ols", alpha: float = 0.0, fit_intercept: bool = False, include_valid: bool = False
    ) -> None:
        super().__init__()
        allowed = (self.OLS, self.NNLS, self.RIDGE, self.LASSO)
        if estimator not in allowed:
            hint = did_you_mean(str(estimator), allowed)
            raise ConfigError(f"estimator: received {estimator!r}; allowed are {', '.join(allowed)}{hint}")
        if alpha != 0 and estimator not in (self.RIDGE, self.LASSO):
            raise ConfigError(f"alpha: received {alpha!r} for {estimator}; only ridge and lasso have a penalty")
        self.estimator = estimator
        self.alpha = alpha
        self.fit_intercept = fit_intercept
        self.include_valid = include_valid
        self.coef_: np.ndarray | None = None
        self.intercept_: float = 0.0
        self.feature_names: list[str] | None = None

    def fit(  # type: ignore[override]
        self, dataset: DatasetH, reweighter: Reweighter | None = None
    ) -> LinearModel:
        """Learn from the segment "train" (and "valid" with `include_valid`, where the dataset has one)."""
        segments = ["train", *(["valid"] if self.include_valid and "valid" in dataset.segments else [])]
        parts = [learning_rows(dataset, segment, reweighter, drop_missing=True) for segment in segments]
        features = np.concatenate([part.features for part in parts]) if len(parts) > 1 else parts[0].features
        label = np.concatenate([part.label for part in parts])
        weights = None if reweighter is None else np.concatenate([_given(part.weights) for part in parts])
        if self.estimator == self.NNLS:
            self._fit_nnls(features, label, weights)
        else:
            self._fit_sklearn(features, label, weights)
        self.feature_names = parts[0].names
        return self

    def _fit_sklearn(self, features: np.ndarray, label: np.ndarray, weights: np.ndarray | None) -> None:
        from sklearn.linear_model import Lasso, LinearRegression, Ridge  # noqa: PLC0415  heavy: only who fits needs it

        model: Any
        if self.estimator == self.OLS:
            model = LinearRegression(fit_intercept=self.fit_intercept)
        else:
            kind = {self.RIDGE: Ridge, self.LASSO: Lasso}[self.estimator]
            model = kind(alpha=self.alpha, fit_intercept=self.fit_intercept)
        model.fit(features, label, sample_weight=weights)
        self.coef_, self.intercept_ = model.coef_, model.intercept_

    def _fit_nnls(self, features: np.ndarray, label: np.ndarray, weights: np.ndarray | None) -> None:
        from scipy.optimize import nnls  # noqa: PLC0415  heavy: only who fits needs it

        if self.fit_intercept:  # the constant may not be negative either, as in Qlib
            features = np.column_stack([features, np.ones(len(features))])
        if weights is not None:
            root = np.sqrt(weights)
            features, label = features * root[:, None], label * root
        coef = nnls(features, label)[0]
        self.coef_, self.intercept_ = (coef[:-1], coef[-1]) if self.fit_intercept else (coef, 0.0)

    def predict(self, dataset: DatasetH, segment: Any = "test") -> pd.Series:  # type: ignore[override]
        """Return the scores of a segment; a row with a missing feature has none (NaN)."""
        require_fitted(self.coef_ is not None, self)
        assert self.coef_ is not None
        df = features_of(dataset, segment)
        require_same_columns(self.feature_names, df)
        return pd.Series(df.to_numpy() @ self.coef_ + self.intercept_, index=df.index, name="score")


def _given(weights: np.ndarray | None) -> np.ndarray:
    assert weights is not None
    return weights
