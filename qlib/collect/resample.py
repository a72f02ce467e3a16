"""Coarser bars from finer ones: of a frame, of trades, of a whole store.

    resample_store(root, "1min", "15min")              a new frequency beside the old one, in one transaction
    resample_frame(bars, "1h", freq="15min")           the same for the bars of one instrument
    bars_of_trades(times, prices, amounts, "1min")     the bars in which something was traded

Each field has a rule, and a field without one is an error that says how to give it one:

    open                                first value of the bar that is not missing
    high, low                           greatest and least
    close, factor, open_interest ...    last value
    volume, amount, funding_rate ...    sum
    vwap                                mean weighted by volume; missing where nothing was traded
    change                              compounded
    paused                              least: a bar is paused if all of it is

`mark_close` has the rule of `close`, `taker_volume` that of `volume`. What is missing is left out, a bar in which all
is missing is missing, nothing is filled. A bar is stamped with its opening and holds the finer bars that open in it.
At the ends of the calendar a bar that is not whole is left out (`ends="keep"` keeps it): the first one if the market
could have traded inside it before the calendar begins, the last one if it could trade inside it later. An instrument
that was listed or delisted inside a bar has what there is, as venues do. Sums are made in float64.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from qlib.config import REGIONS, Region, build_settings
from qlib.data.calendar import Calendar, periods
from qlib.data.grid import DAY, Grid
from qlib.data.panel import Panel
from qlib.data.provider import Provider
from qlib.data.storage.file_storage import same_freq
from qlib.data.storage.instruments import read_instruments
from qlib.data.storage.writer import write_store
from qlib.errors import InputError, MissingDataError, did_you_mean
from qlib.utils.time import Freq

RULES: Final[dict[str, str]] = {
    "open": "first",
    "high": "max",
    "low": "min",
    **dict.fromkeys(("close", "factor", "price", "last", "mark", "index", "bid", "ask", "open_interest", "oi"), "last"),
    **dict.fromkeys(("adjclose", "premium", "multiplier", "limit_up", "limit_down"), "last"),
    **dict.fromkeys(("volume", "amount", "money", "turnover", "value", "vol", "trades", "count"), "sum"),
    **dict.fromkeys(("funding", "funding_rate", "dividend", "liquidations"), "sum"),
    "vwap": "mean:volume",
    "change": "compound",
    "paused": "min",
}
_FAMILIES: Final = ("open", "high", "low", "close", "volume", "amount", "count")  # mark_close, taker_volume ...
_HOW: Final = ("first", "last", "max", "min", "sum", "mean", "compound", "count")
_ROWS: Final = 1 << 22  # finer rows that are read at a time


# ---------------------------------------------------------------------- rules
def rules_for(fields: Iterable[str], rules: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the rule of each field: one of `rules`, else that of the table.

    >>> rules_for(["close", "mark_high", "depth"], {"depth": "mean"})
    {'close': 'last', 'mark_high': 'max', 'depth': 'mean'}

    Raises InputError for a field without a rule, a rule that there is not, and a weight that is no field.
    """
    names = list(fields)
    own = {str(name).lower().removeprefix("$"): str(rule) for name, rule in (rules or {}).items()}
    if strange := [name for name in own if name not in names]:
        raise InputError(
            f"rules: received one for {strange[0]!r}, which is no field here{did_you_mean(strange[0], names)}"
        )
    found = {name: own.get(name) or _rule_of_table(name) for name in names}
    if missing := [name for name, rule in found.items() if not rule]:
        raise InputError(
            f"rules: how bars of {', '.join(missing)} are put together is not known; say so, as in "
            f"rules={{{missing[0]!r}: 'last'}}, with one of {', '.join(_HOW)} or mean:<weight>"
        )
    for name, rule in found.items():
        how, _, weight = str(rule).partition(":")
        if how not in _HOW or (weight and how != "mean"):
            raise InputError(
                f"rules: received {rule!r} for {name}; allowed are {', '.join(_HOW)} and mean:<weight>"
                f"{did_you_mean(how, _HOW)}"
            )
        if weight and weight not in names:
            raise InputError(
                f"rules: {name} is a mean weighted by {weight}, which is not among the fields {', '.join(names)}; say "
                f"what it is instead, as in rules={{{name!r}: 'mean'}}"
            )
    return {name: str(rule) for name, rule in found.items()}


def _rule_of_table(name: str) -> str | None:
    if name in RULES:
        return RULES[name]
    family = name.rsplit("_", 1)[-1]
    return RULES[family] if "_" in name and family in _FAMILIES else None


