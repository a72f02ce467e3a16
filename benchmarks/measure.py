"""What every process of the benchmark measures of itself: seconds, processor time, peak memory, and what others used.

    with Clock() as clock:
        work()
    clock.reading       {"wall": 0.21, "cpu": 0.20, "system": 0.02, "others": 0.1, "peak_mb": 310.4}

`others` is how many processors others kept busy meanwhile: more than a tenth is a noisy reading.

Peak memory is VmHWM, the high-water mark of this program's own pages.  `ru_maxrss` will not do: a process that is
started by a large one inherits its parent's mark.
"""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from types import TracebackType


def peak_mb() -> float:
    """Return the largest resident size of this process so far."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def machine_cpu() -> float:
    """Return the processor seconds that all processes of this machine have used since it started."""
    user, nice, system, _, _, irq, softirq, *_ = map(int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def own_cpu() -> tuple[float, float]:
    """Return the user and the system seconds of this process and of its children that have ended."""
    parts = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return sum(part.ru_utime for part in parts), sum(part.ru_stime for part in parts)


class Clock:
    """Seconds of a block; `reading` holds them afterwards."""

    reading: dict[str, float]

    def __enter__(self) -> Clock:
        self._machine, self._cpu = machine_cpu(), own_cpu()
        self._begun = time.perf_counter()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        wall = time.perf_counter() - self._begun
        user, system = (now - then for now, then in zip(own_cpu(), self._cpu, strict=True))
        others = max(0.0, machine_cpu() - self._machine - user - system) / wall
        self.reading = {
            "wall": wall,
            "cpu": user + system,
            "system": system,
            "others": others,
            "peak_mb": peak_mb(),
        }


def repeat(calls: Sequence[Callable[[], object]]) -> dict[str, float]:
    """Run short calls one after the other; return the first one's seconds, and their minimum and median as `wall`."""
    walls = []
    with Clock() as clock:
        for call in calls:
            begun = time.perf_counter()
            call()
            walls.append(time.perf_counter() - begun)
    return {
        **clock.reading,
        "cpu": clock.reading["cpu"] / len(calls),
        "first": walls[0],
        "best": min(walls),
        "wall": median(walls),
    }
