"""The readings of engine.py as markdown: what docs/performance.md shows."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any

from jobs import LARGE, SMALL

# Asked of the engine (issue 3): times faster than pyqlib, times the floor at most, times faster than KunQuant.
ASKED_PEER = {"formulas": 50, "alpha158": 80, "alpha360": 60, "hours": 60, "last_bar": 50, "one_stock": 10}
ASKED_FLOOR = {"formulas": 2.5, "alpha158": 5}
ASKED_KUNQUANT = {"alpha158": 3}
ASKED_THREADS = 1.7
ASKED_MEMORY = {"alpha158": (1.3, 150)}

NOISY = 0.3  # processors that others kept busy: from there on a ratio bears a ~

Reading = dict[str, Any]


def title(job: str) -> str:
    return LARGE[job].title if job in LARGE else SMALL[job]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a markdown table, or nothing where there is no row."""
    if not rows:
        return ""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def seconds(value: float) -> str:
    return f"{value:.2f} s" if value >= 0.1 else f"{value * 1e3:.2f} ms"


class Results:
    """Readings by side, job and threads."""

    def __init__(self, runs: Sequence[Reading]) -> None:
        self.runs = runs

    def of(self, side: str, job: str, kernels: int = 1) -> list[Reading]:
        return [run for run in self.runs if (run["side"], run["job"], run["kernels"]) == (side, job, kernels)]

    def best(self, side: str, job: str, kernels: int = 1) -> Reading | None:
        """Return the reading with the least wall seconds."""
        return min(self.of(side, job, kernels), key=lambda run: run["wall"], default=None)

    def jobs(self) -> list[str]:
        return [job for job in [*LARGE, *SMALL] if self.best("ours", job)]


def times(slow: float, fast: float, limit: float | None = None, *, most: bool = False) -> str:
    """Return a ratio, and what was asked of it."""
    text = f"{slow / fast:.1f}x" if slow / fast < 100 else f"{slow / fast:.0f}x"
    return text if limit is None else f"{text} ({'<=' if most else '>='} {limit:g})"


def unsure(*readings: Reading) -> str:
    """Return a mark where others disturbed one of the readings."""
    return "~" if any(reading.get("others", 0) > NOISY for reading in readings) else ""


def beside_qlib(results: Results, values: Sequence[Reading]) -> str:
    """Ours and pyqlib, one thread against one process."""
    rows = []
    for job in results.jobs():
        ours, theirs = results.best("ours", job), results.best("pyqlib", job)
        assert ours is not None
        middle = median(run["wall"] for run in results.of("ours", job))
        row = [title(job), seconds(ours["wall"]), seconds(middle), seconds(ours["cpu"]), f"{ours['peak_mb']:,.0f}"]
        if theirs is not None:
            alone = min(theirs["wall"], theirs["cpu"])  # others may have made it wait: not our merit
            ratio = unsure(ours, theirs) + times(alone, ours["wall"], ASKED_PEER[job])
            row += [seconds(theirs["wall"]), seconds(theirs["cpu"]), f"{theirs['peak_mb']:,.0f}", ratio]
            row += [f"{abs(ours['check'] / theirs['check'] - 1):.0e}", differing(values, job)]
        rows.append([*row, *["-"] * (11 - len(row))])
    head = ["job", "ours", "median", "CPU", "peak MB", "pyqlib", "CPU", "peak MB", "ratio (asked)", "sums agree to"]
    return table([*head, "cells that differ: default, compat"], rows)


def differing(values: Sequence[Reading], job: str) -> str:
    """Cells beyond 1e-5 and cells missing on one side, by default and with compat="qlib"."""
    counted = [count for count in values if (count["side"], count["job"]) == ("pyqlib", job)]
    off = {count["compat"]: f"{count['apart'] + count['one_missing']:,}" for count in counted}
    return f"{off['default']}, {off['qlib']} of {counted[0]['cells']:,}" if counted else "-"


def beside_floor(results: Results) -> str:
    """Ours on one and two threads, the floor, and the peers that are compiled."""
    rows = []
    for job in [job for job in results.jobs() if job in LARGE]:
        one, two, floor = results.best("ours", job), results.best("ours", job, 2), results.best("floor", job)
        assert one is not None
        row = [title(job), seconds(one["wall"]), seconds(two["wall"]) if two else "-"]
        row.append(unsure(one, two) + times(one["wall"], two["wall"], ASKED_THREADS) if two else "-")
        row.append(f"{seconds(floor['wall'])} ({floor['read']:.3f} + {floor['write']:.3f})" if floor else "-")
        ratio = times(one["wall"], floor["wall"], ASKED_FLOOR.get(job), most=True) if floor else "-"
        row.append(unsure(one, floor or {}) + ratio)
        kun, polars = results.best("kunquant", job), results.best("polars", job)
        polars_two = results.best("polars", job, 2)
        if kun:
            row += [
                f"KunQuant {seconds(kun['wall'])}",
                unsure(one, kun) + times(kun["wall"], one["wall"], ASKED_KUNQUANT.get(job)),
            ]
            row += [f"{seconds(kun['two_threads'])}", times(kun["two_threads"], two["wall"]) if two else "-"]
        elif polars:
            row += [f"polars {seconds(polars['wall'])}", unsure(one, polars) + times(polars["wall"], one["wall"])]
            if polars_two and two:
                row += [seconds(polars_two["wall"]), times(polars_two["wall"], two["wall"])]
        rows.append([*row, *["-"] * (10 - len(row))])
    head = ["job", "ours, 1 thread", "2 threads", "gain (asked)", "floor (read + write)", "ours / floor (asked)"]
    return table([*head, "compiled peer, 1 thread", "ratio (asked)", "peer, 2 threads", "ratio"], rows)


