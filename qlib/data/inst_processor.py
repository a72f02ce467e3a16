"""The contract of a processor that works on one instrument's frame, inside `D.features`.

class Weekly(InstProcessor):
    def __call__(self, df, instrument):                      one instrument after the other, as in Qlib
        return df.resample("W").last()

class Recent(InstProcessor):
    def __call__(self, df, instrument): ...
    def over(self, frame):                                    all of them at once, if it has this too: much faster
        return frame[frame.index.get_level_values("datetime") >= "2024-01-01"]
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import pandas as pd


class InstProcessor(ABC):
    @abstractmethod
    def __call__(self, df: pd.DataFrame, instrument: str, *args: Any, **kwargs: Any) -> pd.DataFrame:
        """Return the frame (index: datetime) that takes the place of `df`; fewer or other rows are allowed."""

    # over(self, frame) -> frame: a subclass may have it too, see the module. Rows are (instrument, datetime).

    def __str__(self) -> str:
        return f"{type(self).__name__}:{vars(self)}"
