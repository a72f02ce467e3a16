"""The OKX v5 REST dialect: a path and its parameters in, rows as the venue writes them out.

    answer("/api/v5/market/candles", {"instId": "BTC-USDT", "bar": "1H"}, View(market, now))
        -> ['["1747094040000","102806.1",...,"1"]', ...]        newest first, each row a piece of JSON
    raises Refusal("51001", "Instrument ID ... doesn't exist.", 200)

Every number is a string, an unknown value is "", unknown parameters are ignored, and what is asked beyond the page
limit of an endpoint is cut without a word, as the venue does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from qlib.crypto.venues.fake import files, quotes
from qlib.crypto.venues.fake.bars import (
    CANDLES,
    HOUR,
    MARKED,
    PERIODS,
    PRICES,
    Bars,
    number,
    text,
    window,
)
from qlib.crypto.venues.fake.market import TYPES, candle_columns
from qlib.crypto.venues.fake.view import Refusal, View, dumps

LATEST: Final = 1 << 62  # no number of the venue is larger, and no array holds larger ones
RECENT: Final = 1440  # bars that /market/candles and its like reach back
Params = Mapping[str, str]


def _parameter(name: str) -> Refusal:
    return Refusal("51000", f"Parameter {name} error", 400)


def _unknown(name: str = "Instrument ID") -> Refusal:
    return Refusal("51001", f"{name}, Instrument ID code, or Spread ID doesn't exist.")


def rows_of(columns: list[list[str]]) -> list[str]:
    """Columns of strings (ascending) to rows of JSON, newest first."""
    return [f'["{row}"]' for row in map('","'.join, zip(*columns, strict=True))][::-1]


def _needed(params: Params, name: str) -> str:
    value = params.get(name, "")
    if not value:
        raise Refusal("50014", f"Parameter {name} can not be empty.", 400)
    return value


def _moment(params: Params, name: str) -> int | None:
    value = params.get(name, "")
    if not value:
        return None
    if not value.isdecimal():
        raise _parameter(name)
    return min(int(value), LATEST)


def _limit(view: View, path: str, params: Params) -> int:
    endpoint = ENDPOINTS[path]
    most = view.page_limits.get(path.removeprefix(PREFIX), endpoint.most)
    asked = params.get("limit", "")
    if not asked:
        return min(endpoint.default, most)
    if not asked.isdecimal() or int(asked) == 0:
        raise _parameter("limit")
    return min(int(asked), most)


def _instrument(view: View, params: Params, kinds: tuple[str, ...] = TYPES) -> str:
    name = _needed(params, "instId")
    market = view.market
    if name not in market.instruments or not market.listed(name, view.now):
        raise _unknown()
    if market.instruments[name]["instType"] not in kinds:
        raise Refusal("51015", f"Instrument ID does not match instrument type. {name}")
    if not market.traded(name, view.now):
        raise Refusal("51021", "The currency pair or contract is yet to be listed")
    return name


def _bar(params: Params, allowed: frozenset[str], name: str = "bar", default: str = "1m") -> str:
    bar = params.get(name, "") or default
    if bar not in allowed:
        raise _parameter(name)
    return bar


def _kind(params: Params) -> str:
    kind = _needed(params, "instType")
    if kind not in TYPES:
        raise _parameter("instType")
    return kind


def _family(row: Mapping[str, Any], params: Params) -> bool:
    wanted = {"instFamily": params.get("instFamily", ""), "uly": params.get("uly", ""), "instId": params.get("instId")}
    return all(not value or row[key] == value for key, value in wanted.items())


# --- instruments, time, status


def _instruments(view: View, path: str, params: Params) -> list[str]:
    kind = _kind(params)
    if kind == "OPTION" and not (params.get("instFamily") or params.get("uly")):
        raise Refusal("50015", "Either parameter instFamily or uly is required.", 400)
    market = view.market
    rows = [
        market.row(name, view.now)
        for name, row in market.instruments.items()
        if row["instType"] == kind and _family(row, params) and market.listed(name, view.now)
    ]
    if params.get("instId") and not rows:
        raise _unknown()
    return [dumps(row) for row in rows]


def _time(view: View, path: str, params: Params) -> list[str]:
    return [dumps({"ts": str(view.now)})]


def _status(view: View, path: str, params: Params) -> list[str]:
    state = params.get("state", "")
    if state not in {"", "scheduled", "ongoing", "pre_open", "completed", "canceled"}:
        raise _parameter("state")
    return []


# --- bars


def _page(view: View, path: str, params: Params, bars: Bars, first: int, last: int) -> tuple[slice, bool]:
    """The rows of the page, and whether the newest of them is still forming."""
    page = window(bars.ts, first, last, _moment(params, "after"), _moment(params, "before"), _limit(view, path, params))
    count = bars.seen(view.now)
    return page, page.stop == count > page.start and bars.forming(view.now)


def _cut(bars: Bars, page: slice, forming: bool, now: int) -> dict[str, np.ndarray]:
    rows = {name: values[page] for name, values in bars.columns.items()}
    if forming:
        partial = bars.so_far(now)
        rows = {name: np.r_[values[:-1], partial[name]] for name, values in rows.items()}
    return rows


def _confirm(count: int, forming: bool) -> list[str]:
    return ["1"] * (count - forming) + ["0"] * forming


def _life(view: View, bars: Bars, name: str) -> tuple[int, int]:
    return 0, min(view.span(name, bars.ts)[1], bars.seen(view.now))


def _candles(view: View, path: str, params: Params) -> list[str]:
    name = _instrument(view, params)
    bar = _bar(params, CANDLES)
    bars = view.market.bars("candles", name, bar)
    _limit(view, path, params)
    if bars is None:
        return []
    first, last = _life(view, bars, name)
    if path.endswith("/candles"):
        first = max(first, last - RECENT)
    elif bar == "1s":
        first = max(first, int(bars.ts.searchsorted(view.since("1s"), "left")))
    page, forming = _page(view, path, params, bars, first, last)
    rows = _cut(bars, page, forming, view.now)
    ts = bars.ts[page]
    return rows_of([text(ts), *candle_columns(view.market, name, rows), _confirm(len(ts), forming)])


def _prices(view: View, path: str, params: Params) -> list[str]:
    """Mark-price and index candles: six fields, no volume."""
    kind = "index" if "index" in path else "mark"
    if kind == "mark":
        name = _instrument(view, params)
    else:
        name = _needed(params, "instId")
        if name not in view.market.indices():
            raise Refusal("51014", "Index doesn't exist.")
    bar = _bar(params, MARKED)
    bars = view.market.bars(kind, name, bar)
    _limit(view, path, params)
    if bars is None:
        return []
    first, last = _life(view, bars, name) if kind == "mark" else (0, bars.seen(view.now))
    if "history" not in path:
        first = max(first, last - RECENT)
    page, forming = _page(view, path, params, bars, first, last)
    rows = _cut(bars, page, forming, view.now)
    ts = bars.ts[page]
    return rows_of([text(ts), *(text(rows[column]) for column in PRICES), _confirm(len(ts), forming)])


# --- funding and open interest


def _funding_history(view: View, path: str, params: Params) -> list[str]:
    name = _instrument(view, params, ("SWAP", "FUTURES"))
    limit, after, before = _limit(view, path, params), _moment(params, "after"), _moment(params, "before")
    table = view.market.funding.get(name)
    if table is None:
        return []
    ts = table["ts"]
    first, last = view.span(name, ts)
    first = max(first, int(ts.searchsorted(view.since("funding"), "left")))
    page = window(ts, first, last, after, before, limit)
    kind = view.market.instruments[name]["instType"]
    rows = zip(text(ts[page]), text(table["rate"][page]), text(table["predicted_rate"][page]), strict=True)
    return [
        dumps(
            {
                "formulaType": "noRate",
                "fundingRate": predicted,
                "fundingTime": at,
                "instId": name,
                "instType": kind,
                "method": "current_period",
                "realizedRate": rate,
            }
        )
        for at, rate, predicted in rows
    ][::-1]


def funding_now(view: View, name: str) -> dict[str, str]:
    """The row of /public/funding-rate: the rate predicted for the next settlement."""
    table = view.market.funding[name]
    ts, count = table["ts"], int(table["ts"].searchsorted(view.now, "right"))
    step = int(np.diff(ts[max(0, count - 2) : count + 1]).min(initial=8 * HOUR)) if len(ts) else 8 * HOUR
    latest = int(ts[count - 1]) if count else view.now // (8 * HOUR) * 8 * HOUR
    due = [int(at) for at in ts[count : count + 2]]
    while len(due) < 2:
        due.append((due[-1] if due else latest) + step)
    row = min(count, len(ts) - 1)
    predicted = number(float(table["predicted_rate"][row])) if len(ts) else ""
    return {
        "formulaType": "noRate",
        "fundingRate": predicted,
        "fundingTime": str(due[0]),
        "impactValue": "",
        "instId": name,
        "instType": view.market.instruments[name]["instType"],
        "interestRate": "0.0001",
        "maxFundingRate": "0.015",
        "method": "current_period",
        "minFundingRate": "-0.015",
        "nextFundingRate": "",
        "nextFundingTime": str(due[1]),
        "premium": "",
        "settFundingRate": number(float(table["rate"][count - 1])) if count else "",
        "settState": "settled",
        "ts": str(view.now),
    }


def _funding(view: View, path: str, params: Params) -> list[str]:
    market = view.market
    if params.get("instId") == "ANY":
        names = [name for name in market.funding if market.traded(name, view.now)]
    else:
        names = [_instrument(view, params, ("SWAP", "FUTURES"))]
    return [dumps(funding_now(view, name)) for name in names if name in market.funding]


def interest_now(view: View, name: str) -> dict[str, str] | None:
    """The row of /public/open-interest, None if nothing is known."""
    given = sorted(key for key in view.market.oi if key[0] == name)
    if not given:
        return None
    table = min((view.market.oi[key] for key in given), key=lambda t: int(np.diff(t["ts"]).min(initial=1 << 60)))
    row = int(table["ts"].searchsorted(view.now, "right")) - 1
    if row < 0:
        return None
    return {
        "instId": name,
        "instType": view.market.instruments[name]["instType"],
        "oi": number(float(table["oi"][row])),
        "oiCcy": number(float(table["oi_base"][row])),
        "oiUsd": number(float(table["oi_quote"][row])),
        "ts": str(view.now),
    }


def _interest(view: View, path: str, params: Params) -> list[str]:
    market, kind = view.market, _kind(params)
    if params.get("instId"):
        _instrument(view, params)
    rows = [
        interest_now(view, name)
        for name, row in market.instruments.items()
        if row["instType"] == kind and _family(row, params) and market.traded(name, view.now)
    ]
    return [dumps(row) for row in rows if row is not None]


def _interest_history(view: View, path: str, params: Params) -> list[str]:
    name = _instrument(view, params, ("SWAP", "FUTURES"))
    period = _bar(params, PERIODS, "period", "5m")
    limit, begin, end = _limit(view, path, params), _moment(params, "begin"), _moment(params, "end")
    table = view.market.interest(name, period)
    if table is None:
        return []
    page = window(table["ts"], *view.span(name, table["ts"]), end, begin, limit)
    return rows_of([text(table[column][page]) for column in ("ts", "oi", "oi_base", "oi_quote")])


# --- quotes and trades


def _traded(view: View, kind: str, params: Params) -> list[str]:
    """Instruments of one type that trade now and have the family that is asked."""
    market = view.market
    return [
        name
        for name, row in market.instruments.items()
        if row["instType"] == kind and _family(row, params) and market.traded(name, view.now)
    ]


def _tickers(view: View, path: str, params: Params) -> list[str]:
    return [dumps(quotes.ticker(view, name)) for name in _traded(view, _kind(params), params)]


def _ticker(view: View, path: str, params: Params) -> list[str]:
    return [dumps(quotes.ticker(view, _instrument(view, params)))]


def _index_tickers(view: View, path: str, params: Params) -> list[str]:
    name, quote = params.get("instId", ""), params.get("quoteCcy", "")
    if not (name or quote):
        raise Refusal("50015", "Either parameter instId or quoteCcy is required.", 400)
    if name and name not in view.market.indices():
        raise Refusal("51014", "Index doesn't exist.")
    names = [name] if name else sorted(view.market.indices())
    return [dumps(quotes.index_ticker(view, name)) for name in names if name.endswith(f"-{quote}" if quote else "")]


def _mark_price(view: View, path: str, params: Params) -> list[str]:
    kind = _kind(params)
    if kind == "SPOT":
        raise _parameter("instType")
    if params.get("instId"):
        _instrument(view, params)
    names = [name for name in _traded(view, kind, params) if view.market.smallest("mark", name) is not None]
    return [dumps(quotes.mark_price(view, name)) for name in names]


def _price_limit(view: View, path: str, params: Params) -> list[str]:
    return [dumps(quotes.price_limit(view, _instrument(view, params)))]


def _books(view: View, path: str, params: Params) -> list[str]:
    full = path.endswith("-full")
    name, asked = _instrument(view, params), params.get("sz", "") or "1"
    if not asked.isdecimal() or int(asked) == 0:
        raise _parameter("sz")
    state = quotes.book(view, name, min(int(asked), 5000 if full else 400))
    sides = {"asks": state.asks, "bids": state.bids}
    if full:
        sides = {side: [[level[0], level[1], level[3]] for level in levels] for side, levels in sides.items()}
    told = sides | {"ts": str(state.ts)}
    return [dumps(told if full else told | {"seqId": state.seq})]


def _trades(view: View, path: str, params: Params) -> list[str]:
    name, limit = _instrument(view, params), _limit(view, path, params)
    table = view.market.trades.get(name)
    if table is None:
        return []
    first, last = view.span(name, table["ts"])
    page = slice(max(first, last - limit), last)
    return [dumps(row) for row in quotes.trade_rows(view, name, table, page)][::-1]


def _history_trades(view: View, path: str, params: Params) -> list[str]:
    name, limit = _instrument(view, params), _limit(view, path, params)
    kind, after, before = params.get("type", "") or "1", _moment(params, "after"), _moment(params, "before")
    if kind not in {"1", "2"}:
        raise _parameter("type")
    if kind == "2" and before is not None:
        raise Refusal("50039", "before is not supported for timestamp pagination")
    table = view.market.trades.get(name)
    if table is None:
        return []
    first, last = view.span(name, table["ts"])
    first = max(first, int(table["ts"].searchsorted(view.since("trades"), "left")))
    page = window(table["trade_id" if kind == "1" else "ts"], first, last, after, before, limit)
    return [dumps(row) for row in quotes.trade_rows(view, name, table, page, source=True)][::-1]


# --- margin


def _tiers(view: View, path: str, params: Params) -> list[str]:
    kind = _kind(params)
    if _needed(params, "tdMode") not in {"cross", "isolated"}:
        raise _parameter("tdMode")
    if not any(params.get(key) for key in ("instFamily", "uly", "instId", "ccy")):
        raise Refusal("50015", "Either parameter instFamily or instId is required.", 400)
    families = {value for key in ("instFamily", "uly") for value in params.get(key, "").split(",") if value}
    names = set(params.get("instId", "").split(","))
    told = []
    for name, row in view.market.instruments.items():
        if row["instType"] == kind and (name in names or row["instFamily"] in families):
            told += _tiers_of(row, name)
    wanted = params.get("tier", "")
    return [dumps(tier) for tier in told if not wanted or tier["tier"] == wanted]


def _tiers_of(row: Mapping[str, Any], name: str) -> list[dict[str, str]]:
    """Five tiers: every next one is five times as wide and asks twice the margin of the first."""
    most = float(row["lever"] or 10)
    spot = row["instType"] in {"SPOT", "MARGIN"}
    tiers = []
    for tier in range(1, 6):
        lever = most / tier
        low, high = (1000 * 5 ** (tier - 2) if tier > 1 else 0), 1000 * 5 ** (tier - 1)
        tiers.append(
            {
                "baseMaxLoan": number(high / 20) if spot else "",
                "imr": number(round(1 / lever, 8)),
                "instFamily": row["instFamily"],
                "instId": name if spot else "",
                "maxLever": number(lever),
                "maxSz": number(high),
                "minSz": number(low),
                "mmr": number(round(0.4 / lever, 8)),
                "optMgnFactor": "0",
                "quoteMaxLoan": number(high * 500) if spot else "",
                "tier": str(tier),
                "uly": row["uly"],
            }
        )
    return tiers


def _premium(view: View, path: str, params: Params) -> list[str]:
    """Premium of the mark price over the index, at the ends of the smallest bars."""
    name, limit = _instrument(view, params, ("SWAP", "FUTURES")), _limit(view, path, params)
    after, before = _moment(params, "after"), _moment(params, "before")
    market = view.market
    mark, index = market.smallest("mark", name), market.smallest("index", market.instruments[name]["uly"])
    if mark is None or index is None:
        return []
    ts, here, there = np.intersect1d(mark.ts[: mark.final(view.now)], index.ts, return_indices=True)
    premium = np.round(mark.columns["close"][here] / index.columns["close"][there] - 1, 10)
    first = int(ts.searchsorted(view.since("premium"), "left"))
    page = window(ts, first, len(ts), after, before, limit)
    rows = zip(text(premium[page]), text(ts[page]), strict=True)
    return [dumps({"instId": name, "premium": value, "ts": at}) for value, at in rows][::-1]


def _files(view: View, path: str, params: Params) -> list[str]:
    return files.listing(view, params)


# --- the list of endpoints

PREFIX: Final = "/api/v5/"
Handler = Callable[[View, str, Params], list[str]]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One path: who answers, requests per window of `seconds`, what shares the count with the IP, page limits."""

    handler: Handler
    requests: int
    seconds: float = 2.0
    per: tuple[str, ...] = ()
    most: int = 0
    default: int = 0


