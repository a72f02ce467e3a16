"""Frames that share their memory: a view says which cells it shows, and what is still to be done to them.

    view = View.of(df)                                   nothing is copied
    view = view.keep_rows(positions)                     rows left out: still nothing
    view = view.cellwise(positions, change)              change(i, x) is to be done to cells: noted, not done
    view = view.changed(positions, change)               done now, to copies of these columns
    view.part(rows, columns)                             a frame: pandas' own view where it can be, else one new block

Handlers keep raw, infer and learn data as views of one block, (columns, rows) in memory as the engine writes it: a
column is one piece, which is what processors, rows of dates and LightGBM want. What is fetched is gathered, changed and
handed out in one pass, while it is in the cache; what nobody fetches is never made.

A change works on one column in place: change(i, x) with x the cells of the column at positions[i].
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from qlib.config import active_settings
from qlib.data.dataset.crosssection import Dates
from qlib.data.dataset.utils import get_level_index, join_columns, pick_columns
from qlib.errors import InputError

Change = Callable[[int, np.ndarray], None]
Rows = slice | np.ndarray | None
FEW = 8  # changing up to one column in FEW leaves the others shared; more become one new block
CHUNK = 1 << 14  # cells that are gathered and changed at a time: they stay in the cache


def for_each(work: Callable[[int], None], number: int) -> None:
    """Call work(0) ... work(number - 1), on as many threads as the settings allow (numpy lets go of the lock)."""
    n_threads = min(active_settings().n_threads, number)
    if n_threads > 1:
        with ThreadPoolExecutor(n_threads) as pool:
            list(pool.map(work, range(number)))
    else:
        for i in range(number):
            work(i)


def numbers(column: pd.Series) -> np.ndarray:
    """Return a column as floats: float32 and float64 as they are (no copy), integers and booleans as float64."""
    dtype = column.dtype
    if dtype in (np.float32, np.float64):
        return column.to_numpy()
    if pd.api.types.is_numeric_dtype(dtype):
        return column.to_numpy(dtype=np.float64, na_value=np.nan)
    raise InputError(f"column {column.name}: a column of numbers is needed; received dtype {dtype}")


def dates_of(index: pd.Index) -> Dates:
    """Return the rows of an index grouped by their date."""
    if not isinstance(index, pd.MultiIndex):
        return Dates(pd.factorize(index, sort=True)[0])
    return Dates(np.asarray(index.codes[get_level_index(index, "datetime")]))


def change_columns(df: pd.DataFrame, positions: np.ndarray, change: Change) -> tuple[pd.DataFrame, bool]:
    """Return `df` with `change(i, x)` done to the column at positions[i], and whether the result shares no memory.

    `df` itself stays as it is.
    """
    view = View.of(df).changed(positions, change)
    return view.whole(), view.own


class Pending(NamedTuple):
    """A change of single cells that is still to be done; `number` is what it knows the column by."""

    change: Change
    number: int


@dataclass(frozen=True, eq=False)
class View:
    """Rows and columns of a frame.

    frame
        Whose memory is shared. It is never written to unless `own` says that nobody else holds it.
    rows
        The frame's rows that are shown, ascending; None: all.
    at
        The frame's columns that are shown.
    new
        Columns, by their position in the frame, with other values: one per row shown.
    pending
        What is to be done, in this order, to the cells of a column, by its position in the frame.
    """

    frame: pd.DataFrame
    rows: np.ndarray | None
    at: np.ndarray
    new: Mapping[int, np.ndarray] = field(default_factory=dict)
    pending: Mapping[int, tuple[Pending, ...]] = field(default_factory=dict)
    own: bool = False

    @classmethod
    def of(cls, df: pd.DataFrame, *, own: bool = False) -> View:
        """Return the view of a whole frame as it is."""
        return cls(df, None, np.arange(df.shape[1]), own=own)

    def __len__(self) -> int:
        return len(self.frame) if self.rows is None else len(self.rows)

    @cached_property
    def index(self) -> pd.Index:
        return self.frame.index if self.rows is None else self.frame.index.take(self.rows)

    @cached_property
    def columns(self) -> pd.Index:
        return self.frame.columns if self._is_every_column else self.frame.columns.take(self.at)

    @cached_property
    def _is_every_column(self) -> bool:
        return len(self.at) == self.frame.shape[1] and bool((self.at == np.arange(len(self.at))).all())

    @cached_property
    def _dtypes(self) -> list[Any]:
        return list(self.frame.dtypes)

    @cached_property
    def _memory(self) -> list[np.ndarray | None]:
        """The frame's columns of floats as arrays over its own memory; None for the others."""
        floats = (np.float32, np.float64)
        return [self.frame.iloc[:, at].to_numpy() if kind in floats else None for at, kind in enumerate(self._dtypes)]

    def _column(self, at: int) -> np.ndarray:
        """Return a column of the frame as floats."""
        memory = self._memory[at]
        return numbers(self.frame.iloc[:, at]) if memory is None else memory

    # ------------------------------------------------------------------------------------------------ making others
    def _with(self, **named: Any) -> View:
        kept = {name: getattr(self, name) for name in ("frame", "rows", "at", "new", "pending", "own")}
        return View(**(kept | named))

    def shared(self) -> View:
        """Return the same view, whose memory somebody else holds from now on."""
        return self._with(own=False)

    def keep_rows(self, positions: np.ndarray) -> View:
        """Return the view of some of its rows, ascending."""
        rows = positions if self.rows is None else self.rows[positions]
        return self._with(rows=rows, new={at: x[positions] for at, x in self.new.items()})

    def keep_columns(self, positions: np.ndarray) -> View:
        """Return the view of some of its columns."""
        return self._with(at=self.at[positions])

    def cellwise(self, positions: np.ndarray, change: Change) -> View:
        """Return the view with a change of single cells: it may be told to any of them, in any order.

        It is done at once where the memory is ours, else when the cells are asked for.
        """
        for i in positions:
            self._kind(int(self.at[i]))  # raises for what is no number
        if self._can_write(positions):
            return self._written(positions, change)
        pending = dict(self.pending)
        for number, i in enumerate(positions):
            at = int(self.at[i])
            pending[at] = (*pending.get(at, ()), Pending(change, number))
        return self._with(pending=pending)

    def changed(self, positions: np.ndarray, change: Change) -> View:
        """Return the view with change(i, x) done to the whole column at positions[i].

        In place where the memory is ours. Else a few columns are replaced and the others shared, and for more every
        run of columns of one type becomes one new block.
        """
        if not len(positions):
            return self
        if self._can_write(positions):
            return self._written(positions, change)
        if len(positions) * FEW <= len(self.at):
            new = dict(self.new)

            def replace(number: int) -> None:
                new[int(self.at[positions[number]])] = x = np.array(self.values(int(positions[number])))
                change(number, x)

            for_each(replace, len(positions))
            return self._with(
                new=new,
                pending={at: todo for at, todo in self.pending.items() if at not in self._at(positions)},
                own=False,
            )
        finish = {at: Pending(change, number) for number, at in enumerate(self._at(positions))}
        frame, shares = self._assembled(None, self.at, finish)
        return View.of(frame, own=self.own or not shares)

    def _at(self, positions: np.ndarray) -> list[int]:
        return [int(self.at[i]) for i in positions]

    def _can_write(self, positions: np.ndarray) -> bool:
        floats = (np.float32, np.float64)
        if not self.own or self.rows is not None or not len(self):
            return False
        return all(
            self._dtypes[at] in floats
            and at not in self.new
            and at not in self.pending
            and _writable(self.frame.iloc[:, at]) is not None
            for at in self._at(positions)
        )

    def _written(self, positions: np.ndarray, change: Change) -> View:
        def write(number: int) -> None:
            memory = _writable(self.frame.iloc[:, int(self.at[positions[number]])])
            assert memory is not None
            x = np.ascontiguousarray(memory)
            change(number, x)
            if x is not memory:
                memory[:] = x

        for_each(write, len(positions))
        return self

    # ------------------------------------------------------------------------------------------------ looking at it
    def _kind(self, at: int) -> np.dtype:
        """Return the type that a column of numbers has when it is computed with."""
        dtype = self.new[at].dtype if at in self.new else self._dtypes[at]
        if dtype in (np.float32, np.float64):
            return np.dtype(dtype)
        numbers(self.frame.iloc[:0, at])
        return np.dtype(np.float64)

    def values(self, i: int) -> np.ndarray:
        """Return the column at position `i` as floats; it may be shared memory: look, but do not write."""
        at = int(self.at[i])
        if at not in self.pending and (self.rows is None or at in self.new):
            return self.new[at] if at in self.new else self._column(at)
        out = np.empty(len(self), self._kind(at))
        self._fill(at, None, out)
        return out

    def missing(self, i: int) -> np.ndarray:
        """Return which cells of the column at position `i` are missing."""
        at = int(self.at[i])
        if at in self.new or pd.api.types.is_float_dtype(self._dtypes[at]) or at in self.pending:
            return np.isnan(self.values(i))
        missing = self.frame.iloc[:, at].isna().to_numpy()
        return missing if self.rows is None else missing[self.rows]

    def part(self, rows: Rows = None, columns: np.ndarray | None = None) -> pd.DataFrame:
        """Return rows and columns, by their positions in the view, as a frame that is the caller's to change."""
        frame, shares = self._assembled(rows, self.at if columns is None else self.at[columns])
        return lent(frame) if shares else frame

    def whole(self) -> pd.DataFrame:
        """Return all of it as a frame, to look at: the frame itself where nothing is left out or changed."""
        return self._assembled(None, self.at)[0]

    def settled(self) -> View:
        """Return the same rows and columns as the view of one frame, with nothing left to be done."""
        frame, shares = self._assembled(None, self.at)
        return self if frame is self.frame else View.of(frame, own=self.own or not shares)

    @property
    def is_plain(self) -> bool:
        """Whether the view is its frame, nothing left out and nothing to be done."""
        return self.rows is None and self._is_every_column and not self.new and not self.pending

    def _assembled(
        self, rows: Rows, at: np.ndarray, finish: Mapping[int, Pending] | None = None
    ) -> tuple[pd.DataFrame, bool]:
        """Return (frame, whether it shares memory with the view's frame); `finish` is done to whole columns."""
        finish = finish or {}
        shown = self._frame_rows(rows)
        index = self.frame.index if shown is None else self.frame.index[shown]
        touched = [j for j, x in enumerate(at.tolist()) if x in self.new or x in self.pending or x in finish]
        neighbours = len(at) > 0 and bool((np.diff(at) == 1).all())
        if neighbours and not isinstance(shown, np.ndarray) and 0 < len(touched) * FEW <= len(at):
            piece = pick_columns(self.frame, at)
            piece = (piece if shown is None else piece.iloc[shown]).copy(deep=False)
            for j in touched:
                block = np.empty((1, len(index)), self._kind(int(at[j])))
                self._fill_block(at[j : j + 1], rows, block, finish)
                piece.isetitem(j, block[0])
            return piece, True
        pieces: list[pd.DataFrame] = []
        shares = False
        for run, plain, kind in self._runs(at, not isinstance(shown, np.ndarray), finish):
            if plain:
                shares = True
                piece = pick_columns(self.frame, run)
                piece = piece if shown is None else piece.iloc[shown]
                if len(run) == len(at):  # nothing stands beside it
                    return piece, shares
                piece = piece.copy(deep=False)
                piece.index = index
            elif isinstance(kind, np.dtype) and kind.kind in "fiub":
                block = np.empty((len(run), len(index)), kind)
                self._fill_block(run, rows, block, finish)
                piece = pd.DataFrame(block.T, index=index, columns=self.frame.columns.take(run), copy=False)
            else:
                piece = self.frame.iloc[:, run].take(shown).set_axis(index, axis=0)
            pieces.append(piece)
        return join_columns(pieces, self.columns if at is self.at else self.frame.columns.take(at), index), shares

    def _frame_rows(self, rows: Rows) -> Any:
        """Return rows of the view as rows of the frame, as a slice where they are neighbours; None: all."""
        everything = rows is None or (isinstance(rows, slice) and rows == slice(None))
        found: Rows = self.rows if everything else rows if self.rows is None else self.rows[rows]
        neighbours = (
            isinstance(found, np.ndarray)
            and len(found) > 0
            and found[-1] - found[0] == len(found) - 1
            and bool((found[1:] > found[:-1]).all())
        )
        if neighbours:
            found = slice(int(found[0]), int(found[-1]) + 1)  # type: ignore[index]
        return None if isinstance(found, slice) and found == slice(0, len(self.frame)) else found

    def _runs(
        self, at: np.ndarray, shareable: bool, finish: Mapping[int, Pending]
    ) -> Iterator[tuple[np.ndarray, bool, Any]]:
        """Yield (neighbouring columns that are treated alike, whether they stay the frame's own memory, their type)."""
        touched = self.new.keys() | self.pending.keys() | finish.keys()
        kinds: list[tuple[bool, Any]] = [
            (False, self._kind(x)) if x in touched else (True, None) if shareable else (False, self._dtypes[x])
            for x in at.tolist()
        ]
        low = 0
        for i in range(1, len(at) + 1):
            if i == len(at) or kinds[i] != kinds[low]:
                yield at[low:i], *kinds[low]
                low = i

    def _fill_block(self, run: np.ndarray, rows: Rows, block: np.ndarray, finish: Mapping[int, Pending]) -> None:
        def fill(j: int) -> None:
            at = int(run[j])
            self._fill(at, rows, block[j])
            if at in finish:
                finish[at].change(finish[at].number, block[j])

        for_each(fill, len(run))

    def _fill(self, at: int, rows: Rows, out: np.ndarray) -> None:
        """Write rows of a column, by their positions in the view, to `out`, with what is to be done to them."""
        if at in self.new:
            source, chosen = self.new[at], rows
        else:
            same = self._dtypes[at] == out.dtype and self._memory[at] is None  # whole numbers that nothing changes
            source = self.frame.iloc[:, at].to_numpy() if same else self._column(at)
            chosen = self._frame_rows(rows)
        if chosen is None or isinstance(chosen, slice):
            source, chosen = source[chosen or slice(None)], None
        elif source.dtype != out.dtype or source.strides[0] != source.itemsize:
            source = np.ascontiguousarray(source, out.dtype)
        for low in range(0, len(out), CHUNK):
            cells = out[low : low + CHUNK]
            if chosen is None:
                cells[:] = source[low : low + CHUNK]
            else:
                np.take(source, chosen[low : low + CHUNK], out=cells, mode="clip")
            for change, number in self.pending.get(at, ()):
                change(number, cells)


def lent(df: pd.DataFrame) -> pd.DataFrame:
    """Return a frame that its receiver may change without changing `df`: pandas 3 copies when that happens, 2 now."""
    lazy = not pd.__version__.startswith("2.") or pd.options.mode.copy_on_write is True
    return df.copy(deep=not lazy)


def _writable(column: pd.Series) -> np.ndarray | None:
    """Return the memory behind a column of floats, or None when it may not be written to."""
    values = column.to_numpy()
    if not np.shares_memory(values, column.to_numpy()):
        return None
    if not values.flags.writeable:  # pandas 3 hands out read-only views
        try:
            values.flags.writeable = True
        except ValueError:
            return None
    return values
