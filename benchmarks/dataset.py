"""Time handlers, processors and samplers, ours and a peer's, in one run, and print the ratios.

    python benchmarks/dataset.py                                     ours only
    python benchmarks/dataset.py --peer PYQLIB/bin/python            beside another installed `qlib`
    python benchmarks/dataset.py --work FOLDER                       keep the market there
    python benchmarks/dataset.py --dates 0.25                        handlers over the last quarter of the dates only

Handlers: Alpha158 of 300 stocks over twelve years, by default (label dropped and scaled for learning), with the linear
models' processors (RobustZScoreNorm, Fillna), and over a universe that changes every half year.  `handler` is loading
and processing; `with fetches` adds what a model asks next: all features to infer from, and the first half to learn
from.  What one side does at once the other may do when it is asked: the second number is the one to compare by.

Sampler: windows of 20 days x 158 columns, 300 stocks x 2,000 days, in windows per second of processor time.

Every measurement is a process of its own, through Qlib's public API; import and `qlib.init` are not counted.
"""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from engine import HERE, Side, run, wait_for_quiet, warm_memory
from market import add_size_options, size_of
from measure import Clock
from road import total
from tables import seconds, table, times, unsure

LINEAR = [
    {"class": "RobustZScoreNorm", "kwargs": {"fields_group": "feature", "clip_outlier": True}},
    {"class": "Fillna", "kwargs": {"fields_group": "feature"}},
]
# job -> (title, universe, processors for inference, times faster than pyqlib that were asked)
HANDLERS: dict[str, tuple[str, str, list[Any], float]] = {
    "usual": ("Alpha158, usual processors", "index", [], 40),
    "linear": ("Alpha158, RobustZScoreNorm and Fillna", "index", LINEAR, 30),
    "dynamic": ("Alpha158, 300 of 800, changing", "dynamic", [], 40),
}
ASKED_MEMORY, ASKED_WINDOWS = 2.2, 1_000_000
WHOLE = (0.07, 0.55, 0.988)  # begin, middle and end of the dates, as parts of the calendar
DAYS, STOCKS, COLUMNS, STEP, BATCH, MISSING = 2_000, 300, 158, 20, 256, 0.05
WAYS = {
    "one": "`sampler[i]`",
    "each": "`for window in sampler`",
    "batch": "`sampler[[...]]`, 256 neighbours",
    "shuffled": "`sampler[[...]]`, 256 at random",
    "gaps": "`sampler[[...]]`, 256 at random, one row in twenty missing",
}


# ---------------------------------------------------------------------------------------------------- in the child
def changing_universe(store: Path, members: int = 300, half_year: int = 120) -> None:
    """Write the universe `dynamic`: every half year other names, drawn from those that are listed then."""
    calendar = (store / "calendars" / "day.txt").read_text().split()
    lives = [line.split("\t") for line in (store / "instruments" / "all.txt").read_text().splitlines()]
    rng, lines = np.random.default_rng(11), []
    for first in range(0, len(calendar), half_year):
        begin, end = calendar[first], calendar[min(first + half_year, len(calendar)) - 1]
        listed = [(name, max(begin, a), min(end, b)) for name, a, b in lives if a <= end and b >= begin]
        chosen = rng.choice(len(listed), min(members, len(listed)), replace=False)
        lines += ["\t".join(listed[i]) for i in sorted(chosen)]
    (store / "instruments" / "dynamic.txt").write_text("\n".join(sorted(lines)) + "\n")


def run_handler(root: Path, job: str, part: float) -> dict[str, Any]:
    """Make the handler over the last `part` of the dates, then fetch; return the readings of both."""
    import qlib  # noqa: PLC0415  only the child process has one
    from qlib.contrib.data.handler import Alpha158  # noqa: PLC0415

    qlib.init(provider_uri=str(root / "stocks"), region="cn", kernels=1, logging_level=logging.ERROR)
    _, universe, infer, _ = HANDLERS[job]
    calendar = (root / "stocks" / "calendars" / "day.txt").read_text().split()
    begin, middle, end = (calendar[int(at * (len(calendar) - 1))] for at in ends_of(part))
    span = {"start_time": begin, "end_time": end, "fit_start_time": begin, "fit_end_time": middle}
    with Clock() as making:
        handler = Alpha158(instruments=universe, infer_processors=infer, **span)
    with Clock() as fetching:
        seen = handler.fetch(col_set="feature", data_key="infer")
        learned = handler.fetch(slice(begin, middle), col_set=["feature", "label"], data_key="learn")
    copy = seen.size * 4 / 2**20
    return {
        **making.reading,
        "fetch_wall": fetching.reading["wall"],
        "fetch_cpu": fetching.reading["cpu"],
        "fetch_peak_mb": fetching.reading["peak_mb"],
        "rows": len(seen),
        "copy_mb": copy,
        "check": total(seen) + total(learned),
    }


