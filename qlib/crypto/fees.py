"""What a venue charges: a share of the value, less for those who traded much in the last 30 days.

    FeeTiers.of([(0, 0.0002, 0.0005), (5e6, 0.00015, 0.0004)])       (traded in 30 days, maker, taker)
    schedule.rate(traded=6e6, maker=False)                            0.0004

Orders of a back-test take what is there, so they pay the taker's share unless the market is told otherwise. The volume
is that of the 30 days before the day (UTC) of the trade: venues look once a day.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from qlib.backtest.trades import TradeLog
from qlib.errors import ConfigError

WINDOW = pd.Timedelta(days=30)


@dataclass(frozen=True, slots=True)
class FeeTiers:
    """A table (traded in 30 days, maker, taker), in order of the first."""

    rows: tuple[tuple[float, float, float], ...]

    def __post_init__(self) -> None:
        starts = [row[0] for row in self.rows]
        if not self.rows or starts[0] != 0 or sorted(set(starts)) != starts:
            raise ConfigError(f"fees: received the volumes {starts}; they begin with 0 and ascend")
        for row in self.rows:
            if not all(-0.01 <= share <= 0.1 for share in row[1:]):
                raise ConfigError(f"fees: received {row}; maker and taker are shares of the value, such as 0.0005")

    @classmethod
    def of(cls, given: Any) -> FeeTiers:
        """Read an argument: one share for everybody, (maker, taker), rows of the table, or a `FeeTiers`.

        >>> FeeTiers.of(0.001).rate(1e9), FeeTiers.of((0.0002, 0.0005)).rate(0.0, maker=True)
        (0.001, 0.0002)
        """
        if isinstance(given, FeeTiers):
            return given
        if isinstance(given, int | float) and not isinstance(given, bool):
            return cls(((0.0, float(given), float(given)),))
        if not isinstance(given, Iterable) or isinstance(given, str):
            raise ConfigError(f"fees: received {given!r}; a share, (maker, taker), or rows (volume, maker, taker)")
        rows = list(given)
        if len(rows) == 2 and all(isinstance(one, int | float) for one in rows):
            return cls(((0.0, float(rows[0]), float(rows[1])),))
        if any(not isinstance(row, Iterable) or len(tuple(row)) != 3 for row in rows):
            raise ConfigError(f"fees: received {given!r}; rows (traded in 30 days, maker, taker) are allowed")
        return cls(tuple((float(a), float(b), float(c)) for a, b, c in rows))

    def rate(self, traded: float, *, maker: bool = False) -> float:
        """Return the share that who traded so much in 30 days pays."""
        place = bisect_right([row[0] for row in self.rows], traded) - 1
        return self.rows[max(place, 0)][1 if maker else 2]


def traded_before(trades: TradeLog, time: pd.Timestamp) -> float:
    """Return the value of all trades in the 30 days before the day of `time`."""
    day = time.normalize()
    return trades.value_between(day - WINDOW, day)
