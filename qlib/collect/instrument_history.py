"""What a venue's list of instruments said, and since when: rows are added, none is ever removed.

    remember("data/klines/instruments.parquet", source.instruments(), "2026-01-05")
    read_instruments("data/klines")

    symbol         seen        gone   listed         delisted  state  tick  lot  minimum  contract_value ...
    BTC-USDT-SWAP  2026-01-05  False  1611916828000            live   0.1   ...
    BTC-USDT-SWAP  2026-03-01  False  1611916828000            live   0.5   ...     the tick was changed
    OLD-USDT-SWAP  2026-03-09  True   ...                                           it is not in the list any more

`seen` is the day (UTC) on which a row was first met: what was in force on a day is the last row seen before it.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from qlib.collect.source import Instrument
from qlib.errors import MissingDataError, RunError, StoreError
from qlib.utils.paths import replace_file

_TYPES: Final = {"str": pa.string(), "bool": pa.bool_(), "int | None": pa.int64(), "float": pa.float64()}
_FACTS: Final = {one.name: _TYPES[str(one.type)] for one in fields(Instrument) if one.name not in ("symbol", "raw")}
_LATER: Final = ("maximum", "maximum_value")  # columns that histories from before them lack
_SCHEMA: Final = pa.schema([("symbol", pa.string()), ("seen", pa.string()), ("gone", pa.bool_()), *_FACTS.items()])
_Row = dict[str, Any]


def remember(path: Path, instruments: Iterable[Instrument], day: str) -> list[_Row]:
    """Add what has changed to the history, and return the added rows.

    Parameters
    ----------
    path
        The Parquet file; made where there is none, replaced as a whole.
    instruments
        All that the venue lists now. What is in the history and not among them is gone.
    day
        Today's date in UTC, YYYY-MM-DD.

    Raises
    ------
    RunError
        The list is empty: that is an answer gone wrong, not the end of all trading.
    """
    now = {one.symbol: {name: _plain(getattr(one, name)) for name in _FACTS} for one in instruments}
    if not now:
        raise RunError("the venue's list of instruments is empty; nothing is taken down as gone")
    rows = _rows(path)
    last = {row["symbol"]: row for row in rows}
    added = []
    for symbol in sorted(now.keys() | last.keys()):
        was = last.get(symbol)
        facts = now.get(symbol) or {name: was[name] for name in _FACTS if was}
        row = {"symbol": symbol, "seen": day, "gone": symbol not in now, **facts}
        if was is None or {**was, "seen": day} != row:
            added.append(row)
    if added:
        everything = sorted(rows + added, key=lambda row: str(row["symbol"]))  # stable: in the order they were seen
        table = pa.Table.from_pylist(everything, schema=_SCHEMA)
        replace_file(path, lambda file: pq.write_table(table, file, compression="zstd"))
    return added


def latest(path: Path) -> dict[str, _Row]:
    """Return the last row of every symbol that was ever seen; a number that is not known is None."""
    return {row["symbol"]: row for row in _rows(path)}


def read_instruments(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Return the history as a frame.

    Parameters
    ----------
    path
        The store, such as data/klines, or the file itself.

    Returns
    -------
    DataFrame
        symbol; seen (the day, UTC, YYYY-MM-DD); gone; kind, base, quote, settle, inverse, listed and delisted (ms UTC,
        or missing), state, tick, lot, minimum, contract_value, multiplier, maximum, maximum_value (NaN where
        it was not told).

    Raises
    ------
    MissingDataError
        There is none.
    """
    file = Path(path).expanduser()
    file = file / "instruments.parquet" if file.is_dir() else file
    if not file.is_file():
        raise MissingDataError(f"{file} does not exist: nothing was collected there yet")
    frame = pd.DataFrame(_rows(file), columns=_SCHEMA.names)
    types = {pa.int64(): "Int64", pa.float64(): "float64", pa.string(): "str"}
    return frame.astype({one.name: types[one.type] for one in _SCHEMA if one.type in types})


def _rows(path: Path) -> list[_Row]:
    if not path.exists():
        return []
    try:
        table = pq.read_table(path)
        for name in _LATER:
            if name not in table.column_names:
                table = table.append_column(name, pa.nulls(len(table), _FACTS[name]))
        return list(table.select(_SCHEMA.names).to_pylist())
    except (OSError, pa.ArrowException, KeyError) as error:
        raise StoreError(f"{path}: is damaged ({error}); it cannot be downloaded again: bring back a copy") from None


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value
