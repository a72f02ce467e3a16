"""Where scores come from: a frame, a file, a fitted model, or anything with `get_signal(start_time, end_time)`.

    create_signal_from(scores)                Series or DataFrame over (datetime, instrument)
    create_signal_from("pred.parquet")        such a frame in a file: .parquet, .csv or .pkl
    create_signal_from((model, dataset))      what the model predicts for the test segment

What cannot mean anything is refused before the first step, in one sentence: duplicate rows, infinite scores, scores for
other times than those of the backtest, scores for instruments none of which has quotes.
"""

from __future__ import annotations

import abc
from bisect import bisect_left, bisect_right
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd

from qlib.errors import ConfigError, did_you_mean
from qlib.utils.objects import init_instance_by_config
from qlib.utils.pickle_utils import restricted_pickle_load

if TYPE_CHECKING:
    from qlib.data.dataset import Dataset
    from qlib.model.base import BaseModel


FILES = (".parquet", ".csv", ".pkl")


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores of one step as an array: `values[column[name]]` is the score of an instrument, NaN where it has none."""

    names: Sequence[str]
    column: Mapping[str, int]
    values: np.ndarray[Any, np.dtype[np.float64]]


class Signal(metaclass=abc.ABCMeta):
    """Scores of instruments at a time."""

    @abc.abstractmethod
    def get_signal(self, start_time: pd.Timestamp, end_time: pd.Timestamp) -> pd.Series | pd.DataFrame | None:
        """Return the scores (index: instrument) of a closed time range, or None when there are none."""
        raise NotImplementedError

    def get_scores(self, start_time: pd.Timestamp, end_time: pd.Timestamp) -> Scores | None:
        """Return `get_signal` (of a frame the first column) as arrays."""
        found = self.get_signal(start_time, end_time)
        if found is None:
            return None
        series = found.iloc[:, 0] if isinstance(found, pd.DataFrame) else found
        names = series.index.tolist()
        return Scores(names, {name: i for i, name in enumerate(names)}, series.to_numpy(dtype=np.float64))


class SignalWCache(Signal):
    """Scores that are ready in memory.

    Parameters
    ----------
    signal
        Series or DataFrame over (datetime, instrument), in either order of the levels. Of a frame strategies use the
        first column. Raises ConfigError for duplicate rows, infinite scores and an index without those two levels.

    Of a range with several times, each instrument's last score counts.
    """

    def __init__(self, signal: pd.Series | pd.DataFrame) -> None:
        self.signal_cache = _by_time(signal)
        index = cast("pd.MultiIndex", self.signal_cache.index)
        days, names = np.asarray(index.codes[0], dtype=np.int64), np.asarray(index.codes[1], dtype=np.int64)
        level = pd.DatetimeIndex(index.levels[0])
        cut = np.flatnonzero(np.diff(days)) + 1
        self._start: list[int] = [0, *cut.tolist(), len(days)] if len(days) else [0]  # first row of each time
        opened = level[days[self._start[:-1]]] if len(days) else level[:0]
        self._ticks: list[int] = opened.to_numpy().astype("datetime64[ns]").astype(np.int64).tolist()
        self._names = tuple(index.levels[1])
        self._column = {name: i for i, name in enumerate(self._names)}
        self._codes = names
        first = self.signal_cache.iloc[:, 0] if isinstance(self.signal_cache, pd.DataFrame) else self.signal_cache
        self._values = first.to_numpy(dtype=np.float64)
        self._whole = self._whole_times()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "get_signal" in cls.__dict__ and "get_scores" not in cls.__dict__:
            cls.get_scores = Signal.get_scores  # type: ignore[method-assign]  # the subclass's own scores count

    def _whole_times(self) -> list[bool]:
        """Tell of each time whether it has a row of every instrument, in order."""
        starts = np.array(self._start)
        steps = np.concatenate([[0], np.cumsum(np.diff(self._codes) <= 0, dtype=np.int32)])  # back, up to each row
        in_order = steps[starts[1:] - 1] == steps[starts[:-1]] if len(starts) > 1 else np.empty(0, dtype=bool)
        whole: list[bool] = ((np.diff(starts) == len(self._names)) & in_order).tolist()
        return whole

    def _times(self, start_time: pd.Timestamp, end_time: pd.Timestamp) -> tuple[int, int]:
        lo = bisect_left(self._ticks, start_time.value)
        return lo, bisect_right(self._ticks, end_time.value, lo)

    def _rows(self, start_time: pd.Timestamp, end_time: pd.Timestamp) -> tuple[int, int]:
        first, end = self._times(start_time, end_time)
        return self._start[first], self._start[end]

    def doubts(
        self, quoted: Container[str], ranges: Sequence[tuple[pd.Timestamp, pd.Timestamp]]
    ) -> tuple[str | None, list[str]]:
        """Return (why nothing can come of these scores, or None; what is odd about them), one sentence each.

        `quoted` holds the instruments with quotes, `ranges` the closed range of times whose scores each step uses.
        """
        spans = [self._rows(*span) for span in ranges]
        used = [slice(lo, hi) for lo, hi in spans if lo < hi]
        if ranges and not used:
            has = (
                f"are from {pd.Timestamp(self._ticks[0])} to {pd.Timestamp(self._ticks[-1])}"
                if self._ticks
                else "are none"
            )
            return (
                f"signal: its scores {has}, but the steps of the backtest use those of {ranges[0][0]} to "
                f"{ranges[-1][1]}: nothing would be traded"
            ), []
        names = self._names
        absent = [name for name in names if name not in quoted]
        if len(absent) == len(names) and isinstance(quoted, Iterable):
            return (
                f"signal: none of its {len(names)} instruments has quotes, the first is {absent[0]}"
                f"{did_you_mean(str(absent[0]), quoted)}"
            ), []
        odd = []
        if absent:
            odd.append(
                f"{len(absent)} of {len(names)} instruments have no quotes and are never traded: {_some(absent)}"
            )
        silent = [span[0] for span, (lo, hi) in zip(ranges, spans, strict=True) if lo == hi]
        if silent[1:] or (silent and silent[0] != ranges[0][0]):  # the first step alone: scores begin with the backtest
            odd.append(f"{len(silent)} of {len(ranges)} steps have no score and trade nothing: {_some(silent)}")
        if used:
            nan = np.isnan(self._values[used[0].start : used[-1].stop])
            if nan.all():
                return "signal: every score is NaN: nothing would be traded", []
            if nan.any():
                odd.append(f"{int(nan.sum())} of {len(nan)} scores are NaN: such a name is not bought, and sold first")
        return None, [f"signal: {what}" for what in odd]

    def get_signal(self, start_time: pd.Timestamp, end_time: pd.Timestamp) -> pd.Series | pd.DataFrame | None:
        lo, hi = self._rows(pd.Timestamp(start_time), pd.Timestamp(end_time))
        if lo == hi:
            return None
        part = self.signal_cache.iloc[lo:hi].droplevel(0)
        return part if part.index.is_unique else part.groupby(level=0).last()

    def get_scores(self, start_time: pd.Timestamp, end_time: pd.Timestamp) -> Scores | None:
        first, end = self._times(start_time, end_time)
        lo, hi = self._start[first], self._start[end]
        if lo == hi:
            return None
        codes, scores = self._codes[lo:hi], self._values[lo:hi]
        if end - first == 1 and self._whole[first]:
            return Scores(self._names, self._column, scores)
        values = np.full(len(self._names), np.nan)
        known = ~np.isnan(scores)
        values[codes[known]] = scores[known]  # rows are in time order: the last one stays
        return Scores(self._names, self._column, values)


def _some(things: Sequence[Any]) -> str:
    return ", ".join(map(str, things[:3])) + (", ..." if len(things) > 3 else "")


def _by_time(signal: pd.Series | pd.DataFrame) -> pd.Series | pd.DataFrame:
    """Return the signal with index (datetime, instrument), sorted, and checked."""
    if not isinstance(signal, pd.Series | pd.DataFrame):
        raise ConfigError(f"signal: received {type(signal).__name__}; a Series or DataFrame is allowed")
    index = signal.index
    if not isinstance(index, pd.MultiIndex) or index.nlevels != 2:
        raise ConfigError(
            f"signal: its index has the levels {list(index.names)}; the two levels datetime and instrument are needed"
        )
    if isinstance(signal, pd.DataFrame) and not signal.shape[1]:
        raise ConfigError("signal: the frame has no column; its first column must hold the scores")
    if "datetime" in index.names and not isinstance(index.levels[index.names.index("datetime")], pd.DatetimeIndex):
        index = _with_times(index, index.names.index("datetime"))
        signal = signal.set_axis(index, axis=0)
    times = [i for i in (0, 1) if isinstance(index.levels[i], pd.DatetimeIndex)]
    named = [i for i in (0, 1) if index.names[i] == "datetime" and i in times]
    when = (named or times or [None])[0]
    if when is None:
        kinds = ", ".join(f"{name}: {level.dtype}" for name, level in zip(index.names, index.levels, strict=True))
        raise ConfigError(f"signal: no level of its index holds times ({kinds}); convert one with pd.to_datetime")
    zone = pd.DatetimeIndex(index.levels[when]).tz
    if zone is not None:
        raise ConfigError(
            f"signal: its times carry the zone {zone}; a store keeps one clock without zones: "
            "convert with .tz_convert(<zone of the store>).tz_localize(None)"
        )
    if any((np.asarray(codes) < 0).any() for codes in index.codes):
        raise ConfigError("signal: a row of its index has no time or no instrument")
    if when == 1:
        signal = signal.swaplevel(0, 1)
    values = signal.to_numpy()
    if not np.issubdtype(values.dtype, np.number) and values.dtype != bool:
        raise ConfigError(f"signal: the scores are {values.dtype}, not numbers")
    infinite = np.isinf(values if values.dtype.kind == "f" else values.astype(np.float64))
    if infinite.any():
        where = signal.index[np.flatnonzero(infinite.reshape(len(signal), -1).any(axis=1))[0]]
        raise ConfigError(f"signal: the score of {where[1]} at {where[0]} is infinite; numbers and NaN are allowed")
    levels = _sorted_levels(cast("pd.MultiIndex", signal.index))
    signal = signal.set_axis(levels, axis=0)
    key = np.asarray(levels.codes[0], dtype=np.int64) * len(levels.levels[1]) + np.asarray(levels.codes[1])
    steps = np.diff(key)
    if steps.min(initial=1) < 0:
        order = np.argsort(key, kind="stable")
        signal, steps = signal.iloc[order], np.diff(key[order])
    if steps.min(initial=1) == 0:
        again = np.flatnonzero(steps == 0)
        where = signal.index[again[0]]
        raise ConfigError(
            f"signal: {where[1]} has several scores at {where[0]}; one per instrument and time is allowed"
        )
    return signal


def _with_times(index: pd.MultiIndex, which: int) -> pd.MultiIndex:
    """Read a level of dates that are not Timestamps yet."""
    try:
        times = pd.DatetimeIndex(pd.to_datetime(index.levels[which], format="ISO8601"))
    except (ValueError, TypeError) as error:
        raise ConfigError(
            f"signal: its level datetime holds no times ({error}); convert it with pd.to_datetime"
        ) from None
    levels: Any = [times if i == which else level for i, level in enumerate(index.levels)]
    return index.set_levels(levels)


def _sorted_levels(index: pd.MultiIndex) -> pd.MultiIndex:
    """Return the same rows with both levels in ascending order and without unused entries."""
    codes: Any = []
    levels: Any = []
    for code, level in zip(index.codes, index.levels, strict=True):
        used = np.zeros(len(level), dtype=bool)
        used[code] = True
        if used.all() and level.is_monotonic_increasing:
            codes.append(code)
            levels.append(level)
            continue
        kept = level[used]
        order = kept.argsort()
        place = np.zeros(len(level), dtype=np.int64)
        place[np.flatnonzero(used)[order]] = np.arange(len(kept))
        codes.append(place[code])
        levels.append(kept[order])
    return pd.MultiIndex(levels=levels, codes=codes, names=index.names, verify_integrity=False)


class ModelSignal(SignalWCache):
    """Scores that a fitted model gives to a dataset's test segment; predicted once, at construction."""

    def __init__(self, model: BaseModel, dataset: Dataset) -> None:
        self.model = model
        self.dataset = dataset
        scores: Any = model.predict(dataset)
        super().__init__(signal=scores.iloc[:, 0] if isinstance(scores, pd.DataFrame) else scores)


