"""Operators as users of Qlib write them: this file runs unchanged under pyqlib and under this package.

    python users_operators.py <folder of a store> <file.json>       write what D.features answers

tests/golden/users_operators.json holds what pyqlib 0.9.7 (pandas 2.3.3) answered for the store of `bars`.
"""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from qlib.data.base import Expression, ExpressionOps, Feature
from qlib.data.ops import (
    ElemOperator,
    Mean,
    NpElemOperator,
    NpPairOperator,
    PairOperator,
    PairRolling,
    Ref,
    Rolling,
    Std,
)

DAYS = pd.date_range("2024-01-01", periods=40)
SPANS = {"AAA": (0, 39), "DEAD": (0, 17), "IDX": (0, 39), "LATE": (14, 39)}


def bars():
    """Four instruments of unequal listing; prices, a signed column x, gaps."""
    rng = np.random.default_rng(7)
    frames = {}
    for name, (first, last) in SPANS.items():
        close = 10 * np.exp(rng.normal(0, 0.03, 40).cumsum())
        frame = pd.DataFrame({"close": close, "open": close * np.exp(rng.normal(0, 0.02, 40))}, index=DAYS)
        frame["high"] = frame.max(axis=1) * 1.01
        frame["low"] = frame.min(axis=1) * 0.99
        frame["volume"] = rng.lognormal(3, 1, 40).round()
        frame["x"] = rng.normal(0, 1, 40).round(2)
        frame.loc[rng.random(40) < 0.15, "x"] = np.nan
        frames[name] = frame.iloc[first : last + 1]
    frames["AAA"].iloc[20:22] = np.nan
    return frames


class Tanh(NpElemOperator):
    """A function of numpy by its name."""

    def __init__(self, feature):
        super().__init__(feature, "tanh")


class CumSum(NpElemOperator):
    """A function of numpy that looks back as far as it is shown."""

    def __init__(self, feature):
        super().__init__(feature, "cumsum")


class FMod(NpPairOperator):
    def __init__(self, feature_left, feature_right):
        super().__init__(feature_left, feature_right, "fmod")


class Sem(Rolling):
    """A statistic of pandas by its name."""

    def __init__(self, feature, N):
        super().__init__(feature, N, "sem")


class Decay(Rolling):
    """Weights of its own, the window of Rolling."""

    def __init__(self, feature, N):
        super().__init__(feature, N, "decay")

    def _load_internal(self, instrument, start_index, end_index, *args):
        series = self.feature.load(instrument, start_index, end_index, *args)

        def weighted(w):
            weights = np.arange(1, len(w) + 1)
            seen = ~np.isnan(w)
            return (w * weights)[seen].sum() / weights[seen].sum() if seen.any() else np.nan

        return series.rolling(self.N, min_periods=1).apply(weighted, raw=True)


class Above(ElemOperator):
    """A question, a window that it declares, an argument that may be left out."""

    def __init__(self, feature, N=20):
        super().__init__(feature)
        self.N = N

    def __str__(self):
        return f"{type(self).__name__}({self.feature},{self.N})"

    def _load_internal(self, instrument, start_index, end_index, *args):
        series = self.feature.load(instrument, start_index, end_index, *args)
        return series > series.rolling(self.N, min_periods=1).mean()

    def get_longest_back_rolling(self):
        return self.feature.get_longest_back_rolling() + self.N - 1

    def get_extended_window_size(self):
        left, right = self.feature.get_extended_window_size()
        return left + self.N - 1, right


class RelativeTo(PairOperator):
    """Two formulas, or a formula and a number."""

    def _load_internal(self, instrument, start_index, end_index, *args):
        left, right = (
            side.load(instrument, start_index, end_index, *args) if isinstance(side, Expression) else side
            for side in (self.feature_left, self.feature_right)
        )
        return left / right - 1


class Beta(PairRolling):
    """Slope of one series on another over a window."""

    def __init__(self, feature_left, feature_right, N):
        super().__init__(feature_left, feature_right, N, "beta")

    def _load_internal(self, instrument, start_index, end_index, *args):
        left = self.feature_left.load(instrument, start_index, end_index, *args)
        right = self.feature_right.load(instrument, start_index, end_index, *args)
        return left.rolling(self.N, min_periods=2).cov(right) / right.rolling(self.N, min_periods=2).var()


class Excess(ElemOperator):
    """Less the same of another instrument, which it loads by itself."""

    def __init__(self, feature, other):
        super().__init__(feature)
        self.other = other

    def __str__(self):
        return f"{type(self).__name__}({self.feature},{self.other})"

    def _load_internal(self, instrument, start_index, end_index, *args):
        own = self.feature.load(instrument, start_index, end_index, *args)
        return own - self.feature.load(self.other, start_index, end_index, *args)


