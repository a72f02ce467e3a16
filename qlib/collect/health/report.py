"""What was found, for people and for programs.

    findings   one row a finding: level, kind, freq, instrument, field, first, last, bars, detail
    coverage   one row a frequency: how many bars there should be, and what became of each

Bars that follow one another and have the same fault are one finding: a hole of an hour in minutes is one row with 60
`bars`. Every kind has a level. "wrong" makes the data unfit as they are and the exit code 1; a "note" is a fact about
the market that whoever trades on the data should know, such as hours in which nobody could trade.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
import pandas as pd

from qlib.utils.time import Freq

WRONG: Final = "wrong"
NOTE: Final = "note"

# Kind -> (level, what it means). The order is that of the report.
KINDS: Final[dict[str, tuple[str, str]]] = {
    "damaged": (WRONG, "a file that does not hold what it should"),
    "upper case": (WRONG, "a folder that no look-up finds: look-ups are in lower case"),
    "no data": (WRONG, "an instrument without a single bar"),
    "unreadable": (WRONG, "a cell that is no date or no number"),
    "column": (WRONG, "a required column is not there"),
    "duplicate": (WRONG, "a second row for the same time"),
    "off grid": (WRONG, "a time at which no bar of this size opens"),
    "stranger": (WRONG, "a time at which hardly any instrument has a bar"),
    "gap": (WRONG, "no row for anybody, in a market that never closes"),
    "hole": (WRONG, "a bar is missing while the instrument was listed"),
    "truncated": (WRONG, "the series ends, the listing does not"),
    "incomplete": (WRONG, "some numbers of the bar are missing"),
    "infinite": (WRONG, "a number is infinite"),
    "not positive": (WRONG, "a price is zero or negative"),
    "broken bar": (WRONG, "high below, or low above, another price of the bar"),
    "vwap": (WRONG, "the average price lies outside low ... high"),
    "spike": (WRONG, "the price goes away and comes back with the next bar"),
    "jump": (WRONG, "the price doubles, halves or goes further, and stays: a split, or another unit?"),
    "repeated": (WRONG, "the same bar again, to the last digit"),
    "volume": (WRONG, "volume is negative"),
    "volume jump": (WRONG, "volume changes its size: another unit?"),
    "factor": (WRONG, "the adjustment factor is missing or cannot be right"),
    "disagreement": (WRONG, "the bar is not the sum of its shorter bars"),
    "outage": (NOTE, "flat bars without volume, of most instruments at once"),
    "dark": (NOTE, "a bar of the calendar that no listed instrument has"),
    "halt": (NOTE, "flat bars without volume"),
    "large step": (NOTE, "the price goes far for this instrument, and stays"),
    "untraded move": (NOTE, "the price moved without volume"),
    "not listed": (NOTE, "bars at which the instrument is not listed: queries leave them out"),
    "ended": (NOTE, "the series ends early: delisted, or truncated?"),
    "absent column": (NOTE, "a column that no instrument has"),
    "not in store": (WRONG, "the file has it, the store does not"),
    "not in calendar": (WRONG, "rows at a time that the store's calendar does not have"),
    "different": (WRONG, "the store holds another number than the file"),
    "not in file": (NOTE, "the store holds a number, the file has none"),
    "out of order": (NOTE, "rows that are not in order of time"),
}
COLUMNS: Final = ("level", "kind", "freq", "instrument", "field", "first", "last", "bars", "detail")
EVERYBODY: Final = "*"  # the instrument of findings about all of them
MISSING: Final = ("outage", "dark", "gap", "hole", "truncated")  # in the order of the coverage table


class Findings:
    """Collects findings, a handful or a million at a time."""

    def __init__(self, freq: str = "") -> None:
        self.freq = freq
        self._pieces: list[pd.DataFrame] = []

    def add(
        self,
        kind: str,
        instrument: str | Sequence[str] | np.ndarray = "",
        *,
        field: str = "",
        first: Any = None,
        last: Any = None,
        bars: Any = 0,
        detail: str | Sequence[str] = "",
    ) -> None:
        """Add one finding, or, where `instrument` is an array, one for each of its entries."""
        names = [instrument] if isinstance(instrument, str) else list(instrument)
        if not names:
            return
        first = np.broadcast_to(np.asarray(first, "datetime64[ns]"), len(names))
        self._pieces.append(
            pd.DataFrame(
                {
                    "level": KINDS[kind][0],
                    "kind": kind,
                    "freq": self.freq,
                    "instrument": names,
                    "field": field,
                    "first": first,
                    "last": first if last is None else np.broadcast_to(np.asarray(last, "datetime64[ns]"), len(names)),
                    "bars": bars,
                    "detail": detail,
                }
            )
        )

    def add_bars(
        self, kind: str, names: np.ndarray, times: np.ndarray, cells: np.ndarray, *, field: str = "", detail: Any = ""
    ) -> None:
        """Add what is marked in `cells` (bool, instruments x times); neighbouring bars become one finding.

        `detail` is a text, or a function from (rows, columns) of the first bars to texts.
        """
        row, start, stop = runs(cells)
        if len(row):
            told = detail(row, start) if callable(detail) else detail
            self.add(
                kind, names[row], field=field, first=times[start], last=times[stop - 1], bars=stop - start, detail=told
            )

    def frame(self) -> pd.DataFrame:
        """Return the findings: by kind, instrument and time."""
        return _joined(self._pieces)

    def bars(self, kind: str) -> int:
        """Return how many bars the findings of a kind cover."""
        return sum(int(piece["bars"].sum()) for piece in self._pieces if piece["kind"].iloc[0] == kind)

    def extend(self, other: Findings) -> None:
        self._pieces += other._pieces


def _joined(pieces: list[pd.DataFrame]) -> pd.DataFrame:
    if not pieces:
        empty = pd.DataFrame({column: pd.Series(dtype=object) for column in COLUMNS})
        return empty.astype({"first": "datetime64[ns]", "last": "datetime64[ns]", "bars": "int64"})
    found = pd.concat(pieces, ignore_index=True)
    order = found["kind"].map({kind: number for number, kind in enumerate(KINDS)})
    size = found["freq"].map({freq: Freq(freq).seconds if freq else 0 for freq in found["freq"].unique()})
    return (
        found.assign(order=order, size=size, bars=found["bars"].astype("int64"))
        .sort_values(["order", "size", "instrument", "first", "field"], kind="stable", ignore_index=True)
        .drop(columns=["order", "size"])
    )


def runs(cells: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (row, start, stop) of every run of True along the rows of a two-dimensional array.

    >>> [part.tolist() for part in runs(np.array([[True, True, False], [True, False, True]]))]
    [[0, 1, 1], [0, 0, 2], [2, 1, 3]]
    """
    width = cells.shape[1]
    at = np.flatnonzero(cells)
    if not len(at):
        none = np.empty(0, np.int64)
        return none, none, none
    row, column = np.divmod(at, width)
    begins = np.concatenate([[True], (np.diff(at) > 1) | (np.diff(row) > 0)])
    ends = np.concatenate([begins[1:], [True]])
    return row[begins], column[begins], column[ends] + 1