def create_signal_from(obj: Any) -> Signal:
    """Return a signal from a Signal, a Series or DataFrame, a file of one, a pair (model, dataset), or a configuration.

    A text or path that ends in .parquet, .csv or .pkl is a file. Raises ConfigError for anything else.
    """
    if isinstance(obj, Signal):
        return obj
    if isinstance(obj, str | Path) and Path(obj).suffix in FILES and "://" not in str(obj):
        return SignalWCache(signal=_read(Path(obj).expanduser()))
    if isinstance(obj, tuple | list) and len(obj) == 2:
        return ModelSignal(*obj)
    if isinstance(obj, pd.DataFrame | pd.Series):
        return SignalWCache(signal=obj)
    if isinstance(obj, dict | str):
        made = init_instance_by_config(obj)
        return made if isinstance(made, Signal) else create_signal_from(made)
    raise ConfigError(
        f"signal: received {type(obj).__name__}; allowed are a Series or DataFrame over (datetime, instrument), "
        "a file of one (.parquet, .csv, .pkl), a pair (model, dataset), a Signal and the configuration of one"
    )


def _read(path: Path) -> pd.Series | pd.DataFrame:
    """Return the scores in a file; its ending says how to read it."""
    if not path.is_file():
        raise ConfigError(f"signal: there is no file {path} (looked from {Path.cwd()})")
    found: Any
    if path.suffix == ".parquet":
        found = pd.read_parquet(path)
    elif path.suffix == ".csv":
        found = pd.read_csv(path, dtype={"instrument": str})
    else:
        with path.open("rb") as file:
            found = restricted_pickle_load(file)
    if isinstance(found, pd.DataFrame) and {"datetime", "instrument"} <= set(found.columns):
        found = found.set_index(["datetime", "instrument"])
    if not isinstance(found, pd.Series | pd.DataFrame):
        raise ConfigError(f"signal: {path} holds a {type(found).__name__}; a Series or DataFrame is allowed")
    return found
