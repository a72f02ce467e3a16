"""What instrument processors make of the frame of a query.

    process(own, instrument="AAPL")      Qlib's way: each instrument's own frame (index: datetime), one after the other
    process.over(frame)                  all at once, if the processor has it: frame (instrument, datetime) to the same

Processors run in the order in which they are given; those with `over` are asked for all instruments together.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import numpy as np
import pandas as pd

from qlib.data.inst_processor import InstProcessor
from qlib.errors import InputError
from qlib.utils.objects import init_instance_by_config


def processed(frame: pd.DataFrame, inst_processors: Sequence[Any]) -> pd.DataFrame:
    """Return what the processors make of a frame (instrument, datetime), instruments together and both ascending.

    Parameters
    ----------
    inst_processors
        `InstProcessor` objects or their configurations.

    Raises
    ------
    InputError
        A processor returned something else than a frame.
    """
    processors = [init_instance_by_config(one, accept_types=InstProcessor) for one in inst_processors]
    for whole, run in groupby(processors, _sees_all):
        for process in run if whole else ():
            frame = _checked(process.over(frame), process, "all instruments")
        if not whole:
            frame = _each(frame, list(run))
    return frame


def _sees_all(process: Any) -> bool:
    """Tell whether a processor has `over`, and no subclass has a later idea of what is done to one instrument."""
    for made in type(process).__mro__:
        if "over" in vars(made) or "__call__" in vars(made):
            return "over" in vars(made)
    return False


def _checked(result: Any, process: Any, of_what: str) -> pd.DataFrame:
    if not isinstance(result, pd.DataFrame):
        raise InputError(
            f"inst_processors: {type(process).__name__} returned {type(result).__name__} for {of_what}; "
            "a DataFrame is expected"
        )
    return result


def _each(frame: pd.DataFrame, processors: Sequence[Any]) -> pd.DataFrame:
    index = frame.index
    assert isinstance(index, pd.MultiIndex)
    names, (number, code) = index.levels[0], map(np.asarray, index.codes)
    by_time = frame.set_axis(index.levels[1].take(code), axis=0)
    start = np.flatnonzero(np.diff(number, prepend=-1))
    done: dict[Any, pd.DataFrame] = {}
    untouched: list[slice] | None = []  # the rows that came back under their own index, while all of them do
    for low, high in zip(start.tolist(), [*start[1:].tolist(), len(number)], strict=False):
        name = names[number[low]]
        own = by_time.iloc[low:high].copy()
        given = own.index
        for process in processors:
            own = _checked(process(own, instrument=name), process, name)
        if not own.index.is_(given):
            untouched = untouched if untouched is not None and not len(own) else None
        elif untouched is not None:
            untouched.append(slice(low, high))
        if len(own):
            done[name] = own
    if not done:
        return frame.iloc[:0]
    parts = list(done.values())
    first = parts[0]
    if any(type(part.index) is not pd.DatetimeIndex or not part.columns.equals(first.columns) for part in parts):
        return pd.concat(done, names=["instrument"]).sort_index()
    joined = pd.concat(parts)
    if untouched is None:
        codes, times = pd.factorize(joined.index, sort=True)
    else:
        codes, times = np.concatenate([code[rows] for rows in untouched]), index.levels[1]
    return _indexed(joined, list(done), np.array([len(part) for part in parts]), codes, pd.DatetimeIndex(times))


def _indexed(
    joined: pd.DataFrame, names: list[Any], counts: np.ndarray, codes: np.ndarray, times: pd.DatetimeIndex
) -> pd.DataFrame:
    """Return rows of one instrument after the other under their index (instrument, datetime), sorted."""
    number = np.repeat(np.arange(len(names)), counts)
    levels: list[Any] = [pd.Index(names), times]
    places: list[Any] = [number, codes]
    joined.index = pd.MultiIndex(levels=levels, codes=places, names=["instrument", "datetime"], verify_integrity=False)
    in_order = bool(((np.diff(number) > 0) | (np.diff(codes) >= 0)).all())
    return joined if in_order else joined.sort_index()
