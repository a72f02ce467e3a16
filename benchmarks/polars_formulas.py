"""The 14 expressions by polars, over a long frame with `.over(instrument)`.

    POLARS_MAX_THREADS=1 VENV/bin/python benchmarks/polars_formulas.py --market FOLDER --job formulas

Needs `pip install polars`.  `wall` is the whole way, files to result, as for the others: polars knows no such files, so
numpy reads them and builds the frame; `select` is the query alone, on the frame in memory.  Eager and lazy queries and
both float types are tried, the best counts.  Prints one line of JSON.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import sys
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
from matrices import matrices
from measure import peak_mb, repeat

FIELDS = ("open", "high", "low", "close", "volume")


def expressions() -> list[pl.Expr]:
    """Return the formulas of `road.FORMULAS`, in order."""
    close, opened, high, low, volume, row = (pl.col(name) for name in ("close", "open", "high", "low", "volume", "row"))

    def own(expression: pl.Expr) -> pl.Expr:
        return expression.over("instrument")

    def rolled(column: pl.Expr, how: str, rows: int) -> pl.Expr:
        return own(getattr(column, f"rolling_{how}")(rows, min_samples=1))

    lowest, highest = rolled(low, "min", 14), rolled(high, "max", 14)
    line = own(pl.rolling_cov(close, row, window_size=20, min_samples=1))
    formulas = [
        (close - opened) / opened,
        (high - low) / opened,
        own(close.shift(5)) / close,
        own(close.shift(20)) / close,
        rolled(close, "mean", 5) / close,
        rolled(close, "mean", 20) / close,
        rolled(close, "std", 20) / close,
        rolled(high, "max", 20) / close,
        rolled(low, "min", 20) / close,
        (close - lowest) / (highest - lowest + 1e-12),
        (own(close.ewm_mean(span=12)) - own(close.ewm_mean(span=26))) / close,
        line / ((20 * 20 - 1) / 12 * 20 / 19) / close,
        own(pl.rolling_corr(close, (volume + 1).log(), window_size=20, min_samples=1)),
        rolled(volume, "std", 20) / (rolled(volume, "mean", 20) + 1e-12),
    ]
    return [formula.alias(f"f{i}") for i, formula in enumerate(formulas)]


def frame(market: Path, name: str, dtype: type[np.floating]) -> pl.DataFrame:
    """Return the job's rows as a long frame; NaN is null, as polars wants a missing value."""
    source, names = matrices(market, name, list(FIELDS))
    rows = len(source["close"])
    there = ~np.isnan(source["close"].T.reshape(-1))
    first = np.maximum.accumulate(there.reshape(len(names), rows), axis=1).reshape(-1)  # from the listing on
    columns = {field: values.T.reshape(-1)[first].astype(dtype) for field, values in source.items()}
    keys = {
        "instrument": np.repeat(np.arange(len(names), dtype=np.int32), rows)[first],
        "row": np.tile(np.arange(rows, dtype=dtype), len(names))[first],
    }
    return pl.DataFrame({**keys, **columns}).with_columns(pl.col(field).fill_nan(None) for field in FIELDS)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--market", type=Path, required=True)
    parser.add_argument("--job", default="formulas", choices=("formulas",))
    asked = parser.parse_args()
    wanted = expressions()
    tried: dict[str, tuple[float, dict[str, float]]] = {}  # the seconds of the frame, and the query's
    for dtype in (np.float32, np.float64):
        build = partial(frame, asked.market, asked.job, dtype)
        building, table = repeat([build] * 3)["best"], build()
        tried[f"{dtype.__name__}, eager"] = building, repeat([partial(table.select, wanted)] * 4)
        tried[f"{dtype.__name__}, lazy"] = building, repeat([table.lazy().select(wanted).collect] * 4)
    best = min(tried, key=lambda name: tried[name][0] + tried[name][1]["best"])
    build_seconds, select = tried[best]
    result = {
        "wall": build_seconds + select["best"],
        "select": select["best"],
        "cpu": select["cpu"],
        "others": select["others"],
        "peak_mb": peak_mb(),
        "best": best,
        "threads": pl.thread_pool_size(),
        "tried": tried,
        "versions": {name: importlib.metadata.version(name) for name in ("polars", "numpy")},
    }
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