@dataclass(frozen=True)
class Report:
    """What a check found.

    Parameters
    ----------
    source
        What was checked, in words.
    findings
        One row a finding; see the module. `instrument` is "*" where all are meant.
    coverage
        One row a frequency: instruments, first, last, expected bars, present ones, and the missing ones by kind.
    rules
        The thresholds that were used.
    show
        How many findings of a kind `str(report)` tells.
    """

    source: str
    findings: pd.DataFrame
    coverage: pd.DataFrame
    rules: dict[str, Any] = field(default_factory=dict)
    show: int = 8

    def __str__(self) -> str:
        return self.to_text(self.show)

    @property
    def wrong(self) -> bool:
        """Whether something is wrong; notes do not count."""
        return bool((self.findings["level"] == WRONG).any())

    def of(self, kind: str) -> pd.DataFrame:
        """Return the findings of one kind."""
        return self.findings[self.findings["kind"] == kind].reset_index(drop=True)

    def bars(self, kind: str) -> int:
        """Return how many bars the findings of a kind cover."""
        return int(self.of(kind)["bars"].sum())

    def summary(self) -> pd.DataFrame:
        """Return one row for each kind and frequency: findings, bars, instruments, first, last."""
        if self.findings.empty:
            return pd.DataFrame(columns=["level", "kind", "freq", "findings", "bars", "instruments", "first", "last"])
        return (
            self.findings.groupby(["level", "kind", "freq"], sort=False, as_index=False)
            .agg(
                findings=("kind", "size"),
                bars=("bars", "sum"),
                instruments=("instrument", lambda names: names[names != ""].nunique()),
                first=("first", "min"),
                last=("last", "max"),
            )
            .sort_values("level", ascending=False, kind="stable", ignore_index=True)
        )

    def without(self, known: Iterable[dict[str, Any]]) -> Report:
        """Return the report without the findings of an earlier one (its `to_dict()["findings"]`): what is new."""
        seen = {_identity(entry) for entry in known}
        entries = self.to_dict()["findings"]
        fresh = [_identity(entry) not in seen for entry in entries]
        return replace(self, findings=self.findings[np.array(fresh, bool)].reset_index(drop=True))

    # ------------------------------------------------------------------ for programs
    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values: what `--json` writes."""
        return {
            "source": self.source,
            "wrong": self.wrong,
            "rules": self.rules,
            "coverage": _records(self.coverage),
            "summary": _records(self.summary()),
            "findings": _records(self.findings),
        }

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), indent=1, allow_nan=False) + "\n"

    # ------------------------------------------------------------------ for people
    def to_text(self, show: int = 8) -> str:
        """Return the report as a table, with up to `show` findings of each kind."""
        lines = [f"Health of {self.source}", ""]
        if not self.coverage.empty:
            lines += [_table(self.coverage), ""]
        summary = self.summary()
        for level, title in ((WRONG, "WRONG"), (NOTE, "Worth knowing")):
            part = summary[summary["level"] == level]
            if not part.empty:
                lines += [title, *self._told(part, show), ""]
        faults = int((self.findings["level"] == WRONG).sum())
        bars = int(self.findings.loc[self.findings["level"] == WRONG, "bars"].sum())
        if faults:
            lines.append(f"{_count(faults, 'fault')}, {_count(bars, 'bar')}. Nothing was changed.")
        else:
            lines.append("Nothing is wrong.")
        return "\n".join(lines)

    def _told(self, summary: pd.DataFrame, show: int) -> list[str]:
        lines = []
        for kind in dict.fromkeys(summary["kind"]):
            own = self.of(kind)
            named = own.loc[~own["instrument"].isin(["", EVERYBODY]), "instrument"].nunique()
            counts = [_count(int(own["bars"].sum()), "bar")] if own["bars"].any() else []
            counts += [_count(named, "instrument")] if named else []
            lines.append(f"  {kind}: {KINDS[kind][1]}" + (f"  [{', '.join(counts)}]" if counts else ""))
            lines += [f"      {line}" for line in _lines(own.head(show), list(self.coverage.get("freq", ())))]
            if len(own) > show:
                lines.append(f"      ... and {len(own) - show:,} more")
        return lines


def _lines(findings: pd.DataFrame, freqs: Sequence[str]) -> list[str]:
    """Return findings as aligned lines; columns that say nothing are left out."""
    columns = [
        findings["freq"] if len(freqs) > 1 else pd.Series("", index=findings.index),
        findings["instrument"].replace(EVERYBODY, "all"),
        findings["field"],
        pd.Series([_span(*pair) for pair in zip(findings["first"], findings["last"], strict=True)], findings.index),
        pd.Series([_count(bars, "bar") if bars else "" for bars in findings["bars"]], findings.index),
        findings["detail"],
    ]
    texts = [column.astype(str).tolist() for column in columns]
    widths = [max(map(len, column), default=0) for column in texts]
    return [
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True) if width).rstrip()
        for row in zip(*texts, strict=True)
    ]


def _span(first: Any, last: Any) -> str:
    if first is pd.NaT:
        return ""
    return _when(first) if first == last else f"{_when(first)} .. {_when(last)}"


def _when(time: pd.Timestamp) -> str:
    if time == time.normalize():
        return f"{time:%Y-%m-%d}"
    return f"{time:%Y-%m-%d %H:%M:%S}".removesuffix(":00")


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _table(frame: pd.DataFrame) -> str:
    shown = frame.copy()
    for column in shown:
        values = shown[column]
        if pd.api.types.is_datetime64_any_dtype(values):
            shown[column] = [_when(time) if time is not pd.NaT else "" for time in values]
        elif pd.api.types.is_integer_dtype(values):
            shown[column] = [f"{value:,}" for value in values]
    return "\n".join(f"  {line}" for line in shown.to_string(index=False).split("\n"))


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    plain = frame.copy()
    for column in plain:
        if pd.api.types.is_datetime64_any_dtype(plain[column]):
            plain[column] = [None if time is pd.NaT else str(time) for time in plain[column]]
    return [{str(key): _plain(value) for key, value in row.items()} for row in plain.to_dict("records")]


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    return None if value is pd.NaT or (isinstance(value, float) and not np.isfinite(value)) else value


def _identity(entry: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(entry.get(key) for key in ("kind", "freq", "instrument", "field", "first", "last"))
