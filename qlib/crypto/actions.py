"""Token actions: what happened to a name, as a table; bars over the event are those of one asset, in one unit.

    actions = Actions.read("actions.csv")
    bars = actions.apply(bars)                      (instrument, datetime) -> one column a field
    qlib collect convert --bar 1H --actions actions.csv

    instrument,kind,time,ratio,to,haircut,known_at
    DOT-USDT,redenomination,2020-08-21T16:00,100:1,,,2020-07-27
    MATIC-USDT,migration,2024-09-13T10:00,1:1,POL-USDT,,
    LUNA-USDT,rename,2022-05-28T06:00,,LUNC-USDT,,
    LUNA-USDT,reuse,2022-05-28T06:00,,,,
    XYZ-USDT,delisting,2023-11-15T00:00,,,0.9,

100 new DOT for 1 old one; MATIC goes on as another token; LUNA goes on as LUNC, and its name means another asset from
then on; who still held XYZ got a tenth of the last close.

`instrument` is what it was called just before `time` (UTC), the opening of the first bar that is not like before.
`known_at` says when everybody could know; left out, at `time`.

Prices before a redenomination are divided by its ratio, volume and open interest multiplied; money (`amount`), rates
(`funding`) and everything else stay. `factor` is adjusted price / price as traded, and is what makes a second
application change nothing. An asset is called by its last name. The first meaning of a name is called as it is, the
second `LUNA.2`, whatever became of the first: no name ever changes its meaning, and no two assets are joined.
A delisting with a haircut adds one bar at `time`: the price at which it was settled, and no volume.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from qlib.collect.bar_store import time_text, to_ms
from qlib.data.grid import Grid
from qlib.errors import InputError, did_you_mean
from qlib.utils.time import Freq

NEEDS: Final[dict[str, tuple[str, ...]]] = {
    "rename": ("to",),
    "redenomination": ("ratio",),
    "migration": ("to", "ratio"),
    "reuse": (),
    "delisting": ("haircut",),
}
COLUMNS: Final = ("instrument", "kind", "time", "ratio", "to", "haircut", "known_at")
ONE: Final = Fraction(1)
_EVER: Final = 2**62  # ms: long after the last bar of all
_EXACT: Final = 2**53  # up to here float64 holds every whole number
_PLAIN: Final = 10**15  # up to 15 digits, no two decimals share a float
_MOST_DIGITS: Final = 22
_SEAM: Final = "a bar behind a change"  # a column, for a while


@dataclass(frozen=True, slots=True)
class Action:
    """One row of the table; times in ms UTC, `ratio` in new units for one old unit."""

    instrument: str
    kind: str
    time: int
    ratio: Fraction = ONE
    to: str = ""
    haircut: Fraction = Fraction(0)
    known_at: int = 0

    def __str__(self) -> str:
        goes_on = f" to {self.to}" if self.to else ""
        return f"{self.kind} of {self.instrument}{goes_on} at {time_text(self.time)}"

    @property
    def counts_from(self) -> int:
        """From when on somebody applies it: it has happened, and it is known."""
        return max(self.time, self.known_at)


@dataclass(frozen=True, slots=True)
class Stretch:
    """The bars of `symbol` with start <= time < end (ms) are those of `name`, and are multiplied by `factor`."""

    symbol: str
    start: int
    end: int
    name: str
    factor: Fraction
    cut: str = ""  # an action that no bar may reach over: at `cut_at`
    cut_at: int = _EVER
    haircut: Fraction = Fraction(0)  # at `end`


class Actions:
    """A table of token actions.

    Parameters
    ----------
    rows
        The actions, in any order.

    Raises
    ------
    InputError
        Rows that contradict each other: two at once, a name that means nothing at that time, names in a circle.

    >>> actions = Actions.of([{"instrument": "DOT", "kind": "redenomination", "time": "2020-08-21", "ratio": "100:1"}])
    >>> hours = pd.to_datetime(["2020-08-20", "2020-08-21"])
    >>> index = pd.MultiIndex.from_product([["DOT"], hours], names=["instrument", "datetime"])
    >>> bars = pd.DataFrame({"close": [512.34, 5.1234], "volume": [10.0, 1000.0]}, index)
    >>> print(actions.apply(bars).droplevel(0).to_string(index_names=False))
                 close  volume  factor
    2020-08-20  5.1234  1000.0    0.01
    2020-08-21  5.1234  1000.0    1.00
    """

    def __init__(self, rows: Iterable[Action] = ()) -> None:
        self.rows = sorted(rows, key=lambda row: (row.time, row.instrument, row.kind, row.to))
        self.stretches = _stretches(self.rows)

    # ------------------------------------------------------------------------------------------------------- reading
    @classmethod
    def of(cls, given: Any) -> Actions:
        """Read an argument: a frame, a list of dicts, a CSV or Parquet file, or an `Actions`."""
        if isinstance(given, Actions):
            return given
        if isinstance(given, str | os.PathLike):
            return cls.read(given)
        if isinstance(given, pd.DataFrame):
            return cls(_rows(given.to_dict("records"), "actions"))
        if isinstance(given, Iterable) and not isinstance(given, Mapping | bytes):
            return cls(_rows(list(given), "actions"))
        raise InputError(f"actions: received {given!r}; a frame, a list of dicts, or a CSV or Parquet file is allowed")

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Actions:
        """Read a file, CSV or (ending in .parquet) Parquet. Raises InputError, which names file and row."""
        file = Path(path).expanduser()
        try:
            if file.suffix == ".parquet":
                table = pd.read_parquet(file)
            else:
                table = pd.read_csv(file, dtype=str, keep_default_na=False, skipinitialspace=True)
        except OSError as error:
            raise InputError(f"actions: {file} cannot be read: {error.strerror or error}") from None
        except ValueError as error:
            raise InputError(f"actions: {file} is no table: {error}") from None
        return cls(_rows(table.to_dict("records"), str(file), list(map(str, table.columns))))

    def known(self, at: str | int | pd.Timestamp) -> Actions:
        """Return the actions that had happened and were known at a time (UTC)."""
        moment = to_ms(at, "at")
        return Actions(row for row in self.rows if row.counts_from <= moment)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def digest(self) -> str:
        """SHA-256 of what the table says, whatever the order of its rows."""
        content = [[str(getattr(row, name)) for name in COLUMNS] for row in self.rows]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    def names(self) -> set[str]:
        """Return every name that the table says something of."""
        return set(self.stretches) | {row.instrument for row in self.rows}

    def groups(self, symbols: Iterable[str]) -> list[list[str]]:
        """Return which of these symbols have to be read together: those of which the table says something.

        >>> actions = Actions.of([{"instrument": "A", "kind": "rename", "time": "2024-01-01", "to": "B"}])
        >>> actions.groups(["A", "B", "C"])
        [['A', 'B']]
        """
        groups: list[set[str]] = []
        for symbol in sorted(set(symbols) & set(self.stretches)):
            assets = {one.name for one in self.stretches[symbol]}
            near = [group for group in groups if any(one.name in assets for s in group for one in self.stretches[s])]
            groups = [group for group in groups if group not in near] + [{symbol}.union(*near)]
        return [sorted(group) for group in groups]

    def strangers(self, symbols: Iterable[str]) -> list[str]:
        """Return, for people, the instruments of the table that are not among the symbols, each with a near one."""
        known = list(symbols)
        others = [name for name in known if name not in self.names()]
        unknown = sorted({row.instrument for row in self.rows} - set(known))
        return [f"{name}{did_you_mean(name, others)}" for name in unknown]

    # ------------------------------------------------------------------------------------------------------ applying
    def apply(
        self,
        bars: pd.DataFrame,
        *,
        known: str | int | pd.Timestamp | None = None,
        freq: Freq | str | None = None,
        until: str | int | pd.Timestamp | None = None,
    ) -> pd.DataFrame:
        """Return bars in which every asset has one name and one unit; see the module.

        Parameters
        ----------
        bars
            Index (instrument, datetime), in either order; times are openings in naive UTC. Fields with or without
            dollar. Prices: open, high, low, close, vwap and what begins with mark or index. Numbers of coins: volume,
            oi. `change`, where it is there, is that of the adjusted closes of two bars next to each other. Bars that
            were adjusted already have a `factor`; without one they are as traded.
        known
            Only actions that had happened and were known then. Returns of earlier bars do not depend on it.
        freq
            Size of the bars; left out, the least distance of two times.
        until
            Last opening at which a settlement may be added; left out, when the last bar is over.

        Returns
        -------
        pandas.DataFrame
            Same columns, and `factor`; where an action has changed anything it is ordered by its index. `bars` stays.

        Raises
        ------
        InputError
            Bars where the table has none (another asset, or the table was applied already), or bars that reach over a
            change of the unit.
        """
        if known is not None:
            return self.known(known).apply(bars, freq=freq, until=until)
        if not isinstance(bars.index, pd.MultiIndex) or set(bars.index.names) != {"instrument", "datetime"}:
            raise InputError(f"bars: an index of instrument and datetime is needed; received {list(bars.index.names)}")
        order = list(bars.index.names)
        times = pd.DatetimeIndex(bars.index.get_level_values("datetime"))
        if times.tz is not None:
            raise InputError("bars: the times carry a zone; naive UTC is expected: .tz_convert(None)")
        opens = _opens(bars)
        names = bars.index.get_level_values("instrument")
        present = [one for one in names.unique() if one in self.stretches]
        dollar = "$" if any(str(column).startswith("$") for column in bars.columns) else ""
        made = bars.copy()
        if f"{dollar}factor" not in made:
            made[f"{dollar}factor"] = 1.0
        if not present:
            return made
        ends_of = _clock(opens, freq)
        ends = ends_of(opens)
        label, target, seam = names.to_numpy(dtype=object).copy(), np.full(len(made), 1.0), np.zeros(len(made), bool)
        codes, labels = pd.factorize(names)
        place = {name: code for code, name in enumerate(labels)}
        work: list[tuple[np.ndarray, Fraction]] = []
        settled: list[Stretch] = []
        for symbol in present:
            mine = np.flatnonzero(codes == place[symbol])
            self._check(symbol, opens[mine], ends[mine])
            for one in self.stretches[symbol]:
                rows = mine[(opens[mine] >= one.start) & (opens[mine] < one.end)]
                if not len(rows):
                    continue
                if one.name not in self.stretches and one.name in place:
                    raise InputError(f"bars: {one.name} has bars already, and {symbol} would be called so")
                label[rows], target[rows] = one.name, float(one.factor)
                seam[rows[np.argmin(opens[rows])]] = one.start != -_EVER
                work.append((rows, one.factor))
                if one.haircut:
                    settled.append(one)
        _scale(made, work, dollar, target)
        made.index = pd.MultiIndex.from_arrays([label, times], names=["instrument", "datetime"])
        if (twice := made.index.duplicated()).any():
            raise InputError(f"bars: {made.index[twice][0][0]} has two bars at {made.index[twice][0][1]}")
        made[_SEAM] = seam
        made = made.sort_index()
        last = int(ends.max()) if until is None else to_ms(until, "until")
        for one in settled:
            made = _settle(made, one, dollar, last, ends_of)
        made = _changes(made, dollar, ends_of).drop(columns=_SEAM)
        return made if order[0] == "instrument" else made.swaplevel().sort_index()

    def payments(self, payments: pd.DataFrame) -> pd.DataFrame:
        """Return payments of funding (instrument, time, rate, perhaps mark) by asset, marks in its unit; rates stay.

        >>> paid = pd.DataFrame({"instrument": ["A"], "time": ["2024-01-01"], "rate": [1e-4], "mark": [500.0]})
        >>> row = {"instrument": "A", "kind": "migration", "time": "2024-01-02", "to": "B", "ratio": "100:1"}
        >>> Actions.of([row]).payments(paid)[["instrument", "rate", "mark"]].to_numpy().tolist()
        [['B', 0.0001, 5.0]]
        """
        made = payments.copy()
        name = made["instrument"].to_numpy(dtype=object, copy=True)
        mark = made["mark"].to_numpy(np.float64, copy=True) if "mark" in made else np.empty(0)
        times = pd.DatetimeIndex(made["time"]).as_unit("ns").asi8 // 1_000_000
        for symbol in self.stretches.keys() & set(name):
            mine = np.flatnonzero(payments["instrument"].to_numpy(dtype=object) == symbol)
            self._check(symbol, times[mine], times[mine])
            for one in self.stretches[symbol]:
                rows = mine[(times[mine] >= one.start) & (times[mine] < one.end)]
                name[rows] = one.name
                if len(mark):
                    mark[rows] = scaled_by(mark[rows], one.factor)
        return made.assign(instrument=name, **({"mark": mark} if len(mark) else {}))

    def _check(self, symbol: str, opens: np.ndarray, ends: np.ndarray) -> None:
        """Raise InputError for bars of which the table does not say whose they are, or that belong to two."""
        stretches = self.stretches[symbol]
        inside = np.zeros(len(opens), bool)
        for one in stretches:
            inside |= (opens >= one.start) & (opens < one.end)
            if one.cut and len(over := opens[(opens < one.end) & (opens >= one.start) & (ends > one.cut_at)]):
                raise InputError(
                    f"{one.cut}: the bar of {time_text(int(over[0]))} is over later than that; apply the table to "
                    "smaller bars and make larger ones of those (qlib.collect.resample)"
                )
        if not inside.all():
            odd, whose = int(opens[~inside].min()), [row for row in self.rows if symbol in (row.instrument, row.to)]
            near = [row for row in whose if (row.to == symbol) == (odd < row.time)] or whose
            raise InputError(
                f"{near[0]}: {symbol} has bars where it means nothing ({(~inside).sum()}, the first of "
                f"{time_text(odd)}). The table was applied to these bars before, or its time is wrong, or they are "
                f"another asset's: say so by a row {symbol},reuse,TIME"
            )


# ------------------------------------------------------------------------------------------------------------ the table
def _rows(records: list[Any], where: str, columns: list[str] | None = None) -> list[Action]:
    made = []
    for record in records:
        if not isinstance(record, Mapping):
            raise InputError(f"{where}: received {record!r}; a dict for each action is needed")
    for name in columns or sorted({str(key) for record in records for key in record}):
        if name not in COLUMNS:
            raise InputError(
                f"{where}: received the column {name!r}; allowed are {', '.join(COLUMNS)}{did_you_mean(name, COLUMNS)}"
            )
    for number, record in enumerate(records, 1):
        given = {key: value for key, value in record.items() if not _absent(value)}
        try:
            made.append(_action(given))
        except InputError as error:
            raise InputError(f"{where}, row {number}: {error}") from None
    return made


def _absent(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip()) or bool(pd.isna(value))


def _action(given: Mapping[str, Any]) -> Action:
    for name in ("instrument", "kind", "time"):
        if name not in given:
            raise InputError(f"has no {name}")
    kind = str(given["kind"]).strip()
    if kind not in NEEDS:
        raise InputError(f"kind: received {kind!r}; allowed are {', '.join(NEEDS)}{did_you_mean(kind, NEEDS)}")
    for name in ("ratio", "to", "haircut"):
        if (name in given) != (name in NEEDS[kind]):
            raise InputError(f"a {kind} {'needs' if name in NEEDS[kind] else 'has no'} {name}")
    instrument, to = str(given["instrument"]).strip(), str(given.get("to", "")).strip()
    if instrument == to:
        raise InputError(f"{kind}: {instrument} is called so already")
    time = _time(given["time"], "time")
    haircut = _number(given.get("haircut", 0), "haircut")
    if not 0 <= haircut <= 1:
        raise InputError(f"haircut: received {given['haircut']!r}; a share from 0 to 1 is allowed")
    return Action(
        instrument=instrument,
        kind=kind,
        time=time,
        ratio=_ratio(given.get("ratio", 1)),
        to=to,
        haircut=haircut,
        known_at=_time(given["known_at"], "known_at") if "known_at" in given else time,
    )


def _time(value: Any, name: str) -> int:
    text = value.strip() if isinstance(value, str) else value
    return to_ms(int(text) if isinstance(text, str) and text.isdigit() and len(text) > 10 else text, name)


def _number(value: Any, name: str) -> Fraction:
    try:
        number = Decimal(value.strip() if isinstance(value, str) else repr(value + 0.0))
        if number.is_finite():
            return Fraction(number)
    except (InvalidOperation, TypeError):
        pass
    raise InputError(f"{name}: received {value!r}; a number is allowed")


def _ratio(value: Any) -> Fraction:
    new, colon, old = value.partition(":") if isinstance(value, str) else (value, "", "")
    parts = _number(new, "ratio"), _number(old if colon else 1, "ratio")
    if min(parts) <= 0:
        raise InputError(f"ratio: received {value!r}; new units for old ones, such as 100:1 or 0.001, are allowed")
    return parts[0] / parts[1]


# --------------------------------------------------------------------------------------------- whose bars they are
@dataclass
class _Asset:
    meanings: list[_Meaning] = field(default_factory=list)
    units: list[tuple[int, Fraction]] = field(default_factory=list)  # from when on one old unit is so many


@dataclass
class _Meaning:
    """A name as long as it means one asset."""

    symbol: str
    number: int
    asset: _Asset
    start: int
    end: int = _EVER
    cut: str = ""
    cut_at: int = _EVER
    haircut: Fraction = Fraction(0)


class _Names:
    """What every name means, up to the time that was reached."""

    def __init__(self) -> None:
        self.of: dict[str, list[_Meaning]] = {}

    def now(self, row: Action) -> _Meaning:
        """Return what the row's instrument means just before its time."""
        meanings = self.of.get(row.instrument)
        if meanings is None:
            return self.begin(row.instrument, _Asset(), -_EVER)
        if meanings[-1].end != _EVER:
            raise InputError(
                f"actions: {row}: {row.instrument} means nothing any more since {time_text(meanings[-1].end)}; "
                "the row has to say what it was called then"
            )
        return meanings[-1]

    def begin(self, symbol: str, asset: _Asset, start: int) -> _Meaning:
        meanings = self.of.setdefault(symbol, [])
        before = next((one.number for one in meanings if one.asset is asset), None)
        number = before or max((one.number for one in meanings), default=0) + 1
        made = _Meaning(symbol, number, asset, start)
        if meanings and meanings[-1].asset is not asset:
            meanings[-1].cut, meanings[-1].cut_at = f"{symbol} means another asset from {time_text(start)} on", start
        meanings.append(made)
        asset.meanings.append(made)
        return made


