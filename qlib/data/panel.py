"""Columns over (instrument, time), flat and ragged.

    instrument        A          B        C
    row           0 1 2 3 4 | 5 6 7 | 8 9 10 11      start = [0, 5, 8, 12]
    position      7 8 9 ... | 0 1 2 | 9 ...          first = [7, 0, 9]

Instrument i owns the rows start[i]:start[i+1] of every column, and its row r stands at calendar position
first[i] + (r - start[i]): no holes.  A window therefore walks contiguous memory, and a name that was listed late or
delisted early costs nothing.  Where a field has nothing stored inside its instrument's rows, it is NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import numpy as np

from qlib.data.periods import Records

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a formula may ask of the world beyond the rows and columns of its panel; None where nobody said.

    Parameters
    ----------
    times
        datetime64[ns], the time of every calendar position (not only of the panel's).
    members
        Instrument (as in `Panel.instruments`) to half-open ranges of calendar positions at which it belongs to the
        universe, in order; an instrument that is not a key always does.  None: all of them always do.
    elsewhere
        Instrument (lower case) to the panel of that instrument alone, for formulas about another instrument.
    periods
        (instrument, field) to what became known of a point-in-time field, or None where the instrument has none.
    stored
        (instrument, field, first, last) to (position of the first value, values): what is stored at calendar
        positions first ... last, for operators of users that load by themselves, see `legacy.py`.
    rows
        (formula, instruments) to (begin, end), two arrays: the half-open range of calendar positions of each
        instrument at which one of the columns that the formula reads is stored.  None: all rows of the panel.
    freq
        The bar size of the calendar positions, such as "day".
    kept
        Where `operators/elsewhere.py` leaves the values of formulas, as they are before they become float32.
    """

    times: np.ndarray | None = None
    members: Mapping[str, Sequence[tuple[int, int]]] | None = None
    elsewhere: Mapping[str, Panel] | None = None
    periods: Callable[[str, str], Records | None] | None = None
    stored: Callable[[str, str, int, int], tuple[int, np.ndarray]] | None = None
    rows: Callable[[Any, Sequence[str]], tuple[np.ndarray, np.ndarray]] | None = None
    freq: str | None = None
    kept: MutableMapping[Any, np.ndarray] | None = None


NOWHERE: Final = Surroundings()


@dataclass(frozen=True, slots=True)
class Panel:
    """Columns over (instrument, time); see the module.

    Parameters
    ----------
    instruments
        Names, one per run of rows.
    start
        int64, one entry more than instruments: where each instrument's rows begin, and the end.
    first
        int64, the calendar position of each instrument's first row.
    columns
        Name (lower case, without ``$``) to float32 array of ``rows`` values.
    around
        What operators may ask beyond the columns.

    >>> import numpy as np
    >>> panel = Panel(("A", "B"), np.array([0, 2, 3]), np.array([4, 0]), {"close": np.float32([1, 2, 3])})
    >>> panel.rows, panel.positions().tolist()
    (3, [4, 5, 0])
    """

    instruments: tuple[str, ...]
    start: np.ndarray
    first: np.ndarray
    columns: Mapping[str, np.ndarray]
    around: Surroundings = NOWHERE
    _made: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in ("start", "first"):
            object.__setattr__(self, name, np.ascontiguousarray(getattr(self, name), dtype=np.int64))
        count = len(self.instruments)
        if self.start.shape != (count + 1,) or self.first.shape != (count,):
            message = (
                f"a panel of {count} instruments needs {count + 1} starts and {count} first positions, "
                f"received {self.start.shape} and {self.first.shape}"
            )
            raise ValueError(message)
        if self.start[0] != 0 or (np.diff(self.start) < 0).any() or (self.first < 0).any():
            message = "a panel's `start` begins at 0 and never falls, and no position is negative"
            raise ValueError(message)
        for name, values in self.columns.items():
            if values.shape != (self.rows,):
                message = f"column {name} has shape {values.shape}, the panel has {self.rows} rows"
                raise ValueError(message)

    def __reduce__(self) -> tuple:
        return Panel, (self.instruments, self.start, self.first, self.columns, self.around)

    def once(self, name: str, make: Callable[[], T]) -> T:
        """Return what `make` returned at the first call with this name: what many operators need of a panel.

        It lives as long as the panel and does not travel with it.
        """
        if name not in self._made:
            self._made[name] = make()
        return self._made[name]

    @property
    def rows(self) -> int:
        """Number of rows of all instruments together."""
        return int(self.start[-1])

    def lengths(self) -> np.ndarray:
        """Return the number of rows of each instrument, int64."""
        return np.diff(self.start)

    def positions(self) -> np.ndarray:
        """Return the calendar position of every row, int64 of shape (rows,)."""
        return np.arange(self.rows, dtype=np.int64) + np.repeat(self.first - self.start[:-1], self.lengths())

    def between(self, low: float, high: float) -> tuple[Panel, np.ndarray]:
        """Return the rows at calendar positions low..high (both included) as a panel, and their row numbers here."""
        positions = self.positions()
        rows = np.flatnonzero((positions >= low) & (positions <= high))
        kept = np.searchsorted(rows, self.start)
        first = np.maximum(self.first, 0 if low == -np.inf else int(low))
        columns = {name: np.ascontiguousarray(values[rows]) for name, values in self.columns.items()}
        return Panel(self.instruments, kept, first, columns, self.around), rows

    def tiles(self, rows: int) -> Iterator[tuple[int, int]]:
        """Yield (i, j): runs of instruments i..j-1 of at most `rows` rows, or one instrument where it is longer."""
        low = 0
        for i in range(1, len(self.instruments) + 1):
            if i == len(self.instruments) or self.start[i + 1] - self.start[low] > rows:
                yield low, i
                low = i


Place = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of a panel wherever they stand in memory, each with rows of its own.

    Parameters
    ----------
    instruments
        Names.
    begin, end
        int64, calendar positions of each instrument's first row, and behind its last one, of all columns together.
    places
        Name to (values, offset, first, count): of instrument i, `count[i]` values stand at ``values[offset[i]:]``, the
        first at calendar position `first[i]`; float32 or float64, and int64.
    panel
        Makes the panel of all of them, for operators that ask for it.
    """

    instruments: tuple[str, ...]
    begin: np.ndarray
    end: np.ndarray
    places: Mapping[str, Place]
    panel: Callable[[], Panel]

    @classmethod
    def of(cls, panel: Panel) -> Columns:
        """Return the columns of a panel."""
        lengths = panel.lengths()
        places = {
            name: (np.ascontiguousarray(values, np.float32), panel.start[:-1], panel.first, lengths)
            for name, values in panel.columns.items()
        }
        return cls(panel.instruments, panel.first, panel.first + lengths, places, lambda: panel)

    def clipped(self, low: int, high: int) -> Columns:
        """Return the columns as if nothing stood at positions before `low` and after `high`."""
        begin, end = np.maximum(self.begin, low), np.minimum(self.end, high + 1)
        end = np.maximum(begin, end)
        return Columns(self.instruments, begin, end, self.places, lambda: self.panel().between(low, high)[0])
