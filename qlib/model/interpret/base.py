"""Importance of features."""

from __future__ import annotations

import abc
from typing import Any

import pandas as pd

from qlib.errors import InputError


class FeatureInt:
    """A model that can say how much each feature counts."""

    @abc.abstractmethod
    def get_feature_importance(self) -> pd.Series:
        """Return feature name -> importance, the largest first."""


class LightGBMFInt(FeatureInt):
    """Importance from a LightGBM booster, kept in `model`; `feature_names`, if there, are its columns' own names."""

    model: Any = None
    feature_names: list[str] | None = None

    def __init__(self) -> None:
        self.model = None

    def get_feature_importance(self, *args: Any, **kwargs: Any) -> pd.Series:
        """Return feature name -> importance, the largest first.

        Arguments go to `lightgbm.Booster.feature_importance`: importance_type "split" (default) or "gain", iteration.
        """
        if self.model is None:
            raise InputError("model is not fitted yet! feature importance is known after fit")
        names = self.feature_names or self.model.feature_name()
        return pd.Series(self.model.feature_importance(*args, **kwargs), index=names).sort_values(ascending=False)
