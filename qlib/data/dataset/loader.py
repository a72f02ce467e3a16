"""Loaders: where a handler's raw frame comes from.

    QlibDataLoader       formulas over the store of the session
    StaticDataLoader     a frame, or files
    NestedDataLoader     several loaders side by side, the later one wins
    DataLoaderDH         what other handlers hold

Every `load` returns a frame indexed by (datetime, instrument).
"""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import pandas as pd

from qlib.data.active import active_provider
from qlib.data.dataset.utils import CS_RAW, fetch_df_by_index, sort_rows, take_rows
from qlib.errors import ConfigError, MissingDataError
from qlib.log import get_module_logger
from qlib.utils.objects import init_instance_by_config
from qlib.utils.pickle_utils import remember_class, restricted_pickle_load
from qlib.utils.serial import Serializable
from qlib.utils.time import Freq

Fields = tuple[list[str], list[str]]


class DataLoader(abc.ABC):
    """Base of all loaders."""

    # True: nobody else holds the memory of what `load` returns. A subclass has to say so itself: it may keep frames.
    gives_new_frames: ClassVar[bool] = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        remember_class(cls)

    @abc.abstractmethod
    def load(self, instruments: Any, start_time: Any = None, end_time: Any = None) -> pd.DataFrame:
        """Return the frame of `instruments` within [start_time, end_time], index (datetime, instrument)."""


# ------------------------------------------------------------------------------------------------------------- formulas
class DLWParser(DataLoader):
    """A loader that is told what to load as formulas, in groups or not.

    Parameters
    ----------
    config
        One table of fields, or a dict group -> table: `["$close", "Mean($close, 5)"]` (a formula is its own name) or
        `(["$close"], ["CLOSE"])` (formulas and names). With groups the columns have two levels.
    """

    def __init__(self, config: Any) -> None:
        self.is_group = isinstance(config, Mapping)
        self.fields: Any = (
            {group: _fields(table, f"group {group}") for group, table in config.items()}
            if self.is_group
            else _fields(config, "config")
        )

    @abc.abstractmethod
    def load_group_df(
        self,
        instruments: Any,
        exprs: list[str],
        names: list[str],
        start_time: Any = None,
        end_time: Any = None,
        gp_name: str | None = None,
    ) -> pd.DataFrame:
        """Return the frame of one group: a column per formula, called by its name."""

    def load(self, instruments: Any = None, start_time: Any = None, end_time: Any = None) -> pd.DataFrame:
        if not self.is_group:
            exprs, names = self.fields
            return self.load_group_df(instruments, exprs, names, start_time, end_time)
        frames = {
            group: self.load_group_df(instruments, exprs, names, start_time, end_time, group)
            for group, (exprs, names) in self.fields.items()
        }
        return pd.concat(frames, axis=1)


def _fields(table: Any, where: str) -> Fields:
    """Return (formulas, names) of one table; raise ConfigError for anything else."""
    example = "['$close', ...] or (['$close', ...], ['CLOSE', ...])"
    if not isinstance(table, list | tuple) or len(table) == 0:
        raise ConfigError(f"fields of {where}: received {table!r}; allowed are {example}")
    if all(isinstance(field, str) for field in table):
        return list(table), list(table)
    if len(table) == 2 and all(isinstance(part, list | tuple) for part in table):
        exprs, names = list(table[0]), list(table[1])
        if len(exprs) != len(names):
            raise ConfigError(f"fields of {where}: received {len(exprs)} formulas and {len(names)} names")
        if not exprs:
            raise ConfigError(f"fields of {where}: received no formula; allowed are {example}")
        return exprs, names
    raise ConfigError(f"fields of {where}: received {str(table)[:80]}; allowed are {example}")


