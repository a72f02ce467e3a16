"""The contract of a processor that works on one instrument's frame, inside `D.features`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import pandas as pd


class InstProcessor(ABC):
    @abstractmethod
    def __call__(self, df: pd.DataFrame, instrument: str, *args: Any, **kwargs: Any) -> pd.DataFrame:
        """Return the frame (index: datetime) that takes the place of `df`; fewer or other rows are allowed."""

    def __str__(self) -> str:
        return f"{type(self).__name__}:{vars(self)}"
