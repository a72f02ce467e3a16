"""Where the money of every step went: the change of the account, part by part.

change = price - fee - impact - carry          to the last digits of a float, on every bar

account       value at the end of the step                 change   since the end of the step before
price         earned by prices: marks, and fills against the market's undisturbed deal price
fee           cost of the fills                            impact   lost to spread and impact of the fills
borrow, ...   one column per rule of `carry`; below 0 where holding earned money
stale         holdings without a price in the step (suspended, delisted), which keep their last one
stale_value   what these are worth at that price
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from qlib.backtest.account import AccumulatedInfo

FIRST = ("price", "fee", "impact")
LAST = ("stale", "stale_value")


def carry_names(frame: pd.DataFrame) -> list[str]:
    """Return the columns of an attribution that holding was paid for with, in the order of the market's rules."""
    return [str(name) for name in frame.columns if name not in ("account", "change", *FIRST, *LAST)]


class Attribution:
    """Sums at the end of every step; `frame()` returns their changes.

    Parameters
    ----------
    start_value
        The account before the first step.
    sums
        What was earned and paid before it.
    """

    def __init__(self, start_value: float, sums: AccumulatedInfo) -> None:
        self._before = (start_value, sums.rtn, sums.cost, sums.slippage, dict(sums.carry))
        self._times: list[pd.Timestamp] = []
        self._rows = array("d")
        self._carry: tuple[str, ...] = ()

    def add(self, time: pd.Timestamp, value: float, sums: AccumulatedInfo, stale: int, stale_value: float) -> None:
        """Add the end of a step."""
        if not self._times:
            self._carry = tuple(sums.carry)
        self._times.append(time)
        row = self._rows
        row.extend((value, sums.rtn, sums.cost, sums.slippage, stale, stale_value))
        row.extend(sums.carry.values())

    def frame(self) -> pd.DataFrame:
        """Return one row per step; see the module."""
        value, *sums, carry = self._before
        width = 6 + len(self._carry)
        table = np.array(self._rows, dtype=np.float64).reshape(-1, width)
        running = table[:, [0, 1, 2, 3, *range(6, width)]]
        start = np.array([value, *sums, *(carry.get(name, 0.0) for name in self._carry)])
        change = np.diff(running, axis=0, prepend=start[None, :])
        return pd.DataFrame(
            {
                "account": table[:, 0],
                "change": change[:, 0],
                **{name: change[:, 1 + i] for i, name in enumerate((*FIRST, *self._carry))},
                "stale": table[:, 4].astype(np.int64),
                "stale_value": table[:, 5],
            },
            index=pd.DatetimeIndex(self._times, name="datetime").as_unit("ns"),
        )