def reduced(columns: Mapping[str, np.ndarray], starts: np.ndarray, rules: Mapping[str, str]) -> dict[str, np.ndarray]:
    """Return each column with one value for each run of rows: `starts` (int64, ascending) are the first rows of them.

    >>> column = np.array([1.0, np.nan, 3.0, np.nan])
    >>> reduced({"close": column}, np.array([0, 2]), {"close": "last"})
    {'close': array([1., 3.])}
    """
    return {name: _reduced(columns, name, starts, rules[name]) for name in columns}


def _reduced(columns: Mapping[str, np.ndarray], name: str, starts: np.ndarray, rule: str) -> np.ndarray:
    values, (how, _, weight) = columns[name], rule.partition(":")
    if not len(starts):
        return values[:0]
    if how == "max":
        return np.fmax.reduceat(values, starts)
    if how == "min":
        return np.fmin.reduceat(values, starts)
    present = ~np.isnan(values)
    if how in ("first", "last"):
        ends = np.append(starts[1:], len(values))
        at = starts if how == "first" else ends - 1
        if not present[at].all():
            rows = np.arange(len(values))
            if how == "first":
                at = np.minimum.reduceat(np.where(present, rows, len(values) - 1), starts)
            else:
                at = np.maximum.reduceat(np.where(present, rows, 0), starts)
        # Where a run has no value, the row found is one without a value, or lies in another run.
        return np.where((at >= starts) & (at < ends), values[at], values.dtype.type(np.nan))
    weights = columns[weight].astype(np.float64) if weight else None
    if weights is not None:
        present &= ~np.isnan(weights)
    count = np.add.reduceat(present, starts, dtype=np.float64)
    if how == "count":
        return count
    exact = values.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        if how == "compound":
            made = np.multiply.reduceat(np.where(present, 1 + exact, 1.0), starts) - 1
        else:
            made = np.add.reduceat(np.where(present, exact if weights is None else exact * weights, 0.0), starts)
        if how == "mean":
            total = count if weights is None else np.add.reduceat(np.where(present, weights, 0.0), starts)
            return np.where(total != 0, made / total, np.nan)
    return np.where(count > 0, made, np.nan)


# ---------------------------------------------------------------------- which bars
@dataclass(frozen=True, slots=True)
class Bars:
    """The coarser bars of a calendar, and which of them are whole.

    `group` (int64) is the place of every finer bar's own in `calendar`; bars `first` ... `last` are kept.
    """

    calendar: Calendar
    group: np.ndarray
    first: int
    last: int

    @property
    def dropped(self) -> list[pd.Timestamp]:
        """The bars at the ends that are not whole."""
        every = self.calendar.index
        return [*every[: self.first], *every[self.last + 1 :]]


def bars_of(
    fine: Calendar, to: str | Freq, grid: Grid, *, offset: Any = None, ends: str = "calendar", known: Any = None
) -> Bars:
    """Return the bars of size `to` that the bars of a calendar make.

    Parameters
    ----------
    ends
        "calendar" leaves out the first and the last bar if they are not whole, "keep" keeps them.
    known
        Times of a future calendar, if there is one: it says when the market trades next.
    """
    if ends not in ("calendar", "keep"):
        raise InputError(f"ends: received {ends!r}; allowed are 'calendar' and 'keep'")
    size, moved = Freq(to), _offset(offset)
    coarse, group = fine.grouped(size, grid, moved)
    _check_nested(fine, coarse, group, grid)
    first, last = 0, len(coarse) - 1
    if ends == "calendar" and len(coarse) and size != Freq(fine.freq):
        own = Freq(fine.freq)
        before = grid.time_before(fine.times[0], own)
        later = [] if known is None else known[known > fine.times[-1]][:1]
        end = grid.ends(fine.times, own)[-1]
        after = later[0] if len(later) else grid.next_time(end, own) if not np.isnat(end) else fine.times[-1]
        first += _together(before, fine.times[0], size, grid, moved)
        if size.count > 1 and not size.intraday:
            parts = len(np.unique(periods(fine.times[group == last], size.base)))
            last -= parts < size.count or _together(fine.times[-1], after, size, grid, moved)
        else:
            last -= _together(fine.times[-1], after, size, grid, moved)
    return Bars(coarse, group, int(first), int(last))