class QlibDataLoader(DLWParser):
    """Loads formulas from the store of the session.

    Parameters
    ----------
    config
        See `DLWParser`.
    filter_pipe
        Filters on the market, used when the instruments are given as a market's name.
    swap_level
        True: rows are (datetime, instrument) and sorted; False: (instrument, datetime), as the store gives them.
    freq
        Frequency of the bars, or a dict group -> frequency, see `load`.
    inst_processors
        Instrument processors, a list or a dict group -> list.
    """

    gives_new_frames = True

    def __init__(
        self,
        config: Any,
        filter_pipe: list[Any] | None = None,
        swap_level: bool = True,
        freq: str | dict[str, str] = "day",
        inst_processors: dict[str, list[Any]] | list[Any] | None = None,
    ) -> None:
        super().__init__(config)
        self.filter_pipe = filter_pipe
        self.swap_level = swap_level
        self.freq = freq
        self.inst_processors = inst_processors if inst_processors is not None else {}
        if not isinstance(self.inst_processors, dict | list):
            raise ConfigError(
                f"inst_processors: received {inst_processors!r}; a list, or a dict group -> list, is allowed"
            )
        if isinstance(freq, Mapping):
            if not self.is_group:
                raise ConfigError(
                    f"freq: received {dict(freq)}; fields without groups have one frequency, such as 'day'"
                )
            absent = [group for group in self.fields if group not in freq]
            if absent:
                raise ConfigError(f"freq names no frequency for the groups {absent}; received {dict(freq)}")

    def load(self, instruments: Any = None, start_time: Any = None, end_time: Any = None) -> pd.DataFrame:
        """Return the frame; groups of one frequency are computed together, so shared parts are computed once.

        Groups of several frequencies stand on the rows of the finest one, which see the last coarser bar that is over
        (`qlib.data.provider.mixed`).  With instrument processors, which may change the rows, and with compat="qlib",
        groups are joined by their stamps as they are, as in Qlib: a day's value then stands at its midnight.
        """
        own = type(self).load_group_df is QlibDataLoader.load_group_df
        if not self.is_group or self.inst_processors or not own:
            return super().load(instruments, start_time, end_time)
        if isinstance(self.freq, Mapping):
            return self._several_sizes(self.freq, instruments, start_time, end_time)
        exprs = list(dict.fromkeys(expr for exprs, _ in self.fields.values() for expr in exprs))
        frame = self._features(instruments, exprs, start_time, end_time, self.freq, [])
        pairs = [
            (group, name, expr)
            for group, (exprs, names) in self.fields.items()
            for name, expr in zip(names, exprs, strict=True)
        ]
        if [expr for *_, expr in pairs] != exprs:
            place = {expr: i for i, expr in enumerate(exprs)}
            frame = frame.iloc[:, [place[expr] for *_, expr in pairs]]
        frame.columns = pd.MultiIndex.from_tuples([(group, name) for group, name, _ in pairs])
        return frame

    def _several_sizes(self, sizes: Mapping[str, str], instruments: Any, start: Any, end: Any) -> pd.DataFrame:
        of_size: dict[Freq, list[str]] = {}
        for group, (exprs, _) in self.fields.items():
            of_size[Freq(sizes[group])] = list(dict.fromkeys([*of_size.get(Freq(sizes[group]), []), *exprs]))
        if len(of_size) == 1 or active_provider().settings["compat"] == "qlib":
            return super().load(instruments, start, end)
        fields = {str(size): exprs for size, exprs in of_size.items()}
        frame = self._features(instruments, fields, start, end, "day", [])
        wanted = [
            (str(Freq(sizes[group])), expr, group, name)
            for group, (exprs, names) in self.fields.items()
            for expr, name in zip(exprs, names, strict=True)
        ]
        columns = [(size, expr) for size, expr, *_ in wanted]
        if frame.columns.tolist() != columns:
            frame = frame[columns]
        frame.columns = pd.MultiIndex.from_tuples([(group, name) for *_, group, name in wanted])
        return frame

    def load_group_df(
        self,
        instruments: Any,
        exprs: list[str],
        names: list[str],
        start_time: Any = None,
        end_time: Any = None,
        gp_name: str | None = None,
    ) -> pd.DataFrame:
        freq = self.freq[str(gp_name)] if isinstance(self.freq, Mapping) else self.freq
        processors = self.inst_processors
        if isinstance(processors, Mapping):
            processors = processors.get(str(gp_name), [])
        frame = self._features(instruments, exprs, start_time, end_time, freq, processors)
        frame.columns = pd.Index(names)
        return frame

    def _features(
        self, instruments: Any, exprs: Any, start: Any, end: Any, freq: str, processors: list[Any]
    ) -> pd.DataFrame:
        provider = active_provider()
        log = get_module_logger("loader")
        if instruments is None:
            log.warning("no instruments given: loading the market 'all'")
            instruments = "all"
        if isinstance(instruments, str):
            instruments = provider.instruments(instruments, filter_pipe=self.filter_pipe)
        elif self.filter_pipe is not None:
            log.warning("filter_pipe is only used with the name of a market: ignored")
        return provider.features(
            instruments, exprs, start, end, freq=freq, inst_processors=processors, by_time=self.swap_level
        )


