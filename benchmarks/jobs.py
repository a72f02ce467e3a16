"""The engine's jobs through Qlib's public API: one job in one process, for whichever `qlib` the interpreter has.

    python benchmarks/jobs.py --market FOLDER --job alpha158 --kernels 1
    python benchmarks/jobs.py --market FOLDER --job alpha158 --dump VALUES [--compat qlib]

Prints one line of JSON: the reading of measure.Clock around the work alone (import and `qlib.init` are over, the page
cache is warm), the result's size, and the sum of its absolute finite values.  With --dump the values themselves go to
VALUES.npy, (fields, rows) float32, and their index to VALUES.index.npz.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import json
import logging
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from measure import Clock, repeat
from road import FORMULAS, total


@dataclass(frozen=True)
class Job:
    """A query for a whole block: which store, which universe, which fields, and which part of the calendar."""

    title: str
    store: str
    freq: str
    universe: str
    fields: Callable[[], list[str]]
    begin: float
    end: float
    reads: int  # fields that are read from the files
    columns: int  # fields of the result


def alpha158() -> list[str]:
    from qlib.contrib.data.loader import Alpha158DL  # noqa: PLC0415  the child's qlib

    return list(Alpha158DL.get_feature_config()[0])


def alpha360() -> list[str]:
    from qlib.contrib.data.loader import Alpha360DL  # noqa: PLC0415  the child's qlib

    return list(Alpha360DL.get_feature_config()[0])


LARGE = {
    "formulas": Job("14 expressions", "stocks", "day", "all", lambda: FORMULAS, 0.0, 0.945, 5, 14),
    "alpha158": Job("Alpha158 raw", "stocks", "day", "index", alpha158, 0.07, 0.988, 6, 158),
    "alpha360": Job("Alpha360 raw", "stocks", "day", "index", alpha360, 0.07, 0.988, 6, 360),
    "hours": Job("Alpha158 raw, hourly bars", "coins", "60min", "all", alpha158, 0.0, 1.0, 6, 158),
}
FEW_FIELDS = ["$close", "$volume", "Mean($close,20)", "Ref($close,1)/$close-1"]
SMALL = {"last_bar": "last bar of `$close`, all stocks", "one_stock": "one stock, 4 fields"}
SMALL_CALLS = {"last_bar": 12, "one_stock": 60}


def calendar_of(root: Path, job: Job) -> list[str]:
    """Return the texts of the store's calendar."""
    return (root / job.store / "calendars" / f"{job.freq}.txt").read_text().split("\n")[:-1]


def positions(times: list[str], job: Job) -> tuple[int, int]:
    """Return the calendar positions of the first and the last bar that the job asks for."""
    return int(job.begin * len(times)), max(int(job.end * len(times)) - 1, 0)


def instruments_of(root: Path, job: Job) -> list[str]:
    """Return the instruments of the job's universe, in order."""
    lines = (root / job.store / "instruments" / f"{job.universe}.txt").read_text().split("\n")[:-1]
    return sorted(line.split("\t")[0] for line in lines)


def start(root: Path, kernels: int, compat: str | None) -> Any:
    """Initialise the child's `qlib` and return its D."""
    import qlib  # noqa: PLC0415  only the child process has one
    from qlib.data import D  # noqa: PLC0415

    named = {} if compat is None else {"compat": compat}
    qlib.init(provider_uri=str(root), region="cn", kernels=kernels, logging_level=logging.ERROR, **named)
    return D


# Our provider's functions, and what they do; a peer's qlib has other ones and is not watched.
PARTS = {"load": "reading files", "compute_rows": "computing and writing", "index_of": "index", "frame_of": "frame"}


def watched() -> dict[str, float]:
    """Return the seconds of each part of the queries from now on; they grow while queries run."""
    spent: dict[str, float] = {}
    try:
        facade = importlib.import_module("qlib.data.provider.facade")
    except ModuleNotFoundError:
        return spent

    def timed(part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **named: Any) -> Any:
            begun = time.perf_counter()
            try:
                return function(*arguments, **named)
            finally:
                spent[part] = spent.get(part, 0.0) + time.perf_counter() - begun

        return run

    for name, part in PARTS.items():
        setattr(facade, name, timed(part, getattr(facade, name)))
    return spent


def run_large(root: Path, name: str, kernels: int, compat: str | None, dump: Path | None) -> dict[str, Any]:
    job = LARGE[name]
    D = start(root / job.store, kernels, compat)
    fields, universe, times = job.fields(), D.instruments(job.universe), calendar_of(root, job)
    begin, end = positions(times, job)
    parts = watched()
    with Clock() as clock:
        frame = D.features(universe, fields, times[begin], times[end], freq=job.freq)
    size = {"rows": len(frame), "fields": frame.shape[1], "result_mb": frame.size * 4 / 2**20}
    if dump is not None:
        write_values(frame, dump)
    return {**clock.reading, **size, "check": total(frame), "timings": parts}


def run_small(root: Path, name: str, kernels: int, compat: str | None) -> dict[str, Any]:
    """Run a small query many times, each with another day or stock, as a user at a prompt does."""
    job = LARGE["formulas"]
    D = start(root / job.store, kernels, compat)
    times, names, calls = calendar_of(root, job), instruments_of(root, job), SMALL_CALLS[name]
    frames: list[pd.DataFrame] = []

    def last_bar(i: int) -> None:
        frames.append(D.features(D.instruments("all"), ["$close"], times[-1 - i], times[-1 - i], freq="day"))

    def one_stock(i: int) -> None:
        begin = times[int(0.07 * len(times))]
        frames.append(D.features([names[i * 7 % len(names)]], FEW_FIELDS, begin, times[-1], freq="day"))

    ask = {"last_bar": last_bar, "one_stock": one_stock}[name]
    reading = repeat([partial(ask, i) for i in range(calls)])
    check = sum(total(frame) for frame in frames)
    return {**reading, "rows": sum(map(len, frames)), "fields": frames[0].shape[1], "check": check}


def write_values(frame: pd.DataFrame, at: Path) -> None:
    """Write the cells column by column, and the index as texts and nanoseconds."""
    values = np.lib.format.open_memmap(f"{at}.npy", mode="w+", dtype="<f4", shape=frame.shape[::-1])
    for i in range(frame.shape[1]):
        values[i] = frame.iloc[:, i].to_numpy()
    values.flush()
    names = frame.index.get_level_values("instrument").to_numpy().astype(str)
    times = frame.index.get_level_values("datetime").to_numpy().astype("datetime64[ns]").astype(np.int64)
    np.savez(f"{at}.index.npz", instrument=names, datetime=times, fields=frame.columns.to_numpy().astype(str))


def versions() -> dict[str, str]:
    """Return the versions of what computes here."""
    found = {"python": platform.python_version()}
    for name in ("pyqlib", "qlib-crypto", "numpy", "pandas"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--market", type=Path, required=True)
    parser.add_argument("--job", choices=[*LARGE, *SMALL], required=True)
    parser.add_argument("--kernels", type=int, default=1)
    parser.add_argument("--compat", help="qlib.init(compat=...)")
    parser.add_argument("--dump", type=Path)
    asked = parser.parse_args()
    if asked.job in LARGE:
        result = run_large(asked.market, asked.job, asked.kernels, asked.compat, asked.dump)
    else:
        result = run_small(asked.market, asked.job, asked.kernels, asked.compat)
    where = str(importlib.import_module("qlib").__file__)
    print(json.dumps({**result, "versions": versions(), "qlib": where}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
