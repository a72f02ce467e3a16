"""Time the road's jobs, ours and a peer's, in one run, and print the ratios.

    python benchmarks/road.py                              ours only
    python benchmarks/road.py --peer VENV/bin/python       beside another installed `qlib` (pyqlib 0.9.7, say)
    python benchmarks/road.py --stocks 300 --days 3000     the size

Each job runs in a process of its own, through Qlib's public API only, on the same files;
the interpreter decides whose `qlib` answers. Wall and CPU seconds exclude the import and `qlib.init`.
The page cache is warm for both.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

FORMULAS = [
    "($close-$open)/$open",
    "($high-$low)/$open",
    "Ref($close,5)/$close",
    "Ref($close,20)/$close",
    "Mean($close,5)/$close",
    "Mean($close,20)/$close",
    "Std($close,20)/$close",
    "Max($high,20)/$close",
    "Min($low,20)/$close",
    "($close-Min($low,14))/(Max($high,14)-Min($low,14)+1e-12)",
    "(EMA($close,12)-EMA($close,26))/$close",
    "Slope($close,20)/$close",
    "Corr($close,Log($volume+1),20)",
    "Std($volume,20)/(Mean($volume,20)+1e-12)",
]


def make_store(root: Path, stocks: int, days: int) -> None:
    """Write a random market in Qlib's file format with numpy alone, so that no implementation writes its own exam."""
    rng = np.random.default_rng(7)
    calendar = pd.bdate_range("2008-01-01", periods=days)
    (root / "calendars").mkdir(parents=True)
    (root / "instruments").mkdir()
    (root / "calendars" / "day.txt").write_text("\n".join(calendar.strftime("%Y-%m-%d")) + "\n")
    names = [f"SH{600000 + i}" for i in range(stocks)]
    lines = [f"{n}\t{calendar[0]:%Y-%m-%d}\t{calendar[-1]:%Y-%m-%d}" for n in names]
    (root / "instruments" / "all.txt").write_text("\n".join(lines) + "\n")
    for name in [*names, "SH000300"]:
        change = rng.standard_normal(days) * 0.02
        close = 20 * np.exp(np.cumsum(change))
        opened = close * np.exp(rng.standard_normal(days) * 0.005)
        fields = {
            "close": close,
            "open": opened,
            "high": np.maximum(close, opened) * (1 + rng.random(days) * 0.01),
            "low": np.minimum(close, opened) * (1 - rng.random(days) * 0.01),
            "volume": np.exp(rng.standard_normal(days)) * 1e6,
            "vwap": (close + opened) / 2,
            "factor": np.ones(days),
            "change": np.concatenate([[np.nan], close[1:] / close[:-1] - 1]),
        }
        folder = root / "features" / name.lower()
        folder.mkdir(parents=True)
        for field, values in fields.items():
            np.concatenate([[0.0], values]).astype("<f4").tofile(folder / f"{field}.day.bin")


def total(frame: pd.DataFrame) -> float:
    """Sum of the absolute finite values: enough to see that both sides computed the same."""
    columns = (frame.iloc[:, i].to_numpy(dtype="float64") for i in range(frame.shape[1]))
    return float(sum(np.abs(values[np.isfinite(values)]).sum() for values in columns))


def alpha158_fields(D: Any) -> list[str]:
    from qlib.contrib.data.loader import Alpha158DL  # noqa: PLC0415  the child's qlib

    parts = {"kbar": {}, "price": {"windows": [0], "feature": ["OPEN", "HIGH", "LOW", "VWAP"]}, "rolling": {}}
    return Alpha158DL.get_feature_config(parts)[0]


def features(D: Any, fields: list[str]) -> pd.DataFrame:
    return D.features(D.instruments("all"), fields, freq="day")


