"""The fields of a job as (time, instrument) matrices straight from the files, for peers that have no file format."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jobs import LARGE, calendar_of, instruments_of, positions


def matrices(market: Path, name: str, fields: list[str], pad: int = 1) -> tuple[dict[str, np.ndarray], list[str]]:
    """Return the fields, float32 (times, instruments), NaN where there is no bar, and the instruments in order.

    The number of columns is rounded up to a multiple of `pad`; what is added is NaN.
    """
    job = LARGE[name]
    begin, end = positions(calendar_of(market, job), job)
    names = instruments_of(market, job)
    columns = -(-len(names) // pad) * pad
    found = {field: np.full((end + 1 - begin, columns), np.nan, np.float32) for field in fields}
    for i, instrument in enumerate(names):
        folder = market / job.store / "features" / instrument.lower()
        for field, matrix in found.items():
            stored = np.fromfile(folder / f"{field}.{job.freq}.bin", "<f4")
            first, values = int(stored[0]), stored[1:]
            low, high = max(begin, first), min(end + 1, first + len(values))
            if low < high:
                matrix[low - begin : high - begin, i] = values[low - first : high - first]
    return found, names
