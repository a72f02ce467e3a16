"""Datasets: a handler, and named segments of time.

    dataset = DatasetH(handler, segments={"train": ("2018-01-01", "2019-12-31"), "test": ("2020-01-01", None)})
    dataset.prepare("train", col_set=["feature", "label"], data_key=DataHandlerLP.DK_L)

Segments are closed at both ends. What is wrong with them is said when the dataset is made (an end before its start, a
text that is no date) or when they are asked for (no date of the data inside).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from copy import copy, deepcopy
from typing import Any

import numpy as np
import pandas as pd

from qlib.data.dataset.columns import View
from qlib.data.dataset.handler import DataHandler, DataHandlerLP, takes_data_key
from qlib.data.dataset.utils import CS_ALL, date_range
from qlib.errors import ConfigError, MissingDataError, did_you_mean
from qlib.log import get_module_logger
from qlib.utils.objects import init_instance_by_config
from qlib.utils.serial import Serializable

TRAIN = "train"


class Dataset(Serializable):
    """What a model is given: `setup_data` makes the data ready, `prepare` hands them out."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__()
        self.setup_data(**kwargs)

    def config(self, **kwargs: Any) -> None:  # type: ignore[override]
        """Change parameters that need no new data; the rest is Serializable's."""
        super().config(**kwargs)

    def setup_data(self, **kwargs: Any) -> None:
        """Make the data ready."""

    def prepare(self, **kwargs: Any) -> Any:
        """Return the data a model asks for."""


