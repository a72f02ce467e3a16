"""The venue's archive: which zip files of past days and months there are, and what is in them.

    listing(view, {"module": "1", "instType": "SPOT", "instIdList": "BTC-USDT", "dateAggrType": "daily", ...})
    content(view, "/cdn/okex/trades/daily/BTC-USDT-trades-2026-01-05.zip")        the bytes of that file, or None

    module  days in  a line of the CSV (the books: of JSON)
    1       UTC+8    instrument_name,trade_id,side,price,size,created_time
    2       UTC+8    instrument_name,open,high,low,close,vol,vol_ccy,vol_quote,open_time,confirm      1m candles
    3       UTC+8    instrument_name,contract_type,funding_rate,real_funding_rate,funding_time
    4       UTC      {"instId","action":"snapshot"|"update","ts","asks","bids"}                      only of given books

A file appears two days after its day or month has ended. The names of columns are as remembered, not as checked
against the venue: a reader must go by the header, not by the place.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np

from qlib.crypto.venues.fake import quotes
from qlib.crypto.venues.fake.bars import DAY, HOUR, text
from qlib.crypto.venues.fake.market import TYPES, candle_columns
from qlib.crypto.venues.fake.view import Refusal, View, dumps

PREFIX: Final = "/cdn/okex/"
LATEST: Final = 2 * DAY  # after the end of a day or month, until its file is out
MOST: Final = 20  # days or months in one listing
_KINDS: Final = {"1": "trades", "2": "candlesticks", "3": "fundingrates", "4": "L2orderbook-400lv"}
_EMPTY: Final = frozenset({"5", "11"})  # modules that exist and hold nothing here
_NAME: Final = re.compile(r"([^/]+)/(daily|monthly)/(.+)-\1-(\d{4}-\d{2}(?:-\d{2})?)\.zip")

Lines = Callable[[View, str, int, int], list[str]]


def listing(view: View, params: Mapping[str, str]) -> list[str]:
    """Rows of /public/market-data-history."""
    module, kind, step = (_needed(params, key) for key in ("module", "instType", "dateAggrType"))
    if module not in _KINDS and module not in _EMPTY:
        raise Refusal("51000", "Parameter module error", 400)
    if kind not in TYPES:
        raise Refusal("51000", "Parameter instType error", 400)
    if step not in {"daily", "monthly"}:
        raise Refusal("51000", "Parameter dateAggrType error", 400)
    begin, end = (_needed(params, key) for key in ("begin", "end"))
    if not (begin.isdecimal() and end.isdecimal() and int(begin) <= int(end) < 1 << 45):
        raise Refusal("51000", "Parameter begin or end error", 400)
    column = "instIdList" if kind in {"SPOT", "MARGIN"} else "instFamilyList"
    wanted = _needed(params, column).split(",")
    if module in _EMPTY:
        return [_row(step, [], view.now)]
    periods = _periods(int(begin), int(end), step, shift(module))
    if len(periods) > MOST:
        raise Refusal("51000", f"Parameter begin and end error: more than {MOST} {step} files", 400)
    groups = []
    for name, row in view.market.instruments.items():
        if row["instType"] == kind and (wanted == ["ANY"] or row[column.removesuffix("List")] in wanted):
            files = [_file(view, module, step, name, first, last) for first, last in periods]
            there = [file for file in files if file is not None]
            if there:
                groups.append(_group(row, there))
    return [_row(step, groups, view.now)]


def _needed(params: Mapping[str, str], name: str) -> str:
    if not params.get(name):
        raise Refusal("50014", f"Parameter {name} can not be empty.", 400)
    return params[name]


def shift(module: str) -> int:
    """Milliseconds by which a day of this module begins before midnight UTC."""
    return 0 if module in {"4", "5"} else 8 * HOUR


def _periods(begin: int, end: int, step: str, early: int) -> list[tuple[int, int]]:
    """Days or months that hold a moment of [begin, end], as (first, end) in ms."""
    unit = "D" if step == "daily" else "M"
    first, last = (np.datetime64(moment + early, "ms").astype(f"datetime64[{unit}]") for moment in (begin, end))
    edges = np.arange(first, last + 2).astype("datetime64[ms]").astype(np.int64) - early
    return list(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))


def _file(view: View, module: str, step: str, name: str, first: int, end: int) -> dict[str, str] | None:
    if view.now < end + LATEST or not _LINES[module](view, name, first, end):
        return None
    kind = _KINDS[module]
    day = datetime.fromtimestamp((first + shift(module)) / 1000, UTC)
    file = f"{name}-{kind}-{day:%Y-%m-%d}.zip" if step == "daily" else f"{name}-{kind}-{day:%Y-%m}.zip"
    url = f"{PREFIX}{kind}/{step}/{file}"
    size = len(content(view, url) or b"") / (1 << 20)
    return {"dateTs": str(first), "filename": file, "sizeMB": f"{size:.4f}", "url": view.url + url}


def _group(row: Mapping[str, Any], files: list[dict[str, str]]) -> dict[str, Any]:
    return {
        "dateRangeEnd": files[-1]["dateTs"],
        "dateRangeStart": files[0]["dateTs"],
        "groupDetails": files[::-1],
        "groupSizeMB": f"{sum(float(file['sizeMB']) for file in files):.4f}",
        "instFamily": row["instFamily"],
        "instId": row["instId"] if row["instType"] in {"SPOT", "MARGIN"} else "",
        "instType": row["instType"],
    }


def _row(step: str, groups: list[dict[str, Any]], now: int) -> str:
    total = sum(float(group["groupSizeMB"]) for group in groups)
    return dumps({"dateAggrType": step, "details": groups, "totalSizeMB": f"{total:.4f}", "ts": str(now)})


def content(view: View, path: str) -> bytes | None:
    """The zip file at `path`, None if there is none yet or never was one."""
    found = _NAME.fullmatch(path.removeprefix(PREFIX))
    modules = {kind: module for module, kind in _KINDS.items()}
    if not path.startswith(PREFIX) or found is None or found[1] not in modules:
        return None
    module, name = modules[found[1]], found[3]
    if name not in view.market.instruments or (found[2] == "daily") != (len(found[4]) == len("2026-01-01")):
        return None
    try:
        first = int(np.datetime64(found[4]).astype("datetime64[ms]").astype(np.int64)) - shift(module)
    except ValueError:
        return None
    (period,) = _periods(first, first, found[2], shift(module))
    lines = _LINES[module](view, name, *period) if view.now >= period[1] + LATEST else []
    if not lines:
        return None
    inside = path.rsplit("/", 1)[1].removesuffix(".zip") + (".data" if module == "4" else ".csv")
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        entry = zipfile.ZipInfo(inside)  # dated 1980: the same bytes every time
        entry.compress_type = zipfile.ZIP_DEFLATED
        archive.writestr(entry, "\n".join(lines) + "\n")
    return made.getvalue()


def _between(view: View, name: str, ts: np.ndarray, first: int, end: int) -> slice:
    start, stop = view.span(name, ts)
    return slice(max(start, int(ts.searchsorted(first, "left"))), min(stop, int(ts.searchsorted(end, "left"))))


def _csv(header: str, name: str, columns: list[list[str]]) -> list[str]:
    lines = [f"{name},{line}" for line in map(",".join, zip(*columns, strict=True))]
    return [header, *lines] if lines else []


def _trade_lines(view: View, name: str, first: int, end: int) -> list[str]:
    table = view.market.trades.get(name)
    if table is None:
        return []
    rows = _between(view, name, table["ts"], first, end)
    sizes = quotes.in_units(view, name, table["size"][rows], table["price"][rows])
    side: list[str] = table["side"][rows].tolist()
    columns = [text(table["trade_id"][rows]), side, text(table["price"][rows]), text(sizes), text(table["ts"][rows])]
    return _csv("instrument_name,trade_id,side,price,size,created_time", name, columns)


def _candle_lines(view: View, name: str, first: int, end: int) -> list[str]:
    bars = view.market.bars("candles", name, "1m")
    if bars is None:
        return []
    rows = _between(view, name, bars.ts, first, end)
    told = candle_columns(view.market, name, {key: values[rows] for key, values in bars.columns.items()})
    ts = bars.ts[rows]
    header = "instrument_name,open,high,low,close,vol,vol_ccy,vol_quote,open_time,confirm"
    return _csv(header, name, [*told, text(ts), ["1"] * len(ts)])


def _funding_lines(view: View, name: str, first: int, end: int) -> list[str]:
    table = view.market.funding.get(name)
    if table is None:
        return []
    rows = _between(view, name, table["ts"], first, end)
    kind = ["swap"] * (rows.stop - rows.start if rows.stop > rows.start else 0)
    columns = [kind, text(table["predicted_rate"][rows]), text(table["rate"][rows]), text(table["ts"][rows])]
    return _csv("instrument_name,contract_type,funding_rate,real_funding_rate,funding_time", name, columns)


def _book_lines(view: View, name: str, first: int, end: int) -> list[str]:
    tape = view.market.books.get(name)
    if tape is None:
        return []
    lines, old = [], None
    for moment in tape.ts[_between(view, name, tape.ts, first, end)].tolist():
        new = quotes.book(View(view.market, moment), name, 400)
        asks, bids = (new.asks, new.bids) if old is None else quotes.changes(old, new)
        sides = {"asks": asks, "bids": bids}
        told = {side: [[level[0], level[1], level[3]] for level in levels] for side, levels in sides.items()}
        action = "snapshot" if old is None else "update"
        lines.append(dumps({"instId": name, "action": action, "ts": str(moment)} | told))
        old = new
    return lines


_LINES: Final[dict[str, Lines]] = {"1": _trade_lines, "2": _candle_lines, "3": _funding_lines, "4": _book_lines}
