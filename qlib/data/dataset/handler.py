"""Handlers: raw data, and two views of them, one to learn from and one to infer with.

    raw --shared--> * --infer processors--> infer --learn processors--> learn       process_type "append"
                    |
                    +--------------------------------learn processors--> learn       process_type "independent"

    handler.fetch("2020-01-03", col_set="feature", data_key=DataHandlerLP.DK_I)

A processor that may not be used where the label is unknown (`is_for_infer`) is refused in the infer chain: what is done
at inference can be done tomorrow too. Views share memory with each other wherever no processor changed anything.
"""

from __future__ import annotations

import abc
import inspect
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal, cast

import pandas as pd

from qlib.data.dataset import loader as data_loader_module
from qlib.data.dataset import processor as processor_module
from qlib.data.dataset.loader import DataLoader, StaticDataLoader
from qlib.data.dataset.processor import ColumnProcessor, DropnaProcessor, Processor
from qlib.data.dataset.storage import BaseHandlerStorage
from qlib.data.dataset.utils import CS_ALL, CS_RAW, LEVELS, fetch_df_by_col, fetch_df_by_index, sort_rows, unique_dates
from qlib.errors import ConfigError, InputError, MissingDataError, did_you_mean
from qlib.log import TimeInspector, get_module_logger
from qlib.utils.objects import init_instance_by_config
from qlib.utils.serial import Serializable

DATA_KEY_TYPE = Literal["raw", "infer", "learn"]


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
        Hand out the stored frame itself, not a copy, when nothing is left out.
    """

    _data: Any

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
            loaded = self.data_loader.load(self.instruments, self.start_time, self.end_time)
            first = str(loaded.index.names[0])  # a loader may give (instrument, datetime): so it stays
            self._data = sort_rows(loaded, first if first in LEVELS else LEVELS[0])
        if self._data.empty:
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
        elif proc_func is not None:
            rows = fetch_df_by_index(data, selector, level, fetch_orig=self.fetch_orig)
            found = fetch_df_by_col(proc_func(rows.copy()), col_set)
        else:
            chosen = fetch_df_by_col(data, col_set)
            found = fetch_df_by_index(chosen, selector, level, fetch_orig=self.fetch_orig)
        if not squeeze:
            return found
        found = cast("Any", found.squeeze())
        if scalar and isinstance(found, pd.DataFrame | pd.Series) and isinstance(found.index, pd.MultiIndex):
            found = found.reset_index(level=level, drop=True)
        return found

    def _stored(self, attribute: str) -> Any:
        """Return one of the frames; AttributeError says what to do when it is not there."""
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
        dates = unique_dates(self._stored("_data").index)
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
        dates = unique_dates(self._stored("_data").index)
        for date in dates[periods if min_periods is None else min_periods :]:
            yield date, self.fetch(self.get_range_selector(date, periods), **kwargs)


def _columns(data: Any, col_set: Any) -> list[Any]:
    head = data.head(0) if isinstance(data, pd.DataFrame) else data.fetch(selector=slice(None), col_set=CS_RAW).head(0)
    return fetch_df_by_col(head, col_set).columns.to_list()


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

    _infer: Any
    _learn: Any

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
            with TimeInspector.logt(f"{type(processor).__name__} fit"):
                processor.fit(self._stored("_data"))

    def fit_process_data(self) -> None:
        """Let every processor learn from the output of those before it, then process."""
        self.process_data(with_fit=True)

    def process_data(self, with_fit: bool = False) -> None:
        """Make the infer and the learn view from the raw data; with `with_fit` each processor learns first."""
        own_raw = self.drop_raw and vars(type(self.data_loader)).get("gives_new_frames", False)  # not inherited
        raw = self._stored("_data")
        if self.drop_raw:
            del self._data
        shared, own = self._run(raw, self.shared_processors, with_fit, own=own_raw)
        del raw
        if self.process_type == self.PTYPE_I:
            self._infer, _ = self._run(shared, self.infer_processors, with_fit, own=False)
            start = shared
        else:
            self._infer, _ = self._run(shared, self.infer_processors, with_fit, own=own)
            start = self._infer
        del shared
        self._learn, _ = self._run(start, self.learn_processors, with_fit, own=False)

    @staticmethod
    def _run(df: Any, processors: Sequence[Processor], with_fit: bool, own: bool) -> tuple[Any, bool]:
        """Return (data after the chain, whether their memory is nobody else's).

        `own` says so of `df`. What is not ours is copied before a processor that may write to it.
        """
        for processor in processors:
            if with_fit:
                with TimeInspector.logt(f"{type(processor).__name__} fit"):
                    processor.fit(df)
            with TimeInspector.logt(type(processor).__name__):
                if isinstance(processor, ColumnProcessor) and type(processor).__call__ is ColumnProcessor.__call__:
                    df, own = processor.apply(df, own)
                elif processor.readonly():
                    before, df = df, processor(df)
                    own = own or (type(processor).__call__ is DropnaProcessor.__call__ and df is not before)
                else:
                    df, own = processor(df if own else df.copy()), False
        return df, own

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


def takes_data_key(handler: Any) -> bool:
    """Return whether `handler.fetch` knows the argument `data_key`."""
    return "data_key" in inspect.signature(handler.fetch).parameters