class DatasetH(Dataset):
    """A dataset over a handler.

    Parameters
    ----------
    handler
        A handler, its configuration, or the path of its pickle ("file://...").
    segments
        Name -> (start, end), closed, None leaving a side open; a slice is allowed too.
    fetch_kwargs
        Arguments given to every `handler.fetch`.

    Raises ConfigError for a segment that ends before it starts or whose bounds are no dates. A processor of the handler
    whose fit window reaches into a segment other than "train" is reported as a warning: it has seen what the
    model is judged on.
    """

    def __init__(
        self,
        handler: Any,
        segments: Mapping[str, Any],
        fetch_kwargs: Mapping[str, Any] = {},
        **kwargs: Any,
    ) -> None:
        self.handler: Any = init_instance_by_config(handler, accept_types=DataHandler)
        self.segments = _checked_segments(segments)
        self.fetch_kwargs = dict(fetch_kwargs)
        super().__init__(**kwargs)

    def config(self, handler_kwargs: dict[str, Any] | None = None, **kwargs: Any) -> None:  # type: ignore[override]
        """Change `segments`; `handler_kwargs` go to `handler.config`; the rest is Serializable's."""
        if handler_kwargs is not None:
            self.handler.config(**handler_kwargs)
        if "segments" in kwargs:
            self.segments = _checked_segments(deepcopy(kwargs.pop("segments")))
            self._warn_about_fit_windows()
        super().config(**kwargs)

    def setup_data(self, handler_kwargs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Make the data ready; `handler_kwargs` (such as init_type) make the handler load again."""
        super().setup_data(**kwargs)
        if handler_kwargs is not None:
            self.handler.setup_data(**handler_kwargs)
        self._warn_about_fit_windows()

    def prepare(  # type: ignore[override]
        self,
        segments: Any,
        col_set: Any = CS_ALL,
        data_key: str = DataHandlerLP.DK_I,
        **kwargs: Any,
    ) -> Any:
        """Return the data of one segment, or a list for a list of segment names.

        Parameters
        ----------
        segments
            A segment's name; a list of names; or anything that `handler.fetch` takes as a selector of dates.
        col_set, data_key
            As in `DataHandlerLP.fetch`.
        kwargs
            More arguments of `handler.fetch`.

        Raises MissingDataError for an unknown name, and when the data hold no date of the segment.
        """
        asked = {"col_set": col_set, **kwargs}
        if takes_data_key(self.handler):
            asked["data_key"] = data_key
        if isinstance(segments, str) and (segments in self.segments or not _is_date(segments)):
            return self._prepare_named(segments, asked)
        if isinstance(segments, list | tuple) and segments and all(isinstance(name, str) for name in segments):
            named = [name in self.segments or not _is_date(name) for name in segments]
            if all(named):
                return [self._prepare_named(name, asked) for name in segments]
        return self._prepare_seg(segments, **asked)

    def _prepare_named(self, name: str, asked: dict[str, Any]) -> Any:
        if name not in self.segments:
            hint = did_you_mean(name, self.segments)
            raise MissingDataError(f"no segment is called {name!r}; there are {', '.join(self.segments)}{hint}")
        bounds = _as_slice(self.segments[name])
        found = self._prepare_seg(bounds, **asked)
        if hasattr(found, "__len__") and len(found) == 0:
            self._complain_if_outside(name, bounds)
        return found

    def _prepare_seg(self, slc: Any, **kwargs: Any) -> Any:
        """Return the data of one slice of dates; subclasses with other containers override this."""
        return self.handler.fetch(slc, **{**self.fetch_kwargs, **kwargs})

    def _complain_if_outside(self, name: str, bounds: slice) -> None:
        dates = [d for d in (self._data_range()) if d is not None]
        if not dates:
            raise MissingDataError(f"segment {name} [{bounds.start}, {bounds.stop}]: the handler holds no data at all")
        start, end = _bounds(bounds)
        if (start is not None and start > dates[1]) or (end is not None and end < dates[0]):
            raise MissingDataError(
                f"segment {name} [{bounds.start}, {bounds.stop}] lies outside the data, which reach from {dates[0]} to "
                f"{dates[1]}; move the segment, or the start_time and end_time of the handler"
            )

    def _data_range(self) -> tuple[Any, Any]:
        """Return first and last date of any view the handler holds."""
        ranges = [
            date_range(view.index)
            for view in (self.handler.__dict__.get(name) for name in DataHandlerLP.ATTR_MAP.values())
            if isinstance(view, View)
        ]
        known = [pair for pair in ranges if pair[0] is not None]
        return (min(p[0] for p in known), max(p[1] for p in known)) if known else (None, None)

    def _warn_about_fit_windows(self) -> None:
        """Write a warning for every processor that learns from dates of a segment other than "train"."""
        processors = self.handler.get_all_processors() if "infer_processors" in vars(self.handler) else []
        for processor in processors:
            if not (hasattr(processor, "fit_start_time") and hasattr(processor, "fit_end_time")):
                continue
            window = slice(processor.fit_start_time, processor.fit_end_time)
            met = [
                name for name, segment in self.segments.items() if name != TRAIN and _meet(window, _as_slice(segment))
            ]
            if met:
                get_module_logger("dataset").warning(
                    f"{type(processor).__name__} learns from [{window.start}, {window.stop}], which reaches into the "
                    f"segments {', '.join(f'{name} {_shown(self.segments[name])}' for name in met)}: results there are "
                    "too good; end fit_end_time before them"
                )

    @staticmethod
    def get_min_time(segments: Mapping[str, Any]) -> Any:
        """Return the earliest start of all segments; None if one is open."""
        return _extreme(segments, 0, min)

    @staticmethod
    def get_max_time(segments: Mapping[str, Any]) -> Any:
        """Return the latest end of all segments; None if one is open."""
        return _extreme(segments, 1, max)


# ------------------------------------------------------------------------------------------------------------ segments
def _as_slice(segment: Any) -> slice:
    return segment if isinstance(segment, slice) else slice(*segment)


def _shown(segment: Any) -> str:
    bounds = _as_slice(segment)
    return f"[{bounds.start}, {bounds.stop}]"


def _bounds(bounds: slice) -> tuple[pd.Timestamp | None, pd.Timestamp | None]:
    """Return both ends as moments; an end given as a date means its last moment."""
    start = None if bounds.start is None else pd.Timestamp(bounds.start)
    end = None if bounds.stop is None else pd.Timestamp(bounds.stop)
    whole_day = isinstance(bounds.stop, str) or (
        isinstance(bounds.stop, dt.date) and not isinstance(bounds.stop, dt.datetime)
    )
    if end is not None and whole_day and end == end.normalize():
        end += pd.Timedelta(1, "D") - pd.Timedelta(1, "ns")
    return start, end


def _meet(a: slice, b: slice) -> bool:
    (a_start, a_end), (b_start, b_end) = _bounds(a), _bounds(b)
    return (a_end is None or b_start is None or a_end >= b_start) and (
        b_end is None or a_start is None or b_end >= a_start
    )


def _is_date(text: str) -> bool:
    try:
        pd.Timestamp(text)
    except ValueError:
        return False
    return True


def _checked_segments(segments: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of the table of segments; raise ConfigError for one that cannot be used."""
    if not isinstance(segments, Mapping):
        raise ConfigError(f"segments: received {segments!r}; a dict name -> (start, end) is allowed")
    for name, segment in segments.items():
        if not isinstance(segment, slice) and not (
            isinstance(segment, Sequence) and not isinstance(segment, str) and len(segment) == 2
        ):
            raise ConfigError(
                f"segment {name}: received {segment!r}; a pair (start, end) is allowed, None leaves a side open"
            )
        bounds = _as_slice(segment)
        if any(isinstance(bound, int | np.integer) for bound in (bounds.start, bounds.stop)):
            continue  # numbers stand for positions in a calendar: tools that move segments use them
        try:
            start, end = _bounds(bounds)
        except (ValueError, TypeError) as error:
            raise ConfigError(
                f"segment {name}: received {_shown(segment)}; dates such as 2020-01-31 are allowed ({error})"
            ) from error
        if start is not None and end is not None and end < start:
            raise ConfigError(f"segment {name}: received {_shown(segment)}, which ends before it starts")
    return copy(dict(segments))


def _extreme(segments: Mapping[str, Any], side: int, choose: Any) -> Any:
    bounds = [(s.start, s.stop)[side] if isinstance(s, slice) else s[side] for s in segments.values()]
    if not bounds or any(bound is None for bound in bounds):
        return None
    return choose(pd.Timestamp(bound) for bound in bounds)