# ----------------------------------------------------------------------------------------------------- frames and files
class StaticDataLoader(DataLoader, Serializable):
    """Loads from a frame, or from files.

    Parameters
    ----------
    config
        A frame; the path of a file (`.parquet`, `.csv`, `.h5`, anything else is read as a pickle of plain data, by
        the restricted reader); or a dict group -> frame or path, put side by side as column groups.
    join
        How the rows of several groups are put together: "outer" or "inner".

    The content is read once; pickling keeps `config`, not what was read.
    """

    include_attr: ClassVar[list[str]] = ["_config"]
    exclude_attr: ClassVar[list[str]] = ["_data"]

    def __init__(self, config: Any, join: str = "outer") -> None:
        super().__init__()
        if not isinstance(config, pd.DataFrame | str | Path | Mapping):
            raise ConfigError(
                f"StaticDataLoader config: received {type(config).__name__}; a DataFrame, the path of a file, "
                "or a dict group -> DataFrame or path, is allowed"
            )
        self._config = config
        self.join = join
        self._data: pd.DataFrame | None = None

    def load(  # type: ignore[override]  # Serializable.load is a class method of another meaning, in Qlib too
        self, instruments: Any = None, start_time: Any = None, end_time: Any = None
    ) -> pd.DataFrame:
        df = self._whole()
        rows = cast("pd.MultiIndex", df.index)
        if instruments is not None:
            wanted = [instruments] if isinstance(instruments, str) else list(instruments)
            known = rows.levels[1]
            absent = [name for name in wanted if name not in known]
            if absent:
                raise MissingDataError(f"not in the data of this loader: {absent[:5]}; it has {len(known)} instruments")
            chosen = np.append(known.isin(wanted), False)
            df = take_rows(df, np.flatnonzero(chosen[rows.codes[1]]))
        if start_time is None and end_time is None:
            return df
        start = None if start_time is None else pd.Timestamp(start_time)
        end = None if end_time is None else pd.Timestamp(end_time)
        return fetch_df_by_index(df, slice(start, end), level=0)

    def _whole(self) -> pd.DataFrame:
        data = getattr(self, "_data", None)  # absent after unpickling
        if data is None:
            config = self._config
            if isinstance(config, Mapping):
                tables = {group: _read_frame(source) for group, source in config.items()}
                data = pd.concat(tables, axis=1, join=cast("Any", self.join))
            else:
                data = _read_frame(config)
            if not isinstance(data.index, pd.MultiIndex) or data.index.nlevels != 2:
                raise ConfigError(
                    f"StaticDataLoader needs rows indexed by (datetime, instrument); received an index with the levels "
                    f"{list(data.index.names)}"
                )
            self._data = data = sort_rows(data)
        return data


