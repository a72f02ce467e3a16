"""Funding: what the long side of a perpetual pays the short side (below 0: receives), at its own times.

    Funding(payments)                           a frame: instrument, time (UTC), rate, and if known the mark price then
    Funding(payments, missing=0.0001)           where none is known, this much per 8 hours
    Funding(stored_payments(provider, ...))     from the fields $funding and $funding_count of a store of short bars

A payment at 08:00 is due from who holds at 08:00: it belongs to the bar that ends there, and is made with the holdings
and the mark price of that moment. One in the middle of a bar (8 hours in a daily bar) is made with what was held then.
Rates that are not known are never 0: the run ends and names the gap, unless a policy is given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
import pandas as pd

from qlib.errors import ConfigError, MissingDataError, did_you_mean
from qlib.utils.time import Freq

POLICIES: Final = ("error", "skip")
COLUMNS: Final = ("instrument", "time", "rate")
LONGEST: Final = pd.Timedelta(hours=8)


@dataclass(frozen=True, slots=True)
class Payment:
    """One payment: share `rate` of the holding's value at `mark` (NaN: at the mark price of the bar)."""

    time: pd.Timestamp
    rate: float
    mark: float


@dataclass(frozen=True, slots=True)
class Schedule:
    """Payments by bar: those of bar r are the entries starts[r] to starts[r + 1]."""

    starts: list[int]
    column: np.ndarray[Any, Any]
    at_end: np.ndarray[Any, Any]  # whether it is due at the very end of the bar
    rate: np.ndarray[Any, Any]
    mark: np.ndarray[Any, Any]
    known: np.ndarray[Any, Any]  # (bar, instrument): every payment of the bar is known
    all_known: list[bool]  # of the bar


