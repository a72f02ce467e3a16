"""The machine's floor under a job: read the files that it reads, write the block that it returns, compute nothing.

    python benchmarks/floor.py --market FOLDER --job alpha158

Reading: open, read and close every file once.  Writing: fill a float32 block of the result's size in fresh memory.
Prints one line of JSON with the minimum of some repeats of each; `wall` is their sum.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

import numpy as np
from jobs import LARGE, Job, calendar_of, instruments_of, positions
from measure import peak_mb, repeat

FIELDS = ("open", "high", "low", "close", "volume", "vwap")


def read(paths: list[Path]) -> int:
    """Read every file; return the bytes."""
    count = 0
    for path in paths:
        file = os.open(path, os.O_RDONLY)
        count += len(os.read(file, 1 << 24))
        os.close(file)
    return count


def write(rows: int, fields: int) -> None:
    """Fill a block in memory that nobody has touched before."""
    np.empty((rows, fields), np.float32).fill(1.0)


def floor(market: Path, name: str) -> dict[str, float]:
    """Return the seconds that the job's traffic alone takes."""
    job = LARGE[name]
    folders = [market / job.store / "features" / name.lower() for name in instruments_of(market, job)]
    paths = [folder / f"{field}.{job.freq}.bin" for folder in folders for field in FIELDS[: job.reads]]
    rows = rows_of(market, job, folders)
    reading = repeat([lambda: read(paths)] * 6)
    writing = repeat([lambda: write(rows, job.columns)] * 4)
    return {
        "wall": reading["best"] + writing["best"],
        "read": reading["best"],
        "write": writing["best"],
        "cpu": reading["cpu"] + writing["cpu"],
        "others": max(reading["others"], writing["others"]),
        "peak_mb": peak_mb(),
        "files": len(paths),
        "read_mb": read(paths) / 2**20,
        "result_mb": rows * job.columns * 4 / 2**20,
    }


def rows_of(market: Path, job: Job, folders: list[Path]) -> int:
    """Return how many rows of the instruments lie inside the job's part of the calendar."""
    begin, end = positions(calendar_of(market, job), job)
    count = 0
    for folder in folders:
        values = np.fromfile(folder / f"close.{job.freq}.bin", "<f4")
        first = int(values[0])
        count += max(0, min(end + 1, first + len(values) - 1) - max(begin, first))
    return count


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--market", type=Path, required=True)
    parser.add_argument("--job", choices=LARGE, required=True)
    asked = parser.parse_args()
    print(json.dumps(floor(asked.market, asked.job)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