def _stretches(rows: list[Action]) -> dict[str, list[Stretch]]:
    names = _Names()
    for time in sorted({row.time for row in rows}):
        _step(names, time, [row for row in rows if row.time == time])
    made: dict[str, list[Stretch]] = {}
    for symbol, meanings in names.of.items():
        for one in meanings:
            last = one.asset.meanings[-1]
            name = last.symbol if last.number == 1 else f"{last.symbol}.{last.number}"
            if last.number > 1 and name in names.of:
                raise InputError(
                    f"actions: {name} is what the {last.number}. asset called {last.symbol} would be named"
                )
            made.setdefault(symbol, []).extend(_parts(one, name))
    return made


def _parts(one: _Meaning, name: str) -> list[Stretch]:
    """Return a meaning piece by piece, each in one unit."""
    inner = [time for time, _ in one.asset.units if one.start < time < one.end]
    edges = [one.start, *sorted(set(inner)), one.end]
    found = []
    for start, end in pairwise(edges):
        factor = ONE
        for time, ratio in one.asset.units:
            if time > start:
                factor /= ratio
        last = end == one.end
        cut, at = (one.cut, one.cut_at) if last else (f"redenomination of {one.symbol} at {time_text(end)}", end)
        found.append(Stretch(one.symbol, start, end, name, factor, cut, at, one.haircut if last else Fraction(0)))
    return found


