"""What OKX writes -> plain columns. No network here.

    candles(data, "swap")      [["1747094040000", "102806.1", ..., "1"], ...]  ->  Parsed(rows, oldest, unfinished)

Everything is a string; "" is "unknown", which is NaN here. Rows may come in any order. What is in a row depends on the
instrument: the volume of a spot pair is its field 5, that of a contract its field 6 (field 5 counts contracts).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from qlib.collect.decimals import times
from qlib.collect.paging import Answer
from qlib.collect.source import Instrument, Rows, VenueError, empty_rows
from qlib.crypto.margin import Tier

TYPES: Final = {"SPOT": "spot", "SWAP": "swap", "FUTURES": "futures"}
_CANDLE: Final = 9  # ts o h l c vol volCcy volCcyQuote confirm
_PRICE: Final = 6  # ts o h l c confirm
_SETTLING: Final = 3_600_000  # ms in which the rate that was paid may still be missing
_NAN: Final = float("nan")


def candles(data: Sequence[Sequence[str]], kind: str) -> Answer:
    """Return candles of a "spot", "swap" or "futures" instrument.

    >>> row = ["60000", "10", "12", "9", "11", "400", "4", "44", "1"]
    >>> candles([row], "swap").rows["volume"], candles([row], "spot").rows["volume"]
    (array([4.]), array([400.]))
    """
    if not data:
        return Answer(empty_rows("candles"), None)
    table = _table(data, _CANDLE, "candle")
    final, oldest, unfinished = _final(table)
    table = table[:, final]
    o, h, l, c, vol, vol_ccy, amount = (_floats(column) for column in table[1:8])  # noqa: E741
    volume = vol if kind == "spot" else vol_ccy
    vwap = np.divide(amount, volume, out=np.full(len(volume), _NAN), where=volume > 0)
    flat = (volume == 0) & (o == h) & (h == l) & (l == c)
    rows = {
        "ts": table[0].astype(np.int64), "open": o, "high": h, "low": l, "close": c,
        "volume": volume, "amount": amount, "vwap": vwap, "traded": ~flat,
    }  # fmt: skip
    return Answer(rows, oldest, unfinished)


def prices(data: Sequence[Sequence[str]], kind: str) -> Answer:
    """Return "mark" or "index" candles: no volume, and `confirm` is the sixth field."""
    if not data:
        return Answer(empty_rows(kind), None)
    table = _table(data, _PRICE, f"{kind} candle")
    final, oldest, unfinished = _final(table)
    table = table[:, final]
    values = dict(zip(("open", "high", "low", "close"), map(_floats, table[1:5]), strict=True))
    return Answer({"ts": table[0].astype(np.int64), **values}, oldest, unfinished)


def funding(data: Sequence[Mapping[str, Any]], now: int) -> Answer:
    """Return rates: `rate` is what was paid, which need not be what was predicted.

    A settlement of the last hour whose rate is not told yet is not final; an old one without a rate is NaN.
    """
    if not data:
        return Answer(empty_rows("funding"), None)
    ts = _times(data, "fundingTime")
    rows: Rows = {"ts": ts, "rate": _field(data, "realizedRate"), "predicted_rate": _field(data, "fundingRate")}
    pending = np.isnan(rows["rate"]) & (ts > now - _SETTLING)
    unfinished = int(ts[pending].min()) if pending.any() else None
    return Answer({name: values[~pending] for name, values in rows.items()}, int(ts.min()), unfinished)


def open_interest(data: Sequence[Sequence[str]], settled: int) -> Answer:
    """Return open interest in contracts, coins and USD. Rows from `settled` on are of a period that still runs."""
    if not data:
        return Answer(empty_rows("oi"), None)
    table = _table(data, 4, "open interest")
    ts = table[0].astype(np.int64)
    running = ts >= settled
    columns = (_floats(column)[~running] for column in table[1:])
    rows = {"ts": ts[~running], **dict(zip(("oi", "oi_base", "oi_quote"), columns, strict=True))}
    return Answer(rows, int(ts.min()), int(ts[running].min()) if running.any() else None)


def trades(data: Sequence[Mapping[str, Any]], instrument: Instrument) -> Answer:
    """Return trades; sizes of contracts become base units by the contract's value."""
    if not data:
        return Answer(empty_rows("trades"), None)
    price, size = _field(data, "px"), _field(data, "sz")
    if instrument.kind != "spot":
        each = instrument.contract_value * (1.0 if np.isnan(instrument.multiplier) else instrument.multiplier)
        size = times(size, each)  # exactly: 3 contracts of 0.1 are 0.3, not 0.30000000000000004
        size = size / price if instrument.inverse else size
    identity = _times(data, "tradeId")
    rows = {
        "ts": _times(data, "ts"), "trade_id": identity, "price": price, "size": size,
        "side": np.array([row["side"] for row in data], dtype=object),
    }  # fmt: skip
    return Answer(rows, int(identity.min()))


