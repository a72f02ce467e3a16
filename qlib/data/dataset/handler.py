"""Handlers: raw data, and two views of them, one to learn from and one to infer with.

    raw --shared--> * --infer processors--> infer --learn processors--> learn       process_type "append"
                    |
                    +--------------------------------learn processors--> learn       process_type "independent"

    handler.fetch("2020-01-03", col_set="feature", data_key=DataHandlerLP.DK_I)

A processor that may not be used where the label is unknown (`is_for_infer`) is refused in the infer chain: what is done
at inference can be done tomorrow too.

The three are views of one block (`qlib.data.dataset.columns`): rows that a processor leaves out, and changes of single
cells, are noted and done when cells are fetched. A fetched frame is its receiver's: changing it changes no handler.
"""

from __future__ import annotations

import abc
import inspect
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal, cast

import numpy as np
import pandas as pd

from qlib.data.dataset import loader as data_loader_module
from qlib.data.dataset import processor as processor_module
from qlib.data.dataset.columns import View, lent
from qlib.data.dataset.loader import DataLoader, StaticDataLoader
from qlib.data.dataset.processor import DropnaProcessor, FittedNorm, Processor, ViewProcessor
from qlib.data.dataset.storage import BaseHandlerStorage
from qlib.data.dataset.utils import (
    CS_ALL,
    CS_RAW,
    LEVELS,
    column_positions,
    fetch_df_by_col,
    get_level_index,
    rows_at,
    sort_rows,
    unique_dates,
    without_group,
)
from qlib.data.provider.as_of import within_horizon
from qlib.errors import ConfigError, InputError, MissingDataError, did_you_mean
from qlib.log import TimeInspector, get_module_logger
from qlib.utils.objects import init_instance_by_config
from qlib.utils.serial import Serializable

DATA_KEY_TYPE = Literal["raw", "infer", "learn"]


