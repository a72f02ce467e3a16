"""OKX's history files: trades and funding rates of years ago, a zip file a day.

    archive = OkxArchive(cache="data/okx_files")
    collect(archive, store, [Series("BTC-USDT-SWAP", "trades", None)], start, end)      as from any other source
    archive.files(Series("BTC-USDT-SWAP", "funding", None), start, end)                 what there is

`/api/v5/public/market-data-history` lists files, twenty days a question; they lie on another host. A day of trades and
funding is one of UTC+8: that of 2026-01-02 begins at 2026-01-01 16:00 UTC. Files appear two or three days later.

A file is downloaded once and kept in `cache`; what a broken connection left is gone on with (qlib/collect/download.py).
It is believed when every byte of it agrees with its checksums, it holds nothing but plain files
(qlib/collect/archive.py), and every row lies inside its day: rows of another day mean that OKX counts days otherwise
than written here, and are an error. Days without a file are a Hole, the newest ones are not final yet.

The columns are found by their names; other names are an error that shows them.
"""

from __future__ import annotations

import csv
import datetime as dt
import re
import tempfile
import threading
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import numpy as np

from qlib.collect.archive import Limits, unpack
from qlib.collect.decimals import times
from qlib.collect.download import fetch
from qlib.collect.paging import in_order
from qlib.collect.server import Patience
from qlib.collect.source import Hole, Instrument, Page, Rows, Series, VenueError
from qlib.crypto.venues.okx.rest import PATIENCE, Endpoint, OkxSource
from qlib.errors import InputError, RunError, did_you_mean

LIST: Final = Endpoint("/api/v5/public/market-data-history", 5)
MODULES: Final = {"trades": "1", "funding": "3"}
_DAY: Final = 86_400_000
_SHIFT: Final = 8 * 3_600_000  # a day begins at 16:00 UTC of the day before
_DAYS: Final = 20  # that one question may ask for
_SURE: Final = 7 * _DAY  # after so long, a file that is not there does not come any more
_TYPES: Final = {"spot": "SPOT", "swap": "SWAP", "futures": "FUTURES"}
_LIMITS: Final = Limits(files=100, size=64 << 30)
_NAMES: Final[dict[str, dict[str, tuple[str, ...]]]] = {
    "trades": {
        "instrument": ("instrument_name", "instid"),
        "trade_id": ("trade_id", "tradeid"),
        "side": ("side",),
        "price": ("price", "px"),
        "size": ("size", "sz"),
        "ts": ("created_time", "ts"),
    },
    "funding": {
        "instrument": ("instrument_name", "instid"),
        "rate": ("real_funding_rate", "realized_rate", "realizedrate", "funding_rate", "fundingrate"),
        "ts": ("funding_time", "fundingtime"),
    },
}


@dataclass(frozen=True)
class ArchiveFile:
    """One file: the rows of [start, end) ms of an instrument, or of its family."""

    url: str
    name: str
    start: int
    end: int