ENDPOINTS: Final[dict[str, Endpoint]] = {
    PREFIX + path: endpoint
    for path, endpoint in {
        "public/instruments": Endpoint(_instruments, 20, per=("instType",)),
        "public/time": Endpoint(_time, 10),
        "system/status": Endpoint(_status, 1, 5.0),
        "market/candles": Endpoint(_candles, 40, most=300, default=100),
        "market/history-candles": Endpoint(_candles, 20, most=300, default=100),
        "market/mark-price-candles": Endpoint(_prices, 20, most=100, default=100),
        "market/history-mark-price-candles": Endpoint(_prices, 20, most=100, default=100),
        "market/index-candles": Endpoint(_prices, 20, most=100, default=100),
        "market/history-index-candles": Endpoint(_prices, 10, most=100, default=100),
        "public/funding-rate": Endpoint(_funding, 10, per=("instId",)),
        "public/funding-rate-history": Endpoint(_funding_history, 10, per=("instId",), most=400, default=400),
        "public/open-interest": Endpoint(_interest, 20, per=("instId",)),
        "market/tickers": Endpoint(_tickers, 20),
        "market/ticker": Endpoint(_ticker, 20),
        "market/index-tickers": Endpoint(_index_tickers, 20),
        "market/books": Endpoint(_books, 40),
        "market/books-full": Endpoint(_books, 10),
        "market/trades": Endpoint(_trades, 100, most=500, default=100),
        "market/history-trades": Endpoint(_history_trades, 20, most=100, default=100),
        "public/mark-price": Endpoint(_mark_price, 10, per=("instId",)),
        "public/price-limit": Endpoint(_price_limit, 20),
        "public/position-tiers": Endpoint(_tiers, 10),
        "public/market-data-history": Endpoint(_files, 5),
        "public/premium-history": Endpoint(_premium, 20, most=100, default=100),
        "rubik/stat/contracts/open-interest-history": Endpoint(_interest_history, 10, most=100, default=100),
    }.items()
}


def answer(path: str, params: Params, view: View) -> list[str]:
    """Rows that the venue answers, each a piece of JSON.

    Raises
    ------
    Refusal
        The venue's error: an unknown path (404), parameters it cannot use, an instrument it does not know.
    """
    endpoint = ENDPOINTS.get(path)
    if endpoint is None:
        raise Refusal("404", "Not Found", 404)
    return endpoint.handler(view, path, params)


__all__ = ["ENDPOINTS", "PREFIX", "Endpoint", "Refusal", "View", "answer", "dumps", "rows_of"]