def two_workers(results: Results) -> str:
    """Ours on two threads beside pyqlib with two processes, where that was measured."""
    rows = []
    for job in results.jobs():
        ours, theirs = results.best("ours", job, 2), results.best("pyqlib", job, 2)
        if ours and theirs:
            ratio = times(theirs["wall"], ours["wall"])
            rows.append([title(job), seconds(ours["wall"]), seconds(theirs["wall"]), ratio])
    return table(["job", "ours, 2 threads", "pyqlib, 2 processes", "ratio"], rows)


def memory(results: Results) -> str:
    """Peak memory of the process against the result's own bytes."""
    rows = []
    for job in [job for job in results.jobs() if job in LARGE]:
        ours = results.best("ours", job)
        assert ours is not None
        limit = ""
        if job in ASKED_MEMORY:
            factor, more = ASKED_MEMORY[job]
            limit = f"{factor * ours['result_mb'] + more:,.0f}"
        peak = max(run["peak_mb"] for kernels in (1, 2) for run in results.of("ours", job, kernels))
        shape = f"{ours['rows']:,} x {ours['fields']}"
        rows.append([title(job), shape, f"{ours['result_mb']:,.0f}", f"{ours['peak_mb']:,.0f}", f"{peak:,.0f}", limit])
    return table(["job", "rows x fields", "result MB", "peak MB, 1 thread", "worst of all runs", "asked, MB"], rows)


def where_the_time_goes(results: Results) -> str:
    """One line per large job: system time, and the engine's own parts where it tells them."""
    lines = []
    for job in [job for job in results.jobs() if job in LARGE]:
        ours = results.best("ours", job)
        assert ours is not None
        parts = {**ours["timings"], "system (page faults, files)": ours["system"]}
        told = ", ".join(f"{name} {seconds(value)}" for name, value in parts.items())
        lines.append(f"- {title(job)}, {seconds(ours['wall'])}: {told}")
    return "\n".join(lines) + "\n"


def foreign(values: Sequence[Reading]) -> str:
    """What KunQuant's values are worth."""
    lines = []
    for count in values:
        if count["side"] == "kunquant":
            apart, missing = (f"{count[name] / count['cells']:.1%}" for name in ("apart", "one_missing"))
            told = f"of {count['cells']:,} cells {apart} differ from ours and {missing} are missing on one side"
            lines.append(f"KunQuant (float32), {title(count['job'])}: {told}.")
    return "\n".join(lines) + "\n" if lines else ""


def noise(results: Results) -> str:
    """How many processors others kept busy during the readings that count."""
    parts = []
    for side in dict.fromkeys(run["side"] for run in results.runs):
        best = [results.best(side, job, kernels) for job in [*LARGE, *SMALL] for kernels in (1, 2)]
        used = [run["others"] for run in best if run]
        parts.append(f"{side} {median(used):.2f} (at most {max(used):.2f})")
    mark = f"A ratio with ~ has a reading in it that more than {NOISY:g} disturbed."
    return f"Processors that others kept busy meanwhile, median over the jobs: {', '.join(parts)}. {mark}\n"


def heading(result: Reading) -> str:
    """Machine, sizes, versions, commit."""
    machine, market = result["machine"], result["market"]
    versions: dict[str, dict[str, str]] = {}
    for run in result["runs"]:
        versions.setdefault(run["side"], run.get("versions", {}))
    told = "; ".join(
        f"{side}: " + ", ".join(f"{name} {version}" for name, version in found.items())
        for side, found in versions.items()
        if found
    )
    where = f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gb']} GB"
    size = f"{market['stocks']} stocks x {market['days']:,} days, {market['coins']} coins x {market['hours']:,} hours"
    return f"{result['date']}, commit {result['commit']}; {where}; {told}.\nMarket: {size}.\n"


def report(result: Reading) -> str:
    """Return all tables of a result."""
    results, values = Results(result["runs"]), result["values"]
    parts = [
        heading(result),
        beside_qlib(results, values),
        beside_floor(results),
        two_workers(results),
        memory(results),
        foreign(values),
        "Where the time goes:\n\n" + where_the_time_goes(results),
        noise(results),
    ]
    return "\n".join(part for part in parts if part)
