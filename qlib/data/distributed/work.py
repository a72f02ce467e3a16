"""What a worker does: it opens the store that the settings name, reads the instruments of a shard, and computes.

    answers(job, shard)     what a stage of meetings asks of the shard (qlib.data.expression.meetings)
    part(job, shard)        the rows of the shard

A job travels with its plan, not with texts: what a formula means was decided where it was asked, with the operators
that were registered there.  Data never travel: every machine sees the files under the same path.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial, wraps
from typing import Any, TypeVar

import numpy as np

from qlib.config import Settings
from qlib.data.active import fill
from qlib.data.calendar import Calendar
from qlib.data.expression.meetings import Question, Room, Values, answer, evaluate_met
from qlib.data.expression.node import Node, walk
from qlib.data.expression.plan import Plan
from qlib.data.provider import Provider
from qlib.data.provider.absent import Absent
from qlib.data.provider.features import Loaded, compute, compute_rows, load, rows_of, wanted_of
from qlib.data.ranges import Ranges
from qlib.errors import QlibError, RunError

Result = TypeVar("Result")
Clock = tuple[int, Any, Any]


@dataclass(frozen=True, slots=True)
class Job:
    """What all shards of a query, or of one of its stages, have in common.

    Parameters
    ----------
    nodes
        Every node of what follows, inputs before readers: pickled in this order, no formula is too deep.
    plan
        What is asked, and decides what is read.
    settings
        With `kernels` as the threads of a worker.
    clock
        Of the calendar by which positions are counted, see `clock_of`.
    rooms
        Those in which something is met already, see `Shard.met`.
    questions
        What a stage asks.
    met
        The plan behind the last stage; None where there are no stages.
    driver
        Number of the process that asks.
    key
        A name that no other job has.
    """

    nodes: tuple[Node, ...]
    plan: Plan
    settings: Settings
    freq: str
    low: int
    high: int
    clock: Clock
    rooms: tuple[Room, ...]
    questions: tuple[Question, ...]
    met: Plan | None
    driver: int
    key: str


@dataclass(frozen=True, slots=True)
class Shard:
    """Some neighbouring instruments: their names, their members' positions, and what was met, room by room."""

    instruments: tuple[str, ...]
    members: Ranges | None
    met: tuple[Values, ...] = ()


@dataclass(frozen=True, slots=True)
class Part:
    """What a shard has: the block (fields, rows), which rows those are, and what was not found."""

    block: np.ndarray
    kept: Ranges
    absent: Absent


def clock_of(calendar: Calendar) -> Clock:
    """Return what tells a calendar from one in which positions mean something else: length, first and last entry."""
    times = calendar.times
    return (len(times), times[0], times[-1]) if len(times) else (0, None, None)


def nodes_of(plans: Sequence[Plan], questions: Sequence[Question], rooms: Sequence[Room]) -> tuple[Node, ...]:
    """Return every node of these, inputs before readers."""
    roots = [root for plan in plans for root in plan.roots]
    roots += [need for question in questions for need in question.needs.values()]
    roots += [node for room in (*rooms, *(question.room for question in questions)) for node in room.inside]
    return tuple(walk(*roots, everywhere=True))


# ------------------------------------------------------------------------------------------------ in a worker
_jobs: dict[str, Job] = {}
_providers: dict[str, Provider] = {}


def _telling(run: Callable[[Job, Shard], Result]) -> Callable[[Job, Shard], Result]:
    """Decorate what a worker runs: whatever goes wrong reaches the caller, and says where it went wrong."""

    @wraps(run)
    def told(job: Job, shard: Shard) -> Result:
        try:
            return run(_known(job), shard)
        except QlibError as problem:
            if _travels(problem):
                raise
            raise RunError(f"{type(problem).__name__}: {problem}") from problem
        except Exception as problem:
            names = shard.instruments
            who = ", ".join(names if len(names) < 4 else (names[0], "...", names[-1]))
            fields = ", ".join(job.plan.fields[:3]) + (", ..." if len(job.plan.fields) > 3 else "")
            raise RunError(f"{type(problem).__name__}: {problem}; while {fields} were computed for {who}") from problem

    return told


def _travels(problem: Exception) -> bool:
    try:
        return str(pickle.loads(pickle.dumps(problem))) == str(problem)
    except Exception:  # noqa: BLE001  whatever an exception class does when it is pickled
        return False


def _known(job: Job) -> Job:
    """Return the same job as for the shard before: its plan is compiled already."""
    if job.key not in _jobs:
        _jobs.clear()
        _jobs[job.key] = job
    return _jobs[job.key]


def _provider(job: Job) -> Provider:
    """Return the worker's own provider; users' operators that ask for the session's find it too."""
    settings = job.settings
    key = repr([settings[name] for name in ("provider_uri", "mount_path", "compat", "min_data_shift", "kernels")])
    key += repr(settings.region) + ("" if settings.get("data") is None else settings["data"].key)
    if key not in _providers:
        _providers.clear()
        _providers[key] = Provider(settings)
    if os.getpid() != job.driver:
        fill(_providers[key])
    return _providers[key]


def _load(job: Job, shard: Shard) -> Loaded:
    store = _provider(job).store
    calendar = store.calendar(store.stored_freq(job.freq))
    if clock_of(calendar) != job.clock:
        raise RunError(f"{calendar!r} is not the calendar that the query began with: the store changed; ask again")
    threads = job.settings.threads(job.freq)
    return load(store, shard.instruments, job.plan, job.freq, calendar, job.low, job.high, threads)


@_telling
def answers(job: Job, shard: Shard) -> list[Values]:
    """Answer the questions of a stage for the instruments of a shard."""
    loaded = _load(job, shard)
    return answer(
        job.questions,
        loaded.columns(),
        dict(zip(job.rooms, shard.met, strict=True)),
        compat=job.plan.compat,
        query=(job.low, job.high),
        n_threads=job.settings.threads(job.freq),
    )


@_telling
def part(job: Job, shard: Shard) -> Part:
    """Compute the rows of a shard."""
    loaded, threads = _load(job, shard), job.settings.threads(job.freq)
    kept = rows_of(loaded, job.low, job.high, shard.members)
    evaluate = compute if job.met is None else partial(_compute_met, job, shard)
    if len(kept):
        block, kept = compute_rows(job.plan, loaded, kept, job.low, job.high, threads, evaluate)
    else:
        block = np.empty((len(job.plan.fields), 0), np.float32)
    return Part(block, kept, Absent.of(loaded, job.plan))


def _compute_met(
    job: Job, shard: Shard, plan: Plan, loaded: Loaded, kept: Ranges, low: int, high: int, threads: int
) -> np.ndarray:
    """Do what `compute` does, for the plan in which everything is met."""
    assert job.met is not None
    met = dict(zip(job.rooms, shard.met, strict=True))
    return evaluate_met(job.met, loaded.columns(), wanted_of(loaded, kept), met, query=(low, high), n_threads=threads)
