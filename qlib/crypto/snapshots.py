"""Market snapshots: what a ranking of coins said, and from which moment on anybody could know it.

    read_snapshots("marketcap_monthly.parquet", stamp="close")   a table of many dates
    read_snapshots("data/marketcap")                             the archive below

    known          id        symbol  name     rank  market_cap   price   volume_24h
    1577923200000  bitcoin   BTC     Bitcoin  1     1.305808e11  7200.2  1.8e10

`known` is int64 milliseconds UTC. The value of a date's close is known when the date is over, at 00:00 UTC of the next
one; a snapshot that was taken by asking is known when the answer had come. Nothing may use it earlier.

    archive = Archive("data/marketcap")
    archive.add(rows, taken=1762135514262)      data/marketcap/2025/2025-11-03T020514.262Z.json.gz

The archive only grows: a day that is in it already stays as it is, every row is kept as it was received, and a file is
there whole or not at all.
"""

from __future__ import annotations

import datetime as dt
import gzip
import json
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from qlib.errors import InputError, StoreError, did_you_mean
from qlib.utils.locks import locked
from qlib.utils.paths import replace_file

STAMPS: Final = ("close", "taken")
TEXTS: Final = ("id", "symbol", "name")
NUMBERS: Final = ("rank", "market_cap", "price", "volume_24h")
DAY_MS: Final = 86_400_000
SECONDS: Final = 60  # how long a writer waits for another one

_THEIRS: Final = {"rank": "market_cap_rank", "price": "current_price", "volume_24h": "total_volume"}
_GECKO: Final = {theirs: name for name, theirs in _THEIRS.items()} | {"timestamp": "ts"}
_FILE: Final = re.compile(r"\d{4}-\d{2}-\d{2}T\d{6}\.\d{3}Z\.json\.gz")