class OkxArchive:
    """OKX's history files as a `qlib.collect.source.Source` of trades and funding.

    Parameters
    ----------
    cache
        Folder that keeps the files.
    base_url, speed
        As for `OkxSource`, which answers everything but `walk`.
    patience
        How long to wait and how often to try, for questions and for files.
    hosts
        Where files may lie; their subdomains count too, and so does this machine.

    >>> archive = OkxArchive("data/okx_files")
    >>> archive
    OkxArchive('https://www.okx.com')
    """

    name = "okx_archive"

    def __init__(
        self,
        cache: str | Path,
        base_url: str | None = None,
        *,
        speed: float | None = 1.0,
        patience: Patience = PATIENCE,
        hosts: tuple[str, ...] = ("okx.com",),
    ) -> None:
        self.cache = Path(cache).expanduser()
        self._okx = OkxSource(base_url, speed=speed, patience=patience)
        self._patience, self._hosts = patience, hosts
        self._locks: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return repr(self._okx).replace("OkxSource", "OkxArchive")

    @property
    def requests(self) -> int:
        """How many questions were sent; downloads do not count."""
        return self._okx.requests

    def instruments(self) -> list[Instrument]:
        """Return what OKX lists now."""
        return self._okx.instruments()

    def check_bar(self, bar: str) -> str:
        """Return OKX's spelling of a bar size."""
        return self._okx.check_bar(bar)

    def bar_ms(self, bar: str) -> int:
        """Return the length of a bar in ms."""
        return self._okx.bar_ms(bar)

    def opens(self, bar: str, start: int, end: int) -> np.ndarray:
        """Return the open times in [start, end), int64 ms."""
        return self._okx.opens(bar, start, end)

    def close(self) -> None:
        """Close connections."""
        self._okx.close()

    # ------------------------------------------------------------------ which files
    def files(self, series: Series, start: int, end: int) -> list[ArchiveFile]:
        """Return the files that hold rows of [start, end) ms, oldest first.

        Raises
        ------
        InputError
            Another kind than trades and funding.
        VenueError
            OKX does not answer, or answers what cannot be read.
        """
        if series.kind not in MODULES:
            raise InputError(
                f"kind: received {series.kind!r}; OKX's files are read for {' and '.join(MODULES)}"
                f"{did_you_mean(series.kind, MODULES)}"
            )
        instrument = self._okx.instrument(series.symbol)
        found: dict[int, ArchiveFile] = {}
        first, last = _day_of(start), _day_of(end - 1)
        for low in range(first, last + 1, _DAYS):
            high = min(low + _DAYS - 1, last)
            for one in self._ask(instrument, series.kind, low, high):
                if one.start < end and one.end > start and found.setdefault(one.start, one) != one:
                    raise VenueError(f"OKX lists two files of {series.symbol} for one day: {one.name} and another")
        return [found[day] for day in sorted(found)]

    def _ask(self, instrument: Instrument, kind: str, low: int, high: int) -> list[ArchiveFile]:
        params = {"module": MODULES[kind], "instType": _TYPES[instrument.kind], "dateAggrType": "daily"}
        family = str(instrument.raw.get("instFamily") or instrument.raw.get("uly") or "")
        if instrument.kind == "spot":
            params["instIdList"] = instrument.symbol
        else:
            params["instFamilyList"] = family
        params |= {"begin": str(low * _DAY - _SHIFT), "end": str(high * _DAY - _SHIFT)}
        wanted = {instrument.symbol, family} - {""}
        listed: list[ArchiveFile] = self._okx._get(LIST, params, lambda data: list(_listed(data, wanted)))  # noqa: SLF001  the same venue
        return [one for one in listed if low <= _day_of(one.start) <= high]

    # ------------------------------------------------------------------ their rows
    def walk(self, series: Series, start: int, end: int) -> Iterator[Page | Hole]:
        """Yield [start, end) of trades or funding, newest day first. See `qlib.collect.source.Source.walk`."""
        instrument = self._okx.instrument(series.symbol)
        files = {_day_of(one.start): one for one in self.files(series, start, end)}
        sure = self._okx._now() - _SURE  # noqa: SLF001  the same venue
        newest = max([_day_of(sure), *files])
        start = start if instrument.listed is None else max(start, instrument.listed)
        for day in range(min(_day_of(end - 1), newest), _day_of(start) - 1, -1):
            low, high = max(day * _DAY - _SHIFT, start), min((day + 1) * _DAY - _SHIFT, end)
            if low >= high:
                continue
            if day not in files:
                yield Hole(low, high, "OKX has no history file of this day")
                continue
            rows = self.read(files[day], series.kind, instrument)
            keep = (rows["ts"] >= low) & (rows["ts"] < high)
            yield Page(low, high, {name: values[keep] for name, values in rows.items()})

    def read(self, file: ArchiveFile, kind: str, instrument: Instrument) -> Rows:
        """Return the rows of a file, downloaded if it is not there yet."""
        path = self.download(file)
        with tempfile.TemporaryDirectory(dir=self.cache, prefix=".unpacked-") as scratch:
            folder = Path(scratch) / "files"
            members = [name for name in unpack(path, folder, _LIMITS) if name.lower().endswith(".csv")]
            if not members:
                raise VenueError(f"{path}: holds no CSV file")
            pieces = [_rows(folder / name, f"{path.name}, {name}", kind, instrument) for name in members]
        rows = {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}
        wrong = (rows["ts"] < file.start) | (rows["ts"] >= file.end)
        if wrong.any():
            raise VenueError(
                f"{path}: holds {int(wrong.sum()):,} of {len(wrong):,} rows outside of its day, the first of "
                f"{_time(int(rows['ts'][wrong][0]))}; the day is {_time(file.start)} to {_time(file.end)}"
            )
        return in_order(kind, rows)

    def download(self, file: ArchiveFile) -> Path:
        """Return the file on this machine; it is fetched unless a whole one is there."""
        host = urlsplit(file.url).hostname or ""
        if not any(host == one or host.endswith(f".{one}") for one in (*self._hosts, "localhost", "127.0.0.1")):
            raise VenueError(f"OKX leads to {host}, which is not one of {', '.join(self._hosts)}; nothing was fetched")
        if not re.fullmatch(r"[\w-][\w.-]{0,200}", file.name):
            raise VenueError(f"OKX lists a file of the name {file.name!r}, which no file may have")
        path = self.cache / file.name
        with self._lock:
            lock = self._locks.setdefault(file.name, threading.Lock())
        with lock:
            if not _is_whole(path):
                fetch(file.url, path, sha256=None, patience=self._patience)
                if not _is_whole(path):
                    path.unlink()
                    raise RunError(f"{file.name}: what came is no whole zip archive; it was thrown away")
        return path


