"""What the store held when the run ended: holes, changes of the universe, liquidity tiers.

    holes        bars of the calendar at which a member of the universe has no close, by time and by instrument
    universe     members at each time, who came and who left
    tiers        IC of the scores among the most, less and least traded third of the instruments

These are the only numbers of the report that do not come from the run's own artifacts. They are read once and kept
beside the page (`market.json`): a store that is changed later changes no report.

An instrument's tier at a time is told by the mean value traded (close x volume) of the 20 bars that end with it: what
was known when the score was given. The window of holes and universe reaches from the first bar that the model learned
from to the last that was tested.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from qlib.analysis.ic import calc_ic
from qlib.contrib.report.artifacts import Artifacts
from qlib.contrib.report.signal_numbers import standard_error
from qlib.contrib.report.times import stamp, stamps
from qlib.data.provider import Provider
from qlib.errors import QlibError

BARS = 20
TRADED = f"Mean($close * $volume, {BARS})"
TIERS = ("most traded", "middle", "least traded")
FEWEST = 9  # instruments of a period that can be told into three
WORST = 20  # instruments with the most holes
MOST_CHANGES = 400
MOST_BARS = 400

Spans = Mapping[str, Sequence[tuple[pd.Timestamp, pd.Timestamp]]]


def market_numbers(
    artifacts: Artifacts, provider: Provider, freq: str, segments: Mapping[str, Sequence[str | None]], universe: Any
) -> dict[str, Any]:
    """Read the store; what it cannot say is {"why": a sentence}.

    Parameters
    ----------
    freq
        Bar size of the scores.
    segments
        Of the dataset: name -> [first, last].
    universe
        What the handler was told: the name of a market, a list, filters.
    """
    if artifacts.pred is None:
        return {"why": "the run left no prediction, so there is no universe to look at"}
    try:
        return _read(artifacts.pred, artifacts.label, provider, freq, segments, universe)
    except QlibError as error:
        return {"why": f"the store cannot say: {error}"}


def _read(
    pred: pd.Series, label: pd.Series | None, provider: Provider, freq: str, segments: Mapping[str, Any], universe: Any
) -> dict[str, Any]:
    times = pred.index.get_level_values("datetime")
    edges = [pd.Timestamp(edge) for pair in segments.values() for edge in pair if edge]
    first, last = min([*edges, times.min()]), max([*edges, times.max()])
    asked = pred.index.get_level_values("instrument").unique().tolist() if universe is None else universe
    calendar = pd.DatetimeIndex(provider.calendar(first, last, freq=freq))
    if not len(calendar):
        return {"why": f"the store has no {freq} bars between {stamp(first)} and {stamp(last)}"}
    spans = _spans(provider, asked, first, last, freq)
    frame = provider.features({name: list(kept) for name, kept in spans.items()}, ["$close"], first, last, freq)
    return {
        "freq": freq,
        "first": stamp(calendar[0]),
        "last": stamp(calendar[-1]),
        "bars": len(calendar),
        "instruments": len(spans),
        **hole_numbers(frame.iloc[:, 0], spans, calendar),
        "universe": universe_numbers(spans, calendar),
        "tiers": None if label is None else tier_numbers(pred, label, provider, freq),
    }


def _spans(provider: Provider, asked: Any, first: pd.Timestamp, last: pd.Timestamp, freq: str) -> Spans:
    """When each instrument belonged to the universe; those of a list are there while the store says that they live."""
    if isinstance(asked, list | tuple):
        alive: Spans = provider.list_instruments(provider.instruments("all"), first, last, freq)
        return {str(name): alive.get(str(name), [(first, last)]) for name in asked}
    told = provider.instruments(asked) if isinstance(asked, str) else asked
    found: Spans = provider.list_instruments(told, first, last, freq)
    return found


# ------------------------------------------------------------------------------------------------------------ holes
def hole_numbers(close: pd.Series, spans: Spans, calendar: pd.DatetimeIndex) -> dict[str, Any]:
    """Count, by time and by instrument, the bars at which a member has no close."""
    names = list(spans)
    expected, members = np.zeros(len(names), dtype=int), np.zeros(len(calendar) + 1, dtype=int)
    for k, name in enumerate(names):
        for start, end in spans[name]:
            a, b = calendar.searchsorted(start, "left"), calendar.searchsorted(end, "right")
            expected[k] += b - a
            members[a] += 1
            members[b] -= 1
    members = members[:-1].cumsum()
    seen = close[close.notna()].index
    at = calendar.get_indexer(seen.get_level_values("datetime"))
    of = pd.Index(names).get_indexer(seen.get_level_values("instrument"))
    inside = (at >= 0) & (of >= 0)
    there = np.bincount(of[inside], minlength=len(names))
    missing, missing_then = expected - there, members - np.bincount(at[inside], minlength=len(calendar))
    worst = [k for k in np.argsort(-missing, kind="stable")[:WORST].tolist() if missing[k] > 0]
    per_bar = max(1, -(-len(calendar) // MOST_BARS))
    starts = np.arange(0, len(calendar), per_bar)
    lost, held = np.add.reduceat(missing_then, starts), np.add.reduceat(members, starts)
    total = int(expected.sum())
    return {
        "expected": total,
        "holes": int(missing.sum()),
        "holes_share": float(missing.sum() / total) if total else None,
        "instruments_with_holes": int((missing > 0).sum()),
        "bars_without_any": int(((members > 0) & (missing_then == members)).sum()),
        "worst": [
            {
                "instrument": names[k],
                "bars": int(expected[k]),
                "holes": int(missing[k]),
                "share": float(missing[k] / expected[k]),
                "longest": _longest(at[inside & (of == k)], spans[names[k]], calendar),
            }
            for k in worst
        ],
        "holes_over_time": {
            "bars_per_entry": per_bar,
            "time": stamps(calendar[starts]),
            "share": np.divide(lost, held, out=np.zeros(len(lost)), where=held > 0).tolist(),
        },
    }


def _longest(there: np.ndarray, spans: Sequence[tuple[pd.Timestamp, pd.Timestamp]], calendar: pd.DatetimeIndex) -> int:
    """Most bars in a row that are missing inside a span."""
    longest, places = 0, np.sort(there)
    for start, end in spans:
        a, b = int(calendar.searchsorted(start, "left")), int(calendar.searchsorted(end, "right"))
        own = places[(places >= a) & (places < b)]
        longest = max(longest, int(np.diff(np.concatenate([[a - 1], own, [b]])).max()) - 1)
    return longest


# --------------------------------------------------------------------------------------------------------- universe
def universe_numbers(spans: Spans, calendar: pd.DatetimeIndex) -> dict[str, Any]:
    """Members at each time, and who came and left inside the calendar; its first and last bar are no changes."""
    came, left = np.zeros(len(calendar) + 1, dtype=int), np.zeros(len(calendar) + 1, dtype=int)
    changes: list[tuple[int, str, str]] = []
    for name, kept in spans.items():
        for start, end in kept:
            a, b = int(calendar.searchsorted(start, "left")), int(calendar.searchsorted(end, "right"))
            came[a] += 1
            left[b] += 1
            changes += [(a, str(name), "came")] if a > 0 else []
            changes += [(b, str(name), "left")] if b < len(calendar) else []
    changes.sort(key=lambda change: (-change[0], change[2], change[1]))
    members = (came - left)[:-1].cumsum()
    return {
        "time": stamps(calendar),
        "members": members.tolist(),
        "fewest": int(members.min()),
        "most": int(members.max()),
        "came": sum(what == "came" for _, _, what in changes),
        "left": sum(what == "left" for _, _, what in changes),
        "changes": [
            {"time": stamp(calendar[place]), "instrument": name, "what": what}
            for place, name, what in changes[:MOST_CHANGES]
        ],
    }


# ------------------------------------------------------------------------------------------------------------ tiers
def tier_numbers(pred: pd.Series, label: pd.Series, provider: Provider, freq: str) -> dict[str, Any] | None:
    """IC and rank IC among the instruments of each tier; None where the store has no volume, or too few are there."""
    times = pred.index.get_level_values("datetime")
    names = pred.index.get_level_values("instrument").unique().tolist()
    traded = provider.features(names, [TRADED], times.min(), times.max(), freq).iloc[:, 0]
    traded = traded.swaplevel().reindex(pred.index)
    traded = traded[traded.notna() & pred.notna()]
    return tiers_of(pred, label, traded)


def tiers_of(pred: pd.Series, label: pd.Series, traded: pd.Series) -> dict[str, Any] | None:
    """The same from the value traded by (datetime, instrument)."""
    by_time = traded.groupby(level="datetime")
    count = by_time.transform("size")
    place = (by_time.rank(method="first", ascending=False) - 1)[count >= FEWEST]
    if place.empty:
        return None
    tier = (place * len(TIERS) // count[count >= FEWEST]).astype(int)
    rows: list[dict[str, Any]] = []
    for k in range(len(TIERS)):
        index = tier.index[tier == k]
        ic, rank_ic = calc_ic(pred.reindex(index), label.reindex(index))
        rows.append(
            {
                "rows": len(index),
                "value": float(traded.reindex(index).median()),
                **_certainty("ic", ic),
                **_certainty("rank_ic", rank_ic),
            }
        )
    return {"bars": BARS, "names": list(TIERS), **{key: [row[key] for row in rows] for key in rows[0]}}


def _certainty(name: str, series: pd.Series) -> dict[str, Any]:
    values = series.dropna().to_numpy(float)
    error, _ = standard_error(values)
    mean = float(values.mean()) if len(values) else None
    return {
        name: mean,
        f"{name}_standard_error": error,
        f"{name}_t": mean / error if error and mean is not None else None,
    }