class TrueRange(ExpressionOps):
    """Three fields that it makes inside: no formula stands among its arguments."""

    def __init__(self, N):
        self.N = N

    def __str__(self):
        return f"{type(self).__name__}({self.N})"

    def _load_internal(self, instrument, start_index, end_index, *args):
        high, low, close = (
            Feature(name).load(instrument, start_index, end_index, *args) for name in ("high", "low", "close")
        )
        before = close.shift(1)
        width = pd.concat([high - low, (high - before).abs(), (low - before).abs()], axis=1).max(axis=1)
        return width.rolling(self.N, min_periods=1).mean()

    def get_longest_back_rolling(self):
        return self.N

    def get_extended_window_size(self):
        return self.N, 0


class ClippedMean(Mean):
    """What Mean computes, and a little more."""

    def _load_internal(self, instrument, start_index, end_index, *args):
        return super()._load_internal(instrument, start_index, end_index, *args).clip(upper=10)


class Surprise(ExpressionOps):
    """A formula that it builds and loads."""

    def __init__(self, feature, N):
        self.feature, self.N = feature, N

    def __str__(self):
        return f"{type(self).__name__}({self.feature},{self.N})"

    @property
    def formula(self):
        before = Ref(self.feature, 1)
        return (self.feature - Mean(before, self.N)) / Std(before, self.N)

    def _load_internal(self, instrument, start_index, end_index, *args):
        return self.formula.load(instrument, start_index, end_index, *args)

    def get_longest_back_rolling(self):
        return self.formula.get_longest_back_rolling()

    def get_extended_window_size(self):
        return self.formula.get_extended_window_size()


class Ahead(ElemOperator):
    """A label: looks two rows ahead, and says so."""

    def _load_internal(self, instrument, start_index, end_index, *args):
        series = self.feature.load(instrument, start_index, end_index, *args)
        return series.shift(-2) / series.shift(-1) - 1

    def get_extended_window_size(self):
        left, right = self.feature.get_extended_window_size()
        return left, right + 2


class Fill(ElemOperator):
    """Carries the last value on; it declares no window, as Qlib's own FFillNan does."""

    def _load_internal(self, instrument, start_index, end_index, *args):
        return self.feature.load(instrument, start_index, end_index, *args).ffill()


OPS = [
    Tanh,
    CumSum,
    FMod,
    Sem,
    Decay,
    Above,
    RelativeTo,
    Beta,
    Excess,
    TrueRange,
    ClippedMean,
    Surprise,
    Ahead,
    Fill,
]
FIELDS = [
    "Tanh($x)",
    "CumSum($volume)",
    "FMod($close,$open)",
    "FMod($close, 3)",
    "Sem($close, 5)",
    "Decay($x, 4)",
    "Above($close, 5)",
    "Above($close)",
    "Above($x, N=3)",
    "RelativeTo($close,Ref($close,1))",
    "RelativeTo($close,2)",
    "Beta($close/Ref($close,1)-1,$open/Ref($open,1)-1,10)",
    "Excess($close/Ref($close,1)-1,'IDX')",
    "TrueRange(5)",
    "ClippedMean($close,3)",
    "Surprise($close,10)",
    "Ahead($close)",
    "Fill($x)",
    "Mean(Above($close,5),10)",
    "Above($close,5)&($close>$open)",
    "If(Above($close,5),$close,0)",
    "Mean(Decay($x,4),3)/Tanh($x)",
    "Decay(Mean($x,3),4)",
    "Decay(Above($close,3),4)",
    "Surprise(Excess($close/Ref($close,1)-1,'IDX'),5)",
    "Tanh(Sem($x,5))*Ref(Ahead($close),3)",
    "Not(Above($close,5))",
    "Ref(Above($close,5),1)",
    "Corr(Tanh($x),Decay($close,4),6)",
    "ChangeInstrument('LATE',Decay($close,4))",
]
QUERIES = {"all": (None, None), "middle": (DAYS[12], DAYS[30])}
NAMES = ["AAA", "DEAD", "LATE"]


def answers(features):
    """Return every field alone, in both queries: {query: {field: {instrument: [first day, values]}}}."""
    found = {}
    for query, (start, end) in QUERIES.items():
        for field in FIELDS:
            column = features(NAMES, [field], start, end)[field]
            rows = found.setdefault(query, {}).setdefault(field, {})
            for name in NAMES:
                if name in column.index.get_level_values(0):
                    own = column.loc[name].astype("float64")
                    rows[name] = [str(own.index[0].date()), [None if np.isnan(v) else float(f"{v:.7g}") for v in own]]
    return found


if __name__ == "__main__":
    import qlib
    from qlib.data import D

    qlib.init(provider_uri=sys.argv[1], region="cn", kernels=1, custom_ops=OPS)
    Path(sys.argv[2]).write_text(json.dumps(answers(D.features), separators=(",", ":")))
