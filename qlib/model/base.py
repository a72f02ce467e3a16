"""The contract of models: fit on a dataset, predict one score per (datetime, instrument).

model.fit(dataset)                 learns from the segments "train" (and "valid")
model.predict(dataset, "test")     Series named "score", index (datetime, instrument)
"""

from __future__ import annotations

import abc
from typing import Any

from qlib.data.dataset import Dataset
from qlib.data.dataset.weight import Reweighter
from qlib.utils.serial import Serializable


class BaseModel(Serializable, metaclass=abc.ABCMeta):
    """Anything that can predict; calling it is predicting."""

    @abc.abstractmethod
    def predict(self, *args: Any, **kwargs: Any) -> Any:
        """Return predictions."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.predict(*args, **kwargs)


class Model(BaseModel):
    """A model that learns from a dataset. What `fit` learns is kept in attributes without a leading underscore."""

    def fit(self, dataset: Dataset, reweighter: Reweighter | None) -> Any:
        """Learn from the segments "train" and, where the model uses one, "valid".

        Parameters
        ----------
        dataset
            Features and label come from `dataset.prepare(segment, col_set=["feature", "label"], data_key="learn")`.
        reweighter
            Gives the rows weights; None weighs them equally.
        """
        raise NotImplementedError(f"{type(self).__name__} does not learn: it has no fit")

    @abc.abstractmethod
    def predict(self, dataset: Dataset, segment: Any = "test") -> Any:
        """Return a score for each row of a segment (a name, or a slice of dates): a Series."""


class ModelFT(Model):
    """A model that can go on learning."""

    @abc.abstractmethod
    def finetune(self, dataset: Dataset) -> Any:
        """Learn more from the segment "train", starting from what is known."""