def ends_of(part: float) -> tuple[float, float, float]:
    """Return where the dates of a handler begin, where its second half does, and where they end.

    >>> ends_of(1)
    (0.07, 0.55, 0.988)
    """
    begin, middle, end = WHOLE
    return (end - part * (end - begin), end - part * (end - middle), end) if part < 1 else WHOLE


def windows_frame() -> pd.DataFrame:
    index = pd.MultiIndex.from_product(
        [pd.bdate_range("2010-01-01", periods=DAYS), [f"N{i:03d}" for i in range(STOCKS)]],
        names=["datetime", "instrument"],
    )
    block = np.empty((COLUMNS, len(index)), np.float32)
    block[:] = np.random.default_rng(3).random(len(index), dtype=np.float32)
    return pd.DataFrame(block.T, index=index, columns=[f"F{i}" for i in range(COLUMNS)], copy=False)


def rate(ask: Callable[[], Iterator[np.ndarray]], windows: int, least: float = 0.4, rounds: int = 3) -> float:
    """Return windows per second of processor time, the best of some rounds; each part asked for has so many windows."""
    best = 0.0
    for _ in range(rounds):
        parts, count, begun = ask(), 0, time.process_time()
        while time.process_time() - begun < least:
            some = sum(1 for _ in islice(parts, 5_000 // windows))
            if not some:
                break
            count += some * windows
        best = max(best, count / (time.process_time() - begun))
    return best


def run_sampler() -> dict[str, Any]:
    """Make the sampler, then ask for windows in every way."""
    from qlib.data.dataset import TSDataSampler  # noqa: PLC0415  the child's qlib

    df = windows_frame()
    first, last = df.index[0][0] + pd.Timedelta(60, "D"), df.index[-1][0]
    with Clock() as making:
        sampler = TSDataSampler(df, first, last, STEP)
    mixed = np.random.default_rng(5).permutation(len(sampler))
    in_order = np.arange(len(sampler))

    def batches(order: np.ndarray, of: Any = sampler) -> Iterator[np.ndarray]:
        return (of[order[low : low + BATCH]] for low in range(0, len(order) - BATCH, BATCH))

    ways: dict[str, tuple[Callable[[], Iterator[np.ndarray]], int]] = {
        "one": (lambda: (sampler[i] for i in range(len(sampler))), 1),
        "each": (lambda: iter(sampler), 1),
        "batch": (lambda: batches(in_order), BATCH),
        "shuffled": (lambda: batches(mixed), BATCH),
    }
    check = float(sum(sampler[int(i)].sum(dtype=np.float64) for i in mixed[:500]))
    rates = {name: rate(*way) for name, way in ways.items()}
    df = windows_frame()  # pyqlib's takes the columns out of the frame that it is given
    with_gaps = TSDataSampler(df[np.random.default_rng(7).random(len(df)) >= MISSING], first, last, STEP)
    mixed = np.random.default_rng(5).permutation(len(with_gaps))
    rates["gaps"] = rate(lambda: batches(mixed, with_gaps), BATCH)
    check += float(sum(np.nansum(with_gaps[int(i)], dtype=np.float64) for i in mixed[:500]))
    return {**making.reading, "samples": len(sampler), "check": check, **rates}


def child(root: Path, job: str, part: float) -> dict[str, Any]:
    found = run_sampler() if job == "sampler" else run_handler(root, job, part)
    return {**found, "qlib": str(importlib.import_module("qlib").__file__)}


# ---------------------------------------------------------------------------------------------------- the tables
def best(runs: list[dict[str, Any]], side: str, job: str) -> dict[str, Any] | None:
    return min((r for r in runs if r["side"] == side and r["job"] == job), key=lambda r: r["cpu"], default=None)


def alone(reading: dict[str, Any], *parts: str) -> float:
    """Return the lesser of wall and processor seconds of some parts: waiting for others is nobody's merit."""
    return sum(min(reading[f"{part}wall"], reading[f"{part}cpu"]) for part in parts)


def handlers_table(runs: list[dict[str, Any]], part: float) -> str:
    rows = []
    of_dates = "" if part == 1 else f", the last {part:.0%} of the dates"
    for job, (title, _, _, asked) in HANDLERS.items():
        ours, theirs = best(runs, "ours", job), best(runs, "pyqlib", job)
        if ours is None:
            continue
        made, whole = alone(ours, ""), alone(ours, "", "fetch_")
        row = [
            title + of_dates,
            f"{ours['rows']:,}",
            seconds(made),
            seconds(whole),
            f"{ours['peak_mb']:,.0f}",
            f"{times(ours['peak_mb'], ours['copy_mb'], ASKED_MEMORY, most=True)}",
            f"{ours['fetch_peak_mb']:,.0f}",
        ]
        if theirs is not None:
            mark = unsure(ours, theirs)
            row += [
                seconds(alone(theirs, "")),
                seconds(alone(theirs, "", "fetch_")),
                f"{theirs['peak_mb']:,.0f}",
                mark + times(alone(theirs, ""), made, asked),
                mark + times(alone(theirs, "", "fetch_"), whole),
                f"{abs(ours['check'] / theirs['check'] - 1):.0e}",
            ]
        rows.append([*row, *["-"] * (13 - len(row))])
    head = ["job", "rows", "handler", "with fetches", "peak MB", "/ one copy (asked)", "MB with fetches"]
    return table(head + ["pyqlib", "with fetches", "peak MB", "ratio (asked)", "with fetches", "same to"], rows)


def sampler_table(runs: list[dict[str, Any]]) -> str:
    ours, theirs = best(runs, "ours", "sampler"), best(runs, "pyqlib", "sampler")
    if ours is None:
        return ""
    rows = [
        [
            "making it",
            seconds(alone(ours, "")),
            *([seconds(alone(theirs, "")), times(alone(theirs, ""), alone(ours, ""))] if theirs else ["-", "-"]),
        ]
    ]
    for way, title in WAYS.items():
        row = [title, f"{ours[way]:,.0f}"]
        rows.append([*row, *([f"{theirs[way]:,.0f}", times(ours[way], theirs[way])] if theirs else ["-", "-"])])
    return table([f"windows per second (asked: {ASKED_WINDOWS:,})", "ours", "pyqlib", "ratio"], rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer", help="python of an environment with another qlib")
    parser.add_argument("--jobs", default=",".join([*HANDLERS, "sampler"]))
    parser.add_argument("--repeats", type=int, default=3, help="of ours")
    parser.add_argument("--dates", type=float, default=1.0, help="handlers: part of the dates, for both sides")
    parser.add_argument("--work", type=Path, help="keep the market here")
    parser.add_argument("--out", type=Path, help="write all readings to this file")
    parser.add_argument("--patience", type=float, default=5, help="seconds to wait for a quiet machine, before each")
    parser.add_argument("--warm-mb", type=int, default=3000, help="memory to touch before each job")
    parser.add_argument("--market", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--job", help=argparse.SUPPRESS)
    parser.add_argument("--kernels", help=argparse.SUPPRESS)
    add_size_options(parser)
    asked = parser.parse_args()
    if asked.job:
        print(json.dumps(child(asked.market, asked.job, asked.dates)))
        return 0
    if not 0 < asked.dates <= 1:
        parser.error(f"--dates: received {asked.dates}; a part of 1, such as 0.25, is allowed")
    with tempfile.TemporaryDirectory() as folder:
        market = (asked.work or Path(folder)).resolve() / "market"
        market.parent.mkdir(parents=True, exist_ok=True)
        sizes = [f"--{name}={n}" for name, n in asdict(size_of(asked)).items()]
        subprocess.run([sys.executable, str(HERE / "market.py"), str(market), *sizes], check=True)
        changing_universe(market / "stocks")
        runs: list[dict[str, Any]] = []
        jobs, options = tuple(asked.jobs.split(",")), ("--dates", str(asked.dates))
        taking_part = [Side("ours", sys.executable, "dataset.py", jobs, 1, asked.repeats)]
        if asked.peer:
            taking_part.append(Side("pyqlib", asked.peer, "dataset.py", jobs, 1, 1))
        run(taking_part[0], market, jobs[0], *options)  # the files into the page cache
        for repeat in range(asked.repeats):
            for job in jobs:
                for side in taking_part:
                    if repeat < side.repeats:
                        warm_memory(asked.warm_mb)
                        wait_for_quiet(asked.patience)
                        runs.append(run(side, market, job, *options))
                        told = f"{runs[-1]['wall']:.2f} s, {runs[-1]['cpu']:.2f} of them computing"
                        print(f"{side.name} {job}: {told}, others {runs[-1]['others']:.2f}", file=sys.stderr)
                        if asked.out is not None:
                            asked.out.write_text(json.dumps(runs, indent=1))
        print(handlers_table(runs, asked.dates))
        print(sampler_table(runs))
    return 0


if __name__ == "__main__":
    sys.exit(main())