def _step(names: _Names, time: int, rows: list[Action]) -> None:
    """Do what happens at one time, all of it at once: a row says what a name meant just before."""
    moves = {row.instrument: row for row in rows if row.to}
    _refuse_twice(rows)
    for row in rows:
        seen = [row.instrument]
        while seen[-1] in moves:
            seen.append(moves[seen[-1]].to)
            if seen[-1] == seen[0]:
                raise InputError(f"actions: {row}: the names go in a circle, {' -> '.join(seen)}")
    before = {row.instrument: names.now(row) for row in rows if row.kind != "reuse" or row.instrument not in names.of}
    ended: list[_Meaning] = []
    for row in rows:
        meaning = before.get(row.instrument)
        if row.ratio != 1 and meaning is not None:
            meaning.asset.units.append((time, row.ratio))
        if row.to and meaning is not None:
            ended.append(meaning)
        elif row.kind == "delisting" and meaning is not None:
            meaning.haircut = row.haircut
            ended.append(meaning)
        elif row.kind == "reuse" and (last := names.of[row.instrument][-1]).end == _EVER:
            ended.append(last)
    for meaning in ended:
        meaning.end = time
    fresh = {row.instrument for row in rows if row.kind == "reuse"}
    for row in moves.values():
        there = names.of.get(row.to, [])
        if there and there[-1].end == _EVER:
            raise InputError(
                f"actions: {row}: {row.to} means another asset then; if that one ends, say so by a row of its own "
                "(rename, delisting or reuse)"
            )
        names.begin(row.to, before[row.instrument].asset, time)
        fresh.discard(row.to)
    for symbol in sorted(fresh):
        names.begin(symbol, _Asset(), time)