def _check_nested(fine: Calendar, coarse: Calendar, group: np.ndarray, grid: Grid) -> None:
    """Raise InputError where a finer bar goes on when its coarser one is over, which would know too much."""
    if not Freq(fine.freq).intraday:
        return  # days, weeks and months have no offset
    late = grid.ends(fine.times, Freq(fine.freq)) > grid.ends(coarse.times, Freq(coarse.freq))[group]
    if late.any():
        at = int(np.argmax(late))
        raise InputError(
            f"to: the {fine.freq} bar of {fine.index[at]} goes on when the {coarse.freq} bar of "
            f"{coarse.index[group[at]]} is over; an offset that fits the stored bars is needed"
        )


def _offset(offset: Any) -> np.timedelta64 | None:
    if offset is None:
        return None
    try:
        return pd.Timedelta(offset).to_timedelta64()
    except ValueError:
        raise InputError(f"offset: received {offset!r}; a length such as '8h' or '30min' is allowed") from None


def _together(left: np.datetime64, right: np.datetime64, size: Freq, grid: Grid, offset: Any) -> bool:
    """Tell whether two moments lie in one bar (of several days, weeks or months: in one day, week or month)."""
    both = np.array([left, right], dtype="datetime64[ns]")
    found = grid.opens(both, size, offset) if size.intraday else periods(both, size.base)
    return bool(found[0] == found[1])


def market_of(fine: Calendar, region: Any = None) -> Region:
    """Return the region by name, or for None that of a market which the calendar shows to be open around the clock.

    Raises InputError where the bars could be those of a market that closes: its sessions decide how they are joined.
    """
    if isinstance(region, Region):
        return region
    if region is not None:
        if region not in REGIONS:
            raise InputError(
                f"region: received {region!r}; allowed are {', '.join(REGIONS)}{did_you_mean(str(region), REGIONS)}"
            )
        return REGIONS[region]
    if _runs_around_the_clock(fine):
        return next(one for one in REGIONS.values() if one.always_open)
    raise InputError(
        f"region: {fine.name} does not show whether the market closes; name its region: {', '.join(REGIONS)}"
    )