class Funding:
    """The payments of instruments.

    Parameters
    ----------
    payments
        Columns instrument, time (naive UTC), rate, and optionally mark.
    missing
        What to do where an instrument is held and no rate can be known: "error", "skip" (nothing is paid, and it is
        counted in `skipped`), or a number, the rate of 8 hours to use instead.
    longest
        The longest time between two payments; a wider gap in the payments means that some are missing.
    """

    def __init__(
        self, payments: pd.DataFrame, *, missing: str | float = "error", longest: pd.Timedelta | str = LONGEST
    ) -> None:
        lacking = [name for name in COLUMNS if name not in payments.columns]
        if lacking:
            raise ConfigError(
                f"funding: the payments lack {', '.join(lacking)}; they have {', '.join(payments.columns)}"
            )
        if isinstance(missing, str) and missing not in POLICIES:
            raise ConfigError(
                f"funding: missing: received {missing!r}; allowed are 'error', 'skip' and a rate"
                f"{did_you_mean(missing, POLICIES)}"
            )
        self.missing, self.longest, self.skipped = missing, pd.Timedelta(longest), 0
        self._times: dict[str, np.ndarray[Any, Any]] = {}
        self._rates: dict[str, np.ndarray[Any, Any]] = {}
        self._marks: dict[str, np.ndarray[Any, Any]] = {}
        for name, own in payments.groupby("instrument", sort=False):
            ordered = own.sort_values("time", kind="stable")
            times = pd.DatetimeIndex(ordered["time"])
            if times.tz is not None:
                raise ConfigError("funding: the times carry a zone; naive UTC is expected: .dt.tz_convert(None)")
            if times.has_duplicates:
                raise ConfigError(f"funding: {name} has two payments at {times[times.duplicated()][0]}")
            self._times[str(name)] = times.as_unit("ns").asi8
            self._rates[str(name)] = ordered["rate"].to_numpy(np.float64)
            marks = ordered["mark"] if "mark" in ordered else pd.Series(np.nan, ordered.index)
            self._marks[str(name)] = marks.to_numpy(np.float64)

    @classmethod
    def of(cls, given: Any) -> Funding | None:
        """Read an argument: None, a frame of payments, a Parquet file of one, a dict of options, or a `Funding`."""
        if given is None or isinstance(given, Funding):
            return given
        if isinstance(given, pd.DataFrame):
            return cls(given)
        if isinstance(given, str):
            return cls(pd.read_parquet(given))
        if isinstance(given, Mapping) and "payments" in given:
            options = dict(given)
            payments = options.pop("payments")
            frame = pd.read_parquet(payments) if isinstance(payments, str) else payments
            return cls(frame, **options)
        raise ConfigError(f"funding: received {given!r}; a frame of payments, a Parquet file, or a dict with payments")

    def between(self, instrument: str, after: pd.Timestamp, until: pd.Timestamp) -> list[Payment]:
        """Return the payments after `after`, up to and including `until`.

        Raises MissingDataError where some may be missing, unless the policy says otherwise.
        """
        times = self._times.get(instrument)
        if times is None:
            return self._gap(instrument, after, until, "none is known")
        low, high = np.searchsorted(times, (after.value, until.value), side="right").tolist()
        known = times[max(low - 1, 0) : high + 1].tolist()  # with the payment before and the one behind
        whole = all(later - earlier <= self.longest.value for earlier, later in pairwise(known))
        if low == 0:
            whole &= bool(known) and known[0] - after.value <= self.longest.value
        if high == len(times):
            whole &= bool(known) and until.value - known[-1] < self.longest.value
        if not whole:
            return self._gap(instrument, after, until, "there is a gap in its payments")
        rates = self._rates[instrument][low:high]
        if np.isnan(rates).any():
            return self._gap(instrument, after, until, "a rate is not known")
        marks = self._marks[instrument][low:high]
        return [
            Payment(pd.Timestamp(time), rate, mark)
            for time, rate, mark in zip(times[low:high].tolist(), rates.tolist(), marks.tolist(), strict=True)
        ]

    def schedule(self, times: np.ndarray[Any, Any], instruments: Sequence[str]) -> Schedule:
        """Lay the payments out by bar: bar r reaches from times[r] (excluded) to times[r + 1] (included)."""
        ticks = times.astype("datetime64[ns]").astype(np.int64)
        last = ticks[-1] + (ticks[-1] - ticks[-2] if len(ticks) > 1 else LONGEST.value)
        ends = np.append(ticks[1:], last)
        known = np.zeros((len(ticks), len(instruments)), dtype=bool)
        rows, columns, at_end, shares, marks = [np.empty(0, np.int64)], [np.empty(0, np.int64)], [], [], []
        reach = self.longest.value
        for column, instrument in enumerate(instruments):
            ts = self._times.get(instrument)
            if ts is None:
                continue
            rates = self._rates[instrument]
            low, high = np.searchsorted(ts, ticks, "right"), np.searchsorted(ts, ends, "right")
            wide = np.concatenate([[0], np.cumsum(np.diff(ts) > reach)])  # gaps that are too wide, up to each payment
            lost = np.concatenate([[0], np.cumsum(np.isnan(rates))])
            whole = wide[np.minimum(high, len(ts) - 1)] == wide[np.maximum(low - 1, 0)]
            whole &= (low > 0) | (ts[0] - ticks <= reach)
            whole &= (high < len(ts)) | (ends - ts[-1] < reach)
            known[:, column] = whole & (lost[high] == lost[low])
            inside = slice(int(low[0]), int(high[-1]))
            row = np.searchsorted(ticks, ts[inside], "left") - 1
            rows.append(row)
            columns.append(np.full(len(row), column))
            at_end.append(ts[inside] == ends[row])
            shares.append(rates[inside])
            marks.append(self._marks[instrument][inside])
        row = np.concatenate(rows)
        order = np.argsort(row, kind="stable")
        return Schedule(
            starts=np.searchsorted(row[order], np.arange(len(ticks) + 1)).tolist(),
            column=np.concatenate(columns)[order],
            at_end=np.concatenate(at_end)[order] if at_end else np.empty(0, bool),
            rate=np.concatenate(shares)[order] if shares else np.empty(0),
            mark=np.concatenate(marks)[order] if marks else np.empty(0),
            known=known,
            all_known=np.asarray(known.all(axis=1)).tolist(),
        )

    def _gap(self, instrument: str, after: pd.Timestamp, until: pd.Timestamp, why: str) -> list[Payment]:
        if self.missing == "error":
            when = f"at {until}" if until - after <= pd.Timedelta(seconds=1) else f"from {after} to {until}"
            raise MissingDataError(
                f"{instrument} is held {when}, but its funding is not known: {why}. Collect it, or "
                "say funding={'payments': ..., 'missing': 'skip'} (pays nothing) or a rate for 8 hours"
            )
        if isinstance(self.missing, str):
            self.skipped += 1
            return []
        share = (until - after) / LONGEST
        return [Payment(until, float(self.missing) * share, float("nan"))]


def stored_payments(provider: Any, instruments: Sequence[str], start: Any, end: Any, freq: str) -> pd.DataFrame:
    """Return the payments that a store holds in its bars, for `Funding`.

    Parameters
    ----------
    provider
        Where the bars are.
    instruments, start, end, freq
        Which bars: of an hour or less, so that a bar's payment was made when the bar opened.

    A bar whose `$funding_count` is not known has a payment that is not known (NaN). Raises ConfigError for longer bars
    and MissingDataError where the store has no funding at all.
    """
    size = Freq(freq)
    if not size.intraday or size.seconds > 3600:
        raise ConfigError(
            f"funding: bars of {freq} do not say when in them a payment was made; give the payments with their times"
        )
    fields = ["$funding", "$funding_count"]
    panel, times = provider.panel(list(instruments), fields, start, end, freq, optional=["funding_count"])
    rates, counts = (panel.columns[field].astype(np.float64) for field in fields)
    paid = ~np.isnan(rates)
    if np.isnan(counts).all():
        counts = np.where(paid, 1.0, 0.0)  # an older store: it does not say what it does not know
    told = paid | np.isnan(counts)
    if not paid.any():
        raise MissingDataError(f"funding: the store holds no $funding of {', '.join(list(instruments)[:3])}, ...")
    place = np.repeat(np.arange(len(panel.instruments)), np.diff(panel.start))[told]
    return pd.DataFrame(
        {
            "instrument": np.array(panel.instruments, dtype=object)[place],
            "time": pd.DatetimeIndex(np.asarray(times)[panel.positions()[told]]),
            "rate": rates[told],
        }
    )