def _listed(data: Any, wanted: set[str], mine: bool = True) -> Iterator[ArchiveFile]:
    """Yield the files named anywhere in an answer, below an entry of the wanted instrument or family."""
    if isinstance(data, list):
        for one in data:
            yield from _listed(one, wanted, mine)
    elif isinstance(data, dict):
        named = {str(data[name]) for name in ("instId", "instFamily") if data.get(name)}
        mine = mine and (not named or bool(named & wanted))
        if "url" in data and mine:
            day = _day_named(data)
            yield ArchiveFile(
                str(data["url"]), str(data.get("filename") or data["url"].rpartition("/")[2]),
                day * _DAY - _SHIFT, (day + 1) * _DAY - _SHIFT,
            )  # fmt: skip
        for one in data.values():
            yield from _listed(one, wanted, mine) if isinstance(one, list | dict) else ()


def _day_named(entry: dict[str, Any]) -> int:
    """Return the day of a file, days after 1970-01-01: the one in its name, else that of its time stamp."""
    found = re.search(r"(20\d\d)-?(\d\d)-?(\d\d)", str(entry.get("filename") or entry["url"].rpartition("/")[2]))
    if found:
        return (dt.date(int(found[1]), int(found[2]), int(found[3])) - dt.date(1970, 1, 1)).days
    return _day_of(int(entry["dateTs"]))


def _day_of(ms: int) -> int:
    return (ms + _SHIFT) // _DAY


def _time(ms: int) -> str:
    return f"{np.datetime64(ms, 'ms')}Z"


def _is_whole(path: Path) -> bool:
    """Tell whether a zip archive is there and agrees with its checksums."""
    if not path.is_file():
        return False
    try:
        with zipfile.ZipFile(path) as opened:
            size = sum(member.file_size for member in opened.infolist())
            if size > max(_LIMITS.free, _LIMITS.ratio * path.stat().st_size):
                return True  # a bomb is not looked into: `unpack` refuses it and says why
            return opened.testzip() is None
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, NotImplementedError, RuntimeError):
        return False


def _rows(path: Path, where: str, kind: str, instrument: Instrument) -> Rows:
    """Return the rows of one instrument in a CSV file."""
    import pyarrow as pa  # noqa: PLC0415  only who reads files needs it
    import pyarrow.csv  # noqa: PLC0415

    encoding = "utf-8" if _is_utf8(path) else "gbk"
    with path.open(encoding=encoding.replace("utf-8", "utf-8-sig"), newline="") as file:
        head = next(csv.reader(file), [])
    # Old files name columns in two languages: "trade_id/..."
    plain = [name.strip().lower().partition("/")[0].replace(" ", "_") for name in head]
    columns: dict[str, str] = {}
    for field, names in _NAMES[kind].items():
        here = next((head[plain.index(name)] for name in names if name in plain), None)
        if here is None and field != "instrument":
            raise VenueError(f"{where}: no column {' or '.join(names)} among {', '.join(head) or 'no columns'}")
        if here is not None:
            columns[here] = field
    kinds = {"instrument": pa.string(), "side": pa.string(), "ts": pa.int64(), "trade_id": pa.int64()}
    try:
        read = pa.csv.read_csv(
            path,
            read_options=pa.csv.ReadOptions(encoding=encoding),
            convert_options=pa.csv.ConvertOptions(
                include_columns=list(columns),
                column_types={name: kinds.get(field, pa.float64()) for name, field in columns.items()},
                null_values=[""],
            ),
        )
    except pa.ArrowException as error:
        raise VenueError(f"{where}: cannot be read: {str(error).splitlines()[0]}") from None
    table = read.rename_columns([columns[name] for name in read.column_names]).to_pandas()
    if "instrument" in table:
        table = table[table["instrument"] == instrument.symbol]
    ts = table["ts"].to_numpy()
    if kind == "funding":
        return {"ts": ts, "rate": table["rate"].to_numpy(), "predicted_rate": np.full(len(ts), np.nan)}
    price, size = table["price"].to_numpy(), table["size"].to_numpy()
    if instrument.kind != "spot":
        each = instrument.contract_value * (1.0 if np.isnan(instrument.multiplier) else instrument.multiplier)
        size = times(size, each)
        size = size / price if instrument.inverse else size
    side = table["side"].str.lower().to_numpy(dtype=object)
    if len(odd := np.flatnonzero(~np.isin(side, ["buy", "sell"]))):
        raise VenueError(f"{where}: received the side {side[odd[0]]!r}; buy and sell are known")
    return {"ts": ts, "trade_id": table["trade_id"].to_numpy(), "price": price, "size": size, "side": side}


def _is_utf8(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.readline()
    try:
        head.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
