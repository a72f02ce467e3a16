"""When a coin is too young to be traded, or about to go: filters of a universe that know no future.

    ListedFor("3d")                                      from the third day after the first stored bar on
    BeforeDelisting("7d", {"OLD": [["2024-03-01 08:00", "2024-03-10"]]})

In the first hours of a coin there is no price that anybody agrees on; in the last ones nobody is left to trade with.
The first stored bar is known when it is over. The last one is not known before it was announced, so leaving out the
days before it takes a table of announcements: [announced, delisted] pairs, each of which holds until the next one. A
row is left out where what was announced by the time its bar opened says that the end is near: `before` or less from
there. `announcements` makes that table of a venue's list of instruments as it was collected.

As configuration: {"filter_type": "ListedFor", "module_path": "qlib.crypto.listing", "after": "3d"}.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from qlib.crypto.features import bar_seconds
from qlib.data.calendar import Calendar
from qlib.data.filter import SeriesDFilter
from qlib.data.ranges import Ranges
from qlib.errors import ConfigError
from qlib.utils.time import Freq

_HERE = "qlib.crypto.listing"


def _seconds(where: str, text: str) -> int:
    try:
        return Freq(text).seconds if str(text) not in ("0", "0h", "0d") else 0
    except ValueError:
        raise ConfigError(f"{where}: received {text!r}; a time such as '12h' or '3d' is allowed") from None


class ListedFor(SeriesDFilter):
    """Keeps an instrument once its first stored close is at least `after` old; "0h" keeps all rows since then.

    Where the store begins after the listing, its own first bar counts as the listing.
    """

    def __init__(self, after: str = "1d", fstart_time: Any = None, fend_time: Any = None) -> None:
        super().__init__(fstart_time, fend_time)
        self.after = str(after)
        self._after = _seconds("after", self.after)

    def passing(
        self, names: Sequence[str], members: Ranges, calendar: Calendar, first: int, last: int, provider: Any
    ) -> Ranges:
        # IsNull answers on every row since the first one: what is counted are bars of the clock, not of trades.
        bars = -(-self._after // bar_seconds(calendar.freq))
        return provider.holding(f"Count(IsNull($close),0)>{bars}", names, members, calendar, first, last)

    @staticmethod
    def from_config(config: Mapping[str, Any]) -> ListedFor:
        return ListedFor(config["after"], config.get("filter_start_time"), config.get("filter_end_time"))

    def to_config(self) -> dict[str, Any]:
        return {"filter_type": "ListedFor", "module_path": _HERE, "after": self.after, **self._times()}


class BeforeDelisting(SeriesDFilter):
    """Leaves out the time `before` a delisting, from its announcement on.

    Parameters
    ----------
    before
        How long before the end.
    announced
        Instrument -> [[announced, delisted], ...], times in UTC; None or NaT as `delisted` takes the plan back.
        Instruments that are not in it stay as they are.
    """

    def __init__(
        self, before: str, announced: Mapping[str, Sequence[Any]], fstart_time: Any = None, fend_time: Any = None
    ) -> None:
        super().__init__(fstart_time, fend_time)
        self.before = str(before)
        self._before = np.timedelta64(_seconds("before", self.before), "s")
        if not isinstance(announced, Mapping):
            raise ConfigError(
                f"announced: received a {type(announced).__name__}; {{instrument: [[announced, delisted], ...]}} is "
                "allowed: without the day of the announcement a row would know the future"
            )
        self.announced = {str(name).upper(): _pairs(str(name), pairs) for name, pairs in announced.items()}

    def rule(
        self,
        instruments: Mapping[str, Any],
        calendar: Calendar,
        first: int,
        last: int,
        provider: Any,  # noqa: ARG002
    ) -> Mapping[str, np.ndarray | None]:
        times = calendar.times[first : last + 1]
        return {
            name: ~self._near(self.announced[name.upper()], times)
            for name in instruments
            if name.upper() in self.announced
        }

    def _near(self, pairs: list[tuple[np.datetime64, np.datetime64]], times: np.ndarray) -> np.ndarray:
        known = np.searchsorted(np.array([when for when, _ in pairs]), times, side="right") - 1
        ends = np.array([end for _, end in pairs])[np.maximum(known, 0)]
        return (known >= 0) & ~np.isnat(ends) & (times >= ends - self._before)

    @staticmethod
    def from_config(config: Mapping[str, Any]) -> BeforeDelisting:
        window = config.get("filter_start_time"), config.get("filter_end_time")
        return BeforeDelisting(config["before"], config["announced"], *window)

    def to_config(self) -> dict[str, Any]:
        table = {
            name: [[str(when), None if np.isnat(end) else str(end)] for when, end in pairs]
            for name, pairs in self.announced.items()
        }
        named = {"filter_type": "BeforeDelisting", "module_path": _HERE}
        return named | {"before": self.before, "announced": table, **self._times()}


def announcements(history: pd.DataFrame) -> dict[str, list[list[str | None]]]:
    """Return when which delisting was known, of what `qlib.crypto.read_instruments` gives.

    A row first met on a day is known from the next day on. An instrument that vanished from the list without a planned
    end is delisted when that was known.

    >>> seen = pd.DataFrame({"symbol": "OLD", "seen": ["2024-01-01", "2024-03-01"], "delisted": [None, 1710057600000]})
    >>> announcements(seen.assign(gone=False))
    {'OLD': [['2024-03-02', '2024-03-10T08:00:00']]}
    """
    table: dict[str, list[list[str | None]]] = {}
    for symbol, rows in history.sort_values("seen", kind="stable").groupby("symbol", sort=True):
        pairs: list[list[str | None]] = []
        end: str | None = None
        for seen, gone, delisted in zip(rows["seen"], rows["gone"], rows["delisted"], strict=True):
            known = str(pd.Timestamp(seen).normalize() + pd.Timedelta(days=1))[:10]
            planned = None if pd.isna(delisted) else pd.Timestamp(int(delisted), unit="ms").isoformat()
            now = planned or (end or known if gone else None)
            if now != end:
                pairs.append([known, now])
                end = now
        if pairs:
            table[str(symbol)] = pairs
    return table


def _pairs(name: str, pairs: Any) -> list[tuple[np.datetime64, np.datetime64]]:
    try:
        found = [tuple(pd.Timestamp(time).to_datetime64() for time in pair) for pair in pairs]
        if any(len(pair) != 2 or np.isnat(pair[0]) for pair in found) or not found:
            raise ValueError("two times are needed, the first of which is known")
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"announced: received {pairs!r} for {name}; [[announced, delisted], ...] is allowed ({error})"
        ) from None
    return sorted(found)  # type: ignore[arg-type]
