"""Is this data fit for use? Looks at a store, at files or at frames; changes nothing.

report = check("~/.qlib/qlib_data/sample_data")                       a store, every frequency of it
report = check("bars.parquet")                                        a file, or a folder of files
report = check({"15min": "quarters.parquet", "60min": "hours.parquet"})    do they agree?
print(report.to_text()); report.wrong; report.findings

bars.py        instruments x times, in blocks       files.py, stores.py   where they come from
presence.py    which bars are missing, and why      prices.py             what a bar says about itself
agreement.py   an hour and its four quarters        report.py             kinds, levels, text, JSON
rules.py       every threshold                      compare.py            files against a store, value by value
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from qlib.collect.health.agreement import check_agreement, divides
from qlib.collect.health.bars import FIELDS, Bars
from qlib.collect.health.files import read_files, read_frame
from qlib.collect.health.presence import Presence
from qlib.collect.health.prices import check_block, check_columns
from qlib.collect.health.report import KINDS, NOTE, WRONG, Findings, Report
from qlib.collect.health.rules import Rules
from qlib.collect.health.stores import positions, read_store
from qlib.data.storage.instruments import read_instruments
from qlib.errors import InputError
from qlib.utils.time import Freq

__all__ = ["KINDS", "NOTE", "WRONG", "Report", "Rules", "check", "open_bars"]

Source = str | os.PathLike[str] | pd.DataFrame


def check(
    source: Source | Mapping[str, Source],
    freq: str | None = None,
    *,
    rules: Rules | None = None,
    instruments: str | os.PathLike[str] | Mapping[str, Any] | None = None,
    always_open: bool | None = None,
    date_field: str | None = None,
    symbol_field: str | None = None,
    suffix: str | None = None,
) -> Report:
    """Check bars and return what was found.

    Parameters
    ----------
    source
        A store (a folder with calendars/), a CSV or Parquet file with a column of symbols, a folder with one file a
        symbol, or a frame; or {freq: one of these}, which also compares the frequencies with each other.
    freq
        Which frequency of a store (default: all of them, compared with each other), or the bar size of files (default:
        the most common distance between two rows).
    instruments
        When the instruments of files were listed: an instruments file (`NAME<TAB>start<TAB>end`), or {name: [(start,
        end), ...]}. Without it a series is listed from its first to its last bar. A store has its own.
    always_open
        The market never closes (True) or does (False); None: looked at from the times.
    date_field, symbol_field, suffix
        Columns and endings of files, where the usual ones do not fit.

    Returns
    -------
    Report
        `.wrong`, `.findings`, `.coverage`, `.to_text()`, `.to_json()`.

    Raises
    ------
    InputError
        There is nothing to check: no such file, no dates, no column of a bar, no such frequency.

    Examples
    --------
    >>> days = pd.date_range("2026-01-01", periods=6, freq="D")
    >>> bars = pd.DataFrame({"open": 1.0, "high": 2.0, "low": 1.0, "close": 1.5, "volume": range(1, 7)}, index=days)
    >>> report = check(bars.assign(symbol="AAA").drop(days[2]), "day", always_open=True)
    >>> report.wrong, report.findings[["kind", "instrument", "bars"]].values.tolist()
    (True, [['hole', 'AAA', 1]])
    """
    rules = rules or Rules()
    sources, whole = open_bars(
        source, freq, always_open=always_open, date_field=date_field, symbol_field=symbol_field, suffix=suffix
    )
    if instruments is not None:
        _list_by(sources, instruments)
    lines = [_check_one(bars, rules, whole) for bars in sources]
    ordered = sorted(sources, key=lambda bars: Freq(bars.freq).seconds)
    for place, coarse in enumerate(ordered):
        finer = [fine for fine in ordered[:place] if divides(fine, coarse)]
        if finer:
            found, compared = check_agreement(finer[-1], coarse)
            whole.extend(found)
            next(line for line in lines if line["freq"] == found.freq)["compared"] = compared
    coverage = pd.DataFrame(lines)
    if "compared" in coverage:
        coverage["compared"] = coverage["compared"].fillna(0).astype(np.int64)
    return Report(_name(source), whole.frame(), coverage, rules.to_dict())


def open_bars(
    source: Source | Mapping[str, Source],
    freq: str | None = None,
    *,
    always_open: bool | None = None,
    date_field: str | None = None,
    symbol_field: str | None = None,
    suffix: str | None = None,
) -> tuple[list[Bars], Findings]:
    """Return the bars of every frequency of a source, and findings about all of it; `check` explains the arguments."""
    given: Mapping[Any, Source] = source if isinstance(source, Mapping) else {freq: source}
    if not given:
        raise InputError("source: received nothing to check")
    options: dict[str, Any] = {"date_field": date_field, "symbol_field": symbol_field, "always_open": always_open}
    bars: list[Bars] = []
    whole = Findings()
    for one_freq, one in given.items():
        if isinstance(one, pd.DataFrame):
            bars.append(read_frame(one, one_freq, **options))
            continue
        path = Path(one).expanduser()
        if (path / "calendars").is_dir():
            stored, found = read_store(path, one_freq, always_open=always_open)
            bars += stored
            whole.extend(found)
        else:
            bars.append(read_files(path, one_freq, suffix=suffix, **options))
    if bars and not any(one.fields for one in bars):
        raise InputError(f"{_name(source)}: there are no bars to look at: none of the columns {', '.join(FIELDS)}")
    return bars, whole


def _name(source: Source | Mapping[str, Source]) -> str:
    each = source.values() if isinstance(source, Mapping) else [source]
    return ", ".join("a frame" if isinstance(one, pd.DataFrame) else str(one) for one in each)


def _check_one(bars: Bars, rules: Rules, whole: Findings) -> dict[str, Any]:
    """Check one frequency; return its line of the coverage table."""
    found = Findings(str(Freq(bars.freq)))
    check_columns(bars, found)
    presence = Presence(bars)
    for low, high in bars.blocks():
        block = bars.block(low, high)
        check_block(bars, rules, found, low, block, presence.look_at(low, block))
    missing, line = presence.find(rules)
    for part in (bars.findings, missing, found):
        whole.extend(part)
    return line


def _list_by(sources: list[Bars], instruments: Any) -> None:
    """Take the listing of instruments from a file or a mapping."""
    if isinstance(instruments, Mapping):
        spans = {str(k): [(pd.Timestamp(a), pd.Timestamp(b)) for a, b in v] for k, v in instruments.items()}
    else:
        path = Path(instruments).expanduser()
        if not path.is_file():
            raise InputError(f"instruments: there is no file {path}")
        spans = read_instruments(path)
    for bars in sources:
        rows = [(i, spans[name]) for i, name in enumerate(bars.names) if name in spans]
        bars.spans = positions(bars.times, Freq(bars.freq), rows)
        absent = sorted(set(spans) - set(bars.names))
        bars.findings.add("no data", absent, detail="listed, but not in the data")
