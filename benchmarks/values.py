"""Two results cell by cell, from the files that `jobs.py --dump` writes; and KunQuant's matrices against them.

Two cells are the same where both are missing, or |a - b| <= 1e-5 (1 + |b|).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from jobs import LARGE, calendar_of, instruments_of, positions

NEAR = 1e-5
Pairs = Iterable[tuple[str, np.ndarray, np.ndarray]]


def count(pairs: Pairs) -> dict[str, object]:
    """Count the cells of columns that differ: `apart` where both have a value, `one_missing` where one has none."""
    cells = apart = one_missing = 0
    worst: dict[str, int] = {}
    for name, left, right in pairs:
        off = ~np.isclose(left, right, rtol=NEAR, atol=NEAR, equal_nan=True)
        gap = int((off & (np.isnan(left) | np.isnan(right))).sum())
        cells, apart, one_missing = cells + len(left), apart + int(off.sum()) - gap, one_missing + gap
        if off.any():
            worst[name] = int(off.sum())
    largest = sorted(worst.items(), key=lambda pair: -pair[1])[:8]
    return {"cells": cells, "apart": apart, "one_missing": one_missing, "worst": dict(largest)}


class Dump:
    """What `jobs.py --dump` wrote: columns, and the instrument and time of every row."""

    def __init__(self, at: Path) -> None:
        self.columns = np.load(f"{at}.npy", mmap_mode="r")
        with np.load(f"{at}.index.npz") as index:
            self.instrument, self.datetime, self.fields = index["instrument"], index["datetime"], index["fields"]

    def keys(self, names: np.ndarray) -> np.ndarray:
        """Return one number per row; `names` are those of both sides, sorted."""
        return np.searchsorted(names, self.instrument).astype(np.int64) * 2**40 + self.datetime // 10**9


def compare(ours: Path, theirs: Path) -> dict[str, object]:
    """Compare two dumps; `rows` counts the rows that only one side has, which are left out of the cells."""
    left, right = Dump(ours), Dump(theirs)
    names = np.union1d(left.instrument, right.instrument)
    mine, other = left.keys(names), right.keys(names)
    if np.array_equal(mine, other):
        pairs: Pairs = zip(left.fields.tolist(), left.columns, right.columns, strict=True)
        return {**count(pairs), "rows": 0}
    common, i, j = np.intersect1d(mine, other, return_indices=True)
    pairs = ((f, a[i], b[j]) for f, a, b in zip(left.fields.tolist(), left.columns, right.columns, strict=True))
    return {**count(pairs), "rows": len(mine) + len(other) - 2 * len(common)}


def compare_kunquant(market: Path, name: str, ours: Path, theirs: Path) -> dict[str, object]:
    """Compare our dump with KunQuant's, which knows no rows before the query: its first sixty bars are left out."""
    from qlib.contrib.data.loader import Alpha158DL  # noqa: PLC0415  ours

    job, left, right = LARGE[name], Dump(ours), np.load(f"{theirs}.npy", mmap_mode="r")
    times = calendar_of(market, job)
    begin, end = positions(times, job)
    asked = np.array([text.replace(" ", "T") for text in times[begin : end + 1]], dtype="datetime64[s]")
    row = np.searchsorted(asked.astype(np.int64), left.datetime // 10**9)
    column = np.searchsorted(instruments_of(market, job), left.instrument)
    late = row >= 60
    row, column = row[late], column[late]
    place = {field: i for i, field in enumerate(json.loads(Path(f"{theirs}.json").read_text()))}
    names = Alpha158DL.get_feature_config()[1]
    return count((f, values[late], right[place[f]][row, column]) for f, values in zip(names, left.columns, strict=True))