def _runs_around_the_clock(fine: Calendar) -> bool:
    size, days = Freq(fine.freq), fine.times.astype("datetime64[D]")
    weekend = bool(((np.unique(days).astype(np.int64) + 3) % 7 >= 5).any())
    if not size.intraday:
        return weekend or size.base != Freq.NORM_FREQ_DAY
    hours = np.unique((fine.times - days).astype("timedelta64[h]"))
    passed = len(days) and np.busday_count(days[0], days[-1] + 1) < (days[-1] - days[0]).astype(int) + 1
    return len(hours) >= min(24, DAY // size.seconds) and (weekend or not passed)


# ---------------------------------------------------------------------- of a frame, of trades
def resample_frame(
    frame: pd.DataFrame,
    to: str | Freq,
    *,
    freq: str | Freq,
    region: Any = None,
    rules: Mapping[str, str] | None = None,
    offset: Any = None,
    ends: str = "calendar",
) -> pd.DataFrame:
    """Return coarser bars of one instrument.

    Parameters
    ----------
    frame
        Bars indexed by their opening (DatetimeIndex, no zone, ascending), columns are fields.
    to, freq
        Size of the bars wanted, and of those given.
    region
        Name of the region, or None for bars around the clock.
    rules, offset, ends
        See the module.

    >>> quarters = pd.date_range("2024-01-06", periods=9, freq="15min")
    >>> bars = pd.DataFrame({"close": np.arange(9.0), "volume": 1.0}, index=quarters)
    >>> print(resample_frame(bars, "1h", freq="15min", region="crypto").to_string())
                         close  volume
    2024-01-06 00:00:00    3.0     4.0
    2024-01-06 01:00:00    7.0     4.0
    """
    if not isinstance(frame.index, pd.DatetimeIndex) or frame.index.tz is not None:
        raise InputError(f"frame: received an index of {frame.index.dtype}; a DatetimeIndex without a zone is needed")
    columns = {str(name).lower(): frame[name].to_numpy(np.float64, na_value=np.nan) for name in frame.columns}
    chosen = rules_for(columns, rules)
    fine = Calendar(freq, frame.index.to_numpy("datetime64[ns]"), "index of the frame")
    market = market_of(fine, region)
    bars = bars_of(fine, to, Grid.of(market.sessions, 0, fine.times), offset=offset, ends=ends)
    starts = _starts(bars.group)
    made = reduced(columns, starts, chosen)
    kept = slice(bars.first, bars.last + 1)
    index = bars.calendar.index[kept].rename(frame.index.name)
    return pd.DataFrame({name: made[name.lower()][kept] for name in map(str, frame.columns)}, index=index)


def bars_of_trades(times: Any, prices: Any, amounts: Any, freq: str | Freq) -> pd.DataFrame:
    """Return open, high, low, close, volume of the bars in which something was traded; a bar without a trade is absent.

    Times may be in any order; trades of one time keep theirs.

    >>> times = pd.to_datetime(["2024-01-01 00:00:05", "2024-01-01 00:00:59", "2024-01-01 00:03:00"])
    >>> print(bars_of_trades(times, [10, 9, 11], [1, 2, 4], "1min").to_string())
                         open  high   low  close  volume
    2024-01-01 00:00:00  10.0  10.0   9.0    9.0     3.0
    2024-01-01 00:03:00  11.0  11.0  11.0   11.0     4.0
    """
    stamps = np.asarray(times, dtype="datetime64[ns]")
    price, amount = np.asarray(prices, np.float64), np.asarray(amounts, np.float64)
    if not len(stamps) == len(price) == len(amount):
        raise InputError(
            f"trades: received {len(stamps)} times, {len(price)} prices and {len(amount)} amounts; they belong together"
        )
    if np.isnat(stamps).any():
        raise InputError("trades: received a trade without a time (NaT)")
    order = np.argsort(stamps, kind="stable")
    opens = Grid.of().opens(stamps[order], Freq(freq))
    starts = _starts(opens)
    columns = {**dict.fromkeys(("open", "high", "low", "close"), price[order]), "volume": amount[order]}
    return pd.DataFrame(reduced(columns, starts, rules_for(columns)), index=pd.DatetimeIndex(opens[starts]))


def _starts(group: np.ndarray) -> np.ndarray:
    """Return the first row of each run of equal numbers (int64)."""
    return np.flatnonzero(np.concatenate([[True], group[1:] != group[:-1]])) if len(group) else np.empty(0, np.int64)


# ---------------------------------------------------------------------- of a store
@dataclass(frozen=True, slots=True)
class Resampled:
    """What was made, or would be: `rules` of the fields, `dropped` bars at the ends of the calendar."""

    root: Path
    source: str
    freq: str
    bars: int
    instruments: int
    rules: dict[str, str]
    dropped: list[pd.Timestamp] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [f"{self.source} -> {self.freq}: {self.bars} bars of {self.instruments} instruments in {self.root}"]
        lines += [f"  {name:<16}{rule}" for name, rule in self.rules.items()]
        if self.dropped:
            lines.append(f"  not whole, left out: {', '.join(map(str, self.dropped))}")
        return "\n".join(lines)


def resample_store(
    qlib_dir: str | os.PathLike[str],
    source: str,
    to: str,
    *,
    out_dir: str | os.PathLike[str] | None = None,
    fields: Sequence[str] | None = None,
    rules: Mapping[str, str] | None = None,
    region: Any = None,
    offset: Any = None,
    min_data_shift: int = 0,
    ends: str = "calendar",
    dry_run: bool = False,
) -> Resampled:
    """Write coarser bars of a whole store, in one transaction.

    Parameters
    ----------
    qlib_dir, source
        The store, and which of its bars are used, such as "1min".
    to
        Size of the bars wanted: what is stored at it is replaced.
    out_dir
        Another store for them; None means the same one.
    fields, rules
        Which fields (None: all), and rules for those whose rule is another than the table's, see the module.
    region, min_data_shift
        The market's sessions, and how many minutes earlier its grid stands; a market whose calendar runs around the
        clock needs none.
    offset
        How much later than midnight bars of hours or minutes begin around the clock, such as "8h".
    ends
        "calendar", or "keep" to keep bars at the ends of the calendar that are not whole.
    dry_run
        Only say what would be written.

    Raises
    ------
    InputError, MissingDataError
        What cannot be done, said before anything is written: the store is as it was.
    """
    root = Path(qlib_dir).expanduser().resolve()
    target = root if out_dir is None else Path(out_dir).expanduser().resolve()
    provider = Provider(build_settings(provider_uri=str(root), region="cn"))
    store = provider.store
    stored = store.stored_freq(source)
    fine = provider.locate(stored)
    if Freq(to) == Freq(stored):
        raise InputError(f"to: received {to}, the size of the bars that are stored; a coarser one is allowed")
    if not len(fine):
        raise MissingDataError(f"{fine.name} is empty: there is nothing to resample")
    future = root / "calendars" / f"{stored}_future.txt"
    known = provider.locate(stored, future=True).times if future.exists() else None
    market = market_of(fine, region)
    grid = Grid.of(market.sessions, min_data_shift, fine.times)
    bars = bars_of(fine, to, grid, offset=offset, ends=ends, known=known)
    own = {name: store.stored_fields(name, stored) for name in store.stored_instruments(stored)}
    own = {name: _chosen(held, fields) for name, held in own.items()}
    own = {name: held for name, held in own.items() if held}
    every = sorted({one for held in own.values() for one in held})
    if fields is not None and (lacking := [one for one in _names(fields) if one not in every]):
        raise InputError(f"fields: received {lacking[0]!r}; stored at {stored}: {', '.join(_stored(store, stored))}")
    if not every:
        raise MissingDataError(f"{root} holds no field at {stored}")
    chosen = rules_for(every, rules)
    bars_kept = bars.last - bars.first + 1
    if bars_kept < 1:
        raise InputError(f"to: received {to}; {fine.name} holds no whole bar of it (ends='keep' keeps parts)")
    name = same_freq(to, store.freqs()) if target == root else None
    done = Resampled(target, stored, name or str(Freq(to)), bars_kept, len(own), chosen, bars.dropped)
    if dry_run:
        return done
    spelled = _spelled(root, own)
    frames: dict[str, pd.DataFrame] = {}
    names = list(own)
    step = max(1, _ROWS // max(len(fine), 1))
    for low in range(0, len(names), step):
        some = names[low : low + step]
        panel, _ = provider.panel(some, [f"${one}" for one in every], freq=stored, optional=every)
        frames.update(_frames(panel, bars, chosen, own, spelled))
    write_store(frames, target, to, instruments=_markets(root, target, grid, to, offset, ends))
    return done


def _names(fields: Sequence[str]) -> list[str]:
    return [str(one).lower().removeprefix("$") for one in fields]


def _chosen(held: list[str], fields: Sequence[str] | None) -> list[str]:
    return held if fields is None else [one for one in held if one in _names(fields)]


def _stored(store: Any, freq: str) -> list[str]:
    return sorted({one for name in store.stored_instruments(freq) for one in store.stored_fields(name, freq)})


def _spelled(root: Path, names: Iterable[str]) -> dict[str, str]:
    """Return how the market files write each name, which folders keep in lower case."""
    known = {name.lower(): name for path in _market_files(root) for name in read_instruments(path)}
    return {name: known.get(name.lower(), name.upper()) for name in names}


def _market_files(root: Path) -> list[Path]:
    return sorted((root / "instruments").glob("*.txt"))


def _frames(
    panel: Panel, bars: Bars, rules: Mapping[str, str], own: Mapping[str, list[str]], spelled: Mapping[str, str]
) -> dict[str, pd.DataFrame]:
    """Return the coarser bars of a panel's instruments."""
    owner = np.repeat(np.arange(len(panel.instruments)), panel.lengths())
    group = bars.group[panel.positions()]
    starts = _starts(owner * len(bars.calendar) + group)
    columns = {name.removeprefix("$"): values for name, values in panel.columns.items()}
    made = reduced(columns, starts, rules)
    owner, place = owner[starts], group[starts]
    kept = (place >= bars.first) & (place <= bars.last)
    bounds = np.searchsorted(owner[kept], np.arange(len(panel.instruments) + 1))
    place = place[kept]
    made = {name: values[kept].astype(np.float32) for name, values in made.items()}
    frames = {}
    for i, name in enumerate(panel.instruments):
        here = slice(bounds[i], bounds[i + 1])
        if bounds[i] < bounds[i + 1]:
            index = bars.calendar.index[place[here]]
            frames[spelled[name]] = pd.DataFrame({one: made[one][here] for one in own[name]}, index=index)
    return frames


def _markets(root: Path, target: Path, grid: Grid, to: str, offset: Any, ends: str) -> dict[str, Any]:
    """Return the markets to write: the old store's, with `keep` from the opening of the bars in which they begin."""
    markets = {path.stem: read_instruments(path) for path in _market_files(root)}
    if ends == "keep":
        moved = _offset(offset)
        for spans in markets.values():
            for name, own in spans.items():
                spans[name] = [(min(start, _opening(start, Freq(to), grid, moved)), end) for start, end in own]
    elif target == root:
        return {}
    return dict(markets)


def _opening(time: pd.Timestamp, size: Freq, grid: Grid, offset: Any) -> pd.Timestamp:
    if not size.intraday:
        return time.normalize()
    return pd.Timestamp(grid.opens(np.array([time.to_datetime64()], "datetime64[ns]"), size, offset)[0])
