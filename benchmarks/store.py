"""How fast files become a store, beside reading them twice with pandas: what docs/performance.md shows.

    python benchmarks/store.py                          800 CSV files, 3,412 days: 240 MB
    python benchmarks/store.py --stocks 50 --days 500   smaller

Each measurement is a process of its own, the sides take turns, the least CPU seconds of the repeats count. The stores
are written to fresh folders, which are removed at the end: some file systems are slow to reuse what was just removed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from market import STOCKS, Size, add_size_options, make_market, size_of
from measure import Clock
from tables import seconds, table, times

ASKED = 8  # times faster than reading twice with pandas, wall; two threads were asked for
ASKED_MB = 500


def make_csv(store: Path, folder: Path) -> None:
    """Write the stocks of `store` as CSV files: date, symbol and the eight fields, as float32 prints."""
    folder.mkdir()
    days = np.array((store / "calendars" / "day.txt").read_text().split())
    for line in (store / "instruments" / "all.txt").read_text().splitlines():
        name = line.split("\t")[0]
        columns = {}
        for path in sorted((store / "features" / name.lower()).glob(f"*.{STOCKS.freq}.bin")):
            stored = np.fromfile(path, "<f4")
            start = int(stored[0])
            columns[path.name.split(".")[0]] = stored[1:]
        dates = days[start : start + len(stored) - 1]
        pd.DataFrame({"date": dates, "symbol": name, **columns}).to_csv(folder / f"{name}.csv", index=False)


def dump(csv: Path, target: Path, workers: int) -> dict[str, float]:
    """Dump the files; measure without imports."""
    from qlib.collect.dump import dump_all  # noqa: PLC0415  the other side does without

    with Clock() as clock:
        dump_all(csv, target, max_workers=workers)
    return clock.reading


def read_twice(csv: Path) -> dict[str, float]:
    """Read every file with pandas, twice."""
    files = sorted(csv.glob("*.csv"))
    for path in files[:3]:
        pd.read_csv(path)
    with Clock() as clock:
        for _ in range(2):
            for path in files:
                pd.read_csv(path)
    return clock.reading


def measured(side: str, csv: Path, target: Path, workers: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--side", side, "--csv", csv, "--target", target, "--workers", workers]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=True)
    reading: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return reading


def report(readings: dict[str, list[dict[str, float]]], megabytes: float, files: int) -> str:
    best = {side: min(runs, key=lambda run: run["cpu"]) for side, runs in readings.items()}
    rows = []
    for side, runs in readings.items():
        one = best[side]
        ratios = ["", ""]
        if side != "pandas":
            ratios = [times(best["pandas"]["wall"], one["wall"], ASKED), f"{best['pandas']['cpu'] / one['cpu']:.1f}x"]
        peak = f"{max(run['peak_mb'] for run in runs):,.0f}"
        cells = [seconds(one[part]) for part in ("cpu", "system", "wall")]
        rows.append([TITLES[side], *cells, peak, *ratios, f"{one['others']:.1f}"])
    head = [
        "CPU",
        "of it system",
        "wall",
        f"peak MB (<= {ASKED_MB})",
        "ratio of wall (asked)",
        "of CPU",
        "others kept busy",
    ]
    return table([f"{files} files, {megabytes:,.0f} MB", *head], rows)


TITLES = {"dump": "dump_all, 1 thread", "dump2": "dump_all, 2 threads", "pandas": "pandas.read_csv, every file twice"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, help="folder for the market and the files; kept, and used again")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--csv", type=Path, help="files to dump instead of the market's")
    parser.add_argument("--out", type=Path, help="write the readings here, too")
    parser.add_argument("--side", choices=["dump", "pandas"], help=argparse.SUPPRESS)
    parser.add_argument("--target", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--workers", type=int, default=1, help=argparse.SUPPRESS)
    add_size_options(parser)
    asked = parser.parse_args()
    if asked.side:
        reading = read_twice(asked.csv) if asked.side == "pandas" else dump(asked.csv, asked.target, asked.workers)
        print(json.dumps(reading))
        return 0
    with tempfile.TemporaryDirectory(dir=asked.work) as scratch:
        csv = asked.csv
        if csv is None:
            size = size_of(asked)
            work = asked.work or Path(scratch)
            csv = work / f"csv_{size.stocks}x{size.days}"
            if not csv.exists():
                make_market(work / "market", Size(size.stocks, size.days, coins=1, hours=1))
                make_csv(work / "market" / "stocks", csv)
        files = sorted(csv.glob("*.csv"))
        readings: dict[str, list[dict[str, float]]] = {"dump": [], "dump2": [], "pandas": []}
        for repeat in range(asked.repeats):
            readings["dump"].append(measured("dump", csv, Path(scratch, f"a{repeat}"), 1))
            readings["dump2"].append(measured("dump", csv, Path(scratch, f"b{repeat}"), 2))
            readings["pandas"].append(measured("pandas", csv, Path(scratch), 1))
        print(report(readings, sum(path.stat().st_size for path in files) / 1e6, len(files)))
        if asked.out:
            asked.out.write_text(json.dumps(readings))
    return 0


if __name__ == "__main__":
    sys.exit(main())
