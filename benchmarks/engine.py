"""Time the engine's jobs beside its peers and the machine's floor, in one run, and print the tables.

    python benchmarks/engine.py                                            ours and the floor
    python benchmarks/engine.py --peer PYQLIB/bin/python --kunquant KUN/bin/python --polars POLARS/bin/python
    python benchmarks/engine.py --peer-results FILE                        peers from an earlier run's --out
    python benchmarks/engine.py --operators                                nanoseconds per value of each operator

Every measurement is a process of its own on the same files: jobs.py for us and for any other `qlib`, floor.py,
kunquant_alpha158.py, polars_formulas.py.  Sides take turns, `--repeats` times; the page cache is warm, and so is the
memory (see `warm_memory`).  The minimum of the wall seconds counts, the median stands beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jobs import LARGE, SMALL
from market import add_size_options, request, size_of
from measure import machine_cpu
from tables import report
from values import compare, compare_kunquant

HERE = Path(__file__).resolve().parent
PEERS = ("pyqlib", "kunquant", "polars")


@dataclass(frozen=True)
class Side:
    """A script under an interpreter that does some of the jobs with some number of threads."""

    name: str
    python: str
    script: str
    jobs: tuple[str, ...]
    kernels: int
    repeats: int

    def command(self, market: Path, job: str) -> list[str]:
        kernels = ["--kernels", str(self.kernels)] if self.script == "jobs.py" else []
        return [self.python, str(HERE / self.script), "--market", str(market), "--job", job, *kernels]


# ------------------------------------------------------------------------------------------------ one measurement
def run(side: Side, market: Path, job: str, *options: str) -> dict[str, Any]:
    """Run one job in a process of its own and return what it printed."""
    threads = str(side.kernels)
    env = {**os.environ, "OMP_NUM_THREADS": threads, "POLARS_MAX_THREADS": threads}
    env.pop("PYTHONPATH", None)  # a peer's interpreter must not find our qlib,
    if side.python == sys.executable:
        env["PYTHONPATH"] = str(HERE.parent)  # and ours must not find another checkout
    command = [*side.command(market, job), *options]
    done = subprocess.run(command, capture_output=True, text=True, cwd=market, env=env, check=False)
    if done.returncode:
        message = f"{side.name} failed at {job} ({' '.join(command)}): {done.stderr[-1500:]}"
        raise RuntimeError(message)
    found = json.loads(done.stdout.strip().splitlines()[-1])
    ours = found.get("qlib", "").startswith(str(HERE.parent))
    if "qlib" in found and ours != (side.name == "ours"):
        message = f"{side.name} was to be measured with {side.python}, whose qlib is {found['qlib']}"
        raise RuntimeError(message)
    return {"side": side.name, "job": job, "kernels": side.kernels, **found}


def warm_memory(megabytes: int) -> None:
    """Touch that much memory (half of what is free at most) and give it back, in a process of its own.

    A virtual machine is given a page of memory when it touches it for the first time, which costs up to twenty times
    as much as the write itself (half a gigabyte: 0.08 s, or 1.7 s).  Whoever runs first would pay for all.
    """
    free = int(Path("/proc/meminfo").read_text().split("MemAvailable:")[1].split()[0]) // 1024
    code = f"import numpy; numpy.empty({min(megabytes, free // 2)} << 20, numpy.uint8).fill(1)"
    subprocess.run([sys.executable, "-c", code], check=True)


def wait_for_quiet(patience: float) -> None:
    """Wait until others use less than a tenth of a processor, `patience` seconds at most."""
    until = time.monotonic() + patience
    while time.monotonic() < until:
        before = machine_cpu()
        time.sleep(0.5)
        if machine_cpu() - before < 0.05:
            return


# ------------------------------------------------------------------------------------------------ the run
def sides(asked: argparse.Namespace) -> list[Side]:
    """Return who takes part."""
    wanted = asked.jobs.split(",")
    large = tuple(job for job in wanted if job in LARGE)
    found = [
        Side("ours", sys.executable, "jobs.py", tuple(wanted) if kernels == 1 else large, kernels, asked.repeats)
        for kernels in numbers(asked.kernels)
    ]
    found.append(Side("floor", sys.executable, "floor.py", large, 1, asked.repeats))
    peers = [
        Side("pyqlib", asked.peer, "jobs.py", tuple(wanted) if kernels == 1 else large, kernels, asked.peer_repeats)
        for kernels in numbers(asked.peer_kernels)
    ]
    alpha = tuple(job for job in ("alpha158", "hours") if job in wanted)
    peers.append(Side("kunquant", asked.kunquant, "kunquant_alpha158.py", alpha, 1, asked.peer_repeats))
    polars = tuple(job for job in ("formulas",) if job in wanted)
    peers += [Side("polars", asked.polars, "polars_formulas.py", polars, n, asked.peer_repeats) for n in (1, 2)]
    return found + [side for side in peers if side.python]


def numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def turns(taking_part: list[Side], jobs: list[str]) -> Iterator[tuple[int, Side, str]]:
    """Yield (repeat, side, job), sides one after the other."""
    for repeat in range(max(side.repeats for side in taking_part)):
        for job in jobs:
            for side in taking_part:
                if repeat < side.repeats and job in side.jobs:
                    yield repeat, side, job


def measure_all(asked: argparse.Namespace, market: Path, values: Path, result: dict[str, Any]) -> None:
    """Run everything that is asked for and is not known yet; append the readings to the result's runs."""
    runs: list[dict[str, Any]] = result["runs"]
    jobs = asked.jobs.split(",")
    taking_part = sides(asked)
    known = {(reading["side"], reading["job"], reading["kernels"]) for reading in runs}
    ours = next(side for side in taking_part if side.name == "ours")
    for job in ours.jobs:  # the files into the page cache, and whatever an implementation keeps beside them
        run(ours, market, job)
    for repeat, side, job in turns(taking_part, jobs):
        if (side.name, job, side.kernels) in known:
            continue
        if job in LARGE:
            warm_memory(asked.warm_mb)
        options: list[str] = []
        if repeat == 0 and side.name in ("pyqlib", "kunquant") and side.kernels == 1 and job in LARGE and asked.values:
            options = ["--dump", str(values / f"{side.name}.{job}")]
        wait_for_quiet(asked.patience)
        reading = run(side, market, job, *options)
        if options:
            reading["values"] = options[1]
        runs.append(reading)
        write_result(asked.out, result)  # peers take minutes: what is measured is kept
        told = f"{reading['wall']:.4f} s, others {reading['others']:.2f} processors"
        print(f"{side.name} {job} x{side.kernels}: {told}", file=sys.stderr)


