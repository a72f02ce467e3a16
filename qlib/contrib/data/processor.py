"""A scale within each date that knows the families of Alpha158: which of its columns are skewed, and how.

{"class": "ConfigSectionProcessor", "module_path": "qlib.contrib.data.processor"}
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import pandas as pd

from qlib.config import active_settings
from qlib.data.dataset.columns import change_columns, dates_of
from qlib.data.dataset.crosssection import Dates
from qlib.data.dataset.processor import Processor
from qlib.data.dataset.utils import group_positions
from qlib.errors import ConfigError, did_you_mean
from qlib.utils.data import MAD_TO_STD

Shape = Callable[[np.ndarray], np.ndarray]

PLAIN: Final = (
    *("KMID", "KSFT", "OPEN", "HIGH", "LOW", "CLOSE", "VWAP", "ROC", "MA", "BETA", "RESI", "QTLU", "QTLD", "RSV"),
    *("SUMP", "SUMN", "SUMD", "VSUMP", "VSUMN", "VSUMD"),
)
# Family -> what makes it less skewed before it is scaled. Columns of other families (RANK, CNTP, IMAX, ...) stay.
SHAPES: Final[dict[str, Shape]] = {
    **dict.fromkeys(("KLEN", "KLOW", "KUP"), lambda x: x**0.25),
    **dict.fromkeys(("KLOW2", "KUP2"), np.sqrt),
    **dict.fromkeys(PLAIN, lambda x: x),
    **dict.fromkeys(("STD", "VOLUME", "VMA", "VSTD"), np.log),
    "RSQR": np.nan_to_num,
    **dict.fromkeys(("MAX", "HIGH0"), lambda x: np.sqrt(x - 1)),
    **dict.fromkeys(("MIN", "LOW0"), lambda x: np.sqrt(1 - x)),
    **dict.fromkeys(("CORR", "CORD"), np.exp),
    "WVMA": np.log1p,
}
OPTIONS: Final = {
    "fillna_feature": True,
    "fillna_label": True,
    "clip_feature_outlier": False,
    "shrink_feature_outlier": True,
    "clip_label_outlier": False,
}


def shapes_of(column: str, *, as_qlib: bool = False) -> list[Shape]:
    """Return what is done to a column before each scaling, none for a column of no family.

    A column belongs to the family with the longest name that it begins with. Qlib goes through all that fit, so that
    MAX5 is scaled as one of MA first and KLOW2 as one of KLOW.

    >>> len(shapes_of("MAX5")), len(shapes_of("MAX5", as_qlib=True)), shapes_of("RANK5")
    (1, 2, [])
    """
    fitting = [family for family in SHAPES if column.startswith(family)]
    if as_qlib:
        return [SHAPES[f] for f in fitting if not (f in PLAIN and column in ("HIGH0", "LOW0"))]
    return [SHAPES[max(fitting, key=len)]] if fitting else []


class ConfigSectionProcessor(Processor):
    """Scale Alpha158 within each date.

    Label: (x - mean) / std (ddof 1). Feature: shaped by its family, then (x - median) / (1.4826 median |x|); what lies
    beyond 3 is drawn in to 3 ... 3.5. A date on which a column has no spread gives missing values.

    Parameters
    ----------
    fields_group
        "feature" or "label": only that group; None (or a list) both, as Qlib does whatever is given.
    kwargs
        `fillna_feature`, `fillna_label` (True): missing values become 0. `shrink_feature_outlier` (True),
        `clip_feature_outlier`, `clip_label_outlier` (False): what is done with values beyond 3.
    """

    def __init__(self, fields_group: Any = None, **kwargs: Any) -> None:
        super().__init__()
        for name in kwargs:
            if name not in OPTIONS:
                hint = did_you_mean(name, OPTIONS)
                raise ConfigError(
                    f"ConfigSectionProcessor takes no argument {name}; allowed are {', '.join(OPTIONS)}{hint}"
                )
        options = OPTIONS | kwargs
        self.fillna_feature = options["fillna_feature"]
        self.fillna_label = options["fillna_label"]
        self.clip_feature_outlier = options["clip_feature_outlier"]
        self.shrink_feature_outlier = options["shrink_feature_outlier"]
        self.clip_label_outlier = options["clip_label_outlier"]
        self.fields_group = fields_group

    def __call__(self, df: pd.DataFrame) -> pd.DataFrame:
        dates = dates_of(df.index)
        as_qlib = active_settings().compat == "qlib"
        groups = (
            [self.fields_group] if isinstance(self.fields_group, str) else self.fields_group or ["feature", "label"]
        )
        work: dict[int, list[Shape] | None] = {}
        for group in groups:
            for at in group_positions(df.columns, group):
                shapes = shapes_of(str(df.columns[at][-1]), as_qlib=as_qlib)
                if group == "label":
                    work[int(at)] = None
                elif shapes:
                    work[int(at)] = shapes
        positions = np.array(sorted(work), dtype=np.intp)

        def change(i: int, x: np.ndarray) -> None:
            shapes, together = work[int(positions[i])], dates.gather(x).astype(np.float64)
            with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
                if shapes is None:
                    together = self._label(together, dates)
                else:
                    for shape in shapes:
                        together = self._feature(shape(together), dates)
            dates.scatter(together, x)

        return change_columns(df, positions, change)[0]

    def _label(self, x: np.ndarray, dates: Dates) -> np.ndarray:
        mean, std = dates.mean_and_std(x, np.isfinite(x))
        x = (x - dates.spread(mean)) / dates.spread(np.where(std > 0, std, np.nan))
        if self.clip_label_outlier:
            x = np.clip(x, -3, 3)
        return np.where(np.isnan(x), 0.0, x) if self.fillna_label else x

    def _feature(self, x: np.ndarray, dates: Dates) -> np.ndarray:
        x = np.where(np.isfinite(x), x, np.nan)  # the logarithm of 0 is as unknown as a missing value
        x = x - dates.spread(dates.median(x))
        width = dates.median(np.abs(x)) * MAD_TO_STD
        x = x / dates.spread(np.where(width > 0, width, np.nan))
        if self.clip_feature_outlier:
            x = np.clip(x, -3, 3)
        if self.shrink_feature_outlier:
            x = _drawn_in(_drawn_in(x, dates), dates, sign=-1.0)
        return np.where(np.isnan(x), 0.0, x) if self.fillna_feature else x

    def readonly(self) -> bool:
        return True


def _drawn_in(x: np.ndarray, dates: Dates, sign: float = 1.0) -> np.ndarray:
    """Return `x` with what lies beyond 3 (below -3 for sign -1) in 3 ... 3.5, the farthest of each date at 3.5."""
    far = sign * x - 3
    beyond = far > 0
    if not beyond.any():
        return x
    farthest = dates.spread(np.maximum.reduceat(np.where(beyond, far, 0.0), dates.starts))
    return np.where(beyond, sign * (3 + far / np.where(farthest > 0, farthest, 1.0) * 0.5), x)
