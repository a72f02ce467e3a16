"""Groups of instruments of about the same number of rows, in the order of the query.

A shard is a run of neighbours: what the shards return, one after the other, is in the order of the whole.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from qlib.data.provider.features import Query, needed
from qlib.data.provider.store import Store

PER_WORKER: Final = 2  # shards: with one, all would wait for the slowest worker
MOST_VALUES: Final = 1 << 26  # of a shard's result (256 MB), where one instrument has not more by itself


def cut(query: Query, store: Store, workers: int) -> list[tuple[int, int]]:
    """Return the shards as half-open ranges of instrument numbers: none is empty, together they are all."""
    rows = rows_of(query, store)
    least = -(-int(rows.sum()) * len(query.plan.fields) // MOST_VALUES)
    return balanced(rows, max(workers * PER_WORKER, least))


def rows_of(query: Query, store: Store) -> np.ndarray:
    """Return about how many rows each instrument has, int64: by its spans and by the size of one of its files."""
    count = len(query.instruments)
    low, high = needed(query.plan, query.calendar, query.low, query.high)
    rows = np.full(count, high - low + 1, np.int64)
    if query.members is not None:
        rows = np.minimum(rows, query.members.within(low, high + 1).counts(count))
    if query.plan.reads:
        rows = np.minimum(rows, store.lengths(query.instruments, query.plan.reads[0], query.freq))
    return rows


def balanced(weights: np.ndarray, shards: int) -> list[tuple[int, int]]:
    """Return at most so many runs of neighbours whose weights (int64, at least 0) are about the same.

    >>> balanced(np.array([5, 5, 5, 5, 20]), 2)
    [(0, 4), (4, 5)]
    >>> balanced(np.array([0, 0]), 3)
    [(0, 1), (1, 2)]
    """
    own = weights.astype(np.float64) + 1e-3 * max(float(weights.max(initial=0)), 1)  # nothing to read is work too
    middle = np.cumsum(own) - own / 2
    number = (middle * (min(shards, len(own)) / own.sum())).astype(np.int64) if len(own) else np.empty(0, np.int64)
    ends = np.flatnonzero(np.diff(number, append=-1)) + 1
    return list(zip([0, *ends[:-1].tolist()], ends.tolist(), strict=True)) if len(ends) else []