def instruments(data: Sequence[Mapping[str, Any]]) -> list[Instrument]:
    """Return instruments; a row before its opening may hold little more than its name."""
    return [_instrument(row) for row in data]


def _instrument(row: Mapping[str, Any]) -> Instrument:
    def text(name: str) -> str:
        return _text(row.get(name))

    kind = TYPES.get(text("instType"))
    if kind is None or not text("instId"):
        raise VenueError(f"OKX lists an instrument without type or name: {dict(row)!r}")
    contract = kind != "spot"
    inverse = text("ctType") == "inverse"
    base, _, quote = text("uly").partition("-") if contract else (text("baseCcy"), "", text("quoteCcy"))
    return Instrument(
        symbol=text("instId"), kind=kind, base=base, quote=quote, settle=text("settleCcy"), inverse=inverse,
        listed=_moment(text("contTdSwTime")) or _moment(text("listTime")), delisted=_moment(text("expTime")),
        state=text("state"), tick=_number(text("tickSz")), lot=_number(text("lotSz")), minimum=_number(text("minSz")),
        contract_value=_number(text("ctVal")), multiplier=_number(text("ctMult")),
        maximum=_number(text("maxMktSz")) if contract else _NAN,  # of a spot pair it counts money, not coins
        maximum_value=_NAN if contract else _number(text("maxMktAmt")), raw=dict(row),
    )  # fmt: skip


def position_tiers(data: Sequence[Mapping[str, Any]]) -> list[Tier]:
    """Return the tiers of a contract, small ones first.

    >>> row = {"tier": "1", "minSz": "0", "maxSz": "1000", "mmr": "0.004", "imr": "0.01", "maxLever": "100"}
    >>> position_tiers([row])
    [Tier(up_to=1000.0, mmr=0.004, max_leverage=100.0)]
    """
    return sorted(map(Tier.of_venue, data), key=lambda tier: tier.up_to)


def last_prices(data: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return the last price of each ticker, by id.

    >>> last_prices([{"instId": "BTC-USDT", "last": "109560.1"}, {"instId": "NEW-USDT", "last": ""}])
    {'BTC-USDT': 109560.1, 'NEW-USDT': nan}
    """
    return {str(row["instId"]): _number(_text(row.get("last"))) for row in data}


def _table(data: Sequence[Sequence[str]], width: int, what: str) -> np.ndarray:
    """Return rows of strings as columns of strings."""
    widths = {len(row) if isinstance(row, list) else -1 for row in data}
    if widths != {width}:
        wrong = next(row for row in data if not isinstance(row, list) or len(row) != width)
        raise VenueError(f"a {what} row of OKX has {width} fields; received {wrong!r}")
    return np.array(data, dtype=str).T


def _final(table: np.ndarray) -> tuple[np.ndarray, int, int | None]:
    """Tell which rows are final (the last field is confirm), the oldest of all, and the first that is not final."""
    ts, final = table[0].astype(np.int64), table[-1] == "1"
    return final, int(ts.min()), None if final.all() else int(ts[~final].min())


def _floats(column: np.ndarray) -> np.ndarray:
    return np.where(column == "", "nan", column).astype(np.float64)


def _field(data: Sequence[Mapping[str, Any]], name: str) -> np.ndarray:
    return _floats(np.array([_text(row.get(name)) for row in data], dtype=str))


def _times(data: Sequence[Mapping[str, Any]], name: str) -> np.ndarray:
    return np.array([row[name] for row in data], dtype=str).astype(np.int64)


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _number(text: str) -> float:
    return float(text) if text else _NAN


def _moment(text: str) -> int | None:
    return int(text) if text else None