def signal(D: Any) -> pd.Series:
    names = sorted(D.list_instruments(D.instruments("all"), as_list=True))
    calendar = pd.DatetimeIndex(D.calendar())
    rng, level, rows = np.random.default_rng(7), np.zeros(len(names)), []
    for _ in calendar:
        level = 0.95 * level + 0.31 * rng.standard_normal(len(names))
        rows.append(level)
    index = pd.MultiIndex.from_product([calendar, names], names=["datetime", "instrument"])
    return pd.Series(np.concatenate(rows), index=index, name="score")


def topk(D: Any, scores: pd.Series) -> pd.DataFrame:
    from qlib.backtest import backtest  # noqa: PLC0415  the child's qlib

    days = scores.index.levels[0]
    strategy = {"class": "TopkDropoutStrategy", "module_path": "qlib.contrib.strategy"}
    executor = {"class": "SimulatorExecutor", "module_path": "qlib.backtest.executor"}
    costs = {"open_cost": 0.0005, "close_cost": 0.0015, "min_cost": 5}
    portfolio, _ = backtest(
        start_time=days[1],
        end_time=days[-2],
        strategy={**strategy, "kwargs": {"signal": scores, "topk": 50, "n_drop": 5}},
        executor={**executor, "kwargs": {"time_per_step": "day", "generate_portfolio_metrics": True}},
        benchmark="SH000300",
        account=1e8,
        exchange_kwargs={"freq": "day", "limit_threshold": 0.095, "deal_price": "close", **costs},
    )
    return portfolio["1day"][0][["account"]].iloc[-1:]


# job -> (what is prepared outside the clock, what is timed)
JOBS: dict[str, tuple[Callable[[Any], Any], Callable[[Any, Any], pd.DataFrame]]] = {
    "formulas": (lambda D: FORMULAS, features),
    "alpha158": (alpha158_fields, features),
    "topk": (signal, topk),
}


def run_job(job: str, root: str) -> dict[str, float]:
    """Run one job in this process with whichever `qlib` it imports; return seconds and a checksum."""
    import qlib  # noqa: PLC0415  only the child process has one
    from qlib.data import D  # noqa: PLC0415

    qlib.init(provider_uri=root, region="cn", kernels=1, logging_level=logging.ERROR)
    prepare, work = JOBS[job]
    prepared = prepare(D)
    begun, used = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
    result = work(D, prepared)
    wall, now = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_SELF)
    cpu = now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime
    return {"wall": wall, "cpu": cpu, "mb": now.ru_maxrss / 1024, "check": total(result)}


def measure(python: str, job: str, root: Path) -> dict[str, float]:
    command = [python, str(Path(__file__).resolve()), "--job", job, "--root", str(root)]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=root, env=env, check=False)
    if done.returncode:
        message = f"{python} failed at {job}: {done.stderr[-800:]}"
        raise RuntimeError(message)
    return json.loads(done.stdout.strip().splitlines()[-1])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer", help="python of an environment with another qlib")
    parser.add_argument("--stocks", type=int, default=300)
    parser.add_argument("--days", type=int, default=3000)
    parser.add_argument("--jobs", default="formulas,alpha158,topk")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    parser.add_argument("--root", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.job:
        print(json.dumps(run_job(asked.job, asked.root)))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "market"
        make_store(root, asked.stocks, asked.days)
        side = f"{'cpu':>8}{'peak MB':>9}"
        print(f"{asked.stocks} stocks x {asked.days} days, one process, seconds without import and init")
        print(f"{'job':<10}{'ours wall':>11}{side}{'peer wall':>11}{side}{'ratio':>8}{'same to':>10}")
        for job in asked.jobs.split(","):
            ours = measure(sys.executable, job, root)
            line = f"{job:<10}{ours['wall']:>11.2f}{ours['cpu']:>8.2f}{ours['mb']:>9.0f}"
            if asked.peer:
                peer = measure(asked.peer, job, root)
                off = abs(ours["check"] / peer["check"] - 1)
                line += f"{peer['wall']:>11.2f}{peer['cpu']:>8.2f}{peer['mb']:>9.0f}"
                line += f"{peer['wall'] / ours['wall']:>7.1f}x{off:>10.1e}"
            print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
