"""The CoinGecko v3 dialect: coins, their rank today, and what their past looks like from here.

    coins = Coins([{"id": "bitcoin", "symbol": "btc", "name": "Bitcoin"}],
                  history={"bitcoin": frame})              columns ts, price, market_cap, volume (US dollars)
    coins.answer("/coins/markets", {"vs_currency": "usd"}, now)        -> rows of JSON, highest market cap first

A coin with a history shows its newest values at `now`, and does not exist before them; a coin without one shows the
fields of its row for ever. Numbers are JSON numbers, and any of them may be null. A row may say `inactive_since` (ms):
from then on the coin is listed only under `status=inactive`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
import pandas as pd

from qlib.crypto.venues.fake.bars import DAY, HOUR, MINUTE
from qlib.errors import InputError, did_you_mean

PREFIX: Final = "/api/v3"
REACH: Final = 365 * DAY
LATE: Final = 35 * MINUTE  # after midnight, until the value of midnight is out
_VALUES: Final = ("price", "market_cap", "volume")
_FIELDS: Final = (
    "current_price", "market_cap", "market_cap_rank", "fully_diluted_valuation", "total_volume", "high_24h", "low_24h",
    "price_change_24h", "price_change_percentage_24h", "market_cap_change_24h", "market_cap_change_percentage_24h",
    "circulating_supply", "total_supply", "max_supply", "ath", "ath_change_percentage", "ath_date", "atl",
    "atl_change_percentage", "atl_date", "roi", "last_updated",
)  # fmt: skip
_ORDERS: Final = {
    "market_cap_desc": ("market_cap", True), "market_cap_asc": ("market_cap", False),
    "volume_desc": ("total_volume", True), "volume_asc": ("total_volume", False),
    "id_desc": ("id", True), "id_asc": ("id", False),
}  # fmt: skip
_CHANGES: Final = {"1h": HOUR} | {f"{n}d": n * DAY for n in (7, 14, 30, 200)} | {"24h": DAY, "1y": 365 * DAY}
_OHLC: Final = {"1": 30 * MINUTE} | dict.fromkeys(("7", "14", "30"), 4 * HOUR)
_OHLC_LONG: Final = dict.fromkeys(("90", "180", "365"), 4 * DAY)
_TOO_OLD: Final = (
    "Your request exceeds the allowed time range. Public API users are limited to querying historical data "
    "within the past 365 days."
)

Params = Mapping[str, str]


class CoinRefusal(Exception):  # noqa: N818 - an answer of the service, not an error of this program
    """An answer that is an error: its HTTP status and its body."""

    def __init__(self, status: int, body: dict[str, Any]) -> None:
        super().__init__(f"{status}: {body}")
        self.status, self.body = status, body


def _refused(status: int, words: str) -> CoinRefusal:
    return CoinRefusal(status, {"error": words})


def status_refused(status: int, code: int, words: str) -> CoinRefusal:
    """A refusal in the form that rate limits and plans use."""
    return CoinRefusal(status, {"status": {"error_code": code, "error_message": words}})


def iso(ms: int) -> str:
    """Milliseconds as the service writes moments: 2025-11-03T12:00:00.000Z."""
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _number(value: float) -> float | int | None:
    if not np.isfinite(value):
        return None
    return int(value) if value == int(value) and abs(value) < 1 << 53 else value


def _plain(value: Any) -> Any:
    """A value of a row as JSON can say it: numbers out of numpy, NaN as null."""
    if isinstance(value, float | np.floating | np.integer):
        return _number(float(value))
    return None if value is pd.NaT or value is pd.NA else value


class _Past:
    """History of one coin: times ascending, three arrays of values."""

    def __init__(self, name: str, frame: pd.DataFrame) -> None:
        missing = [column for column in ("ts", *_VALUES) if column not in frame.columns]
        if missing:
            raise InputError(f"history of coin {name!r}: no column {missing[0]!r} in {list(frame.columns)}")
        self.ts = frame["ts"].to_numpy(np.int64)
        if (np.diff(self.ts) <= 0).any():
            raise InputError(f"history of coin {name!r}: times must ascend")
        self.values = {column: frame[column].to_numpy(np.float64) for column in _VALUES}

    def at(self, moments: np.ndarray | int) -> np.ndarray:
        """Row that holds at each moment, -1 before the first."""
        return np.asarray(self.ts.searchsorted(moments, "right")) - 1


class Coins:
    """All coins the service ever knew.

    Parameters
    ----------
    rows
        One mapping (or a frame with one row) per coin: id, symbol, name, and any field of /coins/markets.
    history
        Per id a frame of ts (ms UTC), price, market_cap, volume in US dollars; NaN is unknown.
    """

    def __init__(
        self,
        rows: Iterable[Mapping[str, Any]] | pd.DataFrame = (),
        history: Mapping[str, pd.DataFrame] | None = None,
    ) -> None:
        given: Iterable[Mapping[Any, Any]] = rows.to_dict("records") if isinstance(rows, pd.DataFrame) else rows
        self.rows: dict[str, dict[str, Any]] = {}
        for row in given:
            for key in ("id", "symbol", "name"):
                if not isinstance(row.get(key), str):
                    raise InputError(f"a coin of the fake venue needs {key!r}, got {dict(row)}")
            self.rows[row["id"]] = {str(key): _plain(value) for key, value in row.items()}
        unknown = sorted(set(history or {}) - set(self.rows))
        if unknown:
            raise InputError(f"history of coin {unknown[0]!r}: no such coin{did_you_mean(unknown[0], self.rows)}")
        self.past = {name: _Past(name, frame) for name, frame in (history or {}).items()}

    def answer(self, path: str, params: Params, now: int, reach: int | None = REACH) -> list[str] | str:
        """JSON that the service answers: rows of a list, or one object.

        Raises
        ------
        CoinRefusal
            What the service answers to a path, a coin or a parameter it cannot use.
        """
        parts = path.strip("/").split("/")
        simple: dict[str, Callable[[Params, int], list[str] | str]] = {
            "ping": self._ping,
            "coins/list": self._list,
            "coins/markets": self._markets,
            "global": self._global,
        }
        if "/".join(parts) in simple:
            return simple["/".join(parts)](params, now)
        of_one: dict[tuple[str, ...], Callable[[str, Params, int, int | None], list[str] | str]] = {
            ("market_chart",): self._chart,
            ("market_chart", "range"): self._range,
            ("history",): self._history,
            ("ohlc",): self._ohlc,
        }
        if len(parts) > 2 and parts[0] == "coins" and tuple(parts[2:]) in of_one:
            if parts[1] not in self.rows or not self._known(parts[1], now):
                raise _refused(404, "coin not found")
            return of_one[tuple(parts[2:])](parts[1], params, now, reach)
        raise _refused(404, "Incorrect path. Please check https://docs.coingecko.com/")

    def _known(self, name: str, now: int) -> bool:
        return name not in self.past or int(self.past[name].at(now)) >= 0

    def _active(self, name: str, now: int) -> bool:
        since = self.rows[name].get("inactive_since")
        return self._known(name, now) and (since is None or now < since)

    def _ping(self, params: Params, now: int) -> str:
        return json.dumps({"gecko_says": "(V3) To the Moon!"})

    def _list(self, params: Params, now: int) -> list[str]:
        status = params.get("status", "active")
        if status not in {"active", "inactive"}:
            raise _refused(400, "Invalid status")
        rows = []
        for name, row in self.rows.items():
            if self._known(name, now) and self._active(name, now) == (status == "active"):
                told = {key: row[key] for key in ("id", "symbol", "name")}
                if params.get("include_platform") == "true":
                    told["platforms"] = row.get("platforms") or {}
                rows.append(json.dumps(told))
        return rows

    def _row(self, name: str, now: int) -> dict[str, Any]:
        row = self.rows[name]
        told = {"id": name, "symbol": row["symbol"], "name": row["name"], "image": row.get("image", "")}
        told |= {field: row.get(field) for field in _FIELDS}
        told["last_updated"] = told["last_updated"] or iso(now)
        past = self.past.get(name)
        if past is not None:
            here = int(past.at(now))
            price, cap, volume = (float(past.values[column][here]) for column in _VALUES)
            told |= {"current_price": _number(price), "market_cap": _number(cap), "total_volume": _number(volume)}
            told["circulating_supply"] = _number(cap / price) if price > 0 else None
            told["price_change_percentage_24h"] = self._change(past, here, now - DAY)
            known = past.values["price"][: here + 1]
            if np.isfinite(known).any():
                best, worst = int(np.nanargmax(known)), int(np.nanargmin(known))
                told |= {"ath": _number(float(known[best])), "ath_date": iso(int(past.ts[best]))}
                told |= {"atl": _number(float(known[worst])), "atl_date": iso(int(past.ts[worst]))}
        return told

    @staticmethod
    def _change(past: _Past, here: int, then: int) -> float | int | None:
        row = int(past.at(then))
        if row < 0:
            return None
        prices = past.values["price"]
        return _number(float(prices[here] / prices[row] - 1) * 100) if prices[row] > 0 else None

    def _markets(self, params: Params, now: int) -> list[str]:
        self._currency(params)
        order = params.get("order", "") or "market_cap_desc"
        if order not in _ORDERS:
            raise _refused(400, "Invalid order")
        page, size = (_count(params, name, default) for name, default in (("page", 1), ("per_page", 100)))
        size = min(size, 250)
        rows = [self._row(name, now) for name in self.rows if self._active(name, now)]
        ranked = sorted((row for row in rows if row["market_cap"]), key=lambda row: -row["market_cap"])
        for rank, row in enumerate(ranked, 1):
            row["market_cap_rank"] = row["market_cap_rank"] or rank
        for key, column in (("ids", "id"), ("symbols", "symbol"), ("names", "name")):
            if params.get(key):
                wanted = {value.strip().lower() for value in params[key].split(",")}
                rows = [row for row in rows if row[column].lower() in wanted]
        column, down = _ORDERS[order]
        known = sorted((row for row in rows if row[column] is not None), key=lambda row: row[column], reverse=down)
        rows = (known + [row for row in rows if row[column] is None])[(page - 1) * size : page * size]
        for row in rows:
            self._extra(row, params, now)
        return [json.dumps(row) for row in rows]

    def _extra(self, row: dict[str, Any], params: Params, now: int) -> None:
        past = self.past.get(row["id"])
        for span in filter(None, params.get("price_change_percentage", "").split(",")):
            if span not in _CHANGES:
                raise _refused(400, "Invalid price_change_percentage")
            change = None if past is None else self._change(past, int(past.at(now)), now - _CHANGES[span])
            row[f"price_change_percentage_{span}_in_currency"] = change
        if params.get("sparkline") == "true":
            hours = np.arange(now - 7 * DAY, now, HOUR)
            row["sparkline_in_7d"] = {"price": [] if past is None else [p for _, p in _points(past, hours, "price")]}

    def _currency(self, params: Params) -> None:
        if not params.get("vs_currency"):
            raise _refused(422, "Missing parameter vs_currency")
        if params["vs_currency"].lower() != "usd":
            raise _refused(400, "invalid vs_currency")

    def _global(self, params: Params, now: int) -> str:
        rows = [self._row(name, now) for name in self.rows if self._active(name, now)]
        cap = sum(row["market_cap"] or 0 for row in rows)
        largest = sorted(rows, key=lambda row: -(row["market_cap"] or 0))[:10]
        return json.dumps(
            {
                "data": {
                    "active_cryptocurrencies": len(rows),
                    "upcoming_icos": 0,
                    "ongoing_icos": 49,
                    "ended_icos": 3376,
                    "markets": 1200,
                    "total_market_cap": {"usd": cap},
                    "total_volume": {"usd": sum(row["total_volume"] or 0 for row in rows)},
                    "market_cap_percentage": {r["symbol"]: (r["market_cap"] or 0) / cap * 100 for r in largest if cap},
                    "market_cap_change_percentage_24h_usd": None,
                    "volume_change_percentage_24h_usd": None,
                    "updated_at": now // 1000,
                }
            }
        )

    def _chart(self, name: str, params: Params, now: int, reach: int | None) -> str:
        self._currency(params)
        days = params.get("days", "")
        if not days:
            raise _refused(422, "Missing parameter days")
        past = self.past.get(name)
        if days == "max":
            first = int(past.ts[0]) if past is not None else now
            span = max(DAY, now - first) if reach is None else 1 << 62
        elif days.isdecimal() and int(days) > 0:
            span = int(days) * DAY
        else:
            raise _refused(400, "invalid days")
        if reach is not None and span > reach:
            raise CoinRefusal(401, {"error": {"status": {"error_code": 10012, "error_message": _TOO_OLD}}})
        return self._series(name, now - span, now, now, params.get("interval", ""))

    def _range(self, name: str, params: Params, now: int, reach: int | None) -> str:
        self._currency(params)
        first, last = (_unix(params, key) for key in ("from", "to"))
        if reach is not None and first < now - reach - DAY:
            raise CoinRefusal(401, {"error": {"status": {"error_code": 10012, "error_message": _TOO_OLD}}})
        return self._series(name, first, min(last, now), now, params.get("interval", ""))

    def _series(self, name: str, first: int, last: int, now: int, interval: str) -> str:
        """Three lists of [ms, value], oldest first: every 5 minutes, hourly or daily by the length of the window."""
        if interval not in {"", "hourly", "daily", "5m"}:
            raise _refused(400, "invalid interval")
        past, span = self.past.get(name), last - first
        first = max(first, int(past.ts[0]) if past is not None else last)  # nothing was before
        step = {"": 0, "5m": 5 * MINUTE, "hourly": HOUR, "daily": DAY}[interval]
        step = step or (5 * MINUTE if span <= DAY else HOUR if span <= 90 * DAY else DAY)
        moments = np.arange(-(-first // step) * step, last + 1, step, dtype=np.int64)
        if step < DAY:  # points lie a little after the full hour, never at the same second
            moments = moments + np.arange(len(moments)) * 7919 % min(step, 180_000)
            moments = moments[moments < last]
        elif len(moments) and now - moments[-1] < LATE:
            moments = moments[:-1]
        if last == now:
            moments = np.unique(np.r_[moments, now])
        columns = dict(zip(("prices", "market_caps", "total_volumes"), _VALUES, strict=True))
        return json.dumps(
            {key: [] if past is None else _points(past, moments, column) for key, column in columns.items()}
        )

    def _history(self, name: str, params: Params, now: int, reach: int | None) -> str:
        try:
            midnight = datetime.strptime(params.get("date", ""), "%d-%m-%Y").replace(tzinfo=UTC)
        except ValueError:
            raise _refused(400, "invalid date") from None
        moment = int(midnight.timestamp()) * 1000
        if reach is not None and moment < now - reach:
            raise CoinRefusal(401, {"error": {"status": {"error_code": 10012, "error_message": _TOO_OLD}}})
        row, past = self.rows[name], self.past.get(name)
        told: dict[str, Any] = {"id": name, "symbol": row["symbol"], "name": row["name"], "localization": {}}
        here = -1 if past is None or moment + LATE > now else int(past.at(moment))
        if past is not None and here >= 0:
            fields = zip(("current_price", "market_cap", "total_volume"), _VALUES, strict=True)
            told["market_data"] = {key: {"usd": _number(float(past.values[column][here]))} for key, column in fields}
        return json.dumps(told)

    def _ohlc(self, name: str, params: Params, now: int, reach: int | None) -> list[str]:
        self._currency(params)
        days = params.get("days", "")
        past, step = self.past.get(name), (_OHLC | _OHLC_LONG).get(days)
        if step is None:
            raise _refused(400, "invalid days")
        if past is None:
            return []
        closes = np.arange(-(-(now - int(days) * DAY) // step) * step, now + 1, step, dtype=np.int64)
        rows = []
        for close in closes.tolist():
            first, last = int(past.at(close - step)), int(past.at(close))
            prices = past.values["price"][max(first, 0) : last + 1]
            if last >= 0 and np.isfinite(prices).all():
                rows.append([close, *(_number(float(p)) for p in (prices[0], prices.max(), prices.min(), prices[-1]))])
        return [json.dumps(row) for row in rows]


def _points(past: _Past, moments: np.ndarray, column: str) -> list[list[Any]]:
    rows = past.at(moments)
    values = past.values[column][rows[rows >= 0]].tolist()
    return [[at, _number(value)] for at, value in zip(moments[rows >= 0].tolist(), values, strict=True)]


def _count(params: Params, name: str, default: int) -> int:
    value = params.get(name, "")
    if not value:
        return default
    if not value.isdecimal() or int(value) == 0:
        raise _refused(400, f"invalid {name}")
    return int(value)


def _unix(params: Params, name: str) -> int:
    value = params.get(name, "")
    if not value:
        raise _refused(422, f"Missing parameter {name}")
    if value.isdecimal():
        return min(int(value), 1 << 40) * 1000
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise _refused(400, f"invalid {name}") from None
    return max(0, int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000))
