"""The trade log: every order that an executor dealt, as columns of numbers.

    portfolio, _ = backtest(..., executor=executor)
    executor.trade_account.trades.frame()

       time        instrument  side  ordered  amount  price   value    fee   slippage  reason
       2024-01-02  SH600000    buy   1000.0   1000.0  10.1    10100.0  15.1  0.0       order
       2024-01-03  SH600000    sell  1000.0   400.0   10.3    4120.0   10.3  0.0       volume

`amount` is what was dealt, `price` what was paid, slippage (spread and impact, in money) included; `reason` says why
the order exists ("order" unless a strategy or the market said otherwise: "stop", "liquidation") or what cut it
("suspended", "limit", "volume", "cash", "lot", "margin"). About 70 bytes a row; the indicators are computed from it.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from qlib.backtest.decision import Order

ORDER = "order"
COLUMNS = {"time": "q", "code": "q", "side": "b", "reason": "b", "numbers": "d"}
NUMBERS = ("ordered", "amount", "price", "value", "fee", "slippage")
Fill = tuple[Order, float, float, float]  # order, value traded, cost, price


class TradeLog:
    """Orders in the order in which they were dealt; `len(log)` counts them, `log.frame()` returns the fills."""

    __slots__ = ("_code", "_codes", "_numbers", "_reason", "_reasons", "_side", "_time", "names", "reasons")

    def __init__(self) -> None:
        self.names: list[str] = []  # instruments, by code
        self.reasons: list[str] = [ORDER]
        self._codes: dict[str, int] = {}
        self._reasons: dict[str, int] = {ORDER: 0}
        self._time = array("q")  # nanoseconds since 1970
        self._code = array("q")
        self._side = array("b")
        self._reason = array("b")
        self._numbers = array("d")  # NUMBERS of the first row, of the second, ...

    def __len__(self) -> int:
        return len(self._code)

    def __getstate__(self) -> dict[str, Any]:
        """Arrays of numpy and lists, which a pickle may hold."""
        columns = {name: np.array(getattr(self, f"_{name}")) for name in COLUMNS}
        return {"names": self.names, "reasons": self.reasons, **columns}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.names, self.reasons = state["names"], state["reasons"]
        self._codes = {name: i for i, name in enumerate(self.names)}
        self._reasons = {name: i for i, name in enumerate(self.reasons)}
        for name, kind in COLUMNS.items():
            setattr(self, f"_{name}", array(kind, state[name].tolist()))

    def extend(self, time: pd.Timestamp | None, fills: Sequence[Fill]) -> tuple[int, int]:
        """Add the fills of a step (time None: each order's own); return their rows as (first, end)."""
        first = len(self._code)
        codes, names, numbers = self._codes, self.names, self._numbers
        moment = None if time is None else time.value
        for order, value, cost, price in fills:
            stock = order.stock_id
            code = codes.get(stock)
            if code is None:
                code = codes[stock] = len(names)
                names.append(stock)
            self._code.append(code)
            self._time.append(order.start_time.value if moment is None else moment)
            self._side.append(order.direction)
            reason = order.reason
            self._reason.append(0 if reason is ORDER else self._reason_of(reason))
            numbers.extend((order.amount, order.deal_amount, price, value, cost, order.slippage))
        return first, len(self._code)

    def _reason_of(self, reason: str) -> int:
        code = self._reasons.get(reason)
        if code is None:
            code = self._reasons[reason] = len(self.reasons)
            self.reasons.append(reason)
        return code

    def rows(self, first: int = 0, end: int | None = None) -> dict[str, np.ndarray[Any, Any]]:
        """Return copies of the columns of some rows: `code` (into `names`), `side` (1 buy, 0 sell), and `NUMBERS`."""
        end = len(self) if end is None else end
        width = len(NUMBERS)
        table = np.array(self._numbers[first * width : end * width], dtype=np.float64).reshape(-1, width)
        found: dict[str, np.ndarray[Any, Any]] = {name: table[:, i] for i, name in enumerate(NUMBERS)}
        found["code"] = np.array(self._code[first:end], dtype=np.int64)
        found["side"] = np.array(self._side[first:end], dtype=np.int64)
        return found

    def value_between(self, start: pd.Timestamp, end: pd.Timestamp) -> float:
        """Return the value traded from `start` on and before `end`."""
        first, last = bisect_left(self._time, start.value), bisect_left(self._time, end.value)
        return float(self.rows(first, last)["value"].sum())

    def frame(self, *, fills_only: bool = True) -> pd.DataFrame:
        """Return one row per fill, with `fills_only=False` one per order, dealt or not; see the module."""
        rows = self.rows()
        names, reasons = np.array([*self.names, ""], dtype=object), np.array(self.reasons, dtype=object)
        frame = pd.DataFrame(
            {
                "time": pd.DatetimeIndex(np.array(self._time, dtype=np.int64).view("M8[ns]")),
                "instrument": names[rows["code"]],
                "side": np.where(rows["side"] == 1, "buy", "sell"),
                **{name: rows[name] for name in NUMBERS},
                "reason": reasons[np.array(self._reason, dtype=np.int64)],
            }
        )
        return frame[frame["amount"] > 0].reset_index(drop=True) if fills_only else frame

    def save(self, path: str | Path) -> None:
        """Write the fills; a path that ends in .csv as CSV, any other as Parquet."""
        path = Path(path)
        if path.suffix == ".csv":
            self.frame().to_csv(path, index=False)
        else:
            self.frame().to_parquet(path, index=False)