def write_result(at: Path | None, result: dict[str, Any]) -> None:
    if at is not None:
        at.write_text(json.dumps(result, indent=1))


def compare_all(market: Path, values: Path, runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Compare our values, by default and with compat="qlib", with those that peers wrote."""
    written = [run for run in runs if "values" in run and Path(f"{run['values']}.npy").exists()]
    ours = Side("ours", sys.executable, "jobs.py", (), 1, 1)
    found = []
    for job in dict.fromkeys(reading["job"] for reading in written):
        for compat in ("default", "qlib"):
            at = values / f"ours.{job}"
            run(ours, market, job, "--dump", str(at), *(["--compat", compat] if compat == "qlib" else []))
            for reading in written:
                theirs = Path(reading["values"])
                if reading["job"] == job and reading["side"] == "pyqlib":
                    found.append({"side": "pyqlib", "job": job, "compat": compat, **compare(at, theirs)})
                elif reading["job"] == job and compat == "default":
                    counted = compare_kunquant(market, job, at, theirs)
                    found.append({"side": "kunquant", "job": job, "compat": compat, **counted})
            Path(f"{at}.npy").unlink()
    return found


# ------------------------------------------------------------------------------------------------ what it ran on
def machine() -> dict[str, Any]:
    """Return what peers' results may be reused on."""
    processor = Path("/proc/cpuinfo").read_text().split("model name")[1].split("\n")[0].strip("\t :")
    memory = int(Path("/proc/meminfo").read_text().split()[1])
    return {"processor": processor, "cores": os.cpu_count(), "memory_gb": round(memory / 2**20)}


def commit() -> str:
    """Return the commit of the checkout, and whether the engine's files differ from it."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(HERE), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()

    edits = git("status", "--porcelain", "--", "../qlib/data", "../setup.py")
    return (git("rev-parse", "--short", "HEAD") or "unknown") + (" with edits" if edits else "")


def reused(path: Path, market: dict[str, int]) -> list[dict[str, Any]]:
    """Return the peers' readings of an earlier run; refuse those of another machine or another market."""
    earlier = json.loads(path.read_text())
    for name, now in (("machine", machine()), ("market", market)):
        if earlier[name] != now:
            message = f"{path} was measured on another {name}: {earlier[name]}, here {now}"
            raise ValueError(message)
    return [run for run in earlier["runs"] if run["side"] in PEERS]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer", help="python of an environment with another qlib")
    parser.add_argument("--kunquant", help="python of an environment with KunQuant")
    parser.add_argument("--polars", help="python of an environment with polars")
    parser.add_argument("--jobs", default=",".join([*LARGE, *SMALL]))
    parser.add_argument("--repeats", type=int, default=5, help="of ours and of the floor")
    parser.add_argument("--peer-repeats", type=int, default=1)
    parser.add_argument("--kernels", default="1,2", help="threads of ours")
    parser.add_argument("--peer-kernels", default="1", help="processes of the peer")
    parser.add_argument("--work", type=Path, help="keep the market and the peers' values here")
    parser.add_argument("--out", type=Path, help="write all readings to this file")
    parser.add_argument("--peer-results", type=Path, help="take the peers' readings from a file that --out wrote")
    parser.add_argument("--no-values", dest="values", action="store_false", help="do not compare cell by cell")
    parser.add_argument("--patience", type=float, default=5, help="seconds to wait for a quiet machine, before each")
    parser.add_argument("--warm-mb", type=int, default=3000, help="memory to touch before each large job")
    parser.add_argument("--report", type=Path, help="only print the tables of a file that --out wrote")
    parser.add_argument("--operators", action="store_true", help="only time each operator alone")
    add_size_options(parser)
    asked = parser.parse_args()
    if asked.operators:
        from operators import operator_table  # noqa: PLC0415  it needs our qlib; the rest runs beside any

        print(operator_table())
        return 0
    if asked.report:
        print(report(json.loads(asked.report.read_text())))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        work = (asked.work or Path(folder)).resolve()
        market, values = work / "market", work / "values"
        values.mkdir(parents=True, exist_ok=True)
        size = size_of(asked)
        with_market = [sys.executable, str(HERE / "market.py"), str(market)]
        subprocess.run([*with_market, *(f"--{name}={n}" for name, n in asdict(size).items())], check=True)
        result: dict[str, Any] = {
            "date": datetime.now(UTC).strftime("%Y-%m-%d"),
            "machine": machine(),
            "market": request(size),
            "commit": commit(),
            "runs": reused(asked.peer_results, request(size)) if asked.peer_results else [],
            "values": [],
        }
        measure_all(asked, market, values, result)
        if asked.values:
            result["values"] = compare_all(market, values, result["runs"])
            write_result(asked.out, result)
        print(report(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
