"""Frames that stand for a store: what `qlib.init(data=...)` takes.

    qlib.init(data={"60min": bars})                                        any frame, by frequency
    qlib.init(data=Frames({"60min": bars}, instrument="symbol", time="open_time", clock="UTC"))

See docs/component/frames.md for what may be brought.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import uuid
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from qlib.data.storage.arena import Raw
from qlib.data.storage.file_storage import same_freq
from qlib.data.storage.frames.grid import Grid, given_calendar
from qlib.data.storage.frames.held import Held
from qlib.data.storage.frames.scanned import Scanned
from qlib.data.storage.frames.scans import DatasetScan, DuckScan, DuckTable, FilesScan, PolarsScan
from qlib.data.storage.frames.shapes import Rules, held_arrow, held_dict, held_pandas, held_wide
from qlib.data.universe import Spans, Universe
from qlib.errors import InputError, MissingDataError, did_you_mean
from qlib.utils.objects import init_instance_by_config
from qlib.utils.time import Freq

_FILE = "__file__"  # the column that files make up where each of them is one instrument


class Frames:
    """Bars of your own, by frequency, in the place of a store's files.

    Parameters
    ----------
    sources
        {frequency: source}. A source is a long frame of (instrument, time, fields): pandas (columns, or a MultiIndex in
        either order), polars, Arrow (Table, RecordBatchReader); a dict instrument -> frame; with `wide` a dict
        field -> frame of times by instruments; or something that is read query by query: a path of Parquet or Arrow
        files, a `pyarrow.dataset.Dataset`, a polars LazyFrame, a relation of DuckDB or a `DuckTable`.
    instrument, time
        The columns of instruments and times. `instrument=None`: each file of a path is one instrument, called as the
        file.
    fields
        The columns that formulas may name, a list; or {column: field}. By default all others.
    clock
        The zone by whose clock bars are counted, such as "UTC": times with a zone are converted to it. Those without
        are in it already.
    calendar
        The times at which bars can be, or {frequency: times}; by default those at which one of the instruments has one.
    markets
        {market: instruments, or {instrument: [(start, end), ...]}}, besides "all".
    wide
        Whether dicts are field -> frame instead of instrument -> frame.
    pit
        A folder that holds `financial`, the point-in-time data of `P($$...)`.

    Raises
    ------
    InputError
        Rows that cannot be bars; one sentence says where and why. Of sources that are read query by query, columns are
        looked at here, rows with the first query.

    >>> bars = pd.DataFrame({"instrument": ["A", "A", "B"], "close": [1.0, 2.0, 3.0]})
    >>> bars["datetime"] = pd.to_datetime(["2024-01-01", "2024-01-03", "2024-01-03"])
    >>> frames = Frames({"day": bars})
    >>> frames
    <Frames day: 2 bars of 2 instruments>
    >>> frames.universe("all", "day").listed(pd.Timestamp("2024-01-01"), pd.Timestamp("2024-01-02"))
    ['A']
    """

    def __init__(
        self,
        sources: Mapping[str, Any],
        *,
        instrument: str | None = "instrument",
        time: str = "datetime",
        fields: Sequence[str] | Mapping[str, str] | None = None,
        clock: str | None = None,
        calendar: Any = None,
        markets: Mapping[str, Any] | None = None,
        wide: bool = False,
        pit: str | os.PathLike[str] | None = None,
    ) -> None:
        if not isinstance(sources, Mapping) or not sources:
            raise InputError(
                f"data: received {_kind(sources)}; frames by frequency are allowed, such as data={{'day': frame}}"
            )
        by_freq = calendar if isinstance(calendar, Mapping) else dict.fromkeys(sources, calendar)
        _check_clock(clock)
        self.key = uuid.uuid4().hex
        self.pit = None if pit is None else Path(pit).expanduser().resolve()
        self._markets = {str(name).lower(): members for name, members in (markets or {}).items()}
        self._bars: dict[str, Held | Scanned] = {}
        for name, source in sources.items():
            freq = _freq_of(name)
            if again := same_freq(freq, self._bars):
                raise InputError(f"data: received {again!r} and {name!r}, which are one frequency")
            where = f"data[{name!r}]"
            given = by_freq.get(name)
            times = None if given is None else given_calendar(given, freq, where)
            self._bars[str(name)] = _bars_of(source, Rules(where, freq, instrument, time, fields, clock, times), wide)
        self.freqs = sorted(self._bars, key=lambda name: Freq(name).minutes)
        self._start()

    def _start(self) -> None:
        self._universes: dict[tuple[str, str], tuple[Grid, Universe]] = {}
        self._lock = threading.Lock()
        self._lent: Path | None = None

    @classmethod
    def of(cls, data: Any) -> Frames:
        """Return what `qlib.init(data=...)` was given as Frames: itself, a configuration of one, or {freq: source}."""
        if isinstance(data, Mapping) and isinstance(data.get("class"), str):
            data = init_instance_by_config(dict(data), accept_types=Frames)
        return data if isinstance(data, cls) else cls(data)

    def __repr__(self) -> str:
        shown = ", ".join(f"{freq}: {self._shown(freq)}" for freq in self.freqs)
        return f"<Frames {shown}>"

    def _shown(self, freq: str) -> str:
        bars = self._bars[freq]
        if isinstance(bars, Scanned):
            return "read query by query"
        grid = bars.grid
        return f"{len(grid.times)} bars of {len(grid.names)} instruments"

    def __deepcopy__(self, memo: Any) -> Frames:
        return self  # never changed, and large

    # ------------------------------------------------------------------------------------------ what there is
    def grid(self, freq: str) -> Grid:
        """Return which bars there are at a frequency, spelled as in `freqs`."""
        return self._bars[freq].grid

    def universe(self, market: str, freq: str) -> Universe:
        """Return a market's instruments and their spans; MissingDataError, which lists them, for an unknown one."""
        grid, name = self.grid(freq), market.lower()
        known = self._universes.get((name, freq))
        if known is None or known[0] is not grid:
            known = self._universes[name, freq] = (grid, Universe(self._spans(name, market, grid, freq)))
        return known[1]

    def _spans(self, name: str, market: str, grid: Grid, freq: str) -> Spans:
        if name == "all" and name not in self._markets:
            return grid.spans()
        if name not in self._markets:
            stored = sorted({"all", *self._markets})
            raise MissingDataError(
                f"market: received {market!r}; data[{freq!r}] has {', '.join(stored)}{did_you_mean(market, stored)}"
            )
        members = self._markets[name]
        if isinstance(members, Mapping):
            return {str(one): [(pd.Timestamp(a), pd.Timestamp(b)) for a, b in own] for one, own in members.items()}
        every = grid.spans()
        strange = [one for one in map(str, members) if one not in every]
        if strange:
            raise InputError(
                f"markets: {market} names {strange[0]}, of which data[{freq!r}] has no bar"
                f"{did_you_mean(strange[0], list(every))}"
            )
        return {one: every[one] for one in map(str, members)}

    def read(
        self, freq: str, instruments: Sequence[str], fields: Sequence[str], first: int, last: int, *, threads: int = 1
    ) -> Raw:
        """Read some fields at calendar positions first ... last, see `Raw`."""
        bars = self._bars[freq]
        if isinstance(bars, Held):
            return bars.read(instruments, fields, first, last)
        return bars.read(instruments, fields, first, last, threads=threads)

    # ------------------------------------------------------------------------------------------ other processes
    def __reduce__(self) -> tuple[Any, ...]:
        return _received, (self._state(),)

    def _state(self) -> dict[str, Any]:
        """Return what another process needs: paths and queries as they are, frames in memory as a folder they share."""
        held = {freq: bars for freq, bars in self._bars.items() if isinstance(bars, Held)}
        with self._lock:
            if held and self._lent is None:
                folder = _shared_folder()
                weakref.finalize(self, _remove, folder, os.getpid())
                for i, bars in enumerate(held.values()):
                    bars.save(folder / str(i))
                self._lent = folder
        places = {freq: self._lent / str(i) for i, freq in enumerate(held)} if self._lent is not None else {}
        return {
            "key": self.key,
            "pit": self.pit,
            "markets": self._markets,
            "bars": {freq: places.get(freq, bars) for freq, bars in self._bars.items()},
        }


