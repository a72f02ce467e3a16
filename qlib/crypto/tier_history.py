"""What a venue said of its margin tiers, and since when: tables are added, none is ever removed.

    remember_tiers("data/klines/tiers.parquet", {("BTC-USDT-SWAP", "cross"): [Tier(1000, 0.004, 100)]}, "2026-01-05")
    read_tiers("data/klines")

    symbol         seen        mode   tier  up_to   mmr    max_leverage
    BTC-USDT-SWAP  2026-01-05  cross  1     1000.0  0.004  100.0

`seen` is the day (UTC) on which a table was first met. A table is all rows of one symbol, mode and day.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from qlib.errors import MissingDataError, StoreError
from qlib.utils.paths import replace_file

if TYPE_CHECKING:
    from qlib.crypto.margin import Tier

FILE: Final = "tiers.parquet"
_NUMBERS: Final = ("up_to", "mmr", "max_leverage")
_SCHEMA: Final = pa.schema(
    [("symbol", pa.string()), ("seen", pa.string()), ("mode", pa.string()), ("tier", pa.int64())]
    + [(name, pa.float64()) for name in _NUMBERS]
)
_Row = dict[str, Any]
_Which = tuple[str, str]  # symbol, mode


def remember_tiers(path: Path, tables: Mapping[_Which, Sequence[Tier]], day: str) -> list[_Which]:
    """Add the tables that have changed to the history, and return which they are.

    Parameters
    ----------
    path
        The Parquet file; made where there is none, replaced as a whole.
    tables
        By symbol and mode ("isolated" or "cross"), small tiers first.
    day
        Today's date in UTC, YYYY-MM-DD; a table of the same day is replaced.
    """
    kept: dict[tuple[str, str, str], list[_Row]] = {}
    for row in _rows(path):
        kept.setdefault((row["symbol"], row["mode"], row["seen"]), []).append(row)
    newest = {(symbol, mode): rows for (symbol, mode, _), rows in sorted(kept.items(), key=lambda one: one[0][2])}
    changed = []
    for which, table in tables.items():
        numbers = [astuple(tier) for tier in table]
        if [tuple(row[name] for name in _NUMBERS) for row in newest.get(which, ())] == numbers:
            continue
        changed.append(which)
        symbol, mode = which
        kept[symbol, mode, day] = [
            {"symbol": symbol, "seen": day, "mode": mode, "tier": tier, **dict(zip(_NUMBERS, one, strict=True))}
            for tier, one in enumerate(numbers, 1)
        ]
    if changed:
        rows = [row for which in sorted(kept) for row in kept[which]]
        table = pa.Table.from_pylist(rows, schema=_SCHEMA)
        replace_file(path, lambda file: pq.write_table(table, file, compression="zstd"))
    return changed


def read_tiers(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Return the history as a frame: symbol, seen, mode, tier (from 1), up_to (contracts), mmr, max_leverage.

    Parameters
    ----------
    path
        The store, such as data/klines, or the file itself.

    Raises
    ------
    MissingDataError
        There is none.
    """
    file = Path(path).expanduser()
    file = file / FILE if file.is_dir() else file
    if not file.is_file():
        raise MissingDataError(f"{file} does not exist: `qlib collect okx --tiers` keeps the margin tiers of contracts")
    return pd.DataFrame(_rows(file), columns=_SCHEMA.names)


def _rows(path: Path) -> list[_Row]:
    if not path.exists():
        return []
    try:
        return list(pq.read_table(path).select(_SCHEMA.names).to_pylist())
    except (OSError, pa.ArrowException, KeyError) as error:
        raise StoreError(f"{path}: is damaged ({error}); it cannot be downloaded again: bring back a copy") from None
