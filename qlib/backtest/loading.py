"""Quotes of an exchange, read in one query and laid out as (time x instrument) arrays.

`$change`, `$factor` and `$volume` may be absent from a store:

    $change    needed by a numeric price limit only; where no instrument has it, it is computed from the close
    $factor    prices of a market that never closes are real prices, so 1; elsewhere NaN, and real shares are unknown
    $volume    NaN
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from qlib.backtest.quote import NumpyQuote
from qlib.backtest.rules.known import doubt
from qlib.backtest.rules.limit import EXPRESSIONS, NUMBER
from qlib.backtest.rules.market import Market
from qlib.backtest.step import TINY_PRICE
from qlib.errors import ConfigError, MissingDataError
from qlib.log import get_module_logger

OPTIONAL = ("$change", "$factor", "$volume")
CHANGE = "$close/Ref($close,1)-1"
BEFORE = "Ref($close,1)"


def load_quotes(
    provider: Any,
    codes: Any,
    market: Market,
    subscribe_fields: Sequence[str],
    *,
    start_time: pd.Timestamp | None,
    end_time: pd.Timestamp | None,
    freq: str,
    extra_quote: pd.DataFrame | None = None,
    quote_cls: type[NumpyQuote] = NumpyQuote,
) -> NumpyQuote:
    """Return the quotes of `codes` from start to end with every field the market's rules need.

    The fields `limit_buy` and `limit_sell` (boolean: this side is blocked) are added. Raises MissingDataError when
    nothing at all is there to trade; warns of a limit that knows too much (`rules.known`).
    """
    if market.limit.kind == EXPRESSIONS:
        early = doubt(market, getattr(provider, "registry", None))
        if early is not None:
            get_module_logger("exchange").warning(early)
    universe = provider.instruments(codes) if isinstance(codes, str) else codes
    spans = None
    if isinstance(universe, Mapping):
        spans = provider.list_instruments(universe, start_time, end_time, freq)
        universe = list(spans)
    fields = list(dict.fromkeys((*market.fields, *subscribe_fields)))
    names = [field[1:] for field in OPTIONAL]
    panel, times = provider.panel(sorted(universe), fields, start_time, end_time, freq, optional=names)
    quote = _dense(quote_cls, panel, times, fields, freq)
    if spans is not None:
        _blank_outside(quote, spans)
    _fill_absent(provider, quote, market, times, freq)
    no_buy, no_sell = market.limit.blocked(quote.fields, _moved(provider, quote, market, times, freq))
    if market.fills is not None and market.fills.need_volume:
        dead = ~(quote.fields["$volume"] > 0)
        no_buy, no_sell = no_buy | dead, no_sell | dead
    quote.fields["limit_buy"], quote.fields["limit_sell"] = no_buy, no_sell
    if extra_quote is not None:
        quote = _with_extra(quote, extra_quote, market, quote_cls)
    if not len(quote.instruments) or not len(quote.times) or np.isnan(quote.fields["$close"]).all():
        raise MissingDataError(
            f"the exchange has no {freq} close of {_short(codes)} from {start_time} to {end_time}, and the calendar "
            f"has bars from {_ends(provider, freq)}: look at provider_uri, codes, freq and the dates"
        )
    return quote


def _ends(provider: Any, freq: str) -> str:
    """First and last bar of the calendar, in words."""
    bars = provider.locate(freq, False).stamps
    return f"{bars[0]} to {bars[-1]}" if len(bars) else "nowhere"


def _short(codes: Any) -> str:
    return str(codes) if isinstance(codes, str) or len(codes) <= 5 else f"{len(codes)} instruments"


def _dense(cls: type[NumpyQuote], panel: Any, times: np.ndarray, fields: Sequence[str], freq: str) -> NumpyQuote:
    """Scatter the panel's flat columns into (time x instrument) arrays."""
    count, length = len(panel.instruments), np.diff(panel.start)
    place = panel.positions() * count + np.repeat(np.arange(count), length)
    tables = {}
    for field in fields:
        table = np.full(len(times) * count, np.nan, dtype=np.float32)
        table[place] = panel.columns[field]
        tables[field] = table.reshape(len(times), count)
    span = np.stack([panel.first, panel.first + length], axis=1)
    return cls.from_arrays(times, panel.instruments, tables, span, freq)


