"""The Provider: what `D` is.

    D.calendar("2024-01-01", "2024-02-01", freq="60min")
    D.list_instruments(D.instruments("all"), as_list=True)
    D.features(["AAPL", "MSFT"], ["$close", "Mean($close, 5)"], "2024-01-01", "2024-02-01")

A Provider needs nothing but Settings; several can live side by side. Rooms that want arrays ask `panel`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import compress
from typing import Any, Final

import numpy as np
import pandas as pd

from qlib.config import Settings
from qlib.data.calendar import Calendar, timestamp
from qlib.data.expression.batches import MEGABYTES
from qlib.data.expression.live import Engine
from qlib.data.expression.plan import Plan
from qlib.data.filter import SeriesDFilter, described, narrowed, usable
from qlib.data.panel import Panel, Surroundings
from qlib.data.provider.absent import Absent, warn
from qlib.data.provider.elsewhere import Stored
from qlib.data.provider.features import (
    Loaded,
    Query,
    compute,
    compute_batches,
    compute_rows,
    computed_panel,
    empty_frame,
    frame_of,
    index_by_time,
    index_of,
    leaves_rows_out,
    load,
    needed,
    rows_of,
)
from qlib.data.provider.features import by_time as computed_by_time
from qlib.data.provider.frame_store import FrameStore
from qlib.data.provider.meanwhile import meanwhile
from qlib.data.provider.mixed import mixed_features
from qlib.data.provider.parts import ByTime, Parts, asked_of
from qlib.data.provider.pit import Periods
from qlib.data.provider.plans import Plans
from qlib.data.provider.processed import processed
from qlib.data.provider.store import FileStore, Store
from qlib.data.provider.traits import meets_others
from qlib.data.ranges import Ranges
from qlib.data.universe import Universe, as_spans, short, spans_by_name
from qlib.errors import InputError, MissingDataError
from qlib.log import get_module_logger

logger = get_module_logger("data")

DISK_CACHE: Final = (0, 1, 2)  # compute, use what is kept, compute and keep
_MANY: Final = 100_000  # rows whose index is worth a thread


@dataclass(frozen=True, slots=True)
class _Found:
    """What was read for a query, and which rows it has."""

    query: Query
    loaded: Loaded
    kept: Ranges
    absent: Absent
    threads: int


class Provider:
    """Calendars, universes and features of one store.

    Times in arguments are dates or times as text, `datetime` or Timestamp, in the clock of the store and without a
    zone; None means no bound, and both bounds are included. A date alone means its midnight. `freq` is a bar size
    such as "day", "60min" or "1min", recognised by meaning ("1d" is "day").
    """

    def __init__(self, settings: Settings, registry: Any = None) -> None:
        self.settings = settings
        self.registry = registry
        self._plans = Plans()

    @property
    def settings(self) -> Settings:
        return self._settings

    @settings.setter
    def settings(self, settings: Settings) -> None:
        self._settings = settings
        self.store: Store = FileStore(settings) if settings.get("data") is None else FrameStore(settings)
        self.parts = Parts(self)
        self.store = self.parts.store

    def __repr__(self) -> str:
        return f"<Provider of {', '.join(self.settings['provider_uri'].values()) or self.settings['data']}>"

    # ------------------------------------------------------------------ calendars
    def calendar(
        self, start_time: Any = None, end_time: Any = None, freq: str = "day", future: bool = False
    ) -> np.ndarray:
        """Return the bars' times inside [start_time, end_time] as an object array of Timestamps.

        A frequency that is not stored is resampled from a finer one. Nothing inside gives an empty array.
        """
        return self.locate(freq, future).between(start_time, end_time)

    def locate(self, freq: str = "day", future: bool = False) -> Calendar:
        """Return the whole calendar of `freq` (with `future`, the one that runs into the future, if stored)."""
        return self.store.calendar(freq, future=future)

    def stored_freqs(self) -> list[str]:
        """Return the frequencies that have data, finest first."""
        return self.store.freqs()

    def stored_fields(self, instrument: str, freq: str = "day") -> list[str]:
        """Return the fields stored for an instrument, without `$`; an unknown instrument has none."""
        return self.store.stored_fields(instrument, freq)

    # ------------------------------------------------------------------ universes
    def instruments(
        self,
        market: Any = "all",
        filter_pipe: Sequence[Any] | None = None,
        start_time: Any = None,
        end_time: Any = None,
    ) -> Any:
        """Return the description of a universe, for `list_instruments` and `features`.

        Parameters
        ----------
        market
            Name of a file in `instruments/` ("all", "csi300", ...); a list of instruments is returned as it is.
        filter_pipe
            Filters (`qlib.data.filter`) or their configurations, applied in order.
        start_time, end_time
            Of no effect, as in Qlib; the range is given where the description is used.
        """
        if not isinstance(market, str):
            return market
        return {"market": market, "filter_pipe": [described(one) for one in filter_pipe or []]}

    def list_instruments(
        self, instruments: Any, start_time: Any = None, end_time: Any = None, freq: str = "day", as_list: bool = False
    ) -> Any:
        """Return the instruments of a universe that are alive inside [start_time, end_time].

        Parameters
        ----------
        instruments
            From `instruments(...)`, or a dict {name: [(start, end), ...]}.
        as_list
            Names only, as a list.

        Returns
        -------
        dict
            {name: [(start, end), ...]}, spans cut to the range.
        """
        universe, pipe = self._universe(instruments, freq)
        calendar = self.locate(freq)
        start, end = timestamp(start_time, "start_time"), timestamp(end_time, "end_time")
        if not len(calendar):
            return [] if as_list else {}
        if pipe:
            names, members = self._narrowed(universe, pipe, calendar, *calendar.locate(start, end))
            order = universe.spans if names is universe.names else None
            if not as_list:
                return spans_by_name(names, members, calendar, order)
            alive = {names[i] for i in np.unique(members.instrument).tolist()}
            return [name for name in order or names if name in alive]
        start = pd.Timestamp(calendar.times[0]) if start is None else start
        end = pd.Timestamp(calendar.times[-1]) if end is None else end
        return universe.listed(start, end) if as_list else universe.clip(start, end)

    def _narrowed(
        self, universe: Universe, pipe: Sequence[Any], calendar: Calendar, low: int, high: int
    ) -> tuple[Sequence[str], Ranges]:
        """Return what filters leave of a universe at calendar positions low ... high."""
        keeps = [usable(one) for one in pipe]
        if high < low:
            return universe.names, universe.ranges(calendar).within(0, 0)
        # Who else was a member decides a rule that compares them, also before the range: it is applied to all times.
        across = any(isinstance(keep, SeriesDFilter) and keep.looks_across(self) for keep in keeps)
        bounds = (0, len(calendar) - 1) if across else (low, high)
        names, members = narrowed(keeps, universe.names, universe.ranges(calendar), calendar, *bounds, self)
        return names, members.within(low, high + 1)

    def _universe(self, instruments: Any, freq: str) -> tuple[Universe, Sequence[Any]]:
        if isinstance(instruments, Mapping) and "market" in instruments:
            return self.store.universe(instruments["market"], freq), instruments.get("filter_pipe") or []
        if isinstance(instruments, Mapping):
            return Universe(as_spans(instruments)), []
        shown = f"D.instruments({instruments!r})" if isinstance(instruments, str) else "D.instruments('all')"
        raise InputError(
            f"instruments: received {short(instruments)}; what D.instruments returns is allowed, "
            f"such as {shown}, or a dict name -> spans"
        )

    # ------------------------------------------------------------------ values
    def features(
        self,
        instruments: Any,
        fields: Sequence[Any] | Mapping[str, Sequence[Any]],
        start_time: Any = None,
        end_time: Any = None,
        freq: str = "day",
        disk_cache: int | None = None,
        inst_processors: Sequence[Any] = (),
        *,
        by_time: bool = False,
    ) -> pd.DataFrame:
        """Return formulas over instruments and times.

        Parameters
        ----------
        instruments
            A list of names, a dict {name: [(start, end), ...]}, or what `instruments(...)` returns. With spans, rows
            outside them are left out. Operators such as `CSRank` compare these instruments, each at the times at which
            its spans say that it belongs.
        fields
            Formulas, such as "$close" or "Mean($close, 5) / $close"; or a dict bar size -> formulas, whose rows are
            those of the finest size and see the last coarser bar that is over (`freq` is then of no effect, columns
            have two levels, see `qlib.data.provider.mixed`).
        disk_cache
            With `qlib.init(dataset_cache=...)`: 0 computes, 1 uses what is kept on disk, 2 computes and keeps; None is
            the setting `default_disk_cache` (1). Of no effect without a cache.
        inst_processors
            Called one after the other with each instrument's frame (index datetime) and `instrument=name`;
            `InstProcessor` objects or their configurations.
        by_time
            Rows are (datetime, instrument), as data loaders want them; they are computed in that order.

        Returns
        -------
        pandas.DataFrame
            float32 (dates: objects), one column per field, named as typed; index (instrument, datetime), instruments
            and times ascending. An instrument has rows where at least one of the fields' columns is stored, from its
            first stored bar to its last; a formula with `Select` has the selected ones. Unknown instruments are left
            out, unknown fields are NaN, each with a warning.

        Raises
        ------
        ExpressionError
            A formula cannot be read.
        MissingDataError
            The store, or the frequency, is not there.
        StoreError
            A file is damaged.
        """
        if isinstance(fields, Mapping):
            if inst_processors:
                raise InputError("inst_processors: bars of several sizes have none; a list of fields may have them")
            return mixed_features(self, instruments, fields, start_time, end_time, by_time=by_time)
        use = self.settings["default_disk_cache"] if disk_cache is None else disk_cache
        if use not in DISK_CACHE:
            raise InputError(
                f"disk_cache: received {disk_cache!r}; 0 (compute), 1 (use what is kept on disk), 2 (compute, and "
                "keep) or None (default_disk_cache) is allowed"
            )
        asked = (instruments, fields, start_time, end_time, freq)
        datasets = self.parts.datasets
        if datasets is None:
            return self.computed(*asked, inst_processors, by_time=by_time)
        if isinstance(datasets, ByTime):
            return datasets.dataset(*asked, int(use), inst_processors, by_time=by_time)
        frame = asked_of(datasets, *asked, int(use), inst_processors)
        return frame.swaplevel().sort_index() if by_time else frame

    def computed(
        self,
        instruments: Any,
        fields: Sequence[Any],
        start_time: Any = None,
        end_time: Any = None,
        freq: str = "day",
        inst_processors: Sequence[Any] = (),
        *,
        by_time: bool = False,
    ) -> pd.DataFrame:
        """Return what `features` returns, computed now: no cache is asked."""
        query = self.query(instruments, fields, start_time, end_time, freq)
        return self.answered(query, fields, inst_processors, by_time=by_time)

    def answered(
        self,
        query: Query | None,
        fields: Sequence[Any],
        inst_processors: Sequence[Any] = (),
        *,
        by_time: bool = False,
    ) -> pd.DataFrame:
        """Return the frame of a query for `fields`, computed now."""
        plain = query is not None and not leaves_rows_out(query.plan)
        if query is not None and plain and not (by_time and inst_processors):
            answer = self.answer(query, by_time=by_time)
            if answer is not None:
                frame = frame_of(*answer[:2], query.plan)
                return processed(frame, inst_processors) if inst_processors else frame
            found = None
        else:
            found = self._find(query)
        if query is None or found is None:
            none = empty_frame(tuple(map(str, fields)))
            return none.swaplevel() if by_time else none
        work = (query.plan, found.loaded, found.kept, query.low, query.high, found.threads)
        frame = self.framed(query, *compute_rows(*work), inst_processors)
        return frame.swaplevel().sort_index() if by_time else frame

    def answer(self, query: Query, *, by_time: bool = False) -> tuple[np.ndarray, pd.MultiIndex, Absent] | None:
        """Return what a query whose formulas leave no rows out asks for, as numbers.

        Returns
        -------
        (block, index, absent)
            float32 of shape (fields, rows), the index of its rows, and what the store does not hold; None where there
            are no rows.
        """
        found = self._find(query)
        if found is None:
            return None
        work = (query.plan, found.loaded, found.kept, query.low, query.high, found.threads)
        threads = found.threads if found.kept.rows > _MANY else 1
        with meanwhile(lambda: index_of(query.instruments, found.kept, query.calendar), threads=threads) as index:
            if not by_time:
                return compute(*work), index(), found.absent
            block, row_of = computed_by_time(*work)
            return block, index_by_time(index(), row_of), found.absent

    def features_uri(
        self,
        instruments: Any,
        fields: Sequence[Any],
        start_time: Any = None,
        end_time: Any = None,
        freq: str = "day",
        disk_cache: int = 1,
    ) -> str:
        """Return the file in which the cache keeps what `features` answers, after computing it if need be.

        Raises InputError without a cache that keeps files, such as `qlib.init(dataset_cache="DiskDatasetCache")`.
        """
        keeps = getattr(self.parts.datasets, "_dataset_uri", None)
        if keeps is None:
            raise InputError(
                "features_uri: nothing is kept in files; qlib.init(dataset_cache='DiskDatasetCache') keeps frames"
            )
        return str(keeps(instruments, fields, start_time, end_time, freq, disk_cache))

    def features_in_batches(
        self,
        instruments: Any,
        fields: Sequence[Any],
        start_time: Any = None,
        end_time: Any = None,
        freq: str = "day",
        *,
        megabytes: float = MEGABYTES,
    ) -> tuple[pd.Index, Iterator[tuple[list[int], np.ndarray]]]:
        """Return thousands of formulas over instruments and times, a few at a time, without a frame.

        Parameters
        ----------
        instruments, fields, start_time, end_time, freq
            As for `features`.
        megabytes
            The size of the block of numbers that one batch fills.

        Returns
        -------
        (index, batches)
            The index (instrument, datetime) of the rows, and an iterator of (places, block): block[k], float32, holds
            the values of fields[places[k]] on those rows. The block is used again for the next batch: copy what must
            outlive it. Equal formulas are computed once, those that share work stand together.
        """
        found = self._find(self.query(instruments, fields, start_time, end_time, freq))
        if found is None:
            return empty_frame(tuple(map(str, fields))).index, iter(())
        query = found.query
        batches = compute_batches(query.plan, found.loaded, found.kept, query.low, query.high, found.threads, megabytes)
        return index_of(query.instruments, found.kept, query.calendar), batches

    def engine(self, instruments: Any, fields: Sequence[Any], end_time: Any = None, freq: str = "day") -> Engine:
        """Return an engine that knows the stored bars up to `end_time` and goes on with those that you append.

        Parameters
        ----------
        instruments
            A list of names, or what `instruments(...)` returns; one without data can be listed later.
        fields
            Formulas that do not look ahead.

        See `qlib.data.expression.Engine`; a bar has one number per instrument, in the order of `engine.instruments`.
        """
        plan = self._plan(fields)
        if plan.compat is not None:
            raise InputError("compat: Qlib's values depend on where a query began, so there is no engine for them")
        calendar = self.locate(self.store.stored_freq(freq))
        _, last = calendar.locate(None, end_time)
        labels, _ = self._labels(instruments, calendar, 0, max(last, 0), freq)
        loaded = load(self.store, labels, plan, freq, calendar, last, last, self.settings.threads(freq))
        warn(self.store, plan, freq, calendar, labels, Absent.of(loaded, plan))
        return Engine(plan.fields, loaded.panel(0, len(labels)), registry=self.registry)

    def query(
        self, instruments: Any, fields: Sequence[Any], start_time: Any = None, end_time: Any = None, freq: str = "day"
    ) -> Query | None:
        """Return what `features` is asked for, nothing read yet; None, with a warning, where the range has no bar."""
        plan = self._plan(fields)
        calendar = self.locate(self.store.stored_freq(freq))
        low, high = calendar.locate(start_time, end_time)
        if high < low:
            self._warn_outside(calendar, start_time, end_time)
            return None
        # An operator across instruments meets everybody who was a member at some bar that is computed, history too.
        bounds = needed(plan, calendar, low, high) if meets_others(plan) else (low, high)
        return Query(plan, freq, calendar, low, high, *self._labels(instruments, calendar, *bounds, freq))

    def _find(self, query: Query | None) -> _Found | None:
        """Read what a query needs; None where it has no rows."""
        if query is None:
            return None
        plan, threads = query.plan, self.settings.threads(query.freq)
        # A plan that is new is compiled while the files are read; under compat, parts of it are run.  What cannot be
        # compiled is told where the phases are asked for.
        ahead = threads if plan.compat is None and not plan.compiled else 1
        with meanwhile(lambda: plan.phases, threads=ahead):
            loaded = load(
                self.store, query.instruments, plan, query.freq, query.calendar, query.low, query.high, threads
            )
        if query.members is not None and meets_others(plan):
            loaded = _with_members(loaded, query.instruments, query.members)
        absent = Absent.of(loaded, plan)
        warn(self.store, plan, query.freq, query.calendar, query.instruments, absent)
        kept = rows_of(loaded, query.low, query.high, query.members)
        return _Found(query, loaded, kept, absent, threads) if len(kept) else None

    @staticmethod
    def framed(query: Query, block: np.ndarray, kept: Ranges, inst_processors: Sequence[Any] = ()) -> pd.DataFrame:
        """Return the computed rows of a query as the frame that `features` returns."""
        if not len(kept):
            return empty_frame(query.plan.fields)
        frame = frame_of(block, index_of(query.instruments, kept, query.calendar), query.plan)
        return processed(frame, inst_processors) if inst_processors else frame

    def panel(
        self,
        instruments: Iterable[str],
        fields: Sequence[Any],
        start_time: Any = None,
        end_time: Any = None,
        freq: str = "day",
        *,
        optional: Collection[str] = (),
        members: Mapping[str, Any] | None = None,
    ) -> tuple[Panel, np.ndarray]:
        """Return formulas as arrays.

        Parameters
        ----------
        instruments
            Names; those without rows in the range are left out of the panel.
        optional
            Names of fields (without `$`) whose absence deserves no warning.
        members
            {name: [(start, end), ...]}, when each instrument belongs to the universe that operators such as `CSRank`
            compare; None and names that are not in it: always.

        Returns
        -------
        (panel, times)
            The panel's columns are called by the fields' texts; its positions count in `times`, the calendar entries
            (datetime64[ns]) inside [start_time, end_time]. Rows that a formula leaves out are NaN, dates are days
            since 1970-01-01.
        """
        plan = self._plan(fields)
        calendar = self.locate(self.store.stored_freq(freq))
        low, high = calendar.locate(start_time, end_time)
        if high < low:
            self._warn_outside(calendar, start_time, end_time)
            nothing: dict[str, np.ndarray] = {field: np.empty(0, np.float32) for field in plan.fields}
            return Panel((), np.zeros(1, np.int64), np.empty(0, np.int64), nothing), calendar.times[:0]
        threads = self.settings.threads(freq)
        labels = tuple(dict.fromkeys(str(name) for name in instruments))
        loaded = load(self.store, labels, plan, freq, calendar, low, high, threads)
        if members is not None and meets_others(plan):
            universe = Universe(as_spans(members))
            loaded = _with_members(loaded, universe.names, universe.ranges(calendar))
        warn(self.store, plan, freq, calendar, labels, Absent.of(loaded, plan), optional)
        return computed_panel(plan, loaded, low, high, threads), calendar.times[low : high + 1]

    def holding(
        self,
        formula: Any,
        instruments: Sequence[str],
        members: Ranges,
        calendar: Calendar,
        first: int,
        last: int,
        *,
        keep: bool = False,
    ) -> Ranges:
        """Return the members' calendar positions inside first ... last at which a formula holds.

        It holds where it is neither 0 nor NaN, by Qlib's rules also where it is NaN or nothing is stored. Who has no
        data there at all has all its positions if `keep`, else none.

        Parameters
        ----------
        instruments
            Names, each once.
        members
            When each of them belongs to the universe that operators such as `CSRank` compare.
        calendar
            That of a stored frequency.
        """
        plan, threads = self._plan([formula]), self.settings.threads(calendar.freq)
        inside = members.within(first, last + 1)
        asked = inside.counts(len(instruments)) > 0
        names, inside, members = tuple(compress(instruments, asked.tolist())), inside.part(asked), members.part(asked)
        if not names:
            return inside
        freq = self.store.stored_freq(calendar.freq)
        loaded = load(self.store, names, plan, freq, calendar, first, last, threads)
        if meets_others(plan):
            loaded = _with_members(loaded, names, members)
        warn(self.store, plan, freq, calendar, names, Absent.of(loaded, plan))
        known = np.minimum(loaded.end, last + 1) > np.maximum(loaded.begin, first)
        kept = rows_of(loaded, first, last, inside)
        holds = kept
        if len(kept):
            values = compute(plan, loaded, kept, first, last, threads)[0]
            holds = kept.where((values != 0) & ~np.isnan(values))
        if self.settings["compat"] == "qlib":
            fails = kept.where(values == 0) if len(kept) else kept
            holds = inside.of_instruments(known).common(fails.gaps(len(names), first, last + 1))
        if keep:
            holds = Ranges.together(holds, inside.of_instruments(~known))
        return Ranges(np.flatnonzero(asked)[holds.instrument], holds.begin, holds.end)

    def looks_across(self, fields: Sequence[Any]) -> bool:
        """Tell whether one of the formulas compares the members of the universe with each other, as `CSRank` does."""
        return meets_others(self._plan(fields))

    def surroundings(self, freq: str = "day") -> Surroundings:
        """Return what a formula may ask of the store at a frequency, for `Expression.load`."""
        calendar = self.locate(self.store.stored_freq(freq))
        return Surroundings(
            times=calendar.times,
            stored=Stored(self.store, freq, calendar),
            periods=Periods(self.store, freq, calendar),
            freq=freq,
        )

    # ------------------------------------------------------------------ how a query is read
    def _plan(self, fields: Sequence[Any]) -> Plan:
        if isinstance(fields, str):
            raise InputError(f"fields: received the text {fields!r}; a list of formulas is allowed: [{fields!r}]")
        texts = tuple(str(field) for field in fields)
        if not texts:
            raise InputError("fields: received none; a list of at least one formula is allowed")
        return self._plans.of(texts, self.settings["compat"], self.registry)

    def _labels(
        self, instruments: Any, calendar: Calendar, low: int, high: int, freq: str
    ) -> tuple[tuple[str, ...], Ranges | None]:
        """Return the names in ascending order, and if there are spans, the calendar positions of their members."""
        if isinstance(instruments, str):
            raise InputError(
                f"instruments: received the text {instruments!r}; a list of names is allowed, or the universe "
                f"D.instruments({instruments!r})"
            )
        if isinstance(instruments, Mapping):
            universe, pipe = self._universe(instruments, freq)
            if "market" not in instruments:
                return universe.names, universe.ranges(calendar)
            # Qlib's filters always see the whole calendar; ours answer the same for any part of it.
            whole = self.settings["compat"] == "qlib"
            start, end = (calendar.index[i] for i in ((0, -1) if whole else (low, high)))
            names: Sequence[str]
            if pipe:
                names, members = self._narrowed(universe, pipe, calendar, *calendar.locate(start, end))
                alive = members.counts(len(names)) > 0
            else:
                names, members, alive = universe.names, universe.ranges(calendar), universe.alive(start, end)
            if alive.all():
                return tuple(names), members
            return tuple(compress(names, alive.tolist())), members.part(alive)
        if not isinstance(instruments, Iterable):
            raise InputError(
                f"instruments: received {short(instruments)}; a list of names, a dict name -> spans, or "
                "D.instruments(...) is allowed"
            )
        return tuple(sorted({str(name) for name in instruments})), None

    # ------------------------------------------------------------------ what a person should know
    @staticmethod
    def _warn_outside(calendar: Calendar, start_time: Any, end_time: Any) -> None:
        try:
            calendar.check_inside(start_time, end_time)
        except MissingDataError as error:
            logger.warning(f"no rows: {error}")


def _with_members(loaded: Loaded, names: Sequence[str], members: Ranges) -> Loaded:
    """Return what was loaded, with the calendar positions at which each instrument belongs to the universe."""
    spans = {name: members.of(i) for i, name in enumerate(names)}
    return replace(loaded, around=replace(loaded.around, members=spans))