def _received(state: dict[str, Any]) -> Frames:
    """Return the frames of another process."""
    frames = Frames.__new__(Frames)
    frames.key, frames.pit, frames._markets = state["key"], state["pit"], state["markets"]  # noqa: SLF001
    frames._bars = {  # noqa: SLF001
        freq: Held.load(bars) if isinstance(bars, Path) else bars for freq, bars in state["bars"].items()
    }
    frames.freqs = sorted(frames._bars, key=lambda name: Freq(name).minutes)  # noqa: SLF001
    frames._start()  # noqa: SLF001
    return frames


def _shared_folder() -> Path:
    """Make a folder for frames that other processes map: in memory where there is such a place."""
    memory = Path("/dev/shm")  # noqa: S108  a folder of our own is made in it, which nobody else can read
    where = memory if memory.is_dir() and os.access(memory, os.W_OK) else None
    return Path(tempfile.mkdtemp(prefix="qlib-frames-", dir=where))


def _remove(folder: Path, owner: int) -> None:
    if os.getpid() == owner:  # a fork ends too, and must not take the folder with it
        shutil.rmtree(folder, ignore_errors=True)


# ------------------------------------------------------------------------------------------------ what was brought
def _bars_of(source: Any, rules: Rules, wide: bool) -> Held | Scanned:
    if isinstance(source, Mapping) and isinstance(source.get("class"), str):
        source = init_instance_by_config(dict(source))
    home = type(source).__module__.split(".")[0].lstrip("_")
    kind = type(source).__name__
    if isinstance(source, pd.DataFrame):
        _needs_instrument(rules)
        return held_pandas(source, rules)
    if isinstance(source, Mapping):
        return held_wide(source, rules) if wide else held_dict(source, rules)
    if isinstance(source, str | os.PathLike):
        path = Path(source).expanduser().resolve()
        if rules.instrument is None:
            return Scanned(FilesScan(path, _FILE, rules.where), replace(rules, instrument=_FILE))
        return Scanned(DatasetScan(path, rules.instrument, rules.where), rules)
    _needs_instrument(rules)
    assert rules.instrument is not None
    if isinstance(source, DuckTable) or (home == "duckdb" and kind == "DuckDBPyRelation"):
        return Scanned(DuckScan(source, rules.where), rules)
    if home == "polars" and kind == "LazyFrame":
        return Scanned(PolarsScan(source, rules.where), rules)
    if home == "pyarrow" and hasattr(source, "scanner"):
        return Scanned(DatasetScan(source, rules.instrument, rules.where), rules)
    if hasattr(source, "__arrow_c_stream__"):  # polars, Arrow, and whatever else speaks Arrow
        import pyarrow as pa  # noqa: PLC0415  heavy: only who brings such a frame needs it

        return held_arrow(source if isinstance(source, pa.Table) else pa.table(source), rules)
    raise InputError(
        f"{rules.where}: received {_kind(source)}; a frame of pandas, polars or Arrow, a dict of frames, a path of "
        "Parquet files, or a table of DuckDB is allowed"
    )


def _needs_instrument(rules: Rules) -> None:
    if rules.instrument is None:
        raise InputError(
            f"{rules.where}: instrument=None is for a folder in which each file is one instrument, and for dicts; "
            "say in which column the instruments are"
        )


def _freq_of(name: Any) -> Freq:
    try:
        return Freq(name)
    except (ValueError, TypeError) as error:
        raise InputError(
            f"data: received {name!r} for a frequency ({error}); frames by frequency are allowed, such as "
            "data={'day': frame}"
        ) from None


def _check_clock(clock: str | None) -> None:
    if clock is None:
        return
    try:
        pd.Timestamp(0, tz=clock)
    except Exception as error:  # noqa: BLE001  pandas, zoneinfo and pytz each have one of their own
        raise InputError(
            f"clock: received {clock!r}; the name of a time zone such as 'UTC' is allowed ({error})"
        ) from None


def _kind(thing: Any) -> str:
    return f"{thing!r}" if thing is None or isinstance(thing, str | int | float) else type(thing).__name__