class Held:
    """An attribute that is written and read as a frame, and kept as a view: reading a view with work left does it."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, handler: DataHandler | None, owner: type) -> Any:
        if handler is None:
            return self
        kept = handler._stored(self.name)
        if not isinstance(kept, View):
            return kept
        settled = handler.__dict__[self.name] = kept.settled()
        return settled.frame

    def __set__(self, handler: DataHandler, value: Any) -> None:
        handler.__dict__[self.name] = View.of(value) if isinstance(value, pd.DataFrame) else value

    def __delete__(self, handler: DataHandler) -> None:
        handler._stored(self.name)
        del handler.__dict__[self.name]


class DataHandlerABC(Serializable):
    """The names that handlers share, and the one thing they must be able to do: `fetch`."""

    CS_ALL: ClassVar[str] = CS_ALL
    CS_RAW: ClassVar[str] = CS_RAW
    DK_R: ClassVar[DATA_KEY_TYPE] = "raw"
    DK_I: ClassVar[DATA_KEY_TYPE] = "infer"
    DK_L: ClassVar[DATA_KEY_TYPE] = "learn"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    @abc.abstractmethod
    def fetch(
        self,
        selector: Any = slice(None, None),
        level: str | int | None = "datetime",
        col_set: Any = CS_ALL,
        data_key: DATA_KEY_TYPE = "infer",
    ) -> pd.DataFrame:
        """Return rows and columns of the data behind `data_key`."""


class DataHandler(DataHandlerABC):
    """A frame and the ways to look at it.

    Parameters
    ----------
    instruments
        What the loader is asked for: a market's name, a list of instruments, ...; None leaves it to the loader.
    start_time, end_time
        First and last time to load (closed); None means as far as the data reach.
    data_loader
        A loader, its configuration or its class name (looked up in `qlib.data.dataset.loader`).
    init_data
        Load at once; otherwise call `setup_data` later.
    fetch_orig
        False: copy at once when nothing is left out. True: share memory until somebody writes, where pandas can.
    """

    _data = Held()

    def __init__(
        self,
        instruments: Any = None,
        start_time: Any = None,
        end_time: Any = None,
        data_loader: Any = None,
        init_data: bool = True,
        fetch_orig: bool = True,
    ) -> None:
        super().__init__()
        if data_loader is None:
            raise ConfigError(
                f"{type(self).__name__} needs a data_loader: a loader, its configuration or a class name of "
                "qlib.data.dataset.loader"
            )
        self.data_loader: DataLoader = init_instance_by_config(
            data_loader, default_module=data_loader_module, accept_types=DataLoader
        )
        self.instruments = instruments
        self.start_time = start_time
        self.end_time = end_time
        self.fetch_orig = fetch_orig
        if init_data:
            with TimeInspector.logt("Init data"):
                self.setup_data()

    def config(self, **kwargs: Any) -> None:  # type: ignore[override]
        """Change `instruments`, `start_time` or `end_time` without loading; the rest is Serializable's."""
        for name in ("instruments", "start_time", "end_time"):
            if name in kwargs:
                setattr(self, name, kwargs.pop(name))
        super().config(**kwargs)

    def setup_data(self, enable_cache: bool = False) -> None:
        """Load the data; `enable_cache` is accepted for Qlib's callers and changes nothing."""
        with TimeInspector.logt("Loading data"):
            loaded = within_horizon(self.data_loader.load(self.instruments, self.start_time, self.end_time))
            first = str(loaded.index.names[0])  # a loader may give (instrument, datetime): so it stays
            self._data = sort_rows(loaded, first if first in LEVELS else LEVELS[0])
        if not len(self._data):
            get_module_logger("handler").warning(
                f"{type(self).__name__} loaded no rows: {type(self.data_loader).__name__} has nothing for instruments "
                f"{str(self.instruments)[:60]} in [{self.start_time}, {self.end_time}]"
            )

    def fetch(
        self,
        selector: Any = slice(None, None),
        level: str | int | None = "datetime",
        col_set: Any = CS_ALL,
        data_key: DATA_KEY_TYPE = "infer",
        squeeze: bool = False,
        proc_func: Callable[[pd.DataFrame], pd.DataFrame] | None = None,
    ) -> Any:
        """Return part of the data.

        Parameters
        ----------
        selector
            Which rows: a scalar label, a slice (closed), a pair (start, end), a longer list or an index of labels, a
            MultiIndex of whole rows.
        level
            The index level that `selector` speaks of; None hands the selector to `.loc`.
        col_set
            "__all" (all columns, without their group), "__raw" (as they are), a group's name, or a list of groups.
        data_key
            Ignored here: a plain handler has one view.
        squeeze
            One column becomes a Series; the level of a scalar selector is dropped.
        proc_func
            A function applied to (a copy of) the rows before columns are chosen.
        """
        return self._fetch(self._stored("_data"), selector, level, col_set, squeeze, proc_func)

    def _fetch(
        self,
        data: Any,
        selector: Any,
        level: str | int | None,
        col_set: Any,
        squeeze: bool,
        proc_func: Callable[[pd.DataFrame], pd.DataFrame] | None,
    ) -> Any:
        scalar = level is not None and not isinstance(selector, slice) and not pd.api.types.is_list_like(selector)
        if level is not None and isinstance(selector, list | tuple) and len(selector) == 2:
            selector = slice(*selector)
        if isinstance(data, BaseHandlerStorage):
            if proc_func is not None:
                raise InputError(f"proc_func cannot be used with a {type(data).__name__}")
            found = data.fetch(selector=selector, level=level, col_set=col_set, fetch_orig=self.fetch_orig)
        else:
            found = self._fetch_frame(data, selector, level, col_set, proc_func)
        if not squeeze:
            return found
        found = cast("Any", found.squeeze())
        if scalar and isinstance(found, pd.DataFrame | pd.Series) and isinstance(found.index, pd.MultiIndex):
            found = found.reset_index(level=level, drop=True)
        return found

    def _fetch_frame(
        self,
        view: View,
        selector: Any,
        level: str | int | None,
        col_set: Any,
        proc_func: Callable[[pd.DataFrame], pd.DataFrame] | None,
    ) -> pd.DataFrame:
        columns = column_positions(view.columns, col_set) if proc_func is None else None
        if level is None or isinstance(selector, pd.MultiIndex):
            found = _by_label(view, selector, columns)
        elif isinstance(selector, slice) and selector == slice(None):
            found = view.part(None, columns)
            found = found if self.fetch_orig else found.copy()
        else:
            found = view.part(rows_at(view.index, selector, get_level_index(view.index, level)), columns)
        if proc_func is not None:
            return fetch_df_by_col(proc_func(found), col_set)
        return without_group(found, col_set) if isinstance(found, pd.DataFrame) else found

    def _stored(self, attribute: str) -> Any:
        """Return one of the views; AttributeError says what to do when it is not there."""
        try:
            return self.__dict__[attribute]
        except KeyError:
            raise AttributeError(
                f"{type(self).__name__} holds no data ({attribute}): they were not loaded, or left out when it was "
                "pickled; call setup_data(), or pickle with dump_all=True"
            ) from None

    def get_cols(self, col_set: Any = CS_ALL) -> list[Any]:
        """Return the labels of the columns of `col_set`."""
        return _columns(self._stored("_data"), col_set)

    def get_range_selector(self, cur_date: Any, periods: int) -> slice:
        """Return the slice of `periods` dates that ends at `cur_date`; shorter, with a warning, where data begin."""
        dates = self._dates()
        at = int(dates.get_indexer(pd.Index([pd.Timestamp(cur_date)]))[0])
        if at < 0:
            raise MissingDataError(f"cur_date: {cur_date} is no date of the data ({dates[0]} to {dates[-1]})")
        first = at - periods + 1
        if first < 0:
            warnings.warn("`periods` reaches back before the data: the first date is taken", stacklevel=2)
        return slice(dates[max(first, 0)], cur_date)

    def get_range_iterator(
        self, periods: int, min_periods: int | None = None, **kwargs: Any
    ) -> Iterator[tuple[pd.Timestamp, pd.DataFrame]]:
        """Yield (date, frame of the `periods` dates up to it), from the date number `min_periods` (or `periods`) on."""
        dates = self._dates()
        for date in dates[periods if min_periods is None else min_periods :]:
            yield date, self.fetch(self.get_range_selector(date, periods), **kwargs)

    def _dates(self) -> pd.Index:
        """Return the dates of the first view there is: raw data may be dropped."""
        kept = next((self.__dict__[name] for name in ("_data", "_infer", "_learn") if name in self.__dict__), None)
        view = self._stored("_data") if kept is None else kept
        return unique_dates((view if isinstance(view, View) else view.fetch(col_set=CS_RAW)).index)

    def __getstate__(self) -> dict[str, Any]:
        return {k: v.whole() if isinstance(v, View) else v for k, v in super().__getstate__().items()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        frames: dict[int, View] = {}  # one frame under two names is one view
        for name, value in state.items():
            if isinstance(getattr(type(self), name, None), Held) and isinstance(value, pd.DataFrame):
                self.__dict__[name] = frames.setdefault(id(value), View.of(value))
            else:
                self.__dict__[name] = value


def _by_label(view: View, selector: Any, columns: np.ndarray | None) -> Any:
    """Return what `frame.loc(axis=0)[selector]` does, of a view that has no frame yet."""
    if view.is_plain:
        return view.part(None, columns).loc(axis=0)[selector]
    found: Any = pd.Series(np.arange(len(view)), index=view.index).loc[selector]
    if not isinstance(found, pd.Series):
        return view.part(np.array([found]), columns).iloc[0]
    return view.part(found.to_numpy(), columns).set_axis(found.index, axis=0)


def _columns(data: Any, col_set: Any) -> list[Any]:
    head = data.part(slice(0, 0)) if isinstance(data, View) else data.fetch(selector=slice(None), col_set=CS_RAW)
    return fetch_df_by_col(head.head(0), col_set).columns.to_list()


class DataHandlerLP(DataHandler):
    """A handler whose data are processed for learning and for inference (see the picture at the top of this module).

    Parameters
    ----------
    infer_processors, learn_processors, shared_processors
        Processors, their configurations or their class names (looked up in `qlib.data.dataset.processor`).
    process_type
        "append": the learn chain goes on from the infer view; "independent": it starts from the shared one.
    drop_raw
        Forget the raw data after processing; their memory is used for the views.

    Raises TypeError for a processor that may not be used at inference in `infer_processors` or `shared_processors`.
    """

    ATTR_MAP: ClassVar[dict[str, str]] = {"raw": "_data", "infer": "_infer", "learn": "_learn"}
    PTYPE_I: ClassVar[str] = "independent"
    PTYPE_A: ClassVar[str] = "append"
    IT_FIT_SEQ: ClassVar[str] = "fit_seq"
    IT_FIT_IND: ClassVar[str] = "fit_ind"
    IT_LS: ClassVar[str] = "load_state"

    _infer = Held()
    _learn = Held()

    def __init__(
        self,
        instruments: Any = None,
        start_time: Any = None,
        end_time: Any = None,
        data_loader: Any = None,
        infer_processors: Sequence[Any] = [],
        learn_processors: Sequence[Any] = [],
        shared_processors: Sequence[Any] = [],
        process_type: str = PTYPE_A,
        drop_raw: bool = False,
        **kwargs: Any,
    ) -> None:
        allowed = (self.PTYPE_A, self.PTYPE_I)
        if process_type not in allowed:
            raise ConfigError(f"process_type: received {process_type!r}; allowed are {', '.join(allowed)}")
        self.infer_processors = self._processors("infer_processors", infer_processors)
        self.learn_processors = self._processors("learn_processors", learn_processors)
        self.shared_processors = self._processors("shared_processors", shared_processors)
        self.process_type = process_type
        self.drop_raw = drop_raw
        super().__init__(instruments, start_time, end_time, data_loader, **kwargs)

    @staticmethod
    def _processors(chain: str, given: Sequence[Any]) -> list[Processor]:
        if isinstance(given, str | Mapping):
            raise ConfigError(f"{chain}: received {given!r}; a list of processors is allowed")
        made: list[Processor] = []
        for config in given or []:
            module = None if isinstance(config, Mapping) and config.get("module_path") else processor_module
            processor = init_instance_by_config(config, default_module=module, accept_types=Processor)
            if chain != "learn_processors" and not processor.is_for_infer():
                raise TypeError(
                    f"{chain}: {type(processor).__name__} may not be used for inference, where the label is not known; "
                    "put it into learn_processors"
                )
            if chain != "learn_processors" and type(processor) is DropnaProcessor and processor.fields_group is None:
                get_module_logger("handler").warning(
                    f"{chain}: DropnaProcessor() drops rows by their label too, so what can be predicted would depend "
                    "on what is not known yet; write fields_group='feature'"
                )
            made.append(processor)
        return made

    def get_all_processors(self) -> list[Processor]:
        """Return the processors of all three chains: shared, infer, learn."""
        return [*self.shared_processors, *self.infer_processors, *self.learn_processors]

    def fit(self) -> None:
        """Let every processor learn from the raw data."""
        for processor in self.get_all_processors():
            _fit(processor, self._stored("_data"))

    def fit_process_data(self) -> None:
        """Let every processor learn from the output of those before it, then process."""
        self.process_data(with_fit=True)

    def process_data(self, with_fit: bool = False) -> None:
        """Make the infer and the learn view from the raw data; with `with_fit` each processor learns first."""
        own_raw = self.drop_raw and vars(type(self.data_loader)).get("gives_new_frames", False)  # not inherited
        data = self._stored("_data")
        if self.drop_raw:
            del self._data
        if own_raw and isinstance(data, View):
            data = View.of(data.frame, own=True)
        data = _run(data, self.shared_processors, with_fit)
        if self.process_type == self.PTYPE_I:
            data = _shared(data)
            self.__dict__["_infer"] = _run(data, self.infer_processors, with_fit)
        else:
            data = self.__dict__["_infer"] = _shared(_run(data, self.infer_processors, with_fit))
        self.__dict__["_learn"] = _run(data, self.learn_processors, with_fit)

    def config(self, processor_kwargs: dict[str, Any] | None = None, **kwargs: Any) -> None:  # type: ignore[override]
        """Like `DataHandler.config`; `processor_kwargs` (fit_start_time, fit_end_time, ...) go to every processor."""
        super().config(**kwargs)
        for processor in self.get_all_processors() if processor_kwargs else []:
            processor.config(**processor_kwargs)  # type: ignore[arg-type]

    def setup_data(self, init_type: str = IT_FIT_SEQ, **kwargs: Any) -> None:  # type: ignore[override]
        """Load and process.

        Parameters
        ----------
        init_type
            "fit_seq": processors learn one after the other; "fit_ind": all learn from the raw data; "load_state": none
            learns, their state is used as it is.
        """
        allowed = (self.IT_FIT_SEQ, self.IT_FIT_IND, self.IT_LS)
        if init_type not in allowed:
            raise ConfigError(
                f"init_type: received {init_type!r}; allowed are {', '.join(allowed)}"
                f"{did_you_mean(str(init_type), allowed)}"
            )
        super().setup_data(**kwargs)
        with TimeInspector.logt("fit & process data"):
            if init_type == self.IT_FIT_IND:
                self.fit()
            self.process_data(with_fit=init_type == self.IT_FIT_SEQ)

    def _view(self, data_key: str) -> Any:
        if data_key not in self.ATTR_MAP:
            raise ConfigError(
                f"data_key: received {data_key!r}; allowed are {', '.join(self.ATTR_MAP)}"
                f"{did_you_mean(str(data_key), self.ATTR_MAP)}"
            )
        if data_key == self.DK_R and self.drop_raw and "_data" not in self.__dict__:
            raise AttributeError("the raw data were dropped (drop_raw=True): data_key 'raw' cannot be fetched")
        return self._stored(self.ATTR_MAP[data_key])

    def fetch(
        self,
        selector: Any = slice(None, None),
        level: str | int | None = "datetime",
        col_set: Any = CS_ALL,
        data_key: DATA_KEY_TYPE = "infer",
        squeeze: bool = False,
        proc_func: Callable[[pd.DataFrame], pd.DataFrame] | None = None,
    ) -> Any:
        """Like `DataHandler.fetch`, of the view `data_key`: "raw", "infer" or "learn"."""
        return self._fetch(self._view(data_key), selector, level, col_set, squeeze, proc_func)

    def get_cols(self, col_set: Any = CS_ALL, data_key: DATA_KEY_TYPE = "infer") -> list[Any]:
        """Return the labels of the columns of `col_set` in the view `data_key`."""
        return _columns(self._view(data_key), col_set)

    @classmethod
    def cast(cls, handler: DataHandlerLP) -> DataHandlerLP:
        """Return a handler with the data of `handler` and nothing of how they were made: it can be pickled anywhere."""
        if not isinstance(handler, DataHandlerLP):
            raise TypeError(f"cast: received a {type(handler).__name__}; a DataHandlerLP is needed")
        light = object.__new__(DataHandlerLP)
        light.from_cast = True  # type: ignore[attr-defined]
        kept = [*cls.ATTR_MAP.values(), "instruments", "start_time", "end_time", "fetch_orig", "drop_raw"]
        light.__dict__.update({name: handler.__dict__[name] for name in kept if name in handler.__dict__})
        return light

    @classmethod
    def from_df(cls, df: pd.DataFrame) -> DataHandlerLP:
        """Return a handler of a frame indexed by (datetime, instrument), without processors."""
        return cls(data_loader=StaticDataLoader(df))


# ---------------------------------------------------------------------------------------------------------- processing
def _shared(data: Any) -> Any:
    return data.shared() if isinstance(data, View) else data


def _fit(processor: Processor, data: Any) -> None:
    """Let a processor learn; one that works on views is given the view."""
    kind = type(processor)
    if kind.fit is Processor.fit:
        return
    with TimeInspector.logt(f"{kind.__name__} fit"):
        if isinstance(processor, FittedNorm) and kind.fit is FittedNorm.fit and isinstance(data, View):
            processor.learn_from(data)
        else:
            processor.fit(lent(data.whole()) if isinstance(data, View) else data)


def _run(data: Any, processors: Sequence[Processor], with_fit: bool) -> Any:
    """Return the data after the chain: views where processors work on them, frames for those of users."""
    for processor in processors:
        if not (isinstance(processor, ViewProcessor) and type(processor).__call__ is ViewProcessor.__call__):
            data = data.settled() if isinstance(data, View) else data
        if with_fit:
            _fit(processor, data)
        with TimeInspector.logt(type(processor).__name__):
            if not isinstance(data, View):
                data = processor(data)
            elif isinstance(processor, ViewProcessor) and type(processor).__call__ is ViewProcessor.__call__:
                data = processor.process(data)
            else:
                data = processor(data.frame if data.own else lent(data.frame))
            data = View.of(data) if isinstance(data, pd.DataFrame) else data
    return data


def takes_data_key(handler: Any) -> bool:
    """Return whether `handler.fetch` knows the argument `data_key`."""
    return "data_key" in inspect.signature(handler.fetch).parameters