def _read_frame(source: Any) -> pd.DataFrame:
    """Return a frame given as such or as the path of a file; the file's ending says how to read it."""
    if isinstance(source, pd.DataFrame):
        return source
    path = Path(source).expanduser()
    if not path.is_file():
        raise ConfigError(f"there is no file {path} (looked from {Path.cwd()})")
    if path.suffix == ".parquet":
        return pd.read_parquet(path)
    if path.suffix == ".csv":
        return pd.read_csv(path, index_col=[0, 1], parse_dates=[0])
    frame: Any
    if path.suffix == ".h5":
        frame = _read_hdf(path)
    else:
        with path.open("rb") as file:
            frame = restricted_pickle_load(file)
    if not isinstance(frame, pd.DataFrame):
        raise ConfigError(f"{path} holds a {type(frame).__name__}; a DataFrame was expected")
    return frame


def _read_hdf(path: Path) -> Any:
    """Return the one object in an HDF5 file of pandas."""
    if find_spec("tables") is None:
        raise ConfigError(
            f'{path} needs PyTables, which is not installed: pip install "tables"; or write the frame with to_parquet'
        )
    get_module_logger("loader").warning(f"{path}: HDF5 files may hold pickles, so read only your own; Parquet cannot")
    try:
        return pd.read_hdf(path)
    except ValueError as error:
        raise ConfigError(f"{path}: one frame is needed in the file ({error})") from error


# -------------------------------------------------------------------------------------------------------- other loaders
class NestedDataLoader(DataLoader):
    """Several loaders side by side; a column that a later one brings replaces the earlier one's.

    Parameters
    ----------
    dataloader_l
        Loaders, or their configurations.
    join
        How rows are put together, as in `pandas.merge`: "left" keeps the rows of the first loader.
    """

    def __init__(self, dataloader_l: Sequence[Any], join: str = "left") -> None:
        super().__init__()
        self.data_loader_l = [
            loader if isinstance(loader, DataLoader) else init_instance_by_config(loader) for loader in dataloader_l
        ]
        if not self.data_loader_l:
            raise ConfigError("NestedDataLoader: received no loader; a list of at least one is allowed")
        self.join = join

    def load(self, instruments: Any = None, start_time: Any = None, end_time: Any = None) -> pd.DataFrame:
        whole: pd.DataFrame | None = None
        for loader in self.data_loader_l:
            try:
                df = loader.load(instruments, start_time, end_time)
            except KeyError as error:
                get_module_logger("loader").warning(f"{type(loader).__name__}: {error}; loading all its instruments")
                df = loader.load(None, start_time, end_time)
            if whole is None:
                whole = df
            else:
                kept = whole.loc[:, ~whole.columns.isin(df.columns)]
                whole = pd.merge(kept, df, left_index=True, right_index=True, how=self.join)  # type: ignore[arg-type]
        assert whole is not None
        return whole.sort_index(axis=1)


class DataLoaderDH(DataLoader):
    """Loads what handlers hold: a handler of handlers needs to read nothing twice.

    Parameters
    ----------
    handler_config
        A handler, its configuration or the path of its pickle; with `is_group` a dict name -> one of these.
    fetch_kwargs
        Arguments for `handler.fetch` (default: all columns as they are).
    is_group
        Put the frames of several handlers side by side under their names.
    """

    def __init__(self, handler_config: Any, fetch_kwargs: dict[str, Any] = {}, is_group: bool = False) -> None:
        self.is_group = is_group
        self.handlers: Any = (
            {name: _handler(config) for name, config in handler_config.items()}
            if is_group
            else _handler(handler_config)
        )
        self.fetch_kwargs = {"col_set": CS_RAW, **fetch_kwargs}

    def load(self, instruments: Any = None, start_time: Any = None, end_time: Any = None) -> pd.DataFrame:
        if instruments is not None:
            get_module_logger("loader").warning("DataLoaderDH takes the instruments of its handlers: argument ignored")
        dates = slice(start_time, end_time)
        if not self.is_group:
            return self.handlers.fetch(selector=dates, level="datetime", **self.fetch_kwargs)
        frames = {
            name: handler.fetch(selector=dates, level="datetime", **self.fetch_kwargs)
            for name, handler in self.handlers.items()
        }
        return pd.concat(frames, axis=1)


def _handler(config: Any) -> Any:
    return init_instance_by_config(config) if isinstance(config, Mapping | str | Path) else config