# ---------------------------------------------------------------------- tables
def read_snapshots(path: str | Path, stamp: str | None = None) -> pd.DataFrame:
    """Return the snapshots of a file (CSV or Parquet) or of an archive folder.

    Parameters
    ----------
    path
        A file has the columns symbol, name, market_cap and price, and `ts`: a date, a time in UTC or milliseconds.
        CoinGecko's names of columns are known too; id, rank and volume_24h may be absent.
    stamp
        What `ts` means, for files: "close" (the values are those of the end of this date) or "taken" (they were read
        at this moment). An archive knows it.

    Returns
    -------
    pandas.DataFrame
        known (int64 ms), id, symbol (upper case), name, rank, market_cap, price, volume_24h (float64, NaN unknown);
        by known and rank. Where the source has no ids, the id is made of the name: "BinaryX (old)" is "binaryx-old".

    Raises
    ------
    InputError
        The file cannot be used; the message says which column or row is wrong.
    """
    place = Path(path).expanduser()
    if place.is_dir():
        if stamp == "close":
            raise InputError(f"stamp: received close; {place} is an archive, whose snapshots were taken when they say")
        return Archive(place).read()
    if stamp not in STAMPS:
        raise InputError(
            f"stamp: received {stamp!r}; say whether the values of {place} are those of the end of their date (close) "
            f"or were read at that moment (taken){did_you_mean(str(stamp), STAMPS)}"
        )
    try:
        frame = pd.read_parquet(place) if place.suffix == ".parquet" else pd.read_csv(place, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise InputError(f"{place} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    return table(frame, stamp, str(place))


def table(frame: pd.DataFrame, stamp: str, where: str = "snapshots") -> pd.DataFrame:
    """Return a frame with the columns described at `read_snapshots` as a snapshot table; `where` stands in messages."""
    columns = {name: str(name).lower() for name in frame.columns}
    frame = frame.rename(columns={name: _GECKO.get(low, low) for name, low in columns.items()})
    for name in ("ts", "symbol", "name", "market_cap", "price"):
        if name not in frame.columns:
            raise InputError(
                f"{where}: has no column {name}; its columns are {', '.join(map(str, frame.columns))}"
                f"{did_you_mean(name, map(str, frame.columns))}"
            )
    known = _milliseconds(frame["ts"], where)
    if stamp == "close":
        odd = np.flatnonzero(known % DAY_MS)
        if len(odd):
            raise InputError(
                f"{where}: row {odd[0]} is stamped {_shown(known[odd[0]])}, which is no date; "
                "stamp='close' means the end of a date, stamp='taken' a moment"
            )
        known = known + DAY_MS
    return _ordered(known, frame, where)


def _ordered(known: np.ndarray, frame: pd.DataFrame, where: str) -> pd.DataFrame:
    texts = {name: frame[name].astype(str).str.strip() for name in ("symbol", "name")}
    ids = frame["id"].astype(str).str.strip() if "id" in frame.columns else texts["name"].map(slug)
    blank = np.flatnonzero((texts["symbol"] == "").to_numpy())
    if len(blank):
        raise InputError(f"{where}: row {blank[0]} has no symbol (name {texts['name'].iloc[blank[0]]!r})")
    numbers = {name: _numbers(frame, name, where) for name in NUMBERS}
    made = pd.DataFrame(
        {"known": known, "id": ids.to_numpy(), "symbol": texts["symbol"].str.upper().to_numpy(),
         "name": texts["name"].to_numpy(), **numbers}
    )  # fmt: skip
    twice = made.duplicated(["known", "id"])
    if twice.any():
        row = made[twice].iloc[0]
        raise InputError(f"{where}: {row['id']} occurs twice in the snapshot known at {_shown(row['known'])}")
    return made.sort_values(["known", "rank", "id"], kind="stable", ignore_index=True)


def slug(name: str) -> str:
    """Return a name as an id: small letters and digits, "-" between the words.

    >>> slug("BinaryX (old)"), slug("DOG•GO•TO•THE•MOON")
    ('binaryx-old', 'dog-go-to-the-moon')
    """
    return re.sub(r"[\W_]+", "-", str(name).lower()).strip("-") or str(name)


def _milliseconds(column: pd.Series, where: str) -> np.ndarray:
    if pd.api.types.is_integer_dtype(column):
        return column.to_numpy(np.int64)
    try:
        stamps = pd.DatetimeIndex(pd.to_datetime(column, utc=True, errors="raise", format="ISO8601"))
    except (ValueError, TypeError) as error:
        raise InputError(f"{where}: ts holds what is no time: {error}") from None
    if stamps.hasnans:
        raise InputError(f"{where}: row {int(np.flatnonzero(stamps.isna())[0])} has no ts")
    nanoseconds = stamps.tz_localize(None).to_numpy("datetime64[ns]").astype(np.int64)
    return -(-nanoseconds // 1_000_000)  # upwards: what is known is never known earlier


def _numbers(frame: pd.DataFrame, name: str, where: str) -> np.ndarray:
    if name not in frame.columns:
        return np.full(len(frame), np.nan)
    column = frame[name]
    if not pd.api.types.is_numeric_dtype(column):
        column = column.where(~column.isin(["", "null"]))
    try:
        return pd.to_numeric(column, errors="raise").to_numpy(np.float64, na_value=np.nan)
    except (ValueError, TypeError) as error:
        raise InputError(f"{where}: the column {name} holds what is no number: {error}") from None


def _shown(milliseconds: int) -> str:
    return str(pd.Timestamp(int(milliseconds), unit="ms"))


# ---------------------------------------------------------------------- the archive
class Archive:
    """A folder of snapshots, one a day or more, that only grows.

    Parameters
    ----------
    folder
        Made by the first `add`. A file is `<year>/<date>T<time>Z.json.gz`: {"taken", "source", "rows"}.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder).expanduser()

    def files(self) -> list[Path]:
        """Return the files, oldest first."""
        return sorted(path for path in self.folder.glob("[0-9][0-9][0-9][0-9]/*.json.gz") if _FILE.fullmatch(path.name))

    def days(self) -> list[str]:
        """Return the dates (UTC) of which there is a snapshot."""
        return sorted({path.name[:10] for path in self.files()})

    def add(
        self, rows: Sequence[Mapping[str, Any]], taken: int, *, source: str = "", again: bool = False
    ) -> tuple[Path, bool]:
        """Keep a snapshot; return its file and whether it was written.

        Parameters
        ----------
        rows
            As the venue sent them, each a table with at least id, symbol and name.
        taken
            When the last of them had come, ms UTC.
        source
            What was asked, for whoever reads the file.
        again
            Keep it beside the one that this date has already. Without it, that one stays the only one of its date.

        Raises
        ------
        InputError
            There are no rows, or one that cannot be read back; nothing was written.
        OSError
            The disk is full or refuses; nothing was written.
        """
        name = _name(taken)
        path = self.folder / name[:4] / name
        kept = [dict(row) for row in rows]
        if not kept:
            raise InputError(f"{path}: a snapshot without coins is not kept")
        _columns(kept, str(path))
        with locked(self.folder / ".lock", seconds=SECONDS, purpose="keeping a snapshot"):
            old = [one for one in self.files() if one.name[:10] == name[:10]]
            if path in old or (old and not again):
                return old[-1], False
            content = json.dumps({"taken": taken, "source": source, "rows": kept}, ensure_ascii=False)
            packed = gzip.compress(content.encode(), mtime=0)
            replace_file(path, lambda file: file.write(packed))
        return path, True

    def read(self) -> pd.DataFrame:
        """Return all snapshots as one table (see `read_snapshots`).

        Raises InputError where there is none, StoreError for a damaged file.
        """
        known: list[int] = []
        columns: dict[str, list[Any]] = {name: [] for name in (*TEXTS, *NUMBERS)}
        for path in self.files():
            taken, rows = _content(path)
            for name, values in _columns(rows, str(path)).items():
                columns[name] += values
            known += [taken] * (len(columns["id"]) - len(known))
        if not known:
            raise InputError(f"{self.folder} holds no snapshot (<year>/<date>T<time>Z.json.gz)")
        return _ordered(np.array(known, np.int64), pd.DataFrame(columns), str(self.folder))


def _name(taken: int) -> str:
    when = dt.datetime.fromtimestamp(taken // 1000, dt.UTC)
    return f"{when:%Y-%m-%dT%H%M%S}.{taken % 1000:03d}Z.json.gz"


def _content(path: Path) -> tuple[int, list[Any]]:
    """Return when a file of the archive was taken, and its rows."""
    try:
        content = json.loads(gzip.decompress(path.read_bytes()))
        taken, rows = int(content["taken"]), list(content["rows"])
    except (OSError, EOFError, zlib.error, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{path} is damaged: {error}") from None
    if path.name != _name(taken):
        raise StoreError(f"{path} is damaged: it says that it was taken at {_shown(taken)}")
    return taken, rows


def rows_table(rows: Iterable[Mapping[str, Any]], taken: int, where: str) -> pd.DataFrame:
    """Return rows as a venue sent them as a snapshot table; of a coin that came twice the first row counts."""
    columns = _columns(rows, where)
    return _ordered(np.full(len(columns["id"]), taken, np.int64), pd.DataFrame(columns), where)


def _columns(rows: Iterable[Mapping[str, Any]], where: str) -> dict[str, list[Any]]:
    kept: dict[str, Mapping[str, Any]] = {}
    for row in rows:
        if not isinstance(row, Mapping) or not all(isinstance(row.get(name), str) for name in TEXTS):
            raise InputError(f"{where}: a coin needs the texts id, symbol and name; received {str(row)[:80]}")
        kept.setdefault(row["id"], row)
    columns: dict[str, list[Any]] = {name: [row[name] for row in kept.values()] for name in TEXTS}
    for name in NUMBERS:
        theirs = _THEIRS.get(name, name)
        columns[name] = [_number(row.get(theirs), row["id"], name, where) for row in kept.values()]
    return columns


def _number(value: Any, coin: str, name: str, where: str) -> float:
    if value is None:
        return float("nan")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(f"{where}: {name} of {coin} is {value!r}; a number or null is expected")
    return float(value)
