"""A query, sharded: what `D.features` returns, bit for bit.

plain formulas          shards -> rows
CSRank(...) and such    shards -> what it reads -> all meet here -> shards -> ... -> rows
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from qlib.config import Settings
from qlib.data.active import active_provider
from qlib.data.distributed.executors import Executor, JoblibExecutor
from qlib.data.distributed.shards import cut
from qlib.data.distributed.work import Job, Part, Shard, answers, clock_of, nodes_of, part
from qlib.data.expression.meetings import Meetings, Question, Room, Values
from qlib.data.panel import Surroundings
from qlib.data.provider import Provider
from qlib.data.provider.absent import Absent, warn
from qlib.data.provider.elsewhere import Stored
from qlib.data.provider.features import Query, empty_frame, marked
from qlib.data.provider.store import FileStore
from qlib.data.provider.traits import apart_of, meets_others
from qlib.data.ranges import Ranges
from qlib.data.storage.watch import note_series
from qlib.log import get_module_logger

logger = get_module_logger("distributed")


def distributed_features(
    instruments: Any,
    fields: Sequence[Any],
    start_time: Any = None,
    end_time: Any = None,
    freq: str = "day",
    *,
    inst_processors: Sequence[Any] = (),
    executor: Executor | None = None,
    provider: Provider | Settings | None = None,
) -> pd.DataFrame:
    """Return what `D.features` returns, computed by the workers of an executor.

    Instruments are cut into shards of about the same number of rows; every worker opens the store by itself. Operators
    across instruments (`CSRank`, ...) run here, between two rounds of shards, one round for each time that they are
    nested.

    Parameters
    ----------
    instruments, fields, start_time, end_time, freq, inst_processors
        As for `D.features`. Universes and filters are looked up, and processors called, here.
    executor
        Who computes; by default joblib with a process for each CPU, for this call.
    provider
        Whose data; a Provider, the Settings for one, or None for that of the live session.

    Raises
    ------
    RunError
        A worker died, or the store changed meanwhile.
    Exception
        What `D.features` raises; it names the instrument and the formula where those are at fault.

    >>> import tempfile
    >>> from qlib.config import build_settings
    >>> from qlib.data.storage.writer import write_store
    >>> days = pd.date_range("2024-01-01", periods=3)
    >>> frames = {name: pd.DataFrame({"close": np.float32([1, 2, i])}, days) for i, name in enumerate("AB")}
    >>> settings = build_settings(provider_uri=write_store(frames, tempfile.mkdtemp() + "/store", "day"))
    >>> with JoblibExecutor(1) as executor:
    ...     found = distributed_features(["A", "B"], ["CSRank(Ref($close,-2))"], executor=executor, provider=settings)
    >>> found.squeeze().unstack().to_numpy().tolist()
    [[0.5, nan, nan], [1.0, nan, nan]]
    """
    provider = Provider(provider) if isinstance(provider, Settings) else provider or active_provider()
    query = provider.query(instruments, fields, start_time, end_time, freq)
    if query is None:
        return empty_frame(tuple(map(str, fields)))
    meetings = _meetings(query)
    endings = [f"{field}.{query.freq.lower()}.bin" for field in query.plan.reads]
    if isinstance(provider.store, FileStore):  # the workers read in processes of their own
        note_series(str(provider.store.root(query.freq) / "features"), query.instruments, endings)
    why_not = "no instrument is asked for" if not query.instruments else meetings.why_not if meetings else None
    if why_not is not None:
        logger.warning(f"computed in this process alone: {why_not}")
        return provider.features(instruments, fields, start_time, end_time, freq, inst_processors=inst_processors)
    with ExitStack() as stack:
        executor = stack.enter_context(JoblibExecutor()) if executor is None else executor
        bounds = cut(query, provider.store, executor.workers)
        parts = _computed(query, meetings, bounds, provider, executor)
    absent = Absent.of_all([part.absent for part in parts])
    warn(provider.store, query.plan, query.freq, query.calendar, query.instruments, absent)
    kept = _joined([part.kept for part in parts], [low for low, _ in bounds])
    return provider.framed(query, _one_block(parts, len(query.plan.fields), kept.rows), kept, inst_processors)


def _meetings(query: Query) -> Meetings | None:
    """Return the stages of a query whose instruments meet, None where they do not."""
    if not meets_others(query.plan):
        return None
    plan = marked(query.plan)
    return Meetings(apart_of(plan) or plan, (query.low, query.high))


def _computed(
    query: Query, meetings: Meetings | None, bounds: Sequence[tuple[int, int]], provider: Provider, executor: Executor
) -> list[Part]:
    """Return what every shard has."""
    settings = provider.settings.replace(kernels=executor.threads)
    shards = [Shard(query.instruments[low:high], _members(query, low, high)) for low, high in bounds]
    met: dict[Room, Values] = {}

    def job(questions: Sequence[Question] = ()) -> Job:
        plan = meetings.plan if meetings else None
        nodes = nodes_of([query.plan, *([plan] if plan else [])], questions, tuple(met))
        clock, name = clock_of(query.calendar), uuid.uuid4().hex
        asked = query.plan, settings, query.freq, query.low, query.high, clock
        return Job(nodes, *asked, tuple(met), tuple(questions), plan, os.getpid(), name)

    def knowing() -> list[Shard]:
        split = [values.split([high - low for low, high in bounds]) for values in met.values()]
        return [replace(shard, met=tuple(of_room[i] for of_room in split)) for i, shard in enumerate(shards)]

    if meetings is not None:
        around, threads = _around(query, provider), provider.settings.threads(query.freq)
        for stage, questions in enumerate(meetings.questions):
            found = executor.map(partial(answers, job(questions)), knowing())
            met = meetings.meet(stage, found, met, query.instruments, around, threads)
    return executor.map(partial(part, job()), knowing())


def _members(query: Query, low: int, high: int) -> Ranges | None:
    """Return the members' positions of the instruments low ... high - 1."""
    if query.members is None:
        return None
    number = np.arange(len(query.instruments))
    return query.members.part((number >= low) & (number < high))


def _around(query: Query, provider: Provider) -> Surroundings:
    """Return what operators across instruments may ask."""
    members = None
    if query.members is not None:
        members = {name: query.members.of(i) for i, name in enumerate(query.instruments)}
    stored = Stored(provider.store, query.freq, query.calendar)
    return Surroundings(times=query.calendar.times, members=members, stored=stored, freq=query.freq)


def _joined(kept: Sequence[Ranges], first: Sequence[int]) -> Ranges:
    """Return the rows of the shards, whose instruments are counted from `first` on, as rows of the query."""
    instrument = np.concatenate([one.instrument + low for one, low in zip(kept, first, strict=True)])
    begin, end = (np.concatenate([getattr(one, name) for one in kept]) for name in ("begin", "end"))
    return Ranges(instrument, begin, end)


def _one_block(parts: list[Part], fields: int, rows: int) -> np.ndarray:
    """Return the blocks side by side; each of them is let go when it is copied."""
    block, at = np.empty((fields, rows), np.float32), 0
    parts.reverse()
    while parts:
        own = parts.pop().block
        block[:, at : at + own.shape[1]] = own
        at += own.shape[1]
    return block
