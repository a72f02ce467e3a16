"""The predictable part that the synthetic market hides, and the oracle that knows it.

The score of a coin at the close of day t is read from its daily bars of the last 20 days, day t included:

    reversal   1/2 - (close - lowest low of 5 days) / (highest high - lowest low of 5 days)
    agreement  correlation of close with ln(1 + volume) over 20 days: do prices rise on volume?
    z          S(0.6 S(reversal) + 0.8 S(agreement)),  S = minus the mean, over the standard deviation, across coins

and it moves the day after the next one, the day that Qlib's label `Ref($close, -2)/Ref($close, -1) - 1` looks at:

    return of day t+2  =  market part + volatility * (ic * z + sqrt(1 - ic^2) * noise),   E[noise | the past] = 0

So the best that a model can do is to find z; its information coefficient is close to `ic` and cannot honestly be
above it. Alpha158 shows both ingredients (RSV5 and CORR20): a model that reads it can find them, and has 156
distracting columns to resist. One function computes the score, for the generator (which may only use bars that it has
already made) and for the oracle (which reads them back from the store).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from qlib.errors import MissingDataError, StoreError

IC = 0.08
WINDOW = 20
REVERSAL_WINDOW = 5
REVERSAL_WEIGHT = 0.6
AGREEMENT_WEIGHT = 0.8
FEWEST_ROWS = 10
TRUTH_FILE = "truth.json"


def planted_score(high: np.ndarray, low: np.ndarray, close: np.ndarray, volume: np.ndarray) -> np.ndarray:
    """Score of every coin at the last row of a window of daily bars.

    Parameters
    ----------
    high, low, close, volume : arrays of shape (WINDOW, coins)
        The last 20 daily bars, oldest first; NaN where a coin has no bar.

    Returns
    -------
    array of shape (coins,)
        Mean 0 and standard deviation 1 over the coins that have a score; NaN for a coin without a bar in the last
        row or with fewer than 10 bars.
    """
    highest = np.fmax.reduce(high[-REVERSAL_WINDOW:])
    lowest = np.fmin.reduce(low[-REVERSAL_WINDOW:])
    reach = highest - lowest
    reversal = 0.5 - np.divide(close[-1] - lowest, reach, out=np.full_like(reach, np.nan), where=reach > 0)
    agreement = _correlation(close, np.log1p(volume))
    known = np.isfinite(reversal) & np.isfinite(agreement)
    reversal = _standardise(np.where(known, reversal, np.nan))
    agreement = _standardise(np.where(known, agreement, np.nan))
    return _standardise(REVERSAL_WEIGHT * reversal + AGREEMENT_WEIGHT * agreement)


def oracle_score(bars: pd.DataFrame) -> pd.Series:
    """Score that an all-knowing researcher would predict, for every day and coin of the sample market.

    Parameters
    ----------
    bars : DataFrame
        Daily `$high $low $close $volume` indexed (instrument, datetime), as
        `D.features(D.instruments("all"), ["$high", "$low", "$close", "$volume"])` returns them. The first 19 days
        have no score, so ask for bars from 19 days before the first score that is needed.

    Returns
    -------
    Series "score" indexed (datetime, instrument), like a prediction; rows without a score are left out.
    """
    fields = ["$high", "$low", "$close", "$volume"]
    missing = [field for field in fields if field not in bars.columns]
    if missing:
        raise MissingDataError(f"oracle_score needs the columns {', '.join(fields)}; received none called {missing[0]}")
    high, low, close, volume = (bars[field].unstack("instrument").astype("float64") for field in fields)
    scores = np.full(close.shape, np.nan)
    arrays = [frame.to_numpy() for frame in (high, low, close, volume)]
    for day in range(WINDOW - 1, len(close)):
        scores[day] = planted_score(*(values[day - WINDOW + 1 : day + 1] for values in arrays))
    rows = pd.MultiIndex.from_product([close.index, close.columns], names=["datetime", "instrument"])
    return pd.Series(scores.ravel(), index=rows, name="score").dropna()


def describe_planted(ic: float) -> dict[str, Any]:
    """Say what is planted, in plain values: the `planted` entry of truth.json."""
    lowest, highest = f"Min($low, {REVERSAL_WINDOW})", f"Max($high, {REVERSAL_WINDOW})"
    return {
        "ic": ic,
        "label": "Ref($close, -2)/Ref($close, -1) - 1",
        "reversal": f"1/2 - ($close - {lowest})/({highest} - {lowest})",
        "agreement": f"Corr($close, Log($volume + 1), {WINDOW})",
        "z": f"S({REVERSAL_WEIGHT} S(reversal) + {AGREEMENT_WEIGHT} S(agreement))",
        "S": "minus the mean, over the standard deviation, across the coins of a day",
        "return": "market part + volatility * (ic * z of two days before + sqrt(1 - ic^2) * noise)",
        "oracle": "qlib.crypto.planted.oracle_score",
    }


def read_truth(store: str | Path) -> dict[str, Any]:
    """What was planted in the synthetic store: the content of its truth.json."""
    path = Path(store).expanduser() / TRUTH_FILE
    if not path.exists():
        raise StoreError(f"{path} is missing: {path.parent} is not a store written by `get_data.py sample`")
    return json.loads(path.read_text(encoding="utf-8"))


def planted_ic(store: str | Path) -> float:
    """Planted information coefficient of a synthetic store; 0 in the null twin."""
    return float(read_truth(store)["planted"]["ic"])


def _correlation(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Pearson correlation down the rows where both are finite, NaN for fewer than 10 of them or without spread."""
    both = np.isfinite(left) & np.isfinite(right)
    count = both.sum(axis=0)
    share = 1.0 / np.maximum(count, 1)
    left = np.where(both, left, 0.0)
    right = np.where(both, right, 0.0)
    left = np.where(both, left - left.sum(axis=0) * share, 0.0)
    right = np.where(both, right - right.sum(axis=0) * share, 0.0)
    spread = np.sqrt((left * left).sum(axis=0) * (right * right).sum(axis=0))
    enough = (count >= FEWEST_ROWS) & (spread > 0)
    return np.divide((left * right).sum(axis=0), spread, out=np.full(left.shape[1], np.nan), where=enough)


def _standardise(values: np.ndarray) -> np.ndarray:
    """Minus the mean, over the standard deviation, over the finite entries; all NaN where there is no spread."""
    finite = values[np.isfinite(values)]
    spread = finite.std() if len(finite) > 1 else 0.0
    return (values - finite.mean()) / spread if spread > 0 else np.full_like(values, np.nan)