def _blank_outside(quote: NumpyQuote, spans: Mapping[str, Sequence[tuple[Any, Any]]]) -> None:
    """Blank the bars in which an instrument does not belong to the universe."""
    for i, name in enumerate(quote.instruments):
        inside = [quote.rows(pd.Timestamp(start), pd.Timestamp(end)) for start, end in spans[name]]
        first, end = quote.span[i]
        if any(lo <= first and hi >= end for lo, hi in inside):
            continue
        outside = np.ones(len(quote.times), dtype=bool)
        for lo, hi in inside:
            outside[lo:hi] = False
        for table in quote.fields.values():
            table[outside, i] = np.nan
        kept = np.flatnonzero(~outside[first:end])
        quote.span[i] = (first + kept[0], first + kept[-1] + 1) if len(kept) else (0, 0)


def _fill_absent(provider: Any, quote: NumpyQuote, market: Market, times: np.ndarray, freq: str) -> None:
    """Fill the optional fields that no instrument has."""
    if market.compat == "qlib":
        return
    fields = quote.fields
    if market.limit.kind == NUMBER and len(times) and np.isnan(fields["$change"]).all():
        panel, _ = provider.panel(quote.instruments, ["$close", CHANGE], times[0], times[-1], freq)
        change = _dense(NumpyQuote, panel, times, [CHANGE], freq)
        fields["$change"] = np.where(np.isnan(fields["$close"]), np.float32(np.nan), change.fields[CHANGE])
    if provider.settings.region.always_open and np.isnan(fields["$factor"]).all():
        fields["$factor"] = np.ones_like(fields["$factor"])


def _moved(
    provider: Any, quote: NumpyQuote, market: Market, times: np.ndarray, freq: str
) -> tuple[np.ndarray, np.ndarray] | None:
    """Return how far the prices of a buy and of a sell are from the last known close before them.

    None where both are the close, whose `$change` says it, and where nobody asks.
    """
    prices = market.buy_price, market.sell_price
    if market.compat == "qlib" or market.limit.kind != NUMBER or prices == ("$close", "$close") or not len(times):
        return None
    close = quote.fields["$close"]
    panel, _ = provider.panel(quote.instruments, [BEFORE], times[0], times[0], freq)
    before = np.full_like(close, np.nan)
    before[0] = _dense(NumpyQuote, panel, times[:1], [BEFORE], freq).fields[BEFORE][0]
    before[1:] = close[:-1]
    known = np.where(np.isnan(before), 0, np.arange(len(before))[:, None])
    before = np.take_along_axis(before, np.maximum.accumulate(known, axis=0), axis=0)
    moved = []
    for name in prices:
        price = quote.fields[name]
        with np.errstate(invalid="ignore", divide="ignore"):
            change = quote.fields["$change"] if name == "$close" else price / before - 1
            moved.append(np.where(price > TINY_PRICE, change, quote.fields["$change"]))
    return moved[0], moved[1]


def _with_extra(quote: NumpyQuote, extra: pd.DataFrame, market: Market, cls: type[NumpyQuote]) -> NumpyQuote:
    """Append `extra` (index (instrument, datetime)) to the quotes; what it lacks is filled in."""
    log = get_module_logger("exchange")
    if "$close" not in extra.columns or set(extra.index.names) != {"instrument", "datetime"}:
        raise ConfigError(
            f"extra_quote: received columns {list(extra.columns)} and index levels {list(extra.index.names)}; "
            "the column $close and the levels instrument, datetime are needed"
        )
    extra = extra.copy()
    fill: dict[str, Any] = {market.buy_price: extra["$close"], market.sell_price: extra["$close"], "$factor": 1.0}
    fill |= {"limit_buy": False, "limit_sell": False}
    for name, value in fill.items():
        if name not in extra.columns:
            log.warning(f"extra_quote has no {name}: {'the close' if name.startswith('$') else value} is used")
            extra[name] = value
    lacking = [name for name in quote.fields if name not in extra.columns and name != "$change"]
    strange = [name for name in extra.columns if name not in quote.fields]
    if lacking or strange:
        raise ConfigError(f"extra_quote: lacks the columns {lacking} and has {strange} that the quotes do not have")
    extra["$change"] = extra.get("$change", 0.0)
    both = pd.concat([quote.frame(), extra.reorder_levels(["instrument", "datetime"])[list(quote.fields)]])
    if both.index.has_duplicates:
        raise ConfigError(f"extra_quote: {both.index[both.index.duplicated()][0]} has a quote already")
    for name in ("limit_buy", "limit_sell"):
        both[name] = both[name].astype(bool) | both["$close"].isna()  # a suspended one is blocked, too
    return cls(both, quote.freq)