def _refuse_twice(rows: list[Action]) -> None:
    for what, key in (
        ("end", lambda row: row.instrument if row.to or row.kind == "delisting" else None),
        ("unit", lambda row: row.instrument if row.kind in ("redenomination", "migration") else None),
        ("reuse", lambda row: row.instrument if row.kind == "reuse" else None),
        ("to", lambda row: row.to or None),
    ):
        seen: dict[str, Action] = {}
        for row in rows:
            name = key(row)
            if name is not None and (other := seen.setdefault(name, row)) is not row:
                why = f"both would be called {name}" if what == "to" else "only one of them can be"
                raise InputError(f"actions: {other}, and {row}: {why}")


# ------------------------------------------------------------------------------------------------------------- the bars
def _is_price(field_name: str) -> bool:
    return field_name in ("open", "high", "low", "close", "vwap") or field_name.startswith(("mark", "index"))


def _is_coins(field_name: str) -> bool:
    return field_name in ("volume", "oi")


def _clock(opens: np.ndarray, freq: Freq | str | None) -> Callable[[np.ndarray], np.ndarray]:
    """Return the function from openings to when bars are over, both ms."""
    if freq is not None:
        size = freq if isinstance(freq, Freq) else Freq(freq)
        return lambda own: Grid.of().ends(own.astype("M8[ms]").astype("M8[ns]"), size).astype("M8[ms]").astype(np.int64)
    steps = np.diff(np.unique(opens))
    step = int(steps.min()) if len(steps) else 0
    return lambda own: own + step


