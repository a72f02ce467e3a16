"""Every fill of the backtest, for the report: the newest of them row by row, all of them counted.

    fills(trades, ["portfolio_analysis/trades.parquet"]) -> {
        "count": 1204, "shown": 1204, "files": [...],
        "instruments": [["AAA", 96], ...]             fills of each, most traded first
        "reasons": [["order", 1180], ["volume", 24]],
        "bought": 2.1e6, "sold": 1.9e6, "fee": 4100.0, "slippage": 0.0,
        "largest": [17, 3, ...],                      places of the rows, largest value first
        "rows": {"time": [...], "instrument": [...], "side": [...], "ordered": [...], ...}      newest first
    }

A year of a busy strategy has more fills than a page can hold: the newest `MOST` are rows, and the page says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from qlib.contrib.report.times import stamps

MOST = 5000
AT_ONCE = 25  # rows of the page that are seen together
# The table: key in `rows`, head, kind of number ("" for words).
COLUMNS = (
    ("time", "Time", ""),
    ("instrument", "Instrument", ""),
    ("side", "Side", ""),
    ("amount", "Amount", "quantity"),
    ("price", "Price", "quantity"),
    ("value", "Value", "money"),
    ("fee", "Fee", "money"),
    ("slippage", "Slippage", "money"),
    ("reason", "Reason", ""),
)


def fills(trades: pd.DataFrame | None, files: Sequence[str]) -> dict[str, Any] | None:
    """Return the trades' part of the twin; None where the run kept no log.

    Parameters
    ----------
    trades : DataFrame
        One row per fill, in the order of dealing, see `qlib.backtest.trades`.
    files
        Names of the artifacts that hold all of it.
    """
    if trades is None:
        return None
    shown = trades.iloc[::-1].head(MOST)
    value = trades["value"].to_numpy(float)
    bought = (trades["side"] == "buy").to_numpy()
    rows: dict[str, Any] = {"time": stamps(pd.DatetimeIndex(shown["time"]))}
    for name in ("instrument", "side", "ordered", "amount", "price", "value", "fee", "slippage", "reason"):
        rows[name] = shown[name].tolist()
    return {
        "count": len(trades),
        "shown": len(shown),
        "files": sorted(files),
        "instruments": _counts(trades["instrument"]),
        "reasons": _counts(trades["reason"]),
        "bought": float(value[bought].sum()),
        "sold": float(value[~bought].sum()),
        "fee": float(trades["fee"].sum()),
        "slippage": float(trades["slippage"].sum()),
        "largest": np.argsort(-shown["value"].to_numpy(float), kind="stable").tolist(),
        "rows": rows,
    }


def _counts(column: pd.Series) -> list[list[Any]]:
    """How often each word stands in the column, the most frequent first."""
    counts = column.value_counts()
    return sorted(([str(name), int(count)] for name, count in counts.items()), key=lambda one: (-one[1], one[0]))