def _opens(made: pd.DataFrame) -> np.ndarray:
    return np.asarray(pd.DatetimeIndex(made.index.get_level_values("datetime")).as_unit("ns").asi8 // 1_000_000)


def _scale(made: pd.DataFrame, work: list[tuple[np.ndarray, Fraction]], dollar: str, target: np.ndarray) -> None:
    """Bring bars to their factor from the one that they have."""
    have = made[f"{dollar}factor"].to_numpy(np.float64)
    fields = [str(column).removeprefix("$") for column in made.columns]
    own = [i for i, name in enumerate(fields) if _is_price(name) or _is_coins(name)]
    values = {i: made.iloc[:, i].to_numpy(np.float64, copy=True) for i in own}
    factor = have.copy()
    for rows, wanted in work:
        now = have[rows]
        raw = np.isnan(now) | (now == 1)
        done = ~raw & (np.isclose(now, float(wanted), rtol=1e-6, atol=0))  # a store keeps single floats
        other = ~raw & ~done
        for i in own:
            share = wanted if _is_price(fields[i]) else 1 / wanted
            column = values[i]
            column[rows[raw]] = scaled_by(column[rows[raw]], share)
            ratio = float(wanted) / now[other]
            column[rows[other]] *= ratio if _is_price(fields[i]) else 1 / ratio
        factor[rows[~done]] = target[rows[~done]]
    for i in own:
        made.isetitem(i, values[i])
    made[f"{dollar}factor"] = np.where(np.isnan(have), np.nan, factor)


def scaled_by(values: np.ndarray, share: Fraction) -> np.ndarray:
    """Return the float64 nearest to each decimal x share; of floats with more than 15 digits, to a last digit.

    >>> scaled_by(np.array([512.34, np.nan, 0.07]), Fraction(1, 100)).tolist(), 0.07 / 100
    ([5.1234, nan, 0.0007], 0.0007000000000000001)
    """
    if share == 1:
        return values
    found = values * (share.numerator / share.denominator)
    left = np.flatnonzero(np.isfinite(values) & (values != 0))
    for digits in range(_MOST_DIGITS + 1):
        if not len(left):
            break
        power = 10.0**digits
        whole = np.rint(values[left] * power)
        small = np.abs(whole) < _PLAIN
        fits = small & (whole / power == values[left])
        exact = share / 10**digits
        top, bottom = whole[fits] * exact.numerator, exact.denominator
        if exact.numerator < _EXACT and int(float(bottom)) == bottom:
            fine = np.abs(top) < _EXACT  # one division of two exact numbers is rounded once
            found[left[fits][fine]] = top[fine] / float(bottom)
        left = left[small & ~fits]
    return found


def _settle(
    made: pd.DataFrame, one: Stretch, dollar: str, until: int, ends_of: Callable[[np.ndarray], np.ndarray]
) -> pd.DataFrame:
    """Add the bar at which holders were paid what the haircut left, unless these bars do not reach to it."""
    own = made.xs(one.name, level="instrument")
    opens = pd.DatetimeIndex(own.index).as_unit("ns").asi8 // 1_000_000
    own, opens = own[opens < one.end], opens[opens < one.end]
    before, at = -_EVER, int(ends_of(opens[-1:])[0])
    while before < at < one.end and at <= until:
        before, at = at, int(ends_of(np.array([at]))[0])
    if not one.end <= at <= until:
        return made
    row: dict[Any, Any] = dict.fromkeys(made.columns, math.nan)
    for column in made.columns:
        plain = str(column).removeprefix("$")
        if plain in ("open", "high", "low", "close") or plain.startswith(("mark", "index")):
            told = own[f"{dollar}close" if plain in ("open", "high", "low") else column].dropna()
            row[column] = scaled_by(told.to_numpy(np.float64)[-1:], 1 - one.haircut)[0] if len(told) else math.nan
        elif plain in ("volume", "amount", "funding_count"):
            row[column] = 0.0
        elif plain == "paused":
            row[column] = 1.0
        elif plain == "factor":
            row[column] = own[column].dropna().iloc[-1]
    row[_SEAM] = True
    index = pd.MultiIndex.from_arrays(
        [[one.name], pd.DatetimeIndex([pd.Timestamp(at, unit="ms")])], names=["instrument", "datetime"]
    )
    return pd.concat([made, pd.DataFrame([row], index)[made.columns].astype(made.dtypes)]).sort_index()


def _changes(made: pd.DataFrame, dollar: str, ends_of: Callable[[np.ndarray], np.ndarray]) -> pd.DataFrame:
    """Set `change`, where there is one, at every seam: from adjusted closes of bars that stand next to each other."""
    change, close = f"{dollar}change", f"{dollar}close"
    rows = np.flatnonzero(made[_SEAM].to_numpy(bool))
    if change not in made or close not in made or not len(rows):
        return made
    opens, closes = _opens(made), made[close].to_numpy(np.float64)
    codes = pd.factorize(made.index.get_level_values("instrument"))[0]
    before = np.maximum(rows - 1, 0)
    follows = (rows > 0) & (codes[before] == codes[rows]) & (ends_of(opens[before]) == opens[rows])
    told = made[change].to_numpy(np.float64, copy=True)
    told[rows] = np.where(follows, closes[rows] / closes[before] - 1, np.nan)
    made[change] = told
    return made
